//! Who is at the other end of an unnumbered link: router advertisements and solicitations (RFC 4861) on the uplinks of
//! interface peers, as one machine. Knows links, addresses and time; not sockets, not BGP.
//!
//! ```text
//! link up ──▶ solicit + advertise, thrice in the first second ──▶ advertise every 3–4 s (and solicit while nobody is known)
//! heard   ──▶ a new neighbour is told at once who we are ──▶ silent too long and no session ──▶ lost, solicit again
//! ```
//! Our advertisements carry a router lifetime of 0: nobody shall take a default route from them (RFC 4861 §6.2.3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use weft_bgp::rng::Rng;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;

/// Advertisements sent in quick succession when a link comes up (RFC 4861 §6.2.4, MAX_INITIAL_RTR_ADVERTISEMENTS).
const INITIAL: u8 = 3;
/// Between those. Differs from RFC 4861 §6.2.4: 16 s there, because nothing is on this link but the two of us.
const INITIAL_INTERVAL: Duration = Duration::from_millis(300);
/// Between later ones, jittered down to 3 s, the least that RFC 4861 §6.2.1 allows for MinRtrAdvInterval.
const INTERVAL: Duration = Duration::from_secs(4);
/// Least time between two advertisements. Differs from RFC 4861 §6.2.6 (3 s, and a random delay before each answer), because a session
/// waits for the answer and there are two parties, not a LAN.
const LEAST_GAP: Duration = Duration::from_millis(100);
/// A neighbour that says nothing for three of our intervals is lost, unless its own lifetime is longer.
const ABSENCE: Duration = Duration::from_secs(12);
/// A different address takes the place of one that is silent for this long.
const REPLACE_AFTER: Duration = Duration::from_secs(4);

