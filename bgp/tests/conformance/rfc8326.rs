//! RFC 8326, Graceful BGP Session Shutdown.

use crate::bytes::{NLRI, OTHER, PREFIX, attribute, established, route_with, telling};
use crate::harness::plant::{Kin, OWN_PREFIX, Plant};
use std::time::Duration;
use weft_bgp::peer::{Leave, RouteOptions, Tell};
use weft_bgp::speaker::{Input, Originate};
use weft_bgp::wire::attrs::{Attrs, community};

/// What the node originates beside its address.
const SERVICE: &str = "203.0.113.7/32";
const SHUTDOWN: [u8; 4] = [0xff, 0xff, 0, 0];

/// §4, "Receiver": what asks to be left has the least LOCAL_PREF, from external peers and from internal ones, and another path
/// takes its place.
#[test]
fn a_route_that_asks_to_be_left_is_left() {
    for kin in [Kin::External, Kin::Internal] {
        let mut plant = telling(kin, 0xc0, 8, &SHUTDOWN);
        assert_eq!(plant.route(PREFIX).unwrap().paths[0].local_pref, Some(0), "{kin:?}");
        plant.canary_announces(PREFIX, &[2, 3, 0, 0, 0xfc, 0x5a, 0, 0, 0, 7, 0, 0, 0, 8], &[]);
        let route = plant.route(PREFIX).unwrap();
        let best = route.paths.iter().find(|path| path.best).unwrap();
        assert_eq!((best.from.as_str(), route.hops.len()), ("canary", 1), "{kin:?}: the longer path is used alone");
    }
}

/// §4: the only path is still used; nobody is cut off by asking.
#[test]
fn the_only_path_is_used_all_the_same() {
    let plant = telling(Kin::External, 0xc0, 8, &SHUTDOWN);
    assert!(plant.route(PREFIX).unwrap().paths[0].best);
    let block = plant.told(PREFIX).unwrap();
    assert!(Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN), "and it is passed on");
}

/// §4, "Initiator": a peer that is to be drained is told everything with the community, and the others are not.
#[test]
fn a_peer_that_is_drained_is_asked_to_leave_everything() {
    let mut plant = Plant::configured(Kin::External, |_, _, canary| canary.routes.graceful_shutdown = true);
    plant.accept();
    plant.open();
    plant.update(&[], &route_with(Kin::External, &attribute(0xc0, 8, &[0xfc, 0x59, 0, 1])), &NLRI);
    for prefix in [PREFIX, OWN_PREFIX] {
        let block = plant.told(prefix).unwrap();
        assert!(Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN), "{prefix}");
    }
    assert_eq!(Attrs(&plant.told(PREFIX).unwrap()).communities().count(), 2, "what was there stays");
    let (block, _) = plant.guest_told(OWN_PREFIX).unwrap();
    assert!(!Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN));
    plant.check();
}

/// §4: towards an internal peer LOCAL_PREF says it too, for those who do not know the community.
#[test]
fn an_internal_peer_is_told_the_least_preference_too() {
    let mut plant = Plant::configured(Kin::Internal, |_, guest, _| guest.routes.graceful_shutdown = true);
    plant.accept();
    plant.open();
    let (block, _) = plant.guest_told(OWN_PREFIX).unwrap();
    assert_eq!(Attrs(&block).local_pref(), Some(0));
    assert!(Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN));
}

/// The guest has told a route; its link is taken out of service by us.
fn leaving(kin: Kin, leave: Leave) -> Plant {
    let mut plant = established(kin);
    plant.update(&[], &route_with(kin, &attribute(0xc0, 8, &[0xfc, 0x59, 0, 1])), &NLRI);
    plant.configure(|config| {
        config.routes = RouteOptions { graceful_shutdown: true, leave, ..config.routes };
    });
    plant.pass(Duration::from_secs(1));
    plant
}

fn is_marked(block: &[u8]) -> bool {
    Attrs(block).has_community(community::GRACEFUL_SHUTDOWN)
}

