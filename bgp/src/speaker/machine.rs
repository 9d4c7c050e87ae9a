//! The machine: who our peers are, what happens to their routes as sessions come and go, and what the kernel is asked for.

use super::batch::Group;
use super::export::Out;
use super::kernel::AskAgain;
use super::monitor::Monitors;
use super::refused::RefusedRoutes;
use super::rpki::Rpki;
use super::sweep::{Held, Sweep};
use super::{DynamicRange, Input, Output, SpeakerConfig};
use crate::event::Event;
use crate::peer::{Handed, Peer, PeerInput, Session};
use crate::policy::Hits;
use crate::rib::aggregate::Aggregates;
use crate::rib::table::Table;
use crate::rng::Rng;
use crate::time::Instant;
use crate::types::{ConnId, Family, IfIndex, IpNet, PeerId};
use crate::wire::Notification;
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// First id of dynamic peers; configured ones are below.
const DYNAMIC: u32 = 1 << 31;
/// Removed peers whose NOTIFICATION the socket has not taken yet; beyond this they end without a word.
const LAST_WORDS: usize = 256;

/// A peer and what is known of it beyond its session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: Peer,
    pub(super) out: Out,
    /// The newest Established session, kept while its routes are.
    pub(super) last: Option<Arc<Session>>,
    /// Its paths in the table.
    pub(super) held: Held,
    pub(super) rejected: u64,
    pub(super) prefixes_rejected: u64,
    /// Paths beyond `paths_limit`, every announcement counted.
    pub(super) paths_over_limit: u64,
    /// The newest of what was not taken in this session.
    pub(super) refused: RefusedRoutes,
    /// How often each rule of the policies decided for this peer, since they were loaded.
    pub(super) hits: Hits,
    pub(super) faults: u64,
    /// The operator knows that it comes near its maximum of prefixes, and that it is over it.
    pub(super) warned: bool,
    pub(super) over: bool,
    pub(super) updates: u64,
    /// Families whose End-of-RIB came in this session.
    pub(super) ended: Vec<Family>,
    /// The session is one of the process before this one: EoRR stands for its End-of-RIB.
    pub(super) taken_over: bool,
    pub(super) dynamic: bool,
    /// When it is to be called, as [`Speaker::timers`] knows it.
    pub(super) timer: Option<Instant>,
}

/// A BGP speaker. See [`Input`], [`Output`] and the verbs below.
#[derive(Debug)]
pub struct Speaker {
    pub(super) config: SpeakerConfig,
    pub(super) members: BTreeMap<PeerId, Member>,
    pub(super) table: Table,
    pub(super) groups: Vec<Group>,
    pub(super) scratch: Vec<u8>,
    pub(super) conns: BTreeMap<ConnId, PeerId>,
    /// When each peer is to be called.
    timers: BTreeSet<(Instant, PeerId)>,
    last_words: BTreeMap<ConnId, BytesMut>,
    pub(super) ranges: Vec<DynamicRange>,
    pub(super) originated: BTreeSet<IpNet>,
    pub(super) aggregates: Aggregates,
    pub(super) sweeps: VecDeque<Sweep>,
    /// Peers whose link was lost, and where they are: nothing is sent there before their session stands again.
    pub(super) held_back: BTreeMap<PeerId, (IfIndex, IpAddr)>,
    /// What peers that were removed still have in the table.
    pub(super) left: BTreeMap<PeerId, Held>,
    pub(super) output: VecDeque<Output>,
    pub(super) monitors: Monitors,
    pub(super) rpki: Rpki,
    pub(super) rng: Rng,
    pub(super) next_conn: u64,
    pub(super) next_dynamic: u32,
    /// Cursor of the kernel side, the newest change it acknowledged, and whether it was told to look.
    pub(super) fib_cursor: u64,
    pub(super) fib_acked: u64,
    pub(super) fib_sent: u64,
    /// Up to where the kernel has done all it was asked. Never goes back, whatever is asked of it next.
    pub(super) fib_done: u64,
    pub(super) fib_signalled: bool,
    /// Up to where peers were last offered the log, and whether one has something to read besides.
    pub(super) offered: u64,
    pub(super) has_news: bool,
    /// Those who have.
    pub(super) news: BTreeSet<PeerId>,
    /// Established peers that the driver was not told of: the others will read whatever comes. May hold some that left.
    pub(super) idle: BTreeSet<PeerId>,
    /// Who is where, of those at an address: a thousand that call at once are not to be looked for one by one.
    pub(super) places: BTreeMap<IpAddr, PeerId>,
    /// Peers that would have been told more than they may be.
    pub(super) exceeded: BTreeSet<PeerId>,
    /// A peer has more to read, but the last look found nothing to tell it.
    is_quiet: bool,
    /// Calls since the log was last trimmed.
    pub(super) untrimmed: usize,
    pub(super) in_kernel: Vec<u64>,
    /// What the kernel refused, until it is wanted differently. Bounded by the table.
    pub(super) fib_failed: BTreeSet<IpNet>,
    pub(super) ask_again: Option<AskAgain>,
    /// Peers may be told and the kernel touched.
    pub(super) converged: bool,
    /// The first convergence was reported.
    pub(super) settled: bool,
    /// When the first input came: what the first convergence waits for is counted from here.
    pub(super) begun: Option<Instant>,
    /// When that was last looked at.
    pub(super) settle_seen: Instant,
    /// Everybody we are to wait for was named: ranges are said after the peers.
    pub(super) named: bool,
}

