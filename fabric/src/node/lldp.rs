//! Cables of unnumbered peers: where somebody is expected to be heard by LLDP, nobody else gets a session there.

use super::{Node, Output};
use crate::lldp::{Expected, Heard, Wires};
use weft_bgp::peer::Endpoint;
use weft_bgp::speaker;
use weft_bgp::time::Instant;
use weft_bgp::types::IfIndex;

/// Who is heard where, and what was found wrong with that.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    wires: Wires,
    /// Links where somebody is expected, as last asked for.
    watched: Vec<IfIndex>,
}

impl Node {
    /// Who was heard by LLDP on a link where somebody is expected.
    #[must_use]
    pub fn heard_by_lldp(&self, link: IfIndex) -> Option<&Heard> {
        self.wiring.wires.heard(link)
    }

    /// What is wrong with who is at the other end of a link; `None` also where nobody in particular is expected.
    #[must_use]
    pub fn miswired(&self, link: IfIndex) -> Option<String> {
        self.expected_on(link)?.objection(self.wiring.wires.heard(link))
    }

    /// Whether anybody in particular is expected at the other end of a link.
    #[must_use]
    pub fn is_somebody_expected(&self, link: IfIndex) -> bool {
        self.expected_on(link).is_some()
    }

    fn expected_on(&self, link: IfIndex) -> Option<&Expected> {
        if self.config.cabling.is_empty() {
            return None;
        }
        let name = &self.links.iter().find(|known| known.index == link)?.name;
        let mut peers = self.config.peers.iter();
        peers.find_map(|peer| match &peer.endpoint {
            Endpoint::Interface(own) if own == name => self.config.cabling.get(&peer.name),
            Endpoint::Interface(_) | Endpoint::Address(_) => None,
        })
    }

    /// Listens on usable links where somebody is expected, and nowhere else.
    pub(super) fn watch_wires(&mut self, now: Instant) {
        if self.config.cabling.is_empty() && self.wiring.watched.is_empty() {
            return;
        }
        let links = self.links.iter().filter(|link| link.is_usable() && self.is_somebody_expected(link.index));
        let links: Vec<IfIndex> = links.map(|link| link.index).collect();
        self.wiring.wires.keep(&links);
        let before = std::mem::replace(&mut self.wiring.watched, links.clone());
        if links != before {
            self.output.push_back(Output::LldpLinks(links.clone()));
        }
        // Others may be expected now, or nobody in particular any more.
        for link in links.iter().chain(before.iter().filter(|link| !links.contains(link))) {
            self.rewire(now, *link);
        }
    }

    /// A neighbour said who it is.
    pub(super) fn wired(&mut self, now: Instant, link: IfIndex, heard: Heard) {
        if !self.wiring.watched.contains(&link) {
            return;
        }
        let before = self.miswired(link);
        self.wiring.wires.handle(now, link, heard);
        if self.miswired(link) != before {
            self.rewire(now, link);
        }
    }

    pub(super) fn wiring_timeout(&self) -> Option<(Instant, &'static str)> {
        self.wiring.wires.next_timeout().map(|at| (at, "LLDP neighbour"))
    }

    pub(super) fn wiring_tick(&mut self, now: Instant) {
        for link in self.wiring.wires.tick(now) {
            self.rewire(now, link);
        }
    }

    /// Tells the peer of a link whether there is somebody to speak to. A session that stands stays: the cable in it has not moved, for
    /// then its carrier would have gone.
    fn rewire(&mut self, now: Instant, link: IfIndex) {
        if let Some(peer) = self.peer_on(link) {
            let remote = self.ra.neighbour(link).filter(|_| self.miswired(link).is_none()).map(|addr| (addr, link));
            self.speaker.handle(now, speaker::Input::SetRemote { peer, remote });
        }
    }
}
