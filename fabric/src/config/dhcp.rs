//! Section `dhcp`: whom a switch relays DHCP for, and to. As written, and what it comes to.

use super::file::Config;
use super::import::is_named;
use super::node::{ApiConfig, Faults, NodeConfig};
use crate::dhcp::PORTS_MAX;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Most servers: each hears every message.
const SERVERS_MAX: usize = 8;

/// Section `dhcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    /// Relays for machines on server ports.
    pub relay: Option<Relay>,
}

/// `dhcp.relay`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Addresses of the servers: the service address, mostly. Those of IPv6 are sent DHCPv6.
    pub servers: Vec<IpAddr>,
    /// Server ports: names of interfaces, or a beginning and `*`.
    pub ports: Vec<String>,
    /// The rack's router as machines are told it, with the length of its network.
    pub gateway: Ipv4Net,
    /// An address of the rack's IPv6 network with the length of that: by it servers of DHCPv6 know the rack. There must be one for them.
    pub gateway6: Option<Ipv6Net>,
    /// Whom servers answer; the first IPv4 address of `addresses` unless set.
    pub giaddr: Option<Ipv4Addr>,
    /// Ports have no address: the gateway is ours on all of them, and each machine is reached by a route of its own; default false.
    #[serde(default)]
    pub unnumbered: bool,
    /// Where leases are kept over a restart; beside the API socket unless set.
    pub file: Option<PathBuf>,
}

/// What the section comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Addresses of the servers.
    pub servers: Vec<Ipv4Addr>,
    /// Names of interfaces, or their beginning and `*`.
    pub ports: Vec<String>,
    /// The rack's router and its network.
    pub gateway: Ipv4Net,
    /// Our address to the servers.
    pub giaddr: Ipv4Addr,
    /// Ports have no address.
    pub unnumbered: bool,
    /// Where leases are kept over a restart.
    pub file: PathBuf,
    /// DHCPv6; `None` = not relayed.
    pub v6: Option<Relay6Config>,
}

/// What the section comes to for DHCPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay6Config {
    /// Addresses of the servers.
    pub servers: Vec<Ipv6Addr>,
    /// The rack's network, and what servers know it by.
    pub gateway: Ipv6Net,
    /// Our address to the servers.
    pub source: Ipv6Addr,
}

impl RelayConfig {
    /// Whether an interface is a server port.
    #[must_use]
    pub fn is_port(&self, interface: &str) -> bool {
        self.ports.iter().any(|pattern| is_named(pattern, interface))
    }

    /// Addresses of the servers, also those of DHCPv6.
    #[must_use]
    pub fn all_servers(&self) -> Vec<IpAddr> {
        let v6 = self.v6.iter().flat_map(|v6| &v6.servers).copied().map(IpAddr::V6);
        self.servers.iter().copied().map(IpAddr::V4).chain(v6).collect()
    }
}

/// Beside the API socket, unless the configuration says where.
const FILE: &str = "leases.json";

/// The section with its defaults.
pub(super) fn relay(config: &Config, faults: &mut Faults<'_>) -> Option<RelayConfig> {
    let relay = config.dhcp.relay.as_ref()?;
    let mut own = config.addresses.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(net.addr()),
        IpNet::V6(_) => None,
    });
    check_servers(relay, faults);
    check_ports(config, relay, faults);
    let gateway = relay.gateway;
    if gateway.prefix_len() > 30 || gateway.addr() == gateway.network() || gateway.addr() == gateway.broadcast() {
        let message = format!("{gateway} is no address of a machine with its network");
        faults.add(
            "dhcp.relay.gateway",
            message,
            "write the rack's router with the length of its network: 10.69.1.1/26",
        );
    }
    let Some(giaddr) = relay.giaddr.or_else(|| own.next()) else {
        faults.add("dhcp.relay", "there is no address that servers could answer", "add `addresses: [10.69.255.1/32]`");
        return None;
    };
    if giaddr != gateway.addr() && !config.addresses.iter().any(|net| net.addr() == giaddr) {
        faults.add(
            "dhcp.relay.giaddr",
            format!("{giaddr} is no address of this node"),
            "write one of `addresses`, or that of `gateway`",
        );
    }
    let v6 = relay6(config, relay, faults);
    let v4 = relay.servers.iter().filter_map(|server| match server {
        IpAddr::V4(server) => Some(*server),
        IpAddr::V6(_) => None,
    });
    let (servers, ports) = (v4.collect(), relay.ports.clone());
    let beside = || config.api.socket.clone().unwrap_or_else(|| ApiConfig::default().socket).with_file_name(FILE);
    let file = relay.file.clone().unwrap_or_else(beside);
    Some(RelayConfig { servers, ports, gateway, giaddr, unnumbered: relay.unnumbered, file, v6 })
}

