//! One BFD session, asynchronous mode: the variables of RFC 5880 §6.8.1 and what changes them. No addresses, no clock.
//!
//! ```text
//!              Down heard          Init or Up heard
//!   Down ──────────────────▶ Init ──────────────────▶ Up          RFC 5880 §6.2
//!    │  Init heard ────────────────────────────────▶  │
//!    ◀───── detection time over, or AdminDown heard ──┤           (in Init too)
//!    ◀───── Down heard ───────────────────────────────┘
//! ```
//! While it is not Up a session sends once a second at most (§6.8.3). A change of an interval is told by a Poll Sequence (§6.5), and
//! until that ends whichever old value is the safer one stays in force.

use super::wire::{Control, Diagnostic, LENGTH, State};
use serde::{Deserialize, Serialize};
use weft_bgp::rng::Rng;
use weft_bgp::time::{Duration, Instant};

/// Least Desired Min TX Interval of a session that is not Up (RFC 5880 §6.8.3).
const SLOW_US: u32 = 1_000_000;
/// Sending times are rounded down to this, so that sessions share wake-ups; only intervals that are much longer.
const SLOT_NS: u64 = 1_000_000;
/// How much longer.
const SLOTTED_FROM_US: u32 = 8_000;
/// How long AdminDown is told at most before a session is forgotten (RFC 5880 §6.8.16: a detection time).
const GOODBYE: Duration = Duration::from_secs(3);

/// What is configured about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// How often we want to send, microseconds; not 0.
    pub transmit_us: u32,
    /// How often the other end may send, microseconds; not 0.
    pub receive_us: u32,
    /// Packets missed until it is down, and what the other end may miss of ours; not 0.
    pub multiplier: u8,
}

/// What the other end last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    pub(super) state: State,
    pub(super) diagnostic: Diagnostic,
    pub(super) discriminator: u32,
    pub(super) min_rx_us: u32,
    pub(super) desired_min_tx_us: u32,
    pub(super) detect_mult: u8,
    pub(super) demand: bool,
    pub(super) independent: bool,
}

impl Remote {
    /// Nothing is known (RFC 5880 §6.8.1: RemoteMinRxInterval begins with 1).
    const UNKNOWN: Self = Self {
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        discriminator: 0,
        min_rx_us: 1,
        desired_min_tx_us: 0,
        detect_mult: 0,
        demand: false,
        independent: false,
    };
}

/// Why a session changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The other end is heard.
    Heard,
    /// Nothing came for the detection time.
    TimeExpired,
    /// The other end says that it is down.
    NeighborDown,
    /// The other end is kept down on purpose, which is no failure (RFC 5882 §3.2).
    NeighborAdminDown,
    /// We keep it down.
    AdminDown,
}

impl Cause {
    /// As a phrase.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Heard => "the neighbor is heard",
            Self::TimeExpired => "nothing heard for the detection time",
            Self::NeighborDown => "the neighbor says that it is down",
            Self::NeighborAdminDown => "taken down there on purpose",
            Self::AdminDown => "taken down here",
        }
    }
}

/// A session went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// From this.
    pub from: State,
    /// To this.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

impl Change {
    /// The path broke: what was Up is not, and nobody meant that (RFC 5882 §3.2).
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self.from, State::Up) && matches!(self.cause, Cause::TimeExpired | Cause::NeighborDown)
    }
}

/// A Poll Sequence (RFC 5880 §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    None,
    /// To be told, or told, with P set.
    Under {
        is_sent: bool,
        again: bool,
    },
}

/// The variables of a session that is Up, as they are handed to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variables {
    timers: Timers,
    diagnostic: Diagnostic,
    discriminator: u32,
    remote: Remote,
    desired_min_tx_us: u32,
    transmit_in_force_us: u32,
    receive_in_force_us: u32,
    polls: bool,
    since: Instant,
}

/// How often a session sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cadence {
    interval_us: u64,
    /// Thousandths by which an interval may be longer than three quarters.
    spread: u64,
}

