//! Routes that other software keeps in kernel tables, for the daemon to announce: heard of by notification, and told as changes.
//!
//! ```text
//!   notifications ──▶ held (what the tables hold) ──▶ wanted (prefix ▶ first rule that fits) ──▶ changes against what was told
//!   dump ────────────▶ held, from scratch: at the start, after lost notifications, when asked, every half minute
//! ```
//! While the daemon itself writes many routes nothing is listened to, if these are in other tables, and dumps come one after another: each
//! of its routes would cost it a notification for us.
//! The kernel tells nobody of IPv4 routes that go with a link or an address, and of a route that another protocol replaces only the
//! new one; IPv6 tells of one next hop at a time. So only what is added, and IPv4 deletions, are taken from notifications; everything
//! else is a reason for a dump, which the kernel filters by table and protocol and which costs what these routes cost. A thread of its
//! own, with sockets of its own: it reads, and changes nothing.

use super::aside::{Dumps, Ear, Handle, RETRY};
use super::bursts::Bursts;
use super::request::Requests;
use super::route::{
    CLONED, HEADER, RTA_DST, RTA_PRIORITY, RTA_TABLE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE, request_of,
};
use super::wire;
use crate::config::KernelRule;
use crate::fib::RouteKey;
use crate::io::clock::Clock;
use crate::io::place;
use crate::node::{Imported, LeftOut, MAX_IMPORTED as MAX_PREFIXES};
use socket2::SockFilter;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::sync::mpsc::{Sender, error::TrySendError};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IpNet;

/// Most routes of other software that are kept; what comes beyond waits for a dump after others went.
const MAX_ROUTES: usize = 4 * MAX_PREFIXES;
/// Changes told at a time.
const BATCH: usize = 1_024;
/// The table in a header when the number does not fit in there (linux/rtnetlink.h, RT_TABLE_COMPAT).
const TABLE_COMPAT: u8 = 252;
/// Between two dumps while nothing is listened to: a route is announced within 50 ms all the same.
const POLL: Duration = Duration::from_millis(20);

/// See [`Kernel::import`](super::Kernel::import).
pub(super) fn import(
    rules: Vec<KernelRule>,
    (own_table, own_protocol): (u32, u8),
    bursts: Bursts,
    run: u64,
    events: Sender<Imported>,
) -> io::Result<Handle> {
    let (handle, ear) = Ear::open(&filter(&rules, own_protocol))?;
    // A dump of a table with a million other routes takes a tenth of a second.
    let is_apart = rules.iter().all(|rule| rule.table != own_table);
    if is_apart {
        bursts.tell(ear.wake());
    }
    let reader = Reader {
        clock: Clock::start(),
        requests: Requests::open()?,
        rules,
        run,
        events,
        held: BTreeSet::new(),
        told: None,
        beyond: Counts::new(),
        left_out: Vec::new(),
        left_out_told: Vec::new(),
        changed: true,
        dumps: Dumps::new(),
        bursts: is_apart.then_some(bursts),
        hears: true,
    };
    std::thread::Builder::new().name("netlink-import".into()).spawn(move || reader.run(ear))?;
    Ok(handle)
}

/// A route, as far as it tells one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    prefix: IpNet,
    table: u32,
    metric: u32,
    tos: u8,
}

/// A route that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    key: Key,
    protocol: u8,
}

/// Routes that are not announced, by table and protocol.
type Counts = BTreeMap<(u32, u8), u64>;

struct Reader {
    clock: Clock,
    requests: Requests,
    rules: Vec<KernelRule>,
    run: u64,
    events: Sender<Imported>,
    held: BTreeSet<Route>,
    /// What the daemon knows; nothing before it was told all.
    told: Option<BTreeMap<IpNet, usize>>,
    /// Routes for which there was no place in `held` at the last dump.
    beyond: Counts,
    left_out: Vec<LeftOut>,
    /// What the daemon knows of `left_out`.
    left_out_told: Vec<LeftOut>,
    /// `held` may differ from what was told.
    changed: bool,
    dumps: Dumps,
    /// Of the thread that writes, if none of the tables is its own.
    bursts: Option<Bursts>,
    hears: bool,
}

