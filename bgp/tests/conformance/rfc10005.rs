//! RFC 10005, BGP Link Bandwidth Extended Community, and what the kernel is asked for by it.

use crate::bytes::{NLRI, PREFIX, attribute, established, route_with, telling, told_attr};
use crate::harness::plant::{Kin, Plant};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_bgp::policy::compile;
use weft_bgp::wire::attrs::{flag, kind, put};

fn bandwidth(kind: u8, asn: u16, octets_per_s: f32) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    [&[kind, 4, high, low][..], &octets_per_s.to_be_bytes()].concat()
}

/// Guest and canary tell the same prefix, with these link bandwidths: the weights of their next hops, in this order.
fn weights(guest: &[u8], canary: &[u8]) -> Vec<u8> {
    let mut plant = established(Kin::External);
    plant.update(&[], &route_with(Kin::External, &optional(guest)), &NLRI);
    let mut more = Vec::new();
    if !canary.is_empty() {
        put(&mut more, flag::OPTIONAL | flag::TRANSITIVE, kind::EXTENDED_COMMUNITIES, canary);
    }
    plant.canary_announces(PREFIX, &[2, 1, 0, 0, 0xfc, 0x5a], &more);
    plant.route(PREFIX).unwrap().hops.iter().map(|hop| hop.weight).collect()
}

fn optional(communities: &[u8]) -> Vec<u8> {
    if communities.is_empty() { Vec::new() } else { attribute(0xc0, 16, communities) }
}

/// Format: octets per second as a float of IEEE, transitive or not.
#[test]
fn weights_follow_the_bandwidth_of_either_type() {
    let (narrow, wide) = (bandwidth(0, 64_601, 1.25e9), bandwidth(0x40, 64_602, 5e9));
    assert_eq!(weights(&narrow, &wide), [1, 4]);
    assert_eq!(weights(&wide, &narrow), [4, 1]);
    assert_eq!(weights(&wide, &wide), [1, 1]);
}

/// Several communities: of several, the lowest counts, whatever its type.
#[test]
fn the_lowest_of_several_counts() {
    let several = [bandwidth(0x40, 1, 9e9), bandwidth(0, 1, 1e9), bandwidth(0, 2, 2e9)].concat();
    assert_eq!(weights(&several, &bandwidth(0, 1, 2e9)), [1, 2]);
}

/// Multipath: weights only where every path of the set says what it carries.
#[test]
fn one_silent_path_makes_all_alike() {
    assert_eq!(weights(&bandwidth(0, 1, 1e9), &[]), [1, 1]);
    assert_eq!(weights(&bandwidth(0, 1, 1e9), &[0, 2, 0, 1, 0, 0, 0, 1]), [1, 1], "another community says nothing");
}

/// Errors: numbers that no link can have are as good as none, and zero gives no share to anybody.
#[test]
fn numbers_that_no_link_can_have_are_ignored() {
    for odd in [f32::NAN, f32::INFINITY, -1e9, 0.0] {
        assert_eq!(weights(&bandwidth(0, 1, odd), &bandwidth(0, 1, 4e9)), [1, 1], "{odd}");
    }
}

/// RFC 4360 §6: what is transitive is told on, what is not ends at the AS.
#[test]
fn only_the_transitive_one_leaves_the_as() {
    let (inside, across) = (bandwidth(0x40, 1, 1e9), bandwidth(0, 1, 1e9));
    assert_eq!(told_attr(&telling(Kin::Internal, 0xc0, 16, &inside), 16), None);
    assert_eq!(told_attr(&telling(Kin::Internal, 0xc0, 16, &across), 16), Some((0xc0, across)));
}

/// A plant whose canary is told through this policy.
fn told_through(rules: &serde_json::Value) -> Plant {
    let policies = compile(&json!({"p": rules}), &BTreeSet::new()).unwrap();
    let mut plant = Plant::configured(Kin::External, |config, _, canary| {
        config.policies = Arc::new(policies);
        canary.export = Some("p".to_owned());
    });
    plant.accept();
    plant.open();
    plant
}

/// Advertisement: a policy replaces what came, also by what all paths carry together.
#[test]
fn a_policy_sets_the_bandwidth_and_the_cumulative_one() {
    for (set, expected) in [
        ("20G", bandwidth(0, 64_600, 2.5e9)),
        ("20G non-transitive", bandwidth(0x40, 64_600, 2.5e9)),
        ("cumulative", bandwidth(0, 64_600, 1e9)),
    ] {
        let mut plant = told_through(&json!([{"then": {"set": {"link_bandwidth": set}, "do": "accept"}}]));
        plant.update(&[], &route_with(Kin::External, &attribute(0xc0, 16, &bandwidth(0, 64_601, 1e9))), &NLRI);
        assert_eq!(told_attr(&plant, 16).unwrap().1, expected, "{set}");
        plant.check();
    }
    let mut plant = told_through(&json!([{"then": {"set": {"link_bandwidth": "cumulative"}, "do": "accept"}}]));
    plant.update(&[], &route_with(Kin::External, &[]), &NLRI);
    assert_eq!(told_attr(&plant, 16), None, "nothing is known, so nothing is said");
}

/// A route is told only while it has enough behind it.
#[test]
fn a_policy_holds_back_what_is_too_narrow() {
    let mut plant = told_through(&json!([
        {"match": {"link_bandwidth": "ge 16G"}, "then": "accept"},
        {"match": {"prefix": "10.9.0.0/16"}, "then": "accept"},
    ]));
    let rate = |octets: f32| route_with(Kin::External, &attribute(0xc0, 16, &bandwidth(0, 64_601, octets)));
    plant.update(&[], &rate(2e9), &NLRI);
    assert!(plant.told(PREFIX).is_some());
    plant.update(&[], &rate(1e9), &NLRI);
    assert!(plant.told(PREFIX).is_none());
    plant.check();
}
