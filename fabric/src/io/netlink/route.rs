//! Routes on the wire: the packet crate's types, and which of them are ours.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the packet crate's enums list all that a kernel may say; most is not for us"
)]

use super::wire;
use crate::config::FibConfig;
use crate::fib::{HeldRoute, NhId, Op, RouteKey, Target};
use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::types::IpNet;

pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;

/// Appends the message for an operation on a route; nothing for one on a nexthop object.
pub(super) fn push(buffer: &mut Vec<u8>, op: &Op, protocol: u8, sequence: u32) -> Option<usize> {
    let (kind, flags, message) = match op {
        Op::SetRoute { key, target, source, replace } => {
            let flags = if *replace { wire::NLM_F_REPLACE } else { wire::NLM_F_CREATE | wire::NLM_F_EXCL };
            let mut message = message(key, protocol, RouteScope::Universe);
            match target {
                Target::Nexthop(id) => {
                    message.header.kind = RouteType::Unicast;
                    message.attributes.push(RouteAttribute::NhId(id.0));
                }
                Target::Blackhole => message.header.kind = RouteType::BlackHole,
                Target::Unreachable | Target::Other => message.header.kind = RouteType::Unreachable,
            }
            message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
            (RTM_NEWROUTE, flags, message)
        }
        // Scope "nowhere" and type "unspecified" match any: the key and the protocol decide.
        Op::DeleteRoute { key } => (RTM_DELROUTE, 0, message(key, protocol, RouteScope::NoWhere)),
        Op::AddNexthop { .. } | Op::SetGroup { .. } | Op::DeleteNexthop { .. } => return None,
    };
    Some(wire::push(buffer, kind, flags, sequence, &message))
}

fn message(key: &RouteKey, protocol: u8, scope: RouteScope) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(&key.prefix),
        destination_prefix_length: key.prefix.prefix_len(),
        table: u8::try_from(key.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        protocol: RouteProtocol::from(protocol),
        scope,
        ..RouteHeader::default()
    };
    message.attributes.reserve(5);
    // The kernel wants no destination for a default route of length 0, and takes one all the same.
    message.attributes.push(RouteAttribute::Destination(key.prefix.addr().into()));
    message.attributes.push(RouteAttribute::Priority(key.metric));
    if message.header.table == RouteHeader::RT_TABLE_UNSPEC {
        message.attributes.push(RouteAttribute::Table(key.table));
    }
    message
}

const fn family(prefix: &IpNet) -> AddressFamily {
    match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
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

/// Reads a route; `None` if it is of no concern here (another family or type of service, a clone, malformed).
pub(super) fn parse(payload: &[u8]) -> Option<Seen> {
    let message = RouteMessage::parse(payload).ok()?;
    let header = &message.header;
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut destination, mut table, mut metric) = (unspecified, u32::from(header.table), 0);
    let (mut nhid, mut source) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(addr) => destination = address(addr)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::NhId(id) => nhid = Some(NhId(*id)),
            RouteAttribute::PrefSource(addr) => source = address(addr),
            _ => {}
        }
    }
    let cloned = netlink_packet_route::route::RouteFlags::Cloned;
    if header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(cloned) {
        return None;
    }
    let target = match (header.kind, nhid) {
        (RouteType::Unicast, Some(id)) => Target::Nexthop(id),
        (RouteType::BlackHole, None) => Target::Blackhole,
        (RouteType::Unreachable, None) => Target::Unreachable,
        _ => Target::Other,
    };
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let route = HeldRoute { key: RouteKey { prefix, table, metric }, target, source };
    Some(Seen { route, protocol: header.protocol.into() })
}

const fn address(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        _ => None,
    }
}
