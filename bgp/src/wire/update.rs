//! UPDATE (RFC 4271 §4.3, §6.3; RFC 4760): read with the reactions of RFC 7606, written packed.
//!
//! The NLRI are located by the Total Attribute Length before any attribute is read, so a bad attribute never moves them.

mod check;
mod encode;

pub(crate) use check::expected_flags;
pub(crate) use encode::hop_octets;
pub use encode::{put_announce, put_end_of_rib, put_withdraw, set_next_hop};

use super::attrs::{self, Attr, AttrIter, Attrs, flag, kind};
use super::read::{Parsed, Wrong, exact, whole};
use super::{Codec, HEADER_BYTES, Notification, nlri};
use crate::types::{Family, NextHop};
use check::Verdict;
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{map_opt, map_res, opt, rest, value, verify};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an UPDATE says, with its prefixes still in wire form (validated: walk them with [`nlri::Paths`]).
#[derive(Clone, Debug, Default)]
pub struct Update<'a> {
    /// IPv4 prefixes withdrawn.
    pub withdrawn: &'a [u8],
    /// IPv4 prefixes announced with NEXT_HOP.
    pub nlri: &'a [u8],
    /// NEXT_HOP.
    pub next_hop: Option<Ipv4Addr>,
    /// Announced by MP_REACH_NLRI.
    pub mp_reach: Option<MpReach<'a>>,
    /// Withdrawn by MP_UNREACH_NLRI.
    pub mp_unreach: Option<(Family, &'a [u8])>,
    /// This is the End-of-RIB of a family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// Treat-as-withdraw (RFC 7606 §2): everything announced is to be handled as withdrawn; the attribute type at fault and why.
    pub withdraw: Option<(u8, &'static str)>,
    /// Attributes dropped by attribute discard (RFC 7606 §2).
    pub discarded: u32,
}

/// Announcements of MP_REACH_NLRI.
#[derive(Clone, Copy, Debug)]
pub struct MpReach<'a> {
    /// Of which family.
    pub family: Family,
    /// Through what.
    pub next_hop: NextHop,
    /// The prefixes.
    pub nlri: &'a [u8],
}

/// A fault that costs more than the prefixes of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The session must end with this NOTIFICATION.
    Reset(Notification),
}

/// UPDATE Message Error with this subcode.
fn reset(subcode: u8) -> Fault {
    Fault::Reset(Notification::new(Notification::UPDATE, subcode))
}

/// The same, with the attribute at fault as data (RFC 4271 §6.3).
fn reset_for(subcode: u8, attr: Attr<'_>) -> Fault {
    let mut data = Vec::with_capacity(attr.value.len() + 4);
    let length = u16::try_from(attr.value.len()).unwrap_or(u16::MAX).to_be_bytes();
    // As it came: with two octets of length if it said so.
    data.extend([attr.flags, attr.kind]);
    data.extend_from_slice(length.get(usize::from(attr.flags & flag::EXTENDED == 0)..).unwrap_or_default());
    data.extend_from_slice(attr.value);
    Fault::Reset(Notification::with_data(Notification::UPDATE, subcode, &data))
}

/// Reads a whole message. `block` is cleared and filled with the canonical attribute block of what is announced.
///
/// # Errors
/// When the prefixes cannot be located or read (RFC 7606 §3 j, §5.3, §5.4), the session must be reset.
pub fn decode<'a>(message: &'a [u8], codec: &Codec, block: &mut Vec<u8>) -> Result<Update<'a>, Fault> {
    block.clear();
    let body = message.get(HEADER_BYTES..).unwrap_or_default();
    // RFC 4271 §6.3: lengths that exceed the message are a Malformed Attribute List.
    let (withdrawn, attributes, nlri) =
        whole(body, Notification::UPDATE, 1, |input| parse_sections(input, codec)).map_err(Fault::Reset)?;
    // What was not negotiated is not read (RFC 4760 §8).
    let read = |nlri| if codec.families[Family::Ipv4Unicast.index()] { nlri } else { &[][..] };
    let mut update = Update { withdrawn: read(withdrawn), nlri: read(nlri), ..Update::default() };
    if body.len() == 4 {
        // RFC 4724 §2: an UPDATE with nothing in it.
        update.end_of_rib = Some(Family::Ipv4Unicast);
        return Ok(update);
    }
    let mut reader = Reader { codec, update, seen: [0; 4], sorted: true, last: 0, as4: As4::default() };
    reader.read(attributes, block)?;
    reader.finish(block)
}

/// Withdrawn routes, path attributes, NLRI (RFC 4271 §4.3).
fn parse_sections<'a>(input: &'a [u8], codec: &Codec) -> Parsed<'a, (&'a [u8], &'a [u8], &'a [u8])> {
    let is_run = |bytes: &[u8]| nlri::check(Family::Ipv4Unicast, bytes, codec.add_path_rx[0]);
    // RFC 7606 §5.3: a syntactically wrong prefix field means nobody knows what was withdrawn.
    map_res((length_data(be_u16), length_data(be_u16), rest), |sections @ (withdrawn, _, nlri)| {
        if is_run(withdrawn) && is_run(nlri) { Ok(sections) } else { Err(Wrong::Value(10)) }
    })
    .parse(input)
}

