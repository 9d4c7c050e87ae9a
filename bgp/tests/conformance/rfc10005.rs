//! RFC 10005, BGP Link Bandwidth Extended Community, and what the kernel is asked for by it. The sections are those of
//! draft-ietf-idr-link-bandwidth-24, which became the RFC.

use crate::bytes::{NLRI, PREFIX, attribute, established, route_with, telling, told_attr};
use crate::harness::plant::{Kin, Plant};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_bgp::peer::{AddPathSend, PeerConfig};
use weft_bgp::policy::compile;
use weft_bgp::wire::attrs::{Attrs, flag, kind, put};

fn bandwidth(kind: u8, asn: u16, octets_per_s: f32) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    [&[kind, 4, high, low][..], &octets_per_s.to_be_bytes()].concat()
}

/// A plant with this policy, after a change of what guest and canary are configured to be; the guest has not yet connected.
fn under(kin: Kin, rules: &Value, change: impl FnOnce(&mut PeerConfig, &mut PeerConfig)) -> Plant {
    let policies = compile(&json!({"p": rules}), &BTreeSet::new()).unwrap();
    Plant::configured(kin, |config, guest, canary| {
        config.policies = Arc::new(policies);
        change(guest, canary);
    })
}

/// The guest tells the prefix with these extended communities, then the canary: the weights of their next hops, in this order.
fn weights_in(mut plant: Plant, guest: &[u8], canary: &[u8]) -> Vec<u8> {
    plant.update(&[], &route_with(Kin::External, &optional(guest)), &NLRI);
    let mut more = Vec::new();
    if !canary.is_empty() {
        put(&mut more, flag::OPTIONAL | flag::TRANSITIVE, kind::EXTENDED_COMMUNITIES, canary);
    }
    plant.canary_announces(PREFIX, &[2, 1, 0, 0, 0xfc, 0x5a], &more);
    assert_eq!(plant.guest_state(), "Established", "§3.2: no reason to flap");
    let route = plant.route(PREFIX).unwrap();
    // §3.2: no input to the choice of the best path, which is the guest's by its identifier.
    let best = route.paths.iter().find(|path| path.best).unwrap();
    assert_eq!(best.from, "guest", "{}", best.reason);
    route.hops.iter().map(|hop| hop.weight).collect()
}

fn weights(guest: &[u8], canary: &[u8]) -> Vec<u8> {
    weights_in(established(Kin::External), guest, canary)
}

fn optional(communities: &[u8]) -> Vec<u8> {
    if communities.is_empty() { Vec::new() } else { attribute(0xc0, 16, communities) }
}

/// §2, §3.2: octets per second as a float of IEEE 754, transitive or not, from inside and from outside of the AS; whose AS number
/// stands in it does not matter.
#[test]
fn weights_follow_the_bandwidth_of_either_type() {
    let (narrow, wide) = (bandwidth(0, 64_601, 1.25e9), bandwidth(0x40, 64_602, 5e9));
    assert_eq!(weights(&narrow, &wide), [1, 4]);
    assert_eq!(weights(&wide, &narrow), [4, 1]);
    assert_eq!(weights(&wide, &wide), [1, 1]);
    assert_eq!(
        weights(&bandwidth(0x40, 1, 5e9), &bandwidth(0, 2, 5e9)),
        [1, 1],
        "the same bandwidth of the other type"
    );
}

/// §2: a community is a link bandwidth by its whole type: opaque ones, and those of other administrators, are not.
#[test]
fn other_types_with_the_same_sub_type_say_nothing() {
    for kind in [0x01, 0x02, 0x03, 0x41, 0x42, 0x43, 0x80, 0xc0] {
        assert_eq!(weights(&bandwidth(kind, 1, 1e9), &bandwidth(0, 1, 4e9)), [1, 1], "{kind:#04x}");
    }
}

