//! NOTIFICATION (RFC 4271 §4.5, §6; RFC 4486; RFC 6608; RFC 9003): what it says and how people read it.

use super::read;
use bytes::{BufMut, Bytes, BytesMut};
use nom::combinator::rest;
use nom::number::complete::be_u8;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most octets of data that are kept of, or put into, a NOTIFICATION: never echo more than is useful. A hard reset (RFC 8538 §3)
/// around a whole shutdown communication has 2 + 1 + 255.
const DATA_MAX: usize = 258;

/// A NOTIFICATION message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data; never more than was received, 258 octets at most.
    pub data: Bytes,
}

impl Notification {
    /// Message Header Error (RFC 4271 §6.1).
    pub const HEADER: u8 = 1;
    /// OPEN Message Error (RFC 4271 §6.2).
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error (RFC 4271 §6.3).
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired (RFC 4271 §6.5).
    pub const HOLD_TIMER: u8 = 4;
    /// Finite State Machine Error (RFC 4271 §6.6, subcodes RFC 6608).
    pub const FSM: u8 = 5;
    /// Cease (RFC 4271 §6.7, subcodes RFC 4486).
    pub const CEASE: u8 = 6;
    /// The subcode of Cease for a connection that we do not want (RFC 4486 §4).
    pub const CONNECTION_REJECTED: u8 = 5;
    /// The subcode of Cease for a peer that BFD lost (RFC 9384 §3).
    pub const BFD_DOWN: u8 = 10;
    /// The Cease that ends a session for good though both would keep the routes over a NOTIFICATION (RFC 8538 §3).
    const HARD_RESET: u8 = 9;
    /// ROUTE-REFRESH Message Error (RFC 7313 §5).
    pub const REFRESH: u8 = 7;
    /// Send Hold Timer Expired (RFC 9687 §5).
    pub const SEND_HOLD_TIMER: u8 = 8;

