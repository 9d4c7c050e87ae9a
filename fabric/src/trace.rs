//! `weft trace ADDRESS`: where packets for an address go, daemon by daemon, over every equal way at once. Pure: whoever can be asked
//! is asked by a closure, and what they say is put together here. Every way ends at an owner, a network, a hole, a loop, or at somebody who
//! cannot be asked.

#[cfg(test)]
mod tests;

use crate::api::{Explanation, Interface, Neighbor, Via};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use weft_bgp::types::IpNet;

/// Most daemons asked: more than a fabric's diameter has equal ways.
const NODES_MAX: usize = 1_024;

/// What one daemon says about the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its table and its kernel.
    pub explanation: Explanation,
    /// Its peers.
    pub neighbors: Vec<Neighbor>,
    /// Its links.
    pub interfaces: Vec<Interface>,
}

/// Who is where, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    addresses: BTreeMap<IpAddr, BTreeSet<String>>,
    router_ids: BTreeMap<Ipv4Addr, String>,
}

impl Directory {
    /// Somebody who can be asked.
    pub fn add(&mut self, node: &str, router_id: Ipv4Addr, interfaces: &[Interface]) {
        self.router_ids.insert(router_id, node.to_owned());
        for address in interfaces.iter().flat_map(|link| &link.addresses) {
            self.addresses.entry(address.net.addr()).or_default().insert(node.to_owned());
        }
    }

    /// Who is behind a next hop: the peer there, else the only one who has the address.
    fn find(&self, peer: Option<&Neighbor>, gateway: IpAddr) -> Option<String> {
        if let Some(node) = peer.and_then(|peer| self.router_ids.get(&peer.router_id?)) {
            return Some(node.clone());
        }
        let all = self.addresses.get(&gateway)?;
        all.first().filter(|_| all.len() == 1).cloned()
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Where to.
    pub target: IpAddr,
    /// Every daemon on the way, the nearest first.
    pub hops: Vec<Hop>,
    /// The way round, if packets can come back to where they were: the first stands at the end again.
    pub r#loop: Option<Vec<String>>,
}

/// A daemon on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Its name.
    pub node: String,
    /// How many are before it, on the shortest way.
    pub distance: usize,
    /// What decides there.
    pub prefix: Option<IpNet>,
    /// Where it sends packets.
    pub ways: Vec<Way>,
    /// What its kernel holds, if it was asked.
    pub kernel: Option<String>,
    /// The kernel holds what the daemon wants.
    pub agrees: bool,
    /// Why packets go no further from here.
    pub end: Option<End>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The peer there, by its name on this node.
    pub peer: Option<String>,
    /// The link.
    pub interface: String,
    /// The address; absent on a connected network.
    pub gateway: Option<IpAddr>,
    /// Who that is, if it can be asked.
    pub next: Option<String>,
}

/// How a way ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The address is one of this node.
    Owner,
    /// The node announces the prefix; what is behind it no daemon knows.
    Originator,
    /// The address is on a network of this node, and not one of a daemon that can be asked.
    Connected,
    /// The node drops it: an aggregate, without anything more specific.
    Dropped,
    /// The node has no route.
    NoRoute,
    /// The node has paths, and none can be used.
    Unusable,
    /// The next hop cannot be asked.
    Unasked(String),
}

impl End {
    /// Whether packets are lost there, as far as is known.
    #[must_use]
    pub const fn loses(&self) -> bool {
        match self {
            Self::Dropped | Self::NoRoute | Self::Unusable => true,
            Self::Owner | Self::Originator | Self::Connected | Self::Unasked(_) => false,
        }
    }
}

impl Trace {
    /// Next hops that are used beside others and cannot be asked: what becomes of packets there is not known.
    #[must_use]
    pub fn unasked(&self) -> BTreeSet<String> {
        let ways = self.hops.iter().filter(|hop| hop.end.is_none()).flat_map(|hop| &hop.ways);
        let silent = ways.filter(|way| way.next.is_none());
        silent.filter_map(|way| way.peer.clone().or(Some(way.gateway?.to_string()))).collect()
    }

    /// Whether packets are lost on some way, or the kernel does something else than the daemon wants.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        let lost = |hop: &Hop| hop.end.as_ref().is_some_and(End::loses) || !hop.agrees;
        self.r#loop.is_some() || self.hops.iter().any(lost)
    }
}

