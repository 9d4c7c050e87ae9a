//! RFC 4271, A Border Gateway Protocol 4.

use crate::harness::plant::{Kin, Plant, framed};
use std::time::Duration;
use weft_bgp::types::Asn;
use weft_bgp::wire::Kind;

fn opened() -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.open();
    plant
}

/// §6.1: "If the Marker field of the message header is not as expected", Connection Not Synchronized.
#[test]
fn a_wrong_marker_ends_the_session_not_synchronized() {
    let mut plant = opened();
    let mut message = framed(4, &[]);
    message[3] = 0;
    plant.send(&message);
    assert_eq!(plant.notified(), [(1, 1)]);
    plant.check();
}

/// §6.1: Bad Message Length, with the length as data.
#[test]
fn a_length_below_the_header_ends_the_session() {
    let mut plant = opened();
    let mut message = framed(4, &[]);
    message[17] = 18;
    plant.send(&message);
    assert_eq!(plant.notified(), [(1, 2)]);
    assert_eq!(plant.notifications()[0].data[..], [0, 18]);
    plant.check();
}

/// §6.1: Bad Message Type, with the type as data.
#[test]
fn an_unknown_type_ends_the_session() {
    let mut plant = opened();
    plant.send(&framed(9, &[]));
    assert_eq!(plant.notified(), [(1, 3)]);
    assert_eq!(plant.notifications()[0].data[..], [9]);
    plant.check();
}

/// §4.2, §6.2: a version other than 4 is refused, and the data is the version we speak.
#[test]
fn another_version_is_refused_with_ours_as_data() {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.send(&framed(1, &[3, 0xfc, 0x59, 0, 9, 10, 0, 0, 1, 0]));
    assert_eq!(plant.notified(), [(2, 1)]);
    assert_eq!(plant.notifications()[0].data[..], [0, 4]);
    plant.check();
}

/// §6.2: Bad Peer AS.
#[test]
fn another_as_than_configured_is_refused() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| (open.asn, open.can.as4) = (Asn(64_999), Some(Asn(64_999))));
    plant.try_open();
    assert_eq!(plant.notified(), [(2, 2)]);
    plant.check();
}

/// §6.2: "An implementation MUST reject Hold Time values of one or two seconds", Unacceptable Hold Time.
#[test]
fn a_hold_time_of_one_or_two_seconds_is_refused() {
    for seconds in [1, 2] {
        let mut plant = Plant::new(Kin::External);
        plant.offer(|open| open.hold_time_s = seconds);
        plant.try_open();
        assert_eq!(plant.notified(), [(2, 6)]);
    }
}

/// §4.2: the smaller hold time counts. §6.5: silence for so long ends the session, and not before.
#[test]
fn the_smaller_hold_time_counts() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| open.hold_time_s = 4);
    plant.try_open();
    plant.pass(Duration::from_millis(3_500));
    assert_eq!(plant.guest_state(), "Established");
    plant.pass(Duration::from_millis(500));
    assert_eq!(plant.notified(), [(4, 0)]);
    plant.check();
}

/// §4.2, §4.4: with a hold time of zero there are no KEEPALIVEs but the first, and silence ends nothing.
#[test]
fn a_hold_time_of_zero_means_no_timers() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| open.hold_time_s = 0);
    plant.try_open();
    plant.pass(Duration::from_secs(600));
    assert_eq!((plant.guest_state().as_str(), plant.heard(Kind::Keepalive).len()), ("Established", 1));
    plant.check();
}

/// §4.4, §10: KEEPALIVEs come at a third of the hold time, jittered down to three quarters of that.
#[test]
fn keepalives_are_jittered() {
    let mut plant = opened();
    for _ in 0..30 {
        plant.send(&framed(4, &[]));
        plant.pass(Duration::from_secs(2));
    }
    // One a second at most every 2.25 s, at least every 3 s (and what a step of half a second adds).
    let count = plant.heard(Kind::Keepalive).len();
    assert!((17..=28).contains(&count), "{count} in 60 s");
    plant.check();
}

