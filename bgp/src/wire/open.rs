//! OPEN and its capabilities (RFC 4271 §4.2, RFC 5492, RFC 9072): read into [`Open`], written from it.
//!
//! Every reader of a length takes a slice of exactly that length, so no inner length can reach beyond its parent.

use super::{HEADER_BYTES, Kind, Notification, put_header};
use crate::peer::PeerRestart;
use crate::types::{Asn, Family, RouterId};
use bytes::{BufMut, BytesMut};
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
        let malformed = || Notification::new(Notification::OPEN, 0);
        let body = message.get(HEADER_BYTES..).unwrap_or_default();
        let Some((&[version, as_high, as_low, hold_high, hold_low, i1, i2, i3, i4, length], rest)) =
            body.split_first_chunk::<10>()
        else {
            return Err(malformed());
        };
        if version != VERSION {
            // RFC 4271 §6.2: data = the largest version we support.
            return Err(Notification::with_data(Notification::OPEN, 1, &[0, VERSION]));
        }
        let hold_time_s = u16::from_be_bytes([hold_high, hold_low]);
        if matches!(hold_time_s, 1 | 2) {
            return Err(Notification::new(Notification::OPEN, 6));
        }
        let router_id = Ipv4Addr::new(i1, i2, i3, i4);
        if router_id.is_unspecified() {
            // RFC 6286 §2.2
            return Err(Notification::new(Notification::OPEN, 3));
        }
        let mut open = Self {
            asn: Asn(u32::from(u16::from_be_bytes([as_high, as_low]))),
            hold_time_s,
            router_id,
            as4: false,
            families: Vec::new(),
            extended_next_hop: false,
            route_refresh: false,
            graceful: None,
        };
        open.read_parameters(length, rest)?;
        if open.families.is_empty() {
            open.families.push(Family::Ipv4Unicast);
        }
        if open.asn.0 == 0 {
            // RFC 7607 §2
            return Err(Notification::new(Notification::OPEN, 2));
        }
        Ok(open)
    }

    /// Optional parameters in either form; the first parameter type 255 selects the extended one, whatever the length octet
    /// says, as long as it is not zero (RFC 9072 §2).
    fn read_parameters(&mut self, length: u8, rest: &[u8]) -> Result<(), Notification> {
        let malformed = || Notification::new(Notification::OPEN, 0);
        let (extended, mut rest) = match rest {
            [PARAMETER_EXTENDED, high, low, inner @ ..] if length != 0 => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                (true, exactly(inner, length).ok_or_else(malformed)?)
            }
            _ => (false, exactly(rest, usize::from(length)).ok_or_else(malformed)?),
        };
        while let Some((&kind, after)) = rest.split_first() {
            let (length, after) = if extended {
                let (octets, after) = after.split_first_chunk::<2>().ok_or_else(malformed)?;
                (usize::from(u16::from_be_bytes(*octets)), after)
            } else {
                let (octet, after) = after.split_first().ok_or_else(malformed)?;
                (usize::from(*octet), after)
            };
            let (value, after) = after.split_at_checked(length).ok_or_else(malformed)?;
            if kind != PARAMETER_CAPABILITIES {
                // RFC 4271 §6.2
                return Err(Notification::new(Notification::OPEN, 4));
            }
            self.read_capabilities(value)?;
            rest = after;
        }
        Ok(())
    }

    fn read_capabilities(&mut self, mut rest: &[u8]) -> Result<(), Notification> {
        let malformed = || Notification::new(Notification::OPEN, 0);
        while let Some((&kind, after)) = rest.split_first() {
            let (&length, after) = after.split_first().ok_or_else(malformed)?;
            let (value, after) = after.split_at_checked(usize::from(length)).ok_or_else(malformed)?;
            self.read_capability(kind, value);
            rest = after;
        }
        Ok(())
    }

    /// One capability. A known one with an impossible body is ignored, as an unknown one would be (RFC 5492 §4).
    fn read_capability(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (code::MULTIPROTOCOL, &[afi_high, afi_low, _reserved, safi]) => {
                let family = Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi);
                if let Some(family) = family
                    && !self.families.contains(&family)
                {
                    self.families.push(family);
                }
            }
            (code::ROUTE_REFRESH, []) => self.route_refresh = true,
            (code::EXTENDED_NEXT_HOP, value) => {
                // RFC 8950 §4: triples of AFI, SAFI (two octets), next hop AFI; ours is 1, 1, 2.
                let (triples, _) = value.as_chunks::<6>();
                self.extended_next_hop |= triples.contains(&[0, 1, 0, 1, 0, 2]);
            }
            (code::GRACEFUL_RESTART, &[flags, time, ref families @ ..]) => {
                let (entries, _) = families.as_chunks::<4>();
                self.graceful = Some(PeerRestart {
                    restarted: flags & 0x80 != 0,
                    time_s: u16::from_be_bytes([flags & 0x0f, time]),
                    families: entries
                        .iter()
                        .filter_map(|&[high, low, safi, flags]| {
                            let afi = u16::from_be_bytes([high, low]);
                            Some((Family::from_wire(afi, safi)?, flags & 0x80 != 0))
                        })
                        .collect(),
                });
            }
            (code::FOUR_OCTET_AS, &[a, b, c, d]) => {
                self.as4 = true;
                self.asn = Asn(u32::from_be_bytes([a, b, c, d]));
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

/// `bytes`, if they are exactly `length` long.
fn exactly(bytes: &[u8], length: usize) -> Option<&[u8]> {
    (bytes.len() == length).then_some(bytes)
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