/// Follows every way from `start`.
pub fn walk(
    target: IpAddr,
    start: &str,
    directory: &Directory,
    mut ask: impl FnMut(&str) -> Result<Seen, String>,
) -> Trace {
    let mut hops: Vec<Hop> = Vec::new();
    let mut known = BTreeSet::from([start.to_owned()]);
    let mut waiting = VecDeque::from([(start.to_owned(), 0)]);
    while let Some((node, distance)) = waiting.pop_front() {
        let hop = match ask(&node) {
            Ok(seen) => look(target, &node, distance, &seen, directory),
            Err(why) => {
                let end = Some(End::Unasked(why));
                Hop { node, distance, prefix: None, ways: Vec::new(), kernel: None, agrees: true, end }
            }
        };
        for next in hop.ways.iter().filter_map(|way| way.next.as_ref()) {
            if known.len() < NODES_MAX && known.insert(next.clone()) {
                waiting.push_back((next.clone(), distance + 1));
            }
        }
        hops.push(hop);
    }
    Trace { target, r#loop: find_loop(&hops), hops }
}

fn look(target: IpAddr, node: &str, distance: usize, seen: &Seen, directory: &Directory) -> Hop {
    let mut hop =
        Hop { node: node.to_owned(), distance, prefix: None, ways: Vec::new(), kernel: None, agrees: true, end: None };
    if seen.interfaces.iter().flat_map(|link| &link.addresses).any(|address| address.net.addr() == target) {
        hop.prefix = Some(IpNet::from(target));
        hop.end = Some(End::Owner);
        return hop;
    }
    let route = seen.explanation.route.as_ref();
    if let Some((interface, net)) = connected(target, seen)
        && route.is_none_or(|route| route.prefix.prefix_len() <= net.prefix_len())
    {
        let next = directory.find(None, target).filter(|next| next != node);
        hop.end = next.is_none().then_some(End::Connected);
        hop.prefix = Some(net);
        hop.ways.push(Way { peer: None, interface, gateway: None, next });
        return hop;
    }
    let Some(route) = route else {
        hop.end = Some(End::NoRoute);
        return hop;
    };
    hop.prefix = Some(route.prefix);
    match route.kind.as_str() {
        "local" => hop.end = Some(End::Originator),
        "aggregate" => hop.end = Some(End::Dropped),
        _ if route.via.is_empty() => hop.end = Some(End::Unusable),
        _ => {
            hop.ways = route.via.iter().map(|via| way(via, &seen.neighbors, directory)).collect();
            hop.kernel.clone_from(&seen.explanation.kernel);
            // `kernel_sentence` says it so.
            hop.agrees = hop.kernel.as_ref().map_or(route.installed, |kernel| kernel.ends_with(", as wanted"));
            if hop.ways.iter().all(|way| way.next.is_none()) {
                let who: Vec<&str> = hop.ways.iter().filter_map(|way| way.peer.as_deref()).collect();
                let who = if who.is_empty() { "the next hop".to_owned() } else { who.join(" and ") };
                hop.end = Some(End::Unasked(format!("{who} cannot be asked from here")));
            }
        }
    }
    hop
}

/// The longest network of a link that holds the address.
fn connected(target: IpAddr, seen: &Seen) -> Option<(String, IpNet)> {
    let links =
        seen.interfaces.iter().filter(|link| link.kind.as_deref() != Some("loopback") && link.up && link.carrier);
    let nets = links.flat_map(|link| link.addresses.iter().map(|address| (link.name.clone(), address.net)));
    let (name, net) = nets.filter(|(_, net)| net.contains(&target)).max_by_key(|(_, net)| net.prefix_len())?;
    Some((name, net.trunc()))
}

fn way(via: &Via, neighbors: &[Neighbor], directory: &Directory) -> Way {
    let at = |peer: &&Neighbor| {
        peer.address == Some(via.gateway) && peer.interface.as_ref().is_none_or(|link| *link == via.interface)
    };
    let peer = neighbors.iter().find(at);
    Way {
        peer: peer.map(|peer| peer.name.clone()),
        interface: via.interface.clone(),
        gateway: Some(via.gateway),
        next: directory.find(peer, via.gateway),
    }
}

/// A way that comes back to itself; the first that is found from the start.
fn find_loop(hops: &[Hop]) -> Option<Vec<String>> {
    let by_name: BTreeMap<&str, &Hop> = hops.iter().map(|hop| (hop.node.as_str(), hop)).collect();
    let nexts = |node: &str| -> Vec<&str> {
        let ways = by_name.get(node).map(|hop| hop.ways.as_slice()).unwrap_or_default();
        ways.iter().filter_map(|way| way.next.as_deref()).collect()
    };
    // Depth first, without recursion: the way so far, and what is left to be tried at each place of it.
    let first = hops.first()?.node.as_str();
    let mut way = vec![first];
    let mut left = vec![nexts(first)];
    let mut done = BTreeSet::new();
    while let Some(tries) = left.last_mut() {
        match tries.pop() {
            Some(next) => {
                if let Some(at) = way.iter().position(|node| *node == next) {
                    let round = way[at..].iter().chain([&next]);
                    return Some(round.map(|node| (*node).to_owned()).collect());
                }
                if !done.contains(next) {
                    way.push(next);
                    left.push(nexts(next));
                }
            }
            None => {
                left.pop();
                done.extend(way.pop());
            }
        }
    }
    None
}
