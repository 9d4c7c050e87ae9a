//! Routes on the wire (rtnetlink(7)), and which of them are ours.

use super::wire;
use crate::config::FibConfig;
use crate::fib::{HeldRoute, NhId, Op, RouteKey, Target};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::types::IpNet;

pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;

/// Length of `struct rtmsg`, and where its flags are.
pub(super) const HEADER: usize = 12;
const FLAGS: usize = 8;
/// A route that the kernel made of another one for one destination (RTM_F_CLONED).
pub(super) const CLONED: u32 = 0x200;
/// Attributes of a route (linux/rtnetlink.h).
pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_TABLE: u16 = 15;
const RTA_NH_ID: u16 = 30;

/// The body of a request for the routes of a protocol in a table.
pub(super) fn request_of(table: u32, protocol: u8, family: i32) -> Vec<u8> {
    let family = u8::try_from(family).unwrap_or_default();
    let short = u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let mut body = vec![family, 0, 0, 0, short, protocol, 0, 0, 0, 0, 0, 0];
    wire::attribute(&mut body, RTA_TABLE, &table.to_ne_bytes());
    body
}

/// Appends the message for an operation on a route; nothing for one on a nexthop object. Written by hand, for there may be millions:
/// the packet crate's types would take several allocations for each.
pub(super) fn push(buffer: &mut Vec<u8>, op: &Op, protocol: u8, sequence: u32) -> Option<usize> {
    Some(match op {
        Op::SetRoute { key, target, source, replace } => {
            let flags = if *replace { wire::NLM_F_REPLACE } else { wire::NLM_F_CREATE | wire::NLM_F_EXCL };
            let (kind, nhid) = match target {
                Target::Nexthop(id) => (libc::RTN_UNICAST, Some(id.0)),
                Target::Blackhole => (libc::RTN_BLACKHOLE, None),
                Target::Unreachable | Target::Other => (libc::RTN_UNREACHABLE, None),
            };
            let start = wire::begin(buffer, RTM_NEWROUTE, flags, sequence);
            push_key(buffer, key, [protocol, libc::RT_SCOPE_UNIVERSE, kind]);
            if let Some(id) = nhid {
                wire::attribute(buffer, RTA_NH_ID, &id.to_ne_bytes());
            }
            if let Some(source) = source {
                push_address(buffer, RTA_PREFSRC, source);
            }
            wire::end(buffer, start);
            start
        }
        Op::DeleteRoute { key } => {
            let start = wire::begin(buffer, RTM_DELROUTE, 0, sequence);
            // Scope "nowhere" and type "unspecified" match any: the key and the protocol decide.
            push_key(buffer, key, [protocol, libc::RT_SCOPE_NOWHERE, libc::RTN_UNSPEC]);
            wire::end(buffer, start);
            start
        }
        Op::AddNexthop { .. } | Op::SetGroup { .. } | Op::DeleteNexthop { .. } => return None,
    })
}

/// `struct rtmsg` and the attributes that say which route is meant.
fn push_key(buffer: &mut Vec<u8>, key: &RouteKey, [protocol, scope, kind]: [u8; 3]) {
    let family = u8::from(match key.prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    });
    let table = u8::try_from(key.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    buffer.extend([family, key.prefix.prefix_len(), 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]);
    // The kernel wants no destination for a default route of length 0, and takes one all the same.
    push_address(buffer, RTA_DST, &key.prefix.addr());
    wire::attribute(buffer, RTA_PRIORITY, &key.metric.to_ne_bytes());
    if table == libc::RT_TABLE_UNSPEC {
        wire::attribute(buffer, RTA_TABLE, &key.table.to_ne_bytes());
    }
}

fn push_address(buffer: &mut Vec<u8>, kind: u16, addr: &IpAddr) {
    match addr {
        IpAddr::V4(addr) => wire::attribute(buffer, kind, &addr.octets()),
        IpAddr::V6(addr) => wire::attribute(buffer, kind, &addr.octets()),
    }
}

