//! Tests of cutting and of the calendar; what the RFC says of each record is in `tests/conformance/rfc6396.rs`.

use super::*;

fn record(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&[0, 0, 0, 9][..], &kind.to_be_bytes(), &[0, 1], &length.to_be_bytes(), body].concat()
}

#[test]
fn a_record_that_cannot_be_cut_costs_only_itself() {
    let mut framer = Framer::default();
    framer.push(&[record(kind::BGP4MP_ET, &[1, 2]), record(99, &[7])].concat());
    let damage = framer.next_record().unwrap().unwrap_err();
    assert_eq!(
        damage.to_string(),
        "record 0 at octet 0 of the uncompressed dump: it is too short for its microseconds; \
         it is left out; ask the source for an undamaged copy if it matters"
    );
    let raw = framer.next_record().unwrap().unwrap();
    assert_eq!((raw.number, raw.offset, raw.kind, &raw.body[..]), (1, 14, 99, &[7][..]));
    assert_eq!((framer.next_record(), framer.finish()), (None, Ok(())));
}

#[test]
fn a_length_that_cannot_be_true_ends_the_dump_and_takes_no_memory() {
    let mut framer = Framer::default();
    framer.push(&record(13, &[]));
    framer.push(&[0, 0, 0, 9, 0, 13, 0, 1, 1, 0, 0, 1]);
    assert!(framer.next_record().unwrap().is_ok());
    let damage = framer.next_record().unwrap().unwrap_err();
    assert_eq!((damage.record, damage.offset, damage.remedy), (1, 12, ENDED));
    framer.push(&record(13, &[]));
    assert_eq!((framer.next_record(), framer.buffer.len()), (None, 0));
}

#[test]
fn time_is_written_as_a_date() {
    for (seconds, written) in [
        (0, "1970-01-01 00:00:00.000007"),
        (951_782_400, "2000-02-29 00:00:00.000007"),
        (1_401_487_200, "2014-05-30 22:00:00.000007"),
        (u32::MAX, "2106-02-07 06:28:15.000007"),
    ] {
        assert_eq!(Stamp { seconds, micros: 7 }.to_string(), written);
    }
}

#[test]
fn a_table_is_told_by_its_attributes_with_our_as_in_front() {
    let teller = Teller {
        asn: Asn(64_601),
        codec: crate::wire::Codec { as4: true, ..crate::wire::Codec::PLAIN },
        address: "192.0.2.1".parse().unwrap(),
        other: None,
    };
    let attributes =
        [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0x57, 0x40, 3, 4, 10, 0, 0, 1, 0x40, 5, 4, 0, 0, 0, 100];
    let mut gathered = Gathered::default();
    for third in [1, 2] {
        let entry = [&[0, 5, 0, 0, 0, 9, 0, 27][..], &attributes].concat();
        let raw =
            [&record(13, &[])[..4], &[0, 13, 0, 2, 0, 0, 0, 45], &[0, 0, 0, third, 24, 10, 0, third, 0, 1], &entry]
                .concat();
        let mut framer = Framer::default();
        framer.push(&raw[..]);
        let raw = framer.next_record().unwrap_or_else(|| panic!("{:?}", framer.finish())).unwrap();
        let Ok(Record::Rib(rib)) = Dump::default().record(&raw) else { panic!("not a route") };
        gathered.add(&rib, |peer| peer == 5);
        gathered.add(&rib, |peer| peer == 6);
    }
    let mut buf = BytesMut::new();
    for (block, prefixes) in gathered.sets() {
        assert_eq!(teller.announce(&mut buf, block, prefixes), 0);
        assert_eq!(teller.announce(&mut buf.clone(), block, &["2001:db8::/32".parse().unwrap()]), 1, "not negotiated");
    }
    let mut block = Vec::new();
    let update = crate::wire::update::decode(&buf, &teller.codec, &mut block).unwrap();
    assert_eq!((update.nlri, update.withdraw), (&[24, 10, 0, 1, 24, 10, 0, 2][..], None));
    assert_eq!(update.next_hop, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(crate::wire::attrs::Attrs(&block).as_path().to_string(), "64601 64599");
}
