//! BGP Monitoring Protocol, writing side (RFC 7854, RFC 8671, RFC 9069): messages for a collector, which never answers. What is
//! reported of whom is decided in `speaker/monitor`.

use crate::types::{Asn, RouterId};
use bytes::{BufMut, BytesMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// RFC 7854 §4.1.
const VERSION: u8 = 3;
/// Version, length, type (RFC 7854 §4.1).
pub const HEADER_BYTES: usize = 6;
/// Type, flags, distinguisher, address, AS, identifier, time (RFC 7854 §4.2).
pub const PEER_HEADER_BYTES: usize = 42;

/// Message types (RFC 7854 §4.1).
pub mod kind {
    /// RFC 7854 §4.6
    pub const ROUTE_MONITORING: u8 = 0;
    /// RFC 7854 §4.8
    pub const STATISTICS_REPORT: u8 = 1;
    /// RFC 7854 §4.9
    pub const PEER_DOWN: u8 = 2;
    /// RFC 7854 §4.10
    pub const PEER_UP: u8 = 3;
    /// RFC 7854 §4.3
    pub const INITIATION: u8 = 4;
    /// RFC 7854 §4.5
    pub const TERMINATION: u8 = 5;
}

/// Peer flags (RFC 7854 §4.2, RFC 8671 §4).
pub mod flag {
    /// The peer has an IPv6 address.
    pub const V: u8 = 0x80;
    /// After the policy.
    pub const L: u8 = 0x40;
    /// AS numbers have two octets.
    pub const A: u8 = 0x20;
    /// Adj-RIB-Out.
    pub const O: u8 = 0x10;
}

/// Statistics (RFC 7854 §4.8, RFC 8671 §6.2).
pub mod stat {
    /// 32 bits: prefixes refused by the import policy.
    pub const REJECTED: u16 = 0;
    /// 64 bits: routes in Adj-RIB-In.
    pub const ADJ_RIB_IN: u16 = 7;
    /// 64 bits: routes in Loc-RIB.
    pub const LOC_RIB: u16 = 8;
    /// AFI, SAFI, 64 bits: routes in Adj-RIB-In.
    pub const ADJ_RIB_IN_OF: u16 = 9;
    /// AFI, SAFI, 64 bits: routes in Loc-RIB.
    pub const LOC_RIB_OF: u16 = 10;
    /// 32 bits: UPDATEs treated as withdraw.
    pub const TREATED_AS_WITHDRAW: u16 = 11;
    /// 64 bits: routes in Adj-RIB-Out after the policy.
    pub const ADJ_RIB_OUT: u16 = 15;
    /// AFI, SAFI, 64 bits: routes in Adj-RIB-Out after the policy.
    pub const ADJ_RIB_OUT_OF: u16 = 17;
}

/// Why a session with the collector ends (RFC 7854 §4.5).
pub mod termination {
    /// By the operator.
    pub const ADMINISTRATIVE: u16 = 0;
    /// Nothing that has a number.
    pub const UNSPECIFIED: u16 = 1;
    /// For want of memory.
    pub const OUT_OF_RESOURCES: u16 = 2;
}

/// Whom a message is about (RFC 7854 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// 0: a peer; 3: the Loc-RIB (RFC 9069 §4.1).
    pub kind: u8,
    /// Of [`flag`], but for `V`.
    pub flags: u8,
    /// Its address; unspecified for the Loc-RIB.
    pub address: IpAddr,
    /// Its AS; ours for the Loc-RIB.
    pub asn: Asn,
    /// Its identifier; ours for the Loc-RIB.
    pub router_id: RouterId,
    /// Seconds and microseconds since 1970-01-01, when what the message says happened; zero if that is not known.
    pub at: (u32, u32),
}

impl PeerHeader {
    /// The Loc-RIB of a speaker (RFC 9069 §4.1, §4.2).
    #[must_use]
    pub const fn loc_rib(asn: Asn, router_id: RouterId, at: (u32, u32)) -> Self {
        Self { kind: 3, flags: 0, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), asn, router_id, at }
    }

    fn put(&self, buf: &mut BytesMut) {
        buf.put_u8(self.kind);
        buf.put_u8(self.flags | if self.address.is_ipv6() { flag::V } else { 0 });
        // RFC 7854 §4.2: zero for a peer of the global instance; RFC 9069 §4.1 likewise.
        buf.put_u64(0);
        put_address(buf, self.address);
        buf.put_u32(self.asn.0);
        buf.put_u32(self.router_id.to_bits());
        buf.put_u32(self.at.0);
        buf.put_u32(self.at.1);
    }
}

/// Sixteen octets, an IPv4 address in the last four (RFC 7854 §4.2).
fn put_address(buf: &mut BytesMut, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            buf.put_bytes(0, 12);
            buf.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => buf.put_slice(&v6.octets()),
    }
}

