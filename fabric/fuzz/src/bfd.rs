//! What a peer may do to BFD: anything, while a canary on the same link must not notice.

use super::{Record, octet, records};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{IfIndex, PeerId};
use weft_fabric::bfd::wire::LENGTH;
use weft_fabric::bfd::{
    Bfd, Control, Diagnostic, Endpoint, Heard, Input, OnFailure, Output, Path, SessionId, State, Status, Timers, Wanted,
};
use weft_fabric::fib::Member;

const LINK: IfIndex = IfIndex(7);
/// Over one hop, and over several.
const GUESTS: [PeerId; 2] = [PeerId(1), PeerId(3)];
const CANARY: PeerId = PeerId(2);
/// How long a packet of the canary is under way.
const LATENCY: Duration = Duration::from_millis(1);
/// Least interval that a configuration may ask for, and what jitter leaves of it (RFC 5880 §6.8.7).
const LEAST_GAP_US: u64 = 7_500;
/// Packets that one pass may add to what the interval allows: changes of state, answers to Polls.
const EXTRA_PACKETS: u64 = 8;
/// Turns at one time after which nothing more may be due.
const TURNS_MAX: usize = 16;

/// First octet: how the guests are configured at first. Then records.
pub fn run(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let mut world = World::new(first);
    world.pass(Duration::from_millis(2_500));
    assert_eq!(world.status(CANARY).unwrap().state, State::Up, "the canary does not come up");
    world.is_settled = true;
    for record in records(rest) {
        world.pass(Duration::from_millis((1_u64 << record.pause.min(11)) - 1));
        world.take(&record);
        world.check();
    }
    world.end();
}

fn address(peer: PeerId) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(peer.0).unwrap()).into()
}

fn wanted(peer: PeerId, interval: u8, multiplier: u8) -> Wanted {
    let interval_us = 10_000 * (u32::from(interval) + 1);
    let path = if peer == GUESTS[1] { Path::Multihop } else { Path::SingleHop(LINK) };
    Wanted {
        peer,
        remote: address(peer),
        local: None,
        path,
        timers: Timers { transmit_us: interval_us, receive_us: interval_us, multiplier: multiplier.max(1) },
        on_failure: OnFailure::FailOver,
        is_established: false,
        known_failure: 0,
    }
}

struct World {
    bfd: Bfd,
    /// The canary's end.
    far: Bfd,
    now: Instant,
    /// Packets of the canary under way: when they arrive, whether at our end, what.
    wire: VecDeque<(Instant, bool, [u8; LENGTH])>,
    wanted: BTreeMap<PeerId, Wanted>,
    open: BTreeMap<SessionId, Endpoint>,
    dead: BTreeSet<Member>,
    /// When a guest must be down if nothing more is heard of it.
    deadline: BTreeMap<PeerId, Instant>,
    /// Packets sent to guests in this pass.
    sent: u64,
    is_settled: bool,
}

impl World {
    fn new(first: u8) -> Self {
        let now = Instant(1_000_000_000_000);
        let guests = GUESTS.map(|peer| wanted(peer, first >> 3, first & 7));
        let all: BTreeMap<_, _> =
            guests.into_iter().chain([wanted(CANARY, 4, 3)]).map(|wanted| (wanted.peer, wanted)).collect();
        let mut far = Bfd::new(9);
        far.handle(now, Input::Sessions(vec![Wanted { remote: address(PeerId(9)), ..wanted(CANARY, 4, 3) }]));
        let mut world = Self {
            bfd: Bfd::new(1),
            far,
            now,
            wire: VecDeque::new(),
            wanted: all,
            open: BTreeMap::new(),
            dead: BTreeSet::new(),
            deadline: BTreeMap::new(),
            sent: 0,
            is_settled: false,
        };
        world.configure();
        world
    }

    fn configure(&mut self) {
        self.bfd.handle(self.now, Input::Sessions(self.wanted.values().cloned().collect()));
        self.drain();
    }

    fn status(&self, peer: PeerId) -> Option<Status> {
        self.bfd.status().find(|status| status.peer == peer)
    }

