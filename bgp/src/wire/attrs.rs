//! The canonical attribute block: how a route's attributes are kept, compared and handed on.
//!
//! A block is a run of attributes (flags, type, length, value) in ascending order of type, AS numbers in four octets, the
//! extended-length flag set only where it is needed, and without what belongs to the message rather than the route
//! (NEXT_HOP, MP_REACH_NLRI, MP_UNREACH_NLRI, AS4_PATH, AS4_AGGREGATOR). Equal routes have equal blocks, so blocks are
//! interned by their bytes. [`super::update::decode`] makes blocks; [`Attrs`] reads them; [`with`] changes them.

use super::read::exact;
use crate::types::{Asn, RouterId};
use nom::number::complete::be_u32;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

/// Attribute type codes (IANA "BGP Path Attributes").
pub mod kind {
    /// RFC 4271 §5.1.1
    pub const ORIGIN: u8 = 1;
    /// RFC 4271 §5.1.2
    pub const AS_PATH: u8 = 2;
    /// RFC 4271 §5.1.3
    pub const NEXT_HOP: u8 = 3;
    /// RFC 4271 §5.1.4
    pub const MULTI_EXIT_DISC: u8 = 4;
    /// RFC 4271 §5.1.5
    pub const LOCAL_PREF: u8 = 5;
    /// RFC 4271 §5.1.6
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// RFC 4271 §5.1.7
    pub const AGGREGATOR: u8 = 7;
    /// RFC 1997
    pub const COMMUNITIES: u8 = 8;
    /// RFC 4456 §8
    pub const ORIGINATOR_ID: u8 = 9;
    /// RFC 4456 §8
    pub const CLUSTER_LIST: u8 = 10;
    /// RFC 4760 §3
    pub const MP_REACH_NLRI: u8 = 14;
    /// RFC 4760 §4
    pub const MP_UNREACH_NLRI: u8 = 15;
    /// RFC 4360
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// RFC 6793 §3
    pub const AS4_PATH: u8 = 17;
    /// RFC 6793 §3
    pub const AS4_AGGREGATOR: u8 = 18;
    /// RFC 5701 §2
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    /// RFC 7311 §3
    pub const AIGP: u8 = 26;
    /// RFC 8092
    pub const LARGE_COMMUNITIES: u8 = 32;
    /// RFC 9234 §5
    pub const ONLY_TO_CUSTOMER: u8 = 35;
    /// RFC 8669 §3
    pub const PREFIX_SID: u8 = 40;
}

/// Attribute flags (RFC 4271 §4.3).
pub mod flag {
    /// Optional.
    pub const OPTIONAL: u8 = 0x80;
    /// Transitive.
    pub const TRANSITIVE: u8 = 0x40;
    /// Partial.
    pub const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub const EXTENDED: u8 = 0x10;
}

/// Well-known communities (RFC 1997, RFC 8326). What RFC 1997 does not name is no instruction to us: NOPEER (RFC 3765), too, is for
/// policies to match.
pub mod community {
    /// Not to external peers.
    pub const NO_EXPORT: u32 = 0xffff_ff01;
    /// To nobody.
    pub const NO_ADVERTISE: u32 = 0xffff_ff02;
    /// Not outside the member AS; without confederations the same as `NO_EXPORT`.
    pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
    /// Prefer anything else (RFC 8326 §4).
    pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
    /// Of a peer that stays away (RFC 9494 §4.4): the last choice.
    pub const LLGR_STALE: u32 = 0xffff_0006;
    /// Not to be kept so long (RFC 9494 §4.5).
    pub const NO_LLGR: u32 = 0xffff_0007;
}

/// AS_PATH segment types (RFC 4271 §4.3, RFC 5065 §3).
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;
const CONFED_SEQUENCE: u8 = 3;
const CONFED_SET: u8 = 4;

/// A view of a canonical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs<'a>(pub &'a [u8]);

