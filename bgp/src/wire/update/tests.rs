//! Tables per section of RFC 4271 §6.3, RFC 7606 and RFC 6793, and round trips.

use super::*;
use crate::types::IpNet;
use bytes::BytesMut;
use proptest::prelude::*;

const EBGP: Codec = Codec { as4: true, families: [true, true], extended_next_hop: true, ..Codec::PLAIN };
const IBGP: Codec = Codec { ebgp: false, ..EBGP };
const OLD: Codec = Codec { as4: false, ..EBGP };

fn message(withdrawn: &[u8], attributes: &[(u8, u8, &[u8])], nlri: &[u8]) -> Vec<u8> {
    let mut run = Vec::new();
    for (flags, kind, value) in attributes {
        run.extend([*flags, *kind, u8::try_from(value.len()).unwrap()]);
        run.extend_from_slice(value);
    }
    let mut out = vec![0; HEADER_BYTES];
    out.extend(u16::try_from(withdrawn.len()).unwrap().to_be_bytes());
    out.extend_from_slice(withdrawn);
    out.extend(u16::try_from(run.len()).unwrap().to_be_bytes());
    out.extend(run);
    out.extend_from_slice(nlri);
    out
}

const ORIGIN: (u8, u8, &[u8]) = (0x40, 1, &[0]);
const PATH: (u8, u8, &[u8]) = (0x40, 2, &[2, 1, 0, 0, 0xfd, 0xe9]);
const HOP: (u8, u8, &[u8]) = (0x40, 3, &[10, 0, 0, 1]);
const PREF: (u8, u8, &[u8]) = (0x40, 5, &[0, 0, 0, 100]);
const NET: &[u8] = &[24, 10, 1, 2];

/// How a message with one attribute beside the good ones is taken.
fn reaction(codec: &Codec, extra: (u8, u8, &[u8])) -> String {
    let mut all = vec![ORIGIN, PATH, HOP, PREF];
    all.retain(|good| good.1 != extra.1);
    all.push(extra);
    let bytes = message(&[], &all, NET);
    match decode(&bytes, codec, &mut Vec::new()) {
        Err(Fault::Reset(fault)) => format!("reset {}/{}", fault.code, fault.subcode),
        Ok(update) if update.withdraw.is_some() => "withdraw".to_owned(),
        Ok(update) if update.discarded > 0 => "discard".to_owned(),
        Ok(_) => "keep".to_owned(),
    }
}

#[test]
#[expect(clippy::type_complexity, reason = "one table, one row per section")]
fn each_attribute_has_the_reaction_of_rfc_7606_section_7() {
    let table: &[(&str, &Codec, (u8, u8, &[u8]), &str)] = &[
        ("§7.1 value", &IBGP, (0x40, 1, &[3]), "withdraw"),
        ("§7.1 length", &IBGP, (0x40, 1, &[0, 0]), "withdraw"),
        ("§7.1 flags", &IBGP, (0xc0, 1, &[0]), "withdraw"),
        ("§7.2 overrun", &IBGP, (0x40, 2, &[2, 2, 0, 0, 0, 1]), "withdraw"),
        ("§7.2 type", &IBGP, (0x40, 2, &[5, 1, 0, 0, 0, 1]), "withdraw"),
        ("§7.2 empty segment", &IBGP, (0x40, 2, &[2, 0]), "withdraw"),
        ("RFC 7607 AS 0", &IBGP, (0x40, 2, &[2, 1, 0, 0, 0, 0]), "withdraw"),
        ("RFC 5065 from outside", &EBGP, (0x40, 2, &[3, 1, 0, 0, 0, 1]), "withdraw"),
        ("§7.3", &IBGP, (0x40, 3, &[1, 2, 3]), "withdraw"),
        ("§7.4", &IBGP, (0x80, 4, &[1]), "withdraw"),
        ("§7.5 internal", &IBGP, (0x40, 5, &[1]), "withdraw"),
        ("§7.5 external", &EBGP, (0x40, 5, &[1]), "discard"),
        ("§7.6", &IBGP, (0x40, 6, &[1]), "discard"),
        ("§7.7", &IBGP, (0xc0, 7, &[1, 2, 3]), "discard"),
        ("§7.8", &IBGP, (0xc0, 8, &[1, 2, 3]), "withdraw"),
        ("§7.8 empty", &IBGP, (0xc0, 8, &[]), "withdraw"),
        ("§7.9 internal", &IBGP, (0x80, 9, &[1]), "withdraw"),
        ("§7.9 external", &EBGP, (0x80, 9, &[1]), "discard"),
        ("§7.10 internal", &IBGP, (0x80, 10, &[1]), "withdraw"),
        ("§7.10 external", &EBGP, (0x80, 10, &[1]), "discard"),
        ("§7.11", &IBGP, (0x80, 14, &[0, 2, 1, 5, 1, 2, 3, 4, 5, 0]), "reset 3/9"),
        ("§7.14", &IBGP, (0xc0, 16, &[1, 2, 3, 4]), "withdraw"),
        ("RFC 8092 §5", &IBGP, (0xc0, 32, &[0; 11]), "withdraw"),
        ("RFC 6793 §6", &EBGP, (0xc0, 17, &[2, 1, 0, 0, 0, 1]), "discard"),
        ("RFC 4271 §9 non-transitive", &IBGP, (0x80, 99, &[1]), "discard"),
        ("RFC 4271 §9 transitive", &IBGP, (0xc0, 99, &[1]), "keep"),
        ("RFC 4271 §6.3 well-known", &IBGP, (0x40, 99, &[1]), "reset 3/2"),
    ];
    for (section, codec, extra, expected) in table {
        let codec = Codec { ebgp: codec.ebgp, ..**codec };
        assert_eq!(reaction(&codec, *extra), *expected, "{section}");
    }
}

