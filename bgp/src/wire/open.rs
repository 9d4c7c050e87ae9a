//! OPEN and its capabilities (RFC 4271 §4.2, RFC 5492, RFC 9072): read into [`Open`], written from it.

use super::read::{Parsed, Wrong, each, exact, family, whole};
use super::{HEADER_BYTES, Kind, Notification, put_header};
use crate::peer::PeerRestart;
use crate::types::{Asn, Family, RouterId};
use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::bytes::complete::{tag, take};
use nom::combinator::{all_consuming, cond, opt, rest};
use nom::multi::{length_data, many0};
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::sequence::{preceded, terminated};
use std::net::Ipv4Addr;

/// BGP version (RFC 4271 §4.2).
const VERSION: u8 = 4;
/// Optional parameter type: capabilities (RFC 5492 §4).
const PARAMETER_CAPABILITIES: u8 = 2;
/// Optional parameter type that selects the extended form (RFC 9072 §2).
const PARAMETER_EXTENDED: u8 = 255;

/// Capability codes (IANA "Capability Codes").
mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
}

/// An OPEN, its capabilities decoded. Capabilities we do not know are ignored (RFC 5492 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS, from the four-octet capability if present (RFC 6793 §4.1).
    pub asn: Asn,
    /// Proposed hold time, seconds: 0 or ≥ 3.
    pub hold_time_s: u16,
    /// BGP identifier, never 0.0.0.0 (RFC 6286 §2.1).
    pub router_id: RouterId,
    /// The four-octet AS capability was present (RFC 6793).
    pub as4: bool,
    /// Families by multiprotocol capability (RFC 4760 §8); without any, IPv4 unicast alone is meant.
    pub families: Vec<Family>,
    /// IPv4 unicast NLRI may have IPv6 next hops (RFC 8950 §4).
    pub extended_next_hop: bool,
    /// ROUTE-REFRESH is understood (RFC 2918 §2).
    pub route_refresh: bool,
    /// Graceful restart (RFC 4724 §3).
    pub graceful: Option<PeerRestart>,
}

impl Open {
    /// Reads a whole message whose length the framer has checked.
    ///
    /// # Errors
    /// The NOTIFICATION of RFC 4271 §6.2.
    pub fn decode(message: &[u8]) -> Result<Self, Notification> {
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        whole(body, Notification::OPEN, 0, parse)
    }

    /// Optional parameters in either form; the first parameter type 255 selects the extended one, whatever the length octet
    /// says, as long as it is not zero (RFC 9072 §2).
    fn parse_parameters<'a>(&mut self, length: u8, input: &'a [u8]) -> Parsed<'a, ()> {
        let extended = preceded(tag(&[PARAMETER_EXTENDED][..]), be_u16);
        let (input, extended) = cond(length != 0, opt(extended)).map(Option::flatten).parse(input)?;
        let (rest, parameters) = all_consuming(take(extended.unwrap_or_else(|| u16::from(length)))).parse(input)?;
        each(parameters, |input| {
            let (input, kind) = be_u8(input)?;
            let (input, value) = match extended {
                Some(_) => length_data(be_u16).parse(input)?,
                None => length_data(be_u8).parse(input)?,
            };
            if kind != PARAMETER_CAPABILITIES {
                // RFC 4271 §6.2
                return Err(nom::Err::Failure(Wrong::Value(4)));
            }
            self.parse_capabilities(value)?;
            Ok((input, ()))
        })?;
        Ok((rest, ()))
    }

    fn parse_capabilities<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, ()> {
        each(input, |input| {
            let (input, (kind, value)) = (be_u8, length_data(be_u8)).parse(input)?;
            self.read_capability(kind, value);
            Ok((input, ()))
        })
    }

    /// One capability. A known one with an impossible body is ignored, as an unknown one would be (RFC 5492 §4).
    fn read_capability(&mut self, kind: u8, value: &[u8]) {
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
            code::GRACEFUL_RESTART => self.graceful = exact(value, parse_graceful).or_else(|| self.graceful.take()),
            code::FOUR_OCTET_AS => {
                if let Some(asn) = exact(value, be_u32) {
                    self.as4 = true;
                    self.asn = Asn(asn);
                }
            }
            _ => {}
        }
    }

    /// Appends the whole message, one optional parameter per capability as old speakers expect (RFC 5492 §4).
    pub fn put(&self, buf: &mut BytesMut) {
        let mut options = BytesMut::new();
        for &family in &self.families {
            let [high, low] = family.afi().to_be_bytes();
            put_capability(&mut options, code::MULTIPROTOCOL, &[high, low, 0, 1]);
        }
        if self.route_refresh {
            put_capability(&mut options, code::ROUTE_REFRESH, &[]);
        }
        if self.extended_next_hop {
            put_capability(&mut options, code::EXTENDED_NEXT_HOP, &[0, 1, 0, 1, 0, 2]);
        }
        if let Some(graceful) = &self.graceful {
            let [high, low] = (graceful.time_s & 0x0fff).to_be_bytes();
            let restarted = if graceful.restarted { 0x80 } else { 0 };
            let mut value = vec![high | restarted, low];
            for &(family, forwarding) in &graceful.families {
                value.extend(family.afi().to_be_bytes());
                value.extend([1, if forwarding { 0x80 } else { 0 }]);
            }
            put_capability(&mut options, code::GRACEFUL_RESTART, &value);
        }
        if self.as4 {
            put_capability(&mut options, code::FOUR_OCTET_AS, &self.asn.0.to_be_bytes());
        }
        put_header(buf, 10 + options.len(), Kind::Open);
        buf.put_u8(VERSION);
        // RFC 6793 §4.1: AS_TRANS stands for a number that needs four octets.
        let short = u16::try_from(self.asn.0).unwrap_or(23_456);
        buf.put_u16(short);
        buf.put_u16(self.hold_time_s);
        buf.put_slice(&self.router_id.octets());
        buf.put_u8(u8::try_from(options.len()).unwrap_or(u8::MAX));
        buf.put_slice(&options);
    }
}

