//! Which sessions a node asks for, as its links, its neighbours and its configuration change.

use super::*;
use crate::bfd::{Cause, Timers};
use crate::config;
use crate::link::{AddrInfo, LinkInfo};
use crate::node::Input;
use std::net::Ipv6Addr;

const FILE: &str = "
asn: 64600
router_id: 10.0.0.1
groups:
  all: {import: accept-all, export: accept-all, bfd: {interval: 50ms, multiplier: 3}}
peers:
  near: {address: 10.1.0.1, remote_asn: 64601, group: all}
  elsewhere: {address: 10.9.0.1, remote_asn: 64602, group: all}
  far: {address: 10.9.0.2, remote_asn: 64603, group: all, multihop: true, local_address: 10.0.0.1}
  reflector: {address: 10.9.0.3, remote_asn: internal, group: all}
  beside: {address: 10.1.0.2, remote_asn: internal, group: all}
  unnumbered: {interface: eth2, remote_asn: external, group: all}
  silent: {address: 10.1.0.5, remote_asn: 64604, group: all, bfd: false}
  resting: {address: 10.1.0.6, remote_asn: 64605, group: all, shutdown: true}
";

fn link(index: u32, nets: &[&str]) -> LinkInfo {
    LinkInfo {
        index: IfIndex(index),
        name: format!("eth{index}"),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1_500,
        up: true,
        carrier: true,
        damped: 0,
        loopback: false,
        master: None,
        kind: None,
        addrs: nets.iter().map(|net| AddrInfo::new(net.parse().unwrap())).collect(),
    }
}

fn node(file: &str) -> Node {
    Node::new(config::parse("t", file).unwrap().node().unwrap(), Instant::ZERO)
}

/// The newest picture, by the peers' names.
fn asked(node: &mut Node) -> Option<Vec<(String, Wanted)>> {
    let mut newest = None;
    while let Some(output) = node.poll() {
        if let Output::Bfd(wanted) = output {
            newest = Some(wanted);
        }
    }
    let name = |peer| node.peer_name(peer).unwrap().to_owned();
    newest.map(|all| all.into_iter().map(|wanted| (name(wanted.peer), wanted)).collect())
}

fn places(all: &[(String, Wanted)]) -> Vec<(&str, Path)> {
    all.iter().map(|(name, wanted)| (name.as_str(), wanted.path)).collect()
}

#[test]
fn a_session_is_of_one_hop_on_a_link_and_of_several_where_that_is_said_or_internal() {
    let mut node = node(FILE);
    assert_eq!(asked(&mut node), None);
    node.handle(Instant::ZERO, Input::Links(vec![link(1, &["10.1.0.0/24"]), link(2, &["fe80::1/64"])]));
    let all = asked(&mut node).unwrap();
    let on_link = Path::SingleHop(IfIndex(1));
    let expected = [("beside", on_link), ("far", Path::Multihop), ("near", on_link), ("reflector", Path::Multihop)];
    assert_eq!(places(&all), expected);
    let far = &all[1].1;
    assert_eq!(
        (far.local, far.timers),
        (Some([10, 0, 0, 1].into()), Timers { transmit_us: 50_000, receive_us: 50_000, multiplier: 3 })
    );
    // The neighbour of the unnumbered link appears.
    let from: Ipv6Addr = "fe80::2".parse().unwrap();
    node.handle(Instant::ZERO, Input::RouterAdvertisement { link: IfIndex(2), from, lifetime_s: 0, mac: None });
    let all = asked(&mut node).unwrap();
    assert_eq!(
        (all[4].0.as_str(), all[4].1.remote, all[4].1.path),
        ("unnumbered", from.into(), Path::SingleHop(IfIndex(2)))
    );
}

#[test]
fn a_reload_changes_what_changed_and_nothing_else() {
    let mut node = node(FILE);
    node.handle(Instant::ZERO, Input::Links(vec![link(1, &["10.1.0.0/24"])]));
    let before = asked(&mut node).unwrap();
    let reload = |file: &str| Input::Reload(Box::new(config::parse("t", file).unwrap().node().unwrap()));
    node.handle(Instant::ZERO, reload(FILE));
    assert_eq!(asked(&mut node), None);
    node.handle(Instant::ZERO, reload(&FILE.replace("50ms", "100ms")));
    let after = asked(&mut node).unwrap();
    assert_eq!(places(&after), places(&before));
    assert!(after.iter().zip(&before).all(|(new, old)| new.1.peer == old.1.peer && new.1.timers != old.1.timers));
    node.handle(Instant::ZERO, reload(&FILE.replace("bfd: {interval: 50ms, multiplier: 3}", "bfd: false")));
    assert_eq!(asked(&mut node), Some(Vec::new()));
}

