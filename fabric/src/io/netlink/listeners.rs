//! Sockets of services of this machine that are bound to one address: whether each may bind to an address that is not there
//! (sock_diag(7), linux/inet_diag.h). Asked once, by people.

use super::wire;
use crate::doctor::Listener;
use netlink_sys::{Socket, SocketAddr as Port, protocols::NETLINK_SOCK_DIAG};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_req_v2`, and of `struct inet_diag_msg`.
const REQUEST: usize = 56;
const ANSWER: usize = 72;
/// Attribute with two octets of flags, and two of those: IP_FREEBIND, IP_TRANSPARENT (`struct inet_diag_sockopt`, low bits first).
const SOCKOPT: u16 = 22;
const FREEBIND: u8 = 1 << 2;
const TRANSPARENT: u8 = 1 << 5;
/// States as bits: a TCP socket that listens (TCP_LISTEN), a UDP one that is not connected (TCP_CLOSE).
const LISTENS: [(u8, u32); 2] = [(6, 1 << 10), (17, 1 << 7)];
/// The kernel sends at most 32 KiB of a dump at a time.
const CHUNK: usize = 64 << 10;

/// All that listen at an address of their own; the unspecified one is left out.
///
/// # Errors
/// What the system says: a kernel without socket diagnosis.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    // The kernel works on a request while it is being sent: every answer is there when the call returns.
    socket.set_non_blocking(true)?;
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (protocol, states) in LISTENS {
            dump(&socket, family, protocol, states, &mut all)?;
        }
    }
    Ok(all)
}

fn dump(socket: &Socket, family: i32, protocol: u8, states: u32, all: &mut Vec<Listener>) -> io::Result<()> {
    let mut out = Vec::new();
    let start = wire::begin(&mut out, SOCK_DIAG_BY_FAMILY, wire::NLM_F_DUMP, 1);
    out.extend([u8::try_from(family).unwrap_or_default(), protocol, 0, 0]);
    out.extend(states.to_ne_bytes());
    out.resize(start + 16 + REQUEST, 0);
    wire::end(&mut out, start);
    socket.send_to(&out, &Port::new(0, 0), 0)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = super::request::receive(socket, &mut chunk)?;
        for message in wire::messages(chunk.get(..length).unwrap_or_default()) {
            match message.kind {
                wire::NLMSG_DONE => return Ok(()),
                wire::NLMSG_ERROR => {
                    return match wire::answer(&message).0 {
                        // A kernel without UDP diagnosis.
                        Ok(()) | Err(crate::fib::Refusal::Missing) => Ok(()),
                        Err(refusal) => Err(io::Error::other(format!("sockets: {refusal}"))),
                    };
                }
                _ => all.extend(parse(message.payload, protocol == 17)),
            }
        }
    }
}

fn parse(payload: &[u8], is_udp: bool) -> Option<Listener> {
    let head = payload.get(..ANSWER)?;
    let port = u16::from_be_bytes([head[4], head[5]]);
    let address = match i32::from(head[0]) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(head.get(8..12)?).ok()?)),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(head.get(8..24)?).ok()?)).to_canonical(),
        _ => return None,
    };
    let flags = wire::attributes(payload.get(ANSWER..)?).find(|(kind, _)| *kind == SOCKOPT);
    // A kernel before 5.10 does not say.
    let flags = *flags?.1.first()?;
    let is_free = flags & (FREEBIND | TRANSPARENT) != 0;
    (!address.is_unspecified()).then(|| Listener { address: SocketAddr::new(address, port), is_udp, is_free })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn sockets_at_an_address_are_found_with_what_they_may_bind_to() {
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let wide = TcpListener::bind("0.0.0.0:0").unwrap();
        let datagrams = UdpSocket::bind("[::1]:0").ok();
        let free = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        free.set_freebind_v4(true).unwrap();
        free.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        free.listen(1).unwrap();
        let all = listeners().unwrap();
        let found = |address: SocketAddr, is_udp| {
            all.iter().find(|own| own.address == address && own.is_udp == is_udp).map(|own| own.is_free)
        };
        assert_eq!(found(plain.local_addr().unwrap(), false), Some(false));
        assert_eq!(found(free.local_addr().unwrap().as_socket().unwrap(), false), Some(true));
        assert_eq!(found(wide.local_addr().unwrap(), false), None, "every address is no address of its own");
        if let Some(datagrams) = datagrams {
            assert_eq!(found(datagrams.local_addr().unwrap(), true), Some(false));
        }
    }
}
