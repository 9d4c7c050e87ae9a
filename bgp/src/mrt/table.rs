//! Table dumps: TABLE_DUMP (RFC 6396 §4.2) and TABLE_DUMP_V2 (§4.3), with the path identifiers of RFC 8050 §4.

use super::{Attributes, Dump, PEERS_MAX, Record};
use crate::types::{Asn, Family, IpNet, RouterId};
use crate::wire::nlri::Nlri;
use crate::wire::read::{Parsed, Wrong, exact};
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{cond, map};
use nom::multi::{count, length_data};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose routes a dump holds (RFC 6396 §4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its BGP identifier; `0.0.0.0` in TABLE_DUMP, which has none.
    pub router_id: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
}

/// The paths of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rib<'a> {
    /// Counts up from 0 in each dump; 16 bits in TABLE_DUMP.
    pub sequence: u32,
    /// What they lead to.
    pub prefix: IpNet,
    entries: Entries<'a>,
}

impl<'a> Rib<'a> {
    /// Every path.
    #[must_use]
    pub const fn entries(&self) -> Entries<'a> {
        self.entries
    }
}

/// One path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Index of its peer in [`Dump::peers`].
    pub peer: u16,
    /// When it came, seconds since 1970-01-01.
    pub originated_s: u32,
    /// Its path identifier (RFC 8050 §4); `None` in a dump without.
    pub path_id: Option<u32>,
    /// Its path attributes.
    pub attributes: Attributes<'a>,
}

/// Walks the paths of a prefix. They were counted and measured when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// TABLE_DUMP: one entry, with the number of the peer already known.
    Old { peer: u16, originated_s: u32 },
    /// TABLE_DUMP_V2, with path identifiers or without.
    New { add_path: bool },
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        match self.layout {
            Layout::Old { peer, originated_s } => {
                let attributes = Attributes::two_octets(std::mem::take(&mut self.bytes));
                (!attributes.is_empty()).then_some(Entry { peer, originated_s, path_id: None, attributes })
            }
            Layout::New { add_path } => {
                let (rest, entry) = entry(self.bytes, add_path).ok()?;
                self.bytes = rest;
                Some(entry)
            }
        }
    }
}

/// RFC 6396 §4.3.4, RFC 8050 §4.1: the attributes have four-octet AS numbers, whatever the session had.
fn entry(input: &[u8], add_path: bool) -> Parsed<'_, Entry<'_>> {
    let fields = (be_u16, be_u32, cond(add_path, be_u32), length_data(be_u16));
    map(fields, |(peer, originated_s, path_id, bytes)| Entry {
        peer,
        originated_s,
        path_id,
        attributes: Attributes::four_octets(bytes),
    })
    .parse(input)
}

impl Dump {
    /// Subtypes 1 and 2: the AFI (RFC 6396 §4.2).
    pub(super) fn table_dump<'a>(&mut self, subtype: u16, body: &'a [u8]) -> Result<Record<'a>, &'static str> {
        let Some(family) = Family::from_wire(subtype, 1) else {
            return Ok(Record::Other);
        };
        let fields = |input| {
            let (input, (_view, sequence, address, length, _status)) =
                (be_u16, be_u16, |input| address(input, family), be_u8, be_u8).parse(input)?;
            let (input, (originated_s, peer, asn, bytes)) =
                (be_u32, |input| self::address(input, family), be_u16, length_data(be_u16)).parse(input)?;
            Ok((input, (sequence, address, length, originated_s, peer, asn, bytes)))
        };
        let (sequence, address, length, originated_s, peer, asn, bytes) =
            exact(body, fields).ok_or("its fields do not fit its length")?;
        let prefix = IpNet::new(address, length).map_err(|_| "its prefix length is above that of the family")?.trunc();
        let peer = self.old_peer(peer, Asn(u32::from(asn)))?;
        let entries = Entries { bytes, layout: Layout::Old { peer, originated_s } };
        Ok(Record::Rib(Rib { sequence: u32::from(sequence), prefix, entries }))
    }

    /// The index of a peer that TABLE_DUMP names in every record.
    fn old_peer(&mut self, address: IpAddr, asn: Asn) -> Result<u16, &'static str> {
        if let Some(&known) = self.known.get(&(address, asn)) {
            return Ok(known);
        }
        let index = u16::try_from(self.peers.len()).ok().filter(|&index| usize::from(index) < PEERS_MAX);
        let index = index.ok_or("the dump has more peers than a peer index can count")?;
        self.peers.push(Peer { router_id: Ipv4Addr::UNSPECIFIED, address, asn });
        self.known.insert((address, asn), index);
        Ok(index)
    }

    /// RFC 6396 §4.3, RFC 8050 §4.
    pub(super) fn table_dump_v2<'a>(&mut self, subtype: u16, body: &'a [u8]) -> Result<Record<'a>, &'static str> {
        match subtype {
            PEER_INDEX_TABLE => self.peer_index(body),
            RIB_IPV4_UNICAST => rib(Family::Ipv4Unicast, false, body),
            RIB_IPV6_UNICAST => rib(Family::Ipv6Unicast, false, body),
            RIB_IPV4_UNICAST_ADDPATH => rib(Family::Ipv4Unicast, true, body),
            RIB_IPV6_UNICAST_ADDPATH => rib(Family::Ipv6Unicast, true, body),
            _ => Ok(Record::Other),
        }
    }

    /// RFC 6396 §4.3.1.
    fn peer_index<'a>(&mut self, body: &[u8]) -> Result<Record<'a>, &'static str> {
        let head = |input| {
            let (input, (_collector, view, number)) = (be_u32, length_data(be_u16), be_u16).parse(input)?;
            let (input, peers) = count(peer, usize::from(number)).parse(input)?;
            Ok((input, (view, peers)))
        };
        let (view, peers): (&[u8], Vec<Peer>) = exact(body, head).ok_or("its peers do not fit its length")?;
        self.peers = peers;
        self.known.clear();
        Ok(Record::Peers { view: String::from_utf8_lossy(view).into_owned() })
    }
}