impl Cadence {
    /// RFC 5880 §6.8.7: each interval shorter by 0 to 25 % at random; by 10 % at least where a single miss counts.
    pub(super) fn after(self, sent: Instant, rng: &mut Rng) -> Instant {
        let interval = self.interval_us;
        let drawn = sent + Duration::from_micros(interval * (750 + rng.next_u64() % (self.spread + 1)) / 1_000);
        let slot = Instant(drawn.0 - drawn.0 % SLOT_NS);
        let earliest = sent + Duration::from_micros(interval * 3 / 4);
        if interval >= u64::from(SLOTTED_FROM_US) && slot >= earliest { slot } else { drawn }
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    timers: Timers,
    pub(super) state: State,
    pub(super) diagnostic: Diagnostic,
    pub(super) discriminator: u32,
    pub(super) remote: Remote,
    /// As we tell it, and what is in force until a Poll Sequence ends (RFC 5880 §6.8.3).
    desired_min_tx_us: u32,
    transmit_in_force_us: u32,
    receive_in_force_us: u32,
    poll: Poll,
    /// An answer to a Poll is due.
    owes_final: bool,
    sent: Option<(Instant, Control)>,
    next_tx: Option<Instant>,
    detect_at: Option<Instant>,
    /// It is being taken away, and forgotten then.
    pub(super) gone_at: Option<Instant>,
    pub(super) since: Instant,
    pub(super) received: u64,
    pub(super) transmitted: u64,
}

impl Session {
    pub(super) fn new(now: Instant, discriminator: u32, timers: Timers) -> Self {
        let slow = timers.transmit_us.max(SLOW_US);
        Self {
            timers,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            discriminator,
            remote: Remote::UNKNOWN,
            desired_min_tx_us: slow,
            transmit_in_force_us: slow,
            receive_in_force_us: timers.receive_us,
            poll: Poll::None,
            owes_final: false,
            sent: None,
            next_tx: Some(now),
            detect_at: None,
            gone_at: None,
            since: now,
            received: 0,
            transmitted: 0,
        }
    }

    /// For another process.
    pub(super) fn inner(&self) -> Variables {
        Variables {
            timers: self.timers,
            diagnostic: self.diagnostic,
            discriminator: self.discriminator,
            remote: self.remote,
            desired_min_tx_us: self.desired_min_tx_us,
            transmit_in_force_us: self.transmit_in_force_us,
            receive_in_force_us: self.receive_in_force_us,
            polls: self.poll != Poll::None,
            since: self.since,
        }
    }

    /// Of another process: Up, and silent no longer than the detection time from now on, for we were not there to hear.
    pub(super) fn resume(now: Instant, inner: Variables) -> Self {
        let mut own = Self::new(now, inner.discriminator, inner.timers);
        own.state = State::Up;
        own.diagnostic = inner.diagnostic;
        own.remote = inner.remote;
        own.desired_min_tx_us = inner.desired_min_tx_us;
        own.transmit_in_force_us = inner.transmit_in_force_us;
        own.receive_in_force_us = inner.receive_in_force_us;
        own.since = inner.since;
        if inner.polls {
            own.begin_poll();
        }
        own.detect_at = Some(now + own.detection_time());
        own
    }

    /// As configured.
    pub(super) const fn timers(&self) -> Timers {
        self.timers
    }

    /// A packet for this session that passed every check before that (RFC 5880 §6.8.6).
    pub(super) fn receive(&mut self, now: Instant, packet: &Control, rng: &mut Rng) -> Option<Change> {
        self.received += 1;
        self.remote = Remote {
            state: packet.state,
            diagnostic: packet.diagnostic,
            discriminator: packet.my_discriminator,
            min_rx_us: packet.required_min_rx_us,
            desired_min_tx_us: packet.desired_min_tx_us,
            detect_mult: packet.detect_mult,
            demand: packet.demand,
            independent: packet.independent,
        };
        if packet.is_final {
            self.end_poll();
        }
        self.detect_at = Some(now + self.detection_time());
        let change = self.follow(now, packet.state);
        if packet.poll {
            // RFC 5880 §6.8.7: answered whatever the state and the timers are; several in one turn get one answer.
            self.owes_final = true;
        }
        self.plan(now, rng);
        change
    }

    /// The state machine (RFC 5880 §6.8.6, from "If bfd.SessionState is AdminDown" on).
    fn follow(&mut self, now: Instant, heard: State) -> Option<Change> {
        let (to, cause, diagnostic) = match (self.state, heard) {
            (State::AdminDown, _) | (State::Down, State::AdminDown) => return None,
            (State::Init | State::Up, State::AdminDown) => {
                (State::Down, Cause::NeighborAdminDown, Some(Diagnostic::NEIGHBOR_DOWN))
            }
            (State::Down, State::Down) => (State::Init, Cause::Heard, None),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => (State::Up, Cause::Heard, None),
            (State::Up, State::Down) => (State::Down, Cause::NeighborDown, Some(Diagnostic::NEIGHBOR_DOWN)),
            (State::Down, State::Up) | (State::Init, State::Down) | (State::Up, State::Init | State::Up) => {
                return None;
            }
        };
        self.diagnostic = diagnostic.unwrap_or(self.diagnostic);
        Some(self.enter(now, to, cause))
    }

