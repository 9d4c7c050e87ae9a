//! One direction of a quiet connection: when each KEEPALIVE arrives, from the same random numbers as in `sim/tcp.rs`. No message is made.

use crate::sim::pipe::{Half, Pipe, pause, piece};
use bytes::{Bytes, BytesMut};
use weft_bgp::rng::Rng;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::wire::{HEADER_BYTES, put_keepalive};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Lane {
    latency: Duration,
    rng: Rng,
    /// How many whole ones came, and when the last did.
    pub(super) heard: (u64, Instant),
    /// The one that did not get across in time.
    left: Option<Left>,
}

/// A KEEPALIVE on its way.
#[derive(Clone, Copy, Debug)]
struct Left {
    arrival: Instant,
    /// Octets that were handed over.
    taken: usize,
    /// When the next ones are.
    due: Instant,
}

impl Lane {
    /// What an end of a connection sends into; nothing is under way.
    pub(super) fn new(pipe: &Pipe, side: usize) -> Self {
        Self { latency: pipe.latency, rng: pipe.halves[side].rng.clone(), heard: (0, Instant::ZERO), left: None }
    }

    /// A KEEPALIVE is sent; up to `until` it gets across, in pieces of at most `chunk` octets.
    pub(super) fn send(&mut self, at: Instant, until: Instant, chunk: u64) {
        let arrival = at + self.latency;
        let mut left = Left { arrival, taken: 0, due: arrival + pause(&mut self.rng) };
        while left.due <= until {
            left.taken += piece(&mut self.rng, chunk);
            if left.taken >= HEADER_BYTES {
                self.heard = (self.heard.0 + 1, left.due);
                return;
            }
            left.due = left.due + pause(&mut self.rng);
        }
        self.left = Some(left);
    }

    /// Puts what did not get across into the cable; what of it the far end has, and when the next piece comes.
    pub(super) fn leave(self, half: &mut Half) -> (Bytes, Option<Instant>) {
        half.rng = self.rng;
        half.armed = self.left.is_some();
        let Some(Left { arrival, taken, due }) = self.left else {
            return (Bytes::new(), None);
        };
        let mut message = BytesMut::with_capacity(HEADER_BYTES);
        put_keepalive(&mut message);
        let mut message = message.freeze();
        let begun = message.split_to(taken);
        half.push(arrival, message);
        (begun, Some(due))
    }
}

/// What is under way on a half gets across, the first piece at `due`: each piece, and when.
pub(super) fn land(mut due: Instant, half: &mut Half, chunk: u64) -> Vec<(Instant, Bytes)> {
    let mut landed = Vec::new();
    loop {
        let most = piece(&mut half.rng, chunk);
        let data = half.take(due, most);
        if !data.is_empty() {
            landed.push((due, data));
        }
        let Some(arrival) = half.next_arrival() else {
            half.armed = false;
            return landed;
        };
        due = arrival.max(due) + pause(&mut half.rng);
    }
}
