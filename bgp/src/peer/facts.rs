//! What a peer says of itself: its OPEN, its status for people, where it is.

use super::arbiter::{Peer, add};
use super::trail::{FsmState, PeerHistory};
use super::{Endpoint, Local, PeerConfig, PeerRestart, PeerStatus, RemoteAs, Session};
use crate::fsm::Connection;
use crate::time::{Duration, Instant};
use crate::wire::MAX_MESSAGE_BYTES;
use crate::wire::capability::{Capabilities, LongLived, PathDirections, Role};
use crate::wire::open::Open;
use std::net::{IpAddr, SocketAddr};

impl Session {
    /// What both ends agreed on beyond families, AS numbers and hold time, each in a few words.
    #[must_use]
    pub fn agreed(&self) -> Vec<String> {
        let codec = &self.codec;
        let plain = [
            (codec.max_message > MAX_MESSAGE_BYTES, "extended messages"),
            (self.route_refresh && !self.enhanced_refresh, "route refresh"),
            (self.enhanced_refresh, "enhanced route refresh"),
            (codec.extended_next_hop, "IPv6 next hops for IPv4"),
            (codec.link_local_next_hop, "link-local next hops"),
            (!codec.as4, "two-octet AS numbers"),
        ];
        let mut all: Vec<String> = plain.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()).collect();
        if let Some(graceful) = &self.graceful {
            let over = if graceful.notification { ", over NOTIFICATIONs too" } else { "" };
            all.push(format!("graceful restart ({} s{over})", graceful.time_s));
        }
        all.extend(self.hostname.as_ref().map(|name| format!("it calls itself {name}")));
        if let Some(longest) = self.long_lived.iter().map(|entry| entry.time_s).max() {
            all.push(format!("long-lived graceful restart ({longest} s)"));
        }
        all
    }
}

impl Peer {
    /// Facts for `show neighbors`.
    #[must_use]
    pub fn status(&self) -> PeerStatus {
        let furthest = self.conns.iter().map(Connection::state).max_by_key(|state| *state as u8).map(FsmState::name);
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

    /// For how long nobody is dialled or listened to, after failures in a row or a limit that was passed.
    #[must_use]
    pub fn resting(&self, now: Instant) -> Option<Duration> {
        self.damping.rest(now)
    }

    /// The last transitions and messages, oldest first.
    #[must_use]
    pub fn history(&self) -> PeerHistory {
        self.trail.history()
    }

    pub(super) fn our_open(&self) -> Open {
        let Local { asn, router_id, restarted, kept } = self.local;
        // RFC 4724 §3: forwarding state was kept, over our restart, or over the loss of a session that this life of ours had.
        let kept = kept || self.established > 0;
        let PeerConfig { families, session, add_path, .. } = &self.config;
        let restart = self.config.graceful_restart_s.map(|time_s| PeerRestart {
            restarted,
            notification: session.notification_restart,
            time_s,
            families: families.iter().map(|&family| (family, kept)).collect(),
        });
        // RFC 9494 §3.1: never without graceful restart.
        let stale_s = session.long_lived_stale_s.filter(|_| restart.is_some());
        let internal = self.config.remote_asn == RemoteAs::Is(asn);
        let long_lived = |time_s| families.iter().map(move |&family| LongLived { family, forwarding: kept, time_s });
        let can = Capabilities {
            as4: Some(asn),
            families: families.clone(),
            extended_next_hop: true,
            route_refresh: true,
            enhanced_refresh: true,
            extended_message: session.extended_message,
            // Only where both ends share a link (draft-ietf-idr-linklocal-capability §3).
            link_local_next_hop: matches!(self.config.endpoint, Endpoint::Interface(_)),
            add_path: families.iter().fold([PathDirections::default(); 2], |mut all, &family| {
                all[family.index()] = add_path.offer();
                all
            }),
            // RFC 9234 §4: roles are of external sessions.
            roles: session.role.filter(|_| !internal).map(Role::to_wire).into_iter().collect(),
            graceful: restart,
            long_lived: stale_s.into_iter().flat_map(long_lived).collect(),
            knows_long_lived: stale_s.is_some(),
            bfd_strict: session.bfd_strict,
            hostname: session.hostname.clone(),
        };
        Open { asn, hold_time_s: self.config.hold_time_s, router_id, can }
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
