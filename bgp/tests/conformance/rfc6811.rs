//! RFC 6811, BGP Prefix Origin Validation.

use super::bytes::{AS_PATH, NEXT_HOP, NLRI, ORIGIN, PREFIX, attribute};
use super::rfc8210::{end, pdu, v4};
use crate::harness::plant::{Kin, Plant, framed};
use std::sync::Arc;
use std::time::Duration;
use weft_bgp::policy::compile;
use weft_bgp::rpki::{Validity, Vrp, Vrps, origin};
use weft_bgp::types::Asn;
use weft_bgp::wire::attrs::Attrs;

fn vrp(prefix: &str, max_length: u8, asn: u32) -> Vrp {
    Vrp { prefix: prefix.parse().unwrap(), max_length, asn: Asn(asn) }
}

fn vrps(all: &[Vrp]) -> Vrps {
    let mut vrps = Vrps::default();
    for vrp in all {
        assert!(vrps.insert(vrp));
    }
    vrps
}

/// §2.1: Valid if any covering VRP matches origin and length, Invalid if none of them does, NotFound if none covers.
#[test]
fn a_route_is_valid_invalid_or_not_found() {
    let vrps = vrps(&[vrp("10.0.0.0/8", 16, 1), vrp("10.1.0.0/16", 24, 2), vrp("2001:db8::/32", 32, 3)]);
    for (prefix, origin, expected) in [
        ("10.0.0.0/8", 1, Validity::Valid),
        ("10.1.0.0/16", 1, Validity::Valid),
        ("10.1.0.0/16", 2, Validity::Valid),
        ("10.1.2.0/24", 2, Validity::Valid),
        ("10.1.2.0/24", 1, Validity::Invalid),
        ("10.1.2.0/25", 2, Validity::Invalid),
        ("10.0.0.0/8", 2, Validity::Invalid),
        ("0.0.0.0/0", 1, Validity::NotFound),
        ("11.0.0.0/8", 1, Validity::NotFound),
        ("10.0.0.0/7", 1, Validity::NotFound),
        ("2001:db8::/32", 3, Validity::Valid),
        ("2001:db8::/33", 3, Validity::Invalid),
        ("::/0", 3, Validity::NotFound),
    ] {
        assert_eq!(vrps.validity(&prefix.parse().unwrap(), Some(Asn(origin))), expected, "{prefix} of AS {origin}");
    }
}

/// §2, RFC 6483 §4: AS 0 allows nobody, not even AS 0.
#[test]
fn as_0_allows_nobody() {
    let vrps = vrps(&[vrp("10.0.0.0/8", 32, 0)]);
    for asn in [0, 1] {
        assert_eq!(vrps.validity(&"10.0.0.0/8".parse().unwrap(), Some(Asn(asn))), Validity::Invalid);
    }
}

/// §2: the origin is the last AS of a sequence; of a set, nobody; of an empty path or of confederation segments, ourselves.
#[test]
fn the_origin_is_the_last_as_of_a_sequence() {
    let of = |path: &[u8]| origin(Attrs(&attribute(0x40, 2, path)), Asn(9));
    assert_eq!(of(&[2, 2, 0, 0, 0, 1, 0, 0, 0, 2]), Some(Asn(2)));
    assert_eq!(of(&[2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2]), None);
    assert_eq!(of(&[]), Some(Asn(9)));
    assert_eq!(of(&[3, 1, 0, 0, 0, 1]), Some(Asn(9)));
    assert_eq!(vrps(&[vrp("10.0.0.0/8", 8, 1)]).validity(&"10.0.0.0/8".parse().unwrap(), None), Validity::Invalid);
}

/// A plant whose guest is under a policy: invalid routes are rejected, valid ones are preferred.
fn policed() -> Plant {
    let section = serde_json::json!({
        "strict": [
            {"match": {"rpki": "invalid"}, "then": "reject"},
            {"match": {"rpki": "valid"}, "then": {"set": {"local_pref": 200}, "do": "accept"}},
            {"match": {"rpki": ["not-found"]}, "then": "accept"},
        ]
    });
    let policies = Arc::new(compile(&section, &std::collections::BTreeSet::new()).unwrap());
    let mut plant = Plant::configured(Kin::External, |speaker, guest, _| {
        speaker.policies = policies;
        guest.import = Some("strict".to_owned());
    });
    plant.set_caches(1);
    plant.accept();
    plant.open();
    plant
}

fn local_pref(plant: &Plant) -> Option<Option<u32>> {
    Some(plant.route(PREFIX)?.paths[0].local_pref)
}

fn good() -> Vec<u8> {
    [&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat()
}

/// §3, §4: nothing waits for a cache; when it says something, what it makes invalid goes at once, and the peer is asked for the rest.
#[test]
fn routes_are_validated_again_when_a_cache_says_something_else() {
    let mut plant = policed();
    plant.update(&[], &good(), &NLRI);
    assert_eq!(local_pref(&plant), Some(None), "not found, without a cache");
    plant.cache(&[pdu(1, 3, 5, &[]), v4(true, 5, 24, 64_666), end(5, 7)].concat());
    plant.pass(Duration::from_secs(2));
    assert_eq!(local_pref(&plant), None, "invalid: taken away");
    let refreshes = plant.guest_heard(5);
    assert!(refreshes > 0, "asked for its routes");
    plant.update(&[], &good(), &NLRI);
    assert_eq!(local_pref(&plant), None, "and refused");
    plant.notify_cache(8);
    plant.cache(&[pdu(1, 3, 5, &[]), v4(false, 5, 24, 64_666), v4(true, 5, 24, 64_601), end(5, 8)].concat());
    plant.send(&framed(4, &[]));
    plant.pass(Duration::from_secs(2));
    assert!(plant.guest_heard(5) > refreshes, "what was refused may be valid now");
    plant.update(&[], &good(), &NLRI);
    assert_eq!(local_pref(&plant), Some(Some(200)));
    assert_eq!(plant.route(PREFIX).unwrap().paths[0].validity, Some(Validity::Valid));
    plant.check();
}

/// §4, RFC 7854 §5: a collector hears after the policy that a route is gone which a cache made invalid; before it, the route is there.
#[test]
fn a_collector_hears_what_is_invalid_now() {
    use crate::harness::collector::{POST, Picture, hear};
    let mut plant = policed();
    plant.observe(weft_bgp::speaker::Views { pre_policy: true, ..POST });
    plant.update(&[], &good(), &NLRI);
    plant.cache(&[pdu(1, 3, 5, &[]), v4(true, 5, 24, 64_666), end(5, 7)].concat());
    plant.pass(Duration::from_secs(2));
    let mut picture = Picture::default();
    picture.take(&hear(&mut plant));
    assert_eq!(picture.table(0, 0x40, "192.0.2.1"), Vec::<String>::new());
    assert_eq!(picture.table(0, 0, "192.0.2.1"), [PREFIX]);
}

/// RFC 8210 §6: what expired counts for nothing: not found.
#[test]
fn without_data_a_route_is_not_found() {
    let mut plant = policed();
    plant.cache(&[pdu(1, 3, 5, &[]), v4(true, 5, 24, 64_666), end(5, 7)].concat());
    plant.update(&[], &good(), &NLRI);
    assert_eq!(local_pref(&plant), None);
    for _ in 0..1_002 {
        plant.send(&framed(4, &[]));
        plant.pass(Duration::from_secs(1));
    }
    plant.update(&[], &good(), &NLRI);
    assert_eq!(local_pref(&plant), Some(None));
}
