//! Capabilities of an OPEN (RFC 5492 and the RFC of each): one TLV each, read into [`Capabilities`] and written from it. Knows
//! nothing of what both sides then make of it; that is `fsm/negotiate`.

use super::read::{Parsed, exact, family};
use crate::peer::PeerRestart;
use crate::types::{Asn, Family};
use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::combinator::{opt, rest};
use nom::multi::{length_data, many0};
use nom::number::complete::{be_u8, be_u16, be_u24, be_u32};
use nom::sequence::terminated;
use serde::{Deserialize, Serialize};

/// Capability codes (IANA "Capability Codes").
mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED: u8 = 71;
    pub(super) const FQDN: u8 = 73;
    pub(super) const BFD_STRICT: u8 = 74;
    pub(super) const LINK_LOCAL_NEXT_HOP: u8 = 77;
}

/// The R bit of the graceful restart flags (RFC 4724 §3), and the F bit of a family's.
const RESTARTED: u16 = 0x8000;
/// The N bit: graceful restart after a NOTIFICATION too (RFC 8538 §2).
const NOTIFICATION: u16 = 0x4000;
/// The restart time: twelve bits.
const TIME: u16 = 0x0fff;
/// Forwarding state was kept for a family (RFC 4724 §3, RFC 9494 §3.1).
const FORWARDING: u8 = 0x80;

/// Longest name that is told or kept: one octet says its length, another one has to fit behind it.
const HOSTNAME_MAX: usize = 128;

/// What a sender is to the receiver (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// 0: sells transit to the other.
    Provider,
    /// 1: a route server.
    RouteServer,
    /// 2: a client of a route server.
    RouteServerClient,
    /// 3: buys transit from the other.
    Customer,
    /// 4: exchanges its own and its customers' routes.
    Peer,
}

impl Role {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    /// The only role that the other end may have (RFC 9234 §4.2, table 2).
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }
}

/// The Send/Receive field of a family (RFC 7911 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathDirections {
    /// The sender of the capability can receive several paths for a prefix (1 or 3).
    pub receive: bool,
    /// It would send several (2 or 3).
    pub send: bool,
}

/// A family of the long-lived graceful restart capability (RFC 9494 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongLived {
    /// Which.
    pub family: Family,
    /// F bit.
    pub forwarding: bool,
    /// Long-lived stale time, seconds, 24 bits.
    pub time_s: u32,
}

/// The capabilities of one OPEN that we know. Others are ignored (RFC 5492 §4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Four-octet AS numbers, and the sender's (RFC 6793 §3).
    pub as4: Option<Asn>,
    /// Families by multiprotocol capability (RFC 4760 §8); without any, IPv4 unicast alone is meant.
    pub families: Vec<Family>,
    /// IPv4 unicast NLRI may have IPv6 next hops (RFC 8950 §4).
    pub extended_next_hop: bool,
    /// ROUTE-REFRESH is understood (RFC 2918 §2).
    pub route_refresh: bool,
    /// So are its demarcations (RFC 7313 §3.1).
    pub enhanced_refresh: bool,
    /// Messages of up to 65,535 octets may be sent to this speaker (RFC 8654 §3).
    pub extended_message: bool,
    /// A next hop may be a link-local address alone (draft-ietf-idr-linklocal-capability §3).
    pub link_local_next_hop: bool,
    /// Several paths for a prefix, by [`Family::index`] (RFC 7911 §4).
    pub add_path: [PathDirections; 2],
    /// Each role that was claimed, as the number on the wire: none is not role 0, and more than one is a fault (RFC 9234 §4.2).
    pub roles: Vec<u8>,
    /// Graceful restart (RFC 4724 §3).
    pub graceful: Option<PeerRestart>,
    /// Long-lived graceful restart (RFC 9494 §3.1).
    pub long_lived: Vec<LongLived>,
    /// That capability was there, if without a family: its sender knows long-lived stale routes, and keeps none of ours.
    pub knows_long_lived: bool,
    /// No session before BFD is Up (draft-ietf-idr-bgp-bfd-strict-mode §5).
    pub bfd_strict: bool,
    /// The sender's name, with its domain if it says one (draft-walton-bgp-hostname-capability §3).
    pub hostname: Option<String>,
}