#[test]
fn a_missing_mandatory_attribute_is_treated_as_withdraw() {
    // RFC 7606 §3 d
    for missing in [1, 2, 3, 5] {
        let all: Vec<_> = [ORIGIN, PATH, HOP, PREF].into_iter().filter(|attr| attr.1 != missing).collect();
        let bytes = message(&[], &all, NET);
        let update = decode(&bytes, &IBGP, &mut Vec::new()).unwrap();
        assert_eq!(update.withdraw.map(|(kind, _)| kind), Some(missing));
        assert_eq!(update.nlri, NET, "the prefixes are still known");
    }
}

#[test]
fn an_error_with_nothing_reachable_resets() {
    // RFC 7606 §5.2
    let bytes = message(&[], &[(0x40, 1, &[9])], &[]);
    assert!(decode(&bytes, &EBGP, &mut Vec::new()).is_err());
}

#[test]
fn prefixes_that_cannot_be_read_reset() {
    // RFC 7606 §5.3
    let fault = |bytes: &[u8]| match decode(bytes, &EBGP, &mut Vec::new()) {
        Err(Fault::Reset(fault)) => (fault.code, fault.subcode),
        Ok(_) => (0, 0),
    };
    assert_eq!(fault(&message(&[33, 1, 1, 1, 1, 1], &[], &[])), (3, 10));
    assert_eq!(fault(&message(&[], &[ORIGIN, PATH, HOP], &[24, 1])), (3, 10));
    let mut long = message(&[], &[ORIGIN], &[]);
    long[HEADER_BYTES + 3] = 200;
    assert_eq!(fault(&long), (3, 1), "RFC 4271 §6.3");
}

#[test]
fn a_second_attribute_is_discarded_and_a_second_mp_resets() {
    // RFC 7606 §3 g
    let bytes = message(&[], &[ORIGIN, (0x40, 1, &[1]), PATH, HOP], NET);
    let mut block = Vec::new();
    let update = decode(&bytes, &EBGP, &mut block).unwrap();
    assert_eq!((update.discarded, update.withdraw), (1, None));
    assert_eq!(Attrs(&block).origin(), 0);
    let unreach: (u8, u8, &[u8]) = (0x80, 15, &[0, 2, 1]);
    let bytes = message(&[], &[unreach, unreach], &[]);
    assert!(decode(&bytes, &EBGP, &mut block).is_err());
}

#[test]
fn end_of_rib_is_exactly_empty() {
    // RFC 4724 §2
    for family in Family::ALL {
        let mut buf = BytesMut::new();
        put_end_of_rib(&mut buf, family);
        assert_eq!(usize::from(u16::from_be_bytes([buf[16], buf[17]])), buf.len());
        let update = decode(&buf, &EBGP, &mut Vec::new()).unwrap();
        assert_eq!(update.end_of_rib, Some(family));
    }
    let bytes = message(&[], &[ORIGIN], &[]);
    assert_eq!(decode(&bytes, &EBGP, &mut Vec::new()).unwrap().end_of_rib, None);
}

