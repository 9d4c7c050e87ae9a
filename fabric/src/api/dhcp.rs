//! The relay of DHCP as the API and the tables show it.

use crate::dhcp::{Counts, Dropped, Family, Holder, Port};
use crate::node::Node;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
    /// Whom messages of machines go to; those of DHCPv6 to the IPv6 addresses among them.
    pub servers: Vec<IpAddr>,
    /// Whom servers answer.
    pub giaddr: Ipv4Addr,
    /// The router that machines are told, with its network.
    pub gateway: Ipv4Net,
    /// Whom servers of DHCPv6 answer; absent: DHCPv6 is not relayed.
    pub source6: Option<Ipv6Addr>,
    /// By which these servers know the rack, with its network.
    pub gateway6: Option<Ipv6Net>,
    /// Ports have no address, and machines routes of their own.
    pub unnumbered: bool,
    /// Server ports that can be used, by their number in the kernel; each for DHCPv4, and for DHCPv6 if that is relayed.
    pub ports: Vec<DhcpPort>,
    /// Messages that came from servers and went nowhere, and why.
    pub dropped: BTreeMap<Dropped, u64>,
}

/// A server port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpPort {
    /// Its name.
    pub name: String,
    /// `ipv4` or `ipv6`.
    pub family: Family,
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
    pub address: IpAddr,
    /// To which network card: `52:54:00:69:01:01`; by DHCPv6 that which the DUID names, if it does.
    pub mac: Option<String>,
    /// By DHCPv6: to whom, in hexadecimal digits (RFC 8415 §11).
    pub duid: Option<String>,
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
            mac: lease.holder.mac(),
            duid: match &lease.holder {
                Holder::Mac(_) => None,
                Holder::Duid(duid) => Some(duid.clone()),
            },
            port: lease.port.clone(),
            left_s: lease.until.since(now).as_secs(),
            routed: node.routes_lease(lease.address),
        })
        .collect();
    let is_on = |lease: &DhcpLease, name: &str, family| lease.port == name && Family::of(lease.address) == family;
    let count = |name: &str, family| leases.iter().filter(|lease| is_on(lease, name, family)).count();
    let port = |(port, family, counts): (Option<&Port>, Family, &Counts)| {
        let port = port?;
        Some(DhcpPort {
            name: port.name.clone(),
            family,
            to_servers: counts.to_servers,
            to_clients: counts.to_clients,
            leases: count(&port.name, family).try_into().unwrap_or(u64::MAX),
            dropped: counts.dropped.clone(),
        })
    };
    let mut dropped = BTreeMap::new();
    for (_, _, counts) in relay.counts().filter(|(port, ..)| port.is_none()) {
        for (why, count) in &counts.dropped {
            *dropped.entry(*why).or_default() += count;
        }
    }
    let config = node.config().relay.as_ref();
    let relay = config.map(|config| DhcpRelay {
        servers: config.all_servers(),
        giaddr: config.giaddr,
        gateway: config.gateway,
        source6: config.v6.as_ref().map(|v6| v6.source),
        gateway6: config.v6.as_ref().map(|v6| v6.gateway),
        unnumbered: config.unnumbered,
        ports: relay.counts().filter_map(port).collect(),
        dropped,
    });
    Dhcp { relay, leases }
}
