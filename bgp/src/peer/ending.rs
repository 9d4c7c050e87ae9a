//! How connections end: with a NOTIFICATION, without a word, or because the link or the peer's forwarding is gone; and what of the
//! peer's routes is kept then ([`super::restart`]).

use super::arbiter::{Context, MANUAL_STOP, Over, Peer, TCP_CONNECTION_FAILS, add};
use super::trail::{FsmEvent, FsmState, Transition};
use super::{PeerOutput, Retain};
use crate::fsm::{ConnEvent, Connection, Direction, End};
use crate::time::{Duration, Instant};
use crate::types::ConnId;
use crate::wire::Notification;

/// Connections whose last bytes wait for the socket; older ones are forgotten.
const CLOSING_MAX: usize = 4;
/// A peer of a range that has neither connection nor routes is forgotten after this: longer than any rest that it may have to take.
const FORGET: Duration = Duration::from_secs(120);

impl Peer {
    pub(super) fn on_fault(&mut self, notification: Notification, context: &mut Context<'_>) {
        let Some(own) = self.conns.iter_mut().find(|own| own.is_established()) else {
            return;
        };
        let conn = own.id;
        if let ConnEvent::Ended(end) = own.fail(notification) {
            self.end(conn, &end, context);
        }
    }

    /// BFD says that the peer cannot be reached (RFC 9384 §3). With `retain`, only its control plane may be gone (RFC 5882 §4.3): its
    /// routes are kept as graceful restart has it, without a NOTIFICATION where one would forbid that.
    pub(super) fn on_bfd_down(&mut self, retain: bool, context: &mut Context<'_>) {
        let notification = Notification::new(Notification::CEASE, Notification::BFD_DOWN);
        let Some(own) = self.conns.iter_mut().find(|own| own.is_established()).filter(|_| retain) else {
            if !retain && self.conns.iter().all(|own| !own.is_established()) {
                // RFC 5882 §4.3.1: BFD there outlives a restart, so this is no part of one.
                let stale = self.stale.clear();
                self.drop_stale(stale);
            }
            self.on_fault(notification, context);
            return;
        };
        let conn = own.id;
        let after_notification = own.session().and_then(|session| Some(session.graceful.as_ref()?.notification));
        match after_notification {
            Some(true) => {
                if let ConnEvent::Ended(end) = own.fail_softly(notification) {
                    self.end(conn, &end, context);
                }
            }
            Some(false) => {
                self.end(conn, &End::Lost, context);
                self.output.push_back(PeerOutput::Close { conn, flush: false });
            }
            None => self.on_fault(notification, context),
        }
    }

    /// Carrier is gone: nothing can be sent, and nobody is dialled before something changes. Nothing is retained, unless that is wanted:
    /// then the speaker sends the peer no packet before its session stands again ([`Peer::waits`]).
    pub(super) fn on_link_down(&mut self, context: &mut Context<'_>) {
        if let Some((conn, _)) = self.dialling.take() {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
        }
        let keeps = self.config.session.keep_over_link_loss && self.config.graceful_restart_s.is_some();
        let conns: Vec<_> = self.conns.iter().map(|own| (own.id, own.last_session().cloned())).collect();
        for (conn, session) in conns {
            self.remove(context.now, conn, false, FsmEvent::LinkDown);
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            if let Some(session) = session {
                // RFC 4724 §4.2: as when the connection is lost without a word.
                let retain =
                    if keeps { self.stale.session_ended(context.now, &End::Lost, &session) } else { Retain::default() };
                self.over = Over::Closed(TCP_CONNECTION_FAILS);
                self.down(context.now, "carrier lost".to_owned(), retain);
            }
        }
        if !keeps {
            let stale = self.stale.clear();
            self.drop_stale(stale);
        }
        self.schedule(context);
    }

    /// Ends everything: with a NOTIFICATION, or silently so that a graceful peer retains our routes.
    pub(super) fn stop(&mut self, now: Instant, notification: Option<&Notification>) {
        self.started = false;
        self.retry_at = None;
        if let Some((conn, _)) = self.dialling.take() {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
        }
        for (conn, up) in self.conns.iter().map(|own| (own.id, own.is_established())).collect::<Vec<_>>() {
            match notification {
                Some(notification) => self.close(now, conn, notification.clone(), FsmEvent::Stop),
                None => {
                    self.remove(now, conn, false, FsmEvent::Stop);
                    self.output.push_back(PeerOutput::Close { conn, flush: false });
                }
            }
            if up {
                let why = notification.map_or_else(|| "stopped".to_owned(), |sent| format!("sent {sent}"));
                self.over = notification.map_or(Over::Closed(MANUAL_STOP), |sent| Over::Sent(sent.clone()));
                self.down(now, why, Retain::default());
            }
        }
        let stale = self.stale.clear();
        self.drop_stale(stale);
    }

