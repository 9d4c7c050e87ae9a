//! Quiet time in closed form: sessions that stand exchange KEEPALIVEs and nothing else, so they can be advanced without carrying each
//! message. For simulations: the state afterwards is that of a speaker which sent and heard every one of them.
//!
//! ```text
//! quiet_until ──▶ keep_alive: timers alone, with the same jitter, in the same order ──▶ who sent when
//!                                          what each end heard of the other ──▶ exchanged: counters, hold timers, history
//! ```

use super::machine::Speaker;
use crate::peer::Beats;
use crate::time::{Duration, Instant};
use crate::types::{ConnId, PeerId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// A session that stands and on which nothing waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Its connection.
    pub conn: ConnId,
    /// When it ends unless something is heard, and the hold time; `None`: it has no timers.
    pub patience: Option<(Instant, Duration)>,
}

/// A session's next KEEPALIVE: when, whose, and its place among [`Speaker::steady`].
type Due = Reverse<(Instant, PeerId, usize)>;

impl Speaker {
    /// Before when nothing will happen of itself but that sessions which stand send KEEPALIVEs, as far as their peers do too; `None`:
    /// something is under way.
    #[must_use]
    pub fn quiet_until(&self) -> Option<Instant> {
        let is_behind = self.has_news || self.offered != self.readable() || self.fib_cursor < self.table.log_end();
        let is_busy = self.is_walking() || self.is_turning() || !self.exceeded.is_empty() || !self.news.is_empty();
        if !self.settled || is_behind || is_busy || !self.output.is_empty() || !self.monitors.is_empty() {
            return None;
        }
        let peers = self.members.values().filter_map(|member| member.peer.next_unquiet());
        let own = [self.ask_timeout(), self.rpki_timeout()].into_iter().flatten().map(|(at, _)| at);
        Some(peers.chain(own).min().unwrap_or(Instant(u64::MAX)))
    }

    /// The sessions that stand, in order of their peers.
    pub fn steady(&self) -> impl Iterator<Item = Steady> {
        let connections = self.members.values().filter_map(|member| member.peer.steady());
        connections.map(|own| Steady { conn: own.id, patience: own.patience() })
    }

    /// Runs the keepalive timers of [`Self::steady`] alone until `until`, as [`Input::Tick`](super::Input::Tick) at each deadline would;
    /// `sent` hears of each KEEPALIVE: which of the sessions, and when.
    pub fn keep_alive(&mut self, until: Instant, mut sent: impl FnMut(usize, Instant)) {
        // Nothing is told meanwhile, so the log is trimmed once.
        self.trim();
        let steady = self.members.iter().filter_map(|(id, member)| Some((*id, member.peer.steady()?)));
        let mut intervals = Vec::new();
        let mut due: BinaryHeap<Due> = BinaryHeap::new();
        for (place, (id, own)) in steady.enumerate() {
            let beat = own.beat();
            due.extend(beat.map(|(at, _)| Reverse((at, id, place))));
            intervals.push((beat.map_or(Duration::ZERO, |(_, interval)| interval), 0_u64));
        }
        let mut last = (Instant::ZERO, 0);
        while let Some(mut first) = due.peek_mut() {
            let Reverse((at, id, place)) = *first;
            let Some((interval, count)) = intervals.get_mut(place).filter(|_| at <= until) else {
                break;
            };
            sent(place, at);
            *count += 1;
            // RFC 4271 §10: jittered.
            *first = Reverse((at + self.rng.jitter(*interval), id, place));
            drop::<PeekMut<'_, Due>>(first);
            last = if at == last.0 { (at, last.1 + 1) } else { (at, 1) };
        }
        for Reverse((next, id, place)) in due {
            let count = intervals.get(place).map_or(0, |(_, count)| *count);
            if let Some(own) = self.members.get_mut(&id).and_then(|member| member.peer.steady_mut()) {
                own.beats_sent(count, next);
            }
            self.renew_timer(id);
        }
        self.untrimmed = last.1;
    }

    /// What sessions exchanged: their connections, and KEEPALIVEs of both directions, those of [`Self::keep_alive`] included.
    pub fn exchanged(&mut self, all: impl Iterator<Item = (ConnId, Beats)>) {
        for (conn, beats) in all {
            let Some(id) = self.conns.get(&conn).copied() else {
                continue;
            };
            if let Some(member) = self.members.get_mut(&id) {
                member.peer.beats(&beats);
            }
            self.renew_timer(id);
        }
    }
}
