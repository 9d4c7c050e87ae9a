//! The relay of a node: which of its links are server ports, what the relay wants, and routes to machines on ports without addresses.

use super::{Node, Output, Source};
use crate::dhcp::{Kept, Lease, Port, Relay};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::speaker::{FibChange, Originate, Want};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{Hop, IfIndex, IpNet};

/// What the relay needs of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Our address to servers.
    pub giaddr: Ipv4Addr,
    /// And to those of DHCPv6, if that is relayed.
    pub source6: Option<Ipv6Addr>,
    /// The server ports.
    pub ports: Vec<Port>,
    /// They answer for machines on other ports (RFC 1027).
    pub proxy_arp: bool,
}

/// Routes to machines, as the kernel is to hold them beside those of the speaker.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// By which port.
    wanted: BTreeMap<IpNet, IfIndex>,
    /// Changes that the kernel was not told.
    due: BTreeSet<IpNet>,
    /// The last number of a change: of those of the speaker, or it was theirs.
    seq: u64,
}

impl Routes {
    fn want(&self, prefix: &IpNet) -> Option<Want> {
        let link = *self.wanted.get(prefix)?;
        let gateway = match prefix {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let hop = Hop { link, gateway, weight: 1 };
        Some(Want::Hops([hop].into()))
    }

    /// Our changes before the speaker's, at most `max` with these; where both have a route, ours holds.
    pub(super) fn join(&mut self, mut changes: Vec<FibChange>, max: usize) -> Vec<FibChange> {
        if self.wanted.is_empty() && self.due.is_empty() {
            self.seq = changes.last().map_or(self.seq, |change| change.seq);
            return changes;
        }
        for change in &mut changes {
            if let Some(want) = self.want(&change.prefix) {
                change.want = want;
            }
        }
        let mut all = Vec::new();
        while changes.len() + all.len() < max
            && let Some(prefix) = self.due.pop_first()
        {
            all.push(FibChange { prefix, want: self.want(&prefix).unwrap_or(Want::Nothing), seq: self.seq });
        }
        self.seq = changes.last().map_or(self.seq, |change| change.seq);
        all.extend(changes);
        all
    }

    /// Whether a route is one of these.
    pub(super) fn has(&self, prefix: &IpNet) -> bool {
        self.wanted.contains_key(prefix)
    }
}

impl Node {
    /// The relay of DHCP.
    #[must_use]
    pub const fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Whether there is a route to a machine, because of its lease.
    #[must_use]
    pub fn routes_lease(&self, address: IpAddr) -> bool {
        self.lease_routes.has(&IpNet::from(address))
    }

    /// Whether machines on a link are to ask by DHCPv6 (RFC 4861 §4.2, M), and to take us for their router.
    #[must_use]
    pub(super) fn relays_v6(&self, link: IfIndex) -> bool {
        let has_v6 = self.config.relay.as_ref().is_some_and(|relay| relay.v6.is_some());
        has_v6 && self.relay.ports().any(|port| port.link == link)
    }

    /// Leases of an earlier run, before the first picture of the links.
    pub(super) fn restore_leases(&mut self, now: Instant, wall: Duration, kept: Vec<Kept>) {
        self.relay.configure(now, self.config.relay.as_ref(), Vec::new());
        self.relay.restore(now, wall, kept);
    }

    /// Server ports are the usable links that the configuration names; sockets follow, and routes.
    pub(super) fn watch_ports(&mut self, now: Instant) {
        let config = self.config.relay.as_ref();
        let is_port = |name: &str| config.is_some_and(|config| config.is_port(name));
        let links = self.links.iter().filter(|link| link.is_usable() && !link.loopback && link.mac != [0; 6]);
        let ports = links.filter(|link| is_port(&link.name));
        let ports: Vec<Port> =
            ports.map(|link| Port { link: link.index, name: link.name.clone(), mac: link.mac }).collect();
        let wanted = config.map(|config| Wanted {
            giaddr: config.giaddr,
            source6: config.v6.as_ref().map(|v6| v6.source),
            ports: ports.clone(),
            proxy_arp: config.unnumbered,
        });
        self.relay.configure(now, config, ports);
        if wanted != self.relay_wants {
            self.relay_wants.clone_from(&wanted);
            self.output.push_back(Output::DhcpSockets(wanted));
        }
        self.route_leases(now);
    }

    pub(super) fn dhcp_frame(&mut self, now: Instant, link: IfIndex, frame: &[u8]) {
        self.relay.on_frame(now, link, frame);
        self.relayed(now);
    }

    pub(super) fn dhcp_datagram(&mut self, now: Instant, from: IpAddr, datagram: &[u8]) {
        self.relay.on_datagram(now, from, datagram);
        self.relayed(now);
    }

    pub(super) fn dhcp_tick(&mut self, now: Instant) {
        if self.relay.next_timeout().is_some_and(|(at, _)| at <= now) {
            if self.relay.tick(now) {
                self.output.push_back(Output::KeepLeases);
            }
            self.relayed(now);
        }
    }

    fn relayed(&mut self, now: Instant) {
        // The way to a machine is there before it hears of its address.
        if self.relay.take_changed() {
            self.route_leases(now);
        }
        while let Some(output) = self.relay.poll() {
            self.output.push_back(Output::Dhcp(output));
        }
    }

    /// A route, and an announcement, for every lease on a port that can be used.
    fn route_leases(&mut self, now: Instant) {
        let is_unnumbered = self.config.relay.as_ref().is_some_and(|relay| relay.unnumbered);
        if !is_unnumbered && self.lease_routes.wanted.is_empty() {
            return;
        }
        let ports: BTreeMap<&str, IfIndex> = self.relay.ports().map(|port| (port.name.as_str(), port.link)).collect();
        let routed = |lease: &Lease| Some((IpNet::from(lease.address), *ports.get(lease.port.as_str())?, why(lease)));
        let all: Vec<_> = self.relay.leases().filter(|_| is_unnumbered).filter_map(routed).collect();
        let wanted: BTreeMap<IpNet, IfIndex> = all.iter().map(|(prefix, link, _)| (*prefix, *link)).collect();
        let routes = &mut self.lease_routes;
        let changed = |one: &BTreeMap<IpNet, IfIndex>, other: &BTreeMap<IpNet, IfIndex>| -> Vec<IpNet> {
            one.iter().filter(|(prefix, link)| other.get(prefix) != Some(link)).map(|(prefix, _)| *prefix).collect()
        };
        routes.due.extend(changed(&wanted, &routes.wanted));
        routes.due.extend(changed(&routes.wanted, &wanted));
        routes.wanted = wanted;
        if !routes.due.is_empty() {
            self.output.push_back(Output::FibReady);
        }
        let all = all.into_iter().map(|(prefix, _, why)| Originate {
            prefix,
            communities: Vec::new(),
            large_communities: Vec::new(),
            weight: None,
            why,
        });
        self.originate_all(now, Source::Lease, all.collect());
    }
}

fn why(lease: &Lease) -> String {
    format!("lease of {} on {}", lease.holder, lease.port)
}

#[cfg(test)]
pub(crate) mod tests;
