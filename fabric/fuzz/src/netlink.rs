//! What a kernel may say, lies included, and what the machine of kernel routes makes of it.

use super::{Record, octet, records};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::speaker::{FibChange, Want};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{Hop, IfIndex, IpNet};
use weft_fabric::config::{FibConfig, parse};
use weft_fabric::fib::{
    Dump, Fib, HeldNexthop, HeldRoute, Hint, LAST_RESORT_METRIC, Member, NhId, Op, Refusal, Target,
};
use weft_fabric::io::netlink::reading::{Reading, Said, framed, written};

/// Message types by record: links, addresses, nexthop objects, routes, answers, neighbours (linux/rtnetlink.h, linux/netlink.h).
const KINDS: [u16; 12] = [16, 17, 20, 21, 24, 25, 104, 105, 2, 3, 28, 29];
/// Nexthop ids that are ours: few, so that they are met.
const FIRST_ID: u32 = 1_000;
const IDS: u32 = 24;
const PREFIXES: [&str; 6] =
    ["10.0.0.0/24", "10.0.1.0/24", "10.0.1.1/32", "0.0.0.0/0", "2001:db8::/64", "2001:db8::1/128"];
/// Operations of one turn.
const BATCH: usize = 8;
/// Turns in which everything must be done that an obliging kernel is asked for.
const TURNS_MAX: usize = 400;

/// Records: datagrams, messages, dumps made of what was said since the last one, wishes, links, answers to operations.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    for record in records(data) {
        world.now = world.now + Duration::from_millis((1_u64 << record.pause) - 1);
        world.take(&record);
    }
    world.end();
}

fn config() -> FibConfig {
    let text =
        "role: host\nasn: 4200000104\naddresses: [10.9.9.9/32]\nuplinks: [eth0]\nfib: {unreachable: [10.0.0.0/8]}\n";
    let node = parse("weft.yaml", text).and_then(|config| config.node()).unwrap();
    FibConfig { nexthop_base: FIRST_ID, nexthop_count: IDS, ..node.fib }
}

struct World {
    fib: Fib,
    reading: Reading,
    now: Instant,
    seq: u64,
    acked: u64,
    usable: BTreeSet<IfIndex>,
    /// Routes and objects that were told since the last dump.
    routes: Vec<HeldRoute>,
    objects: BTreeMap<NhId, HeldNexthop>,
    /// Ids in our range that the last dump showed with somebody else, and that nobody said were given to us since.
    foreign: BTreeSet<NhId>,
    wants: BTreeMap<IpNet, Want>,
}

impl World {
    fn new() -> Self {
        let config = config();
        let mut fib = Fib::new(config.clone(), 1);
        (1..=3).for_each(|link| fib.set_link(IfIndex(link), true));
        fib.compare(Dump::default());
        Self {
            fib,
            reading: Reading::new(config.protocol),
            now: Instant::ZERO,
            seq: 0,
            acked: 0,
            usable: BTreeSet::new(),
            routes: Vec::new(),
            objects: BTreeMap::new(),
            foreign: BTreeSet::new(),
            wants: BTreeMap::new(),
        }
    }

    fn take(&mut self, Record { what, body, .. }: &Record<'_>) {
        match what {
            0 => self.datagram(body),
            1 => {
                let kind = KINDS[usize::from(octet(body, 0)) % KINDS.len()];
                self.datagram(&framed(kind, body.get(1..).unwrap_or_default()));
            }
            2 => self.dump(),
            3 => self.want(body),
            4 => self.fib.set_link(IfIndex(u32::from(octet(body, 0) & 3)), octet(body, 0) & 4 != 0),
            5 => self.fib.set_alive(member(octet(body, 0)), octet(body, 0) & 0x80 != 0),
            6 => {
                self.work(body);
            }
            7 => self.fib.sweep(),
            8 => {
                let metric = 70 + u32::from(octet(body, 0) & 3);
                self.fib.reconfigure(FibConfig { metric, ..self.fib.config().clone() });
            }
            9 => self.fib.remove_all(),
            10 => self.fib.hurry(),
            11 => self.fib.set_reachable(member(octet(body, 0)), octet(body, 0) & 0x80 != 0),
            _ => {}
        }
        while let Some(ack) = self.fib.poll_ack() {
            assert!(ack.seq > self.acked && ack.seq <= self.seq, "{} is acknowledged after {}", ack.seq, self.acked);
            self.acked = ack.seq;
        }
        let report = self.fib.report();
        assert!(report.failures.len() <= report.failed && report.nexthops + report.groups <= IDS as usize);
    }

