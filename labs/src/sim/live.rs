//! A running fabric as a simulated network: what each daemon says about itself (configuration in force, interfaces, neighbors, routes) becomes
//! a topology whose nodes run the same. Cables follow from who hears whom (`cables`); neighbors that are none of the daemons asked become nodes
//! that tell what those tell (`outside`). Whether the model is the fabric is looked at, not believed: [`differences`].

mod cables;
mod outside;

use super::Sim;
use super::network::NodeId;
use super::scenario::World;
use crate::topology::{Bridge, Topology};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use weft_bgp::speaker::Originate;
use weft_bgp::types::IpNet;
use weft_fabric::api::{
    self, BgpRoute, Body, Interface, MAX_LIMIT, Neighbor, OriginatedRoute, Question, Route, Selection, Surroundings,
};
use weft_fabric::config::{self, NodeConfig};
use weft_fabric::record::Written;

/// Differences that are told.
const TOLD: usize = 100;

/// What a daemon says.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The configuration in force.
    pub config: Written,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its peers.
    pub neighbors: Vec<Neighbor>,
    /// Where packets go.
    pub routes: Vec<Route>,
    /// Every path of every prefix.
    pub paths: Vec<BgpRoute>,
    /// What it originates.
    pub originated: Vec<OriginatedRoute>,
}

/// All daemons, by name.
pub type Fabric = BTreeMap<String, Seen>;

/// The network that these daemons are, and what of it could not be taken over, as sentences.
///
/// # Errors
/// When no network can be made of it, as a text for a person.
pub fn world(fabric: &Fabric) -> Result<(World, Vec<String>), String> {
    let (outside, mut notes) = outside::find(fabric);
    let cables = cables::find(fabric, &outside)?;
    let mut nodes: BTreeMap<&str, serde_json::Value> = fabric.keys().map(|name| (name.as_str(), json!({}))).collect();
    nodes.extend(outside.keys().map(|name| (name.as_str(), json!({}))));
    let links: Vec<_> = cables
        .pairs
        .iter()
        .map(|[(a, x), (b, y)]| json!({"endpoints": [format!("{a}:{x}"), format!("{b}:{y}")]}))
        .collect();
    let file = json!({"name": "live", "topology": {"defaults": {"kind": "linux", "image": "weft"}, "nodes": nodes, "links": links}});
    let mut topology = Topology::parse(&file.to_string(), Path::new("/live.clab.yml"), &|_| None)
        .map_err(|error| error.to_string())?;
    let mut configs = BTreeMap::new();
    for (name, seen) in fabric {
        let config = node_config(name, seen)?;
        if let Some(spec) = topology.nodes.get_mut(name) {
            spec.addresses = cables.addresses_of(name);
            spec.addresses.insert("lo".to_owned(), loopback(seen, &config));
            for ((_, bridge), ports) in cables.bridges.iter().filter(|((node, _), _)| node == name) {
                let addresses = spec.addresses.remove(bridge).unwrap_or_default();
                spec.bridges.insert(bridge.clone(), Bridge { ports: ports.clone(), addresses });
            }
        }
        notes.extend(states(name, seen));
        configs.insert(name.clone(), config);
    }
    for (name, stranger) in &outside {
        let config = config::parse(name, &stranger.config(fabric)).and_then(|config| config.node());
        configs.insert(name.clone(), config.map_err(|error| error.to_string())?);
        if let Some(spec) = topology.nodes.get_mut(name) {
            spec.addresses = cables.addresses_of(name);
        }
    }
    Ok((World::made(topology, configs), notes))
}

fn node_config(name: &str, seen: &Seen) -> Result<NodeConfig, String> {
    let parsed = config::parse(&format!("{name}: {}", seen.config.file), &seen.config.text);
    let mut config = parsed.and_then(|config| config.node()).map_err(|error| error.to_string())?;
    dress(&mut config, seen);
    Ok(config)
}

/// Gives the nodes of a network what the daemons of the same names announce beside their files, and the addresses that go with it.
pub fn dress_all(world: &mut World, fabric: &Fabric) {
    for (name, seen) in fabric {
        let Some(config) = world.configs_mut().get_mut(name) else { continue };
        dress(config, seen);
        let addresses = loopback(seen, config);
        if let Some(spec) = world.topology.nodes.get_mut(name) {
            let own = spec.addresses.entry("lo".to_owned()).or_default();
            let new: Vec<IpNet> = addresses.into_iter().filter(|net| !own.contains(net)).collect();
            own.extend(new);
        }
    }
}

