//! Small networks by hand: what is lost, moved, new and unbalanced in them follows from a drawing.

use super::*;
use crate::sim::clos::Clos;
use crate::sim::{Settings, Sim};
use crate::topology::Topology;
use std::path::Path;
use weft_bgp::time::Duration;

/// `a-b:0.5,c:0.5` = node a sends half to b and half to c; `d` = for itself; `e!why` = lost there.
fn steps(text: &str) -> BTreeMap<String, Step> {
    let step = |word: &str| {
        if let Some((node, why)) = word.split_once('!') {
            return (node.to_owned(), Step::Lost(why.to_owned()));
        }
        let Some((node, hops)) = word.split_once('-') else {
            return (word.to_owned(), Step::Here);
        };
        let links = hops.split(',').map(|hop| {
            let (to, share) = hop.split_once(':').unwrap_or((hop, "1"));
            (Link { from: node.to_owned(), interface: format!("to-{to}"), to: to.to_owned() }, share.parse().unwrap())
        });
        (node.to_owned(), Step::Onward(links.collect()))
    };
    text.split_whitespace().map(step).collect()
}

fn picture(destinations: &[(&str, &str)]) -> Picture {
    Picture { destinations: destinations.iter().map(|(to, text)| ((*to).to_owned(), steps(text))).collect() }
}

fn plan(old: &[(&str, &str)], new: &[(&str, &str)]) -> Plan {
    compare(&picture(old), &picture(new), &BTreeSet::new())
}

fn row(from: &str, before: &str, after: &str, to: &[&str]) -> Row {
    let to = to.iter().map(|to| (*to).to_owned()).collect();
    Row { from: from.to_owned(), before: before.to_owned(), after: after.to_owned(), to }
}

#[test]
fn the_same_network_changes_nothing() {
    let network = [("h IPv4", "a-b:0.5,c:0.5 b-h c-h h")];
    let plan = plan(&network, &network);
    assert_eq!(plan, Plan { flows: 3, ..Plan::default() });
    assert!(plan.is_good());
}

#[test]
fn a_route_that_is_gone_loses_the_flows_behind_it() {
    let plan = plan(&[("h IPv4", "a-b b-h h")], &[("h IPv4", "a-b b!has_no_route h")]);
    assert_eq!((plan.flows, plan.flows_lost, plan.is_good()), (2, 2, false));
    let why = "b has_no_route";
    assert_eq!(plan.lost, [row("a", "arrives", why, &["h IPv4"]), row("b", "arrives", why, &["h IPv4"])]);
}

#[test]
fn half_a_flow_that_is_lost_is_lost() {
    let plan = plan(&[("h IPv4", "a-b:0.5,c:0.5 b-h c-h h")], &[("h IPv4", "a-b:0.5,c:0.5 b-h c!discards h")]);
    let half = row("a", "arrives", "50 % arrives; c discards", &["h IPv4"]);
    assert!(plan.lost.contains(&half), "{:?}", plan.lost);
}

#[test]
fn a_circle_is_found_and_named() {
    let plan = plan(&[("h IPv4", "a-b b-h h")], &[("h IPv4", "a-b b-a h")]);
    assert!(plan.lost[0].after.starts_with("a circle through "), "{:?}", plan.lost);
}

#[test]
fn what_goes_another_way_has_moved_and_is_told_once_where_it_turns() {
    let plan = plan(&[("h IPv4", "s-a a-b:0.5,c:0.5 b-h c-h h")], &[("h IPv4", "s-a a-b b-h c-h h")]);
    assert_eq!((plan.flows, plan.flows_moved, plan.flows_lost), (4, 2, 0));
    assert_eq!(plan.moved, [row("a", "b 50 %, c 50 %", "b 100 %", &["h IPv4"])], "s sends to a as before");
    assert!(plan.is_good());
}

#[test]
fn destinations_and_nodes_that_are_new_or_gone_are_counted() {
    let plan = plan(&[("h IPv4", "a-h h")], &[("h IPv4", "a-h n-h h"), ("n IPv4", "a-n h-n n")]);
    assert_eq!((plan.flows_new, plan.flows_lost), (3, 0));
    let old = picture(&[("h IPv4", "a-h n-h h"), ("n IPv4", "a-n h-n n")]);
    let new = picture(&[("h IPv4", "a-h h")]);
    assert_eq!(compare(&old, &new, &BTreeSet::new()).flows_lost, 3);
    let told = compare(&old, &new, &BTreeSet::from(["n".to_owned()]));
    assert_eq!((told.flows_lost, told.flows_given_up, told.is_good()), (0, 3, true));
}

#[test]
fn links_that_share_traffic_less_evenly_are_named_with_their_shares() {
    let old = [("h IPv4", "a-b:0.5,c:0.5 b-h c-h h"), ("k IPv4", "a-b:0.5,c:0.5 b-k c-k k")];
    let new = [("h IPv4", "a-b:0.5,c:0.5 b-h c-h h"), ("k IPv4", "a-b b-k c-k k")];
    let plan = plan(&old, &new);
    let [uneven] = &plan.unbalanced[..] else {
        panic!("{:?}", plan.unbalanced);
    };
    // Two flows: one half and half, one on b alone.
    assert_eq!((uneven.at.as_str(), uneven.before), ("a", 1.0));
    assert!((uneven.shares["to-b b"] - 0.75).abs() < SAME && (uneven.after - 1.5).abs() < SAME, "{uneven:?}");
}

#[test]
fn weights_divide_flows() {
    let plan = plan(&[("h IPv4", "a-b:0.5,c:0.5 b-h c-h h")], &[("h IPv4", "a-b:0.75,c:0.25 b-h c-h h")]);
    assert_eq!(plan.moved, [row("a", "b 50 %, c 50 %", "b 75 %, c 25 %", &["h IPv4"])]);
    assert_eq!(plan.unbalanced.len(), 1);
}

/// What a simulated network comes to.
fn simulated(text: &str) -> Picture {
    let topology = Topology::parse(text, Path::new("/t.clab.yml"), &|_| None).unwrap();
    let configs = Sim::load(&topology).unwrap();
    let mut sim = Sim::new(&topology, &configs, Settings::default(), 0).unwrap();
    sim.settle(Duration::from_secs(60)).unwrap();
    Picture::of(&sim)
}

#[test]
fn a_cable_that_is_taken_out_of_a_clos_moves_what_went_over_it() {
    let text = Clos { spines: 2, leaves: 2, servers: 1, cables: 1, stubs: false }.file();
    let cable = "    - endpoints: [\"leaf2:up2\", \"spine2:down2\"]\n";
    assert!(text.contains(cable), "{text}");
    let (old, new) = (simulated(&text), simulated(&text.replace(cable, "")));
    assert_eq!(compare(&old, &old, &BTreeSet::new()).flows_moved, 0);
    let plan = compare(&old, &new, &BTreeSet::new());
    let both = ["leaf2 IPv4", "leaf2 IPv6"];
    assert!(plan.moved.contains(&row("leaf1", "spine1 50 %, spine2 50 %", "spine1 100 %", &both)), "{:?}", plan.moved);
    let lost: BTreeSet<&str> = plan.lost.iter().map(|row| row.from.as_str()).collect();
    assert_eq!(lost, BTreeSet::from(["leaf2", "spine2"]), "{:?}", plan.lost);
}