/// The filter of a dump: our protocol, our table, one family.
pub(super) fn filter(v6: bool, config: &FibConfig) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.protocol = RouteProtocol::from(config.protocol);
    message.attributes.push(RouteAttribute::Table(config.table));
    message
}

/// A route as told by the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) route: HeldRoute,
    pub(super) protocol: u8,
}

/// Reads a route; `None` if it is of no concern here (another family or type of service, a clone, malformed). By hand as well: a dump
/// may list millions.
pub(super) fn parse(payload: &[u8]) -> Option<Seen> {
    let [family, length, source_length, tos, table, protocol, _, kind, ..] = *payload.first_chunk::<HEADER>()?;
    let mut destination: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if source_length != 0 || tos != 0 || wire::word(payload, FLAGS)? & CLONED != 0 {
        return None;
    }
    let (mut table, mut metric) = (u32::from(table), 0);
    let (mut nhid, mut source) = (None, None);
    for (attribute, value) in wire::attributes(payload.get(HEADER..)?) {
        match attribute {
            // Of the family that the header names, or the message is malformed.
            RTA_DST => destination = wire::address(value).filter(|found| found.is_ipv4() == destination.is_ipv4())?,
            RTA_TABLE => table = wire::word(value, 0)?,
            RTA_PRIORITY => metric = wire::word(value, 0)?,
            RTA_NH_ID => nhid = Some(NhId(wire::word(value, 0)?)),
            RTA_PREFSRC => source = wire::address(value),
            _ => {}
        }
    }
    let target = match (kind, nhid) {
        (libc::RTN_UNICAST, Some(id)) => Target::Nexthop(id),
        (libc::RTN_BLACKHOLE, None) => Target::Blackhole,
        (libc::RTN_UNREACHABLE, None) => Target::Unreachable,
        _ => Target::Other,
    };
    let prefix = IpNet::new(destination, length).ok()?;
    let route = HeldRoute { key: RouteKey { prefix, table, metric }, target, source };
    Some(Seen { route, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_of_another_family_than_the_header_is_malformed() {
        let of = |family: i32, octets: &[u8]| {
            let mut body = request_of(254, 77, family);
            (body[1], body[7]) = (24, libc::RTN_UNICAST);
            wire::attribute(&mut body, RTA_DST, octets);
            parse(&body).map(|seen| seen.route.key.prefix.to_string())
        };
        assert_eq!(of(libc::AF_INET, &[10, 1, 2, 0]).as_deref(), Some("10.1.2.0/24"));
        assert_eq!(of(libc::AF_INET, &[0; 16]), None);
        assert_eq!(of(libc::AF_INET6, &[10, 1, 2, 0]), None);
    }

    /// What is written by hand reads back as what was meant.
    #[test]
    fn round_trip() {
        let cases: [(&str, u32, Target, Option<&str>); 4] = [
            ("10.1.2.3/32", 254, Target::Nexthop(NhId(0xF000_0001)), Some("10.9.9.9")),
            ("0.0.0.0/0", 254, Target::Unreachable, None),
            ("10.0.0.0/8", 1_000, Target::Blackhole, None),
            ("2001:db8::/48", 70_000, Target::Nexthop(NhId(7)), Some("2001:db8:1::1")),
        ];
        for (prefix, table, target, source) in cases {
            let key = RouteKey { prefix: prefix.parse().unwrap(), table, metric: 77 };
            let source = source.map(|source| source.parse().unwrap());
            let set = Op::SetRoute { key, target, source, replace: false };
            for (op, kind) in [(set, RTM_NEWROUTE), (Op::DeleteRoute { key }, RTM_DELROUTE)] {
                let mut buffer = Vec::new();
                assert_eq!(push(&mut buffer, &op, 193, 5), Some(0));
                let all: Vec<_> = wire::messages(&buffer).collect();
                assert_eq!(all.len(), 1);
                assert_eq!((all[0].kind, all[0].sequence), (kind, 5));
                let seen = parse(all[0].payload).unwrap();
                assert_eq!((seen.protocol, seen.route.key), (193, key));
                if kind == RTM_NEWROUTE {
                    assert_eq!((seen.route.target, seen.route.source), (target, source));
                }
            }
        }
    }
}
