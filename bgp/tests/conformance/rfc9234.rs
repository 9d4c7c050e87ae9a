//! RFC 9234, Route Leak Prevention and Detection Using Roles: the roles of an OPEN (§4). OTC is elsewhere in this module.

use crate::harness::plant::{Kin, Plant};
use weft_bgp::wire::capability::Role;

const ROLES: [Role; 5] = [Role::Provider, Role::RouteServer, Role::RouteServerClient, Role::Customer, Role::Peer];

/// A guest that claims these roles, by number, to a speaker with this one.
fn opened(kin: Kin, ours: Option<Role>, strict: bool, theirs: &[u8]) -> Plant {
    let mut plant = Plant::new(kin);
    plant.configure(|config| {
        config.session.role = ours;
        config.session.role_strict = strict;
    });
    plant.offer(|open| open.can.roles = theirs.to_vec());
    plant.try_open();
    plant.check();
    plant
}

fn mismatch(plant: &Plant) -> bool {
    let mismatched = plant.notified() == [(2, 11)];
    assert_eq!(mismatched, plant.guest_state() != "Established", "{:?}", plant.notified());
    mismatched
}

/// §4.1: our role goes out in the OPEN, under its number.
#[test]
fn the_configured_role_is_in_the_open() {
    for (number, role) in (0..).zip(ROLES) {
        assert_eq!(opened(Kin::External, Some(role), false, &[]).our_open().can.roles, [number]);
    }
    assert!(opened(Kin::External, None, false, &[]).our_open().can.roles.is_empty());
}

/// §4.2, table 2: five pairs fit; every other pair is Role Mismatch (2/11).
#[test]
fn only_the_pairs_of_the_table_establish() {
    for ours in ROLES {
        for theirs in 0..=6 {
            let fits = matches!(
                (ours, theirs),
                (Role::Provider, 3)
                    | (Role::Customer, 0)
                    | (Role::RouteServer, 2)
                    | (Role::RouteServerClient, 1)
                    | (Role::Peer, 4)
            );
            let plant = opened(Kin::External, Some(ours), false, &[theirs]);
            assert_eq!(mismatch(&plant), !fits, "{ours:?} and {theirs}");
        }
    }
}

/// §4.2: a peer that says no role is accepted; that is not role 0.
#[test]
fn a_peer_without_a_role_is_accepted() {
    for ours in ROLES {
        assert!(!mismatch(&opened(Kin::External, Some(ours), false, &[])), "{ours:?}");
    }
}

/// §4.2: in strict mode it is refused with Role Mismatch.
#[test]
fn a_peer_without_a_role_is_refused_in_strict_mode() {
    assert!(mismatch(&opened(Kin::External, Some(Role::Customer), true, &[])));
    assert!(!mismatch(&opened(Kin::External, Some(Role::Customer), true, &[0])));
}

/// §4.2: "multiple but identical" roles are one.
#[test]
fn the_same_role_twice_is_one() {
    assert!(!mismatch(&opened(Kin::External, Some(Role::Customer), false, &[0, 0])));
}

/// §4.2: "If multiple BGP Role Capabilities are received and not all of them have the same value", the session is refused, also by a
/// speaker that has no role itself.
#[test]
fn different_roles_are_refused() {
    assert!(mismatch(&opened(Kin::External, Some(Role::Customer), false, &[0, 3])));
    assert!(mismatch(&opened(Kin::External, None, false, &[0, 3])));
}

/// §4.2: without a role of our own nothing is compared.
#[test]
fn any_one_role_is_accepted_where_none_is_configured() {
    for theirs in 0..=255 {
        assert!(!mismatch(&opened(Kin::External, None, false, &[theirs])));
    }
}

/// §4: roles are of external sessions: with an internal peer none is said, and none is compared.
#[test]
fn roles_do_not_matter_inside() {
    let plant = opened(Kin::Internal, Some(Role::Customer), true, &[4]);
    assert!(!mismatch(&plant));
    assert!(plant.our_open().can.roles.is_empty());
}
