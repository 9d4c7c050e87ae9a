//! Bidirectional Forwarding Detection (RFC 5880) for BGP peers, over one hop (RFC 5881) and several (RFC 5883): all sessions as one
//! machine, which knows time and addresses, but no socket. Asynchronous mode; no authentication, no demand mode, no echo.
//!
//! ```text
//! the node's peers ──▶ Sessions ─┐                       ┌──▶ Open / Close ──▶ a socket to send from
//! socket 3784, 4784 ──▶ Packet ──┼──▶ Bfd ──▶ Session ───┼──▶ Alive ──▶ kernel: the neighbour's next hop goes, or comes back
//! lost time of ours ──▶ Starved ─┘      (one per peer)   ├──▶ Changed ──▶ the node: the BGP session ends, or may begin
//!                                                        └──▶ poll_transmit ──▶ packets
//! ```
//! A failure reaches the kernel before BGP hears of it. What is dead stays dead until the session is Up again, or until the node says,
//! knowing of the failure, that BGP has a session with the peer nevertheless.

mod keep;
mod quiet;
mod session;
mod status;
#[cfg(test)]
mod tests;
pub mod wire;

pub use keep::Kept;
pub use quiet::Steady;
pub use session::{Cause, Change, Remote, Timers, Variables};
pub use status::Status;
pub use wire::{Control, Diagnostic, Discard, State};

use crate::fib::Member;
use serde::{Deserialize, Serialize};
use session::Session;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use weft_bgp::rng::Rng;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{IfIndex, PeerId};

/// UDP port of a single hop (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// UDP port of several (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;
/// What nobody but a neighbour can send (RFC 5881 §5).
pub const TTL: u8 = 255;
/// Most sessions: more than a switch has neighbours. What is wanted beyond is refused.
pub const MAX_SESSIONS: usize = 4_096;

/// How far the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// On this link.
    SingleHop(IfIndex),
    /// Behind routers.
    Multihop,
}

/// What a failure means to the routes of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are not to be used.
    FailOver,
    /// The peer may only be restarting (RFC 5882 §4.3.2): they stay, unless BFD there does not share the fate of its BGP.
    Keep,
}

/// A session that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// For whom.
    pub peer: PeerId,
    /// Where the peer is.
    pub remote: IpAddr,
    /// From which address; the system chooses otherwise.
    pub local: Option<IpAddr>,
    /// How far away.
    pub path: Path,
    /// How often, and how patient.
    pub timers: Timers,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// BGP has a session with the peer.
    pub is_established: bool,
    /// The newest failure that the node knows of ([`Notice::failure`]).
    pub known_failure: u64,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The sessions that are wanted: the whole picture.
    Sessions(Vec<Wanted>),
    /// A packet came.
    Packet(Heard),
    /// We were not there for so long, and heard nothing.
    Starved(Duration),
    /// A deadline passed, and all that had come by then was handed in.
    Tick,
}

/// A packet, and how it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// To which port: that of several hops?
    pub is_multihop: bool,
    /// Over which link.
    pub link: IfIndex,
    /// From whom.
    pub from: IpAddr,
    /// Its time to live or hop limit.
    pub ttl: u8,
    /// Its first octets, zeros where it is shorter.
    pub first: [u8; wire::LENGTH],
    /// Octets of the whole.
    pub length: usize,
}

/// Names a session and the socket it sends from; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// Where a session sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The peer.
    pub remote: IpAddr,
    /// From which address; the system chooses otherwise.
    pub local: Option<IpAddr>,
    /// How far.
    pub path: Path,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// A session wants to send.
    Open(SessionId, Endpoint),
    /// It will not send any more.
    Close(SessionId),
    /// The kernel is to stop using a neighbour, or may use it again.
    Alive(Member, bool),
    /// A session changed its state.
    Changed(Notice),
}