impl Reader {
    fn run(mut self, mut ear: Ear) {
        if self.bursts.is_none() {
            // The kernel goes through a whole table to find what others have in it.
            place::keep_away();
        }
        loop {
            self.follow_burst(&ear);
            let is_lost = ear.read(|message| self.take(message));
            if ear.is_over() {
                return;
            }
            if ear.doubts() || is_lost {
                self.dumps.want(Instant::ZERO);
            }
            self.dump_if_due();
            let delivered = self.tell();
            let now = self.clock.now();
            ear.sleep(now, if delivered { self.dumps.due() } else { self.dumps.due().min(now + RETRY) });
        }
    }

    /// Stops listening in a burst, and begins again after it.
    fn follow_burst(&mut self, ear: &Ear) {
        let hears = !self.bursts.as_ref().is_some_and(Bursts::is_under_way);
        if hears == self.hears {
            return;
        }
        if let Err(error) = ear.hear(hears) {
            tracing::warn!(%error, "cannot change what netlink tells of imported routes; dumps will tell");
        }
        self.hears = hears;
        // What came between the last word and now.
        self.dumps.want(Instant::ZERO);
    }

    fn take(&mut self, message: &wire::Message<'_>) {
        let Some(route) = parse(message.payload) else {
            return;
        };
        let is_wanted = self.rules.iter().any(|rule| rule.table == route.key.table && rule.protocol == route.protocol);
        match (message.kind, is_wanted) {
            (RTM_NEWROUTE, true) if self.held.len() < MAX_ROUTES => self.changed |= self.held.insert(route),
            (RTM_DELROUTE, true) if route.key.prefix.addr().is_ipv4() => self.changed |= self.held.remove(&route),
            // One next hop of several, perhaps.
            (RTM_DELROUTE, true) => self.dumps.want(Instant::ZERO),
            // Somebody else's route may have taken the place of one of these.
            (RTM_NEWROUTE, false) if self.holds(&route.key) => self.dumps.want(Instant::ZERO),
            _ => {}
        }
    }

    fn holds(&self, key: &Key) -> bool {
        self.rules.iter().any(|rule| self.held.contains(&Route { key: *key, protocol: rule.protocol }))
    }

    fn dump_if_due(&mut self) {
        let begun = self.clock.now();
        if begun < self.dumps.due() {
            return;
        }
        let found = self.dump();
        self.dumps.ended(begun, self.clock.now(), found.is_ok());
        if !self.hears {
            self.dumps.want(begun + POLL);
        }
        match found {
            Ok((held, beyond)) => {
                self.changed |= held != self.held || beyond != self.beyond;
                (self.held, self.beyond) = (held, beyond);
            }
            Err(error) => tracing::debug!(%error, "dump of imported routes"),
        }
    }