/// The body of the message.
fn parse(input: &[u8]) -> Parsed<'_, Open> {
    let (input, (version, asn, hold_time_s, id, length)) = (be_u8, be_u16, be_u16, be_u32, be_u8).parse(input)?;
    let refused = |wrong| Err(nom::Err::Failure(wrong));
    if version != VERSION {
        // RFC 4271 §6.2: data = the largest version we support.
        return refused(Wrong::Word(1, u16::from(VERSION)));
    }
    if matches!(hold_time_s, 1 | 2) {
        return refused(Wrong::Value(6));
    }
    let router_id = Ipv4Addr::from(id);
    if router_id.is_unspecified() {
        // RFC 6286 §2.2
        return refused(Wrong::Value(3));
    }
    let mut open = Open {
        asn: Asn(u32::from(asn)),
        hold_time_s,
        router_id,
        as4: false,
        families: Vec::new(),
        extended_next_hop: false,
        route_refresh: false,
        graceful: None,
    };
    let (rest, ()) = open.parse_parameters(length, input)?;
    if open.families.is_empty() {
        open.families.push(Family::Ipv4Unicast);
    }
    if open.asn.0 == 0 {
        // RFC 7607 §2
        return refused(Wrong::Value(2));
    }
    Ok((rest, open))
}

/// Flags and time, then AFI, SAFI and flags of each family (RFC 4724 §3); a part of an entry at the end is ignored.
fn parse_graceful(input: &[u8]) -> Parsed<'_, PeerRestart> {
    let (input, (time, entries, _)) = (be_u16, many0((be_u16, be_u8, be_u8)), rest).parse(input)?;
    let families = entries
        .into_iter()
        .filter_map(|(afi, safi, flags)| Some((Family::from_wire(afi, safi)?, flags & 0x80 != 0)))
        .collect();
    Ok((input, PeerRestart { restarted: time & 0x8000 != 0, time_s: time & 0x0fff, families }))
}

fn put_capability(options: &mut BytesMut, kind: u8, value: &[u8]) {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    options.put_u8(PARAMETER_CAPABILITIES);
    options.put_u8(length.saturating_add(2));
    options.put_u8(kind);
    options.put_u8(length);
    options.put_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Open {
        Open {
            asn: Asn(4_200_000_104),
            hold_time_s: 9,
            router_id: Ipv4Addr::new(10, 69, 0, 4),
            as4: true,
            families: Family::ALL.to_vec(),
            extended_next_hop: true,
            route_refresh: true,
            graceful: Some(PeerRestart {
                restarted: true,
                time_s: 120,
                families: vec![(Family::Ipv4Unicast, true), (Family::Ipv6Unicast, false)],
            }),
        }
    }

    fn raw(parameters_length: u8, parameters: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend([4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, parameters_length]);
        bytes.extend(parameters);
        bytes
    }

    #[test]
    fn what_is_put_is_read_again() {
        let mut buf = BytesMut::new();
        sample().put(&mut buf);
        assert_eq!(Open::decode(&buf), Ok(sample()));
    }

    #[test]
    fn no_capability_means_ipv4_unicast_and_two_octet_as() {
        // RFC 4760 §8, RFC 6793 §4.1
        let open = Open::decode(&raw(0, &[])).unwrap();
        assert_eq!(open.families, [Family::Ipv4Unicast]);
        assert!(!open.as4);
        assert_eq!(open.asn, Asn(65_001));
        assert_eq!(open.graceful, None);
    }

    #[test]
    fn faults_have_their_subcodes() {
        // RFC 4271 §6.2
        let code = |bytes: &[u8]| Open::decode(bytes).unwrap_err().subcode;
        let mut version = raw(0, &[]);
        version[HEADER_BYTES] = 3;
        assert_eq!(code(&version), 1);
        let mut hold = raw(0, &[]);
        hold[HEADER_BYTES + 4] = 2;
        assert_eq!(code(&hold), 6);
        let mut identifier = raw(0, &[]);
        identifier[HEADER_BYTES + 5] = 0;
        identifier[HEADER_BYTES + 8] = 0;
        assert_eq!(code(&identifier), 3, "RFC 6286 §2.2");
        let mut zero = raw(0, &[]);
        zero[HEADER_BYTES + 1..HEADER_BYTES + 3].fill(0);
        assert_eq!(code(&zero), 2, "RFC 7607 §2");
        assert_eq!(code(&raw(2, &[1, 0])), 4);
        assert_eq!(code(&raw(4, &[2, 2, 1])), 0);
        assert_eq!(code(&raw(4, &[2, 2, 1, 4])), 0, "capability beyond its parameter");
    }

    #[test]
    fn extended_parameters_are_selected_by_the_type_not_the_length() {
        // RFC 9072 §2
        let open = Open::decode(&raw(1, &[255, 0, 5, 2, 0, 2, 2, 0])).unwrap();
        assert!(open.route_refresh);
        let open = Open::decode(&raw(255, &[255, 0, 5, 2, 0, 2, 2, 0])).unwrap();
        assert!(open.route_refresh);
        assert!(Open::decode(&raw(255, &[255, 0, 9, 2, 0, 2, 2, 0])).is_err());
    }

    proptest! {
        #[test]
        fn any_parameters_are_read_without_panic(length in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Open::decode(&raw(length, &bytes));
        }
    }
}