    fn datagram(&mut self, datagram: &[u8]) {
        for said in self.reading.read(datagram) {
            match said {
                Said::Link(Some((link, usable))) => {
                    let news = if usable { self.usable.insert(link) } else { self.usable.remove(&link) };
                    assert!(news, "link {} is said to be usable: {usable}, again", link.0);
                    self.fib.set_link(link, usable);
                }
                Said::Nexthop { gone, object } => {
                    if gone || !object.ours {
                        self.fib.hint(Hint::NexthopGone(object.id));
                    }
                    if (FIRST_ID..FIRST_ID + IDS).contains(&object.id.0) {
                        self.objects.insert(object.id, object);
                    }
                }
                Said::Route { gone, held, imported, foreign } => {
                    // Whoever reads it, it is the same route.
                    if let (Some((held, protocol)), Some((imported, by))) = (held, imported) {
                        assert_eq!((held.key.table, held.key.metric, protocol), (imported.table, imported.metric, by));
                        assert_eq!(held.key.prefix.trunc(), imported.prefix);
                    }
                    if let (Some(imported), Some(foreign)) = (imported, foreign) {
                        assert_eq!(imported, foreign);
                    }
                    if let Some((route, protocol)) = held {
                        let config = self.fib.config();
                        let ours = (route.key.table, protocol) == (config.table, config.protocol);
                        if gone && !ours {
                            self.fib.hint(Hint::RouteFreed(route.key));
                        } else if gone || !ours {
                            self.fib.hint(Hint::RouteGone(route.key));
                        } else {
                            self.routes.push(route);
                        }
                    }
                }
                Said::Neighbour(_) | Said::Answer(..) | Said::Link(None) | Said::Other => {}
            }
        }
        let links = self.reading.links();
        assert!(links.is_sorted_by(|a, b| a.index < b.index), "an index twice");
        let usable: BTreeSet<_> = links.iter().filter(|link| link.is_usable()).map(|link| link.index).collect();
        assert_eq!(usable, self.usable, "what can be used is not what was told");
        for link in &links {
            assert!(link.addrs.is_sorted_by(|a, b| a.net < b.net), "an address twice");
        }
    }

    /// What was told becomes all that the kernel holds.
    fn dump(&mut self) {
        let nexthops: Vec<_> = std::mem::take(&mut self.objects).into_values().collect();
        self.foreign = nexthops.iter().filter(|object| !object.ours).map(|object| object.id).collect();
        self.fib.compare(Dump { nexthops, routes: std::mem::take(&mut self.routes) });
    }

    /// A prefix, and a neighbour for each further octet.
    fn want(&mut self, body: &[u8]) {
        let prefix: IpNet = PREFIXES[usize::from(octet(body, 0)) % PREFIXES.len()].parse().unwrap();
        let hop = |code: &u8| {
            let Member { link, gateway } = member(*code);
            Hop { link, gateway, weight: code >> 5 }
        };
        let hops: Vec<Hop> = body.get(1..).unwrap_or_default().iter().take(5).map(hop).collect();
        let want = match (hops.is_empty(), octet(body, 0) & 0x80) {
            (false, _) => Want::Hops(hops.into()),
            (true, 0) => Want::Nothing,
            (true, _) => Want::Discard,
        };
        self.seq += 1;
        self.wants.insert(prefix, want.clone());
        self.fib.want(&[FibChange { prefix, want, seq: self.seq }]);
    }

    /// One turn of operations; an octet for each says what came of it. How many there were.
    fn work(&mut self, answers: &[u8]) -> usize {
        let ops = self.fib.next_ops(self.now, BATCH);
        assert!(ops.len() <= BATCH || ops.iter().all(|op| matches!(op, Op::DeleteNexthop { .. })));
        for (at, op) in ops.iter().enumerate() {
            self.is_ours(op);
            let outcome = refusal(octet(answers, at));
            if let (Op::AddNexthop { id, .. } | Op::SetGroup { id, replace: false, .. }, Ok(())) = (op, outcome) {
                self.foreign.remove(id);
            }
            self.fib.done(self.now, op, outcome);
        }
        ops.len()
    }

