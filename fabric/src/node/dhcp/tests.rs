//! Routes to machines by their leases: when the kernel is told of them, and whom else.

use super::*;
use crate::config;
use crate::link::{AddrInfo, LinkInfo};
use crate::node::Input;
use crate::node::tests::link;
use std::net::Ipv6Addr;

/// A switch with two ports without addresses.
pub(crate) const FILE: &str = "
role: tor
asn: 4200000010
addresses: [10.69.255.1/32]
uplinks: [eth1]
dhcp: {relay: {servers: [10.72.0.1], ports: [eth4, eth5], gateway: 10.69.1.1/26, unnumbered: true}}
";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);
const MACHINE: &str = "10.69.1.7/32";

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

pub(crate) fn links(carriers: [bool; 2]) -> Vec<LinkInfo> {
    vec![link(4, "eth4", carriers[0]), link(5, "eth5", carriers[1])]
}

fn node() -> Node {
    let mut node = Node::new(config::parse("t", FILE).unwrap().node().unwrap(), Instant::ZERO);
    node.handle(at(0), Input::Links(links([true, true])));
    node
}

/// What a server says: an address for so many seconds, on a port.
pub(crate) fn ack(port: &str, seconds: u32) -> Input {
    let mut datagram = vec![0; 240];
    datagram[..3].copy_from_slice(&[2, 1, 6]);
    datagram[16..20].copy_from_slice(&[10, 69, 1, 7]);
    datagram[24..28].copy_from_slice(&[10, 69, 255, 1]);
    datagram[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x69, 1, 1]);
    datagram[236..].copy_from_slice(&[99, 130, 83, 99]);
    datagram.extend([53, 1, 5, 51, 4]);
    datagram.extend(seconds.to_be_bytes());
    datagram.extend([82, 6, 1, 4]);
    datagram.extend(port.as_bytes());
    datagram.push(255);
    Input::DhcpDatagram { from: SERVER.into(), datagram }
}

/// What the kernel is told, and what others hear of the machine.
fn told(node: &mut Node) -> Vec<String> {
    let changes = node.poll_fib(512).into_iter().map(|change| match change.want {
        Want::Hops(hops) => format!("{} by {}", change.prefix, hops[0].link.0),
        Want::Nothing => format!("{} by none", change.prefix),
        Want::Discard => format!("{} discarded", change.prefix),
    });
    let changes: Vec<String> = changes.collect();
    let why = node.originated().find(|(source, _)| *source == Source::Lease).map(|(_, route)| route.why.clone());
    changes.into_iter().chain(why).collect()
}

#[test]
fn the_gateway_is_ours_and_nothing_for_the_rack_leaves_by_a_default_route() {
    let node = node();
    assert!(node.config().addresses.contains(&"10.69.1.1/32".parse().unwrap()));
    assert_eq!(node.config().fib.unreachable, ["10.69.1.0/26".parse::<IpNet>().unwrap()]);
}

#[test]
fn a_machine_is_reached_by_its_port_as_long_as_it_has_its_lease() {
    let mut node = node();
    node.handle(at(1), ack("eth4", 60));
    let outputs: Vec<_> = std::iter::from_fn(|| node.poll()).collect();
    let place = |wanted: fn(&Output) -> bool| outputs.iter().position(wanted).unwrap();
    assert!(place(|output| matches!(output, Output::FibReady)) < place(|output| matches!(output, Output::Dhcp(_))));
    assert_eq!(told(&mut node), ["10.69.1.7/32 by 4", "lease of 52:54:00:69:01:01 on eth4"]);
    node.handle(at(31), ack("eth4", 60));
    assert_eq!(told(&mut node), ["lease of 52:54:00:69:01:01 on eth4"], "nothing for the kernel");
    node.handle(at(40), ack("eth5", 51));
    assert_eq!(told(&mut node), ["10.69.1.7/32 by 5", "lease of 52:54:00:69:01:01 on eth5"]);
    node.handle(at(91), Input::Tick);
    assert_eq!(told(&mut node), ["10.69.1.7/32 by none"]);
}

#[test]
fn what_the_speaker_wants_of_the_same_prefix_gives_way() {
    let mut routes = Routes { wanted: [(MACHINE.parse().unwrap(), IfIndex(4))].into(), ..Routes::default() };
    let of_speaker = FibChange { prefix: MACHINE.parse().unwrap(), want: Want::Nothing, seq: 9 };
    let joined = routes.join(vec![of_speaker.clone()], 512);
    assert!(matches!(&joined[..], [FibChange { want: Want::Hops(_), seq: 9, .. }]), "{joined:?}");
    routes.wanted.clear();
    routes.due.insert(MACHINE.parse().unwrap());
    let joined = routes.join(vec![FibChange { seq: 11, ..of_speaker }], 512);
    assert_eq!(joined.iter().map(|change| change.seq).collect::<Vec<_>>(), [9, 11], "the speaker has the last word");
}

#[test]
fn changes_come_in_batches_as_large_as_asked_for() {
    let prefix = |last: u8| IpNet::from(IpAddr::V4(Ipv4Addr::new(10, 69, 1, last)));
    let mut routes = Routes { due: (2..7).map(prefix).collect(), ..Routes::default() };
    assert_eq!(
        (routes.join(Vec::new(), 2).len(), routes.join(Vec::new(), 2).len(), routes.join(Vec::new(), 2).len()),
        (2, 2, 1)
    );
}

