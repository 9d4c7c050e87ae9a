//! RFC 2545, BGP-4 Multiprotocol Extensions for IPv6 Inter-Domain Routing.

use crate::bytes::{AS_PATH, ORIGIN, attribute, established};
use crate::harness::plant::Kin;

const GLOBAL: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// 2001:db9::/32 with this next hop.
fn reach(next_hop: &[u8]) -> Vec<u8> {
    let length = u8::try_from(next_hop.len()).unwrap();
    let value = [&[0, 2, 1, length][..], next_hop, &[0, 32, 0x20, 1, 0xd, 0xb9]].concat();
    [&attribute(0x80, 14, &value)[..], &ORIGIN, &AS_PATH].concat()
}

/// §3: a global address alone, or with the link-local one behind it.
#[test]
fn the_next_hop_is_global_with_or_without_a_link_local_address() {
    for next_hop in [&GLOBAL[..], &[GLOBAL, LOCAL].concat()] {
        let mut plant = established(Kin::External);
        plant.update(&[], &reach(next_hop), &[]);
        let path = plant.route("2001:db9::/32").unwrap().paths[0].clone();
        assert_eq!(path.next_hop, "2001:db8::1".parse::<std::net::IpAddr>().unwrap());
        assert_eq!(path.hop.unwrap().link.0, 2, "the link whose prefix holds the address");
        plant.check();
    }
}

/// §3: no other length.
#[test]
fn a_next_hop_of_another_length_resets() {
    for length in [4, 8, 24, 48] {
        let mut plant = established(Kin::External);
        plant.update(&[], &reach(&vec![0x20; length]), &[]);
        let sent = plant.notifications();
        assert_eq!((sent[0].code, sent[0].subcode), (3, 9), "{length}");
        plant.check();
    }
}

/// §2, §3: a next hop on no link of ours leads nowhere, and the route waits.
#[test]
fn a_next_hop_on_no_link_of_ours_is_not_used() {
    let mut plant = established(Kin::External);
    plant.update(&[], &reach(&[0x20, 1, 0xd, 0xba, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), &[]);
    let path = plant.route("2001:db9::/32").unwrap().paths[0].clone();
    assert_eq!((path.hop, path.best), (None, false));
    plant.check();
}
