//! Makes links, bridges and addresses over a netlink socket that was opened inside a node.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's message kinds grow; an answer is one of three")]

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::{RecvFlags, SendFlags};

use crate::topology::{Endpoint, LinkSpec};
use crate::verify::kernel;

/// An acknowledgement with the whole question in it fits easily.
const DATAGRAM: usize = 16 * 1024;

/// A socket inside one node's network namespace.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    /// To be called inside the namespace.
    pub(super) fn open() -> io::Result<Self> {
        kernel::open().map(Self)
    }

    /// Interface indices by name.
    pub(super) fn indices(&self) -> io::Result<BTreeMap<String, u32>> {
        Ok(kernel::links(&self.0)?.into_iter().map(|(name, link)| (name, link.index)).collect())
    }

    /// Addresses with their interface's index.
    pub(super) fn addresses(&self) -> io::Result<Vec<(u32, IpAddr)>> {
        kernel::addresses(&self.0)
    }

    /// Makes both ends of a link: `a` here, `b` in the other namespace.
    pub(super) fn add_link(&self, link: &LinkSpec, far: BorrowedFd<'_>) -> io::Result<()> {
        let mut peer = end(&link.b, link.mtu);
        peer.attributes.push(LinkAttribute::NetNsFd(far.as_raw_fd()));
        let mut near = end(&link.a, link.mtu);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(near))
    }

    /// Makes a bridge that forwards at once and knows no spanning tree.
    pub(super) fn add_bridge(&self, name: &str) -> io::Result<()> {
        let mut bridge = LinkMessage::default();
        bridge.attributes.push(LinkAttribute::IfName(name.to_owned()));
        bridge.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::ForwardDelay(0),
                InfoBridge::StpState(BridgeStpState::Disabled),
                // nobody queries here, and without a querier snooping loses neighbour discovery
                InfoBridge::MulticastSnooping(false),
            ])),
        ]));
        self.create(RouteNetlinkMessage::NewLink(bridge))
    }

    /// Makes an interface a port of a bridge.
    pub(super) fn set_port(&self, port: u32, bridge: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = port;
        message.attributes.push(LinkAttribute::Controller(bridge));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets an interface up or down.
    pub(super) fn set_up(&self, index: u32, up: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives an interface an address that is usable at once.
    pub(super) fn add_address(&self, index: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.family = match address {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => {
                message.header.flags = AddressHeaderFlags::Nodad;
                AddressFamily::Inet6
            }
        };
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    fn create(&self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.request(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sends one message and waits for its acknowledgement.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; DATAGRAM];
        let (length, _) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer[..length]).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Error(_) => Ok(()),
            _ => Err(io::Error::other("the kernel answered something else than an acknowledgement")),
        }
    }
}

fn end(end: &Endpoint, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(end.interface.clone()));
    message.attributes.push(LinkAttribute::Address(end.mac.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message
}