/// §4.2: the initiator's inbound policy tags what the session brings and gives it the least LOCAL_PREF; what is there already too,
/// and nobody is asked for it. Another path takes its place.
#[test]
fn the_initiator_leaves_what_came_and_what_comes() {
    for kin in [Kin::External, Kin::Internal, Kin::Old] {
        let mut plant = leaving(kin, Leave::LastChoice);
        plant.update(&[], &route_with(kin, &[]), &[24, 10, 6, 0]);
        assert_eq!(plant.guest_heard(5), 0, "{kin:?}: nobody is asked");
        for (prefix, communities) in [(PREFIX, 2), (OTHER, 1)] {
            let path = plant.route(prefix).unwrap().paths.remove(0);
            assert_eq!((path.local_pref, path.best), (Some(0), true), "{kin:?} {prefix}: the last choice is a choice");
            assert_eq!(path.communities.len(), communities, "{kin:?} {prefix}: what was there stays");
            assert!(is_marked(&plant.told(prefix).unwrap()), "{kin:?} {prefix}: others are asked to leave it too");
        }
        plant.canary_announces(PREFIX, &[2, 3, 0, 0, 0xfc, 0x5a, 0, 0, 0, 7, 0, 0, 0, 8], &[]);
        let route = plant.route(PREFIX).unwrap();
        let best = route.paths.iter().find(|path| path.best).unwrap();
        assert_eq!((best.from.as_str(), route.hops.len()), ("canary", 1), "{kin:?}: the longer path is used alone");
    }
}

/// §4.2: its outbound policy tags everything that the session was told, told again for that.
#[test]
fn the_initiator_tells_everything_again_with_the_community() {
    let plant = leaving(Kin::External, Leave::LastChoice);
    let (block, _) = plant.guest_told(OWN_PREFIX).unwrap();
    assert!(is_marked(&block));
    assert!(!is_marked(&plant.told(OWN_PREFIX).unwrap()), "the others are not asked to leave what is ours");
}

/// The step between §4.2's convergence and its shutdown: others no longer come this way, and who comes all the same still gets through.
#[test]
fn before_the_shutdown_others_are_no_longer_told_and_packets_still_pass() {
    let plant = leaving(Kin::External, Leave::Untold);
    let route = plant.route(PREFIX).unwrap();
    assert_eq!((route.paths[0].best, route.hops.len()), (true, 1));
    assert_eq!(plant.told(PREFIX), None);
    plant.check();
}

/// When the maintenance is over the routes are as they were, which only the peer can say: it is asked. One that cannot be asked is named.
#[test]
fn after_the_maintenance_routes_are_as_before() {
    for kin in [Kin::External, Kin::Old] {
        let mut plant = leaving(kin, Leave::Untold);
        plant.configure(|config| config.routes = RouteOptions::default());
        plant.pass(Duration::from_secs(1));
        let (asked, old) = if kin == Kin::Old { (0, Some(1)) } else { (2, None) };
        assert_eq!((plant.guest_heard(5), plant.guest().old_policy), (asked, old), "{kin:?}");
        plant.update(&[], &route_with(kin, &[]), &NLRI);
        let path = plant.route(PREFIX).unwrap().paths.remove(0);
        assert_eq!((path.local_pref, path.communities.len()), (None, 0), "{kin:?}");
        assert!(!is_marked(&plant.told(PREFIX).unwrap()), "{kin:?}");
        plant.check();
    }
}

/// A peer that is told nothing, or our addresses alone, hears the withdrawals; with everything it hears it all again.
#[test]
fn a_drained_node_withdraws_all_but_its_addresses() {
    for (tell, own) in [(Tell::Addresses, true), (Tell::Nothing, false)] {
        let mut plant = Plant::configured(Kin::External, |speaker, _, _| {
            speaker.addresses = vec![OWN_PREFIX.parse().unwrap()];
        });
        plant.accept();
        plant.open();
        plant.canary_announces(PREFIX, &[2, 1, 0, 0, 0xfc, 0x5a], &[]);
        // With the attributes of the address, and no address.
        let why = "test".to_owned();
        let (communities, large_communities) = (Vec::new(), Vec::new());
        let service = Originate { prefix: SERVICE.parse().unwrap(), communities, large_communities, weight: None, why };
        plant.speaker.handle(plant.now, Input::Originate(service));
        plant.pass(Duration::from_secs(1));
        assert!(plant.guest_told(PREFIX).is_some() && plant.guest_told(SERVICE).is_some());
        plant.configure(|config| config.routes.tell = tell);
        plant.pass(Duration::from_secs(1));
        let told = |plant: &Plant| [PREFIX, SERVICE, OWN_PREFIX].map(|prefix| plant.guest_told(prefix).is_some());
        assert_eq!(told(&plant), [false, false, own], "{tell:?}");
        plant.configure(|config| config.routes.tell = Tell::All);
        plant.pass(Duration::from_secs(1));
        assert_eq!(told(&plant), [true; 3], "{tell:?}");
    }
}
