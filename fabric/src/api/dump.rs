//! The table with all attributes, a page at a time: what `weft mrt dump` writes down.

use super::Selection;
use crate::node::Node;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::speaker::{DumpedPath, DumpedRoute};
use weft_bgp::time::Instant;
use weft_bgp::types::{IpNet, NextHop, PeerId};

/// A page of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDump {
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Whose paths these are, with the first page only.
    pub peers: Vec<TablePeer>,
    /// In order of family and prefix.
    pub routes: Vec<TableRoute>,
    /// Ask for what comes `after` this; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<IpNet>,
}

/// Whose paths a dump holds; this speaker itself has one entry for what it originates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePeer {
    /// As paths name it.
    pub peer: u32,
    /// Its identifier.
    pub router_id: Ipv4Addr,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
}

/// A prefix with its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths.
    pub paths: Vec<TablePath>,
}

/// A path, after the import policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePath {
    /// Whose.
    pub peer: u32,
    /// The peer's path identifier, 0 without (RFC 7911 §3).
    pub path_id: u32,
    /// Seconds since it came.
    pub age_s: u64,
    /// Through what.
    pub next_hop: IpAddr,
    /// The link-local address that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_local: Option<Ipv6Addr>,
    /// Path attributes without the next hop, as on the wire with four-octet AS numbers, in hexadecimal.
    pub attributes: String,
}

impl TablePath {
    /// The next hop in one.
    #[must_use]
    pub const fn hop(&self) -> NextHop {
        NextHop { addr: self.next_hop, link_local: self.link_local }
    }

    /// The attributes as octets; `None` when they are no hexadecimal.
    #[must_use]
    pub fn block(&self) -> Option<Vec<u8>> {
        let (pairs, rest) = self.attributes.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
    }
}

/// Answers from the table.
pub(super) fn page(node: &Node, now: Instant, selection: &Selection) -> TableDump {
    let speaker = node.speaker();
    let (after, limit) = match selection {
        Selection::Page { after, limit } => (*after, *limit),
        // One prefix: that which covers the target.
        Selection::One(target) => {
            let covering = speaker.route_to(&target.net()).map(|info| info.prefix);
            let routes = covering.and_then(|prefix| speaker.dump_one(&prefix)).map(|found| route(now, found));
            return answer(node, true, routes.into_iter().collect(), None);
        }
    };
    let found = speaker.dump(after, limit);
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.prefix);
    answer(node, after.is_none(), found.into_iter().map(|found| route(now, found)).collect(), next)
}

fn answer(node: &Node, with_peers: bool, routes: Vec<TableRoute>, next: Option<IpNet>) -> TableDump {
    let peers = if with_peers { node.speaker().dumped_peers() } else { Vec::new() };
    let peers = peers.into_iter().map(|peer| TablePeer {
        peer: peer.id.0,
        router_id: peer.router_id,
        address: peer.address,
        asn: peer.asn.0,
    });
    TableDump { router_id: node.config().speaker.router_id, peers: peers.collect(), routes, next }
}

fn route(now: Instant, route: DumpedRoute) -> TableRoute {
    let path = |path: DumpedPath| {
        let PeerId(peer) = path.peer;
        TablePath {
            peer,
            path_id: path.id,
            age_s: now.as_secs().saturating_sub(u64::from(path.since_s)),
            next_hop: path.next_hop.addr,
            link_local: path.next_hop.link_local,
            attributes: hexadecimal(&path.block),
        }
    };
    TableRoute { prefix: route.prefix, paths: route.paths.into_iter().map(path).collect() }
}

fn hexadecimal(octets: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    octets.iter().flat_map(|octet| [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]).collect()
}
