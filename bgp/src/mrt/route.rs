//! From the path attributes of a table dump to a route as the table holds it: a canonical block and a next hop.
//!
//! The attributes are put into an UPDATE that announces the prefix, and that is decoded: what RFC 7606 says of a bad attribute
//! holds here too.

use crate::types::{Family, IpNet, NextHop};
use crate::wire::attrs::{Attr, AttrIter, flag, kind, put};
use crate::wire::update::expected_flags;
use crate::wire::{Codec, HEADER_BYTES, nlri, update};
use std::net::IpAddr;

/// The path attributes of an entry, as they lie in the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes<'a> {
    /// As in an UPDATE, but for MP_REACH_NLRI (RFC 6396 §4.3.4).
    pub bytes: &'a [u8],
    /// AS numbers have four octets.
    as4: bool,
}

/// A path as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The canonical attribute block.
    pub block: Vec<u8>,
    /// Through what.
    pub next_hop: NextHop,
}

impl<'a> Attributes<'a> {
    pub(super) const fn two_octets(bytes: &'a [u8]) -> Self {
        Self { bytes, as4: false }
    }

    pub(super) const fn four_octets(bytes: &'a [u8]) -> Self {
        Self { bytes, as4: true }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The route to `prefix`. Entries with equal attributes and prefixes of one family give equal routes.
    ///
    /// # Errors
    /// Why nobody could announce this: an attribute is malformed or missing (RFC 7606).
    pub fn route(&self, prefix: &IpNet) -> Result<Route, &'static str> {
        let family = Family::of(prefix);
        let mut attributes = Vec::with_capacity(self.bytes.len() + 32);
        let mut walk = AttrIter::new(self.bytes);
        let (mut has_local_pref, mut hop) = (false, None);
        for attr in walk.by_ref() {
            match attr.kind {
                kind::MP_REACH_NLRI => hop = Some(reach_hop(attr.value)?),
                kind::MP_UNREACH_NLRI => {}
                // BIRD 2.0 leaves them out, and between the two ends of a session they mean nothing any more.
                _ => put(&mut attributes, flags(attr), attr.kind, attr.value),
            }
            has_local_pref |= attr.kind == kind::LOCAL_PREF;
        }
        if !walk.rest().is_empty() {
            return Err("an attribute overruns the attribute length");
        }
        let mut nlri = Vec::with_capacity(17);
        nlri::put(prefix, &mut nlri);
        if let Some(hop) = hop {
            let head = [&family.afi().to_be_bytes()[..], &[1, u8::try_from(hop.len()).unwrap_or(0)]].concat();
            let value = [&head[..], hop, &[0], &nlri].concat();
            put(&mut attributes, flag::OPTIONAL, kind::MP_REACH_NLRI, &value);
        } else if family == Family::Ipv6Unicast {
            return Err("MP_REACH_NLRI is missing");
        }
        let length = u16::try_from(attributes.len()).map_err(|_| "its attributes are longer than any message")?;
        let mut message = vec![0; HEADER_BYTES + 2];
        message.extend(length.to_be_bytes());
        message.extend(attributes);
        if hop.is_none() {
            message.extend(nlri);
        }
        // LOCAL_PREF is there if the route came from an internal peer (RFC 4271 §5.1.5); from others it would be discarded.
        let codec = Codec { ebgp: !has_local_pref, ..codec(self.as4) };
        decode(&message, &codec)
    }
}

/// The flags that an attribute has on the wire (RFC 7606 §3 c), whatever the writer of the dump made of them.
fn flags(attr: Attr<'_>) -> u8 {
    expected_flags(attr.kind).map_or(attr.flags, |class| class | attr.flags & flag::PARTIAL)
}

/// How the messages of a dump are read: as an external peer's, with everything that its session may have negotiated but path
/// identifiers.
#[must_use]
pub const fn codec(as4: bool) -> Codec {
    Codec { as4, families: [true; 2], extended_next_hop: true, ..Codec::PLAIN }
}

/// The next hop of MP_REACH_NLRI: dumps hold its length and its octets alone (RFC 6396 §4.3.4), or, against the RFC but often
/// seen, the whole attribute. Of that the first octet is 0, for the AFI.
fn reach_hop(value: &[u8]) -> Result<&[u8], &'static str> {
    let (behind, at) = if value.first() == Some(&0) { (value.get(4..), 3) } else { (value.get(1..), 0) };
    let length = value.get(at).map(|&length| usize::from(length));
    let hop = behind.zip(length).and_then(|(behind, length)| behind.get(..length));
    hop.ok_or("the next hop of MP_REACH_NLRI overruns it")
}

fn decode(message: &[u8], codec: &Codec) -> Result<Route, &'static str> {
    let mut block = Vec::new();
    let update = update::decode(message, codec, &mut block).map_err(|_| "the attributes are malformed")?;
    if let Some((_, why)) = update.withdraw {
        return Err(why);
    }
    let reach = update.mp_reach.map(|reach| reach.next_hop);
    let classic = update.next_hop.map(|address| NextHop::new(IpAddr::V4(address)));
    let next_hop = reach.or(classic).ok_or("NEXT_HOP is missing")?;
    Ok(Route { block, next_hop })
}
