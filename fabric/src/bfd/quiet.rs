//! Quiet time in closed form, for simulations: sessions that are Up at both ends exchange the same packet again and again, so they can be
//! advanced without carrying it. The state afterwards is that of a machine which sent and heard every one of them.

use super::wire::LENGTH;
use super::{Bfd, Endpoint, Entry, SessionId, State};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use weft_bgp::time::Instant;

/// A session that is Up, as one end knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Which.
    pub id: SessionId,
    /// Where it sends to.
    pub endpoint: Endpoint,
    /// Our discriminator and theirs.
    pub discriminators: (u32, u32),
    /// When the next packet is sent.
    pub sends_at: Instant,
    /// When it fails unless one is heard.
    pub fails_at: Instant,
    /// What it sends.
    pub packet: [u8; LENGTH],
}

/// When a session sends next, which one, and its place among [`Bfd::steady`].
type Due = Reverse<(Instant, SessionId, usize)>;

impl Entry {
    /// It is Up at both ends, and looked at again only to send.
    fn steady(&self, id: SessionId) -> Option<Steady> {
        let own = &self.session;
        let (sends_at, fails_at) = own.steady()?;
        let is_idle = !self.is_ready && self.wake == Some(sends_at) && self.wanted.is_established && !self.is_dead;
        is_idle.then(|| Steady {
            id,
            endpoint: self.endpoint(),
            discriminators: (own.discriminator, own.remote.discriminator),
            sends_at,
            fails_at,
            packet: own.says(),
        })
    }
}

impl Bfd {
    /// All sessions, in the order of their ids, if nothing will happen of itself but that they send, as far as the other ends do too;
    /// `None`: something is under way.
    #[must_use]
    pub fn steady(&self) -> Option<Vec<Steady>> {
        let is_idle = self.ready.is_empty() && self.output.is_empty() && self.orphans.next_timeout().is_none();
        is_idle.then(|| self.entries.iter().map(|(id, entry)| entry.steady(*id)).collect())?
    }

    /// Lets [`Self::steady`] send alone until `until`, as [`Input::Tick`](super::Input::Tick) at each deadline would, with the same
    /// jitter; `sent` hears of each packet: of which session, and when.
    pub fn beat(&mut self, until: Instant, mut sent: impl FnMut(usize, Instant)) {
        let mut due: BinaryHeap<Due> = BinaryHeap::new();
        let mut beats = Vec::new();
        for (place, (id, entry)) in self.entries.iter().enumerate() {
            due.extend(entry.steady(*id).map(|steady| Reverse((steady.sends_at, *id, place))));
            beats.push((entry.session.cadence(), 0_u64, Instant::ZERO));
        }
        while let Some(mut first) = due.peek_mut() {
            let Reverse((at, id, place)) = *first;
            let Some((cadence, count, last)) = beats.get_mut(place).filter(|_| at <= until) else {
                break;
            };
            sent(place, at);
            (*count, *last) = (*count + 1, at);
            *first = Reverse((cadence.after(at, &mut self.rng), id, place));
            drop::<PeekMut<'_, Due>>(first);
        }
        for Reverse((next, id, place)) in due {
            if let (Some(entry), Some((_, count, last))) = (self.entries.get_mut(&id), beats.get(place)) {
                entry.session.beat(*count, *last, next);
                entry.wake.replace(next).map(|at| self.wakes.remove(&(at, id)));
                self.wakes.insert((next, id));
            }
        }
    }

    /// So many packets came for a session, the last one at `last`.
    pub fn heard(&mut self, id: SessionId, count: u64, last: Instant) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.session.state == State::Up && count > 0) {
            entry.session.heard(count, last);
        }
    }
}
