//! The attribute table of RFC 7606 §7: for each attribute the flags and lengths it must have, and what a fault costs.

use crate::types::{Asn, NextHop};
use crate::wire::Codec;
use crate::wire::attrs::{AsPath, Attr, Attrs, flag, kind, split_segment, with};
use crate::wire::read::exact;
use nom::bytes::complete::take;
use std::net::{IpAddr, Ipv4Addr};

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is good.
    Keep,
    /// Attribute discard.
    Discard,
    /// Treat-as-withdraw, and why.
    Withdraw(&'static str),
    /// Session reset with this UPDATE subcode, the attribute as data (RFC 4271 §6.3).
    Reset(u8),
}

/// Well-known: transitive, not optional.
const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// The flags an attribute we know must have, but for Partial and Extended Length (RFC 7606 §3 c).
pub(crate) const fn expected_flags(of: u8) -> Option<u8> {
    match of {
        kind::ORIGIN | kind::AS_PATH | kind::NEXT_HOP | kind::LOCAL_PREF | kind::ATOMIC_AGGREGATE => Some(WELL_KNOWN),
        kind::MULTI_EXIT_DISC
        | kind::ORIGINATOR_ID
        | kind::CLUSTER_LIST
        | kind::MP_REACH_NLRI
        | kind::MP_UNREACH_NLRI
        | kind::AIGP => Some(flag::OPTIONAL),
        kind::AGGREGATOR
        | kind::COMMUNITIES
        | kind::EXTENDED_COMMUNITIES
        | kind::IPV6_EXTENDED_COMMUNITIES
        | kind::AS4_PATH
        | kind::AS4_AGGREGATOR
        | kind::LARGE_COMMUNITIES
        | kind::ONLY_TO_CUSTOMER => Some(OPTIONAL_TRANSITIVE),
        _ => None,
    }
}

/// Whether we interpret this attribute.
pub(super) const fn is_known(of: u8) -> bool {
    expected_flags(of).is_some()
}

/// Judges one attribute.
pub(super) fn attribute(attr: Attr<'_>, codec: &Codec) -> Verdict {
    let class = attr.flags & OPTIONAL_TRANSITIVE;
    let Some(expected) = expected_flags(attr.kind) else {
        return match class {
            OPTIONAL_TRANSITIVE => unknown(attr, codec),
            flag::OPTIONAL => Verdict::Discard,
            // RFC 4271 §6.3, Unrecognized Well-known Attribute: RFC 7606 leaves this one as it was.
            _ => Verdict::Reset(2),
        };
    };
    if class != expected {
        return match attr.kind {
            // RFC 7606 §3 c, §7.6, §7.7: these two are only ever discarded. MP attributes cannot be withdrawn by themselves.
            // So is a transitive AIGP (RFC 7311 §3).
            kind::ATOMIC_AGGREGATE | kind::AGGREGATOR | kind::AS4_PATH | kind::AS4_AGGREGATOR | kind::AIGP => {
                Verdict::Discard
            }
            kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI => Verdict::Reset(4),
            _ => Verdict::Withdraw("attribute flags error"),
        };
    }
    value(attr, codec)
}

/// An attribute that we have no use for is passed on as it came (RFC 4271 §9), but for one whose corrupt kin went around the world.
fn unknown(attr: Attr<'_>, codec: &Codec) -> Verdict {
    match attr.kind {
        // RFC 8669 §4: nobody outside is asked for segments.
        kind::PREFIX_SID if codec.ebgp => Verdict::Discard,
        _ => Verdict::Keep,
    }
}

