//! An address for a machine that nobody registered: asked for on each card in turn, put on the card, with a route by its router.

use super::{links, say};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use weft_machine::dhcp::{Kind, Lease, answer, discover, request};

/// Messages on a card before the next one is asked: after 1, 2 and 4 s.
const TRIES: u32 = 3;
/// Octets of an answer.
const ANSWER_MAX: usize = 1_500;
/// Ports of DHCP: of servers, and of clients.
const PORTS: (u16, u16) = (67, 68);

/// Gets an address on the first card on which somebody lends one.
pub(super) fn get(cards: &[(String, String)]) -> Option<Lease> {
    for (name, mac) in cards {
        match on(name, mac) {
            Ok(Some(lease)) => {
                let router = lease.router.map_or_else(String::new, |router| format!(" by {router}"));
                say(&format!("{name} has {}/{}{router} for {} s", lease.address, lease.length, lease.seconds));
                return Some(lease);
            }
            Ok(None) => say(&format!("{name}: nobody lends an address")),
            Err(error) => say(&format!("{name}: {error}")),
        }
    }
    None
}

fn on(name: &str, mac: &str) -> io::Result<Option<Lease>> {
    let octets: Vec<u8> = mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let mac: [u8; 6] = octets.try_into().map_err(|_| io::Error::other(format!("`{mac}` is no address of Ethernet")))?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORTS.1)).into())?;
    let socket: UdpSocket = socket.into();
    let mut xid = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut xid)?;
    let xid = u32::from_be_bytes(xid);
    let Some((_, offer)) = ask(&socket, &discover(mac, xid), mac, xid)? else { return Ok(None) };
    let Some((Kind::Ack, lease)) = ask(&socket, &request(mac, xid, &offer), mac, xid)? else { return Ok(None) };
    links::address(name, lease.address, lease.length)?;
    if let Some(router) = lease.router {
        links::default_route(name, router)?;
    }
    Ok(Some(lease))
}

/// Sends until somebody answers.
fn ask(socket: &UdpSocket, message: &[u8], mac: [u8; 6], xid: u32) -> io::Result<Option<(Kind, Lease)>> {
    let mut octets = [0; ANSWER_MAX];
    for turn in 0..TRIES {
        socket.send_to(message, (Ipv4Addr::BROADCAST, PORTS.0))?;
        let end = Instant::now() + Duration::from_secs(1 << turn);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let Ok(count) = socket.recv(&mut octets) else { continue };
            if let Some(found) = answer(octets.get(..count).unwrap_or_default(), mac, xid) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}
