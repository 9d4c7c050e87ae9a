//! One row per rule of RFC 4271 §9.1.2.2, and independence of the order of arrival.

use super::*;
use crate::wire::attrs::{AsPath, kind, put};
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// A path in few words; defaults are equal in every rule.
#[derive(Clone, Debug)]
struct Spec {
    path: Vec<u32>,
    origin: u8,
    med: Option<u32>,
    local_pref: Option<u32>,
    ebgp: bool,
    resolved: bool,
    metric: u32,
    id: u8,
    originator: Option<u8>,
    clusters: u8,
    path_id: u32,
}

const SAME: Spec = Spec {
    path: Vec::new(),
    origin: 0,
    med: None,
    local_pref: None,
    ebgp: true,
    resolved: true,
    metric: 0,
    id: 1,
    originator: None,
    clusters: 0,
    path_id: 0,
};

fn block(spec: &Spec) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 0x40, kind::ORIGIN, &[spec.origin]);
    let path = spec.path.iter().rev().fold(Vec::new(), |path, &asn| AsPath(&path).prepended(Asn(asn), 1));
    put(&mut out, 0x40, kind::AS_PATH, &path);
    if let Some(med) = spec.med {
        put(&mut out, 0x80, kind::MULTI_EXIT_DISC, &med.to_be_bytes());
    }
    if let Some(pref) = spec.local_pref {
        put(&mut out, 0x40, kind::LOCAL_PREF, &pref.to_be_bytes());
    }
    if let Some(id) = spec.originator {
        put(&mut out, 0x80, kind::ORIGINATOR_ID, &[10, 0, 0, id]);
    }
    if spec.clusters > 0 {
        put(&mut out, 0x80, kind::CLUSTER_LIST, &vec![1; 4 * usize::from(spec.clusters)]);
    }
    out
}

fn ranked(specs: &[Spec]) -> Option<Ranking> {
    let blocks: Vec<_> = specs.iter().map(block).collect();
    let candidates: Vec<_> = specs
        .iter()
        .zip(&blocks)
        .map(|(spec, block)| Candidate {
            attrs: Attrs(block),
            local: false,
            ebgp: spec.ebgp,
            resolved: spec.resolved,
            metric: spec.metric,
            router_id: Ipv4Addr::new(10, 0, 0, spec.id),
            peer_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, spec.id)),
            path_id: spec.path_id,
        })
        .collect();
    decide(&candidates)
}

#[test]
fn each_rule_decides_when_all_before_it_are_equal() {
    let path = |path: &[u32]| Spec { path: path.to_vec(), ..SAME };
    let rows = [
        (SAME, Spec { resolved: false, local_pref: Some(900), ..SAME }, Rule::Unresolved),
        (Spec { local_pref: Some(101), ..path(&[1, 2]) }, path(&[1]), Rule::LocalPref),
        (Spec { origin: 2, ..path(&[1]) }, path(&[1, 2]), Rule::AsPathLength),
        (Spec { med: Some(9), ..path(&[1]) }, Spec { origin: 1, ..path(&[1]) }, Rule::Origin),
        (Spec { ebgp: false, ..path(&[1]) }, Spec { med: Some(1), ..path(&[1]) }, Rule::Med),
        (Spec { metric: 9, ..path(&[1]) }, Spec { ebgp: false, ..path(&[2]) }, Rule::Ebgp),
        (Spec { id: 9, ..path(&[1]) }, Spec { metric: 1, ..path(&[2]) }, Rule::Metric),
        (path(&[1]), Spec { id: 2, ..path(&[2]) }, Rule::Equal),
        (Spec { id: 3, originator: Some(1), ..SAME }, Spec { id: 2, ..SAME }, Rule::Equal),
        (Spec { originator: Some(1), id: 9, ..SAME }, Spec { originator: Some(1), clusters: 1, ..SAME }, Rule::Equal),
        (Spec { path_id: 4, ..SAME }, Spec { path_id: 5, ..SAME }, Rule::Equal),
    ];
    for (at, (winner, loser, rule)) in rows.into_iter().enumerate() {
        let ranking = ranked(&[loser.clone(), winner.clone()]).unwrap();
        assert_eq!((ranking.best, ranking.ended_by[0]), (1, rule), "row {at}");
        let ranking = ranked(&[winner, loser]).unwrap();
        assert_eq!((ranking.best, ranking.ended_by[1]), (0, rule), "row {at}, other order");
    }
}

#[test]
fn med_is_compared_only_within_a_neighbour_as() {
    // RFC 4271 §9.1.2.2 c
    let a = Spec { path: vec![1, 9], med: Some(50), id: 1, ..SAME };
    let b = Spec { path: vec![2, 9], med: Some(10), id: 2, ..SAME };
    let c = Spec { path: vec![1, 9], med: Some(40), id: 3, ..SAME };
    let ranking = ranked(&[a, b, c]).unwrap();
    assert_eq!(ranking.ended_by, [Rule::Med, Rule::Equal, Rule::Equal]);
    assert_eq!(ranking.best, 1);
}

#[test]
fn nothing_eligible_gives_nothing() {
    assert_eq!(ranked(&[]), None);
    assert_eq!(ranked(&[Spec { resolved: false, ..SAME }]), None);
}

fn spec(id: u8) -> impl Strategy<Value = Spec> {
    (
        proptest::collection::vec(1_u32..4, 1..3),
        0_u8..2,
        proptest::option::of(0_u32..2),
        proptest::option::of(99_u32..101),
        any::<bool>(),
        any::<bool>(),
        0_u32..2,
    )
        .prop_map(move |(path, origin, med, local_pref, ebgp, resolved, metric)| Spec {
            path,
            origin,
            med,
            local_pref,
            ebgp,
            resolved,
            metric,
            id,
            path_id: 0,
            originator: None,
            clusters: 0,
        })
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        specs in (spec(1), spec(2), spec(3), spec(4)).prop_map(|(a, b, c, d)| vec![a, b, c, d]),
        turn in 0_usize..4,
    ) {
        // The last two are paths of one peer.
        let mut specs = specs;
        (specs[3].id, specs[3].path_id) = (3, 7);
        let here = ranked(&specs);
        let mut turned = specs.clone();
        turned.rotate_left(turn);
        turned.swap(0, 1);
        let there = ranked(&turned);
        let best = |ranking: Option<Ranking>, specs: &[Spec]| ranking.map(|ranking| (specs[ranking.best].id, specs[ranking.best].path_id));
        let members = |ranking: &Option<Ranking>, specs: &[Spec]| {
            let mut ids: Vec<_> = ranking.iter().flat_map(|ranking| ranking.ended_by.iter().zip(specs))
                .filter(|(rule, _)| **rule == Rule::Equal).map(|(_, spec)| (spec.id, spec.path_id)).collect();
            ids.sort_unstable();
            ids
        };
        prop_assert_eq!(members(&here, &specs), members(&there, &turned));
        prop_assert_eq!(best(here, &specs), best(there, &turned));
    }
}
