//! What must stand behind a prefix before it is used (RFC 4271 §9.1.2: a route that is not eligible is neither installed nor told):
//! `policy.guards`.

use crate::bytes::{NLRI, PREFIX, attribute, route_with};
use crate::harness::plant::{Kin, Plant};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use weft_bgp::peer::AddPathSend;
use weft_bgp::policy::{Policies, compile};
use weft_bgp::speaker::{Input, LinkState};
use weft_bgp::types::IfIndex;
use weft_bgp::wire::attrs::{flag, kind, put};

/// AS_PATH 64602, as the canary writes it.
const CANARY_PATH: [u8; 6] = [2, 1, 0, 0, 0xfc, 0x5a];

fn policies(guards: &Value) -> Arc<Policies> {
    Arc::new(compile(&json!({"guards": guards}), &BTreeSet::new()).unwrap())
}

fn plant(guards: &Value) -> Plant {
    let mut plant = Plant::configured(Kin::External, |speaker, _, _| speaker.policies = policies(guards));
    plant.accept();
    plant.open();
    plant
}

/// A link bandwidth in octets per second (RFC 10005 §2).
fn bandwidth(octets_per_s: f32) -> Vec<u8> {
    [&[0, 4, 0xfc, 0x59][..], &octets_per_s.to_be_bytes()].concat()
}

fn guest_tells(plant: &mut Plant, octets_per_s: Option<f32>) {
    let more = octets_per_s.map_or_else(Vec::new, |rate| attribute(0xc0, 16, &bandwidth(rate)));
    plant.update(&[], &route_with(Kin::External, &more), &NLRI);
}

fn canary_tells(plant: &mut Plant, octets_per_s: Option<f32>) {
    let mut more = Vec::new();
    if let Some(rate) = octets_per_s {
        put(&mut more, flag::OPTIONAL | flag::TRANSITIVE, kind::EXTENDED_COMMUNITIES, &bandwidth(rate));
    }
    plant.canary_announces(PREFIX, &CANARY_PATH, &more);
}

/// How many next hops the kernel is asked to hold, and why none.
fn kernel(plant: &Plant) -> (usize, Option<String>) {
    let route = plant.route(PREFIX).unwrap();
    assert_eq!(route.installed, !route.hops.is_empty());
    assert_eq!(route.paths.iter().filter(|path| path.used).count(), route.hops.len());
    (route.hops.len(), route.held_back)
}

fn why(text: &str) -> (usize, Option<String>) {
    (0, Some(format!("held back: {text}")))
}

/// One next hop of two: nothing is installed, nobody is told, and it is said why; with two, everything is as ever.
#[test]
fn with_too_few_next_hops_a_prefix_is_neither_told_nor_installed() {
    let mut plant = plant(&json!([{"prefix": PREFIX, "minimum_next_hops": 2}]));
    guest_tells(&mut plant, None);
    assert_eq!((kernel(&plant), plant.told(PREFIX)), (why("1 of 2 next hops"), None));
    let told = plant.speaker.told(&PREFIX.parse().unwrap());
    assert!(told.iter().all(|told| told.reason.as_deref() == Some("held back: 1 of 2 next hops")), "{told:?}");
    assert_eq!(plant.speaker.summary().held_back, 1);
    canary_tells(&mut plant, None);
    assert_eq!(kernel(&plant), (2, None));
    assert!(plant.told(PREFIX).is_some());
    assert_eq!(plant.speaker.summary().held_back, 0);
    plant.update(&NLRI, &[], &[]);
    assert_eq!((kernel(&plant), plant.told(PREFIX)), (why("1 of 2 next hops"), None));
    let path = &plant.route(PREFIX).unwrap().paths[0];
    assert_eq!((path.used, path.best, path.reason.as_str()), (false, false, "held back: 1 of 2 next hops"));
}

/// A path that loses against the best is no next hop; nor is one that cannot be reached.
#[test]
fn only_next_hops_in_use_count() {
    let mut plant = plant(&json!([{"prefix": "10.0.0.0/8 ge 16", "minimum_next_hops": 2}]));
    plant.canary_announces(PREFIX, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0, 1], &[]);
    guest_tells(&mut plant, None);
    assert_eq!(kernel(&plant), why("1 of 2 next hops"), "the canary's path is longer");
    canary_tells(&mut plant, None);
    assert_eq!(kernel(&plant).0, 2);
    let addrs = vec!["192.0.2.9/32".parse().unwrap()];
    plant.speaker.handle(plant.now, Input::Links(vec![LinkState { link: IfIndex(2), addrs }]));
    plant.pass(Duration::from_secs(1));
    assert_eq!(kernel(&plant), (0, None), "unreachable, and not held back");
    assert_eq!(plant.told(PREFIX), None);
}

/// RFC 10005 §3.4: what the next hops carry together; one that says nothing adds nothing.
#[test]
fn with_too_little_bandwidth_a_prefix_is_held_back() {
    let mut plant = plant(&json!([{"prefix": PREFIX, "minimum_bandwidth": "30G"}]));
    guest_tells(&mut plant, Some(1.25e9));
    assert_eq!((kernel(&plant), plant.told(PREFIX)), (why("10G of 30G link bandwidth"), None));
    canary_tells(&mut plant, None);
    assert_eq!(kernel(&plant), why("10G of 30G link bandwidth, unknown of 1 next hop"));
    canary_tells(&mut plant, Some(2.5e9));
    assert_eq!(kernel(&plant), (2, None), "10G and 20G are 30G");
    assert!(plant.told(PREFIX).is_some());
    canary_tells(&mut plant, Some(2.4e9));
    assert_eq!((kernel(&plant), plant.told(PREFIX)), (why("29.2G of 30G link bandwidth"), None));
}