#[test]
fn unknown_transitive_attributes_pass_byte_for_byte_with_partial() {
    // RFC 4271 §9
    let bytes = message(&[], &[(0xc0, 200, &[1, 2, 3]), ORIGIN, PATH, HOP], NET);
    let mut block = Vec::new();
    decode(&bytes, &EBGP, &mut block).unwrap();
    let kinds: Vec<_> = Attrs(&block).iter().map(|attr| attr.kind).collect();
    assert_eq!(kinds, [1, 2, 200], "sorted, without NEXT_HOP");
    let last = Attrs(&block).iter().last().unwrap();
    assert_eq!((last.flags, last.value), (0xe0, [1, 2, 3].as_slice()));
}

#[test]
fn as4_path_fills_in_for_as_trans() {
    // RFC 6793 §4.2.3: AS_PATH 100 AS_TRANS 300, AS4_PATH 4200000001 300.
    let path: &[u8] = &[2, 3, 0, 100, 0x5b, 0xa0, 1, 44];
    let mut tail = vec![2, 2];
    tail.extend(4_200_000_001_u32.to_be_bytes());
    tail.extend(300_u32.to_be_bytes());
    let bytes = message(&[], &[ORIGIN, (0x40, 2, path), HOP, (0xc0, 17, &tail)], NET);
    let mut block = Vec::new();
    decode(&bytes, &OLD, &mut block).unwrap();
    assert_eq!(Attrs(&block).as_path().to_string(), "100 4200000001 300");
}

#[test]
fn every_next_hop_encoding_is_read() {
    // RFC 2545 §3, RFC 8950 §3, and the three link-local forms in use.
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let forms: [(Vec<u8>, bool); 5] = [
        (global.to_vec(), false),
        (local.to_vec(), true),
        ([global, local].concat(), true),
        ([[0; 16], local].concat(), true),
        ([local, local].concat(), true),
    ];
    for (octets, has_local) in forms {
        for family in Family::ALL {
            let hop = next_hop(&octets, family, &EBGP).unwrap();
            assert_eq!(hop.link_local.is_some(), has_local, "{octets:?}");
        }
    }
    let strict = Codec { extended_next_hop: false, ..EBGP };
    assert_eq!(next_hop(&global, Family::Ipv4Unicast, &strict), None);
    assert_eq!(next_hop(&global[..15], Family::Ipv6Unicast, &EBGP), None);
}

#[test]
fn a_link_local_next_hop_stands_alone_where_that_was_agreed() {
    // draft-ietf-idr-linklocal-capability §4
    let local: Ipv6Addr = "fe80::1".parse().unwrap();
    let hop = NextHop { addr: IpAddr::V6(local), link_local: Some(local) };
    for (agreed, octets) in [(true, 16), (false, 32)] {
        let codec = Codec { link_local_next_hop: agreed, ..EBGP };
        let mut buf = BytesMut::new();
        let mut prefixes = ["10.0.0.0/8".parse::<IpNet>().unwrap()].into_iter().peekable();
        put_announce(&mut buf, &codec, Family::Ipv4Unicast, &[], &hop, &mut prefixes);
        assert_eq!(buf[HEADER_BYTES + 4..][7], octets, "the length of the next hop");
        let mut block = Vec::new();
        assert_eq!(decode(&buf, &codec, &mut block).unwrap().mp_reach.unwrap().next_hop, hop);
    }
}

#[test]
fn an_attribute_block_that_leaves_no_room_is_refused_not_looped() {
    let mut block = Vec::new();
    attrs::put(&mut block, 0xc0, 200, &vec![7; 4_062]);
    let net: IpNet = "10.0.0.0/8".parse().unwrap();
    let mut prefixes = [net].into_iter().peekable();
    let mut buf = BytesMut::new();
    let hop = NextHop::new("10.0.0.1".parse().unwrap());
    assert_eq!(put_announce(&mut buf, &EBGP, Family::Ipv4Unicast, &block, &hop, &mut prefixes), 0);
    assert!(buf.is_empty());
    assert_eq!(prefixes.next(), Some(net));
}