fn value(attr: Attr<'_>, codec: &Codec) -> Verdict {
    let length = attr.value.len();
    let words = length > 0 && length.is_multiple_of(4);
    let held = |good: bool, why: &'static str| {
        if good { Verdict::Keep } else { Verdict::Withdraw(why) }
    };
    match attr.kind {
        // RFC 7606 §7.1
        kind::ORIGIN => held(matches!(attr.value, [0..=2]), "ORIGIN is not 0, 1 or 2"),
        // RFC 7606 §7.2
        kind::AS_PATH => as_path(attr.value, codec),
        // RFC 7606 §7.3
        kind::NEXT_HOP if length != 4 => Verdict::Withdraw("NEXT_HOP is not 4 octets long"),
        // RFC 4271 §6.3 with RFC 7606 §3 e: it must be a valid IP host address.
        kind::NEXT_HOP => held(is_v4_host(attr.value), "NEXT_HOP is no address of a host"),
        // RFC 7606 §7.4
        kind::MULTI_EXIT_DISC => held(length == 4, "MULTI_EXIT_DISC is not 4 octets long"),
        // RFC 7606 §7.5, §7.9, §7.10: discarded from external peers, whatever they say.
        kind::LOCAL_PREF | kind::ORIGINATOR_ID | kind::CLUSTER_LIST if codec.ebgp => Verdict::Discard,
        kind::LOCAL_PREF => held(length == 4, "LOCAL_PREF is not 4 octets long"),
        kind::ORIGINATOR_ID => held(length == 4, "ORIGINATOR_ID is not 4 octets long"),
        kind::CLUSTER_LIST => held(words, "CLUSTER_LIST is not a multiple of 4 octets"),
        // RFC 7606 §7.6
        kind::ATOMIC_AGGREGATE => discard_unless(length == 0),
        // RFC 7606 §7.7; RFC 7607 §2: AS 0
        kind::AGGREGATOR => discard_unless(aggregator(attr.value, if codec.as4 { 4 } else { 2 })),
        // RFC 7606 §7.8
        kind::COMMUNITIES => held(words, "COMMUNITIES is not a multiple of 4 octets"),
        // RFC 7606 §7.14
        kind::EXTENDED_COMMUNITIES => {
            held(length > 0 && length.is_multiple_of(8), "EXTENDED COMMUNITIES is not a multiple of 8 octets")
        }
        // RFC 7606 §7.15
        kind::IPV6_EXTENDED_COMMUNITIES => held(
            length > 0 && length.is_multiple_of(20),
            "IPv6 Address Specific Extended Communities are not a multiple of 20 octets",
        ),
        // RFC 9234 §5
        kind::ONLY_TO_CUSTOMER => held(length == 4, "ONLY_TO_CUSTOMER is not 4 octets long"),
        // RFC 7311 §3.1: no session of ours is enabled for it, so it ends here.
        kind::AIGP => Verdict::Discard,
        // RFC 8092 §5
        kind::LARGE_COMMUNITIES => {
            held(length > 0 && length.is_multiple_of(12), "LARGE_COMMUNITY is not a multiple of 12 octets")
        }
        // RFC 6793 §6: discarded when malformed, and from speakers that have no need of them.
        kind::AS4_PATH => discard_unless(!codec.as4 && segments(attr.value, 4).is_some()),
        kind::AS4_AGGREGATOR => discard_unless(!codec.as4 && aggregator(attr.value, 4)),
        _ => Verdict::Keep,
    }
}

/// Neither of "this network", nor loopback, multicast or broadcast.
fn is_v4_host(value: &[u8]) -> bool {
    value.first_chunk::<4>().is_some_and(|octets| {
        let address = Ipv4Addr::from(*octets);
        octets[0] != 0 && !address.is_loopback() && !address.is_multicast() && !address.is_broadcast()
    })
}

/// Whether packets may be sent there: RFC 4760 §3 asks for the address of a router.
pub(super) fn is_usable(next_hop: &NextHop) -> bool {
    if next_hop.link_local.is_some() {
        // `::` or the link-local address itself may stand before it.
        return true;
    }
    match next_hop.addr {
        IpAddr::V4(v4) => is_v4_host(&v4.octets()),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast(),
    }
}

const fn discard_unless(good: bool) -> Verdict {
    if good { Verdict::Keep } else { Verdict::Discard }
}

