//! RFC 7313, Enhanced Route Refresh Capability for BGP-4.

use crate::harness::plant::{Kin, Plant, framed};
use crate::restarting::{NLRI, announce, established, stale};
use std::time::Duration;
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;
use weft_bgp::wire::Kind;

const REQUEST: u8 = 0;
const BORR: u8 = 1;
const EORR: u8 = 2;

fn refresh(subtype: u8) -> Vec<u8> {
    framed(5, &[0, 1, subtype, 1])
}

fn plant() -> Plant {
    established(Kin::External, None, None)
}

/// The guest's side of the session, without the capability.
fn old() -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.try_open();
    announce(&mut plant, &NLRI, &[]);
    plant
}

/// Kinds of what the guest heard after `from` messages: `b` BoRR, `e` EoRR, `u` UPDATE, others left out.
fn heard(plant: &Plant, from: usize) -> String {
    let name = |kind: Kind, message: &[u8]| match (kind, message.get(21)) {
        (Kind::RouteRefresh, Some(&BORR)) => "b",
        (Kind::RouteRefresh, Some(&EORR)) => "e",
        (Kind::RouteRefresh, _) => "r",
        (Kind::Update, _) => "u",
        _ => "",
    };
    plant.all_heard()[from..].iter().map(|(kind, message)| name(*kind, message)).collect()
}

/// §3.1: the capability is offered.
#[test]
fn the_capability_is_offered() {
    assert!(plant().our_open().can.enhanced_refresh);
}

/// §4.1: what answers a request stands between BoRR and EoRR, one pair for each family.
#[test]
fn an_answer_is_demarcated() {
    let mut plant = plant();
    let from = plant.all_heard().len();
    plant.send(&refresh(REQUEST));
    assert_eq!(heard(&plant, from), "bbuuee");
    plant.check();
}

/// §4.1: so is a refresh that we begin ourselves.
#[test]
fn a_refresh_of_our_own_is_demarcated() {
    let mut plant = plant();
    let from = plant.all_heard().len();
    plant.speaker.handle(plant.now, Input::Clear { peer: PeerId(1), hard: false });
    plant.pass(Duration::from_millis(500));
    assert_eq!(heard(&plant, from).replace('r', ""), "bbuuee");
}

/// §4.1: not to a peer that did not offer it.
#[test]
fn without_the_capability_nothing_is_demarcated() {
    let mut plant = old();
    let from = plant.all_heard().len();
    plant.send(&refresh(REQUEST));
    assert_eq!(heard(&plant, from), "uu");
}

/// §4.2: BoRR makes the routes of its family stale, an UPDATE fresh again, and EoRR removes the rest.
#[test]
fn what_is_not_repeated_between_borr_and_eorr_goes() {
    let mut plant = plant();
    plant.send(&refresh(BORR));
    assert_eq!(stale(&plant), [Some(true); 2]);
    announce(&mut plant, &NLRI[..3], &[]);
    assert_eq!(stale(&plant), [Some(false), Some(true)]);
    plant.send(&refresh(EORR));
    plant.pass(Duration::from_millis(500));
    assert_eq!(stale(&plant), [Some(false), None]);
    assert!(plant.told("10.3.0.0/16").is_none() && plant.told("10.1.0.0/16").is_some());
    plant.check();
}

/// §4.2: only those of its family.
#[test]
fn a_refresh_of_another_family_changes_nothing() {
    let mut plant = plant();
    plant.send(&framed(5, &[0, 2, BORR, 1]));
    assert_eq!(stale(&plant), [Some(false); 2]);
    plant.send(&framed(5, &[0, 2, EORR, 1]));
    plant.pass(Duration::from_millis(500));
    assert_eq!(stale(&plant), [Some(false); 2]);
}

/// §4.2: routes stay in use while they are stale: nobody else notices a refresh that changes nothing.
#[test]
fn a_refresh_that_changes_nothing_is_not_passed_on() {
    let mut plant = plant();
    let before = plant.canary_updates();
    plant.send(&[refresh(BORR), refresh(BORR)].concat());
    announce(&mut plant, &NLRI, &[]);
    plant.send(&refresh(EORR));
    plant.pass(Duration::from_secs(1));
    assert_eq!((plant.canary_updates(), stale(&plant)), (before, [Some(false); 2]));
    plant.check();
}

/// §4.2: EoRR without BoRR is ignored.
#[test]
fn eorr_alone_is_ignored() {
    let mut plant = plant();
    plant.send(&refresh(EORR));
    plant.pass(Duration::from_millis(500));
    assert_eq!(stale(&plant), [Some(false); 2]);
}

/// §4.2: "a BGP speaker MAY implement an upper bound": stale routes do not wait for an EoRR that never comes.
#[test]
fn without_eorr_stale_routes_go_in_time() {
    let mut plant = plant();
    plant.send(&refresh(BORR));
    for _ in 0..119 {
        plant.send(&framed(4, &[]));
        plant.pass(Duration::from_secs(1));
    }
    assert_eq!(stale(&plant), [Some(true); 2]);
    plant.send(&framed(4, &[]));
    plant.pass(Duration::from_secs(2));
    assert_eq!((plant.guest_state().as_str(), stale(&plant)), ("Established", [None; 2]));
}

/// §5: "If the length … is not 4", Invalid Message Length, and the data is the whole message.
#[test]
fn a_demarcation_of_another_length_is_invalid() {
    for subtype in [BORR, EORR] {
        let mut plant = plant();
        let message = framed(5, &[0, 1, subtype, 1, 9, 9]);
        plant.send(&message);
        let sent = plant.notifications().pop().unwrap();
        assert_eq!((sent.code, sent.subcode, &sent.data[..]), (7, 1, &message[..]));
        plant.check();
    }
}

/// §5: the same of a request is Bad Message Length (RFC 4271 §6.1), as without the capability.
#[test]
fn a_request_of_another_length_is_a_bad_length() {
    for mut plant in [plant(), old()] {
        plant.send(&framed(5, &[0, 1, REQUEST, 1, 9]));
        assert_eq!(plant.notified(), [(1, 2)]);
    }
    let mut plant = old();
    plant.send(&framed(5, &[0, 1, BORR, 1, 9]));
    assert_eq!(plant.notified(), [(1, 2)]);
}

/// §5: an unknown subtype is ignored.
#[test]
fn an_unknown_subtype_is_ignored() {
    for subtype in 3..=255 {
        let mut plant = plant();
        let from = plant.all_heard().len();
        plant.send(&refresh(subtype));
        assert_eq!((heard(&plant, from).as_str(), stale(&plant)), ("", [Some(false); 2]));
    }
}

/// RFC 2918 §3: without the capability the octet is reserved, and ignored: the message is a request.
#[test]
fn without_the_capability_the_subtype_means_nothing() {
    let mut plant = old();
    let from = plant.all_heard().len();
    plant.send(&refresh(BORR));
    assert_eq!((heard(&plant, from).as_str(), stale(&plant)), ("uu", [Some(false); 2]));
}
