//! Neighbors that are none of the daemons asked: for each a node that speaks BGP with the same AS and identifier, and announces what it
//! announces with paths as long.

use super::{Fabric, Seen};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use weft_bgp::types::IpNet;
use weft_fabric::api::Neighbor;

/// A neighbor outside, by its AS and identifier.
#[derive(Debug, Default)]
pub(super) struct Stranger {
    asn: u32,
    router_id: Option<Ipv4Addr>,
    /// Its sessions: with which node, under which name there, over which interface of that node, and where it is.
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    node: String,
    peer: String,
    link: String,
    address: Option<IpNet>,
    /// There is BFD on it.
    has_bfd: bool,
}

/// All of them by the names that the model gives them, and sentences about that.
pub(super) fn find(fabric: &Fabric) -> (BTreeMap<String, Stranger>, Vec<String>) {
    let own: BTreeSet<IpAddr> = fabric
        .values()
        .flat_map(|seen| &seen.interfaces)
        .flat_map(|link| &link.addresses)
        .map(|address| address.net.addr())
        .collect();
    let mut found: BTreeMap<(u32, Ipv4Addr), Stranger> = BTreeMap::new();
    let mut notes = Vec::new();
    for (node, seen) in fabric {
        for neighbor in seen.neighbors.iter().filter(|neighbor| neighbor.address.is_some_and(|at| !own.contains(&at))) {
            let (Some(asn), Some(router_id)) = (neighbor.remote_asn, neighbor.router_id) else { continue };
            let Some((link, address)) = place(seen, neighbor) else {
                notes.push(format!(
                    "{node}: {} is on no network of an interface: what it tells is not in the model",
                    neighbor.name
                ));
                continue;
            };
            let stranger = found.entry((asn, router_id)).or_default();
            (stranger.asn, stranger.router_id) = (asn, Some(router_id));
            let peer = neighbor.name.clone();
            stranger.sessions.push(Session {
                node: node.clone(),
                peer,
                link,
                address,
                has_bfd: neighbor.bfd.is_some(),
            });
        }
    }
    let named: BTreeMap<String, Stranger> =
        (1..).zip(found.into_values()).map(|(number, stranger)| (format!("outside{number}"), stranger)).collect();
    for (name, stranger) in &named {
        let with: Vec<String> = stranger.sessions.iter().map(|one| format!("{} of {}", one.peer, one.node)).collect();
        let asn = stranger.asn;
        notes.push(format!(
            "{name} stands for {}, AS {asn}: it was not asked, and announces what it announces now",
            with.join(", ")
        ));
    }
    (named, notes)
}

/// The interface that a neighbor is on, and its address with the length of that network; none for an unnumbered one.
fn place(seen: &Seen, neighbor: &Neighbor) -> Option<(String, Option<IpNet>)> {
    if let Some(link) = &neighbor.interface {
        return Some((link.clone(), None));
    }
    let address = neighbor.address?;
    let networks = seen.interfaces.iter().flat_map(|link| link.addresses.iter().map(move |one| (link, one.net)));
    let (link, net) = networks.filter(|(_, net)| net.contains(&address)).max_by_key(|(_, net)| net.prefix_len())?;
    Some((link.name.clone(), IpNet::new(address, net.prefix_len()).ok()))
}

impl Stranger {
    /// The daemons that it speaks with.
    pub(super) fn beside(&self) -> impl Iterator<Item = String> {
        self.sessions.iter().map(|session| session.node.clone())
    }

    /// Its interfaces with addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (String, IpNet)> {
        let numbered = self.sessions.iter().enumerate();
        numbered.filter_map(|(at, session)| Some((interface(at), session.address?)))
    }

    /// Its interface at the other end of this link.
    pub(super) fn unnumbered(&self, node: &str, link: &str) -> Option<String> {
        let is_there = |session: &Session| session.node == node && session.link == link && session.address.is_none();
        self.sessions.iter().position(is_there).map(interface)
    }

    /// A configuration for it.
    pub(super) fn config(&self, fabric: &Fabric) -> String {
        let (mut peers, mut by_path): (BTreeMap<String, Value>, BTreeMap<Vec<u32>, BTreeSet<IpNet>>) =
            Default::default();
        for (at, session) in self.sessions.iter().enumerate() {
            let Some(seen) = fabric.get(&session.node) else { continue };
            let asn = own_asn(seen);
            let mut peer = json!({"remote_asn": asn, "import": "accept-all", "export": "told"});
            if session.has_bfd {
                peer["bfd"] = true.into();
            }
            match session.address {
                None => peer["interface"] = interface(at).into(),
                Some(address) => peer["address"] = json!(near(seen, session, address)),
            }
            peers.insert(format!("{}-{at}", session.node), peer);
            for route in &seen.paths {
                for path in route.paths.iter().filter(|path| path.from == session.peer) {
                    by_path.entry(behind(&path.as_path)).or_default().insert(route.prefix);
                }
            }
        }
        let originate: BTreeSet<IpNet> = by_path.values().flatten().copied().collect();
        let sets: BTreeMap<String, &BTreeSet<IpNet>> =
            by_path.values().enumerate().map(|(at, prefixes)| (format!("set{at}"), prefixes)).collect();
        let rules: Vec<Value> = by_path
            .keys()
            .enumerate()
            .map(|(at, path)| {
                let matched = json!({"prefix": format!("set{at}")});
                if path.is_empty() {
                    json!({"match": matched, "then": "accept"})
                } else {
                    json!({"match": matched, "then": {"prepend": path, "do": "accept"}})
                }
            })
            .collect();
        json!({
            "asn": self.asn,
            "router_id": self.router_id,
            "peers": peers,
            "originate": originate,
            "policy": {"sets": sets, "told": rules},
        })
        .to_string()
    }
}

fn interface(at: usize) -> String {
    format!("eth{}", at + 1)
}

fn own_asn(seen: &Seen) -> Option<u32> {
    let config = weft_fabric::config::parse(&seen.config.file, &seen.config.text).ok()?;
    Some(config.asn)
}

/// The address of the daemon in the network that it shares with the stranger.
fn near(seen: &Seen, session: &Session, far: IpNet) -> Option<IpAddr> {
    let link = seen.interfaces.iter().find(|link| link.name == session.link)?;
    link.addresses.iter().map(|one| one.net).find(|net| net.contains(&far.addr())).map(|net| net.addr())
}

/// The AS numbers of a path behind the first, which is the stranger's own.
fn behind(path: &str) -> Vec<u32> {
    path.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect()
}