impl<'a> Attrs<'a> {
    /// Every attribute: flags, type, value.
    #[must_use]
    pub const fn iter(self) -> AttrIter<'a> {
        AttrIter(self.0)
    }

    /// The value of one attribute.
    #[must_use]
    pub fn value(self, kind: u8) -> Option<&'a [u8]> {
        self.iter().take_while(|attr| attr.kind <= kind).find(|attr| attr.kind == kind).map(|attr| attr.value)
    }

    fn number(self, kind: u8) -> Option<u32> {
        exact(self.value(kind)?, be_u32)
    }

    /// ORIGIN: 0 IGP, 1 EGP, 2 INCOMPLETE.
    #[must_use]
    pub fn origin(self) -> u8 {
        self.value(kind::ORIGIN).and_then(|value| value.first().copied()).unwrap_or(2)
    }

    /// AS_PATH; empty if absent.
    #[must_use]
    pub fn as_path(self) -> AsPath<'a> {
        AsPath(self.value(kind::AS_PATH).unwrap_or_default())
    }

    /// MULTI_EXIT_DISC.
    #[must_use]
    pub fn med(self) -> Option<u32> {
        self.number(kind::MULTI_EXIT_DISC)
    }

    /// LOCAL_PREF.
    #[must_use]
    pub fn local_pref(self) -> Option<u32> {
        self.number(kind::LOCAL_PREF)
    }

    /// ORIGINATOR_ID.
    #[must_use]
    pub fn originator_id(self) -> Option<RouterId> {
        self.number(kind::ORIGINATOR_ID).map(Ipv4Addr::from)
    }

    /// CLUSTER_LIST, nearest first.
    pub fn cluster_list(self) -> impl Iterator<Item = RouterId> + 'a {
        words(self.value(kind::CLUSTER_LIST).unwrap_or_default()).map(Ipv4Addr::from)
    }

    /// COMMUNITIES.
    pub fn communities(self) -> impl Iterator<Item = u32> + 'a {
        words(self.value(kind::COMMUNITIES).unwrap_or_default())
    }

    /// Whether this community is there.
    #[must_use]
    pub fn has_community(self, wanted: u32) -> bool {
        self.communities().any(|community| community == wanted)
    }

    /// LARGE_COMMUNITIES.
    pub fn large_communities(self) -> impl Iterator<Item = [u32; 3]> + 'a {
        let value = self.value(kind::LARGE_COMMUNITIES).unwrap_or_default();
        value.as_chunks::<12>().0.iter().map(|chunk| {
            let mut parts = words(chunk);
            std::array::from_fn(|_| parts.next().unwrap_or_default())
        })
    }
}

/// Big-endian 32-bit words; a part of one at the end is not read. Chunks, not a parser: nothing can be wrong, and policy rules
/// walk communities once per route.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word))
}

/// One attribute of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Flags; EXTENDED only if the value is longer than 255 octets.
    pub flags: u8,
    /// Type code.
    pub kind: u8,
    /// Value.
    pub value: &'a [u8],
}

/// Walks a block; ends at the first attribute that does not fit. By hand: every question to a route walks its block, and a nom
/// parser took more than twice as long.
#[derive(Clone, Debug)]
pub struct AttrIter<'a>(&'a [u8]);

impl<'a> AttrIter<'a> {
    /// Walks any run of attributes, such as the one of a message.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not yet walked: empty at the end if every attribute fitted.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for AttrIter<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let (&[flags, kind], after) = self.0.split_first_chunk::<2>()?;
        let (length, after) = if flags & flag::EXTENDED == 0 {
            let (&length, after) = after.split_first()?;
            (usize::from(length), after)
        } else {
            let (&length, after) = after.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(length)), after)
        };
        let (value, after) = after.split_at_checked(length)?;
        self.0 = after;
        Some(Attr { flags, kind, value })
    }
}

/// Appends one attribute with canonical flags.
pub fn put(block: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else {
        return; // longer than any message: nobody can have sent it
    };
    match u8::try_from(length) {
        Ok(short) => block.extend([flags & !flag::EXTENDED & 0xf0, kind, short]),
        Err(_) => {
            let [high, low] = length.to_be_bytes();
            block.extend([(flags | flag::EXTENDED) & 0xf0, kind, high, low]);
        }
    }
    block.extend_from_slice(value);
}

