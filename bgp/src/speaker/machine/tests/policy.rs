//! Policies between speakers: what they let through, what they change, and what a new one changes afterwards.

use super::*;
use crate::policy;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn compiled(section: &Value) -> Arc<Policies> {
    let peers = (1..5).map(|at| format!("r{at}")).collect::<BTreeSet<_>>();
    Arc::new(policy::compile(section, &peers).unwrap())
}

/// 1 tells 2 what it originates; 2 imports by `p` and tells 3 by `q`.
fn line(section: &Value, asns: &[u32]) -> Net {
    let mut net = Net::new(asns);
    let now = net.now;
    net.speakers[1].set_policies(now, compiled(section));
    net.join(1, 2, |_, two| two.import = Some("p".to_owned()));
    net.join(2, 3, |two, _| two.export = Some("q".to_owned()));
    net
}

pub(super) fn originate(net: &mut Net, at: usize, prefixes: &[&str]) {
    let route = |prefix: &&str| Originate {
        prefix: prefix.parse().unwrap(),
        communities: vec![0x0001_0001],
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    net.give(at - 1, Input::SetOriginated(prefixes.iter().map(route).collect()));
    net.settle();
}

fn path(net: &Net, at: usize, prefix: &str) -> crate::speaker::PathInfo {
    let route = net.speakers[at - 1].route_to(&prefix.parse().unwrap()).unwrap();
    assert_eq!(route.prefix.to_string(), prefix);
    route.paths.into_iter().find(|path| path.best).unwrap()
}

#[test]
fn an_import_policy_takes_each_prefix_on_its_own() {
    let section = json!({"sets": {"ours": ["10.1.0.0/16 ge 24"]}, "p": [{"match": {"prefix": "ours"}, "then": "accept"}],
        "q": [{"match": {"route": "ebgp", "prefix": "10.1.2.0/24"}, "then": "accept"}]});
    let mut net = line(&section, &[65_001, 65_002, 65_003]);
    originate(&mut net, 1, &["10.1.0.0/16", "10.1.1.0/24", "10.1.2.0/24", "11.0.0.0/8"]);
    assert_eq!(
        net.routes(2),
        ["10.1.1.0/24 [65001] 192.0.2.1", "10.1.2.0/24 [65001] 192.0.2.1", "10.3.0.0/16 [65003] 192.0.2.3"]
    );
    assert_eq!(net.routes(3), ["10.1.2.0/24 [65002 65001] 192.0.2.2"]);
    let neighbor = &net.speakers[1].neighbors(net.now)[0];
    assert_eq!((neighbor.prefixes_received, neighbor.prefixes_rejected), ([2, 0], 3), "10.1.0.0/16 came twice");
    let told = net.speakers[1].told(&"10.1.1.0/24".parse().unwrap());
    let why = told[1].reason.as_deref();
    assert_eq!((told[1].neighbor.as_str(), why), ("r3", Some("the export policy rejects it (rule q.end)")));
}

#[test]
fn import_changes_are_made_per_prefix_and_blocks_are_freed_with_the_last_path() {
    let section = json!({"p": [
        {"match": {"prefix": "10.1.1.0/24"}, "then": {"set": {"local_pref": 200}, "prepend": [9], "do": "accept"}},
        {"match": {"prefix": "10.1.2.0/24"}, "then": {"set": {"next_hop": "192.0.2.77"}, "remove": {"communities": "1:*"}, "do": "accept"}},
        {"then": "accept"}], "q": []});
    let mut net = line(&section, &[65_001, 65_002, 65_003]);
    let before = net.speakers[1].table.attrs.len();
    originate(&mut net, 1, &["10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"]);
    let changed = path(&net, 2, "10.1.1.0/24");
    assert_eq!((changed.local_pref, changed.as_path.as_str()), (Some(200), "9 65001"));
    let moved = path(&net, 2, "10.1.2.0/24");
    assert_eq!((moved.next_hop, moved.communities.len()), (IpAddr::from([192, 0, 2, 77]), 0));
    assert_eq!(path(&net, 2, "10.1.3.0/24").communities, ["1:1"]);
    originate(&mut net, 1, &["10.1.0.0/16"]);
    originate(&mut net, 1, &[]);
    assert_eq!(net.speakers[1].table.attrs.len() + 1, before, "10.1.0.0/16 of the beginning is gone too");
}

#[test]
fn an_export_policy_changes_what_is_told_and_keeps_equal_routes_together() {
    let section = json!({"p": [{"then": "accept"}], "q": [
        {"match": {"prefix": "10.1.1.0/24"}, "then": {"set": {"med": 5}, "prepend": 2, "add": {"communities": "no-export"}, "do": "accept"}},
        {"match": {"prefix": ["10.1.0.0/16 ge 24"]}, "then": {"set": {"med": 7}, "do": "next"}},
        {"match": {"med": 7}, "then": "accept"}]});
    let mut net = line(&section, &[65_001, 65_002, 65_003]);
    let before = net.speakers[1].neighbors(net.now)[1].updates_sent;
    originate(&mut net, 1, &["10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24", "10.1.0.0/16"]);
    let one = path(&net, 3, "10.1.1.0/24");
    assert_eq!((one.med, one.as_path.as_str()), (Some(5), "65002 65002 65002 65001"));
    assert_eq!(one.communities, ["1:1", "65535:65281"]);
    let two = path(&net, 3, "10.1.2.0/24");
    assert_eq!((two.med, two.as_path.as_str()), (Some(7), "65002 65001"));
    assert_eq!(net.routes(3).len(), 3);
    assert_eq!(net.speakers[1].neighbors(net.now)[1].updates_sent - before, 2, "one UPDATE for each set of changes");
}

#[test]
fn a_next_hop_of_our_own_replaces_that_of_a_reflected_route() {
    let section = json!({"p": [{"then": "accept"}], "q": [{"then": {"set": {"next_hop": "self"}, "do": "accept"}}]});
    let net = line(&section, &[65_001, 65_002, 65_002]);
    assert_eq!(path(&net, 3, "10.1.0.0/16").next_hop, address(2));
}

#[test]
fn a_rule_does_not_undo_graceful_shutdown() {
    // RFC 8326 §4
    let section = json!({"p": [{"then": {"set": {"local_pref": 300}, "remove": {"communities": "*:*"}, "do": "accept"}}], "q": []});
    let mut net = line(&section, &[65_001, 65_002, 65_003]);
    let route = Originate {
        prefix: "10.1.0.0/16".parse().unwrap(),
        communities: vec![0xffff_0000],
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    net.give(0, Input::SetOriginated(vec![route]));
    net.settle();
    assert_eq!(path(&net, 2, "10.1.0.0/16").local_pref, Some(0));
}

#[test]
fn a_new_policy_is_asked_again_about_everything() {
    // RFC 2918 §4
    let section = json!({"p": [{"then": "accept"}], "q": [{"then": "accept"}]});
    let mut net = line(&section, &[65_001, 65_002, 65_003]);
    assert_eq!(net.routes(3).len(), 2);
    let now = net.now;
    net.speakers[1].set_policies(now, compiled(&json!({"p": [], "q": [{"then": "accept"}]})));
    net.settle();
    assert_eq!(net.routes(2), ["10.3.0.0/16 [65003] 192.0.2.3"], "rejected now, so the earlier path went");
    assert_eq!(net.routes(3), ["10.2.0.0/16 [65002] 192.0.2.2"]);
    let now = net.now;
    net.speakers[1].set_policies(now, compiled(&json!({"p": [{"then": "accept"}], "q": []})));
    net.settle();
    assert_eq!(net.routes(2).len(), 2);
    assert_eq!(net.routes(3), [""; 0], "withdrawn");
}
