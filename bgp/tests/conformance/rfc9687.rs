//! RFC 9687, Border Gateway Protocol 4 (BGP-4) Send Hold Timer.

use crate::harness::plant::{Kin, Plant, framed};
use std::time::Duration;
use weft_bgp::event::Event;

/// An Established guest that sends KEEPALIVEs but reads nothing from now on.
fn deaf(change: impl FnOnce(&mut weft_bgp::peer::SessionOptions), hold_time_s: u16) -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| {
        change(&mut config.session);
        config.hold_time_s = hold_time_s;
    });
    plant.offer(|open| open.hold_time_s = hold_time_s);
    plant.try_open();
    plant.set_deaf(true);
    plant
}

/// Seconds until the session ends, at most `limit`.
fn ends_after(plant: &mut Plant, limit: u64) -> u64 {
    for second in 0..limit {
        if plant.guest_state() != "Established" {
            return second;
        }
        plant.send(&framed(4, &[]));
        plant.pass(Duration::from_secs(1));
    }
    limit
}

/// §5, §6: unless configured, after the greater of eight minutes and twice the hold time; the error is said to the operator.
#[test]
fn a_peer_that_does_not_read_is_left_after_eight_minutes() {
    let mut plant = deaf(|_| {}, 9);
    let seconds = ends_after(&mut plant, 600);
    assert!((480..=485).contains(&seconds), "{seconds}");
    let down = |event: &Event| matches!(event, Event::SessionDown { reason, .. } if reason.contains("(8/0)"));
    assert!(plant.events.iter().any(down), "{:?}", plant.events);
    plant.check();
}

/// §6: twice the hold time where that is more.
#[test]
fn with_a_long_hold_time_it_is_twice_that() {
    let mut plant = deaf(|_| {}, 300);
    let seconds = ends_after(&mut plant, 800);
    // The first KEEPALIVE that finds no room comes up to a third of the hold time later.
    assert!((600..=705).contains(&seconds), "{seconds}");
    plant.check();
}

/// §4.3, §6: the time may be configured, and zero means never.
#[test]
fn the_time_may_be_configured() {
    assert!((20..=25).contains(&ends_after(&mut deaf(|session| session.send_hold_s = Some(20), 9), 100)));
    assert_eq!(ends_after(&mut deaf(|session| session.send_hold_s = Some(0), 9), 1_200), 1_200);
}

/// §4.3: what was sent in time begins it anew: a slow reader is not a dead one.
#[test]
fn a_peer_that_reads_now_and_then_keeps_its_session() {
    let mut plant = deaf(|session| session.send_hold_s = Some(20), 9);
    for _ in 0..10 {
        assert_eq!(ends_after(&mut plant, 15), 15);
        plant.set_deaf(false);
        plant.set_deaf(true);
    }
    plant.check();
}

/// §3: nobody else notices, and what waits for the reader that is none does not grow.
#[test]
fn what_waits_for_a_deaf_peer_is_bounded() {
    let mut plant = deaf(|_| {}, 9);
    ends_after(&mut plant, 400);
    plant.set_deaf(false);
    assert!(plant.heard(weft_bgp::wire::Kind::Keepalive).len() <= 4);
    plant.check();
}

/// §4.3: where the hold time is zero, the timer is stopped.
#[test]
fn without_a_hold_time_there_is_no_send_hold_time() {
    assert_eq!(ends_after(&mut deaf(|session| session.send_hold_s = Some(20), 0), 100), 100);
}
