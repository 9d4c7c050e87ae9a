//! What was said of a new configuration beforehand is what happens: who hears what, whose session ends, which routes change.

use super::policy::{compiled, originate};
use super::*;
use crate::peer::{AddPathSend, Leave, Tell};
use crate::speaker::{PeerStep, Reconfiguration, Step};
use serde_json::json;

const TAKES: &str = r#"{"sets": {"ours": ["10.0.0.0/8 ge 8"]},
    "in2": [{"then": "accept"}], "out2": [{"then": "accept"}], "in3": [{"then": "accept"}], "out3": [{"then": "accept"}]}"#;

/// 2 is in the middle: 1 and 3 are its peers, each under policies of its own.
fn line() -> Net {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    let now = net.now;
    net.speakers[1].set_policies(now, compiled(&serde_json::from_str(TAKES).unwrap()));
    let under = |to: usize| {
        move |_: &mut PeerConfig, two: &mut PeerConfig| {
            (two.import, two.export) = (Some(format!("in{to}")), Some(format!("out{to}")));
        }
    };
    net.join(1, 2, under(2));
    net.join(3, 2, under(3));
    originate(&mut net, 1, &["10.1.0.0/16", "10.1.1.0/24", "10.1.2.0/24"]);
    net
}

/// What 2 runs on.
fn running(net: &Net) -> Reconfiguration {
    let speaker = &net.speakers[1];
    let peers = speaker.members.iter().map(|(id, member)| (*id, member.peer.config().clone())).collect();
    Reconfiguration { config: speaker.config.clone(), peers, gone: Vec::new(), ranges: None }
}

/// UPDATEs, refreshes and keepalives apart: what 1 or 3 heard from 2, and how often it lost its session.
fn heard(net: &Net, at: usize) -> ([u64; 5], u64) {
    let status = net.speakers[at - 1].members[&PeerId(2)].peer.status();
    (status.received, status.dropped)
}

fn of(steps: &[PeerStep], name: &str) -> Step {
    steps.iter().find(|step| step.name == name).map_or(Step::Nothing, |step| step.step)
}

/// The policies with one of them changed.
fn policies(name: &str, rules: &serde_json::Value) -> Arc<Policies> {
    let mut section: serde_json::Value = serde_json::from_str(TAKES).unwrap();
    section[name] = rules.clone();
    compiled(&section)
}

type Edit = fn(&mut Reconfiguration);

fn peer(new: &mut Reconfiguration, change: impl Fn(&mut PeerConfig)) {
    let (_, config) = new.peers.iter_mut().find(|(id, _)| *id == PeerId(1)).unwrap();
    change(config);
}

