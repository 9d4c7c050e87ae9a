//! A configuration on probation, in virtual time.

use super::*;
use crate::config;
use crate::node::{Entry, Input};
use crate::plan::{Event, Outcome};

const FILE: &str = "
asn: 64600
router_id: 10.0.0.1
peers: {a: {address: 10.1.0.1, remote_asn: 64601, import: accept-all, export: accept-all}}
originate: [{prefix: 10.5.0.0/16}]
";

fn read(file: &str) -> Box<NodeConfig> {
    Box::new(config::parse("t", file).unwrap().node().unwrap())
}

fn other() -> Box<NodeConfig> {
    read(&FILE.replace("10.5.0.0/16", "10.6.0.0/16"))
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// A node whose driver does as it is told.
fn run_to(node: &mut Node, now: Instant) {
    node.handle(now, Input::Tick);
    while let Some(output) = node.poll() {
        if output == Output::RollBack {
            let earlier = node.take_earlier().unwrap();
            node.handle(now, Input::RollBack(earlier));
        }
    }
}

fn originates(node: &Node) -> Vec<String> {
    node.originated().map(|(_, route)| route.prefix.to_string()).collect()
}

fn outcomes(node: &Node) -> Vec<Outcome> {
    let outcome = |entry: &Entry| match &entry.event {
        Happened::Configuration(Event::Configuration { outcome, .. }) => Some(*outcome),
        Happened::Configuration(Event::Upgrade { .. }) => None,
        Happened::Bgp(_) | Happened::Vip(_) | Happened::Bfd(_) | Happened::Drain(_) => None,
    };
    node.history().filter_map(outcome).collect()
}

fn started() -> Node {
    let mut node = Node::new(*read(FILE), Instant::ZERO);
    node.handle(Instant::ZERO, Input::Links(Vec::new()));
    node
}

#[test]
fn what_nobody_confirms_goes_again_just_in_time() {
    let mut node = started();
    node.handle(at(10), Input::Try(other(), Duration::from_secs(60)));
    assert_eq!(originates(&node), ["10.6.0.0/16"]);
    assert_eq!(node.unconfirmed(at(30)), Some(Duration::from_secs(40)));
    assert!(node.next_timeout().is_some_and(|(when, _)| when <= at(70)));
    run_to(&mut node, at(69));
    assert_eq!(originates(&node), ["10.6.0.0/16"], "a second is left");
    run_to(&mut node, at(70));
    assert_eq!((originates(&node), node.unconfirmed(at(70))), (vec!["10.5.0.0/16".to_owned()], None));
    assert_eq!(outcomes(&node), [Outcome::OnProbation, Outcome::RolledBack]);
    assert_eq!(node.last_reload(), Some((at(70), Outcome::RolledBack)));
    run_to(&mut node, at(700));
    assert_eq!(outcomes(&node).len(), 2, "once");
}

#[test]
fn what_is_confirmed_stays() {
    let mut node = started();
    node.handle(at(10), Input::Try(other(), Duration::from_secs(60)));
    node.handle(at(40), Input::Confirm);
    assert_eq!(node.unconfirmed(at(40)), None);
    run_to(&mut node, at(100));
    assert_eq!(originates(&node), ["10.6.0.0/16"]);
    node.handle(at(101), Input::Confirm);
    assert_eq!(outcomes(&node), [Outcome::OnProbation, Outcome::Confirmed], "nothing waits any more");
}

#[test]
fn a_reload_without_a_time_is_for_good() {
    let mut node = started();
    node.handle(at(10), Input::Reload(other()));
    run_to(&mut node, at(100_000));
    assert_eq!((originates(&node), outcomes(&node)), (vec!["10.6.0.0/16".to_owned()], vec![Outcome::Reloaded]));
}
