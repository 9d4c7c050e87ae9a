//! draft-ietf-idr-bgp-bfd-strict-mode, BGP BFD Strict-Mode.

use crate::harness::plant::{Kin, Plant};
use std::time::Duration;
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;
use weft_bgp::wire::Kind;

/// A guest that has said all it has to say for a session; BFD to it must be Up for that, where `strict`.
fn opened([strict, up_before]: [bool; 2]) -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| config.session.bfd_strict = strict);
    if up_before {
        bfd(&mut plant, true);
    }
    plant.try_open();
    plant
}

fn bfd(plant: &mut Plant, is_up: bool) {
    plant.speaker.handle(plant.now, Input::BfdState { peer: PeerId(1), is_up });
    plant.pass(Duration::from_millis(1));
}

/// §5, §6: who is strict says so.
#[test]
fn the_capability_is_offered() {
    assert!(opened([true, true]).our_open().can.bfd_strict);
    assert!(!opened([false, true]).our_open().can.bfd_strict);
}

/// §8: the OPEN is answered once BFD is Up, and a KEEPALIVE that came before that counts then.
#[test]
fn no_session_before_bfd_is_up() {
    let mut plant = opened([true, false]);
    plant.pass(Duration::from_secs(5));
    assert_eq!((plant.guest_state().as_str(), plant.heard(Kind::Keepalive).len()), ("OpenConfirm", 0));
    bfd(&mut plant, true);
    assert_eq!((plant.guest_state().as_str(), plant.notified().len()), ("Established", 0));
    assert!(!plant.heard(Kind::Keepalive).is_empty());
    plant.check();
}

/// §8: nothing is waited for where BFD is Up already, or where nobody is strict.
#[test]
fn a_session_that_has_bfd_or_needs_none_is_not_delayed() {
    for [strict, up_before] in [[true, true], [false, false]] {
        assert_eq!(opened([strict, up_before]).guest_state(), "Established");
    }
}

/// §7, §8: BFD that does not come up within its hold time ends the attempt with Cease/BFD Down.
#[test]
fn bfd_that_does_not_come_up_in_time_ends_the_attempt() {
    let mut plant = opened([true, false]);
    plant.pass(Duration::from_secs(29));
    assert_eq!(plant.notified(), []);
    plant.pass(Duration::from_secs(2));
    assert_eq!(plant.notified(), [(6, 10)]);
    plant.check();
}

/// §8: after BFD was lost the next session waits for it again.
#[test]
fn a_session_after_a_failure_waits_again() {
    let mut plant = opened([true, true]);
    plant.speaker.handle(plant.now, Input::BfdDown { peer: PeerId(1), retain: false });
    bfd(&mut plant, false);
    plant.pass(Duration::from_secs(3));
    plant.try_open();
    assert_eq!(plant.guest_state(), "OpenConfirm");
    bfd(&mut plant, true);
    assert_eq!(plant.guest_state(), "Established");
}
