//! Ethernet frames with a DHCP message in UDP and IPv4, or IPv6, in them (RFC 894, RFC 791, RFC 768, RFC 8200). A client without an address can be sent to in
//! no other way: the system does not ask by ARP for who does not answer yet (RFC 2131 §4.1).

use super::message::MESSAGE_MAX;
use std::net::{Ipv4Addr, Ipv6Addr};

/// EtherType of IPv4.
pub const ETHERTYPE: u16 = 0x0800;
/// Port of servers and relays, and of clients (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// See [`SERVER_PORT`].
pub const CLIENT_PORT: u16 = 68;
/// EtherType of IPv6.
pub const ETHERTYPE6: u16 = 0x86dd;
/// Port of servers and relays of DHCPv6, and of its clients (RFC 8415 §7.2).
pub const SERVER_PORT6: u16 = 547;
/// See [`SERVER_PORT6`].
pub const CLIENT_PORT6: u16 = 546;
/// The hardware address of everybody.
pub const EVERYBODY: [u8; 6] = [0xff; 6];
/// Octets of the longest frame that is read.
pub const FRAME_MAX: usize = ETHERNET + IP_MAX + UDP + MESSAGE_MAX;
/// Octets of an Ethernet header, of the longest and the shortest IPv4 header, and of a UDP header.
const ETHERNET: usize = 14;
const IP_MAX: usize = 60;
const IP_MIN: usize = 20;
const IP6: usize = 40;
const UDP: usize = 8;
/// IP's number of UDP.
const PROTOCOL: u8 = 17;
/// Routers that a reply may pass: none but this one is on the way, as with what hosts send.
const TTL: u8 = 64;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To {
    /// Hardware address.
    pub mac: [u8; 6],
    /// Address.
    pub address: Ipv4Addr,
}

/// What is in a frame to port 67.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// Who is meant.
    pub to: Ipv4Addr,
    /// The datagram.
    pub datagram: &'a [u8],
}

/// Reads a frame; `None` if it is something else, a fragment, or cut off. The checksum of UDP is not looked at: within one machine, and
/// behind cards that make it, a packet socket sees it before it is there; what is passed on gets a new one, and its options are checked.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Heard<'_>> {
    let packet = frame.get(ETHERNET..).filter(|_| frame[12..ETHERNET] == ETHERTYPE.to_be_bytes())?;
    let version = *packet.first()?;
    let header = usize::from(version & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    // More fragments follow, or this is not the first one.
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    if version >> 4 != 4 || header < IP_MIN || fragment != 0 || *packet.get(9)? != PROTOCOL {
        return None;
    }
    let to = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?);
    // Ethernet pads short packets.
    let segment = packet.get(header..total)?;
    let length = usize::from(u16::from_be_bytes([*segment.get(4)?, *segment.get(5)?]));
    if segment.get(2..4)? != SERVER_PORT.to_be_bytes() || checksum(&[packet.get(..header)?]) != 0 {
        return None;
    }
    Some(Heard { to, datagram: segment.get(UDP..length)? })
}

/// What is in a frame to port 547.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard6<'a> {
    /// The card that sent it.
    pub mac: [u8; 6],
    /// Its address.
    pub from: Ipv6Addr,
    /// Who is meant.
    pub to: Ipv6Addr,
    /// The datagram.
    pub datagram: &'a [u8],
}

/// Reads a frame of IPv6; `None` if it is something else, has extension headers (a client has no reason for them), or is cut off.
#[must_use]
pub fn read6(frame: &[u8]) -> Option<Heard6<'_>> {
    let packet = frame.get(ETHERNET..).filter(|_| frame[12..ETHERNET] == ETHERTYPE6.to_be_bytes())?;
    let (header, rest) = packet.split_at_checked(IP6)?;
    if header[0] >> 4 != 6 || header[6] != PROTOCOL {
        return None;
    }
    // Ethernet pads short packets.
    let segment = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
    let length = usize::from(u16::from_be_bytes([*segment.get(4)?, *segment.get(5)?]));
    if segment.get(2..4)? != SERVER_PORT6.to_be_bytes() {
        return None;
    }
    let address = |at: usize| header.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
    let mac = *frame.get(6..)?.first_chunk::<6>()?;
    Some(Heard6 { mac, from: address(8)?, to: address(24)?, datagram: segment.get(UDP..length)? })
}

/// Writes a frame of a relay to a client. The datagram has at most [`MESSAGE_MAX`] octets.
#[must_use]
pub fn write((mac, address): ([u8; 6], Ipv4Addr), to: To, datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(UDP + datagram.len()).unwrap_or_default();
    let total = u16::try_from(IP_MIN).unwrap_or_default().saturating_add(length);
    let (from, target) = (address.octets(), to.address.octets());
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, TTL, PROTOCOL, 0, 0];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip.extend(from);
    ip.extend(target);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = Vec::with_capacity(UDP);
    for word in [SERVER_PORT, CLIENT_PORT, length, 0] {
        udp.extend(word.to_be_bytes());
    }
    // RFC 768: with addresses, protocol and length before it; 0 would say that there is none.
    let [high, low] = length.to_be_bytes();
    let sum = match checksum(&[&from, &target, &[0, PROTOCOL, high, low], &udp, datagram]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    [&to.mac[..], &mac, &ETHERTYPE.to_be_bytes(), &ip, &udp, datagram].concat()
}

/// The checksum of RFC 1071 over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))).sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or_default()
}
