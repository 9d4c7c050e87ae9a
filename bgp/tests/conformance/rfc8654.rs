//! RFC 8654, Extended Message Support for BGP.

use crate::harness::plant::{Kin, OWN_PREFIX, Plant, block, framed};
use std::time::Duration;
use weft_bgp::speaker::{Input, Originate};
use weft_bgp::wire::Kind;
use weft_bgp::wire::attrs::{flag, kind, put};

fn opened([we_offer, they_offer]: [bool; 2]) -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| config.session.extended_message = we_offer);
    plant.offer(|open| open.can.extended_message = they_offer);
    plant.try_open();
    assert_eq!(plant.guest_state(), "Established");
    plant
}

/// An UPDATE of the guest with an unknown attribute of so many octets.
fn update(plant: &mut Plant, octets: usize, prefix: &[u8]) {
    let mut attributes = block();
    put(&mut attributes, flag::TRANSITIVE, kind::NEXT_HOP, &[192, 0, 2, 1]);
    put(&mut attributes, flag::OPTIONAL | flag::TRANSITIVE, 99, &vec![7; octets]);
    plant.update(&[], &attributes, prefix);
}

/// §3: we say that we can receive them, unless told not to.
#[test]
fn the_capability_is_offered() {
    assert!(opened([true, true]).our_open().can.extended_message);
    assert!(!opened([false, true]).our_open().can.extended_message);
}

/// §4: "applies to all messages except for OPEN and KEEPALIVE": an UPDATE beyond 4,096 octets is taken once we offered, also from a
/// peer that can not receive any.
#[test]
fn a_long_update_is_taken_from_whoever_heard_our_offer() {
    for they_offer in [true, false] {
        let mut plant = opened([true, they_offer]);
        update(&mut plant, 60_000, &[24, 203, 0, 113]);
        assert_eq!(plant.guest_state(), "Established");
        assert!(plant.route("203.0.113.0/24").is_some());
        plant.check();
    }
}

/// §5: without our offer, RFC 4271 §6.1 holds: Bad Message Length with the length as data.
#[test]
fn a_long_update_without_our_offer_is_a_bad_length() {
    let mut plant = opened([false, true]);
    plant.send(&framed(2, &[0; 5_000]));
    assert_eq!(plant.notified(), [(1, 2)]);
    assert_eq!(plant.notifications()[0].data[..], 5_019_u16.to_be_bytes());
    plant.check();
}

/// §4: an OPEN is at most 4,096 octets long, and a KEEPALIVE is 19, whatever was agreed.
#[test]
fn open_and_keepalive_stay_short() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| open.can.extended_message = true);
    plant.accept();
    plant.send(&framed(1, &[0; 4_100]));
    assert_eq!(plant.notified(), [(1, 2)]);
    let mut plant = opened([true, true]);
    plant.send(&framed(4, &[0]));
    assert_eq!(plant.notified(), [(1, 2)]);
}

/// §4: "A BGP speaker MAY send Extended Messages to a peer only if" it said that it can receive them; a route that does not fit
/// otherwise is not told to another.
#[test]
fn long_updates_are_sent_only_to_who_offered() {
    for they_offer in [true, false] {
        let mut plant = opened([true, they_offer]);
        let route = |prefix: &str, communities: u32| Originate {
            prefix: prefix.parse().unwrap(),
            communities: (0..communities).collect(),
            large_communities: Vec::new(),
            weight: None,
            why: "test".to_owned(),
        };
        let routes = vec![route(OWN_PREFIX, 0), route("10.10.0.0/16", 15_000)];
        plant.speaker.handle(plant.now, Input::SetOriginated(routes));
        plant.pass(Duration::from_secs(1));
        let longest = plant.heard(Kind::Update).iter().map(bytes::Bytes::len).max().unwrap();
        assert_eq!(longest > 60_000, they_offer);
        assert_eq!(plant.guest_state(), "Established");
        plant.check();
    }
}