/// Daemons with neighbors that are none of the daemons asked: of these the paths are needed too ([`Seen::paths`]).
#[must_use]
pub fn beside_strangers(fabric: &Fabric) -> BTreeSet<String> {
    outside::find(fabric).0.values().flat_map(outside::Stranger::beside).collect()
}

/// What a daemon announces beside its file, for services, programs and other software, is there in the model too: nobody checks services there.
fn dress(config: &mut NodeConfig, seen: &Seen) {
    let services = std::mem::take(&mut config.vips);
    let is_configured = |prefix: &IpNet| services.iter().any(|vip| vip.addresses.contains(prefix));
    for route in seen.originated.iter().filter(|route| route.announced) {
        let is_to_be = match route.source.as_str() {
            "vip" => is_configured(&route.prefix),
            "api" | "kernel" => true,
            // By the node itself, in the model too.
            _ => false,
        };
        if is_to_be && config.originate.iter().all(|own| own.prefix != route.prefix) {
            config.originate.push(Originate {
                prefix: route.prefix,
                communities: route.communities.iter().filter_map(|text| community(text)).collect(),
                large_communities: route.large_communities.iter().filter_map(|text| large_community(text)).collect(),
                weight: route.weight,
                why: route.why.clone(),
            });
        }
    }
}

fn community(text: &str) -> Option<u32> {
    let (high, low) = text.split_once(':')?;
    Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?))
}

fn large_community(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    parts.try_into().ok()
}

/// Addresses on the loopback interface that the daemon of the model does not put there itself.
fn loopback(seen: &Seen, config: &NodeConfig) -> Vec<IpNet> {
    let lo = seen.interfaces.iter().filter(|link| link.name == "lo").flat_map(|link| &link.addresses);
    let foreign = lo.map(|address| address.net).filter(|net| !net.addr().is_loopback());
    foreign.filter(|net| !config.addresses.contains(net)).collect()
}

/// What of a daemon's state the model does not have.
fn states(name: &str, seen: &Seen) -> Vec<String> {
    let is_down = |neighbor: &&Neighbor| neighbor.state != "Established";
    let down = seen.neighbors.iter().filter(is_down).map(|neighbor| {
        format!(
            "{name}: the session with {} is {} now; where it is not for want of a link, it comes up in the model",
            neighbor.name, neighbor.state
        )
    });
    down.collect()
}

/// Where a simulated network at rest is not as the daemons say, as sentences; at most a hundred, and the number of the others.
#[must_use]
pub fn differences(sim: &Sim, fabric: &Fabric) -> Vec<String> {
    let mut found = Vec::new();
    for (name, seen) in fabric {
        let live = ways(&seen.routes);
        let model = ways(&modelled(sim, sim.id(name)));
        for prefix in live.keys().chain(model.keys()).collect::<BTreeSet<_>>() {
            let (live, model) = (live.get(prefix), model.get(prefix));
            if live != model {
                let [live, model] = [live, model].map(|way| way.map_or("no route", String::as_str));
                found.push(format!("{name}: {prefix}: {live}; in the model {model}"));
            }
        }
    }
    if found.len() > TOLD {
        let more = found.len() - TOLD;
        found.truncate(TOLD);
        found.push(format!("and {more} more"));
    }
    found
}

/// What the same question to a simulated daemon is answered.
fn modelled(sim: &Sim, node: NodeId) -> Vec<Route> {
    let Some(daemon) = &sim.machine(node).daemon else {
        return Vec::new();
    };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Question::Routes(Selection::Page { after, limit: MAX_LIMIT });
        let Body::Routes(routes) = api::answer(daemon, sim.now(), &Surroundings::default(), &page).body else {
            return all;
        };
        all.extend(routes.routes);
        after = routes.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Routes as a person compares them: what is used, over which interfaces with which weights.
fn ways(routes: &[Route]) -> BTreeMap<IpNet, String> {
    let way = |route: &Route| {
        let via: BTreeSet<String> =
            route
                .via
                .iter()
                .map(|via| {
                    if via.weight == 1 { via.interface.clone() } else { format!("{} ×{}", via.interface, via.weight) }
                })
                .collect();
        let via = via.into_iter().collect::<Vec<_>>().join(", ");
        if via.is_empty() { route.kind.clone() } else { format!("{} via {via}", route.kind) }
    };
    routes.iter().map(|route| (route.prefix, way(route))).collect()
}

#[cfg(test)]
mod tests;
