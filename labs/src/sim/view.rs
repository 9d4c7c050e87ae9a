//! What a simulated network is asked: its time, nodes, cables, sessions and counters. Changes nothing.

use super::network::{CableId, Network, NodeId};
use super::node::Machine;
use super::pipe::{self, Pipe};
use super::walk::Plane;
use super::{Counters, Sim};
use std::collections::{BTreeMap, BTreeSet};
use weft_bgp::event::Event as BgpEvent;
use weft_bgp::time::Instant;
use weft_bgp::types::PeerId;

impl Sim {
    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// A node by name.
    ///
    /// # Panics
    /// When the topology has none of that name.
    #[must_use]
    #[expect(clippy::panic, reason = "a scenario names what the topology has")]
    pub fn id(&self, name: &str) -> NodeId {
        // Machines stand in the order of their names, as the topology's nodes do.
        let at = self.machines.binary_search_by(|machine| machine.name.as_str().cmp(name));
        NodeId(at.unwrap_or_else(|_| panic!("the topology has no node {name}")))
    }

    /// A machine.
    #[must_use]
    pub fn machine(&self, node: NodeId) -> &Machine {
        &self.machines[node.0]
    }

    /// All machines, by [`NodeId`].
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The cable between two nodes.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[expect(clippy::panic, reason = "a scenario names what the topology has")]
    pub fn cable(&self, a: &str, b: &str) -> CableId {
        let cable = self.network.between(self.id(a), self.id(b));
        cable.unwrap_or_else(|| panic!("there is no cable between {a} and {b}"))
    }

    /// The network as packets see it.
    #[must_use]
    pub fn plane(&self) -> Plane<'_> {
        Plane { network: &self.network, machines: &self.machines }
    }

    /// Cables, bridges and power.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Both ends of every connection between these nodes whose session stands at both: node and peer there.
    #[must_use]
    pub fn talks(&self, among: &BTreeSet<NodeId>) -> Vec<[(NodeId, PeerId); 2]> {
        let standing = |node: &NodeId| {
            let speaker = self.machines[node.0].daemon.as_ref()?.speaker();
            let peers = speaker.neighbors(self.now).into_iter().filter(|info| info.state == "Established");
            Some((*node, peers.map(|info| info.id).collect::<BTreeSet<PeerId>>()))
        };
        let standing: BTreeMap<NodeId, BTreeSet<PeerId>> = among.iter().filter_map(standing).collect();
        let peer = |end: &pipe::End| {
            let known = standing.get(&end.port.node).filter(|_| end.open)?;
            let peer = self.machines[end.port.node.0].daemon.as_ref()?.speaker().peer_of(end.conn)?;
            known.contains(&peer).then_some((end.port.node, peer))
        };
        let both = |pipe: &Pipe| Some([peer(&pipe.ends[0])?, peer(&pipe.ends[1])?]);
        self.pipes.values().filter_map(both).flat_map(|[near, far]| [[near, far], [far, near]]).collect()
    }

    /// All nodes.
    #[must_use]
    pub fn everybody(&self) -> BTreeSet<NodeId> {
        (0..self.machines.len()).map(NodeId).collect()
    }

    /// How many sessions stand, counted once for each end.
    #[must_use]
    pub fn session_ends(&self) -> usize {
        self.machines
            .iter()
            .filter_map(|machine| machine.daemon.as_deref())
            .map(weft_fabric::node::Node::established)
            .sum()
    }

    /// Paths learnt from peers, in all tables together.
    #[must_use]
    pub fn paths(&self) -> u64 {
        let daemons = self.machines.iter().filter_map(|machine| machine.daemon.as_ref());
        daemons.flat_map(|daemon| daemon.speaker().summary().paths_received).sum()
    }

    /// What the daemons reported of sessions and convergence since `from`.
    pub fn events_since(&self, from: Instant) -> impl Iterator<Item = (Instant, &str, &BgpEvent)> {
        let known = self.events.iter().filter(move |(at, _, _)| *at >= from);
        known.map(|(at, node, event)| (*at, self.machines[node.0].name.as_str(), event))
    }

    /// When something happened last that is more than a keepalive.
    #[must_use]
    pub const fn last_activity(&self) -> Instant {
        self.last_activity
    }
}
