//! Sockets made the way a router wants them: options are set here, before a connection or a listener leaves this file.

use super::auth::Key;
use super::raw;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use weft_bgp::speaker::TimeToLive;
use weft_bgp::types::IfIndex;

/// Internetwork control, what routers mark their own protocols with (RFC 4594 §3.2: CS6).
const CS6: u32 = 0xC0;
/// A rack that comes back dials all at once.
const BACKLOG: u32 = 1_024;

/// A listening socket; a v6 one takes v6 only, so that the pair does not collide. One of a single link shares its port with that of all
/// links ([`share`]), and the system prefers it for what comes over that link.
///
/// # Errors
/// What the system says: no permission for the port, address in use.
pub fn listen(addr: SocketAddr, link: Option<IfIndex>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit both, so that the handshake is already marked.
    mark(&SockRef::from(&socket), addr.ip())?;
    socket.set_tcp_nodelay(true)?;
    if let Some(link) = link {
        socket.bind_device_by_index_v6(NonZeroU32::new(link.0))?;
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Lets listeners of single links share the port of a listener that stands.
///
/// # Errors
/// What the system says.
pub fn share(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).set_reuse_port(true)
}

/// Dials. Cancel it by dropping the future.
///
/// # Errors
/// What the system says.
pub async fn connect(
    remote: SocketAddr,
    local: Option<IpAddr>,
    ttl: TimeToLive,
    key: Option<Key>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    mark(&SockRef::from(&socket), remote.ip())?;
    limit(&SockRef::from(&socket), remote, ttl)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(key) = key {
        key.give(&socket, IpNet::from(remote.ip()))?;
    }
    if let Some(local) = local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(remote).await
}

/// How far packets go, and from how far they are taken.
///
/// # Errors
/// What the system says.
pub fn limit(socket: &SockRef<'_>, remote: SocketAddr, ttl: TimeToLive) -> io::Result<()> {
    match remote {
        SocketAddr::V4(_) => {
            socket.set_ttl_v4(u32::from(ttl.send))?;
            least(socket, raw::IP_MINTTL, ttl.least)
        }
        SocketAddr::V6(_) => {
            socket.set_unicast_hops_v6(u32::from(ttl.send))?;
            least(socket, raw::IPV6_MINHOPCOUNT, ttl.least)
        }
    }
}

fn least(socket: &SockRef<'_>, name: raw::Name, ttl: u8) -> io::Result<()> {
    // Nothing less than what a new socket has, and no listener of ours asks for more.
    if ttl == 0 {
        return Ok(());
    }
    raw::set(&**socket, name, &libc::c_int::from(ttl).to_ne_bytes())
}

fn mark(socket: &SockRef<'_>, addr: IpAddr) -> io::Result<()> {
    match addr {
        IpAddr::V4(_) => socket.set_tos_v4(CS6),
        IpAddr::V6(_) => socket.set_tclass_v6(CS6),
    }
}

/// Our end is done sending; the other may read what is under way.
pub fn finish(stream: &TcpStream) {
    // An error means that the connection is gone already, which is what was wanted.
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

/// The system's words without its number, for people: `Connection refused`.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
