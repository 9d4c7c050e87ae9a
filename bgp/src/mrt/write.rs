//! The writing side: TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050 §4) and BGP4MP_ET (§3, §4.4).

use super::message::{
    MESSAGE, MESSAGE_ADDPATH, MESSAGE_AS4, MESSAGE_AS4_ADDPATH, MESSAGE_AS4_LOCAL, MESSAGE_AS4_LOCAL_ADDPATH,
    MESSAGE_LOCAL, MESSAGE_LOCAL_ADDPATH, STATE_CHANGE_AS4,
};
use super::table::{
    PEER_INDEX_TABLE, PEER_IS_AS4, PEER_IS_IPV6, RIB_IPV4_UNICAST, RIB_IPV4_UNICAST_ADDPATH, RIB_IPV6_UNICAST,
    RIB_IPV6_UNICAST_ADDPATH,
};
use super::{HEADER_BYTES, Message, Peer, Stamp, StateChange, kind};
use crate::types::{Asn, Family, IfIndex, IpNet, NextHop, RouterId};
use crate::wire::attrs::{edited, flag, kind as attribute};
use crate::wire::nlri;
use crate::wire::update::hop_octets;
use bytes::BufMut;
use std::net::IpAddr;

/// Octets of the records at the beginning of `records` that are whole and within `limit`, at least of the first.
pub(crate) fn whole_records(records: &[u8], limit: usize) -> usize {
    let mut end = 0;
    while let Some(length) = records.get(end + 8..end + HEADER_BYTES).and_then(<[u8]>::first_chunk::<4>) {
        let next = end + HEADER_BYTES + usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if next > records.len() || (end > 0 && next > limit) {
            break;
        }
        end = next;
    }
    end
}

/// Appends a header whose length [`finish`] fills in; returns where it begins.
fn put_header(buf: &mut Vec<u8>, stamp: Stamp, kind: u16, subtype: u16) -> usize {
    let start = buf.len();
    buf.put_u32(stamp.seconds);
    buf.put_u16(kind);
    buf.put_u16(subtype);
    buf.put_u32(0);
    if kind == kind::BGP4MP_ET {
        buf.put_u32(stamp.micros);
    }
    start
}

/// Writes the length of the record that began at `start`.
fn finish(buf: &mut [u8], start: usize) {
    let length = u32::try_from(buf.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
    if let Some(field) = buf.get_mut(start + 8..start + 12) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends the PEER_INDEX_TABLE with which a table dump begins (RFC 6396 §4.3.1): entries name a peer by its place in `peers`, of which
/// there are at most [`super::PEERS_MAX`].
pub fn put_peers(buf: &mut Vec<u8>, stamp: Stamp, collector: RouterId, view: &str, peers: &[Peer]) {
    let start = put_header(buf, stamp, kind::TABLE_DUMP_V2, PEER_INDEX_TABLE);
    buf.put_u32(collector.to_bits());
    buf.put_u16(u16::try_from(view.len()).unwrap_or(0));
    buf.put_slice(if u16::try_from(view.len()).is_ok() { view.as_bytes() } else { &[] });
    let number = u16::try_from(peers.len()).unwrap_or(u16::MAX);
    buf.put_u16(number);
    for peer in peers.iter().take(usize::from(number)) {
        buf.put_u8(PEER_IS_AS4 | if peer.address.is_ipv6() { PEER_IS_IPV6 } else { 0 });
        buf.put_u32(peer.router_id.to_bits());
        put_address(buf, peer.address);
        buf.put_u32(peer.asn.0);
    }
    finish(buf, start);
}

fn put_address(buf: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => buf.put_slice(&v4.octets()),
        IpAddr::V6(v6) => buf.put_slice(&v6.octets()),
    }
}

/// Appends the paths of one prefix, one after another.
#[derive(Debug)]
pub struct RibWriter<'b> {
    buf: &'b mut Vec<u8>,
    start: usize,
    /// Where the number of entries stands.
    count_at: usize,
    count: u16,
    family: Family,
    add_path: bool,
}

impl<'b> RibWriter<'b> {
    /// Begins a record (RFC 6396 §4.3.2; with `add_path`, RFC 8050 §4).
    pub fn new(buf: &'b mut Vec<u8>, stamp: Stamp, sequence: u32, prefix: &IpNet, add_path: bool) -> Self {
        let family = Family::of(prefix);
        let subtype = match (family, add_path) {
            (Family::Ipv4Unicast, false) => RIB_IPV4_UNICAST,
            (Family::Ipv4Unicast, true) => RIB_IPV4_UNICAST_ADDPATH,
            (Family::Ipv6Unicast, false) => RIB_IPV6_UNICAST,
            (Family::Ipv6Unicast, true) => RIB_IPV6_UNICAST_ADDPATH,
        };
        let start = put_header(buf, stamp, kind::TABLE_DUMP_V2, subtype);
        buf.put_u32(sequence);
        nlri::put(prefix, buf);
        let count_at = buf.len();
        buf.put_u16(0);
        Self { buf, start, count_at, count: 0, family, add_path }
    }

