//! RFC 6396, MRT Routing Information Export Format: records written by hand from the text, and what we write.

use std::net::IpAddr;
use weft_bgp::mrt::{Dump, Framer, Message, Peer, Raw, Record, RibWriter, Stamp, StateChange};
use weft_bgp::mrt::{put_message, put_peers, put_state_change};
use weft_bgp::types::{Asn, IfIndex, NextHop};
use weft_bgp::wire::Kind;
use weft_bgp::wire::attrs::Attrs;

/// A record: type, subtype, body; its time is 1.
pub(crate) fn record(kind: u16, subtype: u16, body: &[u8]) -> Raw {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    cut(&[&[0, 0, 0, 1][..], &kind.to_be_bytes(), &subtype.to_be_bytes(), &length, body].concat())
}

/// The first record of a dump.
pub(crate) fn cut(dump: &[u8]) -> Raw {
    let mut framer = Framer::default();
    framer.push(dump);
    framer.next_record().unwrap().unwrap()
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// ORIGIN IGP, AS_PATH 64599 with numbers of two octets, NEXT_HOP 10.0.0.1.
const OLD: [u8; 18] = [0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfc, 0x57, 0x40, 3, 4, 10, 0, 0, 1];
/// The same with numbers of four octets, and without NEXT_HOP.
pub(crate) const BLOCK: [u8; 13] = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0x57];
pub(crate) const NEXT_HOP: [u8; 7] = [0x40, 3, 4, 10, 0, 0, 1];

/// §3: the microseconds of an extended time stamp are counted by the length and are not part of the message.
#[test]
fn an_extended_time_stamp_has_microseconds() {
    let body =
        [&[0, 0, 0, 7][..], &[0xfc, 0x57, 0xfc, 0x58, 0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 6]].concat();
    let raw = record(17, 0, &body);
    assert_eq!(raw.stamp, Stamp { seconds: 1, micros: 7 });
    assert_eq!(raw.body[..], body[4..]);
}

/// §4: a type or subtype that is not ours is no fault.
#[test]
fn other_types_are_passed_over() {
    for (kind, subtype) in [(11, 0), (32, 0), (13, 3), (13, 6), (13, 99), (12, 25), (16, 99), (9, 0)] {
        assert_eq!(Dump::default().record(&record(kind, subtype, &[1, 2, 3])), Ok(Record::Other));
    }
}

/// §4.2: TABLE_DUMP has one route to a record, its peer in it, and AS numbers of two octets.
#[test]
fn table_dump_names_the_peer_in_each_record() {
    let body =
        [&[0, 0, 0, 5][..], &[10, 1, 0, 0, 16, 1], &[0, 0, 0, 9], &[192, 0, 2, 1], &[0xfc, 0x57], &[0, 18], &OLD];
    let raw = record(12, 1, &body.concat());
    let mut dump = Dump::default();
    for _ in 0..2 {
        let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
        let entry = rib.entries().next().unwrap();
        assert_eq!((rib.sequence, rib.prefix), (5, "10.1.0.0/16".parse().unwrap()));
        assert_eq!((entry.originated_s, entry.path_id, rib.entries().count()), (9, None, 1));
        assert_eq!(dump.peer(entry.peer).unwrap().address, ip("192.0.2.1"));
        assert_eq!(dump.peer(entry.peer).unwrap().asn, Asn(64_599));
        let route = entry.attributes.route(&rib.prefix).unwrap();
        assert_eq!((&route.block[..], route.next_hop), (&BLOCK[..], NextHop::new(ip("10.0.0.1"))));
    }
    assert_eq!(dump.peers().len(), 1, "the same peer is counted once");
}

/// §4.2: with subtype AFI_IPv6, the prefix and the peer have sixteen octets.
#[test]
fn table_dump_of_ipv6_has_long_addresses() {
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let reach = [&[0x80, 14, 17, 16][..], &global].concat();
    let attributes = [&OLD[..11], &reach].concat();
    let length = u8::try_from(attributes.len()).unwrap();
    let body = [&[0, 0, 0, 5][..], &global, &[32, 1, 0, 0, 0, 9], &global, &[0xfc, 0x57, 0, length], &attributes];
    let mut dump = Dump::default();
    let raw = record(12, 2, &body.concat());
    let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
    assert_eq!(rib.prefix.to_string(), "2001:db8::/32", "bits behind the length are cleared");
    let route = rib.entries().next().unwrap().attributes.route(&rib.prefix).unwrap();
    assert_eq!(route.next_hop.addr, ip("2001:db8::1"));
}

