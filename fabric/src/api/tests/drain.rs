//! Real nodes that are drained: who still sends them what, state by state; and what the daemon says of it.

use super::*;
pub(super) use crate::drain::State;
use crate::drain::{By, Kept, Scope};

const SPINE_AT: usize = 0;
const TOR1_AT: usize = 1;

fn set(plant: &mut Plant, at: usize, scope: Scope, target: State) {
    plant.handle(at, Input::Drain { scope, target, by: By::Operator });
    plant.run(0);
}

fn interface(name: &str) -> Scope {
    Scope::Interface(name.to_owned())
}

/// Through which interfaces a node sends to a prefix.
fn via(plant: &Plant, at: usize, prefix: &str) -> Vec<String> {
    let node = &plant.nodes[at];
    let Some(route) =
        node.speaker().route_to(&prefix.parse().unwrap()).filter(|route| route.prefix.to_string() == prefix)
    else {
        return Vec::new();
    };
    let name = |link| node.links().iter().find(|known| known.index == link).unwrap().name.clone();
    route.hops.iter().map(|hop| name(hop.link)).collect()
}

/// From whom a node has paths of a prefix, each with its LOCAL_PREF if it has one.
fn paths(plant: &Plant, at: usize, prefix: &str) -> Vec<(String, Option<u32>)> {
    let route = plant.nodes[at].speaker().route_to(&prefix.parse().unwrap());
    let route = route.filter(|route| route.prefix.to_string() == prefix);
    route.into_iter().flat_map(|route| route.paths).map(|path| (path.from, path.local_pref)).collect()
}

/// What a peer of a node is told, by prefix.
fn told(plant: &Plant, at: usize, peer: &str) -> Vec<String> {
    let speaker = plant.nodes[at].speaker();
    let is_told =
        |prefix: &IpNet| speaker.told(prefix).iter().any(|told| told.neighbor == peer && told.reason.is_none());
    let all = speaker.routes(None, 100).into_iter().map(|route| route.prefix);
    all.filter(is_told).map(|prefix| prefix.to_string()).collect()
}

fn established(plant: &Plant, at: usize) -> usize {
    let all = plant.nodes[at].speaker().neighbors(plant.now);
    all.iter().filter(|peer| peer.state == ESTABLISHED).count()
}

#[test]
fn a_switch_that_is_drained_loses_its_traffic_before_its_routes() {
    let mut plant = converged();
    assert_eq!(
        (via(&plant, HOST_AT, "0.0.0.0/0"), via(&plant, SPINE_AT, "0.0.0.0/0").len()),
        (vec!["eth0".into(), "eth1".into()], 2)
    );
    let before = told(&plant, TOR1_AT, "spine");
    set(&mut plant, TOR1_AT, Scope::Node, State::Drained);
    // SOFT: everything is still told; who has another way has left.
    assert_eq!(told(&plant, TOR1_AT, "spine"), before);
    assert_eq!(
        (via(&plant, HOST_AT, "0.0.0.0/0"), via(&plant, SPINE_AT, "0.0.0.0/0")),
        (vec!["eth1".into()], vec!["eth2".into()])
    );
    assert_eq!(
        paths(&plant, HOST_AT, "0.0.0.0/0"),
        [("tor1".into(), Some(0)), ("tor2".into(), None), ("spine".into(), None)]
    );
    plant.run(2);
    // WARM: its own address is all that is told, and whatever it learnt is still in its kernel.
    assert_eq!(plant.nodes[TOR1_AT].drain_state(&Scope::Node), State::Warm);
    assert_eq!(told(&plant, TOR1_AT, "spine"), ["10.69.255.1/32"]);
    assert_eq!(
        (via(&plant, TOR1_AT, "10.69.0.4/32"), via(&plant, TOR1_AT, "10.72.0.0/16")),
        (vec!["eth2".into()], vec!["eth1".into()])
    );
    assert_eq!(told(&plant, TOR1_AT, "10.0.11.2"), ["10.69.255.1/32"]);
    assert_eq!(paths(&plant, HOST_AT, "0.0.0.0/0"), [("tor2".into(), None), ("spine".into(), None)]);
    plant.run(3);
    assert!(plant.nodes[TOR1_AT].is_drain_settled(&Scope::Node, State::Drained));
    assert_eq!(
        (told(&plant, TOR1_AT, "spine").as_slice(), established(&plant, TOR1_AT)),
        (&["10.69.255.1/32".to_owned()][..], 2)
    );
    set(&mut plant, TOR1_AT, Scope::Node, State::Live);
    assert_eq!((via(&plant, HOST_AT, "0.0.0.0/0").len(), told(&plant, TOR1_AT, "spine")), (2, before));
}

