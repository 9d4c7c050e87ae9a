//! Protocol data units of RFC 8210 §5 and RFC 6810 §5: read from a stream with every length checked, written by hand.

use super::Timers;
use crate::rpki::Vrp;
use crate::types::{Asn, IpNet, Ipv4Net, Ipv6Net};
use crate::wire::read::{Parsed, exact};
use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::combinator::{map_opt, rest};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u32, be_u128};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Version, type, session id or the like, length (RFC 8210 §5.1).
const HEADER_BYTES: usize = 8;
/// Longest PDU that is believed: an Error Report with a PDU and a text in it, or a router key.
const PDU_BYTES_MAX: usize = 65_536;
/// Octets of a text of ours or theirs.
const TEXT_BYTES_MAX: usize = 512;
/// Octets of a wrong PDU that go back with an Error Report: its header and the longest prefix.
const ECHO_BYTES_MAX: usize = 32;

/// Types (RFC 8210 §5).
mod kind {
    pub(super) const SERIAL_NOTIFY: u8 = 0;
    pub(super) const SERIAL_QUERY: u8 = 1;
    pub(super) const RESET_QUERY: u8 = 2;
    pub(super) const CACHE_RESPONSE: u8 = 3;
    pub(super) const IPV4_PREFIX: u8 = 4;
    pub(super) const IPV6_PREFIX: u8 = 6;
    pub(super) const END_OF_DATA: u8 = 7;
    pub(super) const CACHE_RESET: u8 = 8;
    pub(super) const ROUTER_KEY: u8 = 9;
    pub(super) const ERROR_REPORT: u8 = 10;
}

/// Error codes (RFC 8210 §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// 0
    CorruptData = 0,
    /// 1
    InternalError = 1,
    /// 2
    NoData = 2,
    /// 3
    InvalidRequest = 3,
    /// 4
    UnsupportedVersion = 4,
    /// 5
    UnsupportedType = 5,
    /// 6
    UnknownWithdrawal = 6,
    /// 7
    DuplicateAnnouncement = 7,
    /// 8
    UnexpectedVersion = 8,
}

impl ErrorCode {
    /// The words of RFC 8210 §12.
    #[must_use]
    pub const fn name(code: u16) -> &'static str {
        match code {
            0 => "Corrupt Data",
            1 => "Internal Error",
            2 => "No Data Available",
            3 => "Invalid Request",
            4 => "Unsupported Protocol Version",
            5 => "Unsupported PDU Type",
            6 => "Withdrawal of Unknown Record",
            7 => "Duplicate Announcement Received",
            8 => "Unexpected Protocol Version",
            _ => "unknown error",
        }
    }
}

/// What is wrong with what a cache sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PduFault {
    pub(super) code: ErrorCode,
    pub(super) text: &'static str,
    /// The PDU, as far as it goes back.
    pdu: Bytes,
}

impl PduFault {
    pub(super) const fn new(code: ErrorCode, text: &'static str) -> Self {
        Self { code, text, pdu: Bytes::new() }
    }
}

/// What a cache may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pdu {
    /// §5.2
    SerialNotify {
        /// Session id.
        session: u16,
        /// The newest serial number.
        serial: u32,
    },
    /// §5.5
    CacheResponse {
        /// Session id.
        session: u16,
    },
    /// §5.6, §5.7
    Prefix {
        /// Not a withdrawal.
        announce: bool,
        /// What.
        vrp: Vrp,
    },
    /// §5.8
    EndOfData {
        /// Session id.
        session: u16,
        /// Of what is now known.
        serial: u32,
        /// Not in version 0.
        timers: Option<Timers>,
    },
    /// §5.9
    CacheReset,
    /// §5.10
    RouterKey,
    /// §5.11
    ErrorReport {
        /// One of [`ErrorCode`], or another.
        code: u16,
        /// For people; no control characters.
        text: String,
    },
}

/// What a stream begins with.
#[derive(Debug)]
pub(super) enum Next {
    Pdu(u8, Pdu),
    Fault(PduFault),
    /// Not yet a whole one.
    More,
}

