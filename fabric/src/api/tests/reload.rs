//! Plan and deed on real nodes: what was said of a configuration is what its peers then saw.

use super::*;
use crate::plan::{Action, Plan};

/// The spine under policies of its own for each peer.
const OLD: &str = "
role: spine
asn: 64599
hostname: spine
addresses: [10.69.255.101/32]
originate: [{prefix: 10.72.0.0/16, communities: ['64599:7']}]
peers:
  tor1: {address: 10.0.1.2, remote_asn: 64601, import: in1, export: out1}
  tor2: {address: 10.0.2.2, remote_asn: 64602, import: in2, export: out2}
  host: {address: 10.0.3.2, remote_asn: 65004}
policy:
  in1: [{then: accept}]
  out1: [{then: accept}]
  in2: [{then: accept}]
  out2: [{then: accept}]
";

fn read(text: &str) -> Box<config::NodeConfig> {
    Box::new(config::parse("spine.yaml", text).unwrap().node().unwrap())
}

fn plant() -> Plant {
    let mut plant = converged();
    plant.handle(0, Input::Reload(read(OLD)));
    plant.run(5);
    plant
}

/// What a peer of the spine got from it: messages, and lost sessions.
fn seen(plant: &Plant, at: usize) -> (u64, u64) {
    let all = plant.nodes[at].speaker().neighbors(plant.now);
    let spine = all.into_iter().find(|info| info.name == "spine").unwrap();
    (spine.messages_received, spine.dropped)
}

fn planned(plant: &Plant, new: &config::NodeConfig) -> Plan {
    let (mut plan, mut forecast) = plant.nodes[0].plan(new);
    while !plant.nodes[0].forecast_on(&mut forecast) {}
    plan.add_routes(&forecast);
    plan
}

fn action(plan: &Plan, name: &str) -> Action {
    plan.peers.iter().find(|peer| peer.name == name).unwrap().action
}

#[test]
fn what_a_plan_says_of_peers_is_what_they_see() {
    use Action::{InPlace, Nothing, Refresh, Remove, Renegotiate, Reset};
    let cases = [
        ("as it is", OLD.to_owned(), [Nothing, Nothing]),
        (
            "another order of keys",
            OLD.replace("role: spine\nasn: 64599", "asn: 64599\nrole: spine"),
            [Nothing, Nothing],
        ),
        ("a policy that nobody is under", format!("{OLD}  a: [{{then: reject}}]\n"), [Nothing, Nothing]),
        (
            "export of one",
            OLD.replace("out1: [{then: accept}]", "out1: [{then: {set: {med: 5}, do: accept}}]"),
            [Refresh, Nothing],
        ),
        (
            "import of one",
            OLD.replace("in2: [{then: accept}]", "in2: [{then: {set: {med: 5}, do: accept}}]"),
            [Nothing, Refresh],
        ),
        ("a limit", OLD.replace("import: in1,", "import: in1, max_prefixes: 500,"), [InPlace, Nothing]),
        ("BFD", OLD.replace("import: in1,", "import: in1, bfd: true,"), [InPlace, Nothing]),
        ("hold time", OLD.replace("import: in1,", "import: in1, hold_s: 30,"), [Renegotiate, Nothing]),
        ("capability", OLD.replace("import: in1,", "import: in1, extended_messages: false,"), [Renegotiate, Nothing]),
        ("GTSM", OLD.replace("import: in1,", "import: in1, ttl_security: 1,"), [Reset, Nothing]),
        (
            "gone",
            OLD.replace("  tor2: {address: 10.0.2.2, remote_asn: 64602, import: in2, export: out2}\n", ""),
            [Nothing, Remove],
        ),
        ("identifier", OLD.replace("asn: 64599", "asn: 64599\nrouter_id: 10.9.9.9"), [Reset, Reset]),
    ];
    for (name, text, actions) in cases {
        let mut plant = plant();
        let new = read(&text);
        let plan = planned(&plant, &new);
        assert_eq!([action(&plan, "tor1"), action(&plan, "tor2")], actions, "{name}");
        let ends = actions.iter().any(|action| matches!(action, Renegotiate | Reset | Remove));
        assert_eq!(plan.refusal().is_some(), ends, "{name}");
        let before = [seen(&plant, 1), seen(&plant, 2)];
        plant.handle(0, Input::Reload(new));
        plant.run(0);
        for (place, at) in [1, 2].into_iter().enumerate() {
            let (messages, dropped) = seen(&plant, at);
            let ended = matches!(actions[place], Renegotiate | Reset | Remove);
            assert_eq!(dropped > before[place].1, ended, "{name}: session of tor{at}");
            let hears = messages > before[place].0;
            match actions[place] {
                Refresh => assert!(hears, "{name}: tor{at} is asked or told"),
                InPlace => assert!(!hears, "{name}: tor{at} hears nothing"),
                // What comes of the other's new policy it may be told, as of any change.
                Nothing if actions[1 - place] == Nothing => assert!(!hears, "{name}: tor{at} hears nothing"),
                Nothing | Renegotiate | Reset | Remove | Action::Add => {}
            }
        }
        let again = planned(&plant, plant.nodes[0].config());
        assert!(again.peers.iter().all(|peer| peer.action == Nothing), "{name}: {again:?}");
    }
}