    /// Nothing of anybody else is changed, and the message says what is meant.
    fn is_ours(&self, op: &Op) {
        let mut reading = Reading::new(self.fib.config().protocol);
        let said = reading.read(&written(op, self.fib.config().protocol));
        let [said] = &said[..] else {
            panic!("{op:?} is read as {said:?}");
        };
        match op {
            Op::AddNexthop { id, member } => {
                self.in_range(*id);
                assert!(matches!(said, Said::Nexthop { gone: false, object } if object.id == *id && object.ours));
                assert!(self.fib.usable_links().contains(&member.link), "{op:?} on a link that is down");
            }
            Op::SetGroup { id, members, replace, .. } => {
                self.in_range(*id);
                assert!(!members.is_empty() && members.is_sorted_by(|a, b| a.0 < b.0), "{op:?}");
                assert!(members.iter().all(|(_, weight)| *weight > 0), "{op:?}");
                assert!(!replace || !self.foreign.contains(id), "{op:?} replaces what is not ours");
                assert!(matches!(said, Said::Nexthop { gone: false, object } if object.id == *id && object.ours));
            }
            Op::DeleteNexthop { id } => {
                self.in_range(*id);
                assert!(!self.foreign.contains(id), "{op:?} deletes what is not ours");
                assert!(matches!(said, Said::Nexthop { gone: true, object } if object.id == *id));
            }
            Op::SetRoute { key, target, source, .. } => {
                assert_ne!(*target, Target::Other);
                assert!(matches!(said, Said::Route { gone: false, held: Some((held, protocol)), .. }
                    if (held.key, held.target, held.source) == (*key, *target, *source)
                        && *protocol == self.fib.config().protocol));
            }
            Op::DeleteRoute { key } => {
                assert!(matches!(said, Said::Route { gone: true, held: Some((held, protocol)), .. }
                    if held.key == *key && *protocol == self.fib.config().protocol));
            }
        }
    }

    fn in_range(&self, id: NhId) {
        assert!((FIRST_ID..FIRST_ID + IDS).contains(&id.0), "id {} is not ours", id.0);
    }

    /// A kernel that has lost everything and does what it is told: before long it holds what is wanted, and nothing is left to do.
    fn end(mut self) {
        for code in 0..=255 {
            self.fib.set_alive(member(code), true);
            self.fib.set_reachable(member(code), true);
        }
        (0..=3).for_each(|link| self.fib.set_link(IfIndex(link), true));
        self.objects.clear();
        self.routes.clear();
        self.dump();
        self.fib.sweep();
        for prefix in PREFIXES {
            let prefix: IpNet = prefix.parse().unwrap();
            let want = self.wants.get(&prefix).cloned().unwrap_or(Want::Nothing);
            self.seq += 1;
            self.fib.want(&[FibChange { prefix, want, seq: self.seq }]);
        }
        let mut turns = 0;
        while self.work(&[]) > 0 || self.fib.next_timeout().is_some_and(|at| at > self.now) {
            turns += 1;
            assert!(turns < TURNS_MAX, "work without end");
            self.now = self.now + Duration::from_millis(200);
        }
        for (prefix, want) in &self.wants {
            let held = self.fib.route(*prefix);
            // There may be no id for a neighbour: few are ours here.
            if matches!(want, Want::Discard) {
                assert!(held.is_some_and(|route| route.installed && route.as_wanted), "{prefix}");
            } else if let (Want::Hops(_), Some(route)) = (want, held) {
                assert!(!route.installed || route.as_wanted, "{prefix} is installed otherwise than wanted: {route:?}");
            }
        }
        assert!(LAST_RESORT_METRIC > self.fib.config().metric);
    }
}

/// Who a neighbour is, by three bits of link and two of address.
fn member(code: u8) -> Member {
    let link = IfIndex(u32::from(code & 3));
    let number = u16::from(code >> 2 & 3);
    let gateway = if code & 0x10 == 0 {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(number).unwrap() + 1))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number + 1))
    };
    Member { link, gateway }
}

/// What came of an operation.
fn refusal(code: u8) -> Result<(), Refusal> {
    Err(match code {
        1 => Refusal::Exists,
        2 => Refusal::Missing,
        3 => Refusal::NotOnLink,
        4 => Refusal::LinkDown,
        5 => Refusal::Invalid,
        6 => Refusal::Busy,
        7 => Refusal::Forbidden,
        8 => Refusal::Unanswered,
        9 => Refusal::Other(95),
        _ => return Ok(()),
    })
}