impl Speaker {
    /// A speaker without peers.
    #[must_use]
    pub fn new(config: SpeakerConfig) -> Self {
        let mut aggregates = Aggregates::default();
        let mut table = Table::new(config.seed, config.multipath);
        table.tell_hops(config.policies.asks_of_next_hops());
        table.set_guards(config.policies.guards());
        aggregates.set(&config.aggregates, &table);
        Self {
            table,
            rng: Rng::new(config.seed),
            converged: config.hold_back_ms == 0 && !config.restarting,
            settled: false,
            config,
            members: BTreeMap::new(),
            groups: Vec::new(),
            scratch: Vec::new(),
            conns: BTreeMap::new(),
            timers: BTreeSet::new(),
            last_words: BTreeMap::new(),
            ranges: Vec::new(),
            originated: BTreeSet::new(),
            aggregates,
            sweeps: VecDeque::new(),
            held_back: BTreeMap::new(),
            left: BTreeMap::new(),
            output: VecDeque::new(),
            monitors: Monitors::default(),
            rpki: Rpki::default(),
            next_conn: 0,
            next_dynamic: DYNAMIC,
            fib_cursor: 0,
            fib_acked: 0,
            fib_sent: 0,
            fib_done: 0,
            fib_signalled: false,
            offered: 0,
            has_news: false,
            news: BTreeSet::new(),
            idle: BTreeSet::new(),
            places: BTreeMap::new(),
            exceeded: BTreeSet::new(),
            is_quiet: false,
            untrimmed: 0,
            in_kernel: Vec::new(),
            fib_failed: BTreeSet::new(),
            ask_again: None,
            begun: None,
            settle_seen: Instant::ZERO,
            named: false,
        }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.begun.get_or_insert(now);
        match input {
            Input::SetPeer { peer, config } => self.set_peer(now, peer, *config, false),
            Input::RemovePeer { peer } => self.remove_peer(now, peer),
            Input::SetDynamicRanges(ranges) => self.set_ranges(now, ranges),
            Input::SetRemote { peer, remote } => self.give(now, peer, PeerInput::Remote(remote)),
            Input::Connected { conn, local } => self.give_conn(now, conn, PeerInput::Connected { conn, local }),
            Input::ConnectFailed { conn, error } => {
                self.give_conn(now, conn, PeerInput::ConnectFailed { conn, error });
                self.conns.remove(&conn);
            }
            Input::Accepted { conn, local, remote } => self.on_accepted(now, conn, local, remote),
            Input::Handed { conn, session } => self.on_handed(now, conn, session),
            Input::Received { conn, data } => self.give_conn(now, conn, PeerInput::Received { conn, data }),
            Input::Closed { conn } => {
                self.give_conn(now, conn, PeerInput::Closed { conn });
                self.conns.remove(&conn);
            }
            Input::Links(links) => self.set_links(now, links),
            Input::ForeignRoutes(routes) => self.set_foreign_routes(routes),
            Input::LinkDown(link) => self.on_link_down(now, link),
            Input::Reachable { link, addr, is } => self.set_reachable(now, (link, addr), is),
            Input::BfdDown { peer, retain } => self.give(now, peer, PeerInput::BfdDown { retain }),
            Input::AwaitBfd { peer, until } => self.give(now, peer, PeerInput::AwaitBfd(until)),
            Input::BfdState { peer, is_up } => self.give(now, peer, PeerInput::BfdState { is_up }),
            Input::SetOriginated(routes) => self.set_originated(now, &routes),
            Input::Originate(route) => self.originate(now, &route),
            Input::Unoriginate(prefix) => self.unoriginate(now, &prefix),
            Input::FibAck { seq, failed } => self.on_fib_ack(now, seq, failed),
            Input::FibRepaired(prefixes) => self.on_repaired(&prefixes),
            Input::Clear { peer, hard } => self.clear(now, peer, hard),
            Input::Shutdown { cease } => {
                let notification = cease.then(|| Notification::shutdown(2, "weft stops"));
                for peer in self.members.keys().copied().collect::<Vec<_>>() {
                    self.give(now, peer, PeerInput::Stop(notification.clone()));
                }
            }
            Input::Tick => self.tick(now),
        }
        self.aggregate(now);
        self.after(now);
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The control messages of a connection, which no route may delay.
    pub fn poll_control(&mut self, now: Instant, conn: ConnId, buf: &mut BytesMut) {
        if let Some(words) = self.last_words.remove(&conn) {
            buf.unsplit(words);
        }
        let Some(id) = self.conns.get(&conn).copied() else {
            return;
        };
        if let Some(member) = self.members.get_mut(&id) {
            let start = buf.len();
            member.peer.poll_transmit(conn, buf);
            member.peer.note_sent(now, buf.get(start..).unwrap_or_default());
            if !member.peer.owns(conn) {
                // Its last words.
                self.conns.remove(&conn);
            }
        }
    }

    /// Bytes for a connection: control messages first, then up to about `limit` octets of routes; true if more waits.
    pub fn poll_transmit(&mut self, now: Instant, conn: ConnId, buf: &mut BytesMut, limit: usize) -> bool {
        self.poll_control(now, conn, buf);
        let start = buf.len();
        let Some(id) = self.conns.get(&conn).copied() else {
            return false;
        };
        let Some(member) = self.members.get_mut(&id) else {
            return false;
        };
        let current = member.peer.session().is_some_and(|session| session.conn == conn);
        let mut more = current && self.converged && self.fill(id, buf, limit);
        if self.monitors.wanted.adj_out && buf.len() > start {
            self.observe_sent(now, id, buf.get(start..).unwrap_or_default());
        }
        if more && buf.is_empty() {
            // Much was looked at and nothing is to be told of it: others have their turn first.
            self.is_quiet = true;
            self.news.insert(id);
            more = false;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.peer.note_sent(now, buf.get(start..).unwrap_or_default());
            member.out.signalled = more;
            if !more {
                self.idle.insert(id);
            } else {
                // The driver asks again when the socket has room.
                member.peer.wait_for_room(now);
            }
        }
        self.untrimmed += 1;
        if self.untrimmed > self.members.len() {
            self.trim();
        }
        more
    }

    /// When to call with `Tick`, and for what.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.is_walking() || self.is_quiet {
            return Some((Instant::ZERO, "walks over the table"));
        }
        if !self.exceeded.is_empty() {
            return Some((Instant::ZERO, "outbound limits"));
        }
        // What a peer asked for may be over by now: then it is called once for nothing.
        let reason =
            |peer| self.members.get(peer).and_then(|member| member.peer.next_timeout()).map_or("peer", |(_, why)| why);
        let first = self.timers.first().map(|(at, peer)| (*at, reason(peer)));
        first
            .into_iter()
            .chain(self.settle_timeout())
            .chain(self.ask_timeout())
            .chain(self.monitor_timeout())
            .chain(self.rpki_timeout())
            .min()
    }

    /// A peer's turn comes once others had theirs.
    pub(super) const fn is_turning(&self) -> bool {
        self.is_quiet
    }

    pub(super) fn event(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    pub(super) fn fault(&mut self, now: Instant, peer: PeerId, notification: Notification) {
        self.give(now, peer, PeerInput::Fault(notification));
    }

    pub(super) fn remove_peer(&mut self, now: Instant, id: PeerId) {
        // RFC 4486 §4: Peer De-configured.
        self.give(now, id, PeerInput::Stop(Some(Notification::new(Notification::CEASE, 3))));
        self.drop_stale(id, &Family::ALL);
        if let Some(mut member) = self.members.remove(&id) {
            if self.table.lives.past(id) == [0; 2] {
                self.table.forget_peer(id);
            } else {
                self.left.insert(id, member.held);
            }
            member.timer.map(|at| self.timers.remove(&(at, id)));
            self.leave_place(id, &member.peer.config().endpoint.clone());
            self.idle.remove(&id);
            self.news.remove(&id);
            for (conn, _) in self.conns.iter().filter(|(_, peer)| **peer == id) {
                let mut words = BytesMut::new();
                member.peer.poll_transmit(*conn, &mut words);
                if !words.is_empty() && self.last_words.len() < LAST_WORDS {
                    self.last_words.insert(*conn, words);
                }
            }
        }
        self.conns.retain(|_, peer| *peer != id);
    }

    fn on_handed(&mut self, now: Instant, conn: ConnId, session: Box<Handed>) {
        let id = self.peer_at(session.remote).or_else(|| self.dynamic_peer(now, session.remote.ip()));
        match id {
            Some(id) => {
                self.conns.insert(conn, id);
                self.give(now, id, PeerInput::Handed { conn, session });
            }
            None => self.output.push_back(Output::Close { conn, flush: false }),
        }
    }

    /// What the next process needs to go on with the session of a connection. `None` where it could not, or where the peer has not been told
    /// everything once: without our End-of-RIB it would not heed the marks of a refresh (RFC 7313 §4).
    #[must_use]
    pub fn hand_over(&self, conn: ConnId) -> Option<Handed> {
        let member = self.members.get(self.conns.get(&conn)?)?;
        member.peer.hand_over(conn).filter(|_| member.out.end_of_rib.is_empty())
    }

    fn on_accepted(&mut self, now: Instant, conn: ConnId, local: SocketAddr, remote: SocketAddr) {
        let id = self.peer_at(remote).or_else(|| self.dynamic_peer(now, remote.ip()));
        match id {
            Some(id) => {
                self.conns.insert(conn, id);
                self.give(now, id, PeerInput::Accepted { conn, local, remote });
            }
            None => self.output.push_back(Output::Close { conn, flush: false }),
        }
    }

    fn clear(&mut self, now: Instant, id: PeerId, hard: bool) {
        if hard {
            // RFC 4486 §4: Administrative Reset.
            self.fault(now, id, Notification::new(Notification::CEASE, 4));
        } else if let Some(member) = self.members.get_mut(&id) {
            self.news.insert(id);
            member.out.restart();
            if self.ask_for_routes_of(id) {
                self.outdate(now, id);
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let due: Vec<_> = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, peer)| *peer).collect();
        for peer in due {
            self.give(now, peer, PeerInput::Tick);
        }
        self.is_quiet = false;
        self.end_exceeded(now);
        self.walk_on(now);
        self.trim();
        self.end_laggards(now);
        self.settle(now);
        self.ask_kernel_again(now);
        self.tick_monitors(now);
        self.tick_rpki(now);
    }

    fn give_conn(&mut self, now: Instant, conn: ConnId, input: PeerInput) {
        if let Some(&peer) = self.conns.get(&conn) {
            self.give(now, peer, input);
        }
    }

    pub(super) fn give(&mut self, now: Instant, id: PeerId, input: PeerInput) {
        if let Some(member) = self.members.get_mut(&id) {
            member.peer.handle(now, input, &mut self.rng, &mut self.next_conn);
        }
        self.drain(now, id);
    }

    /// Notes when a peer is to be called next.
    pub(super) fn renew_timer(&mut self, id: PeerId) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let due = member.peer.next_timeout().map(|(at, _)| at);
        let old = std::mem::replace(&mut member.timer, due);
        if old != due {
            old.map(|at| self.timers.remove(&(at, id)));
            self.timers.extend(due.map(|at| (at, id)));
        }
    }
}

#[cfg(test)]
mod tests;
