//! What a peer says of itself: its OPEN, its status for people, where it is.

use super::arbiter::{Peer, add};
use super::{Local, PeerRestart, PeerStatus};
use crate::fsm::Connection;
use crate::wire::open::Open;
use std::net::{IpAddr, SocketAddr};

impl Peer {
    /// Facts for `show neighbors`.
    #[must_use]
    pub fn status(&self) -> PeerStatus {
        let rank = |name: &str| ["OpenSent", "OpenConfirm", "Established"].iter().position(|state| *state == name);
        let furthest = self.conns.iter().map(Connection::state_name).max_by_key(|name| rank(name));
        let idle = if self.config.shutdown.is_some() || !self.started {
            "Idle"
        } else if self.dialling.is_some() {
            "Connect"
        } else {
            "Active"
        };
        let mut status = PeerStatus {
            state: furthest.unwrap_or(idle).to_owned(),
            since: self.since,
            received: self.past_received,
            sent: self.past_sent,
            established: self.established,
            dropped: self.dropped,
            last_error: self.last_error.clone(),
        };
        for conn in &self.conns {
            add(&mut status.received, conn.received);
            add(&mut status.sent, conn.sent);
        }
        status
    }

    pub(super) fn our_open(&self) -> Open {
        let Local { restarted, kept, .. } = self.local;
        Open {
            asn: self.local.asn,
            hold_time_s: self.config.hold_time_s,
            router_id: self.local.router_id,
            as4: true,
            families: self.config.families.clone(),
            extended_next_hop: true,
            route_refresh: true,
            graceful: self.config.graceful_restart_s.map(|time_s| PeerRestart {
                restarted,
                time_s,
                // RFC 4724 §3: the F bit says that forwarding state was kept over this restart.
                families: self.config.families.iter().map(|&family| (family, kept)).collect(),
            }),
        }
    }

    /// Whether an unnumbered peer may be the one that connected from here.
    #[must_use]
    pub fn is_at(&self, remote: SocketAddr) -> bool {
        let SocketAddr::V6(from) = remote else {
            return false;
        };
        self.remote.is_some_and(|(address, link)| *from.ip() == address && from.scope_id() == link.0)
    }

    /// The address dialled from or to, for people.
    #[must_use]
    pub fn remote_address(&self) -> Option<IpAddr> {
        self.session().map(|session| session.remote.ip()).or_else(|| self.target().map(|target| target.ip()))
    }
}