#[test]
fn a_host_that_drains_a_link_leaves_it_and_is_left_there() {
    let mut plant = converged();
    set(&mut plant, HOST_AT, interface("eth0"), State::Soft);
    assert_eq!(via(&plant, HOST_AT, "0.0.0.0/0"), ["eth1"]);
    assert!(paths(&plant, TOR1_AT, "10.69.0.4/32").contains(&("10.0.11.2".into(), Some(0))));
    set(&mut plant, HOST_AT, interface("eth0"), State::Warm);
    assert_eq!(told(&plant, HOST_AT, "tor1"), Vec::<String>::new());
    assert_eq!(paths(&plant, TOR1_AT, "10.69.0.4/32"), [("spine".into(), None)]);
    assert_eq!(told(&plant, HOST_AT, "tor2"), ["10.69.0.4/32"], "who is not concerned hears nothing");
    set(&mut plant, HOST_AT, interface("eth0"), State::Drained);
    let question = Question::Neighbors;
    let Body::Neighbors(found) = plant.ask(HOST_AT, &question).body else { panic!() };
    let tor1 = found.neighbors.iter().find(|peer| peer.name == "tor1").unwrap();
    assert_eq!((tor1.state.as_str(), tor1.shutdown.as_deref()), ("Idle", Some("link eth0 is drained")));
    plant.run(20);
    let host = plant.nodes[TOR1_AT].speaker().neighbors(plant.now).into_iter().find(|peer| peer.dynamic);
    let error = host.and_then(|host| host.last_error);
    // RFC 9003: the other end learns why.
    assert!(error.as_ref().is_none_or(|error| error.contains("\"link eth0 is drained\"")), "{error:?}");
    set(&mut plant, HOST_AT, interface("eth0"), State::Live);
    plant.run(10);
    assert_eq!((via(&plant, HOST_AT, "0.0.0.0/0").len(), established(&plant, HOST_AT)), (2, 3));
    assert!(plant.nodes[HOST_AT].drains().next().is_none());
}

#[test]
fn a_switch_that_drains_a_link_sends_round_it_and_tells_nobody_of_it() {
    let mut plant = converged();
    assert_eq!(via(&plant, TOR1_AT, "10.69.0.4/32"), ["eth2"]);
    // Its servers are of a range within the network of the link.
    set(&mut plant, TOR1_AT, interface("eth2"), State::Soft);
    assert_eq!(via(&plant, TOR1_AT, "10.69.0.4/32"), ["eth1"], "the spine knows another way");
    assert_eq!(via(&plant, HOST_AT, "0.0.0.0/0"), ["eth1"]);
    set(&mut plant, TOR1_AT, interface("eth2"), State::Drained);
    plant.run(3);
    assert_eq!(established(&plant, TOR1_AT), 1);
    assert_eq!(via(&plant, TOR1_AT, "0.0.0.0/0"), Vec::<String>::new(), "it originates that itself");
    plant.run(60);
    assert_eq!(established(&plant, TOR1_AT), 1, "who calls is not let in");
    set(&mut plant, TOR1_AT, interface("eth2"), State::Live);
    plant.run(60);
    assert_eq!((established(&plant, TOR1_AT), via(&plant, TOR1_AT, "10.69.0.4/32")), (2, vec!["eth2".into()]));
}

#[test]
fn while_a_link_is_warm_packets_still_pass_and_nobody_is_told_of_it() {
    let mut plant = converged();
    set(&mut plant, HOST_AT, interface("eth2"), State::Warm);
    plant.run(5);
    // Only the spine has this, and only over that link.
    assert_eq!(via(&plant, HOST_AT, "10.72.0.0/16"), ["eth0", "eth1"], "the switches know another way");
    set(&mut plant, SPINE_AT, interface("eth3"), State::Warm);
    plant.run(5);
    assert_eq!(paths(&plant, SPINE_AT, "10.69.0.4/32").len(), 2, "what the host no longer tells there is gone");
}

#[test]
fn a_reload_changes_nothing_about_what_is_drained() {
    let mut plant = converged();
    set(&mut plant, TOR1_AT, Scope::Node, State::Drained);
    plant.run(5);
    assert!(plant.planned(TOR1_AT).plan.is_empty(), "a drain is no difference between files");
    let other = TOR.replace('N', "1").replace("limit: 4", "limit: 5");
    plant.handle(TOR1_AT, Input::Reload(Box::new(config::parse("t", &other).unwrap().node().unwrap())));
    plant.run(5);
    assert_eq!(told(&plant, TOR1_AT, "spine"), ["10.69.255.1/32"]);
    assert_eq!((plant.nodes[TOR1_AT].drain_state(&Scope::Node), established(&plant, TOR1_AT)), (State::Drained, 2));
}

