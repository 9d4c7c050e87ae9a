//! Routes of others in the table that we use, for next hops that are behind a gateway: a static route to a loopback address, say. A
//! notification is no more than a reason to look; what is told is the whole of what a dump shows.
//!
//! ```text
//!   notifications ──▶ doubt ──▶ dump of each protocol that was ever seen ──▶ told, if it differs
//!   links, addresses, half a minute, lost notifications ──▶ doubt
//! ```
//! The table may hold a million routes of ours: those are never asked for. Which protocols others have is learnt from one look at all at
//! the start, and from notifications. A thread of its own, with sockets of its own: it reads, and changes nothing.

use super::aside::{Dumps, Ear, Handle, RETRY};
use super::request::Requests;
use super::route::{
    CLONED, HEADER, RTA_DST, RTA_PRIORITY, RTA_TABLE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE, request_of,
};
use super::wire;
use crate::fib::RouteKey;
use crate::io::clock::Clock;
use crate::io::place;
use socket2::SockFilter;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::sync::mpsc::{Sender, error::TrySendError};
use weft_bgp::speaker::ForeignRoute;
use weft_bgp::time::Duration;
use weft_bgp::types::{IfIndex, IpNet};

/// Most routes that are told: whoever has more of other software's beside BGP has that software to find next hops.
const MAX_ROUTES: usize = 16_384;
/// Changes come in flocks.
const DUMP_DELAY: Duration = Duration::from_millis(5);
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
/// Length of `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// Starts to listen to a table; the first thing that is told is all there is.
///
/// # Errors
/// What the system says of sockets and threads.
pub fn foreign(table: u32, own_protocol: u8, events: Sender<Vec<ForeignRoute>>) -> io::Result<Handle> {
    let (handle, ear) = Ear::open(&filter(own_protocol))?;
    let reader = Reader {
        clock: Clock::start(),
        requests: Requests::open()?,
        table,
        own_protocol,
        events,
        protocols: BTreeSet::new(),
        is_learnt: false,
        routes: BTreeMap::new(),
        told: None,
        left_out: 0,
        dumps: Dumps::new(),
    };
    std::thread::Builder::new().name("netlink-foreign".into()).spawn(move || {
        // The kernel goes through the whole table, which may hold a million routes of ours, to find what others have in it.
        place::keep_away();
        reader.run(ear);
    })?;
    Ok(handle)
}

/// Ways by prefix, each with its metric: the least is the one that the kernel uses.
type Routes = BTreeMap<IpNet, (u32, Vec<(IfIndex, Option<IpAddr>)>)>;

struct Reader {
    clock: Clock,
    requests: Requests,
    table: u32,
    own_protocol: u8,
    events: Sender<Vec<ForeignRoute>>,
    /// Those that others have had routes of.
    protocols: BTreeSet<u8>,
    /// All that was there has been looked at once.
    is_learnt: bool,
    routes: Routes,
    told: Option<Routes>,
    left_out: usize,
    dumps: Dumps,
}

impl Reader {
    fn run(mut self, mut ear: Ear) {
        loop {
            if ear.read(|message| self.take(message)) {
                // Who knows of which protocol.
                self.is_learnt = false;
                self.dump_soon();
            }
            if ear.is_over() {
                return;
            }
            if ear.doubts() {
                self.dump_soon();
            }
            self.dump_if_due();
            let delivered = self.tell();
            let now = self.clock.now();
            ear.sleep(now, if delivered { self.dumps.due() } else { self.dumps.due().min(now + RETRY) });
        }
    }

    fn dump_soon(&mut self) {
        self.dumps.want(self.clock.now() + DUMP_DELAY);
    }

    fn take(&mut self, message: &wire::Message<'_>) {
        if !matches!(message.kind, RTM_NEWROUTE | RTM_DELROUTE) {
            return;
        }
        if let Some(seen) = parse(message.payload)
            && seen.table == self.table
            && self.is_of_others(seen.protocol)
        {
            self.protocols.insert(seen.protocol);
            self.dump_soon();
        }
    }

    /// Connected networks are known from addresses.
    const fn is_of_others(&self, protocol: u8) -> bool {
        protocol != self.own_protocol && protocol != libc::RTPROT_KERNEL && protocol != libc::RTPROT_REDIRECT
    }

    fn dump_if_due(&mut self) {
        let begun = self.clock.now();
        if begun < self.dumps.due() {
            return;
        }
        let found = self.learn().and_then(|()| self.dump());
        self.dumps.ended(begun, self.clock.now(), found.is_ok());
        match found {
            Ok(routes) => self.routes = routes,
            Err(error) => tracing::debug!(%error, "dump of the routes of others"),
        }
    }

