//! A TCP connection as two byte queues: in order, in pieces of any size, held up while the way is broken. Only data; the events that
//! move it are in `sim/tcp.rs`.

use super::network::Port;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use weft_bgp::rng::Rng;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::ConnId;
use weft_bgp::wire::{HEADER_BYTES, Kind};

/// First wait before what got lost is sent again; doubled up to [`MOST_RETRANSMIT`].
const FIRST_RETRANSMIT: Duration = Duration::from_millis(200);
/// Longest wait. Linux goes on to two minutes; no session lives that long without an answer.
const MOST_RETRANSMIT: Duration = Duration::from_secs(3);

/// A connection's name in the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PipeId(pub u64);

/// One end: 0 dialled, 1 accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) port: Port,
    pub(super) addr: SocketAddr,
    pub(super) conn: ConnId,
    /// The process still holds the socket.
    pub(super) open: bool,
}

/// What one end sends.
#[derive(Debug)]
pub(super) struct Half {
    /// With the time of arrival.
    flight: VecDeque<(Instant, Bytes)>,
    pub(super) bytes: usize,
    pub(super) fin: bool,
    /// The window was full when the daemon had more.
    pub(super) blocked: bool,
    /// A delivery is scheduled.
    pub(super) armed: bool,
    wait: Duration,
    /// Of pieces and pauses: its own, so that what comes when does not depend on what goes on elsewhere.
    pub(super) rng: Rng,
}

/// How long bytes that arrived wait until they are handed over, at most.
const MOST_PAUSE_NS: u64 = 20_000;

/// Draws such a wait.
pub(super) fn pause(rng: &mut Rng) -> Duration {
    Duration::from_nanos(rng.next_u64() % MOST_PAUSE_NS)
}

/// Draws how many bytes are handed over at once.
pub(super) fn piece(rng: &mut Rng, most: u64) -> usize {
    usize::try_from(rng.next_u64() % most).unwrap_or(0) + 1
}

impl Half {
    /// Nothing is on its way; `seed` decides pieces and pauses.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            flight: VecDeque::new(),
            bytes: 0,
            fin: false,
            blocked: false,
            armed: false,
            wait: FIRST_RETRANSMIT,
            rng: Rng::new(seed),
        }
    }

    /// Everything gets across at once: nothing is sent again, nothing waits for room, and the end is not yet.
    pub(super) fn flows(&self) -> bool {
        self.wait == FIRST_RETRANSMIT && !self.blocked && !self.fin
    }

    /// Bytes on their way.
    pub(super) fn push(&mut self, arrival: Instant, data: Bytes) {
        self.bytes += data.len();
        self.flight.push_back((arrival, data));
    }

    /// Of what has arrived by now the first bytes, at most `most`; none: nothing has.
    pub(super) fn take(&mut self, now: Instant, most: usize) -> Bytes {
        let mut taken = self.take_front(now, most);
        while taken.len() < most {
            let more = self.take_front(now, most - taken.len());
            if more.is_empty() {
                break;
            }
            taken = [taken, more].concat().into();
        }
        if !taken.is_empty() {
            self.bytes -= taken.len();
            self.wait = FIRST_RETRANSMIT;
        }
        taken
    }

    fn take_front(&mut self, now: Instant, most: usize) -> Bytes {
        let Some((_, front)) = self.flight.front_mut().filter(|(at, _)| *at <= now) else {
            return Bytes::new();
        };
        let part = front.split_to(front.len().min(most));
        if front.is_empty() {
            self.flight.pop_front();
        }
        part
    }

    /// When the next byte arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.flight.front().map(|(at, _)| *at)
    }

    /// Nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.flight.is_empty()
    }

    /// The way is broken: when to try again.
    pub(super) fn back_off(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(MOST_RETRANSMIT);
        wait
    }

    /// What was on its way is lost for good.
    pub(super) fn lose(&mut self) {
        self.flight.clear();
        self.bytes = 0;
        self.fin = false;
    }
}

/// Type and length of each message that a daemon wrote; it writes whole ones.
pub(super) fn messages(mut data: &[u8]) -> impl Iterator<Item = (Kind, usize)> {
    std::iter::from_fn(move || {
        let &[high, low, kind] = data.get(HEADER_BYTES - 3..HEADER_BYTES)?.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        data = data.get(length.max(HEADER_BYTES)..)?;
        Some((Kind::from_wire(kind)?, length))
    })
}

/// A connection.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) ends: [End; 2],
    pub(super) halves: [Half; 2],
    /// Both ends know of it.
    pub(super) stands: bool,
    pub(super) latency: Duration,
    /// When an end that closed gives up what is still on its way.
    pub(super) linger: Option<Instant>,
}