/// A second ToR 1 in the place of the first, before it has seen a link.
fn restarted(plant: &mut Plant, drain: &str, kept: &Kept) {
    let links = plant.nodes[TOR1_AT].links().to_vec();
    let text = format!("{}{drain}", TOR.replace('N', "1"));
    plant.handle(TOR1_AT, Input::Shutdown { cease: true });
    plant.run(1);
    let mut node = Node::new(config::parse("t", &text).unwrap().node().unwrap(), plant.now);
    node.resume_drains(plant.now, kept);
    plant.nodes[TOR1_AT] = node;
    plant.handle(TOR1_AT, Input::Links(links));
    plant.run(60);
}

#[test]
fn a_node_that_boots_drained_is_so_until_told() {
    let boot = "drain: {boot: drained}\n";
    let live = Kept { node: Some(State::Live), ..Kept::default() };
    for (drain, kept, state) in
        [(boot, Kept::default(), State::Drained), (boot, live, State::Live), ("", Kept::default(), State::Live)]
    {
        let mut plant = converged();
        restarted(&mut plant, drain, &kept);
        let count = if state == State::Live { 2 } else { 1 };
        assert_eq!(
            (via(&plant, SPINE_AT, "0.0.0.0/0").len(), established(&plant, TOR1_AT)),
            (count, 2),
            "{drain}{kept:?}"
        );
        set(&mut plant, TOR1_AT, Scope::Node, State::Live);
        assert_eq!(via(&plant, SPINE_AT, "0.0.0.0/0").len(), 2);
        assert_eq!(plant.nodes[TOR1_AT].kept_drains().node, Some(State::Live), "said, and to be kept");
    }
}

#[test]
fn what_was_drained_is_drained_after_a_restart() {
    let mut plant = converged();
    set(&mut plant, TOR1_AT, Scope::Node, State::Drained);
    set(&mut plant, TOR1_AT, interface("eth2"), State::Drained);
    plant.run(10);
    let kept = plant.nodes[TOR1_AT].kept_drains();
    restarted(&mut plant, "", &kept);
    assert_eq!(told(&plant, TOR1_AT, "spine"), ["10.69.255.1/32"]);
    assert_eq!((established(&plant, TOR1_AT), plant.nodes[TOR1_AT].kept_drains()), (1, kept));
}

#[test]
fn the_last_way_to_a_node_is_not_drained_by_a_slip() {
    let mut plant = converged();
    let ask =
        |plant: &Plant, state, force| objection(&plant.nodes[HOST_AT], plant.now, &interface("eth2"), state, force);
    assert_eq!(ask(&plant, State::Drained, false), Ok(()));
    for link in ["eth0", "eth1"] {
        set(&mut plant, HOST_AT, interface(link), State::Drained);
    }
    plant.run(5);
    assert_eq!(ask(&plant, State::Drained, false).unwrap_err().status, 409);
    assert_eq!((ask(&plant, State::Soft, false), ask(&plant, State::Drained, true)), (Ok(()), Ok(())));
    let unknown = objection(&plant.nodes[HOST_AT], plant.now, &interface("eth9"), State::Soft, false);
    assert_eq!(unknown.unwrap_err().status, 404);
    let vip = objection(&plant.nodes[HOST_AT], plant.now, &Scope::Vip("web".to_owned()), State::Soft, false);
    assert_eq!(vip.unwrap_err().status, 404);
}

/// A link on its way, and the node.
pub(crate) fn shown() -> Plant {
    let mut plant = converged();
    set(&mut plant, HOST_AT, interface("eth0"), State::Drained);
    plant.handle(HOST_AT, Input::Drain { scope: Scope::Node, target: State::Soft, by: By::Signal });
    plant
}

#[test]
fn what_is_out_of_service_is_shown() {
    let mut plant = shown();
    plant.run(0);
    let Body::Drains(mut found) = plant.ask(HOST_AT, &Question::Drains).body else { panic!() };
    found.drains.iter_mut().for_each(|drain| drain.since_ms = 3_000);
    let health = plant.ask(HOST_AT, &Question::Health);
    let Body::Health(checks) = &health.body else { panic!() };
    let check = checks.checks.iter().find(|check| check.name == "drain").unwrap();
    let text =
        format!("{}\n{check:#?}\n{:#}", crate::show::drain::table_of(&found), serde_json::to_value(&found).unwrap());
    insta::assert_snapshot!("drain", text);
    let back: Drains = serde_json::from_value(serde_json::to_value(&found).unwrap()).unwrap();
    assert_eq!(back, found);
}