/// §4.3.1: bit 0 of the Peer Type is the family of the address, bit 1 the size of the AS number.
#[test]
fn the_peer_type_says_how_long_address_and_as_are() {
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let peers = [
        &[0, 10, 0, 0, 1, 192, 0, 2, 1, 0xfc, 0x57][..],
        &[2, 10, 0, 0, 2, 192, 0, 2, 2, 0xfa, 0x56, 0xea, 0x68],
        &[&[3, 10, 0, 0, 3][..], &v6, &[0, 1, 0, 0]].concat(),
    ];
    let raw = record(13, 1, &[&[10, 9, 9, 9, 0, 4][..], b"rack", &[0, 3], &peers.concat()].concat());
    let mut dump = Dump::default();
    assert_eq!(dump.record(&raw), Ok(Record::Peers { view: "rack".to_owned() }));
    let found: Vec<_> =
        dump.peers().iter().map(|peer| format!("{} {} {}", peer.router_id, peer.address, peer.asn)).collect();
    assert_eq!(found, ["10.0.0.1 192.0.2.1 64599", "10.0.0.2 192.0.2.2 4200000104", "10.0.0.3 2001:db8::2 65536"]);
}

/// §4.3.4: MP_REACH_NLRI has its next hop alone; many writers leave the whole attribute, and that is read too.
#[test]
fn the_next_hop_of_ipv6_stands_alone_or_in_a_whole_mp_reach() {
    let hop = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let whole = [&[0, 2, 1, 16][..], &hop, &[0, 32, 0x20, 1, 0x0d, 0xb8]].concat();
    for value in [[&[16][..], &hop].concat(), whole] {
        let length = u8::try_from(value.len()).unwrap();
        let attributes = [&BLOCK[..], &[0x80, 14, length], &value].concat();
        let octets = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        let prefix = [32, 0x20, 1, 0x0d, 0xb8];
        let raw = record(13, 4, &[&[0; 4][..], &prefix, &[0, 1, 0, 0, 0, 0, 0, 9], &octets, &attributes].concat());
        let mut dump = Dump::default();
        let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
        let route = rib.entries().next().unwrap().attributes.route(&rib.prefix).unwrap();
        assert_eq!((route.next_hop.addr, &route.block[..]), (ip("2001:db8::1"), &BLOCK[..]));
    }
}

/// §4.3.4, and RFC 7606: a path whose attributes nobody could announce is no route, the others of its prefix are.
#[test]
fn a_malformed_path_costs_only_itself() {
    let good = [&BLOCK[..], &NEXT_HOP].concat();
    let entry = |attributes: &[u8]| {
        [&[0, 0, 0, 0, 0, 9][..], &u16::try_from(attributes.len()).unwrap().to_be_bytes(), attributes].concat()
    };
    let bad = [&[0x40, 1, 1, 7][..], &good[4..]].concat();
    let paths = [entry(&bad), entry(&BLOCK), entry(&good[..good.len() - 1]), entry(&good)].concat();
    let raw = record(13, 2, &[&[0, 0, 0, 1, 8, 10, 0, 4][..], &paths].concat());
    let mut dump = Dump::default();
    let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
    let read: Vec<_> = rib.entries().map(|entry| entry.attributes.route(&rib.prefix).err()).collect();
    let overrun = Some("an attribute overruns the attribute length");
    assert_eq!(read, [Some("ORIGIN is not 0, 1 or 2"), Some("NEXT_HOP is missing"), overrun, None]);
}

