//! Nexthop messages (linux/nexthop.h), which the packet crate lacks.

use super::wire;
use crate::fib::{HeldNexthop, HeldShape, Member, NhId, Op, Spread};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::types::IfIndex;

pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
pub(super) const RTM_GETNEXTHOP: u16 = 106;

/// Length of `struct nhmsg`: family, scope, protocol, reserved, flags.
pub(super) const HEADER: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_RES_GROUP: u16 = 12;
const NHA_RES_GROUP_BUCKETS: u16 = 1;
/// The value consists of attributes.
const NLA_F_NESTED: u16 = 1 << 15;
/// `NEXTHOP_GRP_TYPE_RES`; 0 is a group that hashes.
const RESILIENT: u16 = 1;
/// Buckets of a resilient group: twice our largest set of 64, and shares within one percent for a set of two.
const BUCKETS: u16 = 128;
/// `struct nexthop_grp`: id, weight less one, high weight bits, reserved.
const GROUP_ENTRY: usize = 8;

/// Appends the message for an operation on a nexthop object; nothing for one on a route.
pub(super) fn push(buffer: &mut Vec<u8>, op: &Op, protocol: u8, sequence: u32) -> Option<usize> {
    const CREATE: u16 = wire::NLM_F_CREATE | wire::NLM_F_EXCL;
    let start = match op {
        Op::AddNexthop { id, member } => {
            let start = wire::begin(buffer, RTM_NEWNEXTHOP, CREATE, sequence);
            let (family, gateway) = match member.gateway {
                IpAddr::V4(addr) => (libc::AF_INET, addr.octets().to_vec()),
                IpAddr::V6(addr) => (libc::AF_INET6, addr.octets().to_vec()),
            };
            header(buffer, family, protocol);
            wire::attribute(buffer, NHA_ID, &id.0.to_ne_bytes());
            wire::attribute(buffer, NHA_OIF, &member.link.0.to_ne_bytes());
            // Without one, who is meant is asked for on the link itself.
            if !member.gateway.is_unspecified() {
                wire::attribute(buffer, NHA_GATEWAY, &gateway);
            }
            start
        }
        Op::SetGroup { id, members, spread, replace } => {
            let flags = if *replace { wire::NLM_F_REPLACE } else { CREATE };
            let start = wire::begin(buffer, RTM_NEWNEXTHOP, flags, sequence);
            header(buffer, libc::AF_UNSPEC, protocol);
            wire::attribute(buffer, NHA_ID, &id.0.to_ne_bytes());
            let mut group = Vec::with_capacity(members.len() * GROUP_ENTRY);
            for (member, weight) in members {
                group.extend(member.0.to_ne_bytes());
                group.extend([weight.saturating_sub(1), 0, 0, 0]);
            }
            wire::attribute(buffer, NHA_GROUP, &group);
            if *spread == Spread::Resilient {
                wire::attribute(buffer, NHA_GROUP_TYPE, &RESILIENT.to_ne_bytes());
                let mut table = Vec::new();
                wire::attribute(&mut table, NHA_RES_GROUP_BUCKETS, &BUCKETS.to_ne_bytes());
                wire::attribute(buffer, NHA_RES_GROUP | NLA_F_NESTED, &table);
            }
            start
        }
        Op::DeleteNexthop { id } => {
            let start = wire::begin(buffer, RTM_DELNEXTHOP, 0, sequence);
            header(buffer, libc::AF_UNSPEC, 0);
            wire::attribute(buffer, NHA_ID, &id.0.to_ne_bytes());
            start
        }
        Op::SetRoute { .. } | Op::DeleteRoute { .. } => return None,
    };
    wire::end(buffer, start);
    Some(start)
}

fn header(buffer: &mut Vec<u8>, family: i32, protocol: u8) {
    buffer.extend([u8::try_from(family).unwrap_or_default(), 0, protocol, 0, 0, 0, 0, 0]);
}

/// Reads a nexthop message.
pub(super) fn parse(payload: &[u8], protocol: u8) -> Option<HeldNexthop> {
    let ours = *payload.get(2)? == protocol;
    let (mut id, mut link, mut gateway, mut group) = (None, None, None, None);
    let mut spread = Spread::Hashed;
    for (kind, value) in wire::attributes(payload.get(HEADER..)?) {
        match kind {
            NHA_ID => id = wire::word(value, 0),
            NHA_OIF => link = wire::word(value, 0),
            NHA_GATEWAY => gateway = wire::address(value),
            NHA_GROUP => group = Some(members(value)),
            NHA_GROUP_TYPE if value.starts_with(&RESILIENT.to_ne_bytes()) => spread = Spread::Resilient,
            _ => {}
        }
    }
    let shape = match (link, gateway, group) {
        (Some(link), Some(gateway), None) => HeldShape::Member(Member { link: IfIndex(link), gateway }),
        (Some(link), None, None) if i32::from(*payload.first()?) == libc::AF_INET => {
            HeldShape::Member(Member { link: IfIndex(link), gateway: Ipv4Addr::UNSPECIFIED.into() })
        }
        (Some(link), None, None) if i32::from(*payload.first()?) == libc::AF_INET6 => {
            HeldShape::Member(Member { link: IfIndex(link), gateway: Ipv6Addr::UNSPECIFIED.into() })
        }
        (_, None, Some(group)) => HeldShape::Group(spread, group),
        _ => HeldShape::Other,
    };
    Some(HeldNexthop { id: NhId(id?), ours, shape })
}

fn members(value: &[u8]) -> Vec<(NhId, u8)> {
    let entry = |entry: &[u8]| Some((NhId(wire::word(entry, 0)?), entry.get(4)?.saturating_add(1)));
    let mut members: Vec<_> = value.chunks_exact(GROUP_ENTRY).filter_map(entry).collect();
    members.sort_unstable();
    members
}