/// §4: of several, the lowest counts, zero included, whatever its type.
#[test]
fn the_lowest_of_several_counts() {
    let several = [bandwidth(0x40, 1, 9e9), bandwidth(0, 1, 1e9), bandwidth(0, 2, 2e9)].concat();
    assert_eq!(weights(&several, &bandwidth(0, 1, 2e9)), [1, 2]);
    let zero = [bandwidth(0, 1, 1e9), bandwidth(0x40, 1, 0.0)].concat();
    assert_eq!(weights(&zero, &bandwidth(0, 1, 2e9)), [1, 1]);
}

/// §4: weights only where every path of the set says what it carries.
#[test]
fn one_silent_path_makes_all_alike() {
    assert_eq!(weights(&bandwidth(0, 1, 1e9), &[]), [1, 1]);
    assert_eq!(weights(&bandwidth(0, 1, 1e9), &[0, 2, 0, 1, 0, 0, 0, 1]), [1, 1], "another community says nothing");
}

/// §4: a negative number is as good as none, and so is one that no link can have, of which nothing is said; zero is valid (§3.2), and
/// beside others makes all alike.
#[test]
fn numbers_that_no_link_can_have_are_ignored() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e9, -0.0, 0.0] {
        assert_eq!(weights(&bandwidth(0, 1, odd), &bandwidth(0, 1, 4e9)), [1, 1], "{odd}");
    }
    for ignored in [f32::NAN, f32::INFINITY, -1e9] {
        let beside = [bandwidth(0, 1, ignored), bandwidth(0, 1, 1e9)].concat();
        assert_eq!(weights(&beside, &bandwidth(0, 1, 4e9)), [1, 4], "beside {ignored}");
    }
}

/// §3.3.1, RFC 4360 §6: outside we are the next hop: what is transitive is told on unchanged, what is not ends at the AS.
#[test]
fn only_the_transitive_one_leaves_the_as() {
    let (inside, across) = (bandwidth(0x40, 1, 1e9), bandwidth(0, 1, 1e9));
    assert_eq!(told_attr(&telling(Kin::Internal, 0xc0, 16, &inside), 16), None);
    assert_eq!(told_attr(&telling(Kin::Internal, 0xc0, 16, &across), 16), Some((0xc0, across)));
}

/// §3.3.2: where the next hop stays, so does every link bandwidth, of both types, whatever it says.
#[test]
fn with_the_next_hop_unchanged_nothing_changes() {
    let all =
        [bandwidth(0x40, 1, 1e9), bandwidth(0, 2, -5.0), bandwidth(0x40, 3, f32::NAN), bandwidth(0, 4, 0.0)].concat();
    let mut plant = established(Kin::Internal);
    let mut more = Vec::new();
    put(&mut more, flag::OPTIONAL | flag::TRANSITIVE, kind::EXTENDED_COMMUNITIES, &all);
    plant.canary_announces(PREFIX, &[2, 1, 0, 0, 0xfc, 0x5a], &more);
    let (block, _) = plant.guest_told(PREFIX).unwrap();
    assert_eq!(Attrs(&block).value(16), Some(&all[..]));
}

/// A plant whose canary is told through this policy.
fn told_through(rules: &Value) -> Plant {
    let mut plant = under(Kin::External, rules, |_, canary| canary.export = Some("p".to_owned()));
    plant.accept();
    plant.open();
    plant
}

/// The guest tells a route with these extended communities: which of them the canary is told under this rule's changes.
fn told_under(then: &Value, communities: &[u8]) -> Option<Vec<u8>> {
    let mut plant = told_through(&json!([{"then": then}]));
    plant.update(&[], &route_with(Kin::External, &optional(communities)), &NLRI);
    plant.check();
    assert!(plant.told(PREFIX).is_some());
    told_attr(&plant, 16).map(|(_, value)| value)
}