/// Subtypes of TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050 §4).
pub(super) const PEER_INDEX_TABLE: u16 = 1;
pub(super) const RIB_IPV4_UNICAST: u16 = 2;
pub(super) const RIB_IPV6_UNICAST: u16 = 4;
pub(super) const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
pub(super) const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;

/// Bits of the Peer Type (RFC 6396 §4.3.1).
pub(super) const PEER_IS_IPV6: u8 = 0x01;
pub(super) const PEER_IS_AS4: u8 = 0x02;

/// One Peer Entry (RFC 6396 §4.3.1).
fn peer(input: &[u8]) -> Parsed<'_, Peer> {
    let (input, (flags, router_id)) = (be_u8, be_u32).parse(input)?;
    let family = if flags & PEER_IS_IPV6 == 0 { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
    let (input, address) = address(input, family)?;
    let (input, asn) = asn(input, flags & PEER_IS_AS4 != 0)?;
    Ok((input, Peer { router_id: router_id.into(), address, asn }))
}

/// An address of a family.
pub(super) fn address(input: &[u8], family: Family) -> Parsed<'_, IpAddr> {
    match family {
        Family::Ipv4Unicast => map(be_u32, |bits| IpAddr::V4(Ipv4Addr::from_bits(bits))).parse(input),
        Family::Ipv6Unicast => map(be_u128, |bits| IpAddr::V6(Ipv6Addr::from_bits(bits))).parse(input),
    }
}

/// An AS number of two or four octets.
pub(super) fn asn(input: &[u8], four: bool) -> Parsed<'_, Asn> {
    if four { map(be_u32, Asn).parse(input) } else { map(be_u16, |asn| Asn(u32::from(asn))).parse(input) }
}

/// A prefix as in NLRI: its length in bits, then as many octets as it needs.
fn prefix(input: &[u8], family: Family) -> Parsed<'_, IpNet> {
    let (_, length) = be_u8(input)?;
    let (behind, whole) = take(1 + usize::from(length).div_ceil(8)).parse(input)?;
    let prefix = Nlri::new(family, whole).next().ok_or(nom::Err::Error(Wrong::Malformed))?;
    Ok((behind, prefix))
}

/// RFC 6396 §4.3.2.
fn rib(family: Family, add_path: bool, body: &[u8]) -> Result<Record<'_>, &'static str> {
    let head = |input| (be_u32, |input| prefix(input, family), be_u16).parse(input);
    let (bytes, (sequence, prefix, number)) = head(body).map_err(|_: nom::Err<Wrong>| "its prefix is malformed")?;
    let entries = Entries { bytes, layout: Layout::New { add_path } };
    let measured = exact(bytes, count(|input| entry(input, add_path).map(|(rest, _)| (rest, ())), usize::from(number)));
    measured.ok_or("its paths do not fit its length")?;
    Ok(Record::Rib(Rib { sequence, prefix, entries }))
}
