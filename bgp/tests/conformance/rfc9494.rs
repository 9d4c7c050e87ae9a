//! RFC 9494, Long-Lived Graceful Restart for BGP.

use crate::harness::plant::{Kin, Plant};
use crate::restarting::{
    FIRST, NLRI, RESTART_S, SECOND, STALE_S, announce, end_of_rib, established, graceful, offer, stale,
};
use std::time::Duration;
use weft_bgp::speaker::RouteInfo;
use weft_bgp::types::Family;

const LLGR_STALE: u32 = 0xffff_0006;
const NO_LLGR: u32 = 0xffff_0007;
const KEPT: [Option<bool>; 2] = [Some(true); 2];
const GONE: [Option<bool>; 2] = [None; 2];

fn helper() -> Plant {
    established(Kin::External, Some(graceful([false, true])), Some(STALE_S))
}

/// A helper whose guest is gone beyond its restart time.
fn long_gone() -> Plant {
    let mut plant = helper();
    plant.leave();
    plant.pass(Duration::from_secs(u64::from(RESTART_S) + 1));
    plant
}

fn is_marked(route: &RouteInfo) -> bool {
    route.paths[0].communities.iter().any(|community| community == "65535:6")
}

/// §3.1: the capability has our long-lived stale time for every family.
#[test]
fn the_capability_is_offered() {
    let ours = helper().our_open().can.long_lived;
    assert_eq!(
        ours.iter().map(|entry| (entry.family, entry.time_s)).collect::<Vec<_>>(),
        Family::ALL.map(|f| (f, STALE_S))
    );
    assert!(established(Kin::External, Some(graceful([false, true])), None).our_open().can.long_lived.is_empty());
}

/// §4.2: when the restart time is over, routes are kept for the peer's long-lived stale time, with LLGR_STALE.
#[test]
fn routes_are_kept_for_the_long_lived_stale_time() {
    let mut plant = helper();
    plant.leave();
    plant.pass(Duration::from_secs(u64::from(RESTART_S) - 1));
    assert!(!is_marked(&plant.route(FIRST).unwrap()));
    plant.pass(Duration::from_secs(2));
    assert!(is_marked(&plant.route(FIRST).unwrap()) && is_marked(&plant.route(SECOND).unwrap()));
    plant.pass(Duration::from_secs(u64::from(STALE_S) - 2));
    assert_eq!(stale(&plant), KEPT);
    plant.pass(Duration::from_secs(2));
    assert_eq!(stale(&plant), GONE);
    plant.check();
}

/// §3.1: without the graceful restart capability the long-lived one is disregarded.
#[test]
fn alone_the_capability_means_nothing() {
    let mut plant = established(Kin::External, None, Some(STALE_S));
    plant.leave();
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), GONE);
}

/// §4.2: with no restart time for the family, the long-lived stale time begins at once.
#[test]
fn without_a_restart_time_it_begins_at_once() {
    let mut none = graceful([false, true]);
    none.families.clear();
    let mut plant = established(Kin::External, Some(none), Some(STALE_S));
    plant.leave();
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), KEPT);
    assert!(is_marked(&plant.route(FIRST).unwrap()));
}

/// §4.2: a route with NO_LLGR is not kept.
#[test]
fn no_llgr_is_dropped_when_the_restart_time_is_over() {
    let mut plant = helper();
    announce(&mut plant, &NLRI[3..], &[NO_LLGR]);
    plant.leave();
    plant.pass(Duration::from_secs(u64::from(RESTART_S) - 1));
    assert_eq!(stale(&plant), KEPT);
    plant.pass(Duration::from_secs(2));
    assert_eq!(stale(&plant), [Some(true), None]);
    plant.check();
}

/// From whom the best path to the first prefix is.
fn best(plant: &Plant) -> String {
    plant.route(FIRST).unwrap().paths.iter().find(|path| path.best).unwrap().from.clone()
}

/// §4.3: a long-lived stale route is the last choice, whatever else speaks for it; this one has the shorter path.
#[test]
fn a_long_lived_stale_route_is_the_last_choice() {
    let mut plant = helper();
    plant.canary_tells(FIRST);
    assert_eq!(best(&plant), "guest");
    plant.leave();
    assert_eq!(best(&plant), "guest", "stale is as good as fresh (RFC 4724 §4.2)");
    plant.pass(Duration::from_secs(u64::from(RESTART_S) + 1));
    assert_eq!(best(&plant), "canary");
    let route = plant.route(FIRST).unwrap();
    let other = route.paths.iter().find(|path| !path.best).unwrap();
    assert!(!other.used && other.reason.contains("RFC 9494"), "{}", other.reason);
}

