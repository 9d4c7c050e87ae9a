//! UPDATE, writing side: as many prefixes as fit share one attribute block.

use crate::types::{Asn, Family, NextHop};
use crate::wire::attrs::{Attr, AttrIter, Attrs, flag, kind, put};
use crate::wire::nlri::Item;
use crate::wire::{Codec, HEADER_BYTES, Kind, nlri, put_header};
use bytes::{BufMut, BytesMut};
use std::iter::Peekable;
use std::net::IpAddr;

/// Appends one UPDATE that announces prefixes of `family`, as many as fit; takes those from `prefixes`, and stops before the first
/// of another family. Returns how many; 0 when not even one fits behind these attributes: then nothing is written or taken, and
/// the caller withdraws the route there (never loops).
pub fn put_announce<I: Iterator<Item: Item>>(
    buf: &mut BytesMut,
    codec: &Codec,
    family: Family,
    block: &[u8],
    next_hop: &NextHop,
    prefixes: &mut Peekable<I>,
) -> usize {
    let start = buf.len();
    if prefixes.peek().is_none() {
        return 0;
    }
    let attributes = attributes(
        codec,
        block,
        match (family, next_hop.addr) {
            (Family::Ipv4Unicast, IpAddr::V4(v4)) => Some(v4.octets()),
            _ => None,
        },
    );
    let classic = family == Family::Ipv4Unicast && next_hop.addr.is_ipv4();
    let hop = if classic { Vec::new() } else { hop_octets(next_hop, codec.link_local_next_hop) };
    // MP_REACH_NLRI: flags, type, two octets of length, AFI, SAFI, next hop length, next hop, reserved.
    let mp_head = if classic { 0 } else { 4 + 4 + hop.len() + 1 };
    let fixed = HEADER_BYTES + 4 + attributes.len() + mp_head;
    let room = codec.max_message.saturating_sub(fixed);
    put_header(buf, 0, Kind::Update);
    buf.put_u16(0);
    buf.put_u16(0);
    if !classic {
        buf.put_slice(&[flag::OPTIONAL | flag::EXTENDED, kind::MP_REACH_NLRI, 0, 0]);
        buf.put_u16(family.afi());
        buf.put_u8(1);
        buf.put_u8(u8::try_from(hop.len()).unwrap_or(0));
        buf.put_slice(&hop);
        buf.put_u8(0);
    } else {
        buf.put_slice(&attributes);
    }
    let (count, octets) = put_prefixes(buf, family, room, prefixes);
    if count == 0 {
        buf.truncate(start);
        return 0;
    }
    let attribute_octets = if classic {
        attributes.len()
    } else {
        // RFC 7606 §5.1: MP_REACH_NLRI goes first.
        set_u16(buf, start + HEADER_BYTES + 6, 4 + hop.len() + 1 + octets);
        buf.put_slice(&attributes);
        mp_head + octets + attributes.len()
    };
    set_u16(buf, start + HEADER_BYTES + 2, attribute_octets);
    set_u16(buf, start + 16, buf.len() - start);
    count
}

/// Writes another next hop of the same form into UPDATEs that [`put_announce`] made.
pub fn set_next_hop(updates: &mut [u8], codec: &Codec, next_hop: &NextHop) {
    let value = match next_hop.addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(_) => hop_octets(next_hop, codec.link_local_next_hop),
    };
    let mut start = 0;
    while let Some(header) = updates.get(start..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) {
        let end = start + usize::from(u16::from_be_bytes([header[16], header[17]]));
        let attributes = updates.get(start + HEADER_BYTES + 4..end).unwrap_or_default();
        let mut walk = AttrIter::new(attributes);
        // MP_REACH_NLRI: AFI, SAFI and the length stand before the next hop.
        let skip = |attr: Attr<'_>| match attr.kind {
            kind::NEXT_HOP => Some(attr.value.len()),
            kind::MP_REACH_NLRI => Some(attr.value.len() - 4),
            _ => None,
        };
        let behind = walk.by_ref().find_map(skip).map(|behind| end - walk.rest().len() - behind);
        if let Some(place) = behind.and_then(|at| updates.get_mut(at..at + value.len())) {
            place.copy_from_slice(&value);
        }
        start = end.max(start + HEADER_BYTES);
    }
}

/// Appends one UPDATE that withdraws prefixes of `family`, as many as fit. Returns how many were taken.
pub fn put_withdraw<I: Iterator<Item: Item>>(
    buf: &mut BytesMut,
    codec: &Codec,
    family: Family,
    prefixes: &mut Peekable<I>,
) -> usize {
    let start = buf.len();
    put_header(buf, 0, Kind::Update);
    let count = if family == Family::Ipv4Unicast {
        buf.put_u16(0);
        let (count, octets) = put_prefixes(buf, family, codec.max_message - HEADER_BYTES - 4, prefixes);
        set_u16(buf, start + HEADER_BYTES, octets);
        buf.put_u16(0);
        count
    } else {
        buf.put_u16(0);
        buf.put_u16(0);
        put_mp_unreach_head(buf, family);
        let (count, octets) = put_prefixes(buf, family, codec.max_message - HEADER_BYTES - 11, prefixes);
        set_u16(buf, start + HEADER_BYTES + 2, 7 + octets);
        set_u16(buf, start + HEADER_BYTES + 6, 3 + octets);
        count
    };
    if count == 0 {
        buf.truncate(start);
        return 0;
    }
    set_u16(buf, start + 16, buf.len() - start);
    count
}