/// The part for DHCPv6.
fn relay6(config: &Config, relay: &Relay, faults: &mut Faults<'_>) -> Option<Relay6Config> {
    let servers = relay.servers.iter().filter_map(|server| match server {
        IpAddr::V6(server) => Some(*server),
        IpAddr::V4(_) => None,
    });
    let servers: Vec<Ipv6Addr> = servers.collect();
    let gateway = match relay.gateway6 {
        None if servers.is_empty() => return None,
        None => {
            let message = "there is a server of DHCPv6, and it would not know which rack asks";
            faults.add("dhcp.relay", message, "add an address of the rack's network: `gateway6: fd00:69:0:4::1/64`");
            return None;
        }
        Some(gateway) => gateway,
    };
    if servers.is_empty() {
        let message = "no server has an IPv6 address, so that DHCPv6 is not relayed";
        faults.add("dhcp.relay.gateway6", message, "add the service address to `servers`: [10.72.0.1, fd00:72::1]");
    }
    let address = gateway.addr();
    if gateway.prefix_len() > 126 || address == gateway.network() || address.is_unicast_link_local() {
        let message = format!("{gateway} is no address of a machine with its network");
        faults.add("dhcp.relay.gateway6", message, "write the rack's router: fd00:69:0:4::1/64");
    }
    let mut own = config.addresses.iter().filter_map(|net| match net {
        IpNet::V6(net) => Some(net.addr()),
        IpNet::V4(_) => None,
    });
    let Some(source) = own.next() else {
        let message = "there is no address that servers of DHCPv6 could answer";
        faults.add("dhcp.relay", message, "add one of IPv6 to `addresses`: [10.69.255.1/32, fd00:69:255::1/128]");
        return None;
    };
    Some(Relay6Config { servers, gateway, source })
}

impl NodeConfig {
    /// What ports without addresses need of the rest: the gateway is an address of the node, and nothing leaves by a default route that
    /// is meant for a machine which is not there.
    pub(super) fn with_gateway(mut self) -> Self {
        if let Some(relay) = self.relay.as_ref().filter(|relay| relay.unnumbered) {
            let v6 = relay.v6.as_ref().map(|v6| IpNet::V6(v6.gateway));
            for gateway in [Some(IpNet::V4(relay.gateway)), v6].into_iter().flatten() {
                let (address, network) = (IpNet::from(gateway.addr()), gateway.trunc());
                for (all, one) in [(&mut self.addresses, address), (&mut self.fib.unreachable, network)] {
                    if !all.contains(&one) {
                        all.push(one);
                    }
                }
            }
        }
        self
    }
}

fn check_servers(relay: &Relay, faults: &mut Faults<'_>) {
    if relay.servers.is_empty() || relay.servers.len() > SERVERS_MAX {
        let message = format!("{} servers, and there must be 1 to {SERVERS_MAX}", relay.servers.len());
        faults.add("dhcp.relay.servers", message, "write the service address that boot servers share: [10.72.0.1]");
    } else if !relay.servers.iter().any(IpAddr::is_ipv4) {
        let message = "no server has an IPv4 address";
        faults.add("dhcp.relay.servers", message, "write both service addresses: [10.72.0.1, fd00:72::1]");
    }
    for (index, server) in relay.servers.iter().enumerate() {
        let path = format!("dhcp.relay.servers[{index}]");
        let is_nobodys = match server {
            IpAddr::V4(server) => server.is_broadcast(),
            IpAddr::V6(server) => server.is_unicast_link_local(),
        };
        if is_nobodys || server.is_unspecified() || server.is_multicast() || server.is_loopback() {
            let message = format!("{server} is nobody's address");
            faults.add(&path, message, "write the service address that boot servers share, as 10.72.0.1");
        }
        if relay.servers[..index].contains(server) {
            faults.add(&path, format!("{server} is listed twice"), "remove one");
        }
    }
}

