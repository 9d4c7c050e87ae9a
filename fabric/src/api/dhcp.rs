//! The relay of DHCP as the API and the tables show it.

use crate::dhcp::{Counts, Dropped};
use crate::node::Node;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use weft_bgp::time::Instant;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp {
    /// What is relayed; absent: nothing is.
    pub relay: Option<DhcpRelay>,
    /// Leases that were acknowledged on server ports, by address.
    pub leases: Vec<DhcpLease>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpRelay {
    /// Whom messages of machines go to.
    pub servers: Vec<Ipv4Addr>,
    /// Whom servers answer.
    pub giaddr: Ipv4Addr,
    /// The router that machines are told, with its network.
    pub gateway: Ipv4Net,
    /// Ports have no address, and machines routes of their own.
    pub unnumbered: bool,
    /// Server ports that can be used, by their number in the kernel.
    pub ports: Vec<DhcpPort>,
    /// Messages that came from servers and went nowhere, and why.
    pub dropped: BTreeMap<Dropped, u64>,
}

/// A server port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpPort {
    /// Its name.
    pub name: String,
    /// Messages of machines that went to servers.
    pub to_servers: u64,
    /// Replies that went to machines.
    pub to_clients: u64,
    /// Leases in force.
    pub leases: u64,
    /// What went nowhere, and why.
    pub dropped: BTreeMap<Dropped, u64>,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpLease {
    /// What is lent.
    pub address: Ipv4Addr,
    /// To whom: `52:54:00:69:01:01`.
    pub mac: String,
    /// On which port.
    pub port: String,
    /// Seconds that are left.
    pub left_s: u64,
    /// Whether there is a route to it, by a port that can be used.
    pub routed: bool,
}

/// What a node relays.
pub(super) fn dhcp(node: &Node, now: Instant) -> Dhcp {
    let relay = node.relay();
    let leases: Vec<DhcpLease> = relay
        .leases()
        .map(|lease| DhcpLease {
            address: lease.address,
            mac: lease.client(),
            port: lease.port.clone(),
            left_s: lease.until.since(now).as_secs(),
            routed: node.routes_lease(lease.address),
        })
        .collect();
    let count = |name: &str| leases.iter().filter(|lease| lease.port == name).count().try_into().unwrap_or(u64::MAX);
    let port = |(port, counts): (&crate::dhcp::Port, &Counts)| DhcpPort {
        name: port.name.clone(),
        to_servers: counts.to_servers,
        to_clients: counts.to_clients,
        leases: count(&port.name),
        dropped: counts.dropped.clone(),
    };
    let config = node.config().relay.as_ref();
    let relay = config.map(|config| DhcpRelay {
        servers: config.servers.clone(),
        giaddr: config.giaddr,
        gateway: config.gateway,
        unnumbered: config.unnumbered,
        ports: relay.ports().map(port).collect(),
        dropped: relay.counts().dropped.clone(),
    });
    Dhcp { relay, leases }
}
