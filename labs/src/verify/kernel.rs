//! What a node's kernel holds, asked over a netlink socket that was opened inside the node's network namespace.
//!
//! Dumps, and one deletion for those who break things. A socket keeps the namespace it was opened in, so the questions are asked
//! from the verifier's own thread.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attribute enums grow; we read a few of them")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::verify::nexthop;

/// The main routing table.
const MAIN_TABLE: u32 = 254;
/// A dump's datagram never exceeds this (the kernel builds at most 32 KiB).
const DATAGRAM: usize = 64 * 1024;

/// Bit of RTNLGRP_LINK in a socket's groups.
const LINK_GROUP: u32 = 1;

/// One next hop: the gateway's address if it has one, and the interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelHop {
    /// Gateway, of either family.
    pub gateway: Option<IpAddr>,
    /// Interface index.
    pub link: u32,
    /// Share of the flows, relative to the others'; 1 for a single next hop.
    pub weight: u16,
}

/// One route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Where to.
    pub prefix: IpNet,
    /// Next hops.
    pub hops: BTreeSet<KernelHop>,
    /// The nexthop object that it names, until its hops are known.
    object: Option<u32>,
    /// The kernel made it itself, at boot or from an interface address; not a routing protocol.
    pub own: bool,
    /// Forwards packets (not unreachable, blackhole, local, …).
    pub unicast: bool,
}

/// An interface and its counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLink {
    /// Index.
    pub index: u32,
    /// Packets sent so far.
    pub tx_packets: u64,
    /// Bytes sent so far.
    pub tx_bytes: u64,
    /// What somebody called it; empty = nothing.
    pub alias: String,
    /// Hardware address, as `aa:c1:ab:00:00:01`.
    pub mac: String,
    /// Largest frame payload, bytes.
    pub mtu: u32,
    /// `veth`, `bridge`, …; `device` where the kernel has no word for it.
    pub kind: String,
    /// Operational state (RFC 2863 §3.1.14): `up`, `down`, `unknown`, ….
    pub state: String,
}

/// Opens the socket to ask with; to be called inside the namespace.
///
/// # Errors
/// The system's, when the socket cannot be made.
pub fn open() -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(
        rustix::net::AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // NETLINK_ROUTE is protocol 0
    )?;
    rustix::net::sockopt::set_socket_timeout(
        &fd,
        rustix::net::sockopt::Timeout::Recv,
        Some(std::time::Duration::from_secs(5)),
    )?;
    Ok(fd)
}

/// The main tables of both families.
///
/// # Errors
/// When the dump breaks off.
pub fn routes(fd: impl AsFd) -> io::Result<Vec<KernelRoute>> {
    let mut found: Vec<KernelRoute> = messages(&fd)?.iter().filter_map(route).collect();
    // Where net.ipv4.nexthop_compat_mode is 0 a route names an id and no more.
    if found.iter().any(|route| route.object.is_some() && route.hops.is_empty()) {
        let hops = nexthop::hops(&fd)?;
        for route in found.iter_mut().filter(|route| route.hops.is_empty()) {
            route.hops = route.object.and_then(|id| hops.get(&id)).cloned().unwrap_or_default();
        }
    }
    for route in &mut found {
        route.object = None;
    }
    Ok(found)
}

fn messages(fd: impl AsFd) -> io::Result<Vec<RouteMessage>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        for answer in dump(&fd, RouteNetlinkMessage::GetRoute(question))? {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                found.push(message);
            }
        }
    }
    Ok(found)
}

/// Deletes every route of the main table that a routing protocol put there, as software does that holds all routes to be its own; how
/// many were there.
///
/// # Errors
/// When the kernel does not answer.
pub fn delete_routes(fd: impl AsFd) -> io::Result<usize> {
    let mut deleted = 0;
    for mut message in messages(&fd)? {
        if route(&message).is_none_or(|route| route.own) {
            continue;
        }
        // What it is found by; a gateway beside the id of an object would be refused.
        message.attributes.retain(|attribute| {
            matches!(attribute, RouteAttribute::Destination(_) | RouteAttribute::Table(_) | RouteAttribute::Priority(_))
        });
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::DelRoute(message)));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&fd, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; DATAGRAM];
        let (length, _) = rustix::net::recv(&fd, &mut buffer[..], RecvFlags::empty())?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer[..length]).map_err(io::Error::other)?;
        deleted += usize::from(matches!(answer.payload, NetlinkPayload::Error(error) if error.code.is_none()));
    }
    Ok(deleted)
}

/// Every interface's addresses, by interface index.
///
/// # Errors
/// When the dump breaks off.
pub fn addresses(fd: impl AsFd) -> io::Result<Vec<(u32, IpAddr)>> {
    let answers = dump(&fd, RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let mut found = Vec::new();
    for answer in answers {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            continue;
        };
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        found.extend(address.map(|address| (message.header.index, address)));
    }
    Ok(found)
}

