//! RFC 5701, IPv6 Address Specific BGP Extended Communities Attribute.

use crate::bytes::{PREFIX, telling, told_attr};
use crate::harness::plant::Kin;

fn community(first: u8) -> Vec<u8> {
    [&[first, 2][..], &[0x20, 1, 0xd, 0xb8], &[0; 12], &[0, 7]].concat()
}

/// §2: optional transitive, twenty octets each, carried as they came.
#[test]
fn ipv6_communities_are_carried_as_they_came() {
    let value = [community(0), community(0x3f)].concat();
    let plant = telling(Kin::External, 0xc0, 25, &value);
    assert_eq!(told_attr(&plant, 25), Some((0xc0, value)), "and no Partial bit: it was recognised");
}

/// §2 with RFC 4360 §6: non-transitive ones do not leave the AS.
#[test]
fn non_transitive_ipv6_communities_do_not_leave_the_as() {
    let plant = telling(Kin::Internal, 0xc0, 25, &[community(0x40), community(0)].concat());
    assert_eq!(told_attr(&plant, 25), Some((0xc0, community(0))));
    let plant = telling(Kin::Internal, 0xc0, 25, &community(0x40));
    assert_eq!(told_attr(&plant, 25), None);
    assert!(plant.told(PREFIX).is_some());
}
