//! On which links discovery runs, and what it does when an address comes, fails, changes or goes.

use super::*;
use crate::config;
use crate::link::AddrInfo;
use crate::node::Input;

const FILE: &str = "
asn: 4200000104
addresses: [10.69.0.4/32]
groups:
  rack: {import: accept-all, export: accept-all}
peers:
  up: {interface: eth0, remote_asn: external, group: rack}
  resting: {interface: eth1, remote_asn: external, group: rack, shutdown: true}
  dark: {interface: eth2, remote_asn: external, group: rack}
  numbered: {address: 10.0.3.2, remote_asn: 65001, group: rack}
";

/// An interface with these link-local addresses.
fn link(index: u32, name: &str, carrier: bool, addrs: &[&str]) -> LinkInfo {
    let mut info = crate::node::tests::link(index, name, carrier);
    info.addrs = addrs.iter().map(|net| AddrInfo::new(net.parse().unwrap())).collect();
    info
}

fn drain(node: &mut Node) -> Vec<Output> {
    std::iter::from_fn(|| node.poll()).collect()
}

/// A node that was shown these, and what it wanted of discovery.
fn shown(links: Vec<LinkInfo>) -> (Node, Vec<Output>) {
    let mut node = Node::new(config::parse("t", FILE).unwrap().node().unwrap(), Instant::ZERO);
    node.handle(Instant::ZERO, Input::Links(links));
    let wanted = drain(&mut node).into_iter().filter(is_discovery).collect();
    (node, wanted)
}

const fn is_discovery(output: &Output) -> bool {
    matches!(output, Output::SendRa { .. } | Output::SendRs { .. } | Output::RaLinks(_))
}

const ETH0: IfIndex = IfIndex(2);

#[test]
fn discovery_runs_on_usable_links_of_peers_and_nowhere_else() {
    let (_, wanted) = shown(vec![
        link(2, "eth0", true, &["fe80::1/64"]),
        link(3, "eth1", true, &["fe80::2/64"]),
        link(4, "eth2", false, &["fe80::3/64"]),
        link(5, "eth3", true, &["10.0.3.1/24", "fe80::4/64"]),
        link(6, "docker0", true, &["fe80::5/64"]),
    ]);
    let expected =
        [Output::RaLinks(vec![ETH0]), Output::SendRs { link: ETH0 }, Output::SendRa { link: ETH0, managed: false }];
    assert_eq!(wanted, expected, "asked and told at once");
}

#[test]
fn an_address_that_is_not_sure_to_be_ours_is_not_spoken_from() {
    // RFC 4862 §5.4: a tentative address is no source, and neither is one that failed.
    for (tentative, duplicate) in [(true, false), (true, true)] {
        let mut eth0 = link(2, "eth0", true, &["fe80::1/64"]);
        (eth0.addrs[0].tentative, eth0.addrs[0].duplicate) = (tentative, duplicate);
        let (mut node, wanted) = shown(vec![eth0.clone()]);
        assert_eq!(wanted, []);
        // The check ends well, or another address is found.
        eth0.addrs = vec![AddrInfo::new("fe80::9/64".parse().unwrap())];
        node.handle(Instant::ZERO, Input::Links(vec![eth0]));
        assert!(drain(&mut node).contains(&Output::RaLinks(vec![ETH0])));
    }
}

#[test]
fn an_address_that_fails_later_or_goes_ends_it() {
    let (mut node, _) = shown(vec![link(2, "eth0", true, &["fe80::1/64"])]);
    let mut failed = link(2, "eth0", true, &["fe80::1/64"]);
    (failed.addrs[0].tentative, failed.addrs[0].duplicate) = (true, true);
    node.handle(Instant::ZERO, Input::Links(vec![failed]));
    assert!(drain(&mut node).contains(&Output::RaLinks(Vec::new())));
}

#[test]
fn our_new_link_local_address_is_told_at_once() {
    let (mut node, _) = shown(vec![link(2, "eth0", true, &["fe80::1/64"])]);
    node.handle(Instant::ZERO, Input::Links(vec![link(2, "eth0", true, &["fe80::9/64"])]));
    let wanted: Vec<_> = drain(&mut node).into_iter().filter(is_discovery).collect();
    assert_eq!(wanted, [Output::SendRs { link: ETH0 }, Output::SendRa { link: ETH0, managed: false }]);
}