/// §4.3: likewise one that came with LLGR_STALE, from a peer that is there.
#[test]
fn a_route_received_as_stale_is_the_last_choice() {
    let mut plant = helper();
    plant.canary_tells(FIRST);
    assert_eq!(best(&plant), "guest");
    announce(&mut plant, &NLRI[..3], &[LLGR_STALE]);
    assert_eq!(best(&plant), "canary");
}

/// §4.3: a peer that did not offer the capability is not told of such a route, and one that was told is told no more.
#[test]
fn a_peer_without_the_capability_is_not_told() {
    let plant = long_gone();
    assert_eq!((stale(&plant), plant.told(FIRST)), (KEPT, None));
    plant.check();
}

/// §4.3: one that did is told, with LLGR_STALE.
#[test]
fn a_peer_with_the_capability_is_told() {
    let mut plant = Plant::configured(Kin::External, |_, guest, canary| {
        guest.graceful_restart_s = Some(120);
        guest.session.long_lived_stale_s = Some(STALE_S);
        canary.graceful_restart_s = Some(120);
        canary.session.long_lived_stale_s = Some(0);
    });
    offer(&mut plant, Some(graceful([false, true])), Some(STALE_S));
    plant.try_open();
    announce(&mut plant, &NLRI, &[7]);
    plant.leave();
    plant.pass(Duration::from_secs(u64::from(RESTART_S) + 1));
    let told = plant.told(FIRST).unwrap();
    let communities = weft_bgp::wire::attrs::Attrs(&told).value(8).unwrap();
    assert_eq!(communities, [[0, 0, 0, 7], LLGR_STALE.to_be_bytes()].concat());
    plant.check();
}

/// §4.2: the peer is back, with its F bit: what it announces again is fresh, the rest goes with End-of-RIB.
#[test]
fn a_peer_that_is_back_makes_its_routes_fresh_again() {
    let mut plant = long_gone();
    plant.try_open();
    assert_eq!(stale(&plant), KEPT);
    announce(&mut plant, &NLRI[..3], &[]);
    end_of_rib(&mut plant);
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), [Some(false), None]);
    assert!(!is_marked(&plant.route(FIRST).unwrap()));
    plant.check();
}

/// §4.2: back without its F bit, or without the capability, it loses them at once.
#[test]
fn a_peer_that_is_back_without_its_state_loses_them() {
    let mut plant = long_gone();
    offer(&mut plant, Some(graceful([false, true])), None);
    plant.try_open();
    plant.pass(Duration::from_millis(500));
    assert_eq!((plant.guest_state().as_str(), stale(&plant)), ("Established", GONE));
}

/// §4.2: the timer goes on while the peer is back and has not said End-of-RIB.
#[test]
fn the_timer_goes_on_until_end_of_rib() {
    let mut plant = long_gone();
    plant.offer(|open| open.hold_time_s = 0);
    plant.try_open();
    plant.pass(Duration::from_secs(u64::from(STALE_S) - 10));
    assert_eq!(stale(&plant), KEPT);
    plant.pass(Duration::from_secs(20));
    assert_eq!((plant.guest_state().as_str(), stale(&plant)), ("Established", GONE));
}

/// §4.2: a peer that is lost again before its End-of-RIB keeps what is long-lived stale, until the time that runs is over, and no longer.
#[test]
fn consecutive_restarts_neither_drop_nor_prolong() {
    let mut plant = long_gone();
    for _ in 0..20 {
        plant.try_open();
        announce(&mut plant, &NLRI[..3], &[]);
        plant.leave();
        plant.pass(Duration::from_secs(5));
        assert_eq!(plant.route(FIRST).map(|route| route.paths[0].stale), Some(true));
    }
    plant.pass(Duration::from_secs(u64::from(STALE_S) - 110));
    assert!(is_marked(&plant.route(FIRST).unwrap()), "the restart time of the last session is over");
    plant.pass(Duration::from_secs(20));
    assert_eq!(stale(&plant), GONE);
    plant.check();
}

/// §4.2: what was long-lived stale stays through another restart; what came meanwhile is as good as fresh for the restart time.
#[test]
fn another_restart_keeps_both_kinds_apart() {
    let mut plant = long_gone();
    plant.try_open();
    announce(&mut plant, &NLRI[..3], &[]);
    plant.leave();
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), KEPT);
    assert!(!is_marked(&plant.route(FIRST).unwrap()) && is_marked(&plant.route(SECOND).unwrap()));
    plant.pass(Duration::from_secs(u64::from(RESTART_S)));
    assert!(is_marked(&plant.route(FIRST).unwrap()));
    plant.try_open();
    announce(&mut plant, &NLRI[..3], &[]);
    end_of_rib(&mut plant);
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), [Some(false), None]);
}