/// All interfaces by name.
///
/// # Errors
/// When the dump breaks off.
pub fn links(fd: impl AsFd) -> io::Result<BTreeMap<String, KernelLink>> {
    let mut found = BTreeMap::new();
    for answer in dump(&fd, RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        let RouteNetlinkMessage::NewLink(message) = answer else {
            continue;
        };
        let (name, link) = interface(&message);
        found.insert(name, link);
    }
    Ok(found)
}

/// Name and state of the interface that a message is about.
fn interface(message: &LinkMessage) -> (String, KernelLink) {
    let mut link = KernelLink { index: message.header.index, kind: "device".to_owned(), ..KernelLink::default() };
    let mut name = String::new();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name.clone_from(text),
            LinkAttribute::IfAlias(text) => link.alias.clone_from(text),
            LinkAttribute::Stats64(stats) => (link.tx_packets, link.tx_bytes) = (stats.tx_packets, stats.tx_bytes),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::OperState(state) => link.state = state.to_string().to_lowercase(),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    (name, link)
}

/// A change of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whether it is gone.
    pub gone: bool,
    /// Its name.
    pub name: String,
    /// How it is, or was.
    pub link: KernelLink,
}

/// Opens a socket that hears of every change of an interface; to be called inside the namespace.
///
/// # Errors
/// The system's, when the socket cannot be made.
pub fn listen() -> io::Result<OwnedFd> {
    let fd = open()?;
    rustix::net::bind(&fd, &rustix::net::netlink::SocketAddrNetlink::new(0, LINK_GROUP))?;
    Ok(fd)
}

/// What such a socket has heard since it was last asked.
///
/// # Errors
/// The system's; ENOBUFS: more happened than the socket holds.
pub fn changes(fd: impl AsFd) -> io::Result<Vec<Change>> {
    let mut found = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = match rustix::net::recv(&fd, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(rustix::io::Errno::AGAIN) => return Ok(found),
            Err(error) => return Err(error.into()),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let (gone, link) = match &message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => (false, Some(link)),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => (true, Some(link)),
                _ => (false, None),
            };
            // a bridge's word of its port is no word of the interface
            let link = link.filter(|link| link.header.interface_family == AddressFamily::Unspec);
            found.extend(link.map(interface).map(|(name, link)| Change { gone, name, link }));
            let step = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(step..).unwrap_or_default();
        }
    }
}

fn dump(fd: impl AsFd, question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    rustix::net::send(&fd, &bytes, SendFlags::empty())?;
    let mut answers = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (length, _) = rustix::net::recv(&fd, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                _ => {}
            }
            let step = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(step..).unwrap_or_default();
        }
    }
}

fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let length = message.header.destination_prefix_length;
    let mut destination = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut table = u32::from(message.header.table);
    let mut object = None;
    let mut hops = BTreeSet::new();
    let (gateway, link) = hop(&message.attributes);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::NhId(id) => object = Some(*id),
            RouteAttribute::MultiPath(members) => {
                let alive = |member: &&RouteNextHop| !member.flags.contains(RouteNextHopFlags::Dead);
                for member in members.iter().filter(alive) {
                    let (gateway, _) = hop(&member.attributes);
                    // the kernel writes it as one less (rtnexthop.rtnh_hops)
                    let weight = u16::from(member.hops) + 1;
                    hops.insert(KernelHop { gateway, link: member.interface_index, weight });
                }
            }
            _ => {}
        }
    }
    if table != MAIN_TABLE {
        return None;
    }
    if let (true, Some(link)) = (hops.is_empty(), link) {
        hops.insert(KernelHop { gateway, link, weight: 1 });
    }
    let protocol = message.header.protocol;
    Some(KernelRoute {
        prefix: IpNet::new(destination, length).ok()?,
        hops,
        object,
        own: [RouteProtocol::Kernel, RouteProtocol::Boot, RouteProtocol::Ra].contains(&protocol),
        unicast: message.header.kind == RouteType::Unicast,
    })
}

fn hop(attributes: &[RouteAttribute]) -> (Option<IpAddr>, Option<u32>) {
    let (mut gateway, mut link) = (None, None);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    (gateway, link)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_seen_in_our_own_namespace() {
        let fd = open().unwrap();
        let links = links(&fd).unwrap();
        let loopback = links.get("lo").map(|link| link.index).unwrap();
        assert!(addresses(&fd).unwrap().iter().all(|(link, address)| !address.is_loopback() || *link == loopback));
        assert!(routes(&fd).unwrap().iter().all(|route| route.prefix.prefix_len() <= 128));
    }
}