#[test]
fn only_the_peer_of_a_changed_export_policy_hears() {
    let mut plant = plant();
    let before = seen(&plant, 2);
    let new = read(
        &OLD.replace("out1: [{then: accept}]", "out1: [{match: {prefix: 10.72.0.0/16}, then: reject}, {then: accept}]"),
    );
    let plan = planned(&plant, &new);
    let routes = plan.peers.iter().find(|peer| peer.name == "tor1").unwrap().routes.as_ref().unwrap();
    assert_eq!((routes.withdrawn.count, routes.told.count), (1, 0));
    assert_eq!(routes.withdrawn.first[0].to_string(), "10.72.0.0/16");
    plant.handle(0, Input::Reload(new));
    plant.run(0);
    assert_eq!(seen(&plant, 2), before);
    let net = "10.72.0.0/16".parse().unwrap();
    let route = plant.nodes[1].speaker().route_to(&net);
    assert!(route.is_none_or(|route| route.prefix != net), "withdrawn, as planned");
}

#[test]
fn a_plan_names_what_comes_and_goes_of_the_node_itself() {
    let plant = plant();
    let text = OLD
        .replace("10.72.0.0/16, communities: ['64599:7']", "10.72.0.0/16, communities: ['64599:8']")
        .replace("addresses: [10.69.255.101/32]", "addresses: [10.69.255.101/32, 10.69.255.102/32]")
        + "fib: {multipath: 8}\nvips: {boot: {address: 10.71.0.6/32}}\n";
    let plan = planned(&plant, &read(&text));
    let said = |list: &[crate::plan::Difference]| -> Vec<String> {
        list.iter().map(|one| format!("{:?} {}", one.change, one.what)).collect()
    };
    assert_eq!(said(&plan.originated), ["Added 10.69.255.102/32", "Changed 10.72.0.0/16"]);
    assert_eq!(said(&plan.addresses), ["Added 10.69.255.102/32"]);
    assert_eq!(said(&plan.vips), ["Added boot"]);
    let settings: Vec<_> = plan.settings.iter().map(|one| (&*one.field, &*one.from, &*one.to)).collect();
    assert_eq!(settings, [("fib.multipath", "64", "8")]);
    assert_eq!(plan.refusal(), None);
    assert_eq!(plan.summary(), "1 setting, 2 originated routes, 1 address, 1 service address");
}

#[test]
fn a_refusal_names_peers_and_fields() {
    let plant = plant();
    let new = read(&OLD.replace("import: in1,", "import: in1, hold_s: 30, ttl_security: 1,"));
    assert_eq!(
        planned(&plant, &new).refusal().unwrap(),
        "sessions that stand would end: tor1 (hold_s 9 → 30, ttl_security not set → 1); nothing was applied"
    );
}

/// The view in `docs/changes.md` is what a plan looks like.
#[test]
fn the_document_shows_a_plan() {
    let plant = plant();
    let text = OLD
        .replace("out1: [{then: accept}]", "out1: [{match: {prefix: 10.72.0.0/16}, then: reject}, {then: accept}]")
        .replace("import: in2,", "import: in2, hold_s: 30,")
        .replace("originate: [", "originate: [{prefix: 10.73.0.0/16}, ")
        + "fib: {multipath: 8}\n";
    let plan = planned(&plant, &read(&text));
    let file = "/etc/weft/weft.yaml".to_owned();
    let planned = Planned { file, summary: plan.summary(), refused: plan.refusal(), plan };
    let view = format!("$ weft reload --plan\n{}", crate::show::plan::text(&planned));
    assert!(include_str!("../../../docs/changes.md").contains(&view), "{view}");
}