/// §4.3.4: as BIRD 2.0 writes them, without flags, attributes still make a route.
#[test]
fn attributes_without_their_flags_are_read() {
    let attributes = [&BLOCK[..], &[0, 3, 4, 10, 0, 0, 1, 0, 5, 4, 0, 0, 0, 100, 0, 8, 4, 0xfd, 0xeb, 0, 7]].concat();
    let length = u8::try_from(attributes.len()).unwrap();
    let raw = record(13, 2, &[&[0, 0, 0, 1, 8, 10, 0, 1, 0, 0, 0, 0, 0, 9, 0, length][..], &attributes].concat());
    let mut dump = Dump::default();
    let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
    let route = rib.entries().next().unwrap().attributes.route(&rib.prefix).unwrap();
    assert_eq!(route.next_hop, NextHop::new(ip("10.0.0.1")));
    let flags: Vec<_> = Attrs(&route.block).iter().map(|attr| (attr.kind, attr.flags)).collect();
    assert_eq!(flags, [(1, 0x40), (2, 0x40), (5, 0x40), (8, 0xc0)]);
}

/// §4.3.2, §4.3.4: the count of entries and their lengths must agree with the length of the record.
#[test]
fn a_record_whose_lengths_do_not_agree_is_left_out() {
    let attributes = [&BLOCK[..], &NEXT_HOP].concat();
    let body = [&[0, 0, 0, 1, 8, 10, 0, 1, 0, 0, 0, 0, 0, 9, 0, 20][..], &attributes].concat();
    assert!(matches!(Dump::default().record(&record(13, 2, &body)), Ok(Record::Rib(_))));
    for (at, value) in [(4, 33), (4, 64), (7, 0), (7, 2), (15, 19), (15, 21)] {
        let mut wrong = body.clone();
        wrong[at] = value;
        let raw = record(13, 2, &wrong);
        let damage = Dump::default().record(&raw).unwrap_err().to_string();
        assert!(damage.starts_with("record 0 at octet 0 of the uncompressed dump: its p"), "{at}: {damage}");
    }
    for length in 0..body.len() {
        assert!(Dump::default().record(&record(13, 2, &body[..length])).is_err());
    }
}

/// §4.4.1: two AS numbers, interface, AFI, two addresses, two states.
#[test]
fn a_state_change_names_both_states() {
    let raw = record(16, 5, &[0, 0, 0xfc, 0x57, 0, 0, 0xfc, 0x58, 0, 3, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 6]);
    let Ok(Record::StateChange(change)) = Dump::default().record(&raw) else { panic!("not a state change") };
    assert_eq!((change.peer_asn, change.local_asn, change.link), (Asn(64_599), Asn(64_600), IfIndex(3)));
    assert_eq!(
        (StateChange::state_name(change.old), StateChange::state_name(change.new)),
        ("OpenConfirm", "Established")
    );
    let mut again = Vec::new();
    put_state_change(&mut again, raw.stamp, &change);
    assert_eq!(cut(&again).body, raw.body);
}

/// §4.4.2, §4.4.3, §4.4.5, §4.4.6: the subtype says the size of the AS numbers and which end sent it.
#[test]
fn a_message_says_who_sent_it_and_how_long_as_numbers_are() {
    let mut keepalive = vec![0xff; 16];
    keepalive.extend([0, 19, 4]);
    let ends = [0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2];
    for (subtype, as4, is_sent) in [(1, false, false), (4, true, false), (6, false, true), (7, true, true)] {
        let asns = if as4 { vec![0, 0, 0xfc, 0x57, 0, 0, 0xfc, 0x58] } else { vec![0xfc, 0x57, 0xfc, 0x58] };
        let raw = record(16, subtype, &[&asns[..], &ends, &keepalive].concat());
        let Ok(Record::Message(message)) = Dump::default().record(&raw) else { panic!("not a message") };
        assert_eq!((message.as4, message.is_sent, message.add_path), (as4, is_sent, false));
        assert_eq!((message.kind, message.message), (Kind::Keepalive, &keepalive[..]));
        assert_eq!((message.peer, message.local), (ip("10.0.0.1"), ip("10.0.0.2")));
        let mut again = Vec::new();
        put_message(&mut again, raw.stamp, &message);
        assert_eq!((cut(&again).body, cut(&again).subtype), (raw.body, subtype));
    }
}