type Case = (&'static str, Edit, Step, Step);

/// What is changed, and what is to be foreseen of r1, whose configuration it is, and of r3.
fn cases() -> [Case; 21] {
    let refresh = |import, export| Step::Refresh { import, can_ask: true, export };
    [
        ("nothing", |_| {}, Step::Nothing, Step::Nothing),
        (
            "the same rules by another name",
            |new| peer(new, |one| one.import = Some("in3".to_owned())),
            Step::InPlace,
            Step::Nothing,
        ),
        ("max_prefixes", |new| peer(new, |one| one.max_prefixes = Some(77)), Step::InPlace, Step::Nothing),
        (
            "connect_retry_ms",
            |new| peer(new, |one| one.connect_retry_ms = (5_000, 6_000)),
            Step::InPlace,
            Step::Nothing,
        ),
        ("hostname", |new| peer(new, |one| one.session.hostname = Some("x".to_owned())), Step::InPlace, Step::Nothing),
        ("import rules", |new| new.config.policies = policies("in2", &json!([])), refresh(true, false), Step::Nothing),
        ("export rules", |new| new.config.policies = policies("out2", &json!([])), refresh(false, true), Step::Nothing),
        (
            "a rule before all others",
            |new| new.config.policies = policies("a", &json!([{"then": "reject"}])),
            Step::Nothing,
            Step::Nothing,
        ),
        (
            "export of the other",
            |new| new.config.policies = policies("out3", &json!([])),
            Step::Nothing,
            refresh(false, true),
        ),
        ("allow_own_as", |new| peer(new, |one| one.routes.allow_own_as = 1), refresh(true, false), Step::Nothing),
        (
            "graceful_shutdown",
            |new| peer(new, |one| one.routes.graceful_shutdown = true),
            refresh(false, true),
            Step::Nothing,
        ),
        ("tell", |new| peer(new, |one| one.routes.tell = Tell::Nothing), refresh(false, true), Step::Nothing),
        ("leave", |new| peer(new, |one| one.routes.leave = Leave::Untold), Step::InPlace, Step::Nothing),
        (
            "next_hop",
            |new| peer(new, |one| one.next_hop = crate::peer::NextHopRule::PeerOnImport),
            refresh(true, false),
            Step::Nothing,
        ),
        ("hold_s", |new| peer(new, |one| one.hold_time_s = 30), Step::Renegotiate, Step::Nothing),
        ("families", |new| peer(new, |one| one.families = vec![Family::Ipv4Unicast]), Step::Renegotiate, Step::Nothing),
        ("add_path", |new| peer(new, |one| one.add_path.send = AddPathSend::All), Step::Renegotiate, Step::Nothing),
        ("multihop", |new| peer(new, |one| one.multihop = true), Step::Reset, Step::Nothing),
        ("shutdown", |new| peer(new, |one| one.shutdown = Some(String::new())), Step::Reset, Step::Nothing),
        ("router_id", |new| new.config.router_id = RouterId::new(10, 9, 9, 9), Step::Reset, Step::Reset),
        (
            "gone",
            |new| {
                new.peers.retain(|(id, _)| *id != PeerId(1));
                new.gone.push(PeerId(1));
            },
            Step::Remove,
            Step::Nothing,
        ),
    ]
}

#[test]
fn what_is_foreseen_is_what_happens() {
    for (name, edit, first, third) in cases() {
        let mut net = line();
        let mut new = running(&net);
        edit(&mut new);
        let foreseen = net.speakers[1].foresee(&new);
        assert_eq!((of(&foreseen, "r1"), of(&foreseen, "r3")), (first, third), "{name}");
        let before = [heard(&net, 1), heard(&net, 3)];
        let now = net.now;
        assert_eq!(net.speakers[1].reconfigure(now, new), foreseen, "{name}");
        net.settle();
        for (at, step, before) in [(1, first, before[0]), (3, third, before[1])] {
            let after = heard(&net, at);
            let ended = after.1 > before.1;
            assert_eq!(
                ended,
                matches!(step, Step::Reset | Step::Renegotiate | Step::Remove),
                "{name}: session with {at}"
            );
            if ended {
                continue;
            }
            // RFC 4271 §4.1: 1 OPEN, 2 UPDATE, 3 NOTIFICATION, 4 KEEPALIVE, 5 ROUTE-REFRESH (RFC 2918, and the marks of RFC 7313).
            let more = |kind: usize| after.0[kind - 1] - before.0[kind - 1];
            let none = first == Step::Nothing && third == Step::Nothing;
            match step {
                Step::Refresh { import: true, export: false, .. } => {
                    assert_eq!(more(5), 2, "{name}: one for each family");
                }
                Step::Refresh { .. } => assert!(more(5) >= 2 || more(2) > 0, "{name}: {at} is told again"),
                // What the first peer's routes become, the other is told: but it is asked nothing.
                Step::Nothing if at == 3 && !none => assert_eq!(more(5), 0, "{name}: {at} is not asked"),
                Step::Nothing | Step::InPlace => assert_eq!(after, before, "{name}: {at} hears nothing"),
                Step::Renegotiate | Step::Reset | Step::Remove | Step::Add => unreachable!("{name}"),
            }
        }
    }
}

#[test]
fn a_change_of_an_export_policy_is_heard_by_its_peer_alone() {
    let mut net = line();
    let before = heard(&net, 1);
    let now = net.now;
    net.speakers[1].set_policies(
        now,
        policies("out3", &json!([{"match": {"prefix": "10.1.1.0/24"}, "then": "reject"}, {"then": "accept"}])),
    );
    net.settle();
    assert_eq!(heard(&net, 1), before);
    assert!(!net.routes(3).iter().any(|route| route.starts_with("10.1.1.0/24")));
}

#[test]
fn counts_of_rules_survive_under_their_new_numbers() {
    let mut net = line();
    let count = |net: &Net| {
        let member = &net.speakers[1].members[&PeerId(1)];
        let policies = &net.speakers[1].config.policies;
        let rule = policies.rules().find(|rule| policies.rule_name(*rule) == "in2[0]").unwrap();
        member.hits.of(rule)
    };
    let before = count(&net);
    assert!(before >= 3);
    let now = net.now;
    net.speakers[1].set_policies(now, policies("a", &json!([{"then": "reject"}])));
    assert_eq!(count(&net), before);
}

/// The forecast, and then what came of it.
#[test]
fn a_forecast_of_routes_comes_true() {
    let mut net = line();
    let mut new = running(&net);
    let mut section: serde_json::Value = serde_json::from_str(TAKES).unwrap();
    section["out3"] = json!([{"match": {"prefix": "10.1.1.0/24"}, "then": "reject"},
        {"match": {"prefix": "10.1.2.0/24"}, "then": {"set": {"med": 7}, "do": "accept"}}, {"then": "accept"}]);
    section["in2"] = json!([{"match": {"prefix": "10.1.0.0/16"}, "then": "reject"},
        {"match": {"prefix": "10.1.1.0/24"}, "then": {"set": {"local_pref": 300}, "do": "accept"}}, {"then": "accept"}]);
    new.config.policies = compiled(&section);
    let steps = net.speakers[1].foresee(&new);
    let mut forecast = net.speakers[1].forecast(&new, &steps);
    while !net.speakers[1].forecast_on(&mut forecast) {}
    let of = |id: u32| forecast.routes().find(|(peer, _)| *peer == PeerId(id)).unwrap().1.clone();
    let named = |found: &crate::speaker::Found| found.first.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (one, three) = (of(1), of(3));
    assert_eq!(
        (named(&one.refused), named(&one.changed)),
        (vec!["10.1.0.0/16".to_owned()], vec!["10.1.1.0/24".to_owned()])
    );
    assert_eq!(
        (named(&three.withdrawn), named(&three.told_otherwise)),
        (vec!["10.1.1.0/24".to_owned()], vec!["10.1.2.0/24".to_owned()])
    );
    assert_eq!((three.told.count, three.is_estimate, forecast.is_part()), (0, false, false));
    let now = net.now;
    net.speakers[1].reconfigure(now, new);
    net.settle();
    let told: Vec<String> = net.routes(3).iter().filter(|route| route.starts_with("10.1.")).cloned().collect();
    assert_eq!(told, ["10.1.2.0/24 [65002 65001] 192.0.2.2"], "10.1.0.0/16 is refused at the entrance");
    assert_eq!(net.routes(2).iter().filter(|route| route.starts_with("10.1.")).count(), 2);
}

#[test]
fn routes_that_were_refused_are_named_and_those_of_a_session_that_ends_counted() {
    let mut net = line();
    let now = net.now;
    net.speakers[1].set_policies(
        now,
        policies("in2", &json!([{"match": {"prefix": "10.1.1.0/24"}, "then": "reject"}, {"then": "accept"}])),
    );
    net.settle();
    let mut new = running(&net);
    new.config.policies = policies("in2", &json!([{"then": "accept"}]));
    peer(&mut new, |one| one.shutdown = None);
    let forecast = |net: &Net, new: &Reconfiguration| {
        let mut forecast = net.speakers[1].forecast(new, &net.speakers[1].foresee(new));
        while !net.speakers[1].forecast_on(&mut forecast) {}
        forecast.routes().find(|(peer, _)| *peer == PeerId(1)).unwrap().1.clone()
    };
    let routes = forecast(&net, &new);
    assert_eq!((routes.asked_again.count, routes.asked_again.first[0].to_string()), (1, "10.1.1.0/24".to_owned()));
    peer(&mut new, |one| one.hold_time_s = 90);
    assert_eq!(forecast(&net, &new).lost, 2);
}