    /// Looks at all that is there for protocols, ours included.
    fn learn(&mut self) -> io::Result<()> {
        if self.is_learnt {
            return Ok(());
        }
        let mut found = BTreeSet::new();
        for family in FAMILIES {
            let take = |message: Option<&wire::Message<'_>>| {
                // What a disturbed look saw was there nevertheless.
                let seen = message.and_then(|message| parse(message.payload));
                found.extend(seen.filter(|seen| seen.table == self.table).map(|seen| seen.protocol));
            };
            self.requests.dump(RTM_GETROUTE, &request_of(self.table, libc::RTPROT_UNSPEC, family), take, || ())?;
        }
        found.retain(|protocol| self.is_of_others(*protocol));
        self.protocols.extend(found);
        self.is_learnt = true;
        Ok(())
    }

    fn dump(&mut self) -> io::Result<Routes> {
        let mut routes = Routes::new();
        let mut left_out = 0;
        for (protocol, family) in self.protocols.iter().flat_map(|protocol| FAMILIES.map(|family| (*protocol, family)))
        {
            let mut of_dump = Vec::new();
            let take = |message: Option<&wire::Message<'_>>| match message {
                // The filter is the kernel's; whether it obeyed is ours to check.
                Some(message) => of_dump.extend(
                    parse(message.payload).filter(|seen| seen.table == self.table && seen.protocol == protocol),
                ),
                None => of_dump.clear(),
            };
            self.requests.dump(RTM_GETROUTE, &request_of(self.table, protocol, family), take, || ())?;
            for seen in of_dump.into_iter().filter(|seen| seen.prefix.prefix_len() > 0) {
                let is_full = routes.len() >= MAX_ROUTES;
                match routes.get_mut(&seen.prefix) {
                    Some(known) if seen.metric < known.0 => *known = (seen.metric, seen.via),
                    Some(_) => {}
                    None if is_full => left_out += 1,
                    None => drop(routes.insert(seen.prefix, (seen.metric, seen.via))),
                }
            }
        }
        if left_out > 0 && self.left_out == 0 {
            tracing::warn!(
                left_out,
                most = MAX_ROUTES,
                "too many routes of others: next hops are not looked for in all of them"
            );
        }
        self.left_out = left_out;
        Ok(routes)
    }

    /// Tells all, if it differs from what was told; false if there was no room.
    fn tell(&mut self) -> bool {
        if !self.is_learnt || self.told.as_ref() == Some(&self.routes) {
            return true;
        }
        let route = |(prefix, (_, via)): (&IpNet, &(u32, Vec<_>))| ForeignRoute { prefix: *prefix, via: via.clone() };
        match self.events.try_send(self.routes.iter().map(route).collect()) {
            // Nobody listens any more: nothing is owed to anybody.
            Ok(()) | Err(TrySendError::Closed(_)) => {
                self.told = Some(self.routes.clone());
                true
            }
            Err(TrySendError::Full(_)) => false,
        }
    }
}

const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// A route that may lead somewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    prefix: IpNet,
    table: u32,
    protocol: u8,
    metric: u32,
    via: Vec<(IfIndex, Option<IpAddr>)>,
}

/// The same as [`parse`], in words that others know: the route, and its protocol.
pub(super) fn read(payload: &[u8]) -> Option<(RouteKey, u8)> {
    let Seen { prefix, table, metric, protocol, .. } = parse(payload)?;
    Some((RouteKey { prefix, table, metric }, protocol))
}

/// Reads a route; `None` if it is none of those that say where packets go: another family, a broadcast, a clone, malformed.
pub(super) fn parse(payload: &[u8]) -> Option<Seen> {
    let header = payload.get(..HEADER)?;
    let [family, length, source_length, tos, table, protocol, _, kind, ..] = *header else {
        return None;
    };
    let drops = [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT].contains(&kind);
    if !(drops || kind == libc::RTN_UNICAST) || source_length != 0 || tos != 0 || wire::word(header, 8)? & CLONED != 0 {
        return None;
    }
    let v4 = i32::from(family) == libc::AF_INET;
    if !v4 && i32::from(family) != libc::AF_INET6 {
        return None;
    }
    let mut addr = if v4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let (mut table, mut metric, mut via) = (u32::from(table), 0, Vec::new());
    let mut single = Way::default();
    for (kind, value) in wire::attributes(payload.get(HEADER..)?) {
        match kind {
            RTA_DST => addr = wire::address(value).filter(|addr| addr.is_ipv4() == v4)?,
            RTA_PRIORITY => metric = wire::word(value, 0)?,
            RTA_TABLE => table = wire::word(value, 0)?,
            RTA_MULTIPATH => via = ways(value),
            kind => single.take(kind, value),
        }
    }
    via.extend(single.link.map(|link| (link, single.gateway)));
    if drops {
        via.clear();
    }
    let prefix = IpNet::new(addr, length).ok()?.trunc();
    Some(Seen { prefix, table, protocol, metric, via })
}