#[test]
fn a_failure_is_acknowledged_and_one_that_came_with_what_followed_it_too() {
    let mut node = node(FILE);
    node.handle(Instant::ZERO, Input::Links(vec![link(1, &["10.1.0.0/24"])]));
    let peer = asked(&mut node).unwrap()[2].1.peer;
    let notice = Notice { peer, state: State::Up, cause: Cause::Heard, failure: 0, keeps: false };
    node.handle(Instant::ZERO, Input::Bfd(notice));
    assert_eq!((node.bfd_state(peer), asked(&mut node)), (Some(State::Up), None));
    node.handle(Instant::ZERO, Input::Bfd(Notice { failure: 7, ..notice }));
    let all = asked(&mut node).unwrap();
    assert_eq!((all[2].1.known_failure, node.bfd_failure(peer)), (7, 7));
}

#[test]
fn after_a_restart_bgp_waits_for_bfd_of_its_peers_of_ranges_too() {
    let mut config = config::parse(
        "t",
        "{asn: 64600, router_id: 10.0.0.1, groups: {all: {bfd: true}}, listen: [{prefix: 10.1.0.0/24, remote_asn: external, group: all}]}",
    );
    let mut config = config.as_mut().unwrap().node().unwrap();
    config.speaker.restarting = true;
    let mut node = Node::new(config, Instant::ZERO);
    node.handle(Instant::ZERO, Input::Links(vec![link(1, &["10.1.0.0/24"])]));
    assert_eq!(asked(&mut node), None);
    let (local, remote) = ("10.1.0.9:179".parse().unwrap(), "10.1.0.1:40000".parse().unwrap());
    let conn = ConnId(ConnId::ACCEPTED);
    node.handle(Instant::ZERO, Input::Bgp(speaker::Input::Accepted { conn, local, remote }));
    let all = asked(&mut node).unwrap();
    assert_eq!(places(&all), [("10.1.0.1", Path::SingleHop(IfIndex(1)))], "before there is a session");
    assert!(!all[0].1.is_established);
}

#[test]
fn at_the_end_there_are_none() {
    let mut node = node(FILE);
    node.handle(Instant::ZERO, Input::Links(vec![link(1, &["10.1.0.0/24"])]));
    assert!(asked(&mut node).is_some());
    node.handle(Instant::ZERO, Input::Shutdown { cease: false });
    assert_eq!(asked(&mut node), Some(Vec::new()));
}

#[test]
fn the_history_tells_of_every_failure_and_of_nothing_on_the_way_up() {
    let mut node = node(FILE);
    node.handle(Instant::ZERO, Input::Links(vec![link(1, &["10.1.0.0/24"])]));
    let peer = asked(&mut node).unwrap()[2].1.peer;
    let mut second = 0;
    for (state, cause, failure, keeps) in [
        (State::Init, Cause::Heard, 0, false),
        (State::Up, Cause::Heard, 0, false),
        (State::Down, Cause::TimeExpired, 1, false),
        (State::Up, Cause::Heard, 1, false),
        // It failed and came back before the node heard of it.
        (State::Up, Cause::Heard, 2, true),
        (State::AdminDown, Cause::AdminDown, 2, true),
    ] {
        second += 1;
        let notice = Notice { peer, state, cause, failure, keeps };
        node.handle(Instant::ZERO + Duration::from_secs(second), Input::Bfd(notice));
    }
    let line = |entry: &crate::node::Entry| match &entry.event {
        Happened::Bfd(Event::Bfd { name, state, failed, retained, .. }) => {
            Some(format!("{} {name} {state} {failed} {retained}", entry.at.as_secs()))
        }
        Happened::Bgp(_) | Happened::Vip(_) | Happened::Configuration(_) | Happened::Drain(_) => None,
    };
    let all: Vec<String> = node.history().filter_map(line).collect();
    assert_eq!(
        all,
        [
            "2 near Up false false",
            "3 near Down true false",
            "4 near Up false false",
            "5 near Up true true",
            "6 near AdminDown false false"
        ]
    );
}
