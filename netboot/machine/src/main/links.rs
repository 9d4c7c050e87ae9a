//! Links are set up through netlink; everything else about them does the routing daemon.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// Octets of an acknowledgement, with the message that it is for.
const ANSWER_MAX: usize = 8 * 1024;

/// Sets a link up.
///
/// # Errors
/// What the kernel says.
pub(super) fn up(name: &str) -> io::Result<()> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))?;
    let mut message = LinkMessage::default();
    message.header.index = index.trim().parse().map_err(io::Error::other)?;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    ask(RouteNetlinkMessage::SetLink(message))
}

fn ask(question: RouteNetlinkMessage) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    socket.send(&octets, 0)?;
    let mut answer = vec![0; ANSWER_MAX];
    let length = socket.recv(&mut &mut answer[..], 0)?;
    let answer = answer.get(..length).unwrap_or_default();
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer).map_err(io::Error::other)?;
    if let NetlinkPayload::Error(error) = answer.payload
        && error.code.is_some()
    {
        return Err(error.to_io());
    }
    Ok(())
}