/// What the node hears of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whose.
    pub peer: PeerId,
    /// The state now.
    pub state: State,
    /// Why.
    pub cause: Cause,
    /// The number of this peer's newest failure, 0 without one. Numbers grow, so that none is overlooked that was merged with what
    /// followed it.
    pub failure: u64,
    /// The last failure left the routes alone.
    pub keeps: bool,
}

/// A session changed its state, for the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The only kind.
    Bfd {
        /// Whose.
        peer: PeerId,
        /// The peer's configured name.
        name: String,
        /// Into which.
        state: State,
        /// Why.
        cause: Cause,
        /// The path failed: now, or since the state before this one.
        failed: bool,
        /// That left the peer's routes alone.
        retained: bool,
    },
}

/// Counts of the machine as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Packets discarded, by [`Discard::index`].
    pub discarded: [u64; Discard::ALL.len()],
    /// Times we were not there.
    pub starved: u64,
    /// For how long, all in all and at the longest.
    pub starved_time: Duration,
    /// Likewise.
    pub starved_longest: Duration,
    /// Sessions refused because there were too many.
    pub refused: u64,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    session: Session,
    ups: u64,
    failures: u64,
    failure: u64,
    keeps: bool,
    is_dead: bool,
    /// When it is looked at next; the entry in `wakes`.
    wake: Option<Instant>,
    /// It stands in `ready`.
    is_ready: bool,
}

impl Entry {
    const fn new(wanted: Wanted, session: Session) -> Self {
        Self {
            wanted,
            session,
            ups: 0,
            failures: 0,
            failure: 0,
            keeps: false,
            is_dead: false,
            wake: None,
            is_ready: false,
        }
    }

    const fn endpoint(&self) -> Endpoint {
        Endpoint { remote: self.wanted.remote, local: self.wanted.local, path: self.wanted.path }
    }

    /// The kernel's name for the peer: a neighbour on a link. What is behind routers has none.
    const fn member(&self) -> Option<Member> {
        match self.wanted.path {
            Path::SingleHop(link) => Some(Member { link, gateway: self.wanted.remote }),
            Path::Multihop => None,
        }
    }
}

/// All sessions. See [`Input`] and [`Output`].
#[derive(Debug)]
pub struct Bfd {
    rng: Rng,
    next_id: u64,
    /// The number of the newest failure of all.
    failure: u64,
    entries: BTreeMap<SessionId, Entry>,
    by_peer: BTreeMap<PeerId, SessionId>,
    by_discriminator: BTreeMap<u32, SessionId>,
    /// For packets whose sender does not know our discriminator yet.
    by_place: BTreeMap<(Path, IpAddr), SessionId>,
    orphans: keep::Orphans,
    wakes: BTreeSet<(Instant, SessionId)>,
    ready: VecDeque<SessionId>,
    output: VecDeque<Output>,
    totals: Totals,
}