/// Takes the next PDU.
pub(super) fn next(input: &mut BytesMut) -> Next {
    let Some(&[version, kind, high, low, a, b, c, d]) = input.first_chunk::<HEADER_BYTES>() else {
        return Next::More;
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    // RFC 8210 §5.11: an Error Report, however wrong, is never answered.
    let answer = |code, text, pdu: &[u8]| match kind {
        kind::ERROR_REPORT => Next::Pdu(version, Pdu::ErrorReport { code: u16::MAX, text: String::new() }),
        _ => Next::Fault(PduFault { code, text, pdu: Bytes::copy_from_slice(pdu) }),
    };
    // What follows a wrong header belongs to nobody knows what, and may not be there yet.
    let fault = |code, text| answer(code, text, &[version, kind, high, low, a, b, c, d]);
    if version > 1 {
        return fault(ErrorCode::UnexpectedVersion, "this router knows versions 0 and 1");
    }
    let fits = match kind {
        kind::SERIAL_NOTIFY => length == 12,
        kind::CACHE_RESPONSE | kind::CACHE_RESET => length == HEADER_BYTES,
        kind::IPV4_PREFIX => length == 20,
        kind::IPV6_PREFIX => length == 32,
        kind::END_OF_DATA => length == if version == 0 { 12 } else { 24 },
        kind::ROUTER_KEY if version == 1 => (32..=PDU_BYTES_MAX).contains(&length),
        kind::ERROR_REPORT => (16..=PDU_BYTES_MAX).contains(&length),
        kind::SERIAL_QUERY | kind::RESET_QUERY => {
            return fault(ErrorCode::InvalidRequest, "a router answers no queries");
        }
        _ => return fault(ErrorCode::UnsupportedType, "there is no such PDU"),
    };
    if !fits {
        return fault(ErrorCode::CorruptData, "the length does not fit the type");
    }
    if input.len() < length {
        return Next::More;
    }
    let whole = input.split_to(length);
    let field = u16::from_be_bytes([high, low]);
    match body(version, kind, field, whole.get(HEADER_BYTES..).unwrap_or_default()) {
        Some(pdu) => Next::Pdu(version, pdu),
        None => {
            let echo = whole.get(..ECHO_BYTES_MAX).unwrap_or(&whole);
            answer(ErrorCode::CorruptData, "a field has an impossible value", echo)
        }
    }
}

fn body(version: u8, kind: u8, session: u16, body: &[u8]) -> Option<Pdu> {
    Some(match kind {
        kind::SERIAL_NOTIFY => Pdu::SerialNotify { session, serial: exact(body, be_u32)? },
        kind::CACHE_RESPONSE => Pdu::CacheResponse { session },
        kind::CACHE_RESET => Pdu::CacheReset,
        kind::ROUTER_KEY => Pdu::RouterKey,
        kind::IPV4_PREFIX => exact(body, |input| prefix(input, ipv4))?,
        kind::IPV6_PREFIX => exact(body, |input| prefix(input, ipv6))?,
        kind::END_OF_DATA if version == 0 => Pdu::EndOfData { session, serial: exact(body, be_u32)?, timers: None },
        kind::END_OF_DATA => {
            let (serial, refresh_s, retry_s, expire_s) = exact(body, (be_u32, be_u32, be_u32, be_u32))?;
            Pdu::EndOfData { session, serial, timers: Some(Timers { refresh_s, retry_s, expire_s }) }
        }
        _ => {
            let (_pdu, text): (&[u8], &[u8]) = exact(body, (length_data(be_u32), length_data(be_u32)))
                .or_else(|| exact(body, (rest, |input| Ok((input, &[][..])))))?;
            let text = String::from_utf8_lossy(text.get(..TEXT_BYTES_MAX).unwrap_or(text));
            let text = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
            Pdu::ErrorReport { code: session, text }
        }
    })
}

/// Flags, length, maximum length, zero, address, AS (RFC 8210 §5.6, §5.7).
fn prefix<'a>(input: &'a [u8], net: fn(&'a [u8], u8) -> Parsed<'a, IpNet>) -> Parsed<'a, Pdu> {
    let (input, (flags, length, max_length, _zero)) = (be_u8, be_u8, be_u8, be_u8).parse(input)?;
    let (input, prefix) = net(input, length)?;
    map_opt(be_u32, |asn| {
        // RFC 8210 §5.6: the maximum is not below the length, nor above what the family has.
        let fits = (length..=prefix.max_prefix_len()).contains(&max_length);
        fits.then_some(Pdu::Prefix {
            announce: flags & 1 == 1,
            vrp: Vrp { prefix: prefix.trunc(), max_length, asn: Asn(asn) },
        })
    })
    .parse(input)
}

fn ipv4(input: &[u8], length: u8) -> Parsed<'_, IpNet> {
    map_opt(be_u32, |bits| Ipv4Net::new(Ipv4Addr::from_bits(bits), length).ok().map(IpNet::V4)).parse(input)
}

fn ipv6(input: &[u8], length: u8) -> Parsed<'_, IpNet> {
    map_opt(be_u128, |bits| Ipv6Net::new(Ipv6Addr::from_bits(bits), length).ok().map(IpNet::V6)).parse(input)
}

fn put_header(buf: &mut BytesMut, version: u8, kind: u8, field: u16, length: usize) {
    buf.put_u8(version);
    buf.put_u8(kind);
    buf.put_u16(field);
    buf.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// §5.3
pub(super) fn put_serial_query(buf: &mut BytesMut, version: u8, session: u16, serial: u32) {
    put_header(buf, version, kind::SERIAL_QUERY, session, 12);
    buf.put_u32(serial);
}

/// §5.4
pub(super) fn put_reset_query(buf: &mut BytesMut, version: u8) {
    put_header(buf, version, kind::RESET_QUERY, 0, HEADER_BYTES);
}

/// §5.6, §5.7: an announcement.
pub(super) fn put_prefix(buf: &mut BytesMut, version: u8, vrp: &Vrp) {
    let (kind, length) = match vrp.prefix {
        IpNet::V4(_) => (kind::IPV4_PREFIX, 20),
        IpNet::V6(_) => (kind::IPV6_PREFIX, 32),
    };
    put_header(buf, version, kind, 0, length);
    buf.put_slice(&[1, vrp.prefix.prefix_len(), vrp.max_length, 0]);
    match vrp.prefix {
        IpNet::V4(net) => buf.put_slice(&net.addr().octets()),
        IpNet::V6(net) => buf.put_slice(&net.addr().octets()),
    }
    buf.put_u32(vrp.asn.0);
}

/// §5.11
pub(super) fn put_error(buf: &mut BytesMut, version: u8, fault: &PduFault) {
    let length = 16 + fault.pdu.len() + fault.text.len();
    put_header(buf, version, kind::ERROR_REPORT, fault.code as u16, length);
    buf.put_u32(u32::try_from(fault.pdu.len()).unwrap_or(0));
    buf.put_slice(&fault.pdu);
    buf.put_u32(u32::try_from(fault.text.len()).unwrap_or(0));
    buf.put_slice(fault.text.as_bytes());
}
