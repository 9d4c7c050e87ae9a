//! RFC 5882, Generic Application of BFD: what a session of BFD with our life before a restart is to the BGP session after it (§4.3).

use crate::harness::plant::{Kin, Plant};
use std::time::Duration;
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;
use weft_bgp::wire::Kind;

/// A guest that has said all it has to say for a session, of which BFD is waited for at most so long.
fn opened(wait: Duration) -> Plant {
    let mut plant = Plant::new(Kin::External);
    let until = plant.now + wait;
    plant.speaker.handle(plant.now, Input::AwaitBfd { peer: PeerId(1), until });
    plant.try_open();
    plant
}

fn bfd(plant: &mut Plant, is_up: bool) {
    plant.speaker.handle(plant.now, Input::BfdState { peer: PeerId(1), is_up });
    plant.pass(Duration::from_millis(1));
}

/// §4.3.2: BFD that shares our fate fails with the restart; there is no new BGP session yet that this could end.
#[test]
fn after_a_restart_a_session_waits_for_bfd() {
    let mut plant = opened(Duration::from_secs(4));
    plant.pass(Duration::from_secs(3));
    assert_eq!((plant.guest_state().as_str(), plant.heard(Kind::Keepalive).len()), ("OpenConfirm", 0));
    bfd(&mut plant, true);
    assert_eq!((plant.guest_state().as_str(), plant.notified().len()), ("Established", 0));
    plant.check();
}

/// §4.3: without BFD the session comes up nevertheless, a moment later: nobody has said that it must not.
#[test]
fn bfd_that_does_not_come_up_prevents_nothing() {
    let mut plant = opened(Duration::from_secs(4));
    plant.pass(Duration::from_secs(5));
    assert_eq!((plant.guest_state().as_str(), plant.notified().len()), ("Established", 0));
    plant.check();
}

/// The wait ends before the peer's hold timer (RFC 4271 §8.2.2, OpenConfirm) could.
#[test]
fn the_wait_is_shorter_than_the_hold_time() {
    let mut plant = opened(Duration::from_secs(60));
    plant.pass(Duration::from_secs(5));
    assert_eq!(plant.guest_state(), "Established");
}

/// Once only: the session after that one is as any other.
#[test]
fn a_later_session_does_not_wait() {
    let mut plant = opened(Duration::from_secs(4));
    bfd(&mut plant, true);
    bfd(&mut plant, false);
    plant.leave();
    plant.try_open();
    assert_eq!(plant.guest_state(), "Established");
}
