//! What may be heard on an unnumbered link, and whom the engine takes for the neighbour.

use super::{Record, octet, records};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;
use weft_fabric::io::icmp6;
use weft_fabric::node;
use weft_fabric::ra::{Input, Output, Ra, RaLink};

const LINKS: [IfIndex; 2] = [IfIndex(2), IfIndex(3)];
const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OWN_AGAIN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Who is there in the end.
const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// Between two advertisements, unless our own address changed or the neighbour was lost.
const LEAST_GAP: Duration = Duration::from_millis(100);
/// Turns at one time after which nothing more may be due.
const TURNS_MAX: usize = 8;

/// Records: packets, connections, sessions, changes of the links.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    for record in records(data) {
        world.pass(Duration::from_millis((1_u64 << record.pause) - 1));
        world.take(&record);
        world.check();
    }
    world.end();
}

struct World {
    ra: Ra,
    now: Instant,
    links: BTreeMap<IfIndex, RaLink>,
    known: BTreeMap<IfIndex, Ipv6Addr>,
    sent: BTreeMap<IfIndex, Instant>,
    /// When something happened after which an advertisement need not wait.
    urgent: BTreeMap<IfIndex, Instant>,
}

impl World {
    fn new() -> Self {
        let links = LINKS.map(|link| (link, RaLink { link, own: vec![OWN], own_macs: vec![OWN_MAC] }));
        let mut world = Self {
            ra: Ra::new(1),
            now: Instant(1_000_000_000),
            links: links.into(),
            known: BTreeMap::new(),
            sent: BTreeMap::new(),
            urgent: BTreeMap::new(),
        };
        world.give(Input::Links(world.links.values().cloned().collect()));
        world
    }

    fn give(&mut self, input: Input) {
        self.ra.handle(self.now, input);
        while let Some(output) = self.ra.poll() {
            match output {
                Output::Neighbour { link, addr } => {
                    let before = match addr {
                        Some(addr) => self.known.insert(link, addr),
                        None => self.known.remove(&link),
                    };
                    assert_ne!(before, addr, "no news");
                    if addr.is_none() {
                        self.urgent.insert(link, self.now);
                    }
                }
                Output::Advertise(link) => {
                    assert!(self.links.contains_key(&link), "an advertisement where none is wanted");
                    if let Some(sent) = self.sent.insert(link, self.now) {
                        let urgent = self.urgent.get(&link) == Some(&self.now);
                        assert!(urgent || self.now.since(sent) >= LEAST_GAP, "a storm of advertisements");
                    }
                }
                Output::Solicit(link) => {
                    assert!(
                        self.links.contains_key(&link) && !self.known.contains_key(&link),
                        "a needless solicitation"
                    );
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some((at, _)) = self.ra.next_timeout().filter(|(at, _)| *at <= end) {
            turns = if at > self.now { 0 } else { turns + 1 };
            assert!(turns < TURNS_MAX, "something is due for ever");
            self.now = self.now.max(at);
            self.give(Input::Tick);
        }
        self.now = end;
    }

    fn take(&mut self, Record { what, body, .. }: &Record<'_>) {
        let link = LINKS[usize::from(octet(body, 0) & 1)];
        let from = match octet(body, 0) >> 1 & 7 {
            0 => PEER,
            1 => OWN,
            2 => OWN_AGAIN,
            3 => Ipv6Addr::UNSPECIFIED,
            4 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
            last => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x30 + u16::from(last)),
        };
        match what {
            0 => self.packet(link, from, body.get(1..).unwrap_or_default()),
            // An advertisement, or a solicitation, with these octets behind type and code.
            1 => self.packet(link, from, &[&[134, 0], body.get(1..).unwrap_or_default()].concat()),
            2 => self.packet(link, from, &[&[133, 0], body.get(1..).unwrap_or_default()].concat()),
            3 => self.give(Input::Connection { link, from }),
            4 => self.give(Input::Session { link, up: octet(body, 0) & 2 != 0 }),
            5 => self.change(link, octet(body, 1)),
            _ => {}
        }
    }

    /// Our own packet that came back is counted, and teaches nothing.
    fn packet(&mut self, link: IfIndex, from: Ipv6Addr, packet: &[u8]) {
        let (before, known) = (self.ra.seen(self.now, link), self.known.clone());
        let (input, mac) = match icmp6::read(link, from, packet) {
            Some(node::Input::RouterAdvertisement { link, from, lifetime_s, mac }) => {
                (Input::Advertisement { link, from, lifetime_s, mac }, mac)
            }
            Some(node::Input::RouterSolicitation { link, from, mac }) => (Input::Solicitation { link, from, mac }, mac),
            Some(other) => panic!("read as {other:?}"),
            None => return,
        };
        self.give(input);
        let is_own = self
            .links
            .get(&link)
            .is_some_and(|own| own.own.contains(&from) || mac.is_some_and(|mac| own.own_macs.contains(&mac)));
        assert_eq!(self.ra.seen(self.now, link).looped - before.looped, u64::from(is_own));
        assert!(!is_own || self.known == known, "we are our own neighbour");
    }

    /// A link goes, comes, or has another address.
    fn change(&mut self, link: IfIndex, how: u8) {
        let (own, own_macs) = match how & 3 {
            0 => (Vec::new(), Vec::new()),
            1 => (vec![OWN_AGAIN], vec![OWN_MAC]),
            2 => (vec![OWN, OWN_AGAIN], Vec::new()),
            _ => (vec![OWN], vec![OWN_MAC]),
        };
        if own.is_empty() {
            self.links.remove(&link);
        } else {
            self.links.insert(link, RaLink { link, own, own_macs });
        }
        self.urgent.insert(link, self.now);
        self.give(Input::Links(self.links.values().cloned().collect()));
    }

    /// What was told is what is known, and it is somebody else on the link (RFC 4861 §6.1.2).
    fn check(&self) {
        for link in LINKS {
            let known = self.ra.neighbour(link);
            assert_eq!(known, self.known.get(&link).copied());
            assert_eq!(known, self.ra.seen(self.now, link).neighbour);
            assert!(known.is_none() || self.links.contains_key(&link), "a neighbour on a link that is none");
            assert!(known.is_none_or(|known| known.is_unicast_link_local()), "{known:?}");
        }
    }

    /// Whatever was heard before: without a session, the only one that still speaks is the neighbour before long.
    fn end(mut self) {
        for link in LINKS {
            self.change(link, 3);
            self.give(Input::Session { link, up: false });
        }
        for _ in 0..6 {
            self.pass(Duration::from_secs(1));
            LINKS.iter().for_each(|link| self.packet(*link, PEER, &[134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        }
        self.check();
        assert!(LINKS.iter().all(|link| self.ra.neighbour(*link) == Some(PEER)), "the neighbour is not found");
        assert!(LINKS.iter().all(|link| self.now.since(self.sent[link]) <= Duration::from_secs(4)), "we fell silent");
    }
}