fn aggregator(value: &[u8], width: usize) -> bool {
    let read = exact(value, (take(width), take(4_usize)));
    read.is_some_and(|(asn, _address): (&[u8], _)| asn.iter().any(|&octet| octet != 0))
}

fn as_path(value: &[u8], codec: &Codec) -> Verdict {
    match segments(value, if codec.as4 { 4 } else { 2 }) {
        None => Verdict::Withdraw("malformed AS_PATH"),
        // RFC 5065 §5: a neighbour outside the confederation must not send these.
        Some(Confederation::Present) if codec.ebgp => Verdict::Withdraw("confederation segment from an external peer"),
        Some(_) => Verdict::Keep,
    }
}

/// Whether a well-formed path holds confederation segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confederation {
    Absent,
    Present,
}

/// RFC 7606 §7.2: unknown segment types, empty segments and overruns are malformed; so is AS 0 (RFC 7607 §2).
fn segments(mut value: &[u8], width: usize) -> Option<Confederation> {
    let mut found = Confederation::Absent;
    while !value.is_empty() {
        let (segment, asns, rest) = split_segment(value, width)?;
        if !(1..=4).contains(&segment) || asns.is_empty() {
            return None;
        }
        if asns.chunks_exact(width).any(|asn| asn.iter().all(|&octet| octet == 0)) {
            return None;
        }
        if segment > 2 {
            found = Confederation::Present;
        }
        value = rest;
    }
    Some(found)
}

/// A two-octet path, already checked, with four-octet numbers.
pub(super) fn widened(mut value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 2);
    while let Some((segment, asns, rest)) = split_segment(value, 2) {
        let (asns, _) = asns.as_chunks::<2>();
        out.extend([segment, u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
        out.extend(asns.iter().flat_map(|&[high, low]| [0, 0, high, low]));
        value = rest;
    }
    out
}

/// Puts the four-octet numbers of AS4_PATH and AS4_AGGREGATOR where AS_TRANS stands (RFC 6793 §4.2.3).
pub(super) fn merge_as4(block: &mut Vec<u8>, path: Option<&[u8]>, aggregator: Option<&[u8]>) {
    if let Some(current) = Attrs(block).value(kind::AGGREGATOR)
        && let Some(aggregator) = aggregator
    {
        if current.first_chunk::<4>() != Some(&Asn::TRANS.0.to_be_bytes()) {
            // An old speaker re-aggregated, so both AS4 attributes are stale.
            return;
        }
        *block = with(block, OPTIONAL_TRANSITIVE, kind::AGGREGATOR, Some(aggregator));
    }
    if let Some(merged) = path.and_then(|path| merged_path(Attrs(block).as_path(), AsPath(path))) {
        *block = with(block, WELL_KNOWN, kind::AS_PATH, Some(&merged));
    }
}

/// As much of the front of `current` as `tail` does not have, then `tail`; `None` if `tail` has more than `current`: then it is not
/// to be believed (RFC 6793 §4.2.3).
fn merged_path(current: AsPath<'_>, tail: AsPath<'_>) -> Option<Vec<u8>> {
    let mut lead = current.hop_count().checked_sub(tail.hop_count())?;
    let mut merged = Vec::with_capacity(current.0.len());
    for segment in current.segments() {
        let (hops, taken) = match segment.kind {
            // A set counts as one hop and is taken whole.
            1 => (1, segment.len()),
            2 => (segment.len().min(lead), segment.len().min(lead)),
            // Confederation segments count for nothing and come along in front of, and next to, what is taken.
            _ => (0, segment.len()),
        };
        if hops > lead || (lead == 0 && segment.kind <= 2) {
            break;
        }
        lead -= hops;
        merged.extend([segment.kind, u8::try_from(taken).unwrap_or(u8::MAX)]);
        merged.extend(segment.asns().take(taken).flat_map(|asn| asn.0.to_be_bytes()));
        if taken < segment.len() {
            break;
        }
    }
    // RFC 6793 §3: confederation segments have no place in AS4_PATH and are left out.
    merged.extend_from_slice(&tail.outside());
    Some(merged)
}