/// A link to run on: up, with carrier and a link-local address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaLink {
    /// Which.
    pub link: IfIndex,
    /// Our own addresses there; packets from these are our own, looped back.
    pub own: Vec<Ipv6Addr>,
    /// The hardware addresses of all interfaces of this machine: what says one of these is our own too, from another port of ours that
    /// a cable or a switch joins to this link.
    pub own_macs: Vec<[u8; 6]>,
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The neighbour.
    pub neighbour: Option<Ipv6Addr>,
    /// Another router that was heard lately, and is not spoken to: a link between two machines has no third one.
    pub other: Option<Ipv6Addr>,
    /// Packets of our own that came back.
    pub looped: u64,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The links to run on: the whole picture.
    Links(Vec<RaLink>),
    /// A router advertisement came, its hop limit checked.
    Advertisement {
        /// On which link.
        link: IfIndex,
        /// From whom.
        from: Ipv6Addr,
        /// Its router lifetime.
        lifetime_s: u16,
        /// Its hardware address, if it says one (RFC 4861 §4.6.1).
        mac: Option<[u8; 6]>,
    },
    /// A router solicitation came, its hop limit checked.
    Solicitation {
        /// On which link.
        link: IfIndex,
        /// From whom; `::` tells us nothing but that somebody is there.
        from: Ipv6Addr,
        /// Likewise.
        mac: Option<[u8; 6]>,
    },
    /// The neighbour opened a TCP connection to us: it is there.
    Connection {
        /// On which link.
        link: IfIndex,
        /// From whom.
        from: Ipv6Addr,
    },
    /// A session with the neighbour is up: while it is, silence does not matter.
    Session {
        /// On which link.
        link: IfIndex,
        /// Up, or down again.
        up: bool,
    },
    /// A deadline passed.
    Tick,
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an advertisement with router lifetime 0 to all nodes.
    Advertise(IfIndex),
    /// Send a solicitation to all routers.
    Solicit(IfIndex),
    /// The neighbour on this link became known, changed or was lost.
    Neighbour {
        /// On which link.
        link: IfIndex,
        /// Its link-local address.
        addr: Option<Ipv6Addr>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Neighbour {
    addr: Ipv6Addr,
    mac: Option<[u8; 6]>,
    heard: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Link {
    own: Vec<Ipv6Addr>,
    own_macs: Vec<[u8; 6]>,
    /// Another router, and when it was heard.
    other: Option<(Ipv6Addr, Instant)>,
    looped: u64,
    neighbour: Option<Neighbour>,
    session: bool,
    /// Quick ones still to send.
    initial: u8,
    sent: Option<Instant>,
    next: Instant,
    /// When it is to be looked at, as [`Ra::timers`] knows it.
    timer: Option<Instant>,
}

impl Link {
    /// When it is lost, if it has a neighbour that must be heard.
    fn lost_at(&self) -> Option<Instant> {
        self.neighbour.filter(|_| !self.session).map(|neighbour| neighbour.until)
    }
}

/// The engine. See [`Input`] and [`Output`].
#[derive(Debug)]
pub struct Ra {
    links: BTreeMap<IfIndex, Link>,
    /// When each link is to be looked at: a spine has hundreds, and is asked after every packet.
    timers: BTreeSet<(Instant, IfIndex)>,
    rng: Rng,
    output: VecDeque<Output>,
}

impl Ra {
    /// An engine without links.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { links: BTreeMap::new(), timers: BTreeSet::new(), rng: Rng::new(seed), output: VecDeque::new() }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Links(links) => self.set_links(now, links),
            Input::Advertisement { link, from, lifetime_s, mac } => {
                if self.is_from_another(link, from, mac) {
                    self.heard(now, link, (from, mac), lifetime_s);
                }
            }
            Input::Solicitation { link, from, mac } => {
                if self.is_from_another(link, from, mac) {
                    self.heard(now, link, (from, mac), 0);
                    self.answer(now, link);
                }
            }
            Input::Connection { link, from } => self.heard(now, link, (from, None), 0),
            Input::Session { link, up } => {
                if let Some(own) = self.links.get_mut(&link) {
                    own.session = up;
                    if let Some(neighbour) = own.neighbour.as_mut().filter(|_| !up) {
                        // It was there until now: let it come back under the same address before it counts as lost.
                        neighbour.until = neighbour.until.max(now + ABSENCE);
                    }
                }
                self.renew(link);
            }
            Input::Tick => self.tick(now),
        }
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call with [`Input::Tick`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, index) = self.timers.first()?;
        let lost = self.links.get(index).and_then(Link::lost_at) == Some(*at);
        Some((*at, if lost { "neighbour lost" } else { "router advertisement" }))
    }

    /// On every link is a session with the neighbour: but for advertisements, nothing happens here of itself.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.output.is_empty() && self.links.values().all(|link| link.session && link.neighbour.is_some())
    }

    /// The neighbour known on a link.
    #[must_use]
    pub fn neighbour(&self, link: IfIndex) -> Option<Ipv6Addr> {
        self.links.get(&link)?.neighbour.map(|neighbour| neighbour.addr)
    }

    /// What is known of a link now.
    #[must_use]
    pub fn seen(&self, now: Instant, link: IfIndex) -> Seen {
        let Some(known) = self.links.get(&link) else {
            return Seen::default();
        };
        let other = known.other.filter(|(_, heard)| now.since(*heard) < ABSENCE).map(|(addr, _)| addr);
        Seen { neighbour: known.neighbour.map(|neighbour| neighbour.addr), other, looped: known.looped }
    }

    /// Whether a packet is somebody else's; one of our own is counted.
    fn is_from_another(&mut self, link: IfIndex, from: Ipv6Addr, mac: Option<[u8; 6]>) -> bool {
        let Some(link) = self.links.get_mut(&link) else {
            return false;
        };
        let is_own = link.own.contains(&from) || mac.is_some_and(|mac| link.own_macs.contains(&mac));
        link.looped += u64::from(is_own);
        !is_own
    }

    fn set_links(&mut self, now: Instant, links: Vec<RaLink>) {
        let gone: Vec<IfIndex> =
            self.links.keys().copied().filter(|link| !links.iter().any(|new| new.link == *link)).collect();
        for link in gone {
            let Some(old) = self.links.remove(&link) else {
                continue;
            };
            old.timer.map(|at| self.timers.remove(&(at, link)));
            if old.neighbour.is_some() {
                self.output.push_back(Output::Neighbour { link, addr: None });
            }
        }
        for new in links {
            if let Some(known) = self.links.get_mut(&new.link) {
                known.own_macs = new.own_macs;
                if known.own != new.own {
                    // Our address changed: whoever speaks to the old one must hear of the new one at once.
                    known.own = new.own;
                    (known.initial, known.next) = (INITIAL, now);
                    self.renew(new.link);
                }
                continue;
            }
            let fresh = Link {
                own: new.own,
                own_macs: new.own_macs,
                other: None,
                looped: 0,
                neighbour: None,
                session: false,
                initial: INITIAL,
                sent: None,
                next: now,
                timer: None,
            };
            self.links.insert(new.link, fresh);
            self.renew(new.link);
        }
        self.tick(now);
    }

    /// Somebody is there: learn the address (RFC 4861 §6.1.2: only link-local sources count).
    fn heard(&mut self, now: Instant, index: IfIndex, (from, mac): (Ipv6Addr, Option<[u8; 6]>), lifetime_s: u16) {
        let Some(link) = self.links.get_mut(&index) else {
            return;
        };
        if !from.is_unicast_link_local() || link.own.contains(&from) {
            return;
        }
        let until = now + ABSENCE.max(Duration::from_secs(u64::from(lifetime_s)));
        if let Some(known) = &mut link.neighbour {
            if known.addr == from {
                known.heard = now;
                known.mac = mac.or(known.mac);
                known.until = known.until.max(until);
                self.renew(index);
                return;
            }
            // The same machine under another address needs no second opinion.
            let same = mac.is_some() && known.mac == mac;
            if link.session || (!same && now.since(known.heard) < REPLACE_AFTER) {
                if !same {
                    link.other = Some((from, now));
                }
                return;
            }
        }
        link.neighbour = Some(Neighbour { addr: from, mac, heard: now, until });
        self.output.push_back(Output::Neighbour { link: index, addr: Some(from) });
        self.answer(now, index);
    }

    /// Advertise now, or as soon as the least gap allows.
    fn answer(&mut self, now: Instant, index: IfIndex) {
        if let Some(link) = self.links.get_mut(&index) {
            let earliest = link.sent.map_or(now, |sent| sent + LEAST_GAP);
            link.next = link.next.min(earliest.max(now));
        }
        self.renew(index);
        self.tick(now);
    }

    /// Notes when a link is to be looked at next.
    fn renew(&mut self, index: IfIndex) {
        let Some(link) = self.links.get_mut(&index) else {
            return;
        };
        let due = Some(link.lost_at().map_or(link.next, |lost| lost.min(link.next)));
        let old = std::mem::replace(&mut link.timer, due);
        if old != due {
            old.map(|at| self.timers.remove(&(at, index)));
            self.timers.extend(due.map(|at| (at, index)));
        }
    }

    fn tick(&mut self, now: Instant) {
        let due: Vec<IfIndex> = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, link)| *link).collect();
        for index in due {
            self.look_at(now, index);
            self.renew(index);
        }
    }

    /// What is due on a link.
    fn look_at(&mut self, now: Instant, index: IfIndex) {
        if let Some(link) = self.links.get_mut(&index) {
            if !link.session && link.neighbour.take_if(|known| known.until <= now).is_some() {
                self.output.push_back(Output::Neighbour { link: index, addr: None });
                link.initial = INITIAL;
                link.next = now;
            }
            if link.next > now {
                return;
            }
            if link.neighbour.is_none() {
                self.output.push_back(Output::Solicit(index));
            }
            self.output.push_back(Output::Advertise(index));
            link.initial = link.initial.saturating_sub(1);
            link.sent = Some(now);
            let interval = if link.initial > 0 { INITIAL_INTERVAL } else { INTERVAL };
            link.next = now + self.rng.jitter(interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: IfIndex = IfIndex(2);
    const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn up() -> Ra {
        let mut ra = Ra::new(1);
        ra.handle(at(0), Input::Links(vec![RaLink { link: LINK, own: vec![OWN], own_macs: vec![MAC] }]));
        ra
    }

    fn drain(ra: &mut Ra) -> Vec<Output> {
        std::iter::from_fn(|| ra.poll()).collect()
    }

    /// Runs to `until`, with the times at which each output came.
    fn run(ra: &mut Ra, until: Instant) -> Vec<(Instant, Output)> {
        let mut seen = Vec::new();
        while let Some((when, _)) = ra.next_timeout().filter(|(when, _)| *when <= until) {
            ra.handle(when, Input::Tick);
            seen.extend(drain(ra).into_iter().map(|output| (when, output)));
        }
        seen
    }

    #[test]
    fn a_link_that_comes_up_is_solicited_and_advertised_at_once() {
        assert_eq!(drain(&mut up()), [Output::Solicit(LINK), Output::Advertise(LINK)]);
    }

    #[test]
    fn three_advertisements_in_the_first_second_then_one_every_three_to_four() {
        let mut ra = up();
        drain(&mut ra);
        ra.handle(at(0), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: None });
        ra.handle(at(0), Input::Session { link: LINK, up: true });
        drain(&mut ra);
        let times: Vec<Instant> = run(&mut ra, at(20_000)).into_iter().map(|(when, _)| when).collect();
        assert!(times.iter().filter(|when| **when < at(1_000)).count() >= 2, "{times:?}");
        let later: Vec<_> = times.windows(2).skip(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(!later.is_empty());
        for gap in later {
            assert!(gap >= Duration::from_secs(3) && gap <= Duration::from_secs(4), "{gap:?}");
        }
    }

    #[test]
    fn a_new_neighbour_is_told_who_we_are() {
        let mut ra = up();
        drain(&mut ra);
        ra.handle(at(5_000), Input::Tick);
        drain(&mut ra);
        ra.handle(at(6_000), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: None });
        let told = Output::Neighbour { link: LINK, addr: Some(PEER) };
        assert_eq!(drain(&mut ra), [told, Output::Advertise(LINK)]);
        ra.handle(at(6_500), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: None });
        assert_eq!(drain(&mut ra), [], "known already");
    }

    #[test]
    fn a_solicitation_is_answered_at_once_but_not_in_a_storm() {
        let mut ra = up();
        drain(&mut ra);
        let asked = Input::Solicitation { link: LINK, from: Ipv6Addr::UNSPECIFIED, mac: None };
        ra.handle(at(200), asked.clone());
        assert_eq!(drain(&mut ra), [Output::Solicit(LINK), Output::Advertise(LINK)], "nobody is known by `::`");
        for _ in 0..100 {
            ra.handle(at(201), asked.clone());
        }
        assert_eq!(drain(&mut ra), []);
        assert!(ra.next_timeout().is_some_and(|(when, _)| when <= at(300)), "answered after the least gap");
    }

    #[test]
    fn our_own_packets_and_global_sources_are_ignored() {
        let mut ra = up();
        drain(&mut ra);
        for from in [OWN, "2001:db8::1".parse().unwrap(), Ipv6Addr::UNSPECIFIED] {
            ra.handle(at(10), Input::Advertisement { link: LINK, from, lifetime_s: 1800, mac: None });
        }
        ra.handle(at(10), Input::Solicitation { link: LINK, from: OWN, mac: None });
        assert_eq!(drain(&mut ra), []);
    }

    #[test]
    fn a_silent_neighbour_is_lost_only_without_a_session() {
        let mut ra = up();
        ra.handle(at(0), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: None });
        ra.handle(at(0), Input::Session { link: LINK, up: true });
        let lost = Output::Neighbour { link: LINK, addr: None };
        assert!(run(&mut ra, at(60_000)).iter().all(|(_, output)| *output != lost));
        ra.handle(at(60_000), Input::Session { link: LINK, up: false });
        let seen = run(&mut ra, at(80_000));
        let when = seen.iter().find(|(_, output)| *output == lost).map(|(when, _)| *when);
        assert_eq!(when, Some(at(72_000)));
        assert!(seen.contains(&(at(72_000), Output::Solicit(LINK))), "asks again at once");
    }

    #[test]
    fn another_address_replaces_a_silent_one_but_never_a_session() {
        let mut ra = up();
        ra.handle(at(0), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 1800, mac: None });
        ra.handle(at(1_000), Input::Advertisement { link: LINK, from: OTHER, lifetime_s: 0, mac: None });
        assert_eq!(ra.neighbour(LINK), Some(PEER));
        ra.handle(at(5_000), Input::Session { link: LINK, up: true });
        ra.handle(at(5_000), Input::Advertisement { link: LINK, from: OTHER, lifetime_s: 0, mac: None });
        assert_eq!(ra.neighbour(LINK), Some(PEER));
        ra.handle(at(5_001), Input::Session { link: LINK, up: false });
        ra.handle(at(5_002), Input::Advertisement { link: LINK, from: OTHER, lifetime_s: 0, mac: None });
        assert_eq!(ra.neighbour(LINK), Some(OTHER));
    }

    #[test]
    fn a_link_that_goes_down_forgets_its_neighbour() {
        let mut ra = up();
        ra.handle(at(0), Input::Connection { link: LINK, from: PEER });
        drain(&mut ra);
        ra.handle(at(1), Input::Links(Vec::new()));
        assert_eq!(drain(&mut ra), [Output::Neighbour { link: LINK, addr: None }]);
        assert_eq!(ra.next_timeout(), None);
    }

    /// Two ports of one machine on one segment: they must not become each other's peers.
    #[test]
    fn what_another_port_of_ours_says_is_our_own() {
        let mut ra = up();
        drain(&mut ra);
        ra.handle(at(10), Input::Advertisement { link: LINK, from: OTHER, lifetime_s: 0, mac: Some(MAC) });
        ra.handle(at(10), Input::Solicitation { link: LINK, from: OTHER, mac: Some(MAC) });
        assert_eq!(drain(&mut ra), []);
        assert_eq!(ra.seen(at(10), LINK), Seen { neighbour: None, other: None, looped: 2 });
    }

    #[test]
    fn a_third_router_on_a_link_is_told_and_changes_nothing() {
        let mut ra = up();
        for millis in (0..60_000).step_by(1_000) {
            ra.handle(at(millis), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: Some(PEER_MAC) });
            ra.handle(at(millis), Input::Advertisement { link: LINK, from: OTHER, lifetime_s: 9_000, mac: None });
        }
        let told = drain(&mut ra).iter().filter(|output| matches!(output, Output::Neighbour { .. })).count();
        assert_eq!(told, 1);
        assert_eq!(ra.seen(at(60_000), LINK), Seen { neighbour: Some(PEER), other: Some(OTHER), looped: 0 });
        assert_eq!(ra.seen(at(75_000), LINK).other, None, "it has been silent since");
    }

    #[test]
    fn the_same_machine_under_another_address_is_followed_at_once_but_for_a_session() {
        let mut ra = up();
        ra.handle(at(0), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: Some(PEER_MAC) });
        ra.handle(at(10), Input::Session { link: LINK, up: true });
        let moved = Input::Advertisement { link: LINK, from: OTHER, lifetime_s: 0, mac: Some(PEER_MAC) };
        ra.handle(at(20), moved.clone());
        assert_eq!(ra.neighbour(LINK), Some(PEER));
        ra.handle(at(30), Input::Session { link: LINK, up: false });
        ra.handle(at(40), moved);
        assert_eq!(ra.neighbour(LINK), Some(OTHER));
        assert_eq!(ra.seen(at(40), LINK).other, None);
    }

    #[test]
    fn our_new_address_is_advertised_at_once_and_again() {
        let mut ra = up();
        ra.handle(at(0), Input::Advertisement { link: LINK, from: PEER, lifetime_s: 0, mac: None });
        run(&mut ra, at(10_000));
        drain(&mut ra);
        ra.handle(at(10_001), Input::Links(vec![RaLink { link: LINK, own: vec![OTHER], own_macs: vec![MAC] }]));
        assert_eq!(drain(&mut ra), [Output::Advertise(LINK)]);
        let soon = run(&mut ra, at(11_000));
        assert!(soon.len() >= 2, "one may be lost: {soon:?}");
        ra.handle(at(11_001), Input::Links(vec![RaLink { link: LINK, own: vec![OTHER], own_macs: vec![MAC] }]));
        assert_eq!(drain(&mut ra), [], "nothing changed");
    }
}
