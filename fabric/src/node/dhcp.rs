//! The relay of a node: which of its links are server ports, and what the relay wants.

use super::{Node, Output};
use crate::dhcp::{Port, Relay};
use std::net::Ipv4Addr;
use weft_bgp::time::Instant;
use weft_bgp::types::IfIndex;

impl Node {
    /// The relay of DHCP.
    #[must_use]
    pub const fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Server ports are the usable links that the configuration names; sockets follow.
    pub(super) fn watch_ports(&mut self, now: Instant) {
        let config = self.config.relay.as_ref();
        let is_port = |name: &str| config.is_some_and(|config| config.is_port(name));
        let links = self.links.iter().filter(|link| link.is_usable() && !link.loopback && link.mac != [0; 6]);
        let ports = links.filter(|link| is_port(&link.name));
        let ports: Vec<Port> =
            ports.map(|link| Port { link: link.index, name: link.name.clone(), mac: link.mac }).collect();
        let wanted = config.map(|config| (config.giaddr, ports.iter().map(|port| port.link).collect()));
        self.relay.configure(now, config, ports);
        if wanted != self.relay_sockets {
            self.relay_sockets.clone_from(&wanted);
            self.output.push_back(Output::DhcpSockets(wanted));
        }
    }

    pub(super) fn dhcp_frame(&mut self, now: Instant, link: IfIndex, frame: &[u8]) {
        self.relay.on_frame(now, link, frame);
        self.relayed();
    }

    pub(super) fn dhcp_datagram(&mut self, from: Ipv4Addr, datagram: &[u8]) {
        self.relay.on_datagram(from, datagram);
        self.relayed();
    }

    fn relayed(&mut self) {
        while let Some(output) = self.relay.poll() {
            self.output.push_back(Output::Dhcp(output));
        }
    }
}
