//! Who is joined to whom: two interfaces are ends of a cable if one is found as router on the link of the other, or if they alone share a
//! network; more than two hang on the bridge among them.

use super::Fabric;
use super::outside::Stranger;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weft_bgp::types::IpNet;
use weft_fabric::api::Interface;

/// An interface of a node.
pub(super) type End = (String, String);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Cables {
    /// Both ends of each.
    pub(super) pairs: BTreeSet<[End; 2]>,
    /// Bridges, with the names of ports that the model gives them.
    pub(super) bridges: BTreeMap<End, Vec<String>>,
    /// Addresses of the interfaces that are joined to something.
    addresses: BTreeMap<End, Vec<IpNet>>,
}

/// Interfaces that share a network, and what each is called there.
type Segments = BTreeMap<BTreeSet<End>, IpNet>;

impl Cables {
    /// Addresses of a node by interface.
    pub(super) fn addresses_of(&self, node: &str) -> BTreeMap<String, Vec<IpNet>> {
        let own = self.addresses.iter().filter(|((name, _), _)| name == node);
        own.map(|((_, interface), addresses)| (interface.clone(), addresses.clone())).collect()
    }

    fn join(&mut self, a: End, b: End) {
        let mut pair = [a, b];
        pair.sort();
        self.pairs.insert(pair);
    }
}

/// Finds them all.
pub(super) fn find(fabric: &Fabric, outside: &BTreeMap<String, Stranger>) -> Result<Cables, String> {
    let mut cables = Cables::default();
    discovered(fabric, outside, &mut cables);
    let mut bridges = BTreeSet::new();
    let mut networks: BTreeMap<IpNet, BTreeSet<End>> = BTreeMap::new();
    for (node, link) in links(fabric) {
        let end = (node.to_owned(), link.name.clone());
        if link.kind.as_deref() == Some("bridge") {
            bridges.insert(end.clone());
        }
        for net in numbered(link) {
            networks.entry(net.trunc()).or_default().insert(end.clone());
            cables.addresses.entry(end.clone()).or_default().push(net);
        }
    }
    for (name, stranger) in outside {
        for (interface, net) in stranger.addresses() {
            networks.entry(net.trunc()).or_default().insert((name.clone(), interface.clone()));
            cables.addresses.entry((name.clone(), interface)).or_default().push(net);
        }
    }
    let segments: Segments = networks.into_iter().map(|(net, ends)| (ends, net)).collect();
    for (ends, net) in segments {
        segment(&mut cables, ends.into_iter().collect(), net, &bridges)?;
    }
    let joined: BTreeSet<End> = cables.pairs.iter().flatten().cloned().chain(cables.bridges.keys().cloned()).collect();
    cables.addresses.retain(|end, _| joined.contains(end));
    Ok(cables)
}

/// Interfaces that can carry packets, but for the loopback ones and ports of bridges.
fn links(fabric: &Fabric) -> impl Iterator<Item = (&str, &Interface)> {
    let all = fabric.iter().flat_map(|(name, seen)| seen.interfaces.iter().map(move |link| (name.as_str(), link)));
    all.filter(|(_, link)| link.name != "lo" && link.up && link.carrier && link.master.is_none())
}

/// Addresses with a network that somebody else may be in.
fn numbered(link: &Interface) -> impl Iterator<Item = IpNet> {
    let all = link.addresses.iter().map(|address| address.net);
    all.filter(|net| net.prefix_len() < net.max_prefix_len() && !is_link_local(net.addr()))
}

fn is_link_local(address: IpAddr) -> bool {
    weft_fabric::link::is_link_local(address) || matches!(address, IpAddr::V4(v4) if v4.is_link_local())
}

/// The router that was found on the link of an unnumbered peer is at its other end.
fn discovered(fabric: &Fabric, outside: &BTreeMap<String, Stranger>, cables: &mut Cables) {
    let mut owners: BTreeMap<IpAddr, BTreeSet<End>> = BTreeMap::new();
    for (node, link) in links(fabric) {
        for address in link.addresses.iter().map(|address| address.net.addr()).filter(|one| is_link_local(*one)) {
            owners.entry(address).or_default().insert((node.to_owned(), link.name.clone()));
        }
    }
    for (node, link) in links(fabric) {
        let Some(found) = link.discovered else { continue };
        let end = (node.to_owned(), link.name.clone());
        let owners = owners.get(&IpAddr::V6(found));
        if let Some(far) = owners.filter(|owners| owners.len() == 1).and_then(BTreeSet::first) {
            cables.join(end, far.clone());
        } else if let Some((name, interface)) = outside
            .iter()
            .find_map(|(name, stranger)| stranger.unnumbered(node, &link.name).map(|interface| (name, interface)))
        {
            cables.join(end, (name.clone(), interface));
        }
    }
}

/// One network.
fn segment(cables: &mut Cables, ends: Vec<End>, net: IpNet, bridges: &BTreeSet<End>) -> Result<(), String> {
    let (hubs, others): (Vec<End>, Vec<End>) = ends.into_iter().partition(|end| bridges.contains(end));
    match (&hubs[..], &others[..]) {
        ([], [a, b]) => cables.join(a.clone(), b.clone()),
        // Nobody else of the fabric is there.
        ([], [] | [_]) | ([_], []) => {}
        ([hub], others) => {
            for other in others {
                let ports = cables.bridges.entry(hub.clone()).or_default();
                // Known already by its network of the other family.
                let known = cables.pairs.iter().any(|pair| {
                    pair.contains(other) && pair.iter().any(|(node, port)| *node == hub.0 && ports.contains(port))
                });
                if !known {
                    let port = format!("port{}.{}", ports.len() + 1, hub.1);
                    ports.push(port.clone());
                    cables.join((hub.0.clone(), port), other.clone());
                }
            }
        }
        (hubs, others) => {
            let all: Vec<String> =
                hubs.iter().chain(others).map(|(node, interface)| format!("{node}:{interface}")).collect();
            return Err(format!(
                "{net}: {} share this network, and not one bridge of theirs: who is joined to whom cannot be told\n  \
                 remedy: name the switch between them too, or give `plan` a topology file of the network as it is",
                all.join(", ")
            ));
        }
    }
    Ok(())
}
