//! Who sent a route and was refused, why the best is the best, and which paths a peer is told.

use super::policy::{compiled, originate};
use super::*;
use crate::peer::AddPathSend;
use serde_json::json;

fn refused(net: &Net, at: usize, target: &str) -> Vec<String> {
    let all = net.speakers[at - 1].refused(&target.parse().unwrap());
    all.into_iter().map(|info| format!("{} {}: {}", info.from, info.prefix, info.reason)).collect()
}

#[test]
fn a_refused_route_is_remembered_with_its_rule_until_it_is_taken_or_withdrawn() {
    let mut net = Net::new(&[65_001, 65_002]);
    let some = json!({"p": [{"match": {"prefix": "10.1.0.0/16"}, "then": "reject"},
        {"match": {"prefix": "10.1.0.0/16 ge 24"}, "then": "accept"}]});
    let now = net.now;
    net.speakers[1].set_policies(now, compiled(&some));
    net.join(1, 2, |_, b| b.import = Some("p".to_owned()));
    originate(&mut net, 1, &["10.1.0.0/16", "10.1.1.0/24", "11.0.0.0/8"]);
    assert_eq!(refused(&net, 2, "10.1.0.0/16"), ["r1 10.1.0.0/16: rejected by rule p[0]"]);
    assert_eq!(refused(&net, 2, "11.0.0.1/32"), ["r1 11.0.0.0/8: rejected by rule p.end"]);
    assert_eq!(refused(&net, 2, "10.1.1.1/32"), [""; 0], "a longer one decides");
    originate(&mut net, 1, &["10.1.0.0/16"]);
    assert_eq!(refused(&net, 2, "11.0.0.1/32"), [""; 0], "withdrawn");
    net.speakers[1].set_policies(now, compiled(&json!({"p": [{"then": "accept"}]})));
    net.settle();
    assert_eq!(refused(&net, 2, "10.1.0.0/16"), [""; 0], "taken");
}

fn best(net: &Net, at: usize, prefix: &str) -> String {
    let route = net.speakers[at - 1].route_to(&prefix.parse().unwrap()).unwrap();
    let path = route.paths.into_iter().find(|path| path.best).unwrap();
    format!("{}: {}", path.from, path.reason)
}

#[test]
fn the_best_path_names_the_rule_and_the_value_of_the_loser() {
    let mut net = Net::new(&[65_001, 65_002, 65_003, 65_004]);
    net.join(1, 4, |_, _| {});
    originate(&mut net, 1, &["20.0.0.0/8"]);
    assert_eq!(best(&net, 4, "20.0.0.0/8"), "r1: the only path");
    net.join(2, 4, |_, _| {});
    net.join(1, 3, |_, _| {});
    net.join(3, 4, |_, _| {});
    assert_eq!(best(&net, 4, "20.0.0.0/8"), "r1: shorter AS path than r3, 1 < 2 (RFC 4271 §9.1.2.2 a)");
    originate(&mut net, 2, &["20.0.0.0/8"]);
    assert_eq!(best(&net, 4, "20.0.0.0/8"), "r1: lower identifier than r2, 10.0.0.1 < 10.0.0.2 (RFC 4271 §9.1.2.2 f)");
    originate(&mut net, 4, &["20.0.0.0/8"]);
    assert_eq!(best(&net, 4, "20.0.0.0/8"), "local: originated here, and r1 is learnt");
}

#[test]
fn each_path_is_told_or_not_for_a_reason() {
    let mut net = Net::new(&[65_001, 65_002, 65_003, 65_004, 65_005]);
    for from in 1..4 {
        net.join(from, 4, |_, _| {});
    }
    net.join(5, 4, |receiver, sender| {
        receiver.add_path.receive = true;
        sender.add_path.send = AddPathSend::Best(2);
    });
    for from in [1, 2, 3, 5] {
        originate(&mut net, from, &["20.0.0.0/8"]);
    }
    let told = net.speakers[3].told(&"20.0.0.0/8".parse().unwrap());
    let five = told.into_iter().find(|told| told.neighbor == "r5").unwrap();
    let lines: Vec<_> = five.paths.iter().map(|path| (path.from.as_str(), path.reason.as_deref())).collect();
    assert_eq!(
        lines,
        [
            ("r1", None),
            ("r2", None),
            ("r3", Some("2 paths that are better are told")),
            ("r5", Some("it was learnt from this peer"))
        ]
    );
    assert_eq!(five.reason, None);
    let ids: BTreeSet<u32> = five.paths.iter().map(|path| path.path_id).collect();
    assert_eq!(ids.len(), 4);
}