/// Appends the End-of-RIB of `family` (RFC 4724 §2).
pub fn put_end_of_rib(buf: &mut BytesMut, family: Family) {
    if family == Family::Ipv4Unicast {
        put_header(buf, 4, Kind::Update);
        buf.put_u32(0);
    } else {
        put_header(buf, 11, Kind::Update);
        buf.put_u16(0);
        buf.put_u16(7);
        put_mp_unreach_head(buf, family);
        let end = buf.len();
        set_u16(buf, end - 5, 3);
    }
}

/// Flags, type, length (to be set), AFI, SAFI.
fn put_mp_unreach_head(buf: &mut BytesMut, family: Family) {
    buf.put_slice(&[flag::OPTIONAL | flag::EXTENDED, kind::MP_UNREACH_NLRI, 0, 0]);
    buf.put_u16(family.afi());
    buf.put_u8(1);
}

/// Appends prefixes of `family` while they fit in `room`: how many, and their octets.
fn put_prefixes<I: Iterator<Item: Item>>(
    buf: &mut BytesMut,
    family: Family,
    room: usize,
    prefixes: &mut Peekable<I>,
) -> (usize, usize) {
    let (mut count, mut octets) = (0, 0);
    while let Some(prefix) =
        prefixes.next_if(|prefix| Family::of(prefix.prefix()) == family && octets + nlri::encoded_len(prefix) <= room)
    {
        octets += nlri::encoded_len(&prefix);
        nlri::put(&prefix, buf);
        count += 1;
    }
    (count, octets)
}

/// Sixteen octets, or thirty-two with the link-local address behind the global one. Where there is no global address the
/// link-local one stands alone if that was agreed (draft-ietf-idr-linklocal-capability §4), else in both places: FRR, BIRD and
/// GoBGP read that form.
pub(crate) fn hop_octets(next_hop: &NextHop, alone: bool) -> Vec<u8> {
    let global = match next_hop.addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut out = global.octets().to_vec();
    if let Some(link_local) = next_hop.link_local
        && !(alone && link_local == global)
    {
        out.extend(link_local.octets());
    }
    out
}

/// The block as this peer can read it, with NEXT_HOP where it belongs.
fn attributes(codec: &Codec, block: &[u8], next_hop: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 8);
    let mut next_hop = next_hop;
    for attr in Attrs(block).iter() {
        if attr.kind > kind::NEXT_HOP
            && let Some(hop) = next_hop.take()
        {
            put(&mut out, flag::TRANSITIVE, kind::NEXT_HOP, &hop);
        }
        match attr.kind {
            kind::AS_PATH | kind::AGGREGATOR if !codec.as4 => {
                put(&mut out, attr.flags, attr.kind, &narrowed(attr.kind, attr.value));
            }
            _ => put(&mut out, attr.flags, attr.kind, attr.value),
        }
    }
    if let Some(hop) = next_hop {
        put(&mut out, flag::TRANSITIVE, kind::NEXT_HOP, &hop);
    }
    if !codec.as4 {
        put_as4(&mut out, block);
    }
    out
}

/// The two-octet form, AS_TRANS for what does not fit (RFC 6793 §4.2.2).
fn narrowed(of: u8, value: &[u8]) -> Vec<u8> {
    let narrow = |asn: Asn| u16::try_from(asn.0).unwrap_or(23_456).to_be_bytes();
    if of == kind::AGGREGATOR {
        let Some((asn, rest)) = value.split_first_chunk::<4>() else {
            return value.to_vec();
        };
        let mut out = narrow(Asn(u32::from_be_bytes(*asn))).to_vec();
        out.extend_from_slice(rest);
        return out;
    }
    let mut out = Vec::with_capacity(value.len());
    for segment in crate::wire::attrs::AsPath(value).segments() {
        out.extend([segment.kind, u8::try_from(segment.len()).unwrap_or(u8::MAX)]);
        out.extend(segment.asns().flat_map(narrow));
    }
    out
}

/// AS4_PATH and AS4_AGGREGATOR, only if AS_TRANS had to stand in (RFC 6793 §4.2.2).
fn put_as4(out: &mut Vec<u8>, block: &[u8]) {
    let attrs = Attrs(block);
    let path = attrs.as_path();
    let wide = |asn: Asn| asn.0 > u32::from(u16::MAX);
    if path.segments().any(|segment| segment.asns().any(wide)) {
        put(out, flag::OPTIONAL | flag::TRANSITIVE, kind::AS4_PATH, &path.outside());
    }
    if let Some(value) = attrs.value(kind::AGGREGATOR)
        && let Some(asn) = value.first_chunk::<4>()
        && wide(Asn(u32::from_be_bytes(*asn)))
    {
        put(out, flag::OPTIONAL | flag::TRANSITIVE, kind::AS4_AGGREGATOR, value);
    }
}

/// Overwrites two octets at `at`.
fn set_u16(buf: &mut BytesMut, at: usize, value: usize) {
    let octets = u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = buf.get_mut(at..at + 2) {
        place.copy_from_slice(&octets);
    }
}