impl Capabilities {
    /// One capability. A known one with an impossible body is ignored, as an unknown one would be (RFC 5492 §4).
    pub(super) fn read(&mut self, kind: u8, value: &[u8]) {
        match kind {
            code::MULTIPROTOCOL => {
                let family = exact(value, family).flatten();
                self.families.extend(family.filter(|family| !self.families.contains(family)));
            }
            code::ROUTE_REFRESH => self.route_refresh |= value.is_empty(),
            code::EXTENDED_NEXT_HOP => {
                // RFC 8950 §4: triples of AFI, SAFI (two octets), next hop AFI; ours is 1, 1, 2.
                let triples = exact(value, terminated(many0((be_u16, be_u16, be_u16)), rest));
                self.extended_next_hop |= triples.is_some_and(|triples| triples.contains(&(1, 1, 2)));
            }
            code::EXTENDED_MESSAGE => self.extended_message |= value.is_empty(),
            code::ROLE => {
                // RFC 9234 §4.1: one octet. §4.2: the same value again is the same capability.
                let role = exact(value, be_u8);
                self.roles.extend(role.filter(|role| !self.roles.contains(role)));
            }
            // RFC 4724 §3: of several, the last counts.
            code::GRACEFUL_RESTART => self.graceful = exact(value, parse_graceful).or_else(|| self.graceful.take()),
            code::FOUR_OCTET_AS => self.as4 = exact(value, be_u32).map(Asn).or(self.as4),
            code::ADD_PATH => self.read_add_path(value),
            code::ENHANCED_REFRESH => self.enhanced_refresh |= value.is_empty(),
            code::LONG_LIVED => {
                if let Some(families) = exact(value, parse_long_lived) {
                    self.long_lived = families;
                    self.knows_long_lived = true;
                }
            }
            code::BFD_STRICT => self.bfd_strict |= value.is_empty(),
            // Of several, the last counts; a name that is none is not said.
            code::FQDN => self.hostname = exact(value, parse_fqdn).flatten().or_else(|| self.hostname.take()),
            code::LINK_LOCAL_NEXT_HOP => self.link_local_next_hop |= value.is_empty(),
            _ => {}
        }
    }

    /// RFC 7911 §4: a value other than 1, 2 and 3 is not understood, and ignored.
    fn read_add_path(&mut self, value: &[u8]) {
        for (afi, safi, directions) in exact(value, many0((be_u16, be_u8, be_u8))).unwrap_or_default() {
            if let Some(family) = Family::from_wire(afi, safi)
                && matches!(directions, 1..=3)
            {
                self.add_path[family.index()] =
                    PathDirections { receive: directions & 1 != 0, send: directions & 2 != 0 };
            }
        }
    }

    /// Calls `put` with code and value of each, in the order of the codes.
    pub(crate) fn for_each(&self, mut put: impl FnMut(u8, &[u8])) {
        for &family in &self.families {
            let [high, low] = family.afi().to_be_bytes();
            put(code::MULTIPROTOCOL, &[high, low, 0, 1]);
        }
        if self.route_refresh {
            put(code::ROUTE_REFRESH, &[]);
        }
        if self.extended_next_hop {
            put(code::EXTENDED_NEXT_HOP, &[0, 1, 0, 1, 0, 2]);
        }
        if self.extended_message {
            put(code::EXTENDED_MESSAGE, &[]);
        }
        for &role in &self.roles {
            put(code::ROLE, &[role]);
        }
        if let Some(graceful) = &self.graceful {
            put(code::GRACEFUL_RESTART, &graceful_value(graceful));
        }
        if let Some(asn) = self.as4 {
            put(code::FOUR_OCTET_AS, &asn.0.to_be_bytes());
        }
        let paths = self.add_path_value();
        if !paths.is_empty() {
            put(code::ADD_PATH, &paths);
        }
        if self.enhanced_refresh {
            put(code::ENHANCED_REFRESH, &[]);
        }
        if self.knows_long_lived || !self.long_lived.is_empty() {
            put(code::LONG_LIVED, &long_lived_value(&self.long_lived));
        }
        if let Some(hostname) = &self.hostname {
            put(code::FQDN, &fqdn_value(hostname));
        }
        if self.bfd_strict {
            put(code::BFD_STRICT, &[]);
        }
        if self.link_local_next_hop {
            put(code::LINK_LOCAL_NEXT_HOP, &[]);
        }
    }

