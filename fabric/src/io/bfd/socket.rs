//! The sockets of BFD: one per family and port to hear on, one per session to send from, so that each has a source port of its own
//! (RFC 5881 §4).

use super::raw::Inbox;
use crate::bfd::{Endpoint, Heard, MULTIHOP_PORT, Path, SINGLE_HOP_PORT, TTL, wire};
use crate::io::raw;
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Internetwork control, as BGP's own packets.
const CS6: u32 = 0xC0;
/// Source ports (RFC 5881 §4).
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// Ports tried for a session before it must wait.
const TRIES: u32 = 64;
/// What waits to be heard: a second of five hundred fast sessions, where the system grants it.
const BUFFER_BYTES: i32 = 4 << 20;
/// Batches read in a turn: more than the buffer holds, so that nothing which had come before the turn is left, and an end under a flood.
const BATCHES: usize = 256;

/// A socket to hear on.
#[derive(Debug)]
pub(super) struct Ear {
    socket: OwnedFd,
    is_multihop: bool,
}

impl Ear {
    /// All four. A family that the system does not have is left out.
    pub(super) fn all() -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for is_multihop in [false, true] {
            all.push(Self::open(Ipv4Addr::UNSPECIFIED.into(), is_multihop)?);
            match Self::open(Ipv6Addr::UNSPECIFIED.into(), is_multihop) {
                Ok(ear) => all.push(ear),
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn open(any: IpAddr, is_multihop: bool) -> io::Result<Self> {
        let port = if is_multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT };
        let at = SocketAddr::new(any, port);
        let socket = Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        let on = 1_i32.to_ne_bytes();
        if any.is_ipv4() {
            raw::set(&socket, (libc::IPPROTO_IP, libc::IP_RECVTTL), &on)?;
            raw::set(&socket, (libc::IPPROTO_IP, libc::IP_PKTINFO), &on)?;
        } else {
            socket.set_only_v6(true)?;
            raw::set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT), &on)?;
            raw::set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), &on)?;
        }
        if !is_multihop {
            // Also checked packet by packet; here, a flood from afar does not even wake us.
            socket.attach_filter(&neighbours_only(any.is_ipv4()))?;
        }
        let size = BUFFER_BYTES.to_ne_bytes();
        if raw::set(&socket, (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE), &size).is_err() {
            // Without CAP_NET_ADMIN outside of a user namespace: as much as net.core.rmem_max allows.
            raw::set(&socket, (libc::SOL_SOCKET, libc::SO_RCVBUF), &size)?;
        }
        socket.bind(&at.into()).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on UDP port {port}, another BFD daemon may: {error}"))
        })?;
        Ok(Self { socket: socket.into(), is_multihop })
    }

    /// Hands on all that had come when this was called.
    pub(super) fn hear(&self, inbox: &mut Inbox, mut each: impl FnMut(Heard)) -> io::Result<()> {
        for _ in 0..BATCHES {
            if !inbox.receive(&self.socket, self.is_multihop, &mut each)? {
                break;
            }
        }
        Ok(())
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket to send from.
#[derive(Debug)]
pub(super) struct Mouth {
    socket: Socket,
    to: SockAddr,
}

impl Mouth {
    /// For one session. `port` is where to begin to look for a free one.
    pub(super) fn open(endpoint: &Endpoint, port: &mut u16) -> io::Result<Self> {
        let to = target(endpoint);
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if to.is_ipv4() {
            socket.set_ttl_v4(u32::from(TTL))?;
            socket.set_tos_v4(CS6)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(u32::from(TTL))?;
            socket.set_tclass_v6(CS6)?;
        }
        if let Path::SingleHop(link) = endpoint.path {
            // Not by way of a default route when the link's own is gone.
            bind_link(&socket, to.is_ipv4(), NonZeroU32::new(link.0))?;
        }
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let local = endpoint.local.unwrap_or(any);
        let scope = match (endpoint.path, local) {
            (Path::SingleHop(link), IpAddr::V6(local)) if local.is_unicast_link_local() => link.0,
            _ => 0,
        };
        for _ in 0..TRIES {
            *port = if PORTS.contains(port) && *port < *PORTS.end() { *port + 1 } else { *PORTS.start() };
            let at = match local {
                IpAddr::V4(_) => SocketAddr::new(local, *port),
                IpAddr::V6(local) => SocketAddrV6::new(local, *port, 0, scope).into(),
            };
            match socket.bind(&at.into()) {
                Ok(()) => return Ok(Self { socket, to: to.into() }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// From which port, 0 if the system does not say.
    pub(super) fn port(&self) -> u16 {
        self.socket.local_addr().ok().and_then(|at| at.as_socket()).map_or(0, |at| at.port())
    }

    pub(super) fn send(&self, packet: &[u8; wire::LENGTH]) -> io::Result<()> {
        self.socket.send_to(packet, &self.to).map(drop)
    }
}

fn bind_link(socket: &Socket, is_v4: bool, link: Option<NonZeroU32>) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if is_v4 { socket.bind_device_by_index_v4(link) } else { socket.bind_device_by_index_v6(link) }
}

fn target(endpoint: &Endpoint) -> SocketAddr {
    match (endpoint.path, endpoint.remote) {
        (Path::Multihop, remote) => SocketAddr::new(remote, MULTIHOP_PORT),
        (Path::SingleHop(_), IpAddr::V4(_)) => SocketAddr::new(endpoint.remote, SINGLE_HOP_PORT),
        (Path::SingleHop(link), IpAddr::V6(remote)) => SocketAddrV6::new(remote, SINGLE_HOP_PORT, 0, link.0).into(),
    }
}

/// Lets in what was sent with a TTL of 255 and not routed (RFC 5881 §5).
fn neighbours_only(is_v4: bool) -> [SockFilter; 4] {
    // As in `io/icmp6`: load an octet, compare, return; offsets from SKF_NET_OFF count from the IP header, where the time to live is
    // octet 8, and the hop limit octet 7.
    const LOAD: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NETWORK: u32 = 0xfff0_0000;
    [
        SockFilter::new(LOAD, 0, 0, NETWORK + if is_v4 { 8 } else { 7 }),
        SockFilter::new(EQUAL, 0, 1, u32::from(TTL)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