    /// Appends a path: the index of its peer, when it came (seconds since 1970-01-01), its path identifier (0 for none), its canonical
    /// block and next hop. False, and nothing is written, for the 65,536th and for attributes that are longer than the field can say.
    pub fn entry(&mut self, peer: u16, originated_s: u32, path_id: u32, block: &[u8], next_hop: &NextHop) -> bool {
        let attributes = attributes(self.family, block, next_hop);
        let (Ok(length), Some(count)) = (u16::try_from(attributes.len()), self.count.checked_add(1)) else {
            return false;
        };
        self.count = count;
        self.buf.put_u16(peer);
        self.buf.put_u32(originated_s);
        if self.add_path {
            self.buf.put_u32(path_id);
        }
        self.buf.put_u16(length);
        self.buf.put_slice(&attributes);
        true
    }

    /// Ends the record. One without any path is taken back: false.
    pub fn finish(self) -> bool {
        if self.count == 0 {
            self.buf.truncate(self.start);
            return false;
        }
        if let Some(field) = self.buf.get_mut(self.count_at..self.count_at + 2) {
            field.copy_from_slice(&self.count.to_be_bytes());
        }
        finish(self.buf, self.start);
        true
    }
}

/// The block with its next hop: NEXT_HOP, or MP_REACH_NLRI with the next hop alone (RFC 6396 §4.3.4).
fn attributes(family: Family, block: &[u8], next_hop: &NextHop) -> Vec<u8> {
    if let (Family::Ipv4Unicast, IpAddr::V4(v4)) = (family, next_hop.addr) {
        return edited(block, &[(flag::TRANSITIVE, attribute::NEXT_HOP, Some(&v4.octets()))]);
    }
    let hop = hop_octets(next_hop, false);
    let value = [&[u8::try_from(hop.len()).unwrap_or(0)], &hop[..]].concat();
    edited(block, &[(flag::OPTIONAL, attribute::MP_REACH_NLRI, Some(&value))])
}

/// AS numbers, interface, AFI, addresses (RFC 6396 §4.4.1, §4.4.2).
fn put_ends(buf: &mut Vec<u8>, as4: bool, asns: [Asn; 2], link: IfIndex, ends: [IpAddr; 2]) {
    for asn in asns {
        if as4 {
            buf.put_u32(asn.0);
        } else {
            // RFC 6793 §9: what does not fit two octets.
            buf.put_u16(u16::try_from(asn.0).unwrap_or(23_456));
        }
    }
    // RFC 6396 §4.4.1: 0 if it is not known; ours may be too large for the field.
    buf.put_u16(u16::try_from(link.0).unwrap_or(0));
    let is_ipv6 = ends.iter().any(IpAddr::is_ipv6);
    buf.put_u16(if is_ipv6 { 2 } else { 1 });
    for end in ends {
        match end {
            IpAddr::V4(v4) if is_ipv6 => put_address(buf, IpAddr::V6(v4.to_ipv6_mapped())),
            IpAddr::V4(_) | IpAddr::V6(_) => put_address(buf, end),
        }
    }
}

/// Appends a message of a session as BGP4MP_ET (RFC 6396 §4.4.2, §4.4.3; RFC 8050 §3), sent ones too.
pub fn put_message(buf: &mut Vec<u8>, stamp: Stamp, message: &Message<'_>) {
    let subtype = match (message.as4, message.add_path, message.is_sent) {
        (false, false, false) => MESSAGE,
        (true, false, false) => MESSAGE_AS4,
        (false, true, false) => MESSAGE_ADDPATH,
        (true, true, false) => MESSAGE_AS4_ADDPATH,
        // What the collector sent.
        (false, false, true) => MESSAGE_LOCAL,
        (true, false, true) => MESSAGE_AS4_LOCAL,
        (false, true, true) => MESSAGE_LOCAL_ADDPATH,
        (true, true, true) => MESSAGE_AS4_LOCAL_ADDPATH,
    };
    let start = put_header(buf, stamp, kind::BGP4MP_ET, subtype);
    let asns = [message.peer_asn, message.local_asn];
    put_ends(buf, message.as4, asns, message.link, [message.peer, message.local]);
    buf.put_slice(message.message);
    finish(buf, start);
}

/// Appends a change of a session's state as BGP4MP_ET (RFC 6396 §4.4.4).
pub fn put_state_change(buf: &mut Vec<u8>, stamp: Stamp, change: &StateChange) {
    let start = put_header(buf, stamp, kind::BGP4MP_ET, STATE_CHANGE_AS4);
    put_ends(buf, true, [change.peer_asn, change.local_asn], change.link, [change.peer, change.local]);
    buf.put_u16(change.old);
    buf.put_u16(change.new);
    finish(buf, start);
}
