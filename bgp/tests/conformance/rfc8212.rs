//! RFC 8212, Default External BGP Route Propagation Behavior without Policies.

use crate::bytes::{NLRI, PREFIX, route_with};
use crate::harness::plant::{Kin, OWN_PREFIX, Plant};

/// A guest of this kind with these policies: whether its route is used, and whether it is told ours.
fn exchanged(kin: Kin, import: Option<&str>, export: Option<&str>) -> (bool, bool) {
    let mut plant = Plant::configured(kin, |_, guest, _| {
        guest.import = import.map(str::to_owned);
        guest.export = export.map(str::to_owned);
    });
    plant.accept();
    plant.open();
    plant.update(&[], &route_with(kin, &[]), &NLRI);
    assert_eq!(plant.guest_state(), "Established", "the session itself stands");
    plant.check();
    (plant.route(PREFIX).is_some(), plant.guest_told(OWN_PREFIX).is_some())
}

/// §3: "Routes contained in an Adj-RIB-In associated with an EBGP peer SHALL NOT be considered eligible" without an import policy, and
/// none are told without an export policy; each direction by itself.
#[test]
fn without_a_policy_an_external_peer_gives_and_gets_nothing() {
    assert_eq!(exchanged(Kin::External, None, None), (false, false));
    assert_eq!(exchanged(Kin::External, Some("accept-all"), None), (true, false));
    assert_eq!(exchanged(Kin::External, None, Some("accept-all")), (false, true));
    assert_eq!(exchanged(Kin::External, Some("accept-all"), Some("accept-all")), (true, true));
}

/// §3 is about external peers.
#[test]
fn without_a_policy_an_internal_peer_gives_and_gets_all() {
    assert_eq!(exchanged(Kin::Internal, None, None), (true, true));
}

/// §3 with a name that stands for nothing: it is no policy either, for any peer.
#[test]
fn a_policy_that_does_not_exist_accepts_nothing() {
    assert_eq!(exchanged(Kin::External, Some("misspelt"), Some("misspelt")), (false, false));
    assert_eq!(exchanged(Kin::Internal, Some("misspelt"), Some("misspelt")), (false, false));
}

/// §2: the operator can see why.
#[test]
fn the_operator_is_told_that_there_is_no_policy() {
    let mut plant = Plant::configured(Kin::External, |_, guest, _| (guest.import, guest.export) = (None, None));
    plant.accept();
    plant.open();
    plant.update(&[], &route_with(Kin::External, &[]), &NLRI);
    let refused = plant.speaker.refused(&PREFIX.parse().unwrap());
    assert!(refused[0].reason.contains("RFC 8212"), "{refused:?}");
    let told = plant.speaker.told(&OWN_PREFIX.parse().unwrap());
    let reason = told.iter().find(|told| told.neighbor == "guest").and_then(|told| told.reason.clone());
    assert!(reason.is_some_and(|reason| reason.contains("RFC 8212")), "{told:?}");
}