/// §3.1, §3.3.1: a policy of the session regenerates what came, of either type, for an external peer too; also by what all paths
/// carry together (§3.4). One of the other type does not stay beside it (§7.1).
#[test]
fn a_policy_sets_the_bandwidth_and_the_cumulative_one() {
    let both = [bandwidth(0x40, 64_601, 3e9), bandwidth(0, 64_601, 1e9)].concat();
    for (set, expected) in [
        ("20G", bandwidth(0, 64_600, 2.5e9)),
        ("20G non-transitive", bandwidth(0x40, 64_600, 2.5e9)),
        ("0", bandwidth(0, 64_600, 0.0)),
        ("cumulative", bandwidth(0, 64_600, 1e9)),
        ("cumulative non-transitive", bandwidth(0x40, 64_600, 1e9)),
    ] {
        let then = json!({"set": {"link_bandwidth": set}, "do": "accept"});
        assert_eq!(told_under(&then, &both), Some(expected), "{set}");
    }
    let cumulative = json!({"set": {"link_bandwidth": "cumulative"}, "do": "accept"});
    assert_eq!(told_under(&cumulative, &[]), None, "nothing is known, so nothing is said");
}

/// §3.4: what two next hops carry together.
#[test]
fn the_cumulative_bandwidth_is_that_of_all_next_hops() {
    let rules = json!([{"then": {"set": {"link_bandwidth": "cumulative"}, "do": "accept"}}]);
    let mut plant = under(Kin::Internal, &rules, |_, canary| canary.export = Some("p".to_owned()));
    plant.offer_paths(AddPathSend::None);
    plant.try_open();
    for (id, rate) in [(1, 1e9), (2, 3e9)] {
        let hop = [0x40, 3, 4, 192, 0, 2, 20 + id];
        let more = attribute(0xc0, 16, &bandwidth(0x40, 64_600, rate));
        let attributes = [&route_with(Kin::Internal, &hop)[..], &more].concat();
        plant.update(&[], &attributes, &[&[0, 0, 0, id][..], &NLRI].concat());
    }
    assert_eq!(plant.route(PREFIX).unwrap().hops.len(), 2);
    assert_eq!(told_attr(&plant, 16).unwrap().1, bandwidth(0, 64_600, 4e9));
    plant.check();
}

/// §3.1: the policy chooses the Global Administrator, and one of each type may be attached; §6: none is told where a policy removes
/// them; §7.1: one type is removed apart from the other.
#[test]
fn a_policy_adds_and_removes_each_type() {
    let add = json!({"add": {"ext_communities": ["link-bandwidth:7:8G", "link-bandwidth:7:8G non-transitive"]}, "do": "accept"});
    assert_eq!(told_under(&add, &[]), Some([bandwidth(0, 7, 1e9), bandwidth(0x40, 7, 1e9)].concat()));
    let across = bandwidth(0, 1, 1e9);
    for (removed, left) in [
        ("link-bandwidth:*", None),
        ("link-bandwidth:* transitive", None),
        ("link-bandwidth:* non-transitive", Some(across.clone())),
    ] {
        let then = json!({"remove": {"ext_communities": removed}, "do": "accept"});
        assert_eq!(told_under(&then, &across), left, "{removed}");
    }
}

/// §3.1: attached, or updated, when a route comes; §7.1: what a neighbour does not keep up to date is stripped from what it sends.
#[test]
fn a_policy_changes_what_comes_before_it_is_used() {
    let weights = |then: Value, guest: &[u8], canary: &[u8]| {
        let rules = json!([{"then": then}]);
        let mut plant = under(Kin::External, &rules, |guest, _| guest.import = Some("p".to_owned()));
        plant.accept();
        plant.open();
        weights_in(plant, guest, canary)
    };
    let set = json!({"set": {"link_bandwidth": "40G"}, "do": "accept"});
    assert_eq!(weights(set, &[], &bandwidth(0, 1, 1.25e9)), [4, 1]);
    let both = [bandwidth(0, 1, 1e9), bandwidth(0x40, 1, 8e9)].concat();
    let strip = |removed: &str| json!({"remove": {"ext_communities": removed}, "do": "accept"});
    assert_eq!(weights(strip("link-bandwidth:* transitive"), &both, &bandwidth(0, 1, 2e9)), [4, 1]);
    assert_eq!(weights(strip("link-bandwidth:* non-transitive"), &both, &bandwidth(0, 1, 2e9)), [1, 2]);
    assert_eq!(weights(strip("link-bandwidth:*"), &both, &bandwidth(0, 1, 2e9)), [1, 1]);
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
