//! RFC 4724, Graceful Restart Mechanism for BGP: the receiving speaker (§4.2) and what both say (§3).

use crate::harness::plant::{Kin, Plant, framed};
use crate::restarting::{NLRI, RESTART_S, announce, end_of_rib, established, graceful, offer, stale};
use std::time::Duration;
use weft_bgp::types::Family;

const KEPT: [Option<bool>; 2] = [Some(true); 2];
const GONE: [Option<bool>; 2] = [None; 2];

fn helper() -> Plant {
    established(Kin::External, Some(graceful([false, true])), None)
}

/// §3: the capability names our restart time and families; after a cold start neither R nor F bits.
#[test]
fn the_capability_is_offered() {
    let ours = helper().our_open().can.graceful.unwrap();
    assert_eq!(ours.time_s, 120);
    assert_eq!(ours.families, Family::ALL.map(|family| (family, false)));
}

/// §3: "Any other bits … MUST be ignored", and of several capabilities the last counts.
#[test]
fn the_last_capability_counts() {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| config.graceful_restart_s = Some(120));
    plant.accept();
    let twice = [2, 8, 64, 6, 0, 0, 0, 1, 1, 0x80, 2, 8, 64, 6, 0x3f, 40, 0, 1, 1, 0xff];
    let open = [&[4, 0xfc, 0x59, 0, 9, 10, 0, 0, 1, 28][..], &twice, &[2, 6, 65, 4, 0, 0, 0xfc, 0x59]].concat();
    plant.send(&[framed(1, &open), framed(4, &[])].concat());
    announce(&mut plant, &NLRI, &[]);
    plant.leave();
    assert_eq!(stale(&plant), KEPT);
}

/// §4.2: a session that ends without a NOTIFICATION leaves its routes as stale, for the peer's restart time.
#[test]
fn routes_are_kept_for_the_restart_time() {
    let mut plant = helper();
    plant.leave();
    assert_eq!(stale(&plant), KEPT);
    assert!(plant.told("10.1.0.0/16").is_some(), "still told to others");
    plant.pass(Duration::from_secs(u64::from(RESTART_S) - 1));
    assert_eq!(stale(&plant), KEPT);
    plant.pass(Duration::from_secs(2));
    assert_eq!(stale(&plant), GONE);
    assert!(plant.told("10.1.0.0/16").is_none());
    plant.check();
}

/// §4.2: "The procedures … only apply … when the BGP session terminates without a NOTIFICATION".
#[test]
fn a_notification_ends_it() {
    let mut plant = helper();
    plant.send(&framed(3, &[6, 6]));
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), GONE);
}

/// §4.2: the hold timer sends one.
#[test]
fn silence_ends_it() {
    let mut plant = helper();
    plant.pass(Duration::from_secs(10));
    assert_eq!((plant.notified(), stale(&plant)), (vec![(4, 0)], GONE));
}

/// §4.2: a peer without the capability, or with a restart time of zero, is not waited for.
#[test]
fn a_peer_that_does_not_restart_is_not_waited_for() {
    let mut no_time = graceful([false, true]);
    no_time.time_s = 0;
    for restart in [None, Some(no_time)] {
        let mut plant = established(Kin::External, restart, None);
        plant.leave();
        plant.pass(Duration::from_secs(1));
        assert_eq!(stale(&plant), GONE);
    }
}

/// §4.2: what is announced again is no longer stale; what is not goes with End-of-RIB.
#[test]
fn end_of_rib_removes_what_was_not_announced_again() {
    let mut plant = helper();
    plant.leave();
    plant.try_open();
    assert_eq!(stale(&plant), KEPT);
    announce(&mut plant, &NLRI[..3], &[]);
    assert_eq!(stale(&plant), [Some(false), Some(true)]);
    end_of_rib(&mut plant);
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), [Some(false), None]);
    plant.check();
}

/// §4.2: the same, where End-of-RIB never comes: the bound on how long stale routes are retained.
#[test]
fn without_end_of_rib_stale_routes_go_in_time() {
    let mut plant = helper();
    plant.leave();
    plant.offer(|open| open.hold_time_s = 0);
    plant.try_open();
    plant.pass(Duration::from_secs(119));
    assert_eq!(stale(&plant), KEPT);
    plant.pass(Duration::from_secs(2));
    assert_eq!(stale(&plant), GONE);
}

/// §4.2: "if the 'Forwarding State' bit for a specific address family is not set", or the family or the whole capability is missing
/// in the new OPEN, its stale routes go at once.
#[test]
fn a_peer_without_its_forwarding_state_loses_its_stale_routes() {
    let mut elsewhere = graceful([false, true]);
    elsewhere.families = vec![(Family::Ipv6Unicast, true)];
    for restart in [Some(graceful([false, false])), Some(elsewhere), None] {
        let mut plant = helper();
        plant.leave();
        offer(&mut plant, restart, None);
        plant.try_open();
        plant.pass(Duration::from_secs(1));
        assert_eq!((plant.guest_state().as_str(), stale(&plant)), ("Established", GONE));
        plant.check();
    }
}

/// §4.2: "to deal with possible consecutive restarts, a route (from the peer) previously marked as stale MUST be deleted".
#[test]
fn what_was_stale_before_a_second_loss_goes() {
    let mut plant = helper();
    plant.leave();
    plant.try_open();
    announce(&mut plant, &NLRI[..3], &[]);
    plant.leave();
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), [Some(true), None]);
}

/// §5: a new connection of an Established peer that restarts gracefully means that the old one is dead.
#[test]
fn a_new_connection_replaces_the_old_one() {
    let mut plant = helper();
    let second = plant.second_connection();
    plant.second_open(second);
    assert!(!plant.is_connected(), "the old connection is closed");
    assert_eq!(stale(&plant), KEPT);
    plant.check();
}

/// §4.1: our End-of-RIB follows what we had to tell, for every family of the session.
#[test]
fn our_end_of_rib_is_sent() {
    let plant = helper();
    let updates = plant.heard(weft_bgp::wire::Kind::Update);
    let ends = [[0, 0, 0, 0].as_slice(), &[0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1]];
    let last: Vec<_> = updates.iter().rev().take(2).map(|message| message[19..].to_vec()).collect();
    assert!(ends.iter().all(|end| last.contains(&end.to_vec())), "{last:?}");
}
