//! Unnumbered peers of a node: which links the discovery engine runs on, and which peer an answer belongs to.

use super::{Node, Output};
use crate::link::LinkInfo;
use crate::ra;
use std::net::{Ipv6Addr, SocketAddr};
use weft_bgp::peer::Endpoint;
use weft_bgp::speaker;
use weft_bgp::time::Instant;
use weft_bgp::types::{IfIndex, IpNet, PeerId};

impl Node {
    /// Runs discovery on the usable links of interface peers, and only there: an advertisement on a link that faces containers
    /// or strangers would make us their router. On server ports too, whose machines would wait many seconds for an answer before they
    /// boot (iPXE); the lifetime of 0 and no prefix say that there is nothing to wait for, unless DHCPv6 is relayed there.
    pub(super) fn watch(&mut self, now: Instant) {
        let macs = self.links.iter().map(|link| link.mac).filter(|mac| *mac != [0; 6]);
        let own_macs: Vec<_> = macs.collect();
        let peers = self.config.peers.iter().filter(|peer| peer.shutdown.is_none());
        let of_peers = peers.filter_map(|peer| interface_of(&peer.endpoint));
        let mut links: Vec<&LinkInfo> =
            of_peers.filter_map(|name| self.links.iter().find(|link| link.name == name)).collect();
        let is_port = |link: &LinkInfo| self.config.relay.as_ref().is_some_and(|relay| relay.is_port(&link.name));
        let ports = self.links.iter().filter(|link| is_port(link) && !links.contains(link));
        links.extend(ports.collect::<Vec<_>>());
        let wanted = links.into_iter().filter(|link| link.is_usable()).filter_map(|link| {
            let own = ready_link_locals(link);
            (!own.is_empty()).then(|| ra::RaLink { link: link.index, own, own_macs: own_macs.clone() })
        });
        let wanted: Vec<_> = wanted.collect();
        let links: Vec<IfIndex> = wanted.iter().map(|ra| ra.link).collect();
        if links != self.ra_links {
            self.ra_links.clone_from(&links);
            self.output.push_back(Output::RaLinks(links));
        }
        self.watch_wires(now);
        self.watch_ports(now);
        self.ra.handle(now, ra::Input::Links(wanted));
        for link in self.ra_links.clone() {
            if self.peer_on(link).is_some_and(|peer| self.established.contains(&peer)) {
                self.ra.handle(now, ra::Input::Session { link, up: true });
            }
        }
    }

    /// The engine wants something.
    pub(super) fn discovered(&mut self, now: Instant, wanted: ra::Output) {
        match wanted {
            ra::Output::Advertise(link) => {
                let managed = self.relays_v6(link);
                self.output.push_back(Output::SendRa { link, managed });
            }
            ra::Output::Solicit(link) => self.output.push_back(Output::SendRs { link }),
            ra::Output::Neighbour { link, addr } => {
                self.bfd.is_dirty = true;
                if let Some(peer) = self.peer_on(link) {
                    let remote = addr.filter(|_| self.miswired(link).is_none()).map(|addr| (addr, link));
                    self.speaker.handle(now, speaker::Input::SetRemote { peer, remote });
                }
            }
        }
    }

    /// Who calls from a link-local address is the neighbour, if none is known on that link.
    pub(super) fn called(&mut self, now: Instant, remote: SocketAddr) {
        if let SocketAddr::V6(remote) = remote
            && remote.ip().is_unicast_link_local()
        {
            let link = IfIndex(remote.scope_id());
            self.ra.handle(now, ra::Input::Connection { link, from: *remote.ip() });
            self.pump(now);
        }
    }

    /// A session came up or went down: discovery on its link must know.
    pub(super) fn session(&mut self, now: Instant, peer: PeerId, up: bool) {
        if up {
            self.established.insert(peer);
        } else {
            self.established.remove(&peer);
        }
        let name = self.peers.iter().find(|(_, id)| **id == peer).map(|(name, _)| name);
        let config = name.and_then(|name| self.config.peers.iter().find(|peer| peer.name == *name));
        let interface = config.and_then(|peer| interface_of(&peer.endpoint));
        let link = self.links.iter().find(|link| Some(link.name.as_str()) == interface).map(|link| link.index);
        if let Some(link) = link.filter(|link| self.ra_links.contains(link)) {
            self.ra.handle(now, ra::Input::Session { link, up });
        }
    }

    /// Tells a peer that was just made or changed what is already known about its link.
    pub(super) fn remind(&mut self, now: Instant, peer: PeerId, interface: &str) {
        let link = self.links.iter().find(|link| link.name == interface).map(|link| link.index);
        let found = link.and_then(|link| Some((link, self.ra.neighbour(link)?)));
        if let Some((link, addr)) = found.filter(|(link, _)| self.miswired(*link).is_none()) {
            self.speaker.handle(now, speaker::Input::SetRemote { peer, remote: Some((addr, link)) });
        }
    }

    /// The peer configured on a link.
    pub(super) fn peer_on(&self, link: IfIndex) -> Option<PeerId> {
        let name = &self.links.iter().find(|known| known.index == link)?.name;
        let peer = self.config.peers.iter().find(|peer| interface_of(&peer.endpoint) == Some(name))?;
        self.peers.get(&peer.name).copied()
    }
}

#[cfg(test)]
mod tests;

fn interface_of(endpoint: &Endpoint) -> Option<&str> {
    match endpoint {
        Endpoint::Interface(name) => Some(name),
        Endpoint::Address(_) => None,
    }
}

/// Link-local addresses that are ours for sure (RFC 4862 §5.4).
fn ready_link_locals(link: &LinkInfo) -> Vec<Ipv6Addr> {
    let ready = link.addrs.iter().filter(|addr| addr.link_local && !addr.tentative);
    ready
        .filter_map(|addr| match addr.net {
            IpNet::V6(net) => Some(net.addr()),
            IpNet::V4(_) => None,
        })
        .collect()
}
