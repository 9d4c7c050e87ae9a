//! A peer whose session exchanges nothing but KEEPALIVEs.

use super::Peer;
use super::trail::Way;
use crate::fsm::Connection;
use crate::time::Instant;
use crate::wire::{Kind, put_keepalive};
use bytes::BytesMut;

/// KEEPALIVEs that one end of a session sent and heard in quiet time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// How many left.
    pub sent: u64,
    /// When the last of them did.
    pub last_sent: Instant,
    /// How many came.
    pub heard: u64,
    /// When the last of them did.
    pub last_heard: Instant,
}

impl Peer {
    /// The connection of its session, if there is no other and nothing waits on it.
    pub(crate) fn steady(&self) -> Option<&Connection> {
        let [only] = self.conns.as_slice() else {
            return None;
        };
        (only.is_steady() && self.closing.is_empty() && self.output.is_empty()).then_some(only)
    }

    /// The same, to be advanced.
    pub(crate) fn steady_mut(&mut self) -> Option<&mut Connection> {
        self.conns.first_mut().filter(|only| only.is_steady())
    }

    /// When it must be called for anything but the KEEPALIVEs and the silence of a session that stands.
    pub(crate) fn next_unquiet(&self) -> Option<Instant> {
        let dial = self.dialling.map(|(_, at)| at);
        let stale = self.stale.next_timeout().map(|(at, _)| at);
        let begins = self.conns.iter().filter(|own| !own.is_steady()).filter_map(Connection::next_timeout);
        let own = [self.retry_at, dial, stale, self.forget_at].into_iter().flatten();
        own.chain(begins.map(|(at, _)| at)).min()
    }

    /// What was exchanged goes into counters, timers and history.
    pub(crate) fn beats(&mut self, beats: &Beats) {
        let mut message = BytesMut::new();
        put_keepalive(&mut message);
        let sent = (beats.last_sent, Way::Sent, beats.sent);
        let heard = (beats.last_heard, Way::Received, beats.heard);
        let in_order = if beats.last_sent <= beats.last_heard { [sent, heard] } else { [heard, sent] };
        for (last, way, count) in in_order.into_iter().filter(|(_, _, count)| *count > 0) {
            let times = u32::try_from(count).unwrap_or(u32::MAX);
            self.trail.messages(last, way, Kind::Keepalive, &message, times);
        }
        if let Some(only) = self.steady_mut().filter(|_| beats.heard > 0) {
            only.beats_heard(beats.heard, beats.last_heard);
        }
    }
}
