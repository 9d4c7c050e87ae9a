//! UPDATE (RFC 4271 §4.3, §6.3; RFC 4760): read with the reactions of RFC 7606, written packed.
//!
//! The NLRI are located by the Total Attribute Length before any attribute is read, so a bad attribute never moves them.

mod check;
mod encode;

pub use encode::{put_announce, put_end_of_rib, put_withdraw, set_next_hop};

use super::attrs::{self, Attr, AttrIter, Attrs, flag, kind};
use super::{Codec, HEADER_BYTES, Notification, nlri};
use crate::types::{Family, NextHop};
use check::Verdict;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an UPDATE says, with its prefixes still in wire form (validated: walk them with [`nlri::Nlri`]).
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

/// Reads a whole message. `block` is cleared and filled with the canonical attribute block of what is announced.
///
/// # Errors
/// When the prefixes cannot be located or read (RFC 7606 §3 j, §5.3, §5.4), the session must be reset.
pub fn decode<'a>(message: &'a [u8], codec: &Codec, block: &mut Vec<u8>) -> Result<Update<'a>, Fault> {
    block.clear();
    let body = message.get(HEADER_BYTES..).unwrap_or_default();
    // RFC 4271 §6.3: lengths that exceed the message are a Malformed Attribute List.
    let (withdrawn, rest) = counted(body).ok_or_else(|| reset(1))?;
    let (attributes, nlri) = counted(rest).ok_or_else(|| reset(1))?;
    // RFC 7606 §5.3: a syntactically wrong prefix field means nobody knows what was withdrawn.
    if !nlri::check(Family::Ipv4Unicast, withdrawn) || !nlri::check(Family::Ipv4Unicast, nlri) {
        return Err(reset(10));
    }
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

/// A two-octet length and that many octets; then the rest.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
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
            Verdict::Reset(subcode) => return Err(reset(subcode)),
        }
        match attr.kind {
            kind::NEXT_HOP => {
                self.update.next_hop = attr.value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
            }
            kind::MP_REACH_NLRI => self.update.mp_reach = mp_reach(attr.value, self.codec)?,
            kind::MP_UNREACH_NLRI => self.update.mp_unreach = mp_unreach(attr.value, self.codec)?,
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

    fn keep(&mut self, attr: Attr<'_>, value: &[u8], block: &mut Vec<u8>) {
        self.sorted &= attr.kind > self.last;
        self.last = attr.kind;
        if value.len() > usize::from(u16::MAX) {
            // A two-octet path that does not fit with four octets each.
            self.withdraw(attr.kind, "the attribute is too long with four-octet numbers");
            return;
        }
        // RFC 4271 §9: an unrecognised optional transitive attribute is passed on with the Partial bit.
        let partial = if check::is_known(attr.kind) { 0 } else { flag::PARTIAL };
        attrs::put(block, attr.flags | partial, attr.kind, value);
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

/// MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3, RFC 8950 §3); `None` for a family that was not negotiated: not parsed further.
fn mp_reach<'a>(value: &'a [u8], codec: &Codec) -> Result<Option<MpReach<'a>>, Fault> {
    let fault = || reset(9);
    let (&[high, low, safi, length], rest) = value.split_first_chunk::<4>().ok_or_else(fault)?;
    let Some(family) = Family::from_wire(u16::from_be_bytes([high, low]), safi) else {
        return Ok(None);
    };
    if !codec.families[family.index()] {
        return Ok(None);
    }
    let (hop, rest) = rest.split_at_checked(usize::from(length)).ok_or_else(fault)?;
    let (_reserved, nlri) = rest.split_first().ok_or_else(fault)?;
    // RFC 7606 §7.11: a next hop of a length that the family does not know resets.
    let next_hop = next_hop(hop, family, codec).ok_or_else(fault)?;
    if !nlri::check(family, nlri) {
        return Err(fault());
    }
    Ok(Some(MpReach { family, next_hop, nlri }))
}

/// All encodings in use: 4 octets; 16 (global or link-local); 32 (global, `::` or link-local, then link-local).
fn next_hop(octets: &[u8], family: Family, codec: &Codec) -> Option<NextHop> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return (family == Family::Ipv4Unicast).then(|| NextHop::new(IpAddr::V4(v4.into())));
    }
    if family == Family::Ipv4Unicast && !codec.extended_next_hop {
        return None;
    }
    let (halves, []) = octets.as_chunks::<16>() else {
        return None;
    };
    let first = Ipv6Addr::from(*halves.first()?);
    let link_local = match halves.get(1) {
        Some(second) => Some(Ipv6Addr::from(*second)).filter(Ipv6Addr::is_unicast_link_local),
        None => Some(first).filter(Ipv6Addr::is_unicast_link_local),
    };
    (halves.len() <= 2).then_some(NextHop { addr: IpAddr::V6(first), link_local })
}

/// MP_UNREACH_NLRI (RFC 4760 §4).
fn mp_unreach<'a>(value: &'a [u8], codec: &Codec) -> Result<Option<(Family, &'a [u8])>, Fault> {
    let (&[high, low, safi], nlri) = value.split_first_chunk::<3>().ok_or_else(|| reset(9))?;
    let family = Family::from_wire(u16::from_be_bytes([high, low]), safi);
    let Some(family) = family.filter(|family| codec.families[family.index()]) else {
        return Ok(None);
    };
    if !nlri::check(family, nlri) {
        return Err(reset(9));
    }
    Ok(Some((family, nlri)))
}

#[cfg(test)]
mod tests;
