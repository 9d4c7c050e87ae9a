//! RFC 8671, Support for Adj-RIB-Out in BMP.

use super::bytes::{AS_PATH, NEXT_HOP, NLRI, ORIGIN, PREFIX, established};
use crate::harness::collector::{OUT, PRE, Picture, hear, update};
use crate::harness::plant::{Kin, OWN_PREFIX, Plant, framed};
use std::time::Duration;
use weft_bgp::speaker::Views;
use weft_bgp::wire::attrs::Attrs;

const CANARY: &str = "192.0.2.2";
/// The O and the L flag: what a peer is told, after the policy.
const OUT_POST: u8 = 0x50;

fn good() -> Vec<u8> {
    [&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat()
}

/// §4, §4.1: what a peer is told comes with the O flag, and with L because it is after the policy; it is what was put on the wire.
#[test]
fn what_a_peer_is_told_is_reported_with_the_o_flag() {
    let mut plant = established(Kin::External);
    plant.observe(OUT);
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    plant.update(&[], &good(), &NLRI);
    plant.pass(Duration::from_secs(1));
    let all = hear(&mut plant);
    picture.take(&all);
    let told = all.iter().find(|heard| heard.kind == 0).unwrap();
    let peer = told.peer.unwrap();
    assert_eq!((peer.address.to_string().as_str(), peer.flags), (CANARY, OUT_POST));
    update(told, |update, block| {
        assert_eq!(Attrs(block).as_path().to_string(), "64600 64601");
        assert_eq!(update.next_hop, Some("192.0.2.9".parse().unwrap()));
    });
    plant.update(&NLRI, &[], &[]);
    plant.pass(Duration::from_secs(1));
    assert!(picture.table(0, OUT_POST, CANARY).contains(&PREFIX.to_owned()));
    picture.take(&hear(&mut plant));
    assert!(!picture.table(0, OUT_POST, CANARY).contains(&PREFIX.to_owned()));
    plant.check();
}

/// §4: a collector that comes later hears what each peer was told so far, then End-of-RIB; nobody is told anything again for that.
#[test]
fn a_late_collector_hears_what_each_peer_knows() {
    let mut plant = established(Kin::External);
    plant.update(&[], &good(), &NLRI);
    plant.pass(Duration::from_secs(1));
    let updates = plant.canary_updates();
    plant.observe(Views { pre_policy: true, ..OUT });
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    let mut told: Vec<_> = plant.canary_routes().keys().map(|(prefix, _)| prefix.to_string()).collect();
    told.sort();
    let mut heard = picture.table(0, OUT_POST, CANARY);
    heard.sort();
    assert_eq!(heard, told);
    assert!(told.contains(&OWN_PREFIX.to_owned()) && told.contains(&PREFIX.to_owned()));
    assert_eq!(picture.ends.iter().filter(|(_, flags, ..)| *flags == OUT_POST).count(), 4);
    plant.pass(Duration::from_secs(1));
    assert_eq!(plant.canary_updates(), updates);
    plant.check();
}

/// §5: without the view nothing of it is said.
#[test]
fn nothing_is_said_of_it_unasked() {
    let mut plant = established(Kin::External);
    plant.observe(PRE);
    plant.update(&[], &good(), &NLRI);
    plant.pass(Duration::from_secs(1));
    assert!(hear(&mut plant).iter().all(|heard| heard.peer.is_none_or(|peer| peer.flags & 0x10 == 0)));
}

/// RFC 7854 §4.6: a Route Monitoring has an UPDATE. A peer that asks again is told between two marks (RFC 7313 §4.1), which are none.
#[test]
fn marks_of_a_refresh_are_not_reported() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| open.can.enhanced_refresh = true);
    plant.observe(OUT);
    plant.try_open();
    plant.pass(Duration::from_secs(1));
    hear(&mut plant);
    plant.send(&framed(5, &[0, 1, 0, 1]));
    plant.pass(Duration::from_secs(1));
    let monitored: Vec<u8> =
        hear(&mut plant).iter().filter(|heard| heard.kind == 0).map(|heard| heard.rest[18]).collect();
    assert!(!monitored.is_empty() && monitored.iter().all(|kind| *kind == 2), "{monitored:?}");
}
