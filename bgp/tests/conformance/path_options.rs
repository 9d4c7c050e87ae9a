//! What operators expect of a peer's AS options and of its maximum of prefixes, where RFC 4271 §9.1.2, RFC 7705, RFC 6996 and
//! RFC 4486 leave it to them.

use crate::bytes::{NLRI, PREFIX, attribute, route_with};
use crate::harness::plant::{CANARY_PREFIX, Kin, OWN_PREFIX, Plant};
use std::time::Duration;
use weft_bgp::event::Event;
use weft_bgp::peer::{LocalAs, MaxPrefixesAction, PeerConfig, RemovePrivateAs};
use weft_bgp::types::Asn;
use weft_bgp::wire::attrs::Attrs;

fn plant(change: impl FnOnce(&mut PeerConfig, &mut PeerConfig)) -> Plant {
    let mut plant = Plant::configured(Kin::External, |_, guest, canary| change(guest, canary));
    plant.accept();
    plant.open();
    plant
}

fn path(asns: &[u32]) -> Vec<u8> {
    let head = [2, u8::try_from(asns.len()).unwrap()];
    head.into_iter().chain(asns.iter().flat_map(|asn| asn.to_be_bytes())).collect()
}

/// The guest announces its prefix with this path; the path as it stands in the table, and as the canary is told.
fn paths(plant: &mut Plant, asns: &[u32]) -> (Option<String>, Option<String>) {
    plant.update(&[], &route_with(Kin::External, &attribute(0x40, 2, &path(asns))), &NLRI);
    plant.check();
    let held = plant.route(PREFIX).map(|route| route.paths[0].as_path.clone());
    (held, plant.told(PREFIX).map(|block| Attrs(&block).as_path().to_string()))
}

/// RFC 4271 §9.1.2: our own AS in a path is a loop, unless so many of it are allowed.
#[test]
fn our_own_as_is_taken_as_often_as_is_allowed() {
    let mut strict = plant(|_, _| {});
    assert_eq!(paths(&mut strict, &[64_601, 64_600]).0, None);
    let mut lenient = plant(|guest, _| guest.routes.allow_own_as = 1);
    assert_eq!(paths(&mut lenient, &[64_601, 64_600]).0.as_deref(), Some("64601 64600"));
    assert_eq!(paths(&mut lenient, &[64_601, 64_600, 64_600]).0, None);
}

/// RFC 4271 §6.3: the leftmost AS is the peer's, where that is asked.
#[test]
fn a_path_that_begins_with_another_as_is_refused_where_that_is_asked() {
    let mut lenient = plant(|_, _| {});
    assert_eq!(paths(&mut lenient, &[64_700, 64_601]).0.as_deref(), Some("64700 64601"));
    let mut strict = plant(|guest, _| guest.routes.enforce_first_as = true);
    assert_eq!(paths(&mut strict, &[64_700, 64_601]).0, None);
    assert_eq!(paths(&mut strict, &[64_601, 64_700]).0.as_deref(), Some("64601 64700"));
}

/// RFC 7705 §3: the OPEN and the paths that the peer is told say the other AS; inside, paths show where they came through.
#[test]
fn a_local_as_stands_between_us_and_the_peer() {
    let other = |no_prepend, replace_as| Some(LocalAs { asn: Asn(65_010), no_prepend, replace_as });
    for (options, held, told, own) in [
        (other(false, false), "65010 64601 7", "64600 65010 64601 7", "65010 64600"),
        (other(true, false), "64601 7", "64600 64601 7", "65010 64600"),
        (other(true, true), "64601 7", "64600 64601 7", "65010"),
    ] {
        let mut plant = Plant::configured(Kin::External, |_, guest, _| guest.routes.local_as = options);
        plant.expect_first_as(Some(65_010), Some(64_600));
        plant.accept();
        plant.open();
        assert_eq!(paths(&mut plant, &[64_601, 7]), (Some(held.to_owned()), Some(told.to_owned())));
        let (block, _) = plant.guest_told(OWN_PREFIX).unwrap();
        assert_eq!(Attrs(&block).as_path().to_string(), own, "{options:?}");
        assert_eq!(plant.our_open().asn, Asn(65_010));
    }
    let mut looped = Plant::configured(Kin::External, |_, guest, _| guest.routes.local_as = other(false, false));
    looped.expect_first_as(Some(65_010), Some(64_600));
    looped.accept();
    looped.open();
    assert_eq!(paths(&mut looped, &[64_601, 65_010]).0, None, "that AS is ours too");
}

/// RFC 4271 §9.1.2: a peer is not told what it would have to drop, unless its AS is overridden or it accepts that.
#[test]
fn a_peer_that_is_in_the_path_is_told_by_override_or_where_it_accepts_that() {
    let asns = [64_601, 64_602, 9];
    let mut strict = plant(|_, _| {});
    assert_eq!(paths(&mut strict, &asns).1, None);
    let mut overridden = plant(|_, canary| canary.routes.as_override = true);
    assert_eq!(paths(&mut overridden, &asns).1.as_deref(), Some("64600 64601 64600 9"));
    let mut accepting = plant(|_, canary| canary.routes.advertise_peer_as = true);
    assert_eq!(paths(&mut accepting, &asns).1.as_deref(), Some("64600 64601 64602 9"));
}