fn heard(system: &str, lifetime_s: u16) -> Input {
    let (chassis, port) = ("02:00:00:00:00:09".to_owned(), "Ethernet3".to_owned());
    let heard =
        crate::lldp::Heard { chassis, port, port_description: None, system: Some(system.to_owned()), lifetime_s };
    Input::Lldp { link: ETH0, heard }
}

fn dials(node: &mut Node) -> usize {
    let is_dial = |output: &Output| matches!(output, Output::Bgp(speaker::Output::Connect { .. }));
    drain(node).iter().filter(|output| is_dial(output)).count()
}

#[test]
fn a_cable_in_the_wrong_port_gets_no_session_before_the_right_one_is_heard() {
    let file = FILE.replace("{interface: eth0,", "{interface: eth0, expect_lldp: {system: tor1, port: Ethernet3},");
    let mut node = Node::new(config::parse("t", &file).unwrap().node().unwrap(), Instant::ZERO);
    let eth0 = || link(2, "eth0", true, &["fe80::1/64"]);
    node.handle(Instant::ZERO, Input::Links(vec![eth0(), link(6, "eth9", true, &[])]));
    assert!(drain(&mut node).contains(&Output::LldpLinks(vec![ETH0])), "there and nowhere else");
    let from: Ipv6Addr = "fe80::2".parse().unwrap();
    node.handle(Instant::ZERO, Input::RouterAdvertisement { link: ETH0, from, lifetime_s: 0, mac: None });
    assert_eq!(dials(&mut node), 0, "nobody was heard by LLDP");
    assert!(node.miswired(ETH0).unwrap().contains("tor1 port Ethernet3 is expected"));
    let call = SocketAddr::V6(std::net::SocketAddrV6::new(from, 40_000, 0, ETH0.0));
    assert_eq!(node.caller(Instant::ZERO, call), None, "and who calls is a stranger");
    node.handle(Instant::ZERO, heard("tor2", 120));
    assert_eq!(dials(&mut node), 0);
    node.handle(Instant::ZERO, heard("tor1.rack0", 120));
    assert_eq!((dials(&mut node), node.miswired(ETH0)), (1, None));
    assert!(node.caller(Instant::ZERO, call).is_some());
    // The carrier goes, and comes back with somebody else.
    node.handle(Instant::ZERO, Input::LinkDown(ETH0));
    node.handle(Instant::ZERO, Input::Links(vec![eth0()]));
    node.handle(Instant::ZERO, Input::RouterAdvertisement { link: ETH0, from, lifetime_s: 0, mac: None });
    assert_eq!(dials(&mut node), 0, "what was heard before is forgotten");
    // Nobody is expected any more.
    node.handle(Instant::ZERO, Input::Reload(Box::new(config::parse("t", FILE).unwrap().node().unwrap())));
    assert_eq!(node.miswired(ETH0), None);
    assert!(dials(&mut node) > 0);
}

#[test]
fn the_peer_of_a_link_is_who_answers_there_and_our_own_packets_are_nobody() {
    let (mut node, _) = shown(vec![link(2, "eth0", true, &["fe80::1/64"])]);
    let own = crate::node::tests::MAC;
    for (from, mac) in [("fe80::1", None), ("fe80::7", Some(own)), ("2001:db8::1", None)] {
        let from = from.parse().unwrap();
        node.handle(Instant::ZERO, Input::RouterAdvertisement { link: ETH0, from, lifetime_s: 1_800, mac });
        assert_eq!(node.neighbour(ETH0), None, "{from}");
    }
    assert_eq!(node.heard_on(Instant::ZERO, ETH0).looped, 2);
    let from = "fe80::2".parse().unwrap();
    node.handle(Instant::ZERO, Input::RouterAdvertisement { link: ETH0, from, lifetime_s: 0, mac: None });
    let dialled = drain(&mut node).into_iter().find_map(|output| {
        let Output::Bgp(speaker::Output::Connect { remote, .. }) = output else { return None };
        Some(remote.ip())
    });
    assert_eq!((node.neighbour(ETH0), dialled), (Some(from), Some(from.into())));
    // The link goes, and the peer with it.
    node.handle(Instant::ZERO, Input::LinkDown(ETH0));
    assert_eq!(node.neighbour(ETH0), None);
}