    fn enter(&mut self, now: Instant, to: State, cause: Cause) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.tell_intervals();
        Change { from, to, cause }
    }

    /// What the state and the configuration ask for is told, by a Poll Sequence if it is new (RFC 5880 §6.8.3).
    fn tell_intervals(&mut self) {
        let is_up = self.state == State::Up;
        let wanted = if is_up { self.timers.transmit_us } else { self.timers.transmit_us.max(SLOW_US) };
        if wanted != self.desired_min_tx_us {
            self.desired_min_tx_us = wanted;
            self.begin_poll();
        }
        // An increase waits for the end of the Poll Sequence while Up.
        if !is_up || wanted < self.transmit_in_force_us {
            self.transmit_in_force_us = wanted;
        }
    }

    /// Takes a new configuration; the session stays as it is (RFC 5880 §6.8.3).
    pub(super) fn set_timers(&mut self, now: Instant, timers: Timers, rng: &mut Rng) {
        let old = std::mem::replace(&mut self.timers, timers);
        if timers.receive_us != old.receive_us {
            self.begin_poll();
            // A reduction waits for the end of the Poll Sequence while Up: until then the other end sends as before.
            if self.state != State::Up || timers.receive_us > self.receive_in_force_us {
                self.receive_in_force_us = timers.receive_us;
            }
        }
        self.tell_intervals();
        self.plan(now, rng);
    }

    fn begin_poll(&mut self) {
        self.poll = match self.poll {
            Poll::None | Poll::Under { is_sent: false, .. } => Poll::Under { is_sent: false, again: false },
            // RFC 5880 §6.5: an answer that is under way may be one to the old values.
            Poll::Under { is_sent: true, .. } => Poll::Under { is_sent: true, again: true },
        };
    }

    /// An F came. One that nothing was asked for ends nothing.
    fn end_poll(&mut self) {
        match self.poll {
            Poll::None | Poll::Under { is_sent: false, .. } => {}
            Poll::Under { is_sent: true, again: true } => self.poll = Poll::Under { is_sent: false, again: false },
            Poll::Under { is_sent: true, again: false } => {
                self.poll = Poll::None;
                self.transmit_in_force_us = self.desired_min_tx_us;
                self.receive_in_force_us = self.timers.receive_us;
            }
        }
    }

    /// What we keep down ourselves (RFC 5880 §6.8.16): told for a detection time, then forgotten.
    pub(super) fn admin_down(&mut self, now: Instant, rng: &mut Rng) {
        let patience = Duration::from_micros(self.transmit_interval_us()) * u32::from(self.timers.multiplier);
        self.gone_at = Some(now + patience.min(GOODBYE));
        self.diagnostic = Diagnostic::ADMIN_DOWN;
        self.enter(now, State::AdminDown, Cause::AdminDown);
        self.plan(now, rng);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant, rng: &mut Rng) -> Option<Change> {
        self.detect_at.take_if(|at| *at <= now)?;
        // RFC 5880 §6.8.1: bfd.RemoteDiscr is forgotten in any state; with it goes what only its owner could know.
        self.remote = Remote { independent: self.remote.independent, ..Remote::UNKNOWN };
        let change = matches!(self.state, State::Init | State::Up).then(|| {
            // RFC 5880 §6.8.4.
            self.diagnostic = Diagnostic::TIME_EXPIRED;
            self.enter(now, State::Down, Cause::TimeExpired)
        });
        self.plan(now, rng);
        change
    }

    /// We ourselves were not there for so long: the other end is not to blame for what we could not hear.
    pub(super) fn forgive(&mut self, time: Duration) {
        self.detect_at = self.detect_at.map(|at| at + time);
    }

    /// When to send next, after something changed (RFC 5880 §6.8.7).
    fn plan(&mut self, now: Instant, rng: &mut Rng) {
        let packet = self.packet(false);
        let Some((sent, last)) = &self.sent else {
            self.next_tx = Some(now);
            return;
        };
        // What the other end does not know yet is told at once, whatever the interval.
        if !same_but_poll_and_final(last, &packet) || matches!(self.poll, Poll::Under { is_sent: false, .. }) {
            self.next_tx = Some(now);
            return;
        }
        let (sent, interval) = (*sent, self.transmit_interval_us());
        if !self.sends_periodically() {
            self.next_tx = None;
        } else {
            // A new interval counts from the last packet; a shorter one at once (RFC 5880 §6.8.3).
            let earliest = sent + Duration::from_micros(interval * 3 / 4);
            let latest = sent + Duration::from_micros(interval);
            if self.next_tx.is_none_or(|at| at < earliest || at > latest) {
                self.next_tx = Some(self.jittered(sent, rng));
            }
        }
    }