/// RFC 6996 §4: private numbers are left out of what is told outside: all, or those before the first public one.
#[test]
fn private_as_numbers_are_left_out() {
    let asns = [64_601, 64_512, 4_200_000_000, 3_333, 65_534, 64_602];
    for (which, told) in [
        (RemovePrivateAs::No, "64600 64601 64512 4200000000 3333 65534 64602"),
        (RemovePrivateAs::Leading, "64600 3333 65534 64602"),
        // The peer's own stays: it is how the peer sees a loop.
        (RemovePrivateAs::All, "64600 3333 64602"),
    ] {
        let mut plant = plant(|_, canary| {
            canary.routes.remove_private_as = which;
            canary.routes.advertise_peer_as = true;
        });
        assert_eq!(paths(&mut plant, &asns).1.as_deref(), Some(told));
    }
    let mut plant = plant(|_, canary| canary.routes.remove_private_as = RemovePrivateAs::All);
    assert_eq!(paths(&mut plant, &[64_601, 64_603]).1.as_deref(), Some("64600"), "an empty path needs no segment");
}

/// The guest announces 10.1.0.0/24, 10.1.1.0/24, … one after another.
fn announce(plant: &mut Plant, count: u8) {
    for at in 0..count {
        plant.update(&[], &route_with(Kin::External, &[]), &[24, 10, 1, at]);
    }
}

fn said(plant: &Plant) -> (usize, usize) {
    let count = |fits: fn(&Event) -> bool| plant.events.iter().filter(|event| fits(event)).count();
    (
        count(|event| matches!(event, Event::NearMaxPrefixes { .. })),
        count(|event| matches!(event, Event::MaxPrefixes { .. })),
    )
}

/// RFC 4486 §4, RFC 4271 §6.7: one more ends the session; before that the operator is warned, once.
#[test]
fn the_operator_is_warned_before_the_session_ends() {
    let mut plant = plant(|guest, _| {
        guest.max_prefixes = Some(4);
        guest.routes.max_prefixes_warn_percent = Some(75);
    });
    announce(&mut plant, 2);
    assert_eq!(said(&plant), (0, 0));
    announce(&mut plant, 4);
    assert_eq!(said(&plant), (1, 0), "once");
    announce(&mut plant, 5);
    assert_eq!(said(&plant), (1, 1));
    let sent = plant.notifications();
    assert_eq!((sent[0].code, sent[0].subcode), (6, 1));
    plant.check();
}

/// A guard against our own policies: what would be one prefix too many is not sent, and the session ends.
#[test]
fn nothing_is_told_beyond_the_outbound_maximum() {
    let mut plant = plant(|guest, _| guest.routes.max_prefixes_out = Some(3));
    // Ours, and the canary's.
    assert_eq!((plant.guest_told(OWN_PREFIX).is_some(), plant.guest_told(CANARY_PREFIX).is_some()), (true, true));
    plant.canary_tells("10.3.0.0/24");
    assert_eq!((plant.guest_told("10.3.0.0/24").is_some(), plant.notifications().len()), (true, 0));
    plant.canary_tells("10.3.1.0/24");
    plant.pass(Duration::from_secs(1));
    let sent = plant.notifications();
    assert_eq!((plant.guest_told("10.3.1.0/24"), sent[0].code, sent[0].subcode), (None, 6, 1));
    assert!(plant.events.iter().any(|event| matches!(event, Event::MaxPrefixesOut { limit: 3, .. })));
}

/// RFC 4271 §6.7: after that the session rests as long as is configured, whoever dials.
#[test]
fn the_session_rests_after_too_many_prefixes() {
    let mut plant = plant(|guest, _| {
        guest.max_prefixes = Some(1);
        guest.routes.max_prefixes_restart_s = Some(20);
    });
    announce(&mut plant, 2);
    for _ in 0..3 {
        plant.pass(Duration::from_secs(5));
        plant.accept();
        assert!(!plant.is_connected(), "nobody is listened to");
    }
    plant.pass(Duration::from_secs(6));
    plant.accept();
    plant.open();
    plant.check();
}

/// Discard instead of reset: what was taken stays, also when it changes; more is not taken until there is room.
#[test]
fn more_prefixes_are_discarded_where_that_is_asked() {
    let mut plant = plant(|guest, _| {
        guest.max_prefixes = Some(2);
        guest.routes.max_prefixes_action = MaxPrefixesAction::Discard;
    });
    announce(&mut plant, 5);
    assert_eq!((plant.guest_state().as_str(), plant.guest().prefixes_received), ("Established", [2, 0]));
    assert!(plant.told("10.1.1.0/24").is_some() && plant.told("10.1.2.0/24").is_none());
    let again = route_with(Kin::External, &attribute(0x80, 4, &[0, 0, 0, 9]));
    plant.update(&[], &again, &[24, 10, 1, 1]);
    assert_eq!(plant.route("10.1.1.0/24").unwrap().paths[0].med, Some(9), "the same prefix is no other one");
    plant.update(&[24, 10, 1, 0], &[], &[]);
    announce(&mut plant, 3);
    assert_eq!(plant.guest().prefixes_received, [2, 0]);
    assert!(plant.told(CANARY_PREFIX).is_none());
    plant.check();
}

/// Warn only: everything is taken, and the operator is told once.
#[test]
fn more_prefixes_are_only_warned_of_where_that_is_asked() {
    let mut plant = plant(|guest, _| {
        guest.max_prefixes = Some(2);
        guest.routes.max_prefixes_action = MaxPrefixesAction::Warn;
    });
    announce(&mut plant, 5);
    assert_eq!((plant.guest().prefixes_received, said(&plant)), ([5, 0], (0, 1)));
    plant.check();
}
