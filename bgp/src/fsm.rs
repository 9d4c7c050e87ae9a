//! The RFC 4271 §8 machine of one TCP connection: OpenSent → OpenConfirm → Established. Knows nothing of a second connection,
//! of retries or of routes; [`crate::peer`] arbitrates.
//!
//! ```text
//!            OPEN ok               KEEPALIVE
//! OpenSent ──────────▶ OpenConfirm ──────────▶ Established
//!     └──── hold timer, bad or unexpected message, NOTIFICATION, end of file ────▶ Ended (said once)
//! ```
//! Idle, Connect and Active belong to the peer: a `Connection` exists only once TCP is up. With DelayOpen (§8.1.1, off unless
//! configured) it begins in `Delayed`, which the RFC counts as Connect or Active, and where a fault costs the connection without a
//! NOTIFICATION (§8.2.2, SendNOTIFICATIONwithoutOPEN is not set).

mod handover;
mod negotiate;
mod quiet;

use crate::peer::{FsmState, Local, PeerConfig, Session, Trail, Way};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::types::{ConnId, Family};
use crate::wire::framer::Framer;
use crate::wire::open::Open;
use crate::wire::refresh::Subtype;
use crate::wire::{
    EXTENDED_MESSAGE_BYTES, HEADER_BYTES, Kind, MAX_MESSAGE_BYTES, Notification, put_keepalive, refresh,
};
use bytes::{Bytes, BytesMut};
use negotiate::{Place, negotiate};
use std::net::SocketAddr;
use std::sync::Arc;

/// Hold time before the OPEN arrived: "a large value" (RFC 4271 §8.2.2, 4 minutes suggested).
const OPEN_HOLD: Duration = Duration::from_secs(240);

/// How long an OPEN waits for BFD (draft-ietf-idr-bgp-bfd-strict-mode §7, the default).
const BFD_HOLD: Duration = Duration::from_secs(30);

/// Which end dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We did.
    Dialled,
    /// They did.
    Accepted,
}

/// Least time without room in the socket that ends a session (RFC 9687 §6: the greater of this and twice the hold time).
const SEND_HOLD_LEAST: Duration = Duration::from_secs(480);

/// A wait for BFD.
#[derive(Clone, Copy, Debug)]
struct Await {
    /// Their KEEPALIVE has come meanwhile.
    confirmed: bool,
    /// Without BFD there is to be no session; otherwise it goes on without when the time is over.
    strict: bool,
}

/// State, carrying its data.
#[derive(Debug)]
enum State {
    /// TCP is up, and our OPEN waits for theirs or for the DelayOpenTimer.
    Delayed(Instant),
    OpenSent,
    OpenConfirm(Arc<Session>),
    Established(Arc<Session>),
    /// The session it had, if it was Established.
    Ended(Option<Arc<Session>>),
}

/// What one connection reports.
#[derive(Debug)]
pub(crate) enum ConnEvent {
    /// A good OPEN came; the arbiter looks for a collision before calling [`Connection::confirm`].
    Opened,
    /// The first KEEPALIVE came.
    Established,
    /// A whole UPDATE.
    Update(Bytes),
    /// A ROUTE-REFRESH.
    Refresh(Family, Subtype),
    /// Over; said once.
    Ended(End),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// We sent this.
    Sent(Notification),
    /// They sent this.
    Received(Notification),
    /// This was wrong with them, but we had sent no OPEN yet, and so no NOTIFICATION.
    Dropped(Notification),
    /// The TCP connection ended without a word.
    Lost,
}