#[test]
fn a_port_without_carrier_takes_its_routes_with_it_and_brings_them_back() {
    let mut node = node();
    node.handle(at(1), ack("eth4", 600));
    told(&mut node);
    node.handle(at(2), Input::LinkDown(IfIndex(4)));
    node.handle(at(2), Input::Links(links([false, true])));
    assert_eq!(told(&mut node), ["10.69.1.7/32 by none"]);
    node.handle(at(3), Input::Links(links([true, true])));
    assert_eq!(told(&mut node), ["10.69.1.7/32 by 4", "lease of 52:54:00:69:01:01 on eth4"]);
}

#[test]
fn a_machine_that_asks_for_a_router_is_answered_at_once() {
    // RFC 4861 §6.2.6: firmware may ask before it has an address of its own.
    let mut all = links([true, true]);
    all[0].addrs.push(AddrInfo::new("fe80::4/64".parse().unwrap()));
    let mut node = node();
    node.handle(at(1), Input::Links(all));
    while node.poll().is_some() {}
    let (link, from) = (IfIndex(4), Ipv6Addr::UNSPECIFIED);
    node.handle(at(30), Input::Tick);
    while node.poll().is_some() {}
    node.handle(at(31), Input::RouterSolicitation { link, from, mac: None });
    let told = std::iter::from_fn(|| node.poll()).any(|output| output == Output::SendRa { link, managed: false });
    assert!(told, "{:?}", node.next_timeout());
}

#[test]
fn a_restart_goes_on_with_the_leases_of_before() {
    let mut before = node();
    before.handle(at(1), ack("eth4", 600));
    let kept = before.relay().keep(at(1), Duration::from_secs(1_000));
    let mut node = Node::new(config::parse("t", FILE).unwrap().node().unwrap(), Instant::ZERO);
    node.handle(at(0), Input::DhcpLeases { wall: Duration::from_secs(1_100), kept });
    node.handle(at(0), Input::Links(links([true, true])));
    assert_eq!(told(&mut node), ["10.69.1.7/32 by 4", "lease of 52:54:00:69:01:01 on eth4"]);
    let numbered = FILE.replace(", unnumbered: true", "");
    node.handle(at(1), Input::Reload(Box::new(config::parse("t", &numbered).unwrap().node().unwrap())));
    assert_eq!(told(&mut node), ["10.69.1.7/32 by none"], "a reload takes them away");
}

/// A switch that relays DHCPv6 too.
const FILE6: &str = "
role: tor
asn: 4200000010
addresses: [10.69.255.1/32, 'fd00:69:255::1/128']
uplinks: [eth1]
dhcp: {relay: {servers: [10.72.0.1, 'fd00:72::1'], ports: [eth4, eth5], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::1/64', unnumbered: true}}
";

/// RFC 8415 §9.2, §21: a Relay-reply by a port with a REPLY that lends one address to the DUID of a network card for so many seconds.
fn reply6(port: &str, seconds: u32) -> Input {
    let option = |code: u8, value: &[u8]| [&[0, code, 0, u8::try_from(value.len()).unwrap()], value].concat();
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let lent = [&address("fd00:69:0:4::7")[..], &[0; 4], &seconds.to_be_bytes()].concat();
    let association = option(3, &[&[0; 12][..], &option(5, &lent)].concat());
    let reply = [&[7, 1, 2, 3][..], &option(1, &[0, 3, 0, 1, 0x52, 0x54, 0, 0x69, 1, 1]), &association].concat();
    let head = [&[13, 0][..], &address("fd00:69:0:4::1"), &address("fe80::7")].concat();
    let datagram = [head, option(18, port.as_bytes()), option(9, &reply)].concat();
    Input::DhcpDatagram { from: "fd00:72::1".parse().unwrap(), datagram }
}

#[test]
fn a_lease_of_dhcpv6_has_a_route_too_and_its_gateway_is_ours() {
    let mut node = Node::new(config::parse("t", FILE6).unwrap().node().unwrap(), Instant::ZERO);
    node.handle(at(0), Input::Links(links([true, true])));
    assert!(node.config().addresses.contains(&"fd00:69:0:4::1/128".parse().unwrap()));
    assert!(node.config().fib.unreachable.contains(&"fd00:69:0:4::/64".parse().unwrap()));
    node.handle(at(1), reply6("eth4", 60));
    assert_eq!(told(&mut node), ["fd00:69:0:4::7/128 by 4", "lease of 52:54:00:69:01:01 on eth4"]);
    let lent = IpAddr::V6("fd00:69:0:4::7".parse().unwrap());
    assert!(node.routes_lease(lent));
    node.handle(at(61), Input::Tick);
    assert_eq!((told(&mut node), node.routes_lease(lent)), (vec!["fd00:69:0:4::7/128 by none".to_owned()], false));
}

#[test]
fn machines_are_told_to_ask_by_dhcpv6_where_it_is_relayed() {
    let mut all = links([true, true]);
    all[0].addrs.push(AddrInfo::new("fe80::4/64".parse().unwrap()));
    for (file, expected) in [(FILE, false), (FILE6, true)] {
        let mut node = Node::new(config::parse("t", file).unwrap().node().unwrap(), Instant::ZERO);
        node.handle(at(1), Input::Links(all.clone()));
        let sent = std::iter::from_fn(|| node.poll()).filter_map(|output| {
            if let Output::SendRa { link, managed } = output { Some((link, managed)) } else { None }
        });
        assert_eq!(sent.collect::<Vec<_>>(), [(IfIndex(4), expected)]);
    }
}
