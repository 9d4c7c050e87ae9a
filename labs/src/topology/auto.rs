//! `weft: auto`: addresses, AS numbers and configurations for all that has none.
//!
//! The rule, so that a reader of a lab can tell an address without looking: nodes are numbered from 1 in the order of their
//! names, links from 0 in the order of the file.
//!
//! | what | gets |
//! |---|---|
//! | node N that runs weft and has no configuration | 10.255.0.0 + N and fdff::N on `lo`, AS 4200000000 + N (RFC 6996) |
//! | such nodes of one group named `spine…`, `superspine…` or `core…` | the AS of the first of them (RFC 7938 §5.2.1) |
//! | such nodes of a group named `server…` or `host…` | `role: host`: they pass nothing on |
//! | a link between two of them | nothing: its peers are unnumbered (RFC 8950) |
//! | any other link L without an address | the /31 at 10.240.0.0 + 2 L (RFC 3021), announced by its end that runs weft |
//! | a node without a daemon and without `exec:`, on such a link | a default route to the first of them |

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{Endpoint, Topology};
use crate::personality::Personality;

/// First of the private AS numbers of four octets (RFC 6996 §5).
const FIRST_ASN: u32 = 4_200_000_000;
/// Networks of loopback addresses and of links.
const LOOPBACKS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 0);
const LINKS: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 0);
/// As many links have a network of their own.
const MAX_LINKS: u32 = 1 << 18;
/// Groups whose nodes share an AS, so that no path goes down and up again.
const SHARED: [&str; 3] = ["spine", "superspine", "core"];

/// Groups whose nodes tell of their own addresses alone.
const SERVERS: [&str; 2] = ["server", "host"];

/// What is said of a node that is given a configuration.
struct Router {
    number: u32,
    asn: u32,
    is_server: bool,
}

/// Fills in what is missing; `asn` is what the file says itself.
pub(super) fn fill(topology: &mut Topology, asn: &dyn Fn(&str) -> Option<u32>) {
    let routers = routers(topology, asn);
    let mut connected: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
    let mut defaults: BTreeMap<String, IpAddr> = BTreeMap::new();
    for (number, link) in (0..MAX_LINKS).zip(&topology.links) {
        let ours = [&link.a, &link.b].map(|end| routers.contains_key(&end.node));
        let bare = |end: &Endpoint| {
            let port = topology.nodes.get(&end.node).is_some_and(|node| {
                node.kind != "linux" || node.bridges.values().any(|bridge| bridge.ports.contains(&end.interface))
            });
            let addresses = topology.nodes.get(&end.node).and_then(|node| node.addresses.get(&end.interface));
            !port && addresses.is_none_or(Vec::is_empty)
        };
        if ours == [true, true] || ours == [false, false] || !bare(&link.a) || !bare(&link.b) {
            continue;
        }
        let base = u32::from(LINKS) + 2 * number;
        let ends = [(&link.a, base), (&link.b, base + 1)];
        for (index, (end, address)) in ends.into_iter().enumerate() {
            let net = IpNet::V4(Ipv4Net::new_assert(address.into(), 31));
            if let Some(node) = topology.nodes.get_mut(&end.node) {
                node.addresses.entry(end.interface.clone()).or_default().push(net);
                if ours[index] {
                    connected.entry(end.node.clone()).or_default().insert(net.trunc());
                } else if node.personality == Personality::Plain && node.exec.is_empty() {
                    let far = Ipv4Addr::from(base + u32::from(index == 0));
                    defaults.entry(end.node.clone()).or_insert(IpAddr::V4(far));
                }
            }
        }
    }
    for (name, gateway) in defaults {
        if let Some(node) = topology.nodes.get_mut(&name) {
            let words = ["ip", "route", "replace", "default", "via"].map(str::to_owned);
            node.exec.push(words.into_iter().chain([gateway.to_string()]).collect());
        }
    }
    let (mut links, none) = (BTreeMap::<&str, Vec<(&Endpoint, &Endpoint)>>::new(), BTreeSet::new());
    for link in &topology.links {
        for (near, far) in [(&link.a, &link.b), (&link.b, &link.a)] {
            links.entry(&near.node).or_default().push((near, far));
        }
    }
    for (name, router) in &routers {
        let links = links.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(node) = topology.nodes.get_mut(name) {
            node.config = Some(config(links, &routers, name, router, connected.get(name).unwrap_or(&none)));
        }
    }
}

fn routers(topology: &Topology, asn: &dyn Fn(&str) -> Option<u32>) -> BTreeMap<String, Router> {
    let mut routers = BTreeMap::new();
    let mut shared: BTreeMap<&str, u32> = BTreeMap::new();
    for (number, (name, node)) in (1_u32..).zip(&topology.nodes) {
        if node.personality != Personality::Weft || node.has_config() {
            continue;
        }
        let own = FIRST_ASN + number;
        let group = node.group.as_deref().filter(|group| SHARED.iter().any(|start| group.starts_with(start)));
        let of_group = group.map_or(own, |group| *shared.entry(group).or_insert(own));
        let is_server = node.group.as_deref().is_some_and(|group| SERVERS.iter().any(|start| group.starts_with(start)));
        routers.insert(name.clone(), Router { number, asn: asn(name).unwrap_or(of_group), is_server });
    }
    routers
}

/// The configuration of one node, as its author could have written it.
fn config(
    links: &[(&Endpoint, &Endpoint)],
    routers: &BTreeMap<String, Router>,
    name: &str,
    router: &Router,
    connected: &BTreeSet<IpNet>,
) -> String {
    let address = Ipv4Addr::from(u32::from(LOOPBACKS) + router.number);
    let mut text = format!(
        "# Made by `weft: auto`.\nhostname: {name}\nasn: {}\naddresses: [{address}/32, \"fdff::{:x}/128\"]\n",
        router.asn, router.number
    );
    if router.is_server {
        text.push_str("role: host\n");
    }
    text.push_str("groups:\n  fabric: {import: accept-all, export: accept-all}\n");
    if !connected.is_empty() {
        let list: Vec<String> = connected.iter().map(|net| format!("{{prefix: {net}}}")).collect();
        text.push_str(&format!("originate: [{}]\n", list.join(", ")));
    }
    let mut peers: Vec<(String, &str, u32)> = Vec::new();
    for (near, far) in links {
        if let Some(other) = routers.get(&far.node) {
            let is_known = peers.iter().any(|(peer, ..)| *peer == far.node);
            let peer = if is_known { format!("{}-{}", far.node, near.interface) } else { far.node.clone() };
            peers.push((peer, near.interface.as_str(), other.asn));
        }
    }
    text.push_str(if peers.is_empty() { "peers: {}\n" } else { "peers:\n" });
    for (peer, interface, asn) in peers {
        let asn = if asn == router.asn { "internal".to_owned() } else { asn.to_string() };
        text.push_str(&format!("  {peer}: {{interface: {interface}, remote_asn: {asn}, group: fabric}}\n"));
    }
    text
}
