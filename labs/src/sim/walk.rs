//! Follows packets through the forwarding tables, hop by hop and over every member of every ECMP set.

use super::fib::Lookup;
use super::network::{Network, NodeId, Port};
use super::node::Machine;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// Where packets of a flow end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// At a node that has the address.
    Reached(NodeId),
    /// No route there.
    NoRoute(NodeId),
    /// Dropped on purpose there.
    Discard(NodeId),
    /// The node sends it to somebody who does not answer.
    Silent(NodeId, IpAddr),
    /// In a circle through these.
    Loop(Vec<NodeId>),
}

impl Fate {
    /// With names.
    #[must_use]
    pub fn show(&self, machines: &[Machine]) -> String {
        let name = |node: &NodeId| machines[node.0].name.as_str();
        match self {
            Self::Reached(node) => format!("reaches {}", name(node)),
            Self::NoRoute(node) => format!("{} has no route", name(node)),
            Self::Discard(node) => format!("{} discards", name(node)),
            Self::Silent(node, gateway) => format!("{} sends to {gateway}, which does not answer", name(node)),
            Self::Loop(circle) => {
                format!("loop {}", circle.iter().map(name).collect::<Vec<_>>().join(" → "))
            }
        }
    }
}

/// The network as packets see it.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub(super) network: &'a Network,
    pub(super) machines: &'a [Machine],
}

impl fmt::Debug for Plane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}

impl Plane<'_> {
    /// Who answers for an address on the segment of a port.
    #[must_use]
    pub fn owner(&self, port: Port, address: IpAddr) -> Option<Port> {
        let heard = self.network.reach(port).iter().map(|(port, _)| *port);
        heard.into_iter().find(|far| self.machines[far.node.0].owns(address, far.link))
    }

    /// Every way a packet from a node to an address can end.
    #[must_use]
    pub fn fates(&self, from: NodeId, target: IpAddr) -> BTreeSet<Fate> {
        let mut walk = Walk { plane: *self, target, path: Vec::new(), done: BTreeSet::new(), fates: BTreeSet::new() };
        walk.visit(from);
        walk.fates
    }

    /// Circles that packets to an address can be caught in, from anywhere.
    #[must_use]
    pub fn loops(&self, target: IpAddr) -> BTreeSet<Fate> {
        let mut walk = Walk { plane: *self, target, path: Vec::new(), done: BTreeSet::new(), fates: BTreeSet::new() };
        for node in 0..self.machines.len() {
            if self.machines[node].powered {
                walk.visit(NodeId(node));
            }
        }
        walk.fates.retain(|fate| matches!(fate, Fate::Loop(_)));
        walk.fates
    }
}

struct Walk<'a> {
    plane: Plane<'a>,
    target: IpAddr,
    path: Vec<NodeId>,
    done: BTreeSet<NodeId>,
    fates: BTreeSet<Fate>,
}

impl Walk<'_> {
    fn visit(&mut self, node: NodeId) {
        if let Some(at) = self.path.iter().position(|seen| *seen == node) {
            let mut circle = self.path[at..].to_vec();
            // The same circle, wherever it was entered.
            let least = circle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
            circle.rotate_left(least);
            self.fates.insert(Fate::Loop(circle));
            return;
        }
        if !self.done.insert(node) {
            return;
        }
        self.path.push(node);
        let machine = &self.plane.machines[node.0];
        match machine.fib.lookup(self.target, &machine.links) {
            Lookup::Local => {
                self.fates.insert(Fate::Reached(node));
            }
            Lookup::Discard => {
                self.fates.insert(Fate::Discard(node));
            }
            Lookup::NoRoute => {
                self.fates.insert(Fate::NoRoute(node));
            }
            Lookup::Connected(link) => self.follow(Port { node, link }, self.target),
            Lookup::Hops(hops) => {
                for hop in hops {
                    self.follow(Port { node, link: hop.link }, hop.gateway);
                }
            }
        }
        self.path.pop();
    }

    fn follow(&mut self, port: Port, gateway: IpAddr) {
        match self.plane.owner(port, gateway) {
            Some(next) => self.visit(next.node),
            None => {
                self.fates.insert(Fate::Silent(port.node, gateway));
            }
        }
    }
}
