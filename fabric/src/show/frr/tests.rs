//! Keys and types beside those of a real FRR, and what the documents of a living node look like.

use super::shape::shape;
use super::*;
use crate::api::tests::{HOST_AT, converged};
use crate::api::{Body, Question, Routes, Selection};
use std::collections::BTreeSet;

/// What is ours and not FRR's.
fn unknown(document: &str, value: &Value) -> Vec<String> {
    let known: BTreeSet<&str> = include_str!("../../../tests/corpus/frr-8.4.4-keys.txt")
        .lines()
        .filter_map(|line| line.strip_prefix(document)?.strip_prefix(' '))
        .collect();
    assert!(known.len() > 20, "{document}");
    let ours = shape(value, ["neighbors", "route"].contains(&document));
    ours.into_iter().filter(|line| !known.contains(line.as_str())).collect()
}

const NOW: u64 = 1_800_000_000;

#[test]
fn documents_of_a_node_have_keys_and_types_of_frr_alone() {
    let plant = converged();
    let page = || Selection::Page { after: None, limit: 100 };
    let ask = |question| plant.ask(HOST_AT, &question).body;
    let Body::Neighbors(found) = ask(Question::Neighbors) else { panic!("no neighbors") };
    let Body::Bgp(bgp) = ask(Question::Bgp(page())) else { panic!("no paths") };
    let Body::Routes(Routes { routes, .. }) = ask(Question::Routes(page())) else { panic!("no routes") };
    let peers = peers(&found);
    let listed: Map<String, Value> =
        bgp.routes.iter().map(|route| (route.prefix.to_string(), bgp_route(route, &peers))).collect();
    let mut table = bgp_head(&bgp);
    table["routes"] = listed.into();
    let told = ["tor1".to_owned()];
    let paths: Vec<Value> = bgp.routes.iter().map(|route| bgp_prefix(route, &told, &peers, NOW)).collect();
    let kernel: Map<String, Value> =
        routes.iter().filter_map(|one| Some((one.prefix.to_string(), route(one)?))).collect();
    let mut all = vec![
        ("summary", summary(&found, bgp.prefixes, NOW)),
        ("neighbors", neighbors(&found, NOW)),
        ("bgp", table),
        ("route", kernel.into()),
    ];
    all.extend(paths.into_iter().map(|path| ("path", path)));
    for (name, document) in &all {
        assert_eq!(unknown(name, document), Vec::<String>::new(), "{name}: {document:#}");
    }
    let summary = &all[0].1["ipv4Unicast"];
    assert_eq!((&summary["as"], &summary["failedPeers"]), (&json!(65_004), &json!(1)));
    assert_eq!(summary["peers"]["10.0.11.9"]["state"], "Idle (Admin)");
    assert_eq!(summary["peers"]["10.0.11.1"]["desc"], "tor1");
    let best = &all[2].1["routes"]["0.0.0.0/0"][0];
    assert_eq!((&best["bestpath"], &best["path"], &best["origin"]), (&json!(true), &json!("64601"), &json!("IGP")));
    assert_eq!(all[3].1["0.0.0.0/0"][0]["nexthops"][1]["interfaceName"], "eth1");
    assert!(all[3].1["10.69.0.4/32"].is_null(), "an address of our own is no route of ours");
}

#[test]
fn what_a_living_node_does_not_have_is_as_frr_has_it_too() {
    let path: BgpPath = serde_json::from_value(json!({
        "from": "rr", "best": true, "used": true, "stale": false, "external": false, "reason": "only path", "next_hop": "fd00::1",
        "via": null, "as_path": "64599 {1,2}", "origin": "incomplete", "local_pref": 100, "med": 20, "path_id": 7,
        "communities": ["65000:1", "65535:65281"], "large_communities": ["1:2:3"], "ext_communities": ["rt:65000:1"],
        "originator_id": null, "cluster_list": [], "age_s": 60
    }))
    .unwrap();
    let route = BgpRoute { prefix: "fd00:1::/64".parse().unwrap(), installed: true, paths: vec![path.clone(), path] };
    let document = bgp_prefix(&route, &[], &Peers::new(), NOW);
    assert_eq!(unknown("path", &document), Vec::<String>::new());
    let first = &document["paths"][0];
    assert_eq!(first["community"], json!({"string": "65000:1 no-export", "list": ["65000:1", "noExport"]}));
    assert_eq!(first["extendedCommunity"]["string"], "RT:65000:1");
    assert_eq!(first["lastUpdate"]["epoch"], NOW - 60);
    assert_eq!(first["nexthops"][0]["afi"], "ipv6");
}

#[test]
fn times_are_written_as_there() {
    let all = [0, 59, 3_661, 86_399, 86_400, 7 * 86_400 - 1, 9 * 86_400 + 3_600].map(uptime);
    assert_eq!(all, ["00:00:00", "00:00:59", "01:01:01", "23:59:59", "1d00h00m", "6d23h59m", "01w2d01h"]);
}