/// A copy of `block` in which attribute `kind` has the value (and the flags), or is absent for `None`.
#[must_use]
pub fn with(block: &[u8], flags: u8, kind: u8, value: Option<&[u8]>) -> Vec<u8> {
    edited(block, &[(flags, kind, value)])
}

/// A copy of `block` with several such changes: flags, kind and value, in ascending order of kind.
#[must_use]
pub fn edited(block: &[u8], edits: &[(u8, u8, Option<&[u8]>)]) -> Vec<u8> {
    let added: usize = edits.iter().map(|(.., value)| value.map_or(0, |value| value.len() + 4)).sum();
    let mut out = Vec::with_capacity(block.len() + added);
    let mut edits = edits.iter().peekable();
    for attr in Attrs(block).iter() {
        let mut stays = true;
        while let Some((flags, kind, value)) = edits.next_if(|(_, kind, _)| *kind <= attr.kind) {
            stays &= *kind != attr.kind;
            value.inspect(|value| put(&mut out, *flags, *kind, value));
        }
        if stays {
            put(&mut out, attr.flags, attr.kind, attr.value);
        }
    }
    for (flags, kind, value) in edits {
        value.inspect(|value| put(&mut out, *flags, *kind, value));
    }
    out
}

/// The first segment of a path whose numbers have `width` octets: its type, the numbers (RFC 4271 §4.3), and the rest. By hand,
/// as [`AttrIter`] is.
pub(super) fn split_segment(path: &[u8], width: usize) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, count], after) = path.split_first_chunk::<2>()?;
    let (asns, rest) = after.split_at_checked(usize::from(count) * width)?;
    Some((kind, asns, rest))
}

/// An AS_PATH with four-octet numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsPath<'a>(pub &'a [u8]);

/// One segment of an AS_PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// 1 AS_SET, 2 AS_SEQUENCE, 3 and 4 their confederation kin (RFC 5065).
    pub kind: u8,
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The AS numbers, left to right.
    pub fn asns(self) -> impl DoubleEndedIterator<Item = Asn> + 'a {
        self.bytes.as_chunks::<4>().0.iter().map(|word| Asn(u32::from_be_bytes(*word)))
    }

    /// How many numbers.
    #[must_use]
    pub const fn len(self) -> usize {
        self.bytes.len() / 4
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a> AsPath<'a> {
    /// The segments, nearest first.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (kind, bytes, after) = split_segment(rest, 4)?;
            rest = after;
            Some(Segment { kind, bytes })
        })
    }

    /// Length as the decision process counts it: a set is one, confederation segments are none
    /// (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3).
    #[must_use]
    pub fn hop_count(self) -> usize {
        self.segments()
            .map(|segment| match segment.kind {
                AS_SEQUENCE => segment.len(),
                AS_SET => 1,
                _ => 0,
            })
            .sum()
    }

    /// The neighbouring AS: the first of the path, if that is in a sequence (RFC 4271 §9.1.2.2 c).
    #[must_use]
    pub fn first_as(self) -> Option<Asn> {
        let first = self.segments().find(|segment| segment.kind <= AS_SEQUENCE)?;
        (first.kind == AS_SEQUENCE).then(|| first.asns().next())?
    }

    /// The AS that originated the route, if the path ends in a sequence.
    #[must_use]
    pub fn origin_as(self) -> Option<Asn> {
        let last = self.segments().last()?;
        (last.kind == AS_SEQUENCE).then(|| last.asns().next_back())?
    }

    /// Whether `asn` occurs anywhere.
    #[must_use]
    pub fn contains(self, asn: Asn) -> bool {
        self.segments().any(|segment| segment.asns().any(|member| member == asn))
    }

    /// Whether there is no AS in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// This path without confederation segments, which nobody outside may see (RFC 5065 §4.1, RFC 6793 §3).
    #[must_use]
    pub fn outside(self) -> Cow<'a, [u8]> {
        if self.segments().all(|segment| segment.kind <= AS_SEQUENCE) {
            return Cow::Borrowed(self.0);
        }
        let mut out = Vec::with_capacity(self.0.len());
        for segment in self.segments().filter(|segment| segment.kind <= AS_SEQUENCE) {
            out.extend([segment.kind, u8::try_from(segment.len()).unwrap_or(u8::MAX)]);
            out.extend_from_slice(segment.bytes);
        }
        Cow::Owned(out)
    }

    /// This path with `asn` put in front `times` times (RFC 4271 §5.1.2 b): into the leading sequence while that has room for it
    /// (255), else as a new one.
    #[must_use]
    pub fn prepended(self, asn: Asn, times: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + 4 * usize::from(times) + 2);
        let (count, rest) = match self.0.split_first_chunk::<2>() {
            Some((&[AS_SEQUENCE, count], rest)) => (count, rest),
            _ => (0, self.0),
        };
        match count.checked_add(times) {
            Some(total) => {
                out.extend([AS_SEQUENCE, total]);
                out.extend(asn.0.to_be_bytes().repeat(usize::from(times)));
                out.extend_from_slice(rest);
            }
            None => {
                out.extend([AS_SEQUENCE, times]);
                out.extend(asn.0.to_be_bytes().repeat(usize::from(times)));
                out.extend_from_slice(self.0);
            }
        }
        out
    }
}