/// What came for a two-octet speaker's four-octet numbers (RFC 6793 §4.2.3).
#[derive(Debug, Default)]
struct As4<'a> {
    path: Option<&'a [u8]>,
    aggregator: Option<&'a [u8]>,
}

struct Reader<'a, 'c> {
    codec: &'c Codec,
    update: Update<'a>,
    /// One bit per attribute type seen.
    seen: [u64; 4],
    sorted: bool,
    last: u8,
    as4: As4<'a>,
}

impl<'a> Reader<'a, '_> {
    fn read(&mut self, attributes: &'a [u8], block: &mut Vec<u8>) -> Result<(), Fault> {
        let mut walk = AttrIter::new(attributes);
        for attr in walk.by_ref() {
            if self.mark(attr.kind) {
                // RFC 7606 §3 g: a second MP attribute resets; of others, all but the first are discarded.
                if matches!(attr.kind, kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI) {
                    return Err(reset(1));
                }
                self.update.discarded += 1;
                continue;
            }
            self.attribute(attr, block)?;
        }
        if !walk.rest().is_empty() {
            // RFC 7606 §4: attributes that overrun the Total Attribute Length.
            self.withdraw(0, "an attribute overruns the attribute length");
        }
        Ok(())
    }

    /// Notes that a type occurred; true if it had before.
    fn mark(&mut self, kind: u8) -> bool {
        let bit = 1_u64 << (kind & 63);
        let word = &mut self.seen[usize::from(kind >> 6)];
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    fn has(&self, kind: u8) -> bool {
        self.seen[usize::from(kind >> 6)] & (1_u64 << (kind & 63)) != 0
    }

    fn withdraw(&mut self, kind: u8, why: &'static str) {
        self.update.withdraw.get_or_insert((kind, why));
    }

    fn attribute(&mut self, attr: Attr<'a>, block: &mut Vec<u8>) -> Result<(), Fault> {
        match check::attribute(attr, self.codec) {
            Verdict::Keep => {}
            Verdict::Discard => {
                self.update.discarded += 1;
                return Ok(());
            }
            Verdict::Withdraw(why) => {
                self.withdraw(attr.kind, why);
                return Ok(());
            }
            Verdict::Reset(subcode) => return Err(reset_for(subcode, attr)),
        }
        match attr.kind {
            kind::NEXT_HOP => {
                self.update.next_hop = attr.value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
            }
            kind::MP_REACH_NLRI => {
                self.update.mp_reach = multiprotocol(attr, self.codec, parse_mp_reach)?;
                let reach = self.update.mp_reach.filter(|reach| !reach.nlri.is_empty());
                if reach.is_some_and(|reach| !check::is_usable(&reach.next_hop)) {
                    self.withdraw(kind::MP_REACH_NLRI, "the next hop is no address of a router");
                }
            }
            kind::MP_UNREACH_NLRI => self.update.mp_unreach = multiprotocol(attr, self.codec, parse_mp_unreach)?,
            kind::AS4_PATH => self.as4.path = Some(attr.value),
            kind::AS4_AGGREGATOR => self.as4.aggregator = Some(attr.value),
            kind::AS_PATH if !self.codec.as4 => self.keep(attr, &check::widened(attr.value), block),
            kind::AGGREGATOR if !self.codec.as4 => {
                let mut value = vec![0, 0];
                value.extend_from_slice(attr.value);
                self.keep(attr, &value, block);
            }
            _ => self.keep(attr, attr.value, block),
        }
        Ok(())
    }

    /// Into the block; the Partial bit is for optional transitive attributes alone (RFC 4271 §4.3).
    fn keep(&mut self, attr: Attr<'_>, value: &[u8], block: &mut Vec<u8>) {
        self.sorted &= attr.kind > self.last;
        self.last = attr.kind;
        if value.len() > usize::from(u16::MAX) {
            // A two-octet path that does not fit with four octets each.
            self.withdraw(attr.kind, "the attribute is too long with four-octet numbers");
            return;
        }
        // RFC 4271 §9: an unrecognised optional transitive attribute is passed on with the Partial bit.
        let class = attr.flags & (flag::OPTIONAL | flag::TRANSITIVE);
        let partial = match class == flag::OPTIONAL | flag::TRANSITIVE {
            true if check::is_known(attr.kind) => attr.flags & flag::PARTIAL,
            true => flag::PARTIAL,
            false => 0,
        };
        attrs::put(block, class | partial, attr.kind, value);
    }

    fn finish(mut self, block: &mut Vec<u8>) -> Result<Update<'a>, Fault> {
        if !self.sorted {
            let mut all: Vec<_> = Attrs(block).iter().collect();
            all.sort_by_key(|attr| attr.kind);
            let mut out = Vec::with_capacity(block.len());
            for attr in all {
                attrs::put(&mut out, attr.flags, attr.kind, attr.value);
            }
            *block = out;
        }
        if !self.codec.as4 {
            check::merge_as4(block, self.as4.path, self.as4.aggregator);
        }
        let announces =
            !self.update.nlri.is_empty() || self.update.mp_reach.is_some_and(|reach| !reach.nlri.is_empty());
        if announces {
            self.check_mandatory();
        } else if let Some((kind, _)) = self.update.withdraw {
            // RFC 7606 §5.2: an error where nothing reachable says what to withdraw.
            return Err(reset(if kind == 0 { 1 } else { 5 }));
        }
        let empty = self.update.withdrawn.is_empty() && !announces && block.is_empty();
        if let Some((family, [])) = self.update.mp_unreach
            && empty
            && self.update.mp_reach.is_none()
            && self.update.discarded == 0
        {
            self.update.end_of_rib = Some(family);
        }
        Ok(self.update)
    }

    /// RFC 7606 §3 d: a missing well-known mandatory attribute is treat-as-withdraw.
    fn check_mandatory(&mut self) {
        if !self.has(kind::ORIGIN) {
            self.withdraw(kind::ORIGIN, "ORIGIN is missing");
        }
        if !self.has(kind::AS_PATH) {
            self.withdraw(kind::AS_PATH, "AS_PATH is missing");
        }
        if !self.update.nlri.is_empty() && self.update.next_hop.is_none() {
            self.withdraw(kind::NEXT_HOP, "NEXT_HOP is missing");
        }
        if !self.codec.ebgp && !self.has(kind::LOCAL_PREF) {
            self.withdraw(kind::LOCAL_PREF, "LOCAL_PREF is missing");
        }
    }
}

