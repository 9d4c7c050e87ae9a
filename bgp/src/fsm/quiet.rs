//! A session in which nothing but KEEPALIVEs is exchanged (RFC 4271 §4.4), advanced without them: counts and timers become what they
//! would be if each had been sent and heard.

use super::{Connection, State};
use crate::time::{Duration, Instant};
use crate::wire::Kind;

impl Connection {
    /// It stands, and nothing waits for room in the socket.
    pub(crate) fn is_steady(&self) -> bool {
        matches!(self.state, State::Established(_)) && self.out.is_empty() && self.blocked_since.is_none()
    }

    /// When the next KEEPALIVE is due, and a third of the hold time; `None` without timers.
    pub(crate) fn beat(&self) -> Option<(Instant, Duration)> {
        Some((self.keepalive_at?, self.hold_time()? / 3))
    }

    /// When it ends unless something is heard, and the hold time; `None` without timers.
    pub(crate) fn patience(&self) -> Option<(Instant, Duration)> {
        Some((self.hold_at?, self.hold_time()?))
    }

    /// So many KEEPALIVEs left; the next is due at `next`.
    pub(crate) const fn beats_sent(&mut self, count: u64, next: Instant) {
        self.sent[Kind::Keepalive.index()] += count;
        self.keepalive_at = Some(next);
    }

    /// So many came, the last one at `last`.
    pub(crate) fn beats_heard(&mut self, count: u64, last: Instant) {
        self.received[Kind::Keepalive.index()] += count;
        self.renew_hold(last);
    }
}
