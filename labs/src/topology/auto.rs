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
//! | with `servers: default`: a server | one address, an IPv4 one; the AS of the first server of its group; a default route and nothing else |
//! | with `servers: default`: a group named `leaf…` or `tor…`, `spine…` | `role: tor`, which tells servers a default route; `role: spine` |
//! | a link between two of them | nothing: its peers are unnumbered (RFC 8950) |
//! | any other link L without an address | the /31 at 10.240.0.0 + 2 L (RFC 3021), announced by its end that runs weft |
//! | a node without a daemon and without `exec:`, on such a link | a default route to the first of them |

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::file::Servers;
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
/// Groups whose nodes have servers, where these are told a default route.
const LEAVES: [&str; 2] = ["leaf", "tor"];
/// Where servers are told a default route: what a leaf tells them, and what it tells the others.
const POLICY: &str = "policy:\n  sets: {any: [0.0.0.0/0]}\n  default: [{match: {prefix: any}, then: accept}]\n  \
                      rest: [{match: {prefix: any}, then: reject}, {then: accept}]\n";

/// What is said of a node that is given a configuration.
struct Router {
    number: u32,
    asn: u32,
    kind: Kind,
}

/// What a node is in the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It tells everybody everything.
    Plain,
    /// It tells of its own addresses alone.
    Server,
    /// Likewise, and is told a default route alone.
    Stub,
    /// It has servers that are told a default route.
    Leaf,
    /// It joins such leaves.
    Spine,
}

impl Kind {
    fn of(group: Option<&str>, servers: Servers) -> Self {
        let is = |starts: &[&str]| group.is_some_and(|group| starts.iter().any(|start| group.starts_with(start)));
        match servers {
            _ if is(&SERVERS) && servers == Servers::Default => Self::Stub,
            _ if is(&SERVERS) => Self::Server,
            Servers::Default if is(&LEAVES) => Self::Leaf,
            Servers::Default if is(&SHARED) => Self::Spine,
            Servers::Default | Servers::All => Self::Plain,
        }
    }

    const fn role(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Server | Self::Stub => Some("host"),
            Self::Leaf => Some("tor"),
            Self::Spine => Some("spine"),
        }
    }
}

/// Fills in what is missing; `asn` is what the file says itself.
pub(super) fn fill(topology: &mut Topology, servers: Servers, asn: &dyn Fn(&str) -> Option<u32>) {
    let routers = routers(topology, servers, asn);
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

fn routers(topology: &Topology, servers: Servers, asn: &dyn Fn(&str) -> Option<u32>) -> BTreeMap<String, Router> {
    let mut routers = BTreeMap::new();
    let mut shared: BTreeMap<&str, u32> = BTreeMap::new();
    for (number, (name, node)) in (1_u32..).zip(&topology.nodes) {
        if node.personality != Personality::Weft || node.has_config() {
            continue;
        }
        let own = FIRST_ASN + number;
        let kind = Kind::of(node.group.as_deref(), servers);
        let shares = |group: &&str| kind == Kind::Stub || SHARED.iter().any(|start| group.starts_with(start));
        let group = node.group.as_deref().filter(shares);
        let of_group = group.map_or(own, |group| *shared.entry(group).or_insert(own));
        routers.insert(name.clone(), Router { number, asn: asn(name).unwrap_or(of_group), kind });
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
    let second = if router.kind == Kind::Stub { String::new() } else { format!(", \"fdff::{:x}/128\"", router.number) };
    let mut text =
        format!("# Made by `weft: auto`.\nhostname: {name}\nasn: {}\naddresses: [{address}/32{second}]\n", router.asn);
    if let Some(role) = router.kind.role() {
        text.push_str(&format!("role: {role}\n"));
    }
    text.push_str(match router.kind {
        Kind::Plain | Kind::Server | Kind::Spine => "groups:\n  fabric: {import: accept-all, export: accept-all}\n",
        Kind::Stub => "groups:\n  fabric: {import: default, export: accept-all}\n",
        Kind::Leaf => {
            "groups:\n  fabric: {import: accept-all, export: rest}\n  servers: {import: accept-all, export: default}\n"
        }
    });
    if matches!(router.kind, Kind::Stub | Kind::Leaf) {
        text.push_str(POLICY);
    }
    let mut originated: Vec<String> = connected.iter().map(|net| format!("{{prefix: {net}}}")).collect();
    if router.kind == Kind::Leaf {
        originated.push("0.0.0.0/0".to_owned());
    }
    if !originated.is_empty() {
        text.push_str(&format!("originate: [{}]\n", originated.join(", ")));
    }
    let (mut peers, mut known) = (String::new(), BTreeSet::new());
    for (near, far) in links {
        if let Some(other) = routers.get(&far.node) {
            let is_new = known.insert(far.node.as_str());
            let peer = if is_new { far.node.clone() } else { format!("{}-{}", far.node, near.interface) };
            let asn = if other.asn == router.asn { "internal".to_owned() } else { other.asn.to_string() };
            let group = if router.kind == Kind::Leaf && other.kind == Kind::Stub { "servers" } else { "fabric" };
            peers
                .push_str(&format!("  {peer}: {{interface: {}, remote_asn: {asn}, group: {group}}}\n", near.interface));
        }
    }
    text.push_str(if peers.is_empty() { "peers: {}\n" } else { "peers:\n" });
    text.push_str(&peers);
    text
}