/// The first guard that fits counts; what none fits, and what the node originates, is as ever.
#[test]
fn the_first_guard_that_fits_counts() {
    let guards = json!([
        {"prefix": PREFIX, "minimum_bandwidth": "1G"},
        {"prefix": ["0.0.0.0/0 ge 16", "::/0 le 128"], "minimum_next_hops": 2},
    ]);
    let mut plant = Plant::configured(Kin::External, |speaker, _, _| {
        speaker.policies = policies(&json!([{"prefix": "10.9.0.0/16", "minimum_next_hops": 2}]));
    });
    plant.accept();
    plant.open();
    plant.speaker.set_policies(plant.now, policies(&guards));
    plant.pass(Duration::from_secs(1));
    guest_tells(&mut plant, Some(1.25e9));
    assert_eq!(kernel(&plant), (1, None));
    let route_of_the_canary = plant.route("10.2.0.0/16").unwrap();
    assert_eq!(route_of_the_canary.held_back.as_deref(), Some("held back: 1 of 2 next hops"));
    assert_eq!(plant.route("10.9.0.0/16").unwrap().held_back, None);
    assert!(plant.told("10.9.0.0/16").is_some());
}

/// A reload with other guards takes effect at once, without a session or a peer being asked anything.
#[test]
fn other_guards_take_effect_without_a_refresh() {
    let mut plant = plant(&json!([]));
    guest_tells(&mut plant, None);
    assert!(plant.told(PREFIX).is_some());
    let asked = plant.guest_heard(5);
    for (guards, is_told) in [(json!([{"prefix": PREFIX, "minimum_next_hops": 2}]), false), (json!([]), true)] {
        plant.speaker.set_policies(plant.now, policies(&guards));
        plant.pass(Duration::from_secs(1));
        assert_eq!(plant.told(PREFIX).is_some(), is_told);
        assert_eq!(plant.route(PREFIX).unwrap().installed, is_told);
    }
    assert_eq!(plant.guest_heard(5), asked);
    plant.check();
}

/// RFC 7911: two paths through one next hop are one way out, and who is told of all paths is told of none.
#[test]
fn paths_of_one_next_hop_count_once_and_add_path_tells_none() {
    let mut plant = Plant::configured(Kin::External, |speaker, _, _| {
        speaker.policies = policies(&json!([{"prefix": PREFIX, "minimum_next_hops": 2}]));
    });
    plant.offer_paths(AddPathSend::All);
    plant.try_open();
    let two = [&[0, 0, 0, 1][..], &NLRI, &[0, 0, 0, 2], &NLRI].concat();
    plant.update(&[], &route_with(Kin::External, &[]), &two);
    assert_eq!(kernel(&plant), why("1 of 2 next hops"));
    canary_tells(&mut plant, None);
    assert_eq!(plant.route(PREFIX).unwrap().hops.len(), 2);
    assert_eq!(plant.guest_paths(PREFIX).len(), 1, "the canary's");
    plant.update(&two, &[], &[]);
    assert_eq!(kernel(&plant), why("1 of 2 next hops"));
    assert_eq!((plant.guest_paths(PREFIX), plant.told(PREFIX)), (Vec::new(), None));
}

/// RFC 4271 §9.1.4: a prefix that is held back is no reason to announce the aggregate around it.
#[test]
fn an_aggregate_does_not_stand_on_what_is_held_back() {
    let mut plant = Plant::configured(Kin::External, |speaker, _, _| {
        speaker.policies = policies(&json!([{"prefix": PREFIX, "minimum_next_hops": 2}]));
        speaker.aggregates = vec!["10.4.0.0/14".parse().unwrap()];
    });
    plant.accept();
    plant.open();
    guest_tells(&mut plant, None);
    assert_eq!(plant.told("10.4.0.0/14"), None);
    canary_tells(&mut plant, None);
    assert!(plant.told("10.4.0.0/14").is_some());
    plant.update(&NLRI, &[], &[]);
    assert_eq!(plant.told("10.4.0.0/14"), None);
}

/// Everything that is wrong with guards is said with its place.
#[test]
fn wrong_guards_are_named() {
    for (guards, field) in [
        (json!({}), "policy.guards"),
        (json!([{"minimum_next_hops": 2}]), "policy.guards[0]"),
        (json!([{"prefix": "nowhere", "minimum_next_hops": 2}]), "policy.guards[0].prefix"),
        (json!([{"prefix": PREFIX}]), "policy.guards[0]"),
        (json!([{"prefix": PREFIX, "minimum_next_hops": 1}]), "policy.guards[0].minimum_next_hops"),
        (json!([{"prefix": PREFIX, "minimum_next_hops": 65}]), "policy.guards[0].minimum_next_hops"),
        (json!([{"prefix": PREFIX, "minimum_bandwidth": 0}]), "policy.guards[0].minimum_bandwidth"),
        (json!([{"prefix": PREFIX, "minimum_hops": 2}]), "policy.guards[0].minimum_hops"),
    ] {
        let faults = compile(&json!({"guards": guards}), &BTreeSet::new()).unwrap_err();
        assert!(faults.iter().any(|fault| fault.field == field), "{field}: {faults:?}");
    }
}
