//! RFC 4760, Multiprotocol Extensions for BGP-4.

use crate::bytes::{AS_PATH, NEXT_HOP, ORIGIN, attribute, established, route_with};
use crate::harness::plant::{Kin, Plant};

const HOP: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NET: [u8; 5] = [32, 0x20, 1, 0xd, 0xb9];
const TEXT: &str = "2001:db9::/32";

fn reach() -> Vec<u8> {
    attribute(0x80, 14, &[&[0, 2, 1, 16][..], &HOP, &[0], &NET].concat())
}

fn told(attributes: &[&[u8]], nlri: &[u8]) -> Plant {
    let mut plant = established(Kin::External);
    plant.update(&[], &attributes.concat(), nlri);
    plant.check();
    plant
}

/// §3: ORIGIN and AS_PATH go with it; NEXT_HOP need not, and is ignored where it does.
#[test]
fn next_hop_need_not_stand_beside_mp_reach() {
    let plant = told(&[&reach(), &ORIGIN, &AS_PATH], &[]);
    assert!(plant.route(TEXT).is_some());
    let plant = told(&[&reach(), &ORIGIN, &AS_PATH, &NEXT_HOP], &[]);
    assert_eq!(plant.route(TEXT).unwrap().paths[0].next_hop, "2001:db8::1".parse::<std::net::IpAddr>().unwrap());
}

/// §3: the reserved octet is ignored on receipt.
#[test]
fn the_reserved_octet_is_ignored() {
    let odd = attribute(0x80, 14, &[&[0, 2, 1, 16][..], &HOP, &[0xff], &NET].concat());
    assert!(told(&[&odd, &ORIGIN, &AS_PATH], &[]).route(TEXT).is_some());
}

/// §4: MP_UNREACH_NLRI alone withdraws, without any other attribute.
#[test]
fn mp_unreach_withdraws_by_itself() {
    let mut plant = told(&[&reach(), &ORIGIN, &AS_PATH], &[]);
    plant.update(&[], &attribute(0x80, 15, &[&[0, 2, 1][..], &NET].concat()), &[]);
    assert!(plant.route(TEXT).is_none());
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §3, RFC 7606 §5.1: one message may announce both families, and withdraw of one while it announces another.
#[test]
fn one_message_may_speak_of_both_families() {
    let mut plant = told(&[&reach(), &route_with(Kin::External, &[])], &[24, 10, 5, 0]);
    assert!(plant.route(TEXT).is_some() && plant.route("10.5.0.0/24").is_some());
    let gone = attribute(0x80, 15, &[&[0, 2, 1][..], &NET].concat());
    plant.update(&[], &[&gone[..], &route_with(Kin::External, &[])].concat(), &[24, 10, 6, 0]);
    assert!(plant.route(TEXT).is_none() && plant.route("10.6.0.0/24").is_some());
    plant.check();
}

/// §6, §8: what was not negotiated is ignored for the rest of the session, whatever stands in it.
#[test]
fn a_family_that_was_not_negotiated_is_ignored() {
    for value in [&[0, 1, 128, 0xff][..], &[0, 25, 70, 0], &[0, 2, 2, 0, 0]] {
        let plant = told(&[&attribute(0x80, 14, value), &ORIGIN, &AS_PATH], &[]);
        assert_eq!((plant.guest_state().as_str(), plant.guest().prefixes_received), ("Established", [0, 0]));
    }
}

/// §7: SAFI 1 is unicast; 0 and 2 are not ours.
#[test]
fn only_unicast_is_read() {
    let multicast = attribute(0x80, 14, &[&[0, 2, 2, 16][..], &HOP, &[0], &NET].concat());
    assert!(told(&[&multicast, &ORIGIN, &AS_PATH], &[]).route(TEXT).is_none());
}
