//! RFC 9234 §5, the Only to Customer attribute: what the roles of both ends say of a route, going in and coming out.

use crate::bytes::{NLRI, PREFIX, attribute, route_with};
use crate::harness::plant::{CANARY_ASN, Kin, OWN_ASN, Plant};
use weft_bgp::wire::attrs::{Attrs, kind};
use weft_bgp::wire::capability::Role;

const GUEST_ASN: u32 = 64_601;
/// Somebody farther away.
const OTHER_ASN: u32 = 64_700;

/// We are `guest` to the guest and `canary` to the canary; neither says its own (§4.2: then ours counts).
fn plant(guest: Option<Role>, canary: Option<Role>) -> Plant {
    let mut plant = Plant::configured(Kin::External, |_, to_guest, to_canary| {
        to_guest.session.role = guest;
        to_canary.session.role = canary;
    });
    plant.accept();
    plant.open();
    plant
}

/// What becomes of the guest's route with this OTC: `None` where it is not used, else the OTC that the canary is told.
fn through(guest: Option<Role>, canary: Option<Role>, otc: Option<u32>) -> Option<Option<u32>> {
    let mut plant = plant(guest, canary);
    let more = otc.map_or_else(Vec::new, |asn| attribute(0xc0, kind::ONLY_TO_CUSTOMER, &asn.to_be_bytes()));
    plant.update(&[], &route_with(Kin::External, &more), &NLRI);
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
    let told = plant.told(PREFIX)?;
    Some(Attrs(&told).value(kind::ONLY_TO_CUSTOMER).map(|value| u32::from_be_bytes(value.try_into().unwrap())))
}

/// Whether the guest's route is used at all.
fn is_used(guest: Role, otc: Option<u32>) -> bool {
    let mut plant = plant(Some(guest), None);
    let more = otc.map_or_else(Vec::new, |asn| attribute(0xc0, kind::ONLY_TO_CUSTOMER, &asn.to_be_bytes()));
    plant.update(&[], &route_with(Kin::External, &more), &NLRI);
    plant.route(PREFIX).is_some()
}

/// §5, ingress 1: from a customer, or from a client of our route server, a route with OTC is a leak.
#[test]
fn a_route_with_otc_from_a_customer_is_a_leak() {
    for role in [Role::Provider, Role::RouteServer] {
        assert!(is_used(role, None));
        assert!(!is_used(role, Some(GUEST_ASN)) && !is_used(role, Some(OTHER_ASN)), "{role:?}");
    }
}

/// §5, ingress 2: from a peer, one with another AS than the peer's is a leak.
#[test]
fn a_route_from_a_peer_with_the_otc_of_another_is_a_leak() {
    assert!(is_used(Role::Peer, None) && is_used(Role::Peer, Some(GUEST_ASN)));
    assert!(!is_used(Role::Peer, Some(OTHER_ASN)));
}

/// §5, ingress 3: what comes from a provider, a peer or a route server without OTC gets the sender's AS.
#[test]
fn a_route_from_above_or_beside_is_marked_with_the_senders_as() {
    for role in [Role::Customer, Role::Peer, Role::RouteServerClient] {
        assert_eq!(through(Some(role), None, None), Some(Some(GUEST_ASN)), "{role:?}");
    }
    assert_eq!(through(Some(Role::Customer), None, Some(OTHER_ASN)), Some(Some(OTHER_ASN)), "what is there stays");
}

/// §5, egress 1: what is told to a customer, a peer or a client of our route server without OTC gets our AS.
#[test]
fn a_route_told_down_or_sideways_is_marked_with_our_as() {
    for role in [Role::Provider, Role::Peer, Role::RouteServer] {
        assert_eq!(through(None, Some(role), None), Some(Some(OWN_ASN)), "{role:?}");
    }
    for role in [Role::Customer, Role::RouteServerClient] {
        assert_eq!(through(None, Some(role), None), Some(None), "{role:?}");
    }
}

/// §5, egress 2: a route with OTC is not told to a provider, a peer or a route server.
#[test]
fn a_route_with_otc_goes_to_customers_only() {
    for role in [Role::Customer, Role::Peer, Role::RouteServerClient] {
        assert_eq!(through(None, Some(role), Some(OTHER_ASN)), None, "{role:?}");
    }
    for role in [Role::Provider, Role::RouteServer] {
        assert_eq!(through(None, Some(role), Some(OTHER_ASN)), Some(Some(OTHER_ASN)), "{role:?}");
    }
}

/// §5: the classic leak: a customer of two providers tells neither what the other said.
#[test]
fn a_customer_of_two_does_not_join_them() {
    assert_eq!(through(Some(Role::Customer), Some(Role::Customer), None), None);
    assert_eq!(through(Some(Role::Customer), Some(Role::Provider), None), Some(Some(GUEST_ASN)));
    assert_eq!(through(Some(Role::Provider), Some(Role::Customer), None), Some(None), "our customer's routes go up");
}

/// §5: without roles nobody touches the attribute.
#[test]
fn without_roles_the_attribute_is_handed_on() {
    assert_eq!(through(None, None, None), Some(None));
    assert_eq!(through(None, None, Some(OTHER_ASN)), Some(Some(OTHER_ASN)));
    assert_ne!(CANARY_ASN, OTHER_ASN);
}
