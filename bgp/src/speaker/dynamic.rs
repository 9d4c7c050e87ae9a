//! Peers that nobody configured: whoever calls from a range becomes one, up to the range's limit, and is forgotten when it is gone.

use super::DynamicRange;
use super::machine::{Member, Speaker};
use super::reconfigure::Reconfiguration;
use crate::peer::{Endpoint, PeerConfig};
use crate::time::Instant;
use crate::types::PeerId;
use std::net::IpAddr;

impl DynamicRange {
    /// The peer that an address of the range becomes.
    #[must_use]
    pub fn peer_at(&self, address: IpAddr) -> PeerConfig {
        PeerConfig {
            name: address.to_string(),
            endpoint: Endpoint::Address(address),
            passive: true,
            ..self.template.clone()
        }
    }
}

impl Speaker {
    pub(super) fn set_ranges(&mut self, now: Instant, ranges: Vec<DynamicRange>) {
        let config = self.config.clone();
        // Who is in none any more goes; the others follow their range's template, policies included. At the start ranges come last in
        // a configuration: one without any peer has nothing to wait for.
        self.reconfigure(now, Reconfiguration { config, peers: Vec::new(), gone: Vec::new(), ranges: Some(ranges) });
    }

    /// The range of an address.
    pub(super) fn range_at(&self, address: IpAddr) -> Option<&DynamicRange> {
        self.ranges.iter().find(|range| range.prefix.contains(&address))
    }

    /// The range of an address, and the peer that it makes there.
    fn range_of(&self, address: IpAddr) -> Option<(&DynamicRange, PeerConfig)> {
        let range = self.range_at(address)?;
        Some((range, range.peer_at(address)))
    }

    /// The peer for a caller at an address that only a range covers. A range that is full makes room by forgetting a peer that is
    /// gone; if all are there, the caller is refused.
    pub(super) fn dynamic_peer(&mut self, now: Instant, address: IpAddr) -> Option<PeerId> {
        let (range, config) = self.range_of(address)?;
        let in_range = |member: &&Member| {
            member.dynamic
                && matches!(member.peer.config().endpoint, Endpoint::Address(at) if range.prefix.contains(&at))
        };
        let used = self.members.values().filter(in_range).count();
        if used >= range.limit as usize {
            let gone = self.members.values().filter(in_range).find(|member| member.peer.is_gone());
            let gone = gone.map(|member| member.peer.id())?;
            self.remove_peer(now, gone);
        }
        let id = PeerId(self.next_dynamic);
        self.next_dynamic += 1;
        self.set_peer(now, id, config, true);
        if let Some(member) = self.members.get_mut(&id) {
            member.peer.forget_when_gone(now);
        }
        Some(id)
    }
}
