//! RFC 9069, Support for Local RIB in BMP.

use super::bytes::{AS_PATH, NEXT_HOP, NLRI, ORIGIN, PREFIX, established};
use crate::harness::collector::{LOC, Picture, hear, messages, tlvs, update};
use crate::harness::plant::{CANARY_PREFIX, Kin, OWN_PREFIX};
use std::time::Duration;
use weft_bgp::types::Family;
use weft_bgp::wire::attrs::Attrs;
use weft_bgp::wire::open::Open;

const NOBODY: &str = "0.0.0.0";

fn good() -> Vec<u8> {
    [&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat()
}

/// §4.1, §5.2: peer type 3, our AS and identifier, no address; both OPENs are alike and say how the table is written; it has a name.
#[test]
fn the_loc_rib_is_a_peer_of_its_own() {
    let mut plant = established(Kin::External);
    plant.observe(LOC);
    let all = hear(&mut plant);
    let up = all.iter().find(|heard| heard.kind == 3 && heard.peer.unwrap().kind == 3).unwrap();
    let peer = up.peer.unwrap();
    assert_eq!((peer.flags, peer.address.to_string(), peer.asn), (0, NOBODY.to_owned(), 64_600));
    assert_eq!(up.rest[..20], [0; 20], "no ends");
    let (opens, information) = messages(&up.rest[20..], 2);
    assert_eq!(opens[0], opens[1]);
    let open = Open::decode(&opens[0]).unwrap();
    assert_eq!((open.asn.0, open.router_id, open.can.as4), (64_600, peer.router_id, Some(open.asn)));
    assert_eq!(open.can.families, Family::ALL);
    assert_eq!(tlvs(information), [(3, b"global".to_vec())]);
}

/// §5.4: what is chosen, whoever it is from, our own too, then End-of-RIB; a change comes as it happens.
#[test]
fn what_is_chosen_is_reported() {
    let mut plant = established(Kin::External);
    plant.observe(LOC);
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    assert_eq!(picture.table(3, 0, NOBODY), [CANARY_PREFIX, OWN_PREFIX]);
    assert_eq!(picture.ends.iter().filter(|(kind, ..)| *kind == 3).count(), 2);
    plant.update(&[], &good(), &NLRI);
    let all = hear(&mut plant);
    let routes: Vec<_> = all.iter().filter(|heard| heard.kind == 0).collect();
    assert_eq!(routes.len(), 1);
    update(routes[0], |_, block| assert_eq!(Attrs(block).as_path().to_string(), "64601", "as in the table"));
    picture.take(&all);
    assert_eq!(picture.table(3, 0, NOBODY), [CANARY_PREFIX, PREFIX, OWN_PREFIX]);
}

/// §5.4: what has no path any more is withdrawn, once, and only if it was told.
#[test]
fn what_is_gone_is_withdrawn() {
    let mut plant = established(Kin::External);
    plant.observe(LOC);
    let mut picture = Picture::default();
    plant.update(&[], &good(), &NLRI);
    picture.take(&hear(&mut plant));
    plant.leave();
    plant.pass(Duration::from_secs(1));
    let all = hear(&mut plant);
    assert_eq!(all.iter().filter(|heard| heard.kind == 0).count(), 1);
    picture.take(&all);
    assert_eq!(picture.table(3, 0, NOBODY), [CANARY_PREFIX, OWN_PREFIX]);
    plant.accept();
    plant.open();
    hear(&mut plant);
    plant.update(&[], &good(), &NLRI);
    plant.update(&NLRI, &[], &[]);
    let all = hear(&mut plant);
    assert!(all.iter().all(|heard| heard.kind != 0), "came and went before anybody looked: {all:?}");
}

/// §6.1: statistics of the Loc-RIB (8, 10).
#[test]
fn the_size_of_the_loc_rib_is_reported() {
    let mut plant = established(Kin::External);
    plant.observe(LOC);
    hear(&mut plant);
    plant.pass(Duration::from_secs(61));
    let all = hear(&mut plant);
    let report = all.iter().find(|heard| heard.kind == 1 && heard.peer.unwrap().kind == 3).unwrap();
    let stats = tlvs(&report.rest[4..]);
    assert_eq!(stats[0], (8, vec![0, 0, 0, 0, 0, 0, 0, 2]));
    assert_eq!(stats[1], (10, vec![0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2]));
}