fn nets(family: Family, seeds: &[u32]) -> Vec<IpNet> {
    seeds
        .iter()
        .map(|&seed| match family {
            Family::Ipv4Unicast => IpNet::new(IpAddr::V4(Ipv4Addr::from(seed)), 24).unwrap().trunc(),
            Family::Ipv6Unicast => IpNet::new(IpAddr::V6(Ipv6Addr::from(u128::from(seed) << 64)), 64).unwrap().trunc(),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_is_put_is_read_again(seeds in proptest::collection::vec(any::<u32>(), 1..3_000), v6 in any::<bool>(), v6_hop in any::<bool>(), as4 in any::<bool>(), asn in 1_u32..) {
        let codec = Codec { as4, ..EBGP };
        let family = if v6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
        let hop = if v6 || v6_hop {
            NextHop { addr: "fe80::1".parse().unwrap(), link_local: Some("fe80::1".parse().unwrap()) }
        } else {
            NextHop::new("10.0.0.1".parse().unwrap())
        };
        let mut block = Vec::new();
        attrs::put(&mut block, 0x40, kind::ORIGIN, &[0]);
        attrs::put(&mut block, 0x40, kind::AS_PATH, &attrs::AsPath(&[]).prepended(crate::types::Asn(asn), 2));
        attrs::put(&mut block, 0xc0, kind::COMMUNITIES, &[1, 2, 3, 4]);
        let sent = nets(family, &seeds);
        let mut prefixes = sent.iter().copied().peekable();
        let mut got = Vec::new();
        while prefixes.peek().is_some() {
            let mut buf = BytesMut::new();
            prop_assert!(put_announce(&mut buf, &codec, family, &block, &hop, &mut prefixes) > 0);
            prop_assert!(buf.len() <= 4_096);
            prop_assert_eq!(usize::from(u16::from_be_bytes([buf[16], buf[17]])), buf.len());
            let mut back = Vec::new();
            let update = decode(&buf, &codec, &mut back).unwrap();
            prop_assert_eq!(update.withdraw, None);
            prop_assert_eq!(&back, &block);
            match update.mp_reach {
                Some(reach) => {
                    prop_assert_eq!(reach.next_hop, hop);
                    got.extend(nlri::Nlri::new(reach.family, reach.nlri));
                }
                None => {
                    prop_assert_eq!(update.next_hop.map(IpAddr::V4), Some(hop.addr));
                    got.extend(nlri::Nlri::new(Family::Ipv4Unicast, update.nlri));
                }
            }
        }
        prop_assert_eq!(&got, &sent);
        let mut prefixes = sent.iter().copied().peekable();
        let mut gone = Vec::new();
        while prefixes.peek().is_some() {
            let mut buf = BytesMut::new();
            prop_assert!(put_withdraw(&mut buf, &codec, family, &mut prefixes) > 0);
            prop_assert!(buf.len() <= 4_096);
            let update = decode(&buf, &codec, &mut Vec::new()).unwrap();
            match update.mp_unreach {
                Some((family, run)) => gone.extend(nlri::Nlri::new(family, run)),
                None => gone.extend(nlri::Nlri::new(Family::Ipv4Unicast, update.withdrawn)),
            }
        }
        prop_assert_eq!(gone, sent);
    }

    #[test]
    fn any_body_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 4..200), as4 in any::<bool>(), ebgp in any::<bool>()) {
        let mut message = vec![0; HEADER_BYTES];
        message.extend(bytes);
        let _ = decode(&message, &Codec { as4, ebgp, ..EBGP }, &mut Vec::new());
    }
}

#[test]
fn another_next_hop_of_the_same_form_is_written_over_the_first() {
    let hop = |addr: &str, link_local: Option<&str>| NextHop {
        addr: addr.parse().unwrap(),
        link_local: link_local.map(|addr| addr.parse().unwrap()),
    };
    let cases = [
        (Family::Ipv4Unicast, hop("10.0.0.1", None), hop("10.9.8.7", None)),
        (Family::Ipv4Unicast, hop("fe80::1", Some("fe80::1")), hop("fe80::2", Some("fe80::2"))),
        (Family::Ipv6Unicast, hop("2001:db8::1", None), hop("2001:db8::2", None)),
    ];
    let mut block = Vec::new();
    for (flags, kind, value) in [ORIGIN, PATH] {
        attrs::put(&mut block, flags, kind, value);
    }
    for (family, first, second) in cases {
        let put = |next_hop| {
            let nets = (0..2_000_u32).map(|at| match family {
                Family::Ipv4Unicast => IpNet::new(Ipv4Addr::from_bits(at << 8).into(), 24).unwrap(),
                Family::Ipv6Unicast => IpNet::new(Ipv6Addr::from_bits(u128::from(at)).into(), 128).unwrap(),
            });
            let (mut buf, mut nets) = (BytesMut::new(), nets.peekable());
            while put_announce(&mut buf, &EBGP, family, &block, &next_hop, &mut nets) > 0 {}
            buf
        };
        let mut changed = put(first);
        set_next_hop(&mut changed, &EBGP, &second);
        assert_eq!(changed, put(second));
    }
}