/// §4.2: the time ran out while the peer was back and not yet synchronized: lost then, it loses everything at once.
#[test]
fn a_session_lost_after_the_time_ran_out_leaves_nothing() {
    let mut plant = long_gone();
    plant.offer(|open| open.hold_time_s = 0);
    plant.try_open();
    announce(&mut plant, &NLRI[..3], &[]);
    plant.pass(Duration::from_secs(u64::from(STALE_S) + 1));
    assert_eq!(stale(&plant), [Some(false), None]);
    plant.leave();
    plant.pass(Duration::from_secs(1));
    assert_eq!(stale(&plant), GONE);
}

/// §4.2: a new time begins once the peer was synchronized.
#[test]
fn after_end_of_rib_the_time_is_a_new_one() {
    let mut plant = long_gone();
    plant.pass(Duration::from_secs(u64::from(STALE_S) - 20));
    plant.try_open();
    announce(&mut plant, &NLRI, &[]);
    end_of_rib(&mut plant);
    plant.leave();
    plant.pass(Duration::from_secs(u64::from(STALE_S)));
    assert_eq!(stale(&plant), KEPT);
}

/// §4.3: LLGR_STALE is not removed when the route is told on, whatever a policy removes.
#[test]
fn a_policy_does_not_remove_the_mark() {
    let rules = serde_json::json!({"p": [{"then": {"remove": {"communities": ["*:*"]}, "do": "accept"}}]});
    let policies = weft_bgp::policy::compile(&rules, &std::collections::BTreeSet::new()).unwrap();
    let mut plant = Plant::configured(Kin::External, |speaker, _, canary| {
        speaker.policies = std::sync::Arc::new(policies);
        canary.graceful_restart_s = Some(120);
        canary.session.long_lived_stale_s = Some(0);
        canary.export = Some("p".to_owned());
    });
    plant.try_open();
    announce(&mut plant, &NLRI[..3], &[7, LLGR_STALE]);
    let told = plant.told(FIRST).unwrap();
    assert_eq!(weft_bgp::wire::attrs::Attrs(&told).value(8), Some(&LLGR_STALE.to_be_bytes()[..]));
}

/// §3.1, §4.3: the capability without any family says that its sender knows such routes (BIRD says so unless told otherwise).
#[test]
fn a_capability_without_families_is_one() {
    for (knows, restarts) in [(true, true), (true, false), (false, true)] {
        let mut plant = Plant::new(Kin::Internal);
        plant.offer(|open| {
            open.can.knows_long_lived = knows;
            open.can.graceful = restarts.then(|| {
                let families = Vec::new();
                weft_bgp::peer::PeerRestart { restarted: false, notification: false, time_s: 0, families }
            });
        });
        plant.try_open();
        plant.canary_announces(FIRST, &[2, 1, 0, 0, 0xfc, 0x5a], &communities(&[LLGR_STALE]));
        // §4.5: not without the graceful restart capability.
        assert_eq!(plant.guest_told(FIRST).is_some(), knows && restarts);
    }
}

fn communities(all: &[u32]) -> Vec<u8> {
    let mut block = Vec::new();
    let value: Vec<u8> = all.iter().flat_map(|word| word.to_be_bytes()).collect();
    weft_bgp::wire::attrs::put(&mut block, 0xc0, 8, &value);
    block
}

/// §4.6: where it is wanted, an internal peer without the capability is told nevertheless, with NO_EXPORT and LOCAL_PREF 0; an external
/// one never.
#[test]
fn an_internal_peer_may_be_told_as_the_last_choice() {
    for (kin, wanted) in [(Kin::Internal, true), (Kin::Internal, false), (Kin::External, true)] {
        let mut plant = Plant::configured(kin, |_, guest, _| guest.routes.long_lived_partial = wanted);
        plant.try_open();
        plant.canary_announces(FIRST, &[2, 1, 0, 0, 0xfc, 0x5a], &communities(&[LLGR_STALE]));
        plant.canary_announces(SECOND, &[2, 1, 0, 0, 0xfc, 0x5a], &[]);
        let told = plant.guest_told(FIRST).map(|(block, _)| block);
        assert_eq!(told.is_some(), wanted && kin == Kin::Internal);
        if let Some(block) = told {
            let attrs = weft_bgp::wire::attrs::Attrs(&block);
            let expected = [LLGR_STALE.to_be_bytes(), 0xffff_ff01_u32.to_be_bytes()].concat();
            assert_eq!((attrs.local_pref(), attrs.value(8)), (Some(0), Some(&expected[..])));
        }
        if kin == Kin::Internal {
            let (block, _) = plant.guest_told(SECOND).unwrap();
            assert_eq!(weft_bgp::wire::attrs::Attrs(&block).local_pref(), Some(100), "others are told as ever");
        }
    }
}