/// Appends a message whose body `body` writes.
fn put(buf: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = buf.len();
    buf.put_u8(VERSION);
    buf.put_u32(0);
    buf.put_u8(kind);
    body(buf);
    let length = u32::try_from(buf.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = buf.get_mut(start + 1..start + 5) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn put_tlv(buf: &mut BytesMut, kind: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    buf.put_u16(kind);
    buf.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
    buf.put_slice(value);
}

/// Appends an Initiation (RFC 7854 §4.3): sysDescr and sysName (§4.4).
pub fn put_initiation(buf: &mut BytesMut, description: &str, name: &str) {
    put(buf, kind::INITIATION, |buf| {
        put_tlv(buf, 1, description.as_bytes());
        put_tlv(buf, 2, name.as_bytes());
    });
}

/// Appends a Termination (RFC 7854 §4.5) with a reason of [`termination`].
pub fn put_termination(buf: &mut BytesMut, reason: u16) {
    put(buf, kind::TERMINATION, |buf| put_tlv(buf, 1, &reason.to_be_bytes()));
}

/// Appends a Peer Up (RFC 7854 §4.10) with both OPENs as they were on the wire. For the Loc-RIB the ends are unspecified, and the table
/// has a name (RFC 9069 §5.2).
pub fn put_peer_up(
    buf: &mut BytesMut,
    peer: &PeerHeader,
    (local, remote_port): (SocketAddr, u16),
    (sent, received): (&[u8], &[u8]),
    table: Option<&str>,
) {
    put(buf, kind::PEER_UP, |buf| {
        peer.put(buf);
        put_address(buf, local.ip());
        buf.put_u16(local.port());
        buf.put_u16(remote_port);
        buf.put_slice(sent);
        buf.put_slice(received);
        if let Some(table) = table {
            put_tlv(buf, 3, table.as_bytes());
        }
    });
}

/// Why a peer's session ended (RFC 7854 §4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down<'a> {
    /// 1: we sent this NOTIFICATION message.
    Sent(&'a [u8]),
    /// 2: we closed without one, for this event (RFC 4271 §8.1), 0 if none fits.
    Closed(u16),
    /// 3: they sent this NOTIFICATION message.
    Received(&'a [u8]),
    /// 4: they closed without one.
    Lost,
}

/// Appends a Peer Down (RFC 7854 §4.9).
pub fn put_peer_down(buf: &mut BytesMut, peer: &PeerHeader, down: &Down<'_>) {
    put(buf, kind::PEER_DOWN, |buf| {
        peer.put(buf);
        match down {
            Down::Sent(message) => {
                buf.put_u8(1);
                buf.put_slice(message);
            }
            Down::Closed(event) => {
                buf.put_u8(2);
                buf.put_u16(*event);
            }
            Down::Received(message) => {
                buf.put_u8(3);
                buf.put_slice(message);
            }
            Down::Lost => buf.put_u8(4),
        }
    });
}

/// Appends a Route Monitoring (RFC 7854 §4.6) with one UPDATE message, header included.
pub fn put_route_monitoring(buf: &mut BytesMut, peer: &PeerHeader, update: &[u8]) {
    put(buf, kind::ROUTE_MONITORING, |buf| {
        peer.put(buf);
        buf.put_slice(update);
    });
}

/// One statistic: its type, and its value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    kind: u16,
    value: Vec<u8>,
}

impl Stat {
    /// A counter of 32 bits; it wraps, as such counters do.
    #[must_use]
    pub fn counter(kind: u16, value: u64) -> Self {
        let [_, _, _, _, low @ ..] = value.to_be_bytes();
        Self { kind, value: low.to_vec() }
    }

    /// A gauge of 64 bits.
    #[must_use]
    pub fn gauge(kind: u16, value: u64) -> Self {
        Self { kind, value: value.to_be_bytes().to_vec() }
    }

    /// A gauge of 64 bits of a unicast family, by its AFI.
    #[must_use]
    pub fn gauge_of(kind: u16, afi: u16, value: u64) -> Self {
        Self { kind, value: [&afi.to_be_bytes()[..], &[1], &value.to_be_bytes()].concat() }
    }
}

/// Appends a Statistics Report (RFC 7854 §4.8).
pub fn put_statistics(buf: &mut BytesMut, peer: &PeerHeader, stats: &[Stat]) {
    put(buf, kind::STATISTICS_REPORT, |buf| {
        peer.put(buf);
        buf.put_u32(u32::try_from(stats.len()).unwrap_or(u32::MAX));
        for stat in stats {
            put_tlv(buf, stat.kind, &stat.value);
        }
    });
}
