//! A TCP connection as two byte queues: in order, in pieces of any size, held up while the way is broken. Only data; the events that
//! move it are in `sim/tcp.rs`.

use super::network::Port;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::net::SocketAddr;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::ConnId;
use weft_bgp::wire::framer::Framer;
use weft_bgp::wire::{Kind, MAX_MESSAGE_BYTES};

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
    framer: Framer,
}

impl Default for Half {
    fn default() -> Self {
        Self {
            flight: VecDeque::new(),
            bytes: 0,
            fin: false,
            blocked: false,
            armed: false,
            wait: FIRST_RETRANSMIT,
            framer: Framer::new(MAX_MESSAGE_BYTES),
        }
    }
}

impl Half {
    /// Bytes on their way; the messages that are complete with them, for counting.
    pub(super) fn push(&mut self, arrival: Instant, data: Bytes) -> Vec<(Kind, usize)> {
        self.framer.push(&data);
        self.bytes += data.len();
        self.flight.push_back((arrival, data));
        let mut messages = Vec::new();
        while let Some(Ok((kind, message))) = self.framer.next_message() {
            messages.push((kind, message.len()));
        }
        messages
    }

    /// How much has arrived by now.
    pub(super) fn arrived(&self, now: Instant) -> usize {
        self.flight.iter().take_while(|(at, _)| *at <= now).map(|(_, data)| data.len()).sum()
    }

    /// The first `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Bytes {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let Some((_, front)) = self.flight.front_mut() else {
                break;
            };
            let part = front.len().min(count - taken.len());
            taken.extend_from_slice(&front[..part]);
            front.advance(part);
            if front.is_empty() {
                self.flight.pop_front();
            }
        }
        self.bytes -= taken.len();
        self.wait = FIRST_RETRANSMIT;
        taken.into()
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