    /// What the tables hold, and how much of it is too much.
    fn dump(&mut self) -> io::Result<(BTreeSet<Route>, Counts)> {
        let (mut found, mut beyond) = (BTreeSet::new(), Counts::new());
        for rule in &self.rules {
            for family in [libc::AF_INET, libc::AF_INET6] {
                let (mut of_dump, mut of_dump_beyond) = (BTreeSet::new(), Counts::new());
                let take = |message: Option<&wire::Message<'_>>| match message {
                    // The filter is the kernel's; whether it obeyed is ours to check.
                    Some(message) => {
                        let route = parse(message.payload)
                            .filter(|route| route.key.table == rule.table && route.protocol == rule.protocol);
                        of_dump.extend(route);
                        cut(&mut of_dump, &mut of_dump_beyond);
                    }
                    None => {
                        of_dump.clear();
                        of_dump_beyond.clear();
                    }
                };
                self.requests.dump(RTM_GETROUTE, &request_of(rule.table, rule.protocol, family), take, || ())?;
                found.extend(of_dump);
                of_dump_beyond.into_iter().for_each(|(of, count)| *beyond.entry(of).or_default() += count);
                cut(&mut found, &mut beyond);
            }
        }
        Ok((found, beyond))
    }

    /// What is to be announced: each prefix by the first rule that fits.
    fn wanted(&mut self) -> BTreeMap<IpNet, usize> {
        let mut wanted = BTreeMap::new();
        let mut left_out = self.beyond.clone();
        for route in &self.held {
            let prefix = route.key.prefix;
            let rule = self.rules.iter().position(|rule| {
                rule.table == route.key.table && rule.protocol == route.protocol && rule.terms.covers(&prefix)
            });
            let Some(rule) = rule else {
                continue;
            };
            if let Some(known) = wanted.get_mut(&prefix) {
                *known = rule.min(*known);
            } else if wanted.len() < MAX_PREFIXES {
                wanted.insert(prefix, rule);
            } else {
                *left_out.entry((route.key.table, route.protocol)).or_default() += 1;
            }
        }
        let known = |((table, protocol), routes)| LeftOut { table, protocol, routes };
        self.left_out = left_out.into_iter().map(known).collect();
        wanted
    }

    /// Tells what changed, piece by piece; false if there was no room for all.
    fn tell(&mut self) -> bool {
        if !self.changed {
            return true;
        }
        let wanted = self.wanted();
        // All is told at once at first: it is bounded, and it says what is gone.
        let all = self.told.is_none();
        let told = self.told.get_or_insert_default();
        let gone = told.keys().filter(|prefix| !wanted.contains_key(prefix)).map(|prefix| (*prefix, None));
        let came = wanted.iter().filter(|(prefix, rule)| told.get(prefix) != Some(rule));
        let changes: Vec<_> = gone.chain(came.map(|(prefix, rule)| (*prefix, Some(*rule)))).collect();
        let mut pieces: Vec<&[_]> = changes.chunks(if all { MAX_PREFIXES } else { BATCH }).collect();
        if pieces.is_empty() && (all || self.left_out != self.left_out_told) {
            pieces.push(&[]);
        }
        for piece in pieces {
            let event = Imported { run: self.run, all, changes: piece.to_vec(), left_out: self.left_out.clone() };
            match self.events.try_send(event) {
                Ok(()) => self.left_out_told.clone_from(&self.left_out),
                // Nobody listens any more: nothing is owed to anybody.
                Err(TrySendError::Closed(_)) => return true,
                Err(TrySendError::Full(_)) => {
                    if all {
                        self.told = None;
                    }
                    return false;
                }
            }
            for (prefix, rule) in piece {
                match rule {
                    Some(rule) => told.insert(*prefix, *rule),
                    None => told.remove(prefix),
                };
            }
        }
        self.changed = false;
        true
    }
}

/// The last ones go, and are counted, where there are more than can be kept.
fn cut(routes: &mut BTreeSet<Route>, beyond: &mut Counts) {
    while routes.len() > MAX_ROUTES
        && let Some(route) = routes.pop_last()
    {
        *beyond.entry((route.key.table, route.protocol)).or_default() += 1;
    }
}

/// The same as [`parse`], in words that others know: the route (but for its type of service), and its protocol.
pub(super) fn read(payload: &[u8]) -> Option<(RouteKey, u8)> {
    let Route { key: Key { prefix, table, metric, .. }, protocol } = parse(payload)?;
    Some((RouteKey { prefix, table, metric }, protocol))
}