fn check_ports(config: &Config, relay: &Relay, faults: &mut Faults<'_>) {
    if relay.ports.is_empty() || relay.ports.len() > PORTS_MAX {
        let message = format!("{} ports, and there must be 1 to {PORTS_MAX}", relay.ports.len());
        faults.add("dhcp.relay.ports", message, "write the server ports: [eth4, eth5], or a beginning as in `swp*`");
    }
    let peers = config.peers.iter().filter_map(|(name, peer)| Some((name, peer.interface.as_ref()?)));
    let links: Vec<_> = peers.chain(config.uplinks.iter().map(|link| (link, link))).collect();
    for (index, pattern) in relay.ports.iter().enumerate() {
        let path = format!("dhcp.relay.ports[{index}]");
        if pattern.is_empty() || pattern.trim_end_matches('*').contains('*') {
            let message = format!("`{pattern}` names no interfaces");
            faults.add(&path, message, "write `eth4`, or a beginning as in `swp*`");
        }
        // A server that speaks BGP has its port for itself as an unnumbered peer, and may still ask for an address there. Other switches
        // are on uplinks.
        if let Some((_, link)) = links.iter().find(|(_, link)| is_named(pattern, link) && config.uplinks.contains(link))
        {
            faults.add(&path, format!("{link} is one of `uplinks`"), "name the ports of servers alone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn read(section: &str) -> Result<Option<RelayConfig>, String> {
        let text = format!("role: tor\nasn: 4200000010\naddresses: [10.69.255.1/32]\nuplinks: [eth1]\n{section}\n");
        let node = parse("weft.yaml", &text).and_then(|config| config.node()).map_err(|error| error.to_string());
        node.map(|node| node.relay)
    }

    #[test]
    fn a_switch_relays_in_three_words() {
        let config =
            read("dhcp: {relay: {servers: [10.72.0.1], ports: ['swp*'], gateway: 10.69.1.1/26}}").unwrap().unwrap();
        assert_eq!((config.giaddr, config.gateway), ("10.69.255.1".parse().unwrap(), "10.69.1.1/26".parse().unwrap()));
        assert!(config.is_port("swp4") && !config.is_port("eth1"));
        assert_eq!((config.unnumbered, config.file.to_str()), (false, Some("/run/weft/leases.json")));
        assert_eq!((read("dhcp: {}").unwrap(), config.v6), (None, None));
    }

    #[test]
    fn a_server_of_ipv6_has_dhcpv6_relayed() {
        let text = "role: tor\nasn: 4200000010\naddresses: [10.69.255.1/32, 'fd00:69:255::1/128']\ndhcp: {relay: {servers: [10.72.0.1, \
            'fd00:72::1'], ports: ['swp*'], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::1/64', unnumbered: true}}\n";
        let node = parse("weft.yaml", text).unwrap().node().unwrap();
        let relay = node.relay.unwrap();
        assert_eq!(relay.servers, ["10.72.0.1".parse::<Ipv4Addr>().unwrap()]);
        let v6 = Relay6Config {
            servers: vec!["fd00:72::1".parse().unwrap()],
            gateway: "fd00:69:0:4::1/64".parse().unwrap(),
            source: "fd00:69:255::1".parse().unwrap(),
        };
        assert_eq!(relay.v6, Some(v6));
        assert!(node.addresses.contains(&"fd00:69:0:4::1/128".parse().unwrap()));
        assert!(node.fib.unreachable.contains(&"fd00:69:0:4::/64".parse().unwrap()));
    }

    #[test]
    fn slips_are_named_with_their_field() {
        for (relay, field) in [
            ("servers: [], ports: [eth4], gateway: 10.69.1.1/26", "dhcp.relay.servers"),
            ("servers: [0.0.0.0], ports: [eth4], gateway: 10.69.1.1/26", "dhcp.relay.servers[0]"),
            ("servers: [10.0.0.1, 10.0.0.1], ports: [eth4], gateway: 10.69.1.1/26", "dhcp.relay.servers[1]"),
            ("servers: [10.0.0.1], ports: [], gateway: 10.69.1.1/26", "dhcp.relay.ports"),
            ("servers: [10.0.0.1], ports: [e*4], gateway: 10.69.1.1/26", "dhcp.relay.ports[0]"),
            ("servers: [10.0.0.1], ports: ['eth*'], gateway: 10.69.1.1/26", "dhcp.relay.ports[0]"),
            ("servers: [10.0.0.1], ports: [eth4], gateway: 10.69.1.0/26", "dhcp.relay.gateway"),
            ("servers: [10.0.0.1], ports: [eth4], gateway: 10.69.1.1/32", "dhcp.relay.gateway"),
            ("servers: [10.0.0.1], ports: [eth4], gateway: 10.69.1.1/26, giaddr: 10.0.0.9", "dhcp.relay.giaddr"),
            ("servers: [10.0.0.1], ports: [eth4]", "dhcp.relay"),
            (
                "servers: ['fd00:72::1'], ports: [eth4], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::1/64'",
                "dhcp.relay.servers",
            ),
            (
                "servers: [10.0.0.1, 'fe80::1'], ports: [eth4], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::1/64'",
                "dhcp.relay.servers[1]",
            ),
            ("servers: [10.0.0.1, 'fd00:72::1'], ports: [eth4], gateway: 10.69.1.1/26", "dhcp.relay"),
            (
                "servers: [10.0.0.1, 'fd00:72::1'], ports: [eth4], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::/64'",
                "dhcp.relay.gateway6",
            ),
            (
                "servers: [10.0.0.1], ports: [eth4], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::1/64'",
                "dhcp.relay.gateway6",
            ),
            (
                "servers: [10.0.0.1, 'fd00:72::1'], ports: [eth4], gateway: 10.69.1.1/26, gateway6: 'fd00:69:0:4::1/64'",
                "fd00:69:255::1/128",
            ),
        ] {
            let refused = read(&format!("dhcp: {{relay: {{{relay}}}}}")).unwrap_err();
            assert!(refused.starts_with("weft.yaml:5:") && refused.contains(field), "{relay}: {refused}");
            assert!(refused.contains("remedy"), "{refused}");
        }
    }
}