    /// A connection is over.
    pub(super) fn end(&mut self, conn: ConnId, end: &End, context: &mut Context<'_>) {
        let Some(own) = self.conns.iter().find(|own| own.id == conn) else {
            return;
        };
        let session = own.last_session().cloned();
        let (reason, flush, event) = match end {
            End::Sent(sent) => (format!("sent {sent}"), true, FsmEvent::of_sent(sent)),
            End::Received(received) => (format!("received {received}"), false, FsmEvent::Notification),
            End::Dropped(fault) => (format!("closed before any OPEN: {fault}"), false, FsmEvent::of_sent(fault)),
            End::Lost => ("connection lost".to_owned(), false, FsmEvent::ConnectionFails),
        };
        self.remove(context.now, conn, flush, event);
        if *end != End::Lost {
            self.output.push_back(PeerOutput::Close { conn, flush });
        }
        let counts = match end {
            // Errors of theirs, whatever the state; an operator's reset is none.
            End::Sent(sent) | End::Dropped(sent) => !sent.inner().as_ref().unwrap_or(sent).is_reset(),
            End::Received(_) | End::Lost => session.is_some(),
        };
        if let Some(session) = session {
            let retain = if self.config.graceful_restart_s.is_some() {
                self.stale.session_ended(context.now, end, &session)
            } else {
                Retain::default()
            };
            self.over = match end {
                End::Sent(sent) => Over::Sent(sent.clone()),
                End::Received(received) => Over::Received(received.clone()),
                End::Dropped(_) => Over::Closed(0),
                End::Lost => Over::Lost,
            };
            self.down(context.now, reason, retain);
            self.age(context.now);
        } else {
            self.refused(reason);
        }
        if !self.started {
            return;
        }
        if counts && self.config.session.damp_oscillations {
            self.rest(context);
        } else if self.conns.is_empty() {
            self.schedule(context);
        }
    }

    fn down(&mut self, now: Instant, reason: String, retain: Retain) {
        self.dropped += 1;
        self.since = now;
        let notified = matches!(self.over, Over::Sent(_) | Over::Received(_));
        self.ended_by = notified.then(|| reason.clone());
        self.last_error = Some(reason.clone());
        self.output.push_back(PeerOutput::Down { reason, retain });
    }

    pub(super) fn refused(&mut self, reason: String) {
        // what was said when the session ended says more than every attempt since
        let before = self.ended_by.as_ref().map(|before| format!("{before}; then {reason}"));
        self.last_error = Some(before.unwrap_or_else(|| reason.clone()));
        self.output.push_back(PeerOutput::Refused(reason));
    }

    /// Sends a NOTIFICATION on a connection and closes it.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, notification: Notification, event: FsmEvent) {
        if let Some(own) = self.conns.iter_mut().find(|own| own.id == conn) {
            own.fail(notification);
            self.remove(now, conn, true, event);
            self.output.push_back(PeerOutput::Close { conn, flush: true });
        }
    }

    /// Forgets a connection; `keep`: but for what it still has to say.
    pub(super) fn remove(&mut self, now: Instant, conn: ConnId, keep: bool, event: FsmEvent) {
        let Some(at) = self.conns.iter().position(|own| own.id == conn) else {
            return;
        };
        let own = self.conns.swap_remove(at);
        add(&mut self.past_received, own.received);
        add(&mut self.past_sent, own.sent);
        let accepted = own.direction == Direction::Accepted;
        self.trail.note(Transition { at: now, from: own.ended_in(), to: FsmState::Idle, event, accepted });
        if self.conns.is_empty() {
            self.forget_at = self.forgets.then(|| now + FORGET);
        }
        if keep && own.has_output() {
            if self.closing.len() >= CLOSING_MAX {
                self.closing.remove(0);
            }
            self.closing.push((conn, own.into_output()));
        }
    }

    /// This peer was made by who called: it is to be forgotten once it is gone for good.
    pub fn forget_when_gone(&mut self, now: Instant) {
        self.forgets = true;
        self.forget_at = Some(now + FORGET);
    }

    /// Neither connections nor routes are left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.conns.is_empty() && self.dialling.is_none() && self.stale.next_timeout().is_none()
    }

    /// Whether routes of it are kept until its session stands again.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.session().is_none() && self.stale.next_timeout().is_some()
    }

    /// Says once that nothing is left.
    pub(super) fn forget(&mut self, now: Instant) {
        if self.forget_at.take_if(|at| *at <= now).is_some() {
            if self.is_gone() {
                self.output.push_back(PeerOutput::Gone);
            } else if self.conns.is_empty() {
                // Stale routes have their own time.
                self.forget_at = Some(now + FORGET);
            }
        }
    }

    /// A connection went from one state to another.
    pub(super) fn note(&mut self, at: Instant, conn: ConnId, from: FsmState, event: FsmEvent) {
        let own = self.conns.iter().find(|own| own.id == conn);
        if let Some((to, direction)) = own.map(|own: &Connection| (own.state(), own.direction)) {
            self.trail.note(Transition { at, from, to, event, accepted: direction == Direction::Accepted });
        }
    }
}