/// §6.4: a NOTIFICATION ends the session and is not answered.
#[test]
fn a_notification_is_not_answered() {
    for body in [&[6, 2][..], &[9, 99, 1, 2, 3], &[2, 1, 0, 3], &[0, 0]] {
        let mut plant = opened();
        plant.send(&framed(3, body));
        assert_ne!(plant.guest_state(), "Established");
        assert!(plant.notifications().is_empty());
        plant.check();
    }
}

/// §8.2.2, OpenSent, event 10: a peer that never sends its OPEN is left after four minutes with Hold Timer Expired.
#[test]
fn a_peer_without_an_open_is_left_after_four_minutes() {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.pass(Duration::from_secs(239));
    assert_eq!((plant.guest_state().as_str(), plant.notified().len()), ("OpenSent", 0));
    plant.pass(Duration::from_secs(2));
    assert_eq!(plant.notified(), [(4, 0)]);
    plant.check();
}

/// §8.1.1, §8.2.2, event 20: with DelayOpen our OPEN waits for the peer's, and follows it at once.
#[test]
fn with_delay_open_our_open_follows_theirs() {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| config.session.delay_open_ms = 20_000);
    plant.accept();
    plant.pass(Duration::from_secs(10));
    assert_eq!((plant.guest_state().as_str(), plant.heard(Kind::Open).len()), ("Active", 0));
    plant.try_open();
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §8.1.1, §8.2.2, event 12: and is sent anyway when the DelayOpenTimer expires.
#[test]
fn with_delay_open_our_open_is_sent_when_the_timer_expires() {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| config.session.delay_open_ms = 20_000);
    plant.accept();
    plant.pass(Duration::from_secs(21));
    assert_eq!((plant.guest_state().as_str(), plant.heard(Kind::Open).len()), ("OpenSent", 1));
}

/// §8.2.2, events 21 and 22 while the DelayOpenTimer runs: the connection is dropped, and no NOTIFICATION goes out before an OPEN.
#[test]
fn with_delay_open_a_fault_is_not_answered() {
    for message in [framed(9, &[]), framed(1, &[3, 0, 1, 0, 9, 10, 0, 0, 1, 0]), framed(4, &[])] {
        let mut plant = Plant::new(Kin::External);
        plant.configure(|config| config.session.delay_open_ms = 20_000);
        plant.accept();
        plant.send(&message);
        assert!(plant.heard(Kind::Open).is_empty() && plant.notifications().is_empty());
        assert!(!plant.is_connected());
        plant.check();
    }
}

/// §6.8 and §8.2.2: a second connection while the session is Established is closed with Cease, and the first one goes on.
#[test]
fn a_second_connection_beside_an_established_one_is_refused() {
    let mut plant = opened();
    let second = plant.second_connection();
    plant.second_open(second);
    assert_eq!(plant.guest_state(), "Established");
    assert_eq!(plant.second_heard().last().map(|message| (message[18], message[19], message[20])), Some((3, 6, 7)));
    plant.send(&framed(4, &[]));
    plant.check();
}

/// §8.1.1: whoever fails again and again is not listened to for a while (DampPeerOscillations), and then is.
#[test]
fn a_peer_that_keeps_failing_rests() {
    let mut plant = Plant::new(Kin::External);
    let mut refused = 0;
    for _ in 0..8 {
        plant.accept();
        refused += usize::from(!plant.is_connected());
        plant.send(&framed(9, &[]));
    }
    assert!(refused > 0, "every attempt was heard");
    plant.pass(Duration::from_secs(31));
    plant.try_open();
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §8.1.1: one lost session is none: the peer is listened to at once.
#[test]
fn a_peer_that_was_lost_once_is_back_at_once() {
    let mut plant = opened();
    plant.leave();
    plant.try_open();
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}
