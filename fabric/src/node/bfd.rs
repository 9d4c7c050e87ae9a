//! BFD of a node's peers: which sessions are wanted, where each peer is, what a failure means to its routes, and what BGP hears of it.
//! Packets and timers are [`crate::bfd`]'s, on a thread of its own.

use super::{Happened, Node, Output};
use crate::bfd::{Event, Notice, OnFailure, Path, State, Wanted};
use crate::config::BfdConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weft_bgp::peer::{Endpoint, PeerConfig, RemoteAs};
use weft_bgp::speaker;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IfIndex, PeerId};

/// How long a peer of a range that is gone has its BFD session still: what that said of the neighbour stands meanwhile.
const LINGER: Duration = Duration::from_secs(120);

/// After a restart, how much longer than two detection times a BGP session waits for BFD: that of a neighbour comes up a second or two after
/// it missed us.
const SETTLE: Duration = Duration::from_secs(3);

/// What the node remembers about BFD.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Something changed that may change the picture.
    pub(super) is_dirty: bool,
    /// The picture that was last asked for.
    asked: Vec<Wanted>,
    states: BTreeMap<PeerId, Notice>,
    /// Peers whose routes are kept over a restart.
    restarting: BTreeSet<PeerId>,
    /// Peers of ranges: where they are, and since when they are gone.
    callers: BTreeMap<PeerId, (IpAddr, Option<Instant>)>,
}

impl Node {
    /// The BFD state of a peer, where it has a session.
    #[must_use]
    pub fn bfd_state(&self, peer: PeerId) -> Option<State> {
        self.bfd.asked.iter().find(|wanted| wanted.peer == peer)?;
        Some(self.bfd.states.get(&peer).map_or(State::Down, |notice| notice.state))
    }

    /// The newest failure that is known of a peer.
    #[must_use]
    pub fn bfd_failure(&self, peer: PeerId) -> u64 {
        self.bfd.states.get(&peer).map_or(0, |notice| notice.failure)
    }

    /// What the thread found.
    pub(super) fn bfd_notice(&mut self, now: Instant, notice: Notice) {
        let before = self.bfd.states.insert(notice.peer, notice);
        let known = before.map_or(0, |before| before.failure);
        if !self.bfd.asked.iter().any(|wanted| wanted.peer == notice.peer) {
            // It crossed with the end of the session.
            self.bfd.states.remove(&notice.peer);
            return;
        }
        self.note_bfd(now, notice, before.map_or(State::Down, |before| before.state), notice.failure > known);
        if notice.failure > known {
            let (peer, retain) = (notice.peer, notice.keeps);
            self.speaker.handle(now, speaker::Input::BfdDown { peer, retain });
            self.bfd.is_dirty = true;
        }
        self.speaker.handle(now, speaker::Input::BfdState { peer: notice.peer, is_up: notice.state == State::Up });
    }

    /// What of it belongs into the history: not the first packet on the way up.
    fn note_bfd(&mut self, now: Instant, notice: Notice, before: State, failed: bool) {
        if !failed && (notice.state == before || notice.state == State::Init) {
            return;
        }
        let Notice { peer, state, cause, keeps, .. } = notice;
        let name = self.speaker.peer_name(peer).unwrap_or_default().to_owned();
        let event = Event::Bfd { peer, name, state, cause, failed, retained: failed && keeps };
        self.history.note(now, Happened::Bfd(event));
    }

    /// A session came up or was lost; `retained`: the peer's routes are kept (RFC 4724 §4.2).
    pub(super) fn bfd_session(&mut self, now: Instant, peer: PeerId, name: &str, retained: Option<bool>) {
        self.bfd.is_dirty = true;
        match retained {
            Some(true) => self.bfd.restarting.insert(peer),
            Some(false) | None => self.bfd.restarting.remove(&peer),
        };
        let is_configured = self.peers.get(name) == Some(&peer);
        if self.config.bfd.ranges.is_empty() || is_configured {
            return;
        }
        match (retained, self.bfd.callers.get_mut(&peer)) {
            (Some(_), Some((_, gone))) => *gone = Some(now),
            (Some(_), None) => {}
            (None, _) => {
                // A peer of a range is named by its address.
                if let Ok(address) = name.parse() {
                    self.bfd.callers.insert(peer, (address, None));
                }
            }
        }
    }

    pub(super) fn bfd_timeout(&self) -> Option<(Instant, &'static str)> {
        let gone = self.bfd.callers.values().filter_map(|(_, gone)| *gone).min();
        gone.map(|gone| (gone + LINGER, "BFD of a peer that is gone"))
    }

    pub(super) fn bfd_tick(&mut self, now: Instant) {
        let before = self.bfd.callers.len();
        self.bfd.callers.retain(|_, (_, gone)| gone.is_none_or(|gone| gone + LINGER > now));
        self.bfd.is_dirty |= self.bfd.callers.len() != before;
    }

    /// Asks for the sessions that are wanted now, if that changed.
    pub(super) fn want_bfd(&mut self, now: Instant) {
        if !std::mem::take(&mut self.bfd.is_dirty) || !self.started {
            return;
        }
        let wanted = if self.stopped { Vec::new() } else { self.wanted_bfd() };
        if wanted != self.bfd.asked {
            let before = std::mem::replace(&mut self.bfd.asked, wanted.clone());
            let place = |session: &Wanted| (session.peer, session.remote, session.path);
            let kept: BTreeSet<_> = wanted.iter().map(place).collect();
            for gone in before.iter().filter(|old| !kept.contains(&place(old))) {
                self.bfd.states.remove(&gone.peer);
                self.speaker.handle(now, speaker::Input::BfdState { peer: gone.peer, is_up: false });
            }
            self.await_bfd(now, &before);
            self.output.push_back(Output::Bfd(wanted));
        }
    }