/// §4.4.2: a message whose own length does not agree with the record is left out.
#[test]
fn a_message_that_is_cut_is_left_out() {
    let ends = [0xfc, 0x57, 0xfc, 0x58, 0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2];
    let mut message = [&ends[..], &[0xff; 16], &[0, 20, 4]].concat();
    assert!(Dump::default().record(&record(16, 1, &message)).is_err());
    message[ends.len() + 17] = 19;
    assert!(Dump::default().record(&record(16, 1, &message)).is_ok());
    message[7] = 3;
    assert!(Dump::default().record(&record(16, 1, &message)).is_err(), "an AFI without addresses");
}

/// §4.4.2: an AS number that does not fit the old subtype is AS_TRANS there (RFC 6793 §9).
#[test]
fn an_old_message_holds_as_trans() {
    let mut keepalive = vec![0xff; 16];
    keepalive.extend([0, 19, 4]);
    let message = Message {
        peer_asn: Asn(4_200_000_104),
        local_asn: Asn(64_600),
        link: IfIndex(70_000),
        peer: ip("fe80::1"),
        local: ip("fe80::2"),
        as4: false,
        add_path: false,
        is_sent: false,
        kind: Kind::Keepalive,
        message: &keepalive,
    };
    let mut buf = Vec::new();
    put_message(&mut buf, Stamp { seconds: 1, micros: 999_999 }, &message);
    let raw = cut(&buf);
    let read = Dump::default().record(&raw);
    assert_eq!(read, Ok(Record::Message(Message { peer_asn: Asn::TRANS, link: IfIndex(0), ..message })));
    assert_eq!((raw.kind, raw.stamp.micros), (17, 999_999));
}

/// §4.3: what we write of a table is a peer index, then a record for each prefix, counted from 0.
#[test]
fn a_written_table_reads_the_same() {
    let peers = [
        Peer { router_id: "10.0.0.1".parse().unwrap(), address: ip("192.0.2.1"), asn: Asn(4_200_000_104) },
        Peer { router_id: "10.0.0.2".parse().unwrap(), address: ip("2001:db8::2"), asn: Asn(7) },
    ];
    let stamp = Stamp { seconds: 1_401_487_200, micros: 0 };
    let routes = [
        ("10.1.0.0/16", "10.0.0.1"),
        ("10.2.0.0/16", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::1"),
        ("0.0.0.0/0", "10.0.0.1"),
    ];
    let mut buf = Vec::new();
    put_peers(&mut buf, stamp, "10.9.9.9".parse().unwrap(), "", &peers);
    for (sequence, (prefix, hop)) in (0..).zip(routes) {
        let mut writer = RibWriter::new(&mut buf, stamp, sequence, &prefix.parse().unwrap(), false);
        assert!(writer.entry(1, 1_401_000_000, 0, &BLOCK, &NextHop::new(ip(hop))));
        assert!(writer.entry(0, 1_401_000_000, 0, &BLOCK, &NextHop::new(ip(hop))));
        assert!(writer.finish());
    }
    let length = buf.len();
    assert!(!RibWriter::new(&mut buf, stamp, 4, &"10.3.0.0/16".parse().unwrap(), false).finish(), "no path, no record");
    assert_eq!(buf.len(), length);
    let mut framer = Framer::default();
    framer.push(&buf);
    let mut dump = Dump::default();
    assert!(matches!(dump.record(&framer.next_record().unwrap().unwrap()), Ok(Record::Peers { .. })));
    assert_eq!(dump.peers(), peers);
    for (sequence, (prefix, hop)) in (0..).zip(routes) {
        let raw = framer.next_record().unwrap().unwrap();
        let Ok(Record::Rib(rib)) = dump.record(&raw) else { panic!("not a route") };
        assert_eq!((rib.sequence, rib.prefix.to_string()), (sequence, prefix.to_owned()));
        assert_eq!(rib.entries().map(|entry| entry.peer).collect::<Vec<_>>(), [1, 0]);
        let route = rib.entries().next().unwrap().attributes.route(&rib.prefix).unwrap();
        assert_eq!((Attrs(&route.block), route.next_hop.addr), (Attrs(&BLOCK), ip(hop)));
    }
    assert_eq!((framer.next_record(), framer.finish()), (None, Ok(())));
}