impl fmt::Display for AsPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let (open, separator, close) = match segment.kind {
                AS_SET => ("{", ",", "}"),
                CONFED_SEQUENCE => ("(", " ", ")"),
                CONFED_SET => ("[", ",", "]"),
                _ => ("", " ", ""),
            };
            f.write_str(open)?;
            for (index, asn) in segment.asns().enumerate() {
                if index > 0 {
                    f.write_str(separator)?;
                }
                write!(f, "{asn}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(segments: &[(u8, &[u32])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, asns) in segments {
            out.extend([*kind, u8::try_from(asns.len()).unwrap()]);
            out.extend(asns.iter().flat_map(|asn| asn.to_be_bytes()));
        }
        out
    }

    #[test]
    fn path_length_counts_a_set_once_and_confederations_not() {
        // RFC 4271 §9.1.2.2 a, RFC 5065 §5.3
        let bytes = path(&[(3, &[9, 8]), (2, &[64_599, 64_604]), (1, &[1, 2, 3])]);
        let path = AsPath(&bytes);
        assert_eq!(path.hop_count(), 3);
        assert_eq!(path.to_string(), "(9 8) 64599 64604 {1,2,3}");
        assert_eq!(path.first_as(), Some(Asn(64_599)));
        assert_eq!(path.origin_as(), None, "a set has no one origin");
        assert!(path.contains(Asn(3)) && !path.contains(Asn(4)));
    }

    #[test]
    fn prepending_opens_a_new_sequence_only_when_it_must() {
        // RFC 4271 §5.1.2 b
        let short = path(&[(2, &[7])]);
        assert_eq!(AsPath(&short).prepended(Asn(6), 2), path(&[(2, &[6, 6, 7])]));
        let full = path(&[(2, &[7; 255])]);
        let longer = AsPath(&full).prepended(Asn(6), 1);
        assert_eq!(AsPath(&longer).hop_count(), 256);
        assert_eq!(*AsPath(&path(&[(3, &[9]), (2, &[7]), (4, &[8])])).outside(), path(&[(2, &[7])]));
        let set = path(&[(1, &[7])]);
        assert_eq!(AsPath(&set).prepended(Asn(6), 1), path(&[(2, &[6]), (1, &[7])]));
    }

    #[test]
    fn attributes_are_replaced_added_and_removed_in_order() {
        let mut block = Vec::new();
        put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
        put(&mut block, flag::TRANSITIVE, kind::LOCAL_PREF, &[0, 0, 0, 100]);
        let block = with(&block, flag::OPTIONAL, kind::MULTI_EXIT_DISC, Some(&[0, 0, 0, 5]));
        let kinds: Vec<_> = Attrs(&block).iter().map(|attr| attr.kind).collect();
        assert_eq!(kinds, [1, 4, 5]);
        assert_eq!(Attrs(&block).med(), Some(5));
        let block = with(&block, 0, kind::LOCAL_PREF, None);
        assert_eq!(Attrs(&block).local_pref(), None);
        let long = with(&block, 0xc0, kind::COMMUNITIES, Some(&[1; 300]));
        assert_eq!(Attrs(&long).communities().count(), 75);
    }
}