impl Bfd {
    /// Without sessions. Discriminators and jitter come from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            next_id: 1,
            failure: 0,
            entries: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_discriminator: BTreeMap::new(),
            by_place: BTreeMap::new(),
            orphans: keep::Orphans::default(),
            wakes: BTreeSet::new(),
            ready: VecDeque::new(),
            output: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Sessions(wanted) => self.set_sessions(now, wanted),
            Input::Packet(heard) => {
                if let Err(reason) = self.hear(now, &heard) {
                    self.totals.discarded[reason.index()] += 1;
                }
            }
            Input::Starved(time) => {
                self.totals.starved += 1;
                self.totals.starved_time += time;
                self.totals.starved_longest = self.totals.starved_longest.max(time);
                self.entries.values_mut().for_each(|entry| entry.session.forgive(time));
            }
            Input::Tick => self.tick(now),
        }
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The next packet that is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(SessionId, [u8; wire::LENGTH])> {
        while let Some(&id) = self.ready.front() {
            if let Some(entry) = self.entries.get_mut(&id) {
                if let Some(packet) = entry.session.transmit(now, &mut self.rng) {
                    return Some((id, packet));
                }
                entry.is_ready = false;
            }
            self.ready.pop_front();
            self.schedule(now, id);
        }
        None
    }

    /// When to call with [`Input::Tick`], and who asked.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        if !self.ready.is_empty() {
            return Some((Instant::ZERO, "packets to send"));
        }
        let orphans = self.orphans.next_timeout().map(|at| (at, "BFD sessions of before"));
        self.wakes.first().map(|(at, _)| (*at, "a BFD session")).into_iter().chain(orphans).min()
    }

    /// Every session that is wanted, in the order of the peers.
    pub fn status(&self) -> impl Iterator<Item = Status> {
        self.by_peer.values().filter_map(|id| self.entries.get(id)).map(Status::of)
    }

    /// Counts of all of them.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    fn set_sessions(&mut self, now: Instant, wanted: Vec<Wanted>) {
        let peers: BTreeSet<PeerId> = wanted.iter().map(|wanted| wanted.peer).collect();
        let gone: Vec<PeerId> = self.by_peer.keys().filter(|peer| !peers.contains(peer)).copied().collect();
        for peer in gone {
            self.close(now, peer);
        }
        for wanted in wanted {
            let known = self.by_peer.get(&wanted.peer).copied();
            match known.and_then(|id| Some((id, self.entries.get_mut(&id)?))) {
                Some((id, entry)) if same_place(&entry.wanted, &wanted) => {
                    if entry.wanted.timers != wanted.timers {
                        entry.session.set_timers(now, wanted.timers, &mut self.rng);
                    }
                    let news = wanted.is_established && wanted.known_failure >= entry.failure;
                    entry.wanted = wanted;
                    if news {
                        self.set_dead(id, false);
                    }
                    self.follow(now, id);
                }
                _ => {
                    self.close(now, wanted.peer);
                    if !self.claim(now, &wanted) {
                        self.open(now, wanted);
                    }
                }
            }
        }
    }

    fn open(&mut self, now: Instant, wanted: Wanted) {
        if self.entries.len() >= MAX_SESSIONS {
            self.totals.refused += 1;
            return;
        }
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let discriminator = self.fresh_discriminator();
        let session = Session::new(now, discriminator, wanted.timers);
        let (peer, place) = (wanted.peer, (wanted.path, wanted.remote));
        let entry = Entry::new(wanted, session);
        self.output.push_back(Output::Open(id, entry.endpoint()));
        self.entries.insert(id, entry);
        self.by_peer.insert(peer, id);
        self.by_discriminator.insert(discriminator, id);
        self.by_place.insert(place, id);
        self.follow(now, id);
    }

    /// Unique here, not 0 (RFC 5880 §6.8.1), and not to be guessed by who is off the path.
    fn fresh_discriminator(&mut self) -> u32 {
        loop {
            let drawn = u32::try_from(self.rng.next_u64() >> 32).unwrap_or_default();
            if drawn != 0 && !self.by_discriminator.contains_key(&drawn) {
                return drawn;
            }
        }
    }

    /// A session is not wanted any more: it says so for a while, and what it said of the neighbour is void.
    fn close(&mut self, now: Instant, peer: PeerId) {
        let Some(id) = self.by_peer.remove(&peer) else {
            return;
        };
        self.say_goodbye(now, id);
    }

    fn say_goodbye(&mut self, now: Instant, id: SessionId) {
        self.set_dead(id, false);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let place = (entry.wanted.path, entry.wanted.remote);
        if self.by_place.get(&place) == Some(&id) {
            self.by_place.remove(&place);
        }
        if entry.session.remote.discriminator == 0 {
            // Who was never heard need not be told.
            self.forget(id);
        } else {
            entry.session.admin_down(now, &mut self.rng);
            self.follow(now, id);
        }
    }

    fn hear(&mut self, now: Instant, heard: &Heard) -> Result<(), Discard> {
        // RFC 5881 §5; it is the cheapest check, and the only one that a stranger cannot pass.
        if !heard.is_multihop && heard.ttl != TTL {
            return Err(Discard::TimeToLive);
        }
        let packet = Control::decode(&heard.first, heard.length)?;
        let id = self.addressee(heard, &packet).ok_or(Discard::NoSession)?;
        let entry = self.entries.get_mut(&id).ok_or(Discard::NoSession)?;
        if let Some(change) = entry.session.receive(now, &packet, &mut self.rng) {
            self.changed(id, change);
        }
        self.follow(now, id);
        Ok(())
    }

    /// By our discriminator alone where the sender knows it (RFC 5880 §6.3), else by where it came from (RFC 5881 §3).
    fn addressee(&self, heard: &Heard, packet: &Control) -> Option<SessionId> {
        if packet.your_discriminator == 0 {
            let path = if heard.is_multihop { Path::Multihop } else { Path::SingleHop(heard.link) };
            return self.by_place.get(&(path, heard.from)).copied();
        }
        let id = self.by_discriminator.get(&packet.your_discriminator)?;
        // A session of a single hop is not to be kept up from behind a router.
        let is_multihop = self.entries.get(id)?.wanted.path == Path::Multihop;
        (is_multihop == heard.is_multihop).then_some(*id)
    }

    fn tick(&mut self, now: Instant) {
        self.end_orphans(now);
        while let Some(&(at, id)) = self.wakes.first() {
            if at > now {
                return;
            }
            self.wakes.pop_first();
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.wake = None;
            if let Some(change) = entry.session.tick(now, &mut self.rng) {
                self.changed(id, change);
            }
            if self.entries.get(&id).is_some_and(|entry| entry.session.gone_at.is_some_and(|at| at <= now)) {
                self.forget(id);
            } else {
                self.follow(now, id);
            }
        }
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_discriminator.remove(&entry.session.discriminator);
            self.output.push_back(Output::Close(id));
        }
    }

    /// What a change of state means beyond the session.
    fn changed(&mut self, id: SessionId, change: Change) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if change.to == State::Up {
            entry.ups += 1;
        }
        let fails_over = change.is_failure() && {
            entry.failures += 1;
            self.failure += 1;
            entry.failure = self.failure;
            // RFC 5882 §4.3.1: where BFD there outlives a restart, a failure is one of the path whatever BGP is doing.
            entry.keeps = entry.wanted.on_failure == OnFailure::Keep && !entry.session.remote.independent;
            !entry.keeps
        };
        let notice = Notice {
            peer: entry.wanted.peer,
            state: change.to,
            cause: change.cause,
            failure: entry.failure,
            keeps: entry.keeps,
        };
        // The kernel first.
        if fails_over {
            self.set_dead(id, true);
        } else if change.to == State::Up {
            self.set_dead(id, false);
        }
        self.output.push_back(Output::Changed(notice));
    }

    fn set_dead(&mut self, id: SessionId, is_dead: bool) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.is_dead != is_dead
            && let Some(member) = entry.member()
        {
            entry.is_dead = is_dead;
            self.output.push_back(Output::Alive(member, !is_dead));
        }
    }

    /// After something happened to a session: it sends, or is looked at again in time.
    fn follow(&mut self, now: Instant, id: SessionId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.session.is_due(now)
            && !std::mem::replace(&mut entry.is_ready, true)
        {
            self.ready.push_back(id);
        }
        self.schedule(now, id);
    }

    /// A deadline that moved away is found out when it would have been: a packet heard costs no look-up here.
    fn schedule(&mut self, now: Instant, id: SessionId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Some(next) = entry.session.next_timeout(!entry.is_ready) else {
            return;
        };
        let next = next.max(now);
        match entry.wake {
            Some(at) if at <= next => {}
            other => {
                if let Some(at) = other {
                    self.wakes.remove(&(at, id));
                }
                entry.wake = Some(next);
                self.wakes.insert((next, id));
            }
        }
    }
}

fn same_place(a: &Wanted, b: &Wanted) -> bool {
    (a.remote, a.local, a.path) == (b.remote, b.local, b.path)
}