#[derive(Debug, Default)]
struct Way {
    link: Option<IfIndex>,
    gateway: Option<IpAddr>,
}

impl Way {
    fn take(&mut self, kind: u16, value: &[u8]) {
        match kind {
            RTA_OIF => self.link = wire::word(value, 0).map(IfIndex),
            RTA_GATEWAY => self.gateway = wire::address(value),
            // `struct rtvia`: a family, then an address of that.
            RTA_VIA => self.gateway = value.get(2..).and_then(wire::address),
            _ => {}
        }
    }
}

/// The ways of a route of several.
fn ways(mut value: &[u8]) -> Vec<(IfIndex, Option<IpAddr>)> {
    let mut all = Vec::new();
    while let Some(head) = value.get(..NEXT_HOP) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(attributes) = value.get(NEXT_HOP..length) else {
            break;
        };
        let mut way = Way::default();
        for (kind, value) in wire::attributes(attributes) {
            way.take(kind, value);
        }
        all.extend(wire::word(head, 4).map(|link| (IfIndex(link), way.gateway)));
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// Lets in what is not ours: a bulk install must not fill the buffer.
fn filter(own_protocol: u8) -> [SockFilter; 4] {
    // `BPF_LD | BPF_B | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K` of linux/bpf_common.h. Behind the message's header of 16
    // octets: 5 = protocol.
    const LOAD: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD, 0, 0, 21),
        SockFilter::new(EQUAL, 0, 1, u32::from(own_protocol)),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 24, 0, 0, 254, 4, 0, kind, 0, 0, 0, 0];
        wire::attribute(&mut body, RTA_DST, &[10, 9, 8, 0]);
        for (kind, value) in attributes {
            wire::attribute(&mut body, *kind, value);
        }
        body
    }

    fn via(body: &[u8]) -> Vec<(u32, Option<String>)> {
        let ways = parse(body).unwrap().via;
        ways.into_iter().map(|(link, gateway)| (link.0, gateway.map(|addr| addr.to_string()))).collect()
    }

    #[test]
    fn every_form_of_a_way_is_read() {
        let oif = 7_u32.to_ne_bytes();
        let gateway = |text: &str| Some(text.to_owned());
        let seen = parse(&message(1, &[(RTA_OIF, &oif), (RTA_PRIORITY, &oif)])).unwrap();
        assert_eq!((seen.prefix.to_string().as_str(), seen.metric, seen.table), ("10.9.8.0/24", 7, 254));
        assert_eq!(via(&message(1, &[(RTA_OIF, &oif)])), [(7, None)]);
        assert_eq!(via(&message(1, &[(RTA_OIF, &oif), (RTA_GATEWAY, &[10, 0, 0, 1])])), [(7, gateway("10.0.0.1"))]);
        let v6 = [&[10, 0][..], &"fe80::1".parse::<Ipv6Addr>().unwrap().octets()].concat();
        assert_eq!(via(&message(1, &[(RTA_VIA, &v6), (RTA_OIF, &oif)])), [(7, gateway("fe80::1"))]);
        let mut several = vec![16, 0, 0, 0, 3, 0, 0, 0];
        wire::attribute(&mut several, RTA_GATEWAY, &[10, 0, 0, 2]);
        several.extend([8, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(via(&message(1, &[(RTA_MULTIPATH, &several)])), [(3, gateway("10.0.0.2")), (4, None)]);
        assert_eq!(via(&message(libc::RTN_BLACKHOLE, &[(RTA_OIF, &oif)])), []);
        assert_eq!(parse(&message(libc::RTN_BROADCAST, &[(RTA_OIF, &oif)])), None);
    }

    proptest! {
        /// Whatever the kernel says, nothing falls over and nothing goes on for ever.
        #[test]
        fn anything_is_read_without_a_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&payload);
            let _ = ways(&payload);
        }

        /// A route with ways of any content.
        #[test]
        fn ways_of_any_content_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&message(1, &[(RTA_MULTIPATH, &value), (RTA_VIA, &value)]));
        }
    }
}
