//! RFC 6286, AS-Wide Unique BGP Identifier.

use crate::harness::plant::{Kin, Plant};
use std::net::Ipv4Addr;

fn opened(kin: Kin, identifier: [u8; 4]) -> Plant {
    let mut plant = Plant::new(kin);
    plant.offer(|open| open.router_id = Ipv4Addr::from(identifier));
    plant.try_open();
    plant.check();
    plant
}

/// §2.1: any 4-octet non-zero integer, also one that is no unicast address.
#[test]
fn any_identifier_but_zero_is_accepted() {
    for identifier in [[0, 0, 0, 1], [255; 4], [224, 0, 0, 5], [127, 0, 0, 1]] {
        assert_eq!(opened(Kin::External, identifier).guest_state(), "Established");
    }
}

/// §2.2: zero is Bad BGP Identifier.
#[test]
fn zero_is_a_bad_identifier() {
    assert_eq!(opened(Kin::External, [0; 4]).notified(), [(2, 3)]);
}

/// §2.2: an internal peer with our own identifier is refused.
#[test]
fn our_own_identifier_inside_is_a_bad_identifier() {
    assert_eq!(opened(Kin::Internal, [10, 0, 0, 9]).notified(), [(2, 3)]);
}

/// §2.1: unique within an AS only: an external peer may have ours.
#[test]
fn our_own_identifier_outside_is_accepted() {
    assert_eq!(opened(Kin::External, [10, 0, 0, 9]).guest_state(), "Established");
}
