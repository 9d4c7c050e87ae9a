//! RFC 8538, Notification Message Support for BGP Graceful Restart.

use crate::harness::plant::{Kin, Plant, framed};
use crate::restarting::{NLRI, announce, established, graceful, offer, stale};
use std::time::Duration;
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;

const KEPT: [Option<bool>; 2] = [Some(true); 2];
const GONE: [Option<bool>; 2] = [None; 2];

fn helper() -> Plant {
    established(Kin::External, Some(graceful([true, true])), None)
}

fn after(mut plant: Plant, message: &[u8]) -> [Option<bool>; 2] {
    plant.send(message);
    plant.pass(Duration::from_secs(1));
    plant.check();
    stale(&plant)
}

/// §2: the N bit is in our capability, if the operator wants it.
#[test]
fn the_n_bit_is_offered() {
    assert!(helper().our_open().can.graceful.unwrap().notification);
}

/// §4.1: a NOTIFICATION from the peer begins a graceful restart, whatever its code.
#[test]
fn a_notification_from_the_peer_keeps_its_routes() {
    for body in [&[6, 6][..], &[6, 4], &[3, 1], &[4, 0], &[1, 2, 0, 9]] {
        assert_eq!(after(helper(), &framed(3, body)), KEPT, "{body:?}");
    }
}

/// §3, §4.1: a hard reset ends the session for good.
#[test]
fn a_hard_reset_from_the_peer_drops_them() {
    assert_eq!(after(helper(), &framed(3, &[6, 9, 6, 2, 3, b'b', b'y', b'e'])), GONE);
    assert_eq!(after(helper(), &framed(3, &[6, 9])), GONE);
}

/// §4.1: without the N bit of both sides RFC 4724 holds.
#[test]
fn without_the_n_bit_a_notification_drops_them() {
    let plant = established(Kin::External, Some(graceful([false, true])), None);
    assert_eq!(after(plant, &framed(3, &[6, 6])), GONE);
}

/// §2: an operator may want dead peers' routes gone with the hold time: then we do not say the N bit, and RFC 4724 holds.
#[test]
fn without_our_n_bit_silence_drops_its_routes() {
    let mut plant = Plant::configured(Kin::External, |_, guest, _| {
        guest.graceful_restart_s = Some(120);
        guest.session.notification_restart = false;
    });
    offer(&mut plant, Some(graceful([true, true])), None);
    plant.try_open();
    assert!(!plant.our_open().can.graceful.unwrap().notification);
    announce(&mut plant, &NLRI, &[]);
    plant.pass(Duration::from_secs(10));
    assert_eq!((plant.notified(), stale(&plant)), (vec![(4, 0)], GONE));
}

/// §4.1: so does a NOTIFICATION that we send for an error of the peer's, and it is sent as it is.
#[test]
fn an_error_of_the_peer_keeps_its_routes() {
    let mut plant = helper();
    plant.send(&framed(2, &[0, 9, 0, 0]));
    assert_eq!((plant.notified(), stale(&plant)), (vec![(3, 1)], KEPT));
}

/// §4.1: the hold timer's NOTIFICATION is sent, and the routes are kept.
#[test]
fn silence_keeps_its_routes() {
    let mut plant = helper();
    plant.pass(Duration::from_secs(10));
    assert_eq!((plant.notified(), stale(&plant)), (vec![(4, 0)], KEPT));
}

/// §3, §5: what an operator or a limit ends is a hard reset around the reason.
#[test]
fn an_operators_word_is_sent_as_a_hard_reset() {
    let mut plant = helper();
    plant.configure(|config| config.shutdown = Some("rack moves".to_owned()));
    let sent = plant.notifications().pop().unwrap();
    assert_eq!((sent.code, sent.subcode), (6, 9));
    assert_eq!(sent.data[..], [&[6, 2, 10][..], b"rack moves"].concat());
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), GONE);

    let mut plant = helper();
    plant.speaker.handle(plant.now, Input::Clear { peer: PeerId(1), hard: true });
    plant.pass(Duration::from_secs(1));
    assert_eq!((plant.notified(), stale(&plant)), (vec![(6, 9)], GONE));
    assert_eq!(plant.notifications()[0].data[..], [6, 4]);
}

/// §3: to a peer without the N bit the reason is sent as it always was.
#[test]
fn without_the_n_bit_there_is_no_hard_reset() {
    let mut plant = established(Kin::External, Some(graceful([false, true])), None);
    plant.configure(|config| config.shutdown = Some(String::new()));
    assert_eq!(plant.notified(), [(6, 2)]);
}

/// §4.1: a change of configuration is none that should cost the peer our routes.
#[test]
fn a_change_of_configuration_is_no_hard_reset() {
    let mut plant = helper();
    plant.configure(|config| config.hold_time_s = 30);
    assert_eq!(plant.notified(), [(6, 6)]);
}