    /// Who has heard nothing of us for less than a detection time still has a BFD session with our life before the restart: BGP waits
    /// until that has failed and a new one is Up. A failure after BGP's End-of-RIB, or before it, would end the new session, and the
    /// second loss in a row would cost the routes (RFC 4724 §4.2).
    fn await_bfd(&mut self, now: Instant, before: &[Wanted]) {
        if !self.speaker.is_deferring() {
            return;
        }
        let known: BTreeSet<PeerId> = before.iter().map(|session| session.peer).collect();
        let new = self.bfd.asked.iter().filter(|session| !known.contains(&session.peer) && !session.is_established);
        for Wanted { peer, timers, .. } in new {
            let interval = Duration::from_micros(timers.transmit_us.max(timers.receive_us).into());
            let until = now + interval * u32::from(timers.multiplier) * 2 + SETTLE;
            self.speaker.handle(now, speaker::Input::AwaitBfd { peer: *peer, until });
        }
    }

    /// Somebody called. Whoever a range made a peer has its BFD session after a restart already before BGP's, for the same reason.
    pub(super) fn bfd_caller(&mut self, now: Instant, conn: ConnId, remote: IpAddr) {
        if !self.speaker.is_deferring() || !self.config.bfd.ranges.keys().any(|range| range.contains(&remote)) {
            return;
        }
        let Some(peer) = self.speaker.peer_of(conn).filter(|peer| !self.peers.values().any(|known| known == peer))
        else {
            return;
        };
        self.bfd.callers.entry(peer).or_insert((remote, Some(now)));
        self.bfd.is_dirty = true;
    }

    fn wanted_bfd(&self) -> Vec<Wanted> {
        let bfd = &self.config.bfd;
        // Without a session, on purpose: a path that breaks there is no failure.
        let wanted = self.config.peers.iter().filter(|peer| !self.is_shut(peer));
        let configured = wanted.filter_map(|peer| {
            let config = bfd.peers.get(&peer.name)?;
            let id = *self.peers.get(&peer.name)?;
            let (remote, path) = self.place(peer)?;
            Some(self.wanted_of(id, (remote, path), peer.local_address, config))
        });
        let ranges = self.ranges_in_force(&self.config.dynamic);
        let callers = self.bfd.callers.iter().filter_map(|(peer, (address, _))| {
            let range = ranges.iter().find(|range| range.prefix.contains(address))?;
            if range.template.shutdown.is_some() {
                return None;
            }
            let config = bfd.ranges.get(&range.prefix)?;
            let path = self.path_to(*address, &range.template)?;
            Some(self.wanted_of(*peer, (*address, path), range.template.local_address, config))
        });
        configured.chain(callers).collect()
    }

    fn wanted_of(
        &self,
        peer: PeerId,
        (remote, path): (IpAddr, Path),
        local: Option<IpAddr>,
        config: &BfdConfig,
    ) -> Wanted {
        let is_restarting = self.bfd.restarting.contains(&peer);
        Wanted {
            peer,
            remote,
            local: local.filter(|local| local.is_ipv4() == remote.is_ipv4()),
            path,
            timers: config.timers,
            // RFC 5882 §4.3.2.2: a failure while the session stands is one of the path, since a restart closes the connection first; a
            // failure during a restart is part of it.
            on_failure: if is_restarting || config.graceful { OnFailure::Keep } else { OnFailure::FailOver },
            is_established: self.established.contains(&peer),
            known_failure: self.bfd_failure(peer),
        }
    }

    /// Where a configured peer is, if that is known yet.
    fn place(&self, peer: &PeerConfig) -> Option<(IpAddr, Path)> {
        match &peer.endpoint {
            Endpoint::Address(address) => Some((*address, self.path_to(*address, peer)?)),
            Endpoint::Interface(name) => {
                let link = self.links.iter().find(|link| link.name == *name)?.index;
                Some((self.ra.neighbour(link)?.into(), Path::SingleHop(link)))
            }
        }
    }

    /// On which link an address is; an external peer is not looked for behind routers unless it is said to be there.
    fn path_to(&self, address: IpAddr, peer: &PeerConfig) -> Option<Path> {
        if peer.multihop {
            return Some(Path::Multihop);
        }
        let is_internal = peer.remote_asn == RemoteAs::Is(self.config.speaker.asn);
        let link = self.link_of(address).map(Path::SingleHop);
        link.or_else(|| is_internal.then_some(Path::Multihop))
    }

    pub(super) fn link_of(&self, address: IpAddr) -> Option<IfIndex> {
        let nets = self.links.iter().filter(|link| !link.loopback).flat_map(|link| {
            link.addrs.iter().filter(|addr| !addr.link_local).map(|addr| (addr.net.prefix_len(), link.index, addr.net))
        });
        nets.filter(|(_, _, net)| net.contains(&address)).max_by_key(|(length, ..)| *length).map(|(_, link, _)| link)
    }
}

#[cfg(test)]
mod tests;