/// One TCP connection to a peer.
#[derive(Debug)]
pub struct Connection {
    pub(crate) id: ConnId,
    pub(crate) direction: Direction,
    local: SocketAddr,
    remote: SocketAddr,
    framer: Framer,
    state: State,
    ended_in: FsmState,
    /// The OPEN we sent, to negotiate against.
    sent_open: Open,
    /// Theirs as it was on the wire, for who observes (RFC 7854 §4.10).
    received_open: Box<[u8]>,
    /// Their OPEN was good, and its answer waits for BFD.
    awaits_bfd: Option<Await>,
    hold_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    /// Control messages not yet taken by the socket.
    out: BytesMut,
    /// The last of them is a KEEPALIVE: another would say nothing new, and a peer that does not read shall not fill our memory.
    keepalive_waits: bool,
    /// Since when there has been something to send and no room for it.
    blocked_since: Option<Instant>,
    send_hold: Option<Duration>,
    pub(crate) received: [u64; 5],
    pub(crate) sent: [u64; 5],
}

impl Connection {
    /// TCP is up: sends our OPEN (RFC 4271 §8.2.2, events 16 and 17), or waits `delay` for theirs first.
    pub(crate) fn new(
        now: Instant,
        id: ConnId,
        direction: Direction,
        ends: (SocketAddr, SocketAddr),
        (open, delay): (Open, Duration),
    ) -> Self {
        let mut connection = Self {
            id,
            direction,
            local: ends.0,
            remote: ends.1,
            framer: Framer::new(MAX_MESSAGE_BYTES),
            state: State::Delayed(now + delay),
            ended_in: FsmState::Idle,
            sent_open: open,
            received_open: Box::default(),
            awaits_bfd: None,
            hold_at: None,
            keepalive_at: None,
            out: BytesMut::new(),
            keepalive_waits: false,
            blocked_since: None,
            send_hold: None,
            received: [0; 5],
            sent: [0; 5],
        };
        if delay.is_zero() {
            connection.send_open(now);
        }
        connection
    }

    fn send_open(&mut self, now: Instant) {
        self.sent_open.put(&mut self.out);
        self.sent[Kind::Open.index()] += 1;
        self.hold_at = Some(now + OPEN_HOLD);
        self.state = State::OpenSent;
    }

    /// The state as in RFC 4271 §8.2.2.
    pub(crate) const fn state(&self) -> FsmState {
        match (&self.state, self.direction) {
            (State::Delayed(_), Direction::Dialled) => FsmState::Connect,
            (State::Delayed(_), Direction::Accepted) => FsmState::Active,
            (State::OpenSent, _) => FsmState::OpenSent,
            (State::OpenConfirm(_), _) => FsmState::OpenConfirm,
            (State::Established(_), _) => FsmState::Established,
            (State::Ended(_), _) => FsmState::Idle,
        }
    }

    /// The state before the end.
    pub(crate) const fn ended_in(&self) -> FsmState {
        match self.state {
            State::Ended(_) => self.ended_in,
            State::Delayed(_) | State::OpenSent | State::OpenConfirm(_) | State::Established(_) => self.state(),
        }
    }