/// All of an MP attribute, or the reset that it costs (RFC 7606 §7.11, §7.12: Optional Attribute Error).
fn multiprotocol<'a, 'c, T>(
    attr: Attr<'a>,
    codec: &'c Codec,
    parse: fn(&'a [u8], &'c Codec) -> Parsed<'a, T>,
) -> Result<T, Fault> {
    whole(attr.value, Notification::UPDATE, 9, |input| parse(input, codec)).map_err(|_| reset_for(9, attr))
}

/// AFI and SAFI, if that family was negotiated.
fn parse_family<'a>(input: &'a [u8], codec: &Codec) -> Parsed<'a, Option<Family>> {
    let (input, (afi, safi)) = (be_u16, be_u8).parse(input)?;
    Ok((input, Family::from_wire(afi, safi).filter(|family| codec.families[family.index()])))
}

/// The rest, if it is a run of prefixes.
fn parse_nlri<'a>(input: &'a [u8], family: Family, codec: &Codec) -> Parsed<'a, &'a [u8]> {
    verify(rest, |bytes: &[u8]| nlri::check(family, bytes, codec.add_path_rx[family.index()])).parse(input)
}

/// MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3, RFC 8950 §3); `None` for a family that was not negotiated: not parsed further.
fn parse_mp_reach<'a>(input: &'a [u8], codec: &Codec) -> Parsed<'a, Option<MpReach<'a>>> {
    let (input, family) = parse_family(input, codec)?;
    let (input, hop_bytes) = be_u8(input)?;
    let Some(family) = family else {
        return value(None, rest).parse(input);
    };
    // RFC 7606 §7.11: a next hop of a length that the family does not know resets.
    let hop = map_opt(take(hop_bytes), |octets| next_hop(octets, family, codec));
    let (input, (next_hop, _reserved)) = (hop, be_u8).parse(input)?;
    let (input, nlri) = parse_nlri(input, family, codec)?;
    Ok((input, Some(MpReach { family, next_hop, nlri })))
}

/// All encodings in use: 4 octets; 16 (global or link-local); 32 (global, `::` or link-local, then link-local).
fn next_hop(octets: &[u8], family: Family, codec: &Codec) -> Option<NextHop> {
    if let Some(v4) = exact(octets, be_u32) {
        return (family == Family::Ipv4Unicast).then(|| NextHop::new(IpAddr::V4(v4.into())));
    }
    if family == Family::Ipv4Unicast && !codec.extended_next_hop {
        return None;
    }
    let (first, second) = exact(octets, (be_u128, opt(be_u128)))?;
    let link_local = Ipv6Addr::from(second.unwrap_or(first));
    let link_local = Some(link_local).filter(Ipv6Addr::is_unicast_link_local);
    let global = Some(Ipv6Addr::from(first)).filter(|addr| !addr.is_unspecified());
    Some(NextHop { addr: IpAddr::V6(global.or(link_local).unwrap_or(Ipv6Addr::UNSPECIFIED)), link_local })
}

/// MP_UNREACH_NLRI (RFC 4760 §4).
fn parse_mp_unreach<'a>(input: &'a [u8], codec: &Codec) -> Parsed<'a, Option<(Family, &'a [u8])>> {
    let (input, family) = parse_family(input, codec)?;
    let Some(family) = family else {
        return value(None, rest).parse(input);
    };
    let (input, nlri) = parse_nlri(input, family, codec)?;
    Ok((input, Some((family, nlri))))
}

#[cfg(test)]
mod tests;
