//! Fabrics in which packets arrive, and in which they do not.

use super::*;
use serde_json::{Value, json};

/// One node: its number is the last octet of its addresses, and of its identifier.
struct Node {
    name: &'static str,
    number: u8,
    route: Value,
    kernel: &'static str,
}

const AGREES: &str = "nhid 7 = {eth1 ×1}, as wanted";

fn node(name: &'static str, number: u8, route: Value) -> Node {
    Node { name, number, route, kernel: AGREES }
}

/// A route to the nodes of these numbers.
fn via(prefix: &str, numbers: &[u8]) -> Value {
    let hop =
        |number: &u8| json!({"interface": format!("eth{number}"), "gateway": format!("10.0.0.{number}"), "weight": 1});
    let hops: Vec<Value> = numbers.iter().map(hop).collect();
    json!({"prefix": prefix, "kind": "bgp", "installed": true, "kernel": "installed", "via": hops, "from": [], "age_s": 1})
}

fn kind(prefix: &str, kind: &str) -> Value {
    json!({"prefix": prefix, "kind": kind, "installed": true, "kernel": "none", "via": [], "from": [], "age_s": 1})
}

fn interfaces(number: u8) -> Vec<Interface> {
    let link = |name: &str, kind: &str, net: String| {
        json!({
            "name": name, "index": 1, "up": true, "carrier": true, "damped": 0, "kind": kind, "master": null, "mtu": 1500, "mac": "",
            "addresses": [{"net": net, "tentative": false}], "discovered": null, "neighbors": []
        })
    };
    let all = [
        link("lo", "loopback", format!("10.69.0.{number}/32")),
        link("eth0", "veth", format!("10.0.0.{number}/32")),
        link("rack", "bridge", format!("10.70.{number}.1/24")),
    ];
    serde_json::from_value(all.into()).unwrap()
}

fn trace(nodes: &[Node], target: &str) -> Trace {
    let mut directory = Directory::default();
    for node in nodes.iter().filter(|node| node.kernel != "deaf") {
        directory.add(node.name, [10, 69, 0, node.number].into(), &interfaces(node.number));
    }
    walk(target.parse().unwrap(), nodes[0].name, &directory, |name| {
        let node = nodes.iter().find(|node| node.name == name).ok_or("nobody")?;
        let explanation = json!({
            "target": target, "route": node.route, "paths": [], "kernel": node.kernel, "originated": null, "told": [], "no_session": []
        });
        let explanation = serde_json::from_value(explanation).unwrap();
        Ok(Seen { explanation, neighbors: Vec::new(), interfaces: interfaces(node.number) })
    })
}

fn ends(trace: &Trace) -> Vec<(&str, usize, Option<&End>)> {
    trace.hops.iter().map(|hop| (hop.node.as_str(), hop.distance, hop.end.as_ref())).collect()
}

#[test]
fn equal_ways_are_followed_to_their_common_end() {
    let to = "10.69.0.9/32";
    let nodes = [
        node("host", 1, via("0.0.0.0/0", &[2, 3])),
        node("tor1", 2, via(to, &[4])),
        node("tor2", 3, via(to, &[4])),
        node("spine", 4, via(to, &[9])),
        node("owner", 9, kind(to, "local")),
    ];
    let trace = trace(&nodes, "10.69.0.9");
    assert_eq!(
        ends(&trace),
        [("host", 0, None), ("tor1", 1, None), ("tor2", 1, None), ("spine", 2, None), ("owner", 3, Some(&End::Owner))]
    );
    assert!(!trace.is_bad() && trace.r#loop.is_none());
    insta::assert_snapshot!("ways", crate::show::trace::text(&trace));
}

#[test]
fn a_loop_is_named() {
    let nodes = [
        node("host", 1, via("0.0.0.0/0", &[2])),
        node("tor", 2, via("0.0.0.0/0", &[3])),
        node("spine", 3, via("10.0.0.0/8", &[2])),
    ];
    let trace = trace(&nodes, "10.99.0.1");
    assert_eq!(trace.r#loop, Some(vec!["tor".to_owned(), "spine".to_owned(), "tor".to_owned()]));
    assert!(trace.is_bad());
    assert!(crate::show::trace::text(&trace).ends_with("packets go round: tor → spine → tor\n"));
}

#[test]
fn every_other_end_is_named_too() {
    let first = |prefix| node("host", 1, via(prefix, &[2]));
    let at = |second: Node, target: &str| {
        let trace = trace(&[first("0.0.0.0/0"), second], target);
        (trace.hops[1].end.clone().unwrap(), trace.is_bad())
    };
    assert_eq!(at(node("tor", 2, kind("10.99.0.0/16", "aggregate")), "10.99.0.1"), (End::Dropped, true));
    assert_eq!(at(node("tor", 2, Value::Null), "10.99.0.1"), (End::NoRoute, true));
    assert_eq!(at(node("tor", 2, kind("10.99.0.0/16", "none")), "10.99.0.1"), (End::Unusable, true));
    assert_eq!(at(node("border", 2, kind("0.0.0.0/0", "local")), "8.8.8.8"), (End::Originator, false));
    assert_eq!(at(node("tor", 2, via("0.0.0.0/0", &[1])), "10.70.2.77"), (End::Connected, false));
    let deaf = trace(&[first("0.0.0.0/0"), Node { kernel: "deaf", ..node("other", 2, Value::Null) }], "8.8.8.8");
    assert_eq!(deaf.hops[0].end, Some(End::Unasked("the next hop cannot be asked from here".to_owned())));
    assert!(!deaf.is_bad());
}

#[test]
fn who_cannot_be_asked_beside_others_is_named() {
    let nodes = [
        node("host", 1, via("10.69.0.3/32", &[2, 3])),
        Node { kernel: "deaf", ..node("frr", 2, Value::Null) },
        node("owner", 3, Value::Null),
    ];
    let trace = trace(&nodes, "10.69.0.3");
    assert_eq!(trace.unasked().into_iter().collect::<Vec<_>>(), ["10.0.0.2"]);
    let said = "every way that can be followed ends at owner, after 1 hop at most; 10.0.0.2 cannot be asked\n";
    assert!(crate::show::trace::text(&trace).ends_with(said), "{}", crate::show::trace::text(&trace));
}

#[test]
fn a_kernel_that_does_otherwise_is_bad() {
    let kernel = "nhid 7 = {eth1 ×1}, not yet as wanted";
    let nodes = [Node { kernel, ..node("host", 1, via("10.69.0.2/32", &[2])) }, node("owner", 2, Value::Null)];
    let trace = trace(&nodes, "10.69.0.2");
    assert_eq!((trace.hops[0].agrees, trace.is_bad()), (false, true));
}
