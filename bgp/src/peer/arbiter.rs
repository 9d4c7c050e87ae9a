//! The arbiter of a peer: when to dial, which of two connections lives (RFC 4271 §6.8, RFC 6286 §2.3), and what graceful restart
//! keeps when the session ends (RFC 4724 §4.2, §5).

use super::change::{changes, effect_of};
use super::damping::{Damping, between};
use super::restart::Stale;
use super::trail::{FsmEvent, FsmState, Trail};
use super::{Endpoint, Local, PeerConfig, PeerInput, PeerOutput, Session};
use crate::fsm::{ConnEvent, Connection, Direction, End};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::types::{Asn, ConnId, Family, IfIndex, PeerId};
use crate::wire::refresh::Subtype;
use crate::wire::{Kind, Notification};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

/// The BGP port.
const PORT: u16 = 179;
/// A dial that neither succeeds nor fails is given up after this.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// Events of RFC 4271 §8.1 that end a session without a NOTIFICATION.
pub(super) const MANUAL_STOP: u16 = 2;
pub(super) const TCP_CONNECTION_FAILS: u16 = 18;

/// How an Established session ended, for who observes (RFC 7854 §4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// We sent this.
    Sent(Notification),
    /// They sent this.
    Received(Notification),
    /// We closed it without a word, for this event of RFC 4271 §8.1.
    Closed(u16),
    /// They closed it, or it was lost, without a word.
    Lost,
}

/// One peer. See [`PeerInput`] and [`PeerOutput`].
#[derive(Debug)]
pub struct Peer {
    pub(super) id: PeerId,
    pub(super) config: PeerConfig,
    pub(super) local: Local,
    /// Our AS to those who are told no other one.
    real_asn: Asn,
    /// At most one per direction, or two during a collision.
    pub(super) conns: Vec<Connection>,
    pub(super) dialling: Option<(ConnId, Instant)>,
    pub(super) retry_at: Option<Instant>,
    pub(super) remote: Option<(Ipv6Addr, IfIndex)>,
    pub(super) started: bool,
    pub(super) closing: Vec<(ConnId, BytesMut)>,
    pub(super) output: VecDeque<PeerOutput>,
    pub(super) stale: Stale,
    pub(super) damping: Damping,
    /// It cannot be reached, says the link.
    cut_off: bool,
    pub(super) since: Instant,
    pub(super) established: u64,
    pub(super) dropped: u64,
    pub(super) last_error: Option<String>,
    /// The NOTIFICATION that ended the last session, until there is another.
    pub(super) ended_by: Option<String>,
    pub(super) over: Over,
    pub(super) past_received: [u64; 5],
    pub(super) past_sent: [u64; 5],
    pub(super) trail: Trail,
    /// It is forgotten when it is gone, and when that is looked at.
    pub(super) forgets: bool,
    /// BFD to it is Up.
    pub(super) bfd_is_up: bool,
    /// Until when a session waits for BFD although it is not strict.
    pub(super) bfd_awaited: Option<Instant>,
    pub(super) forget_at: Option<Instant>,
}

/// What `handle` needs beside the peer.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) rng: &'a mut Rng,
    next_conn: &'a mut u64,
}

