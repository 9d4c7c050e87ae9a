//! The RFC 4271 §8 machine of one TCP connection: OpenSent → OpenConfirm → Established. Knows nothing of a second connection,
//! of retries or of routes; [`crate::peer`] arbitrates.
//!
//! ```text
//!            OPEN ok               KEEPALIVE
//! OpenSent ──────────▶ OpenConfirm ──────────▶ Established
//!     └──── hold timer, bad or unexpected message, NOTIFICATION, end of file ────▶ Ended (said once)
//! ```
//! Idle, Connect and Active belong to the peer: a `Connection` exists only once TCP is up.

mod negotiate;

use crate::peer::{Local, PeerConfig, Session};
use crate::time::{Duration, Instant};
use crate::types::{ConnId, Family};
use crate::wire::framer::Framer;
use crate::wire::open::Open;
use crate::wire::{EXTENDED_MESSAGE_BYTES, Kind, MAX_MESSAGE_BYTES, Notification, put_keepalive, refresh};
use bytes::{Bytes, BytesMut};
use negotiate::{Place, negotiate};
use std::net::SocketAddr;
use std::sync::Arc;

/// Hold time before the OPEN arrived: "a large value" (RFC 4271 §8.2.2, 4 minutes suggested).
const OPEN_HOLD: Duration = Duration::from_secs(240);

/// Which end dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We did.
    Dialled,
    /// They did.
    Accepted,
}

/// State, carrying its data.
#[derive(Debug)]
enum State {
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
    Refresh(Family),
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
    /// The OPEN we sent, to negotiate against.
    sent_open: Open,
    hold_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    /// Control messages not yet taken by the socket.
    pub(crate) out: BytesMut,
    pub(crate) received: [u64; 5],
    pub(crate) sent: [u64; 5],
}

impl Connection {
    /// TCP is up: sends our OPEN (RFC 4271 §8.2.2, events 16 and 17).
    pub(crate) fn new(
        now: Instant,
        id: ConnId,
        direction: Direction,
        ends: (SocketAddr, SocketAddr),
        open: Open,
    ) -> Self {
        let mut out = BytesMut::new();
        open.put(&mut out);
        let mut sent = [0; 5];
        sent[Kind::Open.index()] = 1;
        Self {
            id,
            direction,
            local: ends.0,
            remote: ends.1,
            framer: Framer::new(MAX_MESSAGE_BYTES),
            state: State::OpenSent,
            sent_open: open,
            hold_at: Some(now + OPEN_HOLD),
            keepalive_at: None,
            out,
            received: [0; 5],
            sent,
        }
    }

    /// The name of the state as in RFC 4271 §8.2.2.
    pub(crate) const fn state_name(&self) -> &'static str {
        match self.state {
            State::OpenSent => "OpenSent",
            State::OpenConfirm(_) => "OpenConfirm",
            State::Established(_) => "Established",
            State::Ended(_) => "Idle",
        }
    }

    /// What was agreed, from OpenConfirm on.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match &self.state {
            State::OpenConfirm(session) | State::Established(session) => Some(session),
            State::OpenSent | State::Ended(_) => None,
        }
    }

    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// The session that was Established until now, even after the end.
    pub(crate) fn last_session(&self) -> Option<&Arc<Session>> {
        match &self.state {
            State::Established(session) | State::Ended(Some(session)) => Some(session),
            State::OpenSent | State::OpenConfirm(_) | State::Ended(None) => None,
        }
    }

    /// Enters the last state.
    fn finish(&mut self) {
        let was = std::mem::replace(&mut self.state, State::Ended(None));
        if let State::Established(session) | State::Ended(Some(session)) = was {
            self.state = State::Ended(Some(session));
        }
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        self.framer.push(data);
    }

    /// Takes the next message of what was pushed; `None` when there is no whole one.
    pub(crate) fn next_event(&mut self, now: Instant, config: &PeerConfig, local: &Local) -> Option<ConnEvent> {
        loop {
            if matches!(self.state, State::Ended(_)) {
                return None;
            }
            let (kind, message) = match self.framer.next_message()? {
                Ok(message) => message,
                Err(fault) => return Some(self.fail(fault)),
            };
            self.received[kind.index()] += 1;
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
            let received = message.get(super::wire::HEADER_BYTES..).and_then(Notification::decode)?;
            self.finish();
            return Some(ConnEvent::Ended(End::Received(received)));
        }
        match (&self.state, kind) {
            (State::OpenSent, Kind::Open) => Some(self.open(now, &message, config, local)),
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
            (State::Established(_), Kind::RouteRefresh) => refresh::decode(&message).map(ConnEvent::Refresh),
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

    fn open(&mut self, now: Instant, message: &[u8], config: &PeerConfig, local: &Local) -> ConnEvent {
        let theirs = match Open::decode(message) {
            Ok(open) => open,
            Err(fault) => return self.fail(fault),
        };
        let place = Place { conn: self.id, local: self.local, remote: self.remote };
        let session = match negotiate(&place, (&self.sent_open, &theirs), config, local) {
            Ok(session) => session,
            Err(fault) => return self.fail(fault),
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
    pub(crate) fn confirm(&mut self, now: Instant) {
        self.send_keepalive(now);
    }

    fn send_keepalive(&mut self, now: Instant) {
        put_keepalive(&mut self.out);
        self.sent[Kind::Keepalive.index()] += 1;
        // RFC 4271 §4.4: a third of the hold time.
        self.keepalive_at = self.hold_time().map(|hold| now + hold / 3);
    }

    pub(crate) fn send_refresh(&mut self, family: Family) {
        refresh::put(&mut self.out, family);
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
    pub(crate) fn tick(&mut self, now: Instant) -> Option<ConnEvent> {
        if matches!(self.state, State::Ended(_)) {
            return None;
        }
        if self.hold_at.is_some_and(|at| at <= now) {
            return Some(self.fail(Notification::new(Notification::HOLD_TIMER, 0)));
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.send_keepalive(now);
        }
        None
    }

    pub(crate) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let hold = self.hold_at.map(|at| (at, "hold timer"));
        let keepalive = self.keepalive_at.map(|at| (at, "keepalive timer"));
        hold.into_iter().chain(keepalive).min()
    }

    /// Ends it with a NOTIFICATION.
    pub(crate) fn fail(&mut self, notification: Notification) -> ConnEvent {
        notification.put(&mut self.out);
        self.sent[Kind::Notification.index()] += 1;
        self.finish();
        ConnEvent::Ended(End::Sent(notification))
    }
}