/// Reads a route; `None` if it is none that can be announced: another family, a broadcast, a clone, malformed.
pub(super) fn parse(payload: &[u8]) -> Option<Route> {
    let header = payload.get(..HEADER)?;
    let [family, length, source_length, tos, table, protocol, _, kind, ..] = *header else {
        return None;
    };
    let flags = wire::word(header, 8)?;
    let is_announced =
        [libc::RTN_UNICAST, libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT].contains(&kind);
    if !is_announced || source_length != 0 || flags & CLONED != 0 {
        return None;
    }
    let v4 = i32::from(family) == libc::AF_INET;
    if !v4 && i32::from(family) != libc::AF_INET6 {
        return None;
    }
    let mut addr = if v4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let (mut table, mut metric) = (u32::from(table), 0);
    for (kind, value) in wire::attributes(payload.get(HEADER..)?) {
        match kind {
            RTA_DST if v4 => addr = <[u8; 4]>::try_from(value).ok()?.into(),
            RTA_DST => addr = <[u8; 16]>::try_from(value).ok()?.into(),
            RTA_PRIORITY => metric = wire::word(value, 0)?,
            RTA_TABLE => table = wire::word(value, 0)?,
            _ => {}
        }
    }
    let prefix = IpNet::new(addr, length).ok()?.trunc();
    Some(Route { key: Key { prefix, table, metric, tos }, protocol })
}

/// Lets in what is in one of the tables and not ours: a bulk install in the same table must not fill the buffer.
fn filter(rules: &[KernelRule], own_protocol: u8) -> Vec<SockFilter> {
    // `BPF_LD | BPF_B | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K` of linux/bpf_common.h. Behind the message's header of 16
    // octets: 4 = table, 5 = protocol.
    const LOAD: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let tables: BTreeSet<u8> = rules.iter().map(|rule| u8::try_from(rule.table).unwrap_or(TABLE_COMPAT)).collect();
    let mut program = vec![
        SockFilter::new(LOAD, 0, 0, 21),
        // To the last instruction but one is as far as there are tables, and one load.
        SockFilter::new(EQUAL, u8::try_from(tables.len()).unwrap_or(u8::MAX) + 1, 0, u32::from(own_protocol)),
        SockFilter::new(LOAD, 0, 0, 20),
    ];
    for (at, table) in tables.iter().enumerate() {
        let behind = u8::try_from(tables.len() - at).unwrap_or(u8::MAX);
        program.push(SockFilter::new(EQUAL, behind, 0, u32::from(*table)));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(prefix: &str, table: u32, protocol: u8, metric: u32) -> Vec<u8> {
        let net: IpNet = prefix.parse().unwrap();
        let (family, octets) = match net.addr() {
            IpAddr::V4(addr) => (2, addr.octets().to_vec()),
            IpAddr::V6(addr) => (10, addr.octets().to_vec()),
        };
        let mut body =
            vec![family, net.prefix_len(), 0, 0, u8::try_from(table).unwrap_or(252), protocol, 0, 1, 0, 0, 0, 0];
        wire::attribute(&mut body, RTA_DST, &octets);
        wire::attribute(&mut body, RTA_PRIORITY, &metric.to_ne_bytes());
        wire::attribute(&mut body, RTA_TABLE, &table.to_ne_bytes());
        body
    }

    #[test]
    fn routes_are_read_with_what_tells_them_apart() {
        let read = parse(&message("10.64.4.0/27", 119, 30, 7)).unwrap();
        let key = Key { prefix: "10.64.4.0/27".parse().unwrap(), table: 119, metric: 7, tos: 0 };
        assert_eq!(read, Route { key, protocol: 30 });
        assert_eq!(parse(&message("fd00:64::/64", 70_000, 30, 0)).map(|route| route.key.table), Some(70_000));
        let mut broadcast = message("10.64.4.0/27", 119, 30, 7);
        broadcast[7] = libc::RTN_BROADCAST;
        assert_eq!(parse(&broadcast), None);
    }

    proptest! {
        /// Whatever the kernel says, nothing falls over.
        #[test]
        fn anything_is_read_without_a_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&payload);
        }
    }
}