    /// A NOTIFICATION without data.
    #[must_use]
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Bytes::new() }
    }

    /// A NOTIFICATION with data, cut to 258 octets.
    #[must_use]
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Self {
        let data = data.get(..DATA_MAX).unwrap_or(data);
        Self { code, subcode, data: Bytes::copy_from_slice(data) }
    }

    /// Cease with a shutdown communication (RFC 9003 §2): one octet of length, then UTF-8, at most 255 octets.
    #[must_use]
    pub fn shutdown(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        let mut data = BytesMut::with_capacity(1 + text.len());
        data.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
        data.put_slice(text.as_bytes());
        Self { code: Self::CEASE, subcode, data: data.freeze() }
    }

    /// Reads the body (what follows the header), which the framer has found to be at least two octets long.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (code, subcode, data) = read::exact(body, (be_u8, be_u8, rest))?;
        Some(Self::with_data(code, subcode, data))
    }

    /// Appends the whole message.
    pub fn put(&self, buf: &mut BytesMut) {
        super::put_header(buf, 2 + self.data.len(), super::Kind::Notification);
        buf.put_u8(self.code);
        buf.put_u8(self.subcode);
        buf.put_slice(&self.data);
    }

    /// A hard reset around this one (RFC 8538 §3): its code, subcode and data are the data.
    #[must_use]
    pub fn hard(&self) -> Self {
        let inner = [&[self.code, self.subcode], &self.data[..]].concat();
        Self::with_data(Self::CEASE, Self::HARD_RESET, &inner)
    }

    /// Whether the session is not to be resumed, so that nobody should keep routes for it: the operator or a limit of prefixes ended
    /// it (RFC 8538 §5.1, which leaves an Administrative Reset to us), or the path to the peer is gone (RFC 9384 §3). Out of Resources
    /// and what never was a session pass by (§5.1).
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.code == Self::CEASE && matches!(self.subcode, 1..=4 | 10)
    }

    /// Whether this is an operator's reset (RFC 4486 §4, Administrative Reset).
    #[must_use]
    pub const fn is_reset(&self) -> bool {
        self.code == Self::CEASE && self.subcode == 4
    }

    /// Whether this is a hard reset (RFC 8538 §3).
    #[must_use]
    pub const fn is_hard(&self) -> bool {
        self.code == Self::CEASE && self.subcode == Self::HARD_RESET
    }

    /// What a hard reset is about.
    #[must_use]
    pub fn inner(&self) -> Option<Self> {
        Self::decode(&self.data).filter(|_| self.is_hard())
    }

    /// The shutdown communication for people (RFC 9003 §2): UTF-8 as it is, but for what could upset a terminal; what is no UTF-8, or
    /// does not fill the length that it says, octet by octet.
    #[must_use]
    pub fn communication(&self) -> Option<String> {
        // RFC 9003 §2: Administrative Shutdown and Administrative Reset carry it; we put it into Connection Rejected too.
        if self.code != Self::CEASE || !matches!(self.subcode, 2 | 4 | Self::CONNECTION_REJECTED) {
            return None;
        }
        let (&length, text) = self.data.split_first()?;
        let whole = text.len() >= usize::from(length);
        let text = text.get(..usize::from(length)).unwrap_or(text);
        if text.is_empty() {
            return None;
        }
        match str::from_utf8(text) {
            Ok(text) if whole => Some(format!("\"{}\"", text.escape_debug())),
            Ok(_) | Err(_) => Some(format!("\"{}\" (malformed)", text.escape_ascii())),
        }
    }

    /// The registered name of code and subcode.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.code, self.subcode) {
            (1, 1) => "Connection Not Synchronized",
            (1, 2) => "Bad Message Length",
            (1, 3) => "Bad Message Type",
            (1, _) => "Message Header Error",
            (2, 1) => "Unsupported Version Number",
            (2, 2) => "Bad Peer AS",
            (2, 3) => "Bad BGP Identifier",
            (2, 4) => "Unsupported Optional Parameter",
            (2, 6) => "Unacceptable Hold Time",
            (2, 7) => "Unsupported Capability",
            (2, 11) => "Role Mismatch",
            (2, _) => "OPEN Message Error",
            (3, 1) => "Malformed Attribute List",
            (3, 2) => "Unrecognized Well-known Attribute",
            (3, 3) => "Missing Well-known Attribute",
            (3, 4) => "Attribute Flags Error",
            (3, 5) => "Attribute Length Error",
            (3, 6) => "Invalid ORIGIN Attribute",
            (3, 8) => "Invalid NEXT_HOP Attribute",
            (3, 9) => "Optional Attribute Error",
            (3, 10) => "Invalid Network Field",
            (3, 11) => "Malformed AS_PATH",
            (3, _) => "UPDATE Message Error",
            (4, _) => "Hold Timer Expired",
            (5, 1) => "Unexpected Message in OpenSent",
            (5, 2) => "Unexpected Message in OpenConfirm",
            (5, 3) => "Unexpected Message in Established",
            (5, _) => "Finite State Machine Error",
            (6, 1) => "Maximum Number of Prefixes Reached",
            (6, 2) => "Administrative Shutdown",
            (6, 3) => "Peer De-configured",
            (6, 4) => "Administrative Reset",
            (6, 5) => "Connection Rejected",
            (6, 6) => "Other Configuration Change",
            (6, 7) => "Connection Collision Resolution",
            (6, 8) => "Out of Resources",
            (6, 9) => "Hard Reset",
            (6, 10) => "BFD Down",
            (6, _) => "Cease",
            (7, 1) => "Invalid Message Length",
            (7, _) => "ROUTE-REFRESH Message Error",
            (8, _) => "Send Hold Timer Expired",
            _ => "Unknown Error",
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.name(), self.code, self.subcode)?;
        if let Some(inner) = self.inner() {
            return write!(f, ": {inner}");
        }
        match self.communication() {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_communication_survives_and_is_escaped() {
        // RFC 9003 §2
        let sent = Notification::shutdown(2, "rack 3 moves");
        assert_eq!(sent.to_string(), "Administrative Shutdown (6/2): \"rack 3 moves\"");
        let odd = Notification::with_data(6, 2, b"\x03a\xff\n");
        assert_eq!(odd.communication().unwrap(), "\"a\\xff\\n\" (malformed)");
        let cut = Notification::with_data(6, 2, b"\x09abc");
        assert_eq!(cut.communication().unwrap(), "\"abc\" (malformed)", "a length beyond the end");
        let steers = Notification::shutdown(4, "grüße\u{1b}[2J\u{202e}");
        assert_eq!(steers.communication().unwrap(), "\"grüße\\u{1b}[2J\\u{202e}\"");
        let long = Notification::shutdown(2, &"ä".repeat(200));
        assert_eq!(long.data.len(), 1 + 254);
    }

    #[test]
    fn a_hard_reset_says_what_it_is_about() {
        // RFC 8538 §3
        let sent = Notification::shutdown(2, &"x".repeat(300)).hard();
        assert_eq!((sent.code, sent.subcode, &sent.data[..3]), (6, 9, &[6, 2, 255][..]));
        assert_eq!(sent.inner(), Some(Notification::shutdown(2, &"x".repeat(255))));
        assert_eq!(Notification::new(3, 1).hard().to_string(), "Hard Reset (6/9): Malformed Attribute List (3/1)");
        assert_eq!(Notification::new(6, 9).to_string(), "Hard Reset (6/9)");
        let nested = Notification::new(6, 4).hard().hard();
        assert_eq!(nested.to_string(), "Hard Reset (6/9): Hard Reset (6/9): Administrative Reset (6/4)");
    }

    #[test]
    fn what_is_over_for_good_is_hard() {
        // RFC 8538 §5.1, with RFC 9384 §3 for 10: Hard Reset for these, Graceful Cease for the others
        let hard: Vec<u8> = (0..=12).filter(|subcode| Notification::new(6, *subcode).is_final()).collect();
        assert_eq!(hard, [1, 2, 3, 4, 10]);
        assert!(!Notification::new(4, 1).is_final() && !Notification::new(3, 1).is_final());
    }

    #[test]
    fn data_is_bounded() {
        assert_eq!(Notification::with_data(3, 1, &[7; 4_000]).data.len(), DATA_MAX);
        assert_eq!(Notification::decode(&[6]), None);
    }
}
