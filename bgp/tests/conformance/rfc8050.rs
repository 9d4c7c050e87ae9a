//! RFC 8050, MRT with BGP Additional Path Extensions.

use super::rfc6396::{BLOCK, NEXT_HOP, cut, record};
use weft_bgp::mrt::{Dump, Record, RibWriter, put_message};
use weft_bgp::types::NextHop;

/// §3: subtypes 8 to 11 are those of RFC 6396 with path identifiers in the message.
#[test]
fn a_message_says_that_it_has_path_identifiers() {
    let mut keepalive = vec![0xff; 16];
    keepalive.extend([0, 19, 4]);
    let ends = [0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2];
    for (subtype, as4, is_sent) in [(8, false, false), (9, true, false), (10, false, true), (11, true, true)] {
        let asns = if as4 { vec![0, 0, 0xfc, 0x57, 0, 0, 0xfc, 0x58] } else { vec![0xfc, 0x57, 0xfc, 0x58] };
        let raw = record(16, subtype, &[&asns[..], &ends, &keepalive].concat());
        let Ok(Record::Message(message)) = Dump::default().record(&raw) else { panic!("not a message") };
        assert_eq!((message.as4, message.is_sent, message.add_path), (as4, is_sent, true));
        let mut again = Vec::new();
        put_message(&mut again, raw.stamp, &message);
        assert_eq!((cut(&again).body, cut(&again).subtype), (raw.body, subtype));
    }
}

/// §4: subtypes 8 and 10 have a path identifier behind the time of each entry.
#[test]
fn an_entry_has_its_path_identifier() {
    let attributes = [&BLOCK[..], &NEXT_HOP].concat();
    let entry = |id: u8| [&[0, 0, 0, 0, 0, 9, 0, 0, 0, id, 0, 20][..], &attributes].concat();
    let raw = record(13, 8, &[&[0, 0, 0, 1, 8, 10, 0, 2][..], &entry(7), &entry(8)].concat());
    let mut dump = Dump::default();
    let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
    assert_eq!(rib.entries().map(|entry| entry.path_id).collect::<Vec<_>>(), [Some(7), Some(8)]);
    let mut again = Vec::new();
    let mut writer = RibWriter::new(&mut again, raw.stamp, 1, &rib.prefix, true);
    for entry in rib.entries() {
        assert!(writer.entry(0, 9, entry.path_id.unwrap(), &BLOCK, &NextHop::new("10.0.0.1".parse().unwrap())));
    }
    assert!(writer.finish());
    let without = record(13, 2, &raw.body);
    assert_eq!((cut(&again).body, cut(&again).subtype), (raw.body, 8));
    assert!(Dump::default().record(&without).is_err(), "the subtype matters");
}
