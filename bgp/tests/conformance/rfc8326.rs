//! RFC 8326, Graceful BGP Session Shutdown.

use crate::bytes::{NLRI, PREFIX, attribute, route_with, telling};
use crate::harness::plant::{Kin, Plant};
use weft_bgp::wire::attrs::{Attrs, community};

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
    for prefix in [PREFIX, crate::harness::plant::OWN_PREFIX] {
        let block = plant.told(prefix).unwrap();
        assert!(Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN), "{prefix}");
    }
    assert_eq!(Attrs(&plant.told(PREFIX).unwrap()).communities().count(), 2, "what was there stays");
    let (block, _) = plant.guest_told(crate::harness::plant::OWN_PREFIX).unwrap();
    assert!(!Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN));
    plant.check();
}

/// §4: towards an internal peer LOCAL_PREF says it too, for those who do not know the community.
#[test]
fn an_internal_peer_is_told_the_least_preference_too() {
    let mut plant = Plant::configured(Kin::Internal, |_, guest, _| guest.routes.graceful_shutdown = true);
    plant.accept();
    plant.open();
    let (block, _) = plant.guest_told(crate::harness::plant::OWN_PREFIX).unwrap();
    assert_eq!(Attrs(&block).local_pref(), Some(0));
    assert!(Attrs(&block).has_community(community::GRACEFUL_SHUTDOWN));
}
