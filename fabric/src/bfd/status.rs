//! A session as people see it.

use super::session::Session;
use super::{Diagnostic, Endpoint, Entry, State};
use serde::{Deserialize, Serialize};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::PeerId;

/// A session, for who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whose.
    pub peer: PeerId,
    /// Where it sends to.
    pub endpoint: Endpoint,
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why it last went down.
    pub diagnostic: Diagnostic,
    /// What the other end says of itself.
    pub remote_state: State,
    /// Likewise.
    pub remote_diagnostic: Diagnostic,
    /// Ours.
    pub discriminator: u32,
    /// Theirs, 0 while unknown.
    pub remote_discriminator: u32,
    /// BFD there does not share the fate of its control plane (C bit).
    pub remote_independent: bool,
    /// How often we send, microseconds, before jitter; 0: only when asked.
    pub transmit_us: u64,
    /// How long silence may last, microseconds; 0 while nothing was heard.
    pub detection_us: u64,
    /// Packets taken.
    pub received: u64,
    /// Packets sent.
    pub transmitted: u64,
    /// Times it came up.
    pub ups: u64,
    /// Times the path failed.
    pub failures: u64,
    /// The kernel was told not to use the neighbour.
    pub is_dead: bool,
}

impl Status {
    pub(super) fn of(entry: &Entry) -> Self {
        let session: &Session = &entry.session;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            peer: entry.wanted.peer,
            endpoint: entry.endpoint(),
            state: session.state,
            since: session.since,
            diagnostic: session.diagnostic,
            remote_state: session.remote.state,
            remote_diagnostic: session.remote.diagnostic,
            discriminator: session.discriminator,
            remote_discriminator: session.remote.discriminator,
            remote_independent: session.remote.independent,
            transmit_us: if session.remote.min_rx_us == 0 { 0 } else { session.transmit_interval_us() },
            detection_us: us(session.detection_time()),
            received: session.received,
            transmitted: session.transmitted,
            ups: entry.ups,
            failures: entry.failures,
            is_dead: entry.is_dead,
        }
    }
}