    fn drain(&mut self) {
        while let Some(output) = self.bfd.poll() {
            match output {
                Output::Open(id, endpoint) => assert!(self.open.insert(id, endpoint).is_none(), "{id:?} twice"),
                Output::Close(id) => assert!(self.open.remove(&id).is_some(), "{id:?} was not open"),
                Output::Alive(member, alive) => {
                    assert_eq!(member.gateway, address(GUESTS[0]), "the kernel is told of who did nothing");
                    let news = if alive { self.dead.remove(&member) } else { self.dead.insert(member) };
                    assert!(news, "{member:?} is told to be alive: {alive}, again");
                }
                Output::Changed(notice) => {
                    assert!(!self.is_settled || notice.peer != CANARY, "the canary notices: {notice:?}");
                }
            }
        }
        while self.far.poll().is_some() {}
    }

    /// Time passes, for both ends of the canary's session.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.sent = 0;
        loop {
            self.settle();
            let timeouts = [self.bfd.next_timeout(), self.far.next_timeout()].into_iter().flatten().map(|(at, _)| at);
            let next = timeouts.chain(self.wire.front().map(|(at, ..)| *at)).min().unwrap_or(end);
            if next > end || self.now >= end {
                break;
            }
            self.now = next.max(self.now);
        }
        self.now = end;
        self.settle();
        let allowed = u64::try_from(time.as_micros()).unwrap() / LEAST_GAP_US * 2 + EXTRA_PACKETS;
        assert!(self.sent <= allowed, "{} packets in {time:?}", self.sent);
    }

    /// All that is due now.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, is_here, first) = self.wire.pop_front().unwrap();
                let from = if is_here { address(CANARY) } else { address(PeerId(9)) };
                let heard = Heard { is_multihop: false, link: LINK, from, ttl: 255, first, length: LENGTH };
                if is_here { &mut self.bfd } else { &mut self.far }.handle(self.now, Input::Packet(heard));
            }
            self.bfd.handle(self.now, Input::Tick);
            self.far.handle(self.now, Input::Tick);
            self.drain();
            while let Some((_, packet)) = self.far.poll_transmit(self.now) {
                self.wire.push_back((self.now + LATENCY, true, packet));
            }
            let mut packets = 0;
            while let Some((id, packet)) = self.bfd.poll_transmit(self.now) {
                self.hear_us(id, packet);
                packets += 1;
                assert!(packets <= TURNS_MAX, "packets without end");
            }
            self.drain();
            if self.bfd.next_timeout().is_none_or(|(at, _)| at > self.now) {
                return;
            }
        }
        panic!("something is due for ever");
    }

    /// A packet of ours is as RFC 5880 §6.8.7 has it.
    fn hear_us(&mut self, id: SessionId, packet: [u8; LENGTH]) {
        let endpoint = self.open.get(&id).expect("a session that is not open sends");
        let read = Control::decode(&packet, packet.len()).expect("we send what we would discard");
        assert!(!(read.poll && read.is_final), "§6.5: P and F at once");
        assert!(read.detect_mult > 0 && !read.demand && !read.independent);
        assert!(read.desired_min_tx_us >= 1_000_000 || read.state == State::Up, "§6.8.3: {read:?}");
        if endpoint.remote == address(CANARY) {
            self.wire.push_back((self.now + LATENCY, false, packet));
        } else {
            self.sent += 1;
        }
    }

    fn take(&mut self, Record { what, body, .. }: &Record<'_>) {
        let peer = GUESTS[usize::from(octet(body, 0) & 1)];
        match what {
            0 => self.raw(peer, body),
            1 => self.packet(peer, body),
            2 => {
                let on_failure = if octet(body, 3) & 2 == 0 { OnFailure::FailOver } else { OnFailure::Keep };
                let (is_established, known_failure) = (octet(body, 3) & 1 != 0, u64::from(octet(body, 4)));
                let changed = Wanted {
                    on_failure,
                    is_established,
                    known_failure,
                    ..wanted(peer, octet(body, 1), octet(body, 2))
                };
                self.wanted.insert(peer, changed);
                self.configure();
            }
            3 => {
                self.wanted.remove(&peer);
                self.configure();
            }
            4 => {
                let time = Duration::from_millis(u64::from(octet(body, 1)) * 10);
                self.bfd.handle(self.now, Input::Starved(time));
                self.deadline.values_mut().for_each(|at| *at = *at + time);
                self.drain();
            }
            _ => {}
        }
    }

    /// Octets as they are: flags (1: several hops, 2: another link, 4: from a stranger), TTL, octets.
    fn raw(&mut self, peer: PeerId, body: &[u8]) {
        let (flags, rest) = (octet(body, 0), body.get(2..).unwrap_or_default());
        let mut first = [0; LENGTH];
        let kept = rest.len().min(LENGTH);
        first[..kept].copy_from_slice(&rest[..kept]);
        let from = if flags & 4 == 0 { address(peer) } else { address(PeerId(77)) };
        let link = if flags & 2 == 0 { LINK } else { IfIndex(8) };
        let ttl = if octet(body, 1) == 0 { 255 } else { octet(body, 1) };
        self.hear(peer, Heard { is_multihop: flags & 1 != 0, link, from, ttl, first, length: rest.len() });
    }

    /// A packet that fits the session, with these fields.
    fn packet(&mut self, peer: PeerId, body: &[u8]) {
        let Some(status) = self.status(peer) else {
            return;
        };
        let flags = octet(body, 1);
        let word = |at: usize| {
            u32::from_be_bytes([octet(body, at), octet(body, at + 1), octet(body, at + 2), octet(body, at + 3)])
        };
        let packet = Control {
            diagnostic: Diagnostic(octet(body, 2) & 0x1f),
            state: [State::AdminDown, State::Down, State::Init, State::Up][usize::from(flags >> 6)],
            poll: flags & 0x20 != 0,
            is_final: flags & 0x10 != 0,
            independent: flags & 0x08 != 0,
            demand: flags & 0x02 != 0,
            detect_mult: octet(body, 3),
            my_discriminator: u32::from(octet(body, 4)),
            your_discriminator: if flags & 1 == 0 { status.discriminator } else { 0 },
            desired_min_tx_us: word(5),
            required_min_rx_us: word(9),
            required_min_echo_rx_us: 0,
        };
        let is_multihop = peer == GUESTS[1];
        let first = packet.encode();
        let heard = Heard { is_multihop, link: LINK, from: address(peer), ttl: 255, first, length: LENGTH };
        self.hear(peer, heard);
    }

    fn hear(&mut self, peer: PeerId, heard: Heard) {
        // Who names the canary's session may say what he likes of it: there is no authentication.
        let yours = u32::from_be_bytes(heard.first[8..12].try_into().unwrap());
        if self.status(CANARY).is_some_and(|status| status.discriminator == yours) {
            return;
        }
        let before: Vec<Status> = self.bfd.status().collect();
        let discarded = |bfd: &Bfd| bfd.totals().discarded.iter().sum::<u64>();
        let count = discarded(&self.bfd);
        let is_void = Control::decode(&heard.first, heard.length).is_err() || (!heard.is_multihop && heard.ttl != 255);
        self.bfd.handle(self.now, Input::Packet(heard));
        let added = discarded(&self.bfd) - count;
        assert!(added == 1 || (added == 0 && !is_void), "a void packet is taken");
        if added == 1 {
            assert_eq!(self.bfd.status().collect::<Vec<_>>(), before, "a discarded packet changes something");
        }
        for guest in GUESTS.into_iter().chain([peer]) {
            let received =
                |all: &[Status]| all.iter().find(|status| status.peer == guest).map(|status| status.received);
            let after: Vec<Status> = self.bfd.status().collect();
            if received(&after) != received(&before) {
                let detection = Duration::from_micros(self.status(guest).unwrap().detection_us);
                self.deadline.insert(guest, self.now + detection);
            }
        }
        self.drain();
    }

    /// RFC 5880 §6.8.4: who was silent for the detection time is down; who is wanted is there, and nobody else.
    fn check(&self) {
        let there: BTreeSet<PeerId> = self.bfd.status().map(|status| status.peer).collect();
        assert_eq!(there, self.wanted.keys().copied().collect());
        for status in self.bfd.status().filter(|status| status.peer != CANARY) {
            if matches!(status.state, State::Init | State::Up) {
                let deadline = self.deadline.get(&status.peer).expect("up without a packet");
                assert!(self.now <= *deadline, "{:?} {} beyond its time", status.peer, status.state);
            }
        }
        let canary = self.status(CANARY).unwrap();
        assert_eq!((canary.state, canary.failures, canary.is_dead), (State::Up, 0, false));
    }

    /// Guests that are not wanted any more leave nothing behind, and the canary is still there.
    fn end(mut self) {
        self.wanted.retain(|peer, _| *peer == CANARY);
        self.configure();
        self.pass(Duration::from_secs(4));
        self.check();
        assert_eq!(self.open.len(), 1, "{:?}", self.open);
        assert!(self.dead.is_empty(), "{:?}", self.dead);
    }
}