impl Peer {
    /// A peer that does nothing before [`PeerInput::Start`].
    #[must_use]
    pub fn new(id: PeerId, config: PeerConfig, local: Local) -> Self {
        let asn = config.routes.local_as.map_or(local.asn, |other| other.asn);
        Self {
            id,
            config,
            local: Local { asn, ..local },
            real_asn: local.asn,
            conns: Vec::new(),
            dialling: None,
            retry_at: None,
            remote: None,
            started: false,
            closing: Vec::new(),
            output: VecDeque::new(),
            stale: Stale::default(),
            damping: Damping::default(),
            cut_off: false,
            since: Instant::ZERO,
            established: 0,
            dropped: 0,
            last_error: None,
            ended_by: None,
            over: Over::Lost,
            past_received: [0; 5],
            past_sent: [0; 5],
            trail: Trail::default(),
            forgets: false,
            bfd_is_up: false,
            bfd_awaited: None,
            forget_at: None,
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &PeerConfig {
        &self.config
    }

    /// The Established session.
    #[must_use]
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.conns.iter().find(|conn| conn.is_established())?.session()
    }

    /// Both OPENs of the Established session as they were on the wire: ours, theirs.
    #[must_use]
    pub fn opens(&self) -> Option<(BytesMut, &[u8])> {
        self.conns.iter().find(|conn| conn.is_established()).map(Connection::opens)
    }

    /// How the last Established session ended.
    #[must_use]
    pub const fn over(&self) -> &Over {
        &self.over
    }

    /// Whether a connection is this peer's.
    #[must_use]
    pub fn owns(&self, conn: ConnId) -> bool {
        self.dialling.is_some_and(|(id, _)| id == conn)
            || self.conns.iter().any(|own| own.id == conn)
            || self.closing.iter().any(|(id, _)| *id == conn)
    }

    /// The start is over: no R bit any more.
    pub fn restarted(&mut self) {
        self.local.restarted = false;
    }

    /// Something happened. `next_conn` is the counter of dialled connections that all peers share.
    pub fn handle(&mut self, now: Instant, input: PeerInput, rng: &mut Rng, next_conn: &mut u64) {
        let mut context = Context { now, rng, next_conn };
        match input {
            PeerInput::Start => {
                self.started = true;
                self.dial(&mut context);
            }
            PeerInput::Stop(notification) => self.stop(now, notification.as_ref()),
            PeerInput::Remote(remote) => self.on_remote(remote, &mut context),
            PeerInput::Connected { conn, local } => self.on_connected(conn, local, now),
            PeerInput::ConnectFailed { conn, error } => {
                if self.dialling.take_if(|(id, _)| *id == conn).is_some() {
                    self.refused(format!("connect failed: {error}"));
                    self.schedule(&mut context);
                }
            }
            PeerInput::Accepted { conn, local, remote } => self.on_accepted(conn, (local, remote), now),
            PeerInput::Handed { conn, session } => self.on_handed(conn, &session, &mut context),
            PeerInput::Received { conn, data } => {
                if let Some(own) = self.conns.iter_mut().find(|own| own.id == conn) {
                    own.push(&data);
                }
                self.drain(conn, &mut context);
            }
            PeerInput::Closed { conn } => {
                self.closing.retain(|(id, _)| *id != conn);
                if self.conns.iter().any(|own| own.id == conn) {
                    self.end(conn, &End::Lost, &mut context);
                }
            }
            PeerInput::LinkDown => self.on_link_down(&mut context),
            PeerInput::LinkUp => self.dial(&mut context),
            PeerInput::CutOff => {
                self.on_link_down(&mut context);
                self.cut_off = true;
                self.retry_at = None;
            }
            PeerInput::Reached => {
                self.cut_off = false;
                self.dial(&mut context);
            }
            PeerInput::Fault(notification) => self.on_fault(notification, &mut context),
            PeerInput::BfdDown { retain } => self.on_bfd_down(retain, &mut context),
            PeerInput::AwaitBfd(until) => self.await_bfd(until),
            PeerInput::BfdState { is_up } => self.on_bfd_state(is_up, &mut context),
            PeerInput::Tick => self.on_tick(&mut context),
        }
        self.mark_writable(now);
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<PeerOutput> {
        self.output.pop_front()
    }

    /// Control messages for a connection.
    pub fn poll_transmit(&mut self, conn: ConnId, buf: &mut BytesMut) {
        if let Some(own) = self.conns.iter_mut().find(|own| own.id == conn) {
            own.take_output(buf);
        } else if let Some(at) = self.closing.iter().position(|(id, _)| *id == conn) {
            buf.unsplit(self.closing.swap_remove(at).1);
        }
    }

    /// When to call with `Tick`, and for what.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let retry = self.retry_at.map(|at| (at, "connect retry"));
        let dial = self.dialling.map(|(_, at)| (at, "dial limit"));
        let stale = self.stale.next_timeout();
        let forget = self.forget_at.map(|at| (at, "forgetting a peer of a range"));
        let conns = self.conns.iter().filter_map(Connection::next_timeout);
        conns.chain(retry).chain(dial).chain(stale).chain(forget).min()
    }

    /// Ask for the peer's routes again (RFC 2918); false if it cannot.
    pub fn request_refresh(&mut self, family: Family) -> bool {
        let Some(conn) = self.conns.iter_mut().find(|conn| conn.is_established()) else {
            return false;
        };
        let able =
            conn.session().is_some_and(|session| session.route_refresh && session.codec.families[family.index()]);
        if able {
            conn.send_refresh(family);
            let id = conn.id;
            self.output.push_back(PeerOutput::Writable(id));
        }
        able
    }

    /// A new configuration. Only what the OPEN or the transport depends on ends a session: true then.
    pub fn set_config(&mut self, now: Instant, config: PeerConfig, rng: &mut Rng, next_conn: &mut u64) -> bool {
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        let asn = new.routes.local_as.map_or(self.real_asn, |other| other.asn);
        self.local.asn = asn;
        if effect_of(&changes(&old, new)).ends.is_none() {
            return false;
        }
        // RFC 4486 §4: Other Configuration Change, or the shutdown the operator asked for.
        let notification = new
            .shutdown
            .as_deref()
            .map_or_else(|| Notification::new(Notification::CEASE, 6), |text| Notification::shutdown(2, text));
        let started = self.started;
        self.stop(now, Some(&notification));
        self.started = started;
        self.damping.forgive();
        let mut context = Context { now, rng, next_conn };
        self.dial(&mut context);
        self.mark_writable(now);
        true
    }

    /// Where to dial.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        match self.config.endpoint {
            Endpoint::Address(address) => Some(SocketAddr::new(address, PORT)),
            Endpoint::Interface(_) => {
                let (address, link) = self.remote?;
                Some(SocketAddr::V6(SocketAddrV6::new(address, PORT, 0, link.0)))
            }
        }
    }

    /// Rests until `at`, whatever else would begin a session: nobody is dialled or listened to.
    pub fn rest_until(&mut self, at: Instant) {
        self.damping.rest_until(at);
        self.retry_at = Some(at);
    }

    fn refuses(&self, now: Instant) -> bool {
        self.cut_off || self.damping.refuses(now)
    }

    fn dial(&mut self, context: &mut Context<'_>) {
        let busy = self.dialling.is_some()
            || self.conns.iter().any(|conn| conn.direction == Direction::Dialled || conn.is_established());
        if let Some(until) = self.awaits_bfd(context.now) {
            // Who calls meanwhile is held; a second connection beside that would be one collision more.
            self.retry_at = Some(until);
            return;
        }
        let silent = self.config.passive || self.config.shutdown.is_some() || self.refuses(context.now);
        if !self.started || silent || busy {
            return;
        }
        let Some(remote) = self.target() else {
            return;
        };
        let conn = ConnId(*context.next_conn);
        *context.next_conn += 1;
        self.retry_at = None;
        self.dialling = Some((conn, context.now + DIAL_LIMIT));
        self.output.push_back(PeerOutput::Connect { conn, remote });
    }

    /// Somewhere between the least and the most wait (RFC 4271 §10: jittered).
    pub(super) fn schedule(&mut self, context: &mut Context<'_>) {
        let (least, most) = self.config.connect_retry_ms;
        let wait = |ms| Duration::from_millis(u64::from(ms));
        self.retry_at = Some(context.now + between(wait(least), wait(most), context.rng));
    }

    /// The wait after a failure that counts (RFC 4271 §8.1.1).
    pub(super) fn rest(&mut self, context: &mut Context<'_>) {
        let rest = self.damping.failed(context.now, self.config.connect_retry_ms, context.rng);
        self.retry_at = Some(context.now + rest);
    }

    fn on_remote(&mut self, remote: Option<(Ipv6Addr, IfIndex)>, context: &mut Context<'_>) {
        let changed = self.remote != remote;
        self.remote = remote;
        if changed && let Some((conn, _)) = self.dialling.take() {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
        }
        if changed && remote.is_some() {
            self.dial(context);
        }
    }

    fn on_connected(&mut self, conn: ConnId, local: SocketAddr, now: Instant) {
        let Some(remote) = self.target().filter(|_| self.dialling.is_some_and(|(id, _)| id == conn)) else {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            return;
        };
        self.dialling = None;
        if self.conns.iter().any(|own| own.session().is_some()) {
            // We already answered an OPEN of theirs: a second connection could only collide with it.
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            return;
        }
        let open = self.our_open();
        self.conns.push(Connection::new(now, conn, Direction::Dialled, (local, remote), (open, self.delay_open())));
        self.note(now, conn, FsmState::Connect, FsmEvent::Connected);
    }

    fn on_accepted(&mut self, conn: ConnId, ends: (SocketAddr, SocketAddr), now: Instant) {
        // RFC 4271 §8.2.2: a peer in Idle refuses connections.
        if !self.started || self.config.shutdown.is_some() || self.refuses(now) {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            return;
        }
        // A second one from the same side while the first is not yet Established: the newest counts.
        let older = self.conns.iter().find(|own| own.direction == Direction::Accepted && !own.is_established());
        if let Some(older) = older.map(|own| own.id) {
            self.remove(now, older, false, FsmEvent::CollisionDump);
            self.output.push_back(PeerOutput::Close { conn: older, flush: false });
        }
        let open = self.our_open();
        self.conns.push(Connection::new(now, conn, Direction::Accepted, ends, (open, self.delay_open())));
        self.forget_at = None;
        self.note(now, conn, FsmState::Active, FsmEvent::Accepted);
    }

    fn delay_open(&self) -> Duration {
        Duration::from_millis(u64::from(self.config.session.delay_open_ms))
    }

    /// Handles every whole message that waits on a connection.
    pub(super) fn drain(&mut self, conn: ConnId, context: &mut Context<'_>) {
        loop {
            let Some(own) = self.conns.iter_mut().find(|own| own.id == conn) else {
                return;
            };
            let Some(event) = own.next_event(context.now, (&self.config, &self.local), &mut self.trail) else {
                return;
            };
            match event {
                ConnEvent::Opened => {
                    self.note(context.now, conn, FsmState::OpenSent, FsmEvent::Open);
                    self.on_opened(conn, context);
                }
                ConnEvent::Established => {
                    self.note(context.now, conn, FsmState::OpenConfirm, FsmEvent::Keepalive);
                    self.on_established(conn, context);
                }
                ConnEvent::Update(message) => self.output.push_back(PeerOutput::Update(message)),
                ConnEvent::Refresh(family, subtype) => self.on_refresh(context.now, family, subtype),
                ConnEvent::Ended(end) => self.end(conn, &end, context),
            }
        }
    }

    /// Collision detection (RFC 4271 §6.8): when an OPEN came, look at the other connection.
    fn on_opened(&mut self, conn: ConnId, context: &mut Context<'_>) {
        let Some(session) = self.conns.iter().find(|own| own.id == conn).and_then(Connection::session).cloned() else {
            return;
        };
        // RFC 4271 §6.8 lets us look at OpenSent too once the peer's identifier is known, and this OPEN told it. That leaves no
        // moment in which the two ends could each give up the other's connection.
        let other = self.conns.iter().find(|own| own.id != conn);
        if let Some(other) = other {
            let (other_id, other_up, other_direction) = (other.id, other.is_established(), other.direction);
            let graceful = other.session().is_some_and(|session| session.graceful.is_some());
            if other_up && graceful {
                // RFC 4724 §5: the peer restarted and its old connection is dead, though we were not told.
                self.end(other_id, &End::Lost, context);
                self.output.push_back(PeerOutput::Close { conn: other_id, flush: false });
            } else {
                // RFC 6286 §2.3: the higher identifier's connection lives; of equal ones, the higher AS's.
                let ours = (self.local.router_id, self.local.asn);
                let keep_dialled = ours > (session.router_id, session.remote_asn);
                let other_wins = other_up || (other_direction == Direction::Dialled) == keep_dialled;
                let loser = if other_wins { conn } else { other_id };
                let notification = Notification::new(Notification::CEASE, 7);
                self.close(context.now, loser, notification, FsmEvent::CollisionDump);
                if other_wins {
                    return;
                }
            }
        }
        let strict = self.config.session.bfd_strict && !self.bfd_is_up;
        let awaited = self.awaits_bfd(context.now);
        match self.conns.iter_mut().find(|own| own.id == conn) {
            // Differs from draft-ietf-idr-bgp-bfd-strict-mode §8: also where the peer does not offer it, because that is what strict means
            // to who configured it.
            Some(own) if strict => own.await_bfd(context.now),
            Some(own) => match awaited {
                Some(until) => own.await_bfd_until(context.now, until),
                None => own.confirm(context.now, context.rng),
            },
            None => {}
        }
    }

    pub(super) fn on_established(&mut self, conn: ConnId, context: &Context<'_>) {
        let Some(session) = self.conns.iter().find(|own| own.id == conn).and_then(Connection::session).cloned() else {
            return;
        };
        let others: Vec<_> = self.conns.iter().map(|own| own.id).filter(|&id| id != conn).collect();
        for other in others {
            let notification = Notification::new(Notification::CEASE, 7);
            self.close(context.now, other, notification, FsmEvent::CollisionDump);
        }
        if let Some((dial, _)) = self.dialling.take() {
            self.output.push_back(PeerOutput::Close { conn: dial, flush: false });
        }
        self.retry_at = None;
        self.since = context.now;
        self.established += 1;
        self.ended_by = None;
        let lost = self.stale.session_began(context.now, &session);
        self.output.push_back(PeerOutput::Up(session));
        self.drop_stale(lost);
    }

    /// The speaker swept the stale routes of a family on End-of-RIB.
    pub fn swept(&mut self, family: Family) {
        self.stale.synchronized(family);
    }

    pub(super) fn drop_stale(&mut self, families: Vec<Family>) {
        if !families.is_empty() {
            self.output.push_back(PeerOutput::FlushStale(families));
        }
    }

    /// Stale routes whose time is over.
    pub(super) fn age(&mut self, now: Instant) {
        let is_up = self.conns.iter().any(Connection::is_established);
        let due = self.stale.due(now, is_up);
        if !due.long_lived.is_empty() {
            self.output.push_back(PeerOutput::LongLived(due.long_lived));
        }
        self.drop_stale(due.drop);
    }

    /// A ROUTE-REFRESH (RFC 2918 §4, RFC 7313 §4).
    fn on_refresh(&mut self, now: Instant, family: Family, subtype: Subtype) {
        match subtype {
            Subtype::Request => self.output.push_back(PeerOutput::Refresh(family)),
            Subtype::Begin if self.stale.refresh_began(now, family) => {
                self.output.push_back(PeerOutput::RefreshBegan(family));
            }
            Subtype::End if self.stale.refresh_ended(family) => self.output.push_back(PeerOutput::Refreshed(family)),
            Subtype::Begin | Subtype::End => {}
        }
    }

    fn on_tick(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for conn in self.conns.iter().map(|own| own.id).collect::<Vec<_>>() {
            let event = self.conns.iter_mut().find(|own| own.id == conn).and_then(|own| own.tick(now, context.rng));
            match event {
                Some(ConnEvent::Ended(end)) => self.end(conn, &end, context),
                Some(ConnEvent::Established) => {
                    self.note(now, conn, FsmState::OpenConfirm, FsmEvent::Keepalive);
                    self.on_established(conn, context);
                }
                Some(ConnEvent::Opened | ConnEvent::Update(_) | ConnEvent::Refresh(..)) | None => {}
            }
        }
        if let Some((conn, _)) = self.dialling.take_if(|(_, at)| *at <= now) {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            self.refused("connect timed out".to_owned());
            self.schedule(context);
        }
        self.age(now);
        self.forget(now);
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.dial(context);
        }
    }

    /// These whole messages left on one of its connections.
    pub fn note_sent(&mut self, now: Instant, bytes: &[u8]) {
        self.trail.sent(now, bytes);
    }

    /// Routes wait for room in the socket of the session.
    pub fn wait_for_room(&mut self, now: Instant) {
        if let Some(own) = self.conns.iter_mut().find(|own| own.is_established()) {
            own.wait_for_room(now);
        }
    }

    /// Says once per `handle` which connections have bytes.
    fn mark_writable(&mut self, now: Instant) {
        for conn in self.conns.iter_mut().filter(|conn| conn.has_output()) {
            conn.wait_for_room(now);
            self.output.push_back(PeerOutput::Writable(conn.id));
        }
    }
}

pub(super) fn add(total: &mut [u64; 5], part: [u64; 5]) {
    for kind in Kind::ALL {
        total[kind.index()] += part[kind.index()];
    }
}
