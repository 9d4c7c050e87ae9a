//! RFC 9384, A BGP Cease NOTIFICATION Subcode for Bidirectional Forwarding Detection; with RFC 5882 §4.3 on graceful restart.

use crate::harness::plant::{Kin, Plant};
use crate::restarting::{established, graceful, stale};
use std::time::Duration;
use weft_bgp::peer::PeerRestart;
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;

const KEPT: [Option<bool>; 2] = [Some(true); 2];
const GONE: [Option<bool>; 2] = [None; 2];

/// What is left after BFD lost a guest that offered this; `retain`: it said that BFD may die with its control plane.
fn lost(restart: Option<PeerRestart>, retain: bool) -> (Plant, [Option<bool>; 2]) {
    let mut plant = established(Kin::External, restart, None);
    plant.speaker.handle(plant.now, Input::BfdDown { peer: PeerId(1), retain });
    plant.pass(Duration::from_secs(1));
    plant.check();
    let stale = stale(&plant);
    (plant, stale)
}

/// §3: the session ends with Cease, subcode 10, and its routes go.
#[test]
fn the_session_ends_with_bfd_down() {
    let (plant, left) = lost(None, false);
    assert_eq!((plant.notified(), left), (vec![(6, 10)], GONE));
    assert_eq!(plant.guest().last_error.as_deref(), Some("sent BFD Down (6/10)"));
}

/// §3: to a peer that would keep our routes over a NOTIFICATION (RFC 8538) it is a hard reset around that.
#[test]
fn with_the_n_bit_it_is_a_hard_reset() {
    let (plant, left) = lost(Some(graceful([true, true])), false);
    assert_eq!((plant.notified(), left), (vec![(6, 9)], GONE));
    assert_eq!(plant.notifications()[0].data[..], [6, 10]);
}

/// RFC 5882 §4.3: if BFD shares the fate of the peer's control plane, its end begins a graceful restart.
#[test]
fn bfd_that_dies_with_the_control_plane_begins_a_graceful_restart() {
    let (plant, left) = lost(Some(graceful([true, true])), true);
    assert_eq!((plant.notified(), left), (vec![(6, 10)], KEPT));
    // Without the N bit a NOTIFICATION would end it (RFC 4724 §4.2): none is sent.
    let (plant, left) = lost(Some(graceful([false, true])), true);
    assert_eq!((plant.notified(), left), (vec![], KEPT));
}

/// RFC 5882 §4.3: without graceful restart there is nothing to keep.
#[test]
fn without_graceful_restart_nothing_is_kept() {
    let (plant, left) = lost(None, true);
    assert_eq!((plant.notified(), left), (vec![(6, 10)], GONE));
}

/// A peer without a session has none to lose.
#[test]
fn a_peer_that_is_not_there_is_left_alone() {
    let mut plant = Plant::new(Kin::External);
    plant.speaker.handle(plant.now, Input::BfdDown { peer: PeerId(1), retain: false });
    plant.try_open();
    assert_eq!((plant.guest_state().as_str(), plant.notified().len()), ("Established", 0));
}

/// RFC 5882 §4.3.1: BFD that outlives its control plane failed during a graceful restart: the path is broken, and the restart is over.
#[test]
fn a_path_that_breaks_during_a_graceful_restart_ends_it() {
    for (retain, left) in [(true, KEPT), (false, GONE)] {
        let (mut plant, kept) = lost(Some(graceful([false, true])), true);
        assert_eq!(kept, KEPT);
        plant.speaker.handle(plant.now, Input::BfdDown { peer: PeerId(1), retain });
        plant.pass(Duration::from_millis(1));
        assert_eq!(stale(&plant), left);
    }
}