    fn add_path_value(&self) -> Vec<u8> {
        let mut value = Vec::new();
        for family in Family::ALL {
            let PathDirections { receive, send } = self.add_path[family.index()];
            if receive || send {
                value.extend(family.afi().to_be_bytes());
                value.extend([1, u8::from(receive) | u8::from(send) << 1]);
            }
        }
        value
    }
}

/// Flags and time, then AFI, SAFI and flags of each family (RFC 4724 §3); a part of an entry at the end is ignored.
fn parse_graceful(input: &[u8]) -> Parsed<'_, PeerRestart> {
    let (input, (time, entries, _)) = (be_u16, many0((be_u16, be_u8, be_u8)), rest).parse(input)?;
    let families = entries
        .into_iter()
        .filter_map(|(afi, safi, flags)| Some((Family::from_wire(afi, safi)?, flags & FORWARDING != 0)))
        .collect();
    let (restarted, notification) = (time & RESTARTED != 0, time & NOTIFICATION != 0);
    Ok((input, PeerRestart { restarted, notification, time_s: time & TIME, families }))
}

fn graceful_value(graceful: &PeerRestart) -> Vec<u8> {
    let restarted = if graceful.restarted { RESTARTED } else { 0 };
    let notification = if graceful.notification { NOTIFICATION } else { 0 };
    let mut value = (graceful.time_s & TIME | restarted | notification).to_be_bytes().to_vec();
    for &(family, forwarding) in &graceful.families {
        value.extend(family.afi().to_be_bytes());
        value.extend([1, if forwarding { FORWARDING } else { 0 }]);
    }
    value
}

/// Name and domain, each with an octet of length before it (draft-walton-bgp-hostname-capability §3); some speakers leave the domain
/// out. Only what a person can be shown is a name.
fn parse_fqdn(input: &[u8]) -> Parsed<'_, Option<String>> {
    let domain = opt(length_data(be_u8)).map(Option::unwrap_or_default);
    let (input, (name, domain, _)) = (length_data(be_u8), domain, rest).parse(input)?;
    let text = |octets: &[u8]| {
        let text = str::from_utf8(octets).ok()?;
        text.chars().all(|c| c.is_ascii_graphic()).then(|| text.to_owned())
    };
    let full = match (text(name), text(domain)) {
        (Some(name), Some(domain)) if !name.is_empty() && !domain.is_empty() => Some(format!("{name}.{domain}")),
        (name, _) => name.filter(|name| !name.is_empty()),
    };
    Ok((input, full.map(|name| name.chars().take(HOSTNAME_MAX).collect())))
}

/// The name alone: with a domain it is told as one name.
fn fqdn_value(hostname: &str) -> Vec<u8> {
    let name: Vec<u8> = hostname.bytes().filter(u8::is_ascii_graphic).take(HOSTNAME_MAX).collect();
    let mut value = vec![u8::try_from(name.len()).unwrap_or_default()];
    value.extend(name);
    value.push(0);
    value
}

/// AFI, SAFI, flags and 24 bits of time of each family (RFC 9494 §3.1); a part of an entry at the end is ignored.
fn parse_long_lived(input: &[u8]) -> Parsed<'_, Vec<LongLived>> {
    let (input, (entries, _)) = (many0((be_u16, be_u8, be_u8, be_u24)), rest).parse(input)?;
    let families = entries.into_iter().filter_map(|(afi, safi, flags, time_s)| {
        let family = Family::from_wire(afi, safi)?;
        Some(LongLived { family, forwarding: flags & FORWARDING != 0, time_s })
    });
    Ok((input, families.collect()))
}

fn long_lived_value(families: &[LongLived]) -> Vec<u8> {
    let mut value = BytesMut::new();
    for &LongLived { family, forwarding, time_s } in families {
        value.put_u16(family.afi());
        value.put_u8(1);
        value.put_u8(if forwarding { FORWARDING } else { 0 });
        value.put_uint(u64::from(time_s & 0x00ff_ffff), 3);
    }
    value.to_vec()
}