    /// The next packet, if one is due.
    pub(super) fn transmit(&mut self, now: Instant, rng: &mut Rng) -> Option<[u8; LENGTH]> {
        if std::mem::take(&mut self.owes_final) {
            self.transmitted += 1;
            return Some(self.packet(true).encode());
        }
        if self.next_tx.is_none_or(|at| at > now) {
            return None;
        }
        let packet = self.packet(false);
        if let Poll::Under { is_sent, .. } = &mut self.poll {
            *is_sent = true;
        }
        self.sent = Some((now, packet));
        self.next_tx = self.sends_periodically().then(|| self.jittered(now, rng));
        self.transmitted += 1;
        Some(packet.encode())
    }

    /// RFC 5880 §6.8.7: what a packet says; P and F are never both set (§6.5).
    fn packet(&self, is_final: bool) -> Control {
        Control {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.poll != Poll::None && !is_final,
            is_final,
            // BFD is a thread of the daemon and dies with it.
            independent: false,
            demand: false,
            detect_mult: self.timers.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx_us: self.desired_min_tx_us,
            required_min_rx_us: self.timers.receive_us,
            required_min_echo_rx_us: 0,
        }
    }

    /// RFC 5880 §6.8.7: not to who wants nothing, nor to who is in demand mode while both are Up and nothing is asked.
    fn sends_periodically(&self) -> bool {
        let both_up = self.state == State::Up && self.remote.state == State::Up;
        self.remote.min_rx_us != 0 && !(self.remote.demand && both_up && self.poll == Poll::None)
    }

    /// RFC 5880 §6.8.2, §6.8.7: the slower of the two wins.
    pub(super) fn transmit_interval_us(&self) -> u64 {
        u64::from(self.transmit_in_force_us.max(self.remote.min_rx_us))
    }

    /// RFC 5880 §6.8.4; zero while nothing was heard.
    pub(super) fn detection_time(&self) -> Duration {
        let interval = self.receive_in_force_us.max(self.remote.desired_min_tx_us);
        Duration::from_micros(u64::from(interval) * u64::from(self.remote.detect_mult))
    }

    fn jittered(&self, sent: Instant, rng: &mut Rng) -> Instant {
        self.cadence().after(sent, rng)
    }

    /// How often it sends.
    pub(super) fn cadence(&self) -> Cadence {
        Cadence {
            interval_us: self.transmit_interval_us(),
            spread: if self.timers.multiplier == 1 { 150 } else { 250 },
        }
    }

    /// When it sends and when it fails, of one that is Up at both ends and has nothing to say but that; of one that hears the other end more
    /// often than it has to: then it is called to send, and never finds itself at a deadline that moved away.
    pub(super) fn steady(&self) -> Option<(Instant, Instant)> {
        let is_up = self.state == State::Up && self.remote.state == State::Up && self.gone_at.is_none();
        let is_told = self.poll == Poll::None && !self.owes_final && self.sends_periodically();
        let (_, last) = self.sent.as_ref()?;
        let says_the_same = same_but_poll_and_final(last, &self.packet(false)) && !last.poll;
        let interval = Duration::from_micros(self.transmit_interval_us());
        let is_patient = self.remote.detect_mult >= 2 && self.detection_time() >= interval * 2;
        (is_up && is_told && says_the_same && is_patient).then_some((self.next_tx?, self.detect_at?))
    }

    /// What it sends again and again.
    pub(super) fn says(&self) -> [u8; LENGTH] {
        self.packet(false).encode()
    }

    /// It sent what it always sends, so many times, and does so again at `next`.
    pub(super) fn beat(&mut self, count: u64, last: Instant, next: Instant) {
        if count > 0 {
            self.sent = Some((last, self.packet(false)));
        }
        self.transmitted += count;
        self.next_tx = Some(next);
    }

    /// It heard what it always hears, so many times.
    pub(super) fn heard(&mut self, count: u64, last: Instant) {
        self.received += count;
        self.detect_at = Some(last + self.detection_time());
    }

    /// When it must be looked at; for sending too, unless that is on its way already.
    pub(super) fn next_timeout(&self, sends: bool) -> Option<Instant> {
        let owed = self.owes_final.then_some(Instant::ZERO);
        let send = [owed, self.next_tx].into_iter().flatten().min().filter(|_| sends);
        [send, self.detect_at, self.gone_at].into_iter().flatten().min()
    }

    /// Whether there is something to send.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.owes_final || self.next_tx.is_some_and(|at| at <= now)
    }
}

fn same_but_poll_and_final(a: &Control, b: &Control) -> bool {
    Control { poll: false, is_final: false, ..*a } == Control { poll: false, is_final: false, ..*b }
}
