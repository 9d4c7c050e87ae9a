//! Where peers are: who it is that calls, and how far packets to and from them travel.

use super::TimeToLive;
use super::machine::Speaker;
use crate::peer::{Endpoint, Peer, PeerConfig, RemoteAs};
use crate::types::{ConnId, PeerId};
use std::net::SocketAddr;

impl Speaker {
    /// A peer is here from now on; a configured one takes the place of one of a range.
    pub(super) fn take_place(&mut self, id: PeerId, endpoint: &Endpoint) {
        if let Endpoint::Address(address) = endpoint {
            self.places.insert(*address, id);
        }
    }

    /// A peer is here no more. Where it had taken the place of one of a range, that one has it again.
    pub(super) fn leave_place(&mut self, id: PeerId, endpoint: &Endpoint) {
        let Endpoint::Address(address) = endpoint else {
            return;
        };
        if self.places.get(address) != Some(&id) {
            return;
        }
        self.places.remove(address);
        if self.range_at(*address).is_some() {
            let other = |peer: &&Peer| peer.id() != id && peer.config().endpoint == *endpoint;
            let other = self.members.values().map(|member| &member.peer).find(other).map(Peer::id);
            self.places.extend(other.map(|other| (*address, other)));
        }
    }

    /// The peer at an address, or at a link-local one on its interface.
    pub(super) fn peer_at(&self, remote: SocketAddr) -> Option<PeerId> {
        let on_link = |peer: &&Peer| matches!(peer.config().endpoint, Endpoint::Interface(_)) && peer.is_at(remote);
        let at_address = self.places.get(&remote.ip()).copied();
        at_address.or_else(|| self.members.values().map(|member| &member.peer).find(on_link).map(Peer::id))
    }

    /// Whose connection it is.
    #[must_use]
    pub fn peer_of(&self, conn: ConnId) -> Option<PeerId> {
        self.conns.get(&conn).copied()
    }

    pub(super) fn time_to_live(&self, config: &PeerConfig) -> TimeToLive {
        if let Some(hops) = config.session.ttl_security {
            // RFC 5082 §3: who is one hop away arrives with 255, and nobody farther away can.
            return TimeToLive { send: u8::MAX, least: u8::MAX - hops.saturating_sub(1) };
        }
        // RFC 4271 §5.1.3: an external peer is on the link unless it is said to be farther away.
        let internal = config.remote_asn == RemoteAs::Is(self.config.asn);
        TimeToLive { send: if internal || config.multihop { 64 } else { 1 }, least: 0 }
    }

    /// What the socket of somebody who connected to us needs before it is handed on by `Input::Accepted`; `None` = nobody is
    /// expected there, and the connection may as well be closed at once.
    #[must_use]
    pub fn caller(&self, remote: SocketAddr) -> Option<TimeToLive> {
        let known = self.peer_at(remote).and_then(|id| self.members.get(&id)).map(|member| member.peer.config());
        let config = known.or_else(|| self.range_at(remote.ip()).map(|range| &range.template))?;
        Some(self.time_to_live(config))
    }
}
