//! What an UPDATE of ours must look like, whatever it says: checked on every one that a peer of the plant is told, from its bytes.

use weft_bgp::wire::attrs::{Attr, AttrIter, Attrs, community, flag, kind};
use weft_bgp::wire::{Codec, HEADER_BYTES};

/// Attributes of the registry that we write, with the class their flags must have.
const CLASSES: [(u8, u8); 17] = [
    (kind::ORIGIN, flag::TRANSITIVE),
    (kind::AS_PATH, flag::TRANSITIVE),
    (kind::NEXT_HOP, flag::TRANSITIVE),
    (kind::MULTI_EXIT_DISC, flag::OPTIONAL),
    (kind::LOCAL_PREF, flag::TRANSITIVE),
    (kind::ATOMIC_AGGREGATE, flag::TRANSITIVE),
    (kind::AGGREGATOR, flag::OPTIONAL | flag::TRANSITIVE),
    (kind::COMMUNITIES, flag::OPTIONAL | flag::TRANSITIVE),
    (kind::ORIGINATOR_ID, flag::OPTIONAL),
    (kind::CLUSTER_LIST, flag::OPTIONAL),
    (kind::MP_REACH_NLRI, flag::OPTIONAL),
    (kind::MP_UNREACH_NLRI, flag::OPTIONAL),
    (kind::EXTENDED_COMMUNITIES, flag::OPTIONAL | flag::TRANSITIVE),
    (kind::AS4_PATH, flag::OPTIONAL | flag::TRANSITIVE),
    (kind::AS4_AGGREGATOR, flag::OPTIONAL | flag::TRANSITIVE),
    (kind::IPV6_EXTENDED_COMMUNITIES, flag::OPTIONAL | flag::TRANSITIVE),
    (kind::LARGE_COMMUNITIES, flag::OPTIONAL | flag::TRANSITIVE),
];

/// Fails on the first thing that RFC 4271, RFC 4760 or RFC 7606 would not have in an UPDATE. `first`: the AS that must lead the path
/// told to an external peer, if one must. `block`: the attributes as the reader understood them.
///
/// # Panics
/// If something is wrong.
pub fn update(message: &[u8], codec: &Codec, first: Option<u32>, block: &[u8]) {
    let field = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    assert_eq!(field(16), message.len(), "the header's length");
    assert!(message.len() <= codec.max_message, "{} octets", message.len());
    let withdrawn = field(HEADER_BYTES);
    let start = HEADER_BYTES + 4 + withdrawn;
    let length = field(start - 2);
    let nlri = message.len() - start - length;
    let mut walk = AttrIter::new(&message[start..start + length]);
    let all: Vec<Attr<'_>> = walk.by_ref().collect();
    assert!(walk.rest().is_empty(), "attributes overrun");
    order(&all);
    all.iter().for_each(flags);
    let has = |wanted: u8| all.iter().any(|attr| attr.kind == wanted);
    let (reach, unreach) = (has(kind::MP_REACH_NLRI), has(kind::MP_UNREACH_NLRI));
    // RFC 7606 §5.1: one of the four places, not several.
    let places = [withdrawn > 0, nlri > 0, reach, unreach].into_iter().filter(|used| *used).count();
    assert!(places <= 1, "{places} places for prefixes");
    if nlri == 0 && !reach {
        assert!(all.len() <= usize::from(unreach), "attributes of nothing");
        return;
    }
    // RFC 4271 §5, RFC 4760 §3.
    assert!(has(kind::ORIGIN) && has(kind::AS_PATH), "mandatory attributes are missing");
    assert_eq!(has(kind::NEXT_HOP), nlri > 0, "NEXT_HOP goes with NLRI");
    assert!(!codec.as4 || !(has(kind::AS4_PATH) || has(kind::AS4_AGGREGATOR)), "RFC 6793 §4.1");
    assert_eq!(has(kind::LOCAL_PREF), !codec.ebgp, "RFC 4271 §5.1.5");
    path(Attrs(block), codec, first);
    communities(Attrs(block), codec);
}

/// RFC 7606 §5.1: the MP attributes first; RFC 4271 §5: the others by type, none twice.
fn order(all: &[Attr<'_>]) {
    let is_mp = |attr: &Attr<'_>| matches!(attr.kind, kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI);
    let rest = all.iter().skip_while(|attr| is_mp(attr));
    assert!(rest.map(|attr| attr.kind).is_sorted_by(|a, b| a < b), "attributes out of order");
    assert!(all.iter().skip(1).all(|attr| !is_mp(attr)), "an MP attribute is not the first");
}

/// RFC 4271 §4.3: the class of each attribute, Partial only on optional transitive ones, Extended Length where it is needed.
fn flags(attr: &Attr<'_>) {
    let class = attr.flags & (flag::OPTIONAL | flag::TRANSITIVE);
    let passing = flag::OPTIONAL | flag::TRANSITIVE;
    assert_eq!(attr.flags & 0x0f, 0, "unused flags of {}", attr.kind);
    assert!(class == passing || attr.flags & flag::PARTIAL == 0, "Partial on {}", attr.kind);
    let is_mp = matches!(attr.kind, kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI);
    assert!(is_mp || (attr.flags & flag::EXTENDED != 0) == (attr.value.len() > 255), "length of {}", attr.kind);
    match CLASSES.iter().find(|(kind, _)| *kind == attr.kind) {
        Some((_, expected)) => assert_eq!(class, *expected, "flags of {}", attr.kind),
        // RFC 4271 §9: somebody else's, handed on; RFC 9234 §5: OTC is ours to write.
        None if attr.kind == kind::ONLY_TO_CUSTOMER => assert_eq!(class, passing),
        None => assert_eq!(attr.flags & 0xe0, passing | flag::PARTIAL, "unrecognised {}", attr.kind),
    }
}

/// RFC 4271 §5.1.2, RFC 5065 §4.1, RFC 7607 §2.
fn path(attrs: Attrs<'_>, codec: &Codec, first: Option<u32>) {
    let path = attrs.as_path();
    assert!(path.segments().all(|segment| !segment.is_empty() && segment.asns().all(|asn| asn.0 != 0)), "{path}");
    if codec.ebgp {
        assert!(path.segments().all(|segment| segment.kind <= 2), "confederation segments told outside: {path}");
        assert!(attrs.originator_id().is_none() && attrs.cluster_list().next().is_none(), "RFC 4456 §8");
        assert!(first.is_none() || path.first_as().map(|asn| asn.0) == first, "{path} does not begin with {first:?}");
    }
}

/// RFC 1997, RFC 4360 §6: what must not leave the AS, or not be told at all.
fn communities(attrs: Attrs<'_>, codec: &Codec) {
    assert!(!attrs.has_community(community::NO_ADVERTISE), "NO_ADVERTISE is told");
    if codec.ebgp {
        let inside = [community::NO_EXPORT, community::NO_EXPORT_SUBCONFED];
        assert!(!inside.into_iter().any(|word| attrs.has_community(word)), "NO_EXPORT is told outside");
    }
}
