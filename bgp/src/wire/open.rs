//! OPEN and its capabilities (RFC 4271 §4.2, RFC 5492, RFC 9072): read into [`Open`], written from it.

use super::capability::Capabilities;
use super::read::{Parsed, Wrong, each, whole};
use super::{HEADER_BYTES, Kind, Notification, put_header};
use crate::types::{Asn, Family, RouterId};
use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::bytes::complete::{tag, take};
use nom::combinator::{all_consuming, cond, opt};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::sequence::preceded;
use std::net::Ipv4Addr;

/// BGP version (RFC 4271 §4.2).
const VERSION: u8 = 4;
/// Optional parameter type: capabilities (RFC 5492 §4).
const PARAMETER_CAPABILITIES: u8 = 2;
/// Optional parameter type that selects the extended form (RFC 9072 §2).
const PARAMETER_EXTENDED: u8 = 255;

/// An OPEN, its capabilities decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS, from the four-octet capability if present (RFC 6793 §4.1).
    pub asn: Asn,
    /// Proposed hold time, seconds: 0 or ≥ 3.
    pub hold_time_s: u16,
    /// BGP identifier, never 0.0.0.0 (RFC 6286 §2.1).
    pub router_id: RouterId,
    /// What the sender can do.
    pub can: Capabilities,
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
            self.can.read(kind, value);
            Ok((input, ()))
        })
    }

    /// Appends the whole message, one optional parameter per capability as old speakers expect (RFC 5492 §4), in the extended form
    /// only if they do not fit otherwise (RFC 9072 §2).
    pub fn put(&self, buf: &mut BytesMut) {
        let mut options = BytesMut::new();
        self.can.for_each(|kind, value| put_parameter(&mut options, false, kind, value));
        let extended = options.len() > usize::from(u8::MAX);
        if extended {
            options.clear();
            self.can.for_each(|kind, value| put_parameter(&mut options, true, kind, value));
        }
        put_header(buf, 10 + if extended { 3 } else { 0 } + options.len(), Kind::Open);
        buf.put_u8(VERSION);
        // RFC 6793 §4.1: AS_TRANS stands for a number that needs four octets.
        let short = u16::try_from(self.asn.0).unwrap_or(23_456);
        buf.put_u16(short);
        buf.put_u16(self.hold_time_s);
        buf.put_slice(&self.router_id.octets());
        buf.put_u8(u8::try_from(options.len()).unwrap_or(u8::MAX));
        if extended {
            // RFC 9072 §2: 255 where the length of the short form was, then the type that says so.
            buf.put_u8(PARAMETER_EXTENDED);
            buf.put_u16(u16::try_from(options.len()).unwrap_or(u16::MAX));
        }
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
    let mut open = Open { asn: Asn(u32::from(asn)), hold_time_s, router_id, can: Capabilities::default() };
    let (rest, ()) = open.parse_parameters(length, input)?;
    open.asn = open.can.as4.unwrap_or(open.asn);
    if open.can.families.is_empty() {
        open.can.families.push(Family::Ipv4Unicast);
    }
    if open.asn.0 == 0 {
        // RFC 7607 §2
        return refused(Wrong::Value(2));
    }
    Ok((rest, open))
}

/// One capability in a parameter of its own, whose length has one octet, or two in the extended form.
fn put_parameter(options: &mut BytesMut, extended: bool, kind: u8, value: &[u8]) {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    options.put_u8(PARAMETER_CAPABILITIES);
    if extended {
        options.put_u16(u16::from(length) + 2);
    } else {
        options.put_u8(length.saturating_add(2));
    }
    options.put_u8(kind);
    options.put_u8(length);
    options.put_slice(value);
}

#[cfg(test)]
mod tests {
    use super::super::capability::{LongLived, PathDirections, Role};
    use super::*;
    use crate::peer::PeerRestart;
    use proptest::prelude::*;

    fn sample() -> Open {
        let graceful = PeerRestart {
            restarted: true,
            notification: true,
            time_s: 120,
            families: vec![(Family::Ipv4Unicast, true), (Family::Ipv6Unicast, false)],
        };
        Open {
            asn: Asn(4_200_000_104),
            hold_time_s: 9,
            router_id: Ipv4Addr::new(10, 69, 0, 4),
            can: Capabilities {
                as4: Some(Asn(4_200_000_104)),
                families: Family::ALL.to_vec(),
                extended_next_hop: true,
                route_refresh: true,
                enhanced_refresh: true,
                extended_message: true,
                link_local_next_hop: true,
                add_path: [PathDirections { receive: true, send: false }, PathDirections { receive: true, send: true }],
                roles: vec![Role::Customer.to_wire()],
                graceful: Some(graceful),
                long_lived: vec![LongLived { family: Family::Ipv6Unicast, forwarding: true, time_s: 86_400 }],
                knows_long_lived: true,
                bfd_strict: true,
                hostname: Some("node4.example.net".to_owned()),
            },
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
        assert_eq!(open.can.families, [Family::Ipv4Unicast]);
        assert_eq!(open.can.as4, None);
        assert_eq!(open.asn, Asn(65_001));
        assert_eq!(open.can.graceful, None);
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
        assert!(open.can.route_refresh);
        let open = Open::decode(&raw(255, &[255, 0, 5, 2, 0, 2, 2, 0])).unwrap();
        assert!(open.can.route_refresh);
        assert!(Open::decode(&raw(255, &[255, 0, 9, 2, 0, 2, 2, 0])).is_err());
    }

    proptest! {
        #[test]
        fn any_parameters_are_read_without_panic(length in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Open::decode(&raw(length, &bytes));
        }
    }
}
