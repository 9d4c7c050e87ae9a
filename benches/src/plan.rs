//! Who takes part in a case, what each offers, and what each must hold in the end.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::bed::{LINKS, PEERS, peer_address};
use crate::session::Seat;
use crate::table::{PrefixSet, Table, hosts};

/// AS number of the first peer; the others follow.
const FIRST_ASN: u32 = 4_200_000_001;
/// Hold time of everybody who is not watched (s).
const HOLD_S: u16 = 180;
/// Shortest hold time (RFC 4271 §4.2), so a KEEPALIVE each second (s).
const WATCHED_HOLD_S: u16 = 3;
/// Sessions whose KEEPALIVEs are watched, spread over that second.
const WATCHED: u16 = 4;
/// Peers that call one after another and see how long the answer takes.
const CALLERS: u16 = 100;
/// First host route.
const HOSTS: Ipv4Addr = Ipv4Addr::new(100, 0, 0, 0);

/// One peer.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub seat: Seat,
    /// UPDATEs that it offers.
    pub offer: Arc<Vec<u8>>,
    /// What it must hold; `None`: nobody looks.
    pub expects: Option<PrefixSet>,
    /// What it offers, where others offer the like.
    pub own: Option<Arc<PrefixSet>>,
}

/// A case of convergence.
#[derive(Debug)]
pub struct Plan {
    /// The monitors, the feeders, or both in one.
    pub members: Vec<Member>,
    /// The first feeder's session is lost at the end, and the last member must then hold nothing.
    pub loses_feeder: bool,
    /// The last so many are told nothing: the first of them hold sessions, the others call.
    pub watched: usize,
    /// How many of them call.
    pub callers: usize,
}

/// Peer `number` on the first link.
pub fn seat(number: u16) -> Seat {
    let (theirs, ours) = (Ipv4Addr::from(LINKS[0].0), peer_address(number));
    Seat {
        theirs,
        ours,
        asn: FIRST_ASN + u32::from(number),
        hold_s: HOLD_S,
        is_told: true,
        has_bfd: false,
        is_kept: false,
    }
}

/// The monitor on the second link.
pub fn monitor_seat() -> Seat {
    let (theirs, ours) = LINKS[1];
    let asn = FIRST_ASN + u32::from(PEERS);
    Seat {
        theirs: theirs.into(),
        ours: ours.into(),
        asn,
        hold_s: HOLD_S,
        is_told: true,
        has_bfd: false,
        is_kept: false,
    }
}

impl Plan {
    /// A case by its name, with so many prefixes for each feeder where that is not the usual number.
    pub fn named(case: &str, prefixes: Option<usize>) -> Result<Self> {
        let full = |number: u16, usual: usize| {
            let seat = seat(number);
            Table::full(prefixes.unwrap_or(usual), seat.asn, seat.ours)
        };
        Ok(match case {
            "a1" => Self { loses_feeder: true, ..Self::feed(vec![full(0, 1_000_000)]) },
            "k1" => Self::feed(vec![full(0, 1_000_000)]).watch(),
            "k2" => Self::feed(vec![full(0, 1_000_000)]).detect(),
            "a3" => Self::feed((0..10).map(|number| full(number, 100_000)).collect()),
            "a4" => Self::all_to_all(64, prefixes.unwrap_or(1_000)),
            "a5" => Self::all_to_all(1_000, prefixes.unwrap_or(10)),
            "a6" => {
                let count = u32::try_from(prefixes.unwrap_or(1_000_000))?;
                let stream = hosts(count, HOSTS, FIRST_ASN, seat(0).ours);
                let mut all = PrefixSet::hosts(HOSTS.to_bits(), count);
                add(&mut all, 0..count);
                Self::feed(vec![Table { stream, prefixes: all, attribute_sets: 2 }])
            }
            "a7" => Self::feed(vec![crate::real::table(FIRST_ASN, seat(0).ours)?]),
            other => bail!("--case {other}: not one of a1, a3, a4, a5, a6, a7, b1, d1, e2, e3, f1, k1, k2"),
        })
    }

    /// Feeders that offer the same prefixes, and one monitor.
    pub fn feed(tables: Vec<Table>) -> Self {
        let expects = tables.first().map(|table| table.prefixes.clone());
        let mut members: Vec<Member> = (0..)
            .zip(tables)
            .map(|(number, table)| Member { seat: seat(number), offer: table.stream.into(), expects: None, own: None })
            .collect();
        members.push(Member { seat: monitor_seat(), offer: Arc::default(), expects, own: None });
        Self { members, loses_feeder: false, watched: 0, callers: 0 }
    }

    /// Everybody offers `count` /32 and must hear those of all others.
    fn all_to_all(peers: u16, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let total = count * u32::from(peers);
        let members = (0..peers).map(|number| {
            let (seat, first) = (seat(number), count * u32::from(number));
            let offer = hosts(count, Ipv4Addr::from_bits(HOSTS.to_bits() + first), seat.asn, seat.ours);
            let mut expects = PrefixSet::hosts(HOSTS.to_bits(), total);
            add(&mut expects, 0..first);
            add(&mut expects, first + count..total);
            let mut own = PrefixSet::hosts(HOSTS.to_bits() + first, count);
            add(&mut own, first..first + count);
            Member { seat, offer: offer.into(), expects: Some(expects), own: Some(own.into()) }
        });
        Self { members: members.collect(), loses_feeder: false, watched: 0, callers: 0 }
    }

    /// Adds peers that are told nothing.
    fn watch(mut self) -> Self {
        self.watched = usize::from(WATCHED + CALLERS);
        self.callers = usize::from(CALLERS);
        self.members.extend((100..100 + WATCHED + CALLERS).map(|number| {
            let seat = Seat { hold_s: WATCHED_HOLD_S, is_told: false, ..seat(number) };
            Member { seat, offer: Arc::default(), expects: None, own: None }
        }));
        self
    }

    /// Adds a peer that has BFD and nothing else.
    fn detect(mut self) -> Self {
        self.watched = 1;
        let seat = Seat { is_told: false, has_bfd: true, ..seat(100) };
        self.members.push(Member { seat, offer: Arc::default(), expects: None, own: None });
        self
    }

    /// All seats.
    pub fn seats(&self) -> Vec<Seat> {
        self.members.iter().map(|member| member.seat).collect()
    }
}

fn add(set: &mut PrefixSet, numbers: std::ops::Range<u32>) {
    for number in numbers {
        set.insert((HOSTS.to_bits() + number, 32));
    }
}
