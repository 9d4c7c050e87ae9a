//! What is known of a running lab: which sessions stand on which link, and how much goes over it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::topology::{Endpoint, Topology};

/// An interface: node and name.
pub type Port = (String, String);

/// All of a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// By name.
    pub nodes: BTreeMap<String, NodeSeen>,
    /// Interfaces that are ends of links.
    pub ends: BTreeMap<Port, EndSeen>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeSeen {
    /// `running`, or `exited` when a daemon does not run.
    pub state: String,
    /// Sessions established, of all; `None`: no daemon that can be asked.
    pub sessions: Option<(usize, usize)>,
}

/// One end of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndSeen {
    /// Whether it has carrier.
    pub up: bool,
    /// What it sends.
    pub bits_per_s: u64,
    /// Sessions of its node to the far end: established, of all.
    pub sessions: (usize, usize),
}

/// A link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LinkSeen {
    /// Whether both ends have carrier.
    pub up: bool,
    /// Sessions over it: established, of all.
    pub sessions: (usize, usize),
    /// What either end sends.
    pub bits_per_s: [u64; 2],
}

/// A session as its own node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of an unnumbered one.
    pub interface: Option<String>,
    /// Of the peer.
    pub address: Option<IpAddr>,
    /// Whether it stands.
    pub established: bool,
}

impl Seen {
    /// A link; `None` when neither end was seen.
    pub(super) fn link(&self, a: &Endpoint, z: &Endpoint) -> Option<LinkSeen> {
        let end = |end: &Endpoint| self.ends.get(&(end.node.clone(), end.interface.clone())).copied();
        if end(a).is_none() && end(z).is_none() {
            return None;
        }
        let ends = [end(a).unwrap_or_default(), end(z).unwrap_or_default()];
        // a daemon that cannot be asked says nothing of its own end; one that can says of the session what it knows
        let all = ends.iter().map(|end| end.sessions.1).max().unwrap_or(0);
        let up = ends.iter().filter(|end| end.sessions.1 > 0).map(|end| end.sessions.0).min().unwrap_or(0);
        Some(LinkSeen {
            up: ends.iter().all(|end| end.up),
            sessions: (up, all),
            bits_per_s: ends.map(|end| end.bits_per_s),
        })
    }

    /// Notes sessions at the ends of the links that they go over, those between addresses of no link at the first between the two nodes; those to far
    /// routers go over none.
    pub fn add_sessions(
        &mut self,
        topology: &Topology,
        sessions: &BTreeMap<String, Vec<Session>>,
        owners: &BTreeMap<IpAddr, Port>,
    ) {
        let mut far_ends: BTreeMap<(&str, &str), &Endpoint> = BTreeMap::new();
        let mut between: BTreeMap<(&str, &str), &Endpoint> = BTreeMap::new();
        for link in &topology.links {
            between.entry((&link.a.node, &link.b.node)).or_insert(&link.a);
            between.entry((&link.b.node, &link.a.node)).or_insert(&link.b);
            far_ends.insert((&link.a.node, &link.a.interface), &link.b);
            far_ends.insert((&link.b.node, &link.b.interface), &link.a);
        }
        for (node, sessions) in sessions {
            for session in sessions {
                let near =
                    session.interface.clone().filter(|name| far_ends.contains_key(&(node.as_str(), name.as_str())));
                let near = near.or_else(|| {
                    let (other, interface) = owners.get(session.address.as_ref()?)?;
                    let near = far_ends.get(&(other.as_str(), interface.as_str())).copied();
                    let near = near.filter(|end| end.node == *node);
                    // an address of a bridge is behind each of its ports, one of `lo` behind each link between the two
                    near.or_else(|| between.get(&(node.as_str(), other.as_str())).copied())
                        .map(|end| end.interface.clone())
                });
                if let Some(near) = near {
                    let end = self.ends.entry((node.clone(), near)).or_default();
                    end.sessions.0 += usize::from(session.established);
                    end.sessions.1 += 1;
                }
            }
        }
    }
}