    /// What was agreed, from OpenConfirm on.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match &self.state {
            State::OpenConfirm(session) | State::Established(session) => Some(session),
            State::Delayed(_) | State::OpenSent | State::Ended(_) => None,
        }
    }

    /// Both OPENs as they were on the wire: ours, theirs.
    pub(crate) fn opens(&self) -> (BytesMut, &[u8]) {
        let mut sent = BytesMut::new();
        self.sent_open.put(&mut sent);
        (sent, &self.received_open)
    }

    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// The session that was Established until now, even after the end.
    pub(crate) fn last_session(&self) -> Option<&Arc<Session>> {
        match &self.state {
            State::Established(session) | State::Ended(Some(session)) => Some(session),
            State::Delayed(_) | State::OpenSent | State::OpenConfirm(_) | State::Ended(None) => None,
        }
    }

    /// Enters the last state.
    fn finish(&mut self) {
        self.ended_in = self.ended_in();
        let was = std::mem::replace(&mut self.state, State::Ended(None));
        if let State::Established(session) | State::Ended(Some(session)) = was {
            self.state = State::Ended(Some(session));
        }
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.framer.push(data);
    }

    /// Takes the next message of what was pushed; `None` when there is no whole one.
    pub(crate) fn next_event(
        &mut self,
        now: Instant,
        (config, local): (&PeerConfig, &Local),
        trail: &mut Trail,
    ) -> Option<ConnEvent> {
        loop {
            if matches!(self.state, State::Ended(_)) {
                return None;
            }
            let (kind, message) = match self.framer.next_message()? {
                Ok(message) => message,
                Err(fault) => return Some(self.fail(fault)),
            };
            self.received[kind.index()] += 1;
            trail.message(now, Way::Received, kind, &message);
            if let Some(event) = self.message(now, kind, message, config, local) {
                return Some(event);
            }
        }
    }

    fn message(
        &mut self,
        now: Instant,
        kind: Kind,
        message: Bytes,
        config: &PeerConfig,
        local: &Local,
    ) -> Option<ConnEvent> {
        if kind == Kind::Notification {
            // RFC 4271 §6.4: a NOTIFICATION is never answered.
            let received = message.get(HEADER_BYTES..).and_then(Notification::decode)?;
            self.finish();
            return Some(ConnEvent::Ended(End::Received(received)));
        }
        match (&self.state, kind) {
            (State::Delayed(_) | State::OpenSent, Kind::Open) => Some(self.open(now, &message, config, local)),
            (State::OpenConfirm(_), Kind::Keepalive) if self.awaits_bfd.is_some() => {
                self.awaits_bfd = self.awaits_bfd.map(|wait| Await { confirmed: true, ..wait });
                None
            }
            (State::OpenConfirm(_), Kind::Keepalive) => {
                self.renew_hold(now);
                if let State::OpenConfirm(session) = std::mem::replace(&mut self.state, State::Ended(None)) {
                    self.state = State::Established(session);
                }
                Some(ConnEvent::Established)
            }
            (State::Established(_), Kind::Keepalive) => {
                self.renew_hold(now);
                None
            }
            (State::Established(_), Kind::Update) => {
                self.renew_hold(now);
                Some(ConnEvent::Update(message))
            }
            (State::Established(session), Kind::RouteRefresh) => {
                let session = Arc::clone(session);
                self.refresh(&session, &message)
            }
            (State::Delayed(_), _) => Some(self.fail(Notification::new(Notification::FSM, 0))),
            // RFC 6608 §3: one subcode per state.
            (State::OpenSent, _) => Some(self.fail(Notification::with_data(Notification::FSM, 1, &[kind.to_wire()]))),
            (State::OpenConfirm(_), _) => {
                Some(self.fail(Notification::with_data(Notification::FSM, 2, &[kind.to_wire()])))
            }
            (State::Established(_), _) => {
                Some(self.fail(Notification::with_data(Notification::FSM, 3, &[kind.to_wire()])))
            }
            (State::Ended(_), _) => None,
        }
    }

    fn refresh(&mut self, session: &Session, message: &Bytes) -> Option<ConnEvent> {
        if message.len() != refresh::LENGTH {
            if session.enhanced_refresh && refresh::subtype(message).is_some_and(|subtype| matches!(subtype, 1 | 2)) {
                // RFC 7313 §5: Invalid Message Length, with the whole message as data, as far as a NOTIFICATION has room for it.
                let room = session.codec.max_message - HEADER_BYTES - 2;
                let data = message.slice(..message.len().min(room));
                return Some(self.fail(Notification { code: Notification::REFRESH, subcode: 1, data }));
            }
            // RFC 2918 §3 knows four octets; RFC 5291 would add more, but we never offer it.
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
            return Some(self.fail(Notification::with_data(Notification::HEADER, 2, &length)));
        }
        let (family, subtype) = refresh::decode(message, session.enhanced_refresh)?;
        // RFC 2918 §4: one that was not agreed on is ignored.
        session.codec.families[family.index()].then_some(ConnEvent::Refresh(family, subtype))
    }

    fn open(&mut self, now: Instant, message: &[u8], config: &PeerConfig, local: &Local) -> ConnEvent {
        let theirs = match Open::decode(message) {
            Ok(open) => open,
            Err(fault) => return self.fail(fault),
        };
        self.received_open = message.into();
        let place = Place { conn: self.id, local: self.local, remote: self.remote };
        let session = match negotiate(&place, (&self.sent_open, &theirs), config, local) {
            Ok(session) => session,
            Err(fault) => return self.fail(fault),
        };
        if matches!(self.state, State::Delayed(_)) {
            // RFC 4271 §8.2.2, event 20: theirs came first.
            self.send_open(now);
        }
        let send_hold = Duration::from_secs(u64::from(session.hold_time_s) * 2).max(SEND_HOLD_LEAST);
        self.send_hold = match config.session.send_hold_s {
            None => Some(send_hold),
            Some(seconds) => (seconds > 0).then(|| Duration::from_secs(u64::from(seconds))),
        };
        if self.sent_open.can.extended_message {
            // RFC 8654 §4: whoever heard that we can may send them.
            self.framer.set_max_message(EXTENDED_MESSAGE_BYTES);
        }
        self.state = State::OpenConfirm(Arc::new(session));
        self.renew_hold(now);
        ConnEvent::Opened
    }

    /// The arbiter lets this connection live: answer the OPEN with a KEEPALIVE (RFC 4271 §8.2.2, OpenSent).
    pub(crate) fn confirm(&mut self, now: Instant, rng: &mut Rng) {
        self.send_keepalive(now, rng);
    }

    /// The same, but not before BFD is Up (draft-ietf-idr-bgp-bfd-strict-mode §8): the answer waits, for so long at most.
    pub(crate) fn await_bfd(&mut self, now: Instant) {
        self.awaits_bfd = Some(Await { confirmed: false, strict: true });
        self.hold_at = Some(now + BFD_HOLD);
    }

    /// The same until then, but then without; and not for so long that their hold timer would run out.
    pub(crate) fn await_bfd_until(&mut self, now: Instant, until: Instant) {
        self.awaits_bfd = Some(Await { confirmed: false, strict: false });
        let half = self.hold_time().map(|hold| now + hold / 2);
        self.hold_at = Some(half.map_or(until, |half| half.min(until)));
    }

    /// BFD is Up, or is not waited for any more: the answer that waited for it goes out, and the session stands if theirs is there.
    pub(crate) fn bfd_is_up(&mut self, now: Instant, rng: &mut Rng) -> Option<ConnEvent> {
        let wait = self.awaits_bfd.take()?;
        self.renew_hold(now);
        self.send_keepalive(now, rng);
        if !wait.confirmed {
            return None;
        }
        if let State::OpenConfirm(session) = std::mem::replace(&mut self.state, State::Ended(None)) {
            self.state = State::Established(session);
        }
        Some(ConnEvent::Established)
    }

    /// Differs from RFC 4271 §8.2.2: an UPDATE does not put this off, because it may lie behind others in the socket.
    fn send_keepalive(&mut self, now: Instant, rng: &mut Rng) {
        if !std::mem::replace(&mut self.keepalive_waits, true) {
            put_keepalive(&mut self.out);
            self.sent[Kind::Keepalive.index()] += 1;
        }
        // RFC 4271 §4.4: a third of the hold time; §10: jittered.
        self.keepalive_at = self.hold_time().map(|hold| now + rng.jitter(hold / 3));
    }

    /// Whether control messages wait for room in the socket.
    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Something waits for room in the socket.
    pub(crate) fn wait_for_room(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// There is room: yields the control messages.
    pub(crate) fn take_output(&mut self, buf: &mut BytesMut) {
        self.keepalive_waits = false;
        self.blocked_since = None;
        buf.unsplit(self.out.split());
    }

    /// What is left to say when the connection is over.
    pub(crate) fn into_output(self) -> BytesMut {
        self.out
    }

    pub(crate) fn send_refresh(&mut self, family: Family) {
        self.keepalive_waits = false;
        refresh::put(&mut self.out, family, Subtype::Request);
        self.sent[Kind::RouteRefresh.index()] += 1;
    }

    /// The agreed hold time; `None` for zero (no timers) or before the OPEN.
    fn hold_time(&self) -> Option<Duration> {
        let seconds = self.session()?.hold_time_s;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }

    fn renew_hold(&mut self, now: Instant) {
        self.hold_at = self.hold_time().map(|hold| now + hold);
    }

    /// A deadline passed.
    pub(crate) fn tick(&mut self, now: Instant, rng: &mut Rng) -> Option<ConnEvent> {
        if matches!(self.state, State::Ended(_)) {
            return None;
        }
        if matches!(self.state, State::Delayed(at) if at <= now) {
            // RFC 4271 §8.2.2, event 12.
            self.send_open(now);
        }
        if self.hold_at.is_some_and(|at| at <= now)
            && let Some(wait) = self.awaits_bfd
        {
            if !wait.strict {
                return self.bfd_is_up(now, rng);
            }
            // draft-ietf-idr-bgp-bfd-strict-mode §8: BFD did not come up in time.
            return Some(self.fail(Notification::new(Notification::CEASE, Notification::BFD_DOWN)));
        }
        if self.hold_at.is_some_and(|at| at <= now) {
            return Some(self.fail(Notification::new(Notification::HOLD_TIMER, 0)));
        }
        if self.send_hold_at().is_some_and(|at| at <= now) {
            // RFC 9687 §5: whoever closes does not wait for this to leave.
            return Some(self.fail(Notification::new(Notification::SEND_HOLD_TIMER, 0)));
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.send_keepalive(now, rng);
        }
        None
    }

    /// When a peer that takes nothing loses its session (RFC 9687 §4.3: in Established, and not without a hold time).
    fn send_hold_at(&self) -> Option<Instant> {
        Some(self.blocked_since? + self.send_hold?).filter(|_| self.is_established() && self.hold_time().is_some())
    }

    pub(crate) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let delay = match self.state {
            State::Delayed(at) => Some((at, "delay open timer")),
            State::OpenSent | State::OpenConfirm(_) | State::Established(_) | State::Ended(_) => None,
        };
        let hold = self.hold_at.map(|at| (at, "hold timer"));
        let keepalive = self.keepalive_at.map(|at| (at, "keepalive timer"));
        let send_hold = self.send_hold_at().map(|at| (at, "send hold timer"));
        [delay, hold, keepalive, send_hold].into_iter().flatten().min()
    }

    /// Ends it with a NOTIFICATION; with a hard reset where that is needed to say that it is over (RFC 8538 §5).
    pub(crate) fn fail(&mut self, notification: Notification) -> ConnEvent {
        let keeps = |session: &Session| session.graceful.as_ref().is_some_and(|graceful| graceful.notification);
        let notification = match &self.state {
            State::Established(session) if keeps(session) && notification.is_final() => notification.hard(),
            State::Delayed(_) | State::OpenSent | State::OpenConfirm(_) | State::Established(_) | State::Ended(_) => {
                notification
            }
        };
        self.fail_softly(notification)
    }

    /// Ends it with just this NOTIFICATION.
    pub(crate) fn fail_softly(&mut self, notification: Notification) -> ConnEvent {
        if matches!(self.state, State::Delayed(_)) {
            self.finish();
            return ConnEvent::Ended(End::Dropped(notification));
        }
        notification.put(&mut self.out);
        self.sent[Kind::Notification.index()] += 1;
        self.finish();
        ConnEvent::Ended(End::Sent(notification))
    }
}

#[cfg(test)]
mod tests;
