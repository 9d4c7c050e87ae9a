//! A DHCPv6 message as a relay sees it (RFC 8415 §8, §9): who sends such a kind, whose it is, and which addresses are in it. What a client and a
//! server say to each other goes on octet by octet.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// Octets of the longest message that is read: what the boot servers read.
pub const MESSAGE_MAX: usize = 4_096;
/// Options on one level: those that firmware sends are a dozen.
const OPTIONS_MAX: usize = 64;
/// Octets of the longest DUID (RFC 8415 §11.1: 128 and the type).
const DUID_MAX: usize = 130;
/// Octets of a relay's message before its options (RFC 8415 §9).
const RELAY_HEADER: usize = 34;
/// Octets of an IA_NA and of an address before their options (RFC 8415 §21.4, §21.6).
const IA_NA_HEADER: usize = 12;
const ADDRESS_HEADER: usize = 24;
/// Ethernet (RFC 826).
const ETHERNET: [u8; 2] = [0, 1];

/// Kinds of messages (RFC 8415 §7.3).
mod kind {
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REPLY: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const DECLINE: u8 = 9;
    pub(super) const RECONFIGURE: u8 = 10;
    pub(super) const INFORMATION_REQUEST: u8 = 11;
    pub(super) const RELAY_FORWARD: u8 = 12;
    pub(super) const RELAY_REPLY: u8 = 13;
}

/// Options that a relay reads or writes (RFC 8415 §21; 79: RFC 6939 §4).
mod code {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const IA_NA: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const RELAYED: u16 = 9;
    pub(super) const STATUS: u16 = 13;
    pub(super) const INTERFACE: u16 = 18;
    pub(super) const LINK_LAYER: u16 = 79;
}

/// Why octets are no message for a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Kinds of messages that mean something to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A server's word on what a client asked: addresses in it are lent, or no longer.
    Reply,
    /// Another message of a server.
    OfServer,
    /// A client gives addresses back, or says that others use them.
    GivenUp,
    /// A relay's.
    OfRelay,
    /// Any other, also one that nobody knows yet: it is passed on (RFC 7283 §4.1).
    Other,
}

/// A message of a client or of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// What it is.
    pub(super) kind: Kind,
    /// The client's DUID in hexadecimal digits.
    pub(super) duid: Option<String>,
    /// Addresses of its associations, each with its valid lifetime in seconds; not those of an association that a server refuses.
    pub(super) addresses: Vec<(Ipv6Addr, u32)>,
}

impl Message {
    /// Reads one. Of a kind that is not known only that is read.
    pub(super) fn read(octets: &[u8]) -> Result<Self, Malformed> {
        let [number, _, _, _, rest @ ..] = octets else { return Err(Malformed) };
        if octets.len() > MESSAGE_MAX {
            return Err(Malformed);
        }
        let kind = match *number {
            0 => return Err(Malformed),
            kind::REPLY => Kind::Reply,
            kind::ADVERTISE | kind::RECONFIGURE => Kind::OfServer,
            kind::RELEASE | kind::DECLINE => Kind::GivenUp,
            kind::RELAY_FORWARD | kind::RELAY_REPLY => Kind::OfRelay,
            _ => Kind::Other,
        };
        let mut message = Self { kind, duid: None, addresses: Vec::new() };
        if *number > kind::INFORMATION_REQUEST {
            return Ok(message);
        }
        for (code, value) in options(rest)? {
            match code {
                // RFC 8415 §21: at most once.
                code::CLIENT if message.duid.is_some() || !(3..=DUID_MAX).contains(&value.len()) => {
                    return Err(Malformed);
                }
                code::CLIENT => message.duid = Some(hex(value)),
                code::IA_NA => message.addresses.extend(association(value)?),
                _ => {}
            }
        }
        Ok(message)
    }
}

/// Addresses of an IA_NA with their valid lifetimes.
fn association(value: &[u8]) -> Result<Vec<(Ipv6Addr, u32)>, Malformed> {
    let mut addresses = Vec::new();
    for (code, value) in options(value.get(IA_NA_HEADER..).ok_or(Malformed)?)? {
        match code {
            code::ADDRESS => {
                let (head, rest) = value.split_at_checked(ADDRESS_HEADER).ok_or(Malformed)?;
                options(rest)?;
                let (address, times) = head.split_first_chunk::<16>().ok_or(Malformed)?;
                let valid_s = times.last_chunk::<4>().ok_or(Malformed)?;
                addresses.push((Ipv6Addr::from(*address), u32::from_be_bytes(*valid_s)));
            }
            // RFC 8415 §21.13: 0 is success.
            code::STATUS if !value.starts_with(&[0, 0]) => return Ok(Vec::new()),
            _ => {}
        }
    }
    Ok(addresses)
}

/// What the answer to a relay says (RFC 8415 §9.2, §19.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Back<'a> {
    /// The link that the relay named.
    pub(super) link: Ipv6Addr,
    /// The client.
    pub(super) peer: Ipv6Addr,
    /// The port that the relay named.
    pub(super) interface: Option<&'a str>,
    /// The message for the client.
    pub(super) message: &'a [u8],
}

impl<'a> Back<'a> {
    /// Reads one; `None` if it is another kind of message.
    pub(super) fn read(octets: &'a [u8]) -> Result<Option<Self>, Malformed> {
        if octets.len() > MESSAGE_MAX {
            return Err(Malformed);
        }
        if octets.first() != Some(&kind::RELAY_REPLY) {
            return Ok(None);
        }
        let (head, rest) = octets.split_at_checked(RELAY_HEADER).ok_or(Malformed)?;
        let address = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk::<16>).map(|one| Ipv6Addr::from(*one));
        let (link, peer) = (address(2).ok_or(Malformed)?, address(18).ok_or(Malformed)?);
        let (mut interface, mut message) = (None, None);
        for (code, value) in options(rest)? {
            let place = match code {
                code::INTERFACE => &mut interface,
                code::RELAYED => &mut message,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Malformed);
            }
        }
        let interface = interface.and_then(|name| str::from_utf8(name).ok());
        Ok(Some(Self { link, peer, interface, message: message.ok_or(Malformed)? }))
    }
}

/// What a relay says of where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct From<'a> {
    /// An address of the client's link (RFC 8415 §19.1.1).
    pub(super) link: Ipv6Addr,
    /// The client.
    pub(super) peer: Ipv6Addr,
    /// The port (RFC 8415 §21.18).
    pub(super) interface: &'a str,
    /// The client's network card (RFC 6939 §4).
    pub(super) mac: [u8; 6],
}

/// The message for a server: through this relay, which is the first one (RFC 8415 §19.1). `None` if something is too long for its place.
pub(super) fn forward(from: &From<'_>, message: &[u8]) -> Option<Vec<u8>> {
    let mut octets = vec![kind::RELAY_FORWARD, 0];
    octets.extend(from.link.octets());
    octets.extend(from.peer.octets());
    let card = [&ETHERNET[..], &from.mac].concat();
    for (code, value) in
        [(code::INTERFACE, from.interface.as_bytes()), (code::LINK_LAYER, &card), (code::RELAYED, message)]
    {
        octets.extend(code.to_be_bytes());
        octets.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
        octets.extend(value);
    }
    (octets.len() <= MESSAGE_MAX).then_some(octets)
}

/// All options of a field (RFC 8415 §21.1).
fn options(mut field: &[u8]) -> Result<Vec<(u16, &[u8])>, Malformed> {
    let mut all = Vec::new();
    while !field.is_empty() {
        let [a, b, c, d, rest @ ..] = field else { return Err(Malformed) };
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*c, *d]))).ok_or(Malformed)?;
        if all.len() >= OPTIONS_MAX {
            return Err(Malformed);
        }
        all.push((u16::from_be_bytes([*a, *b]), value));
        field = rest;
    }
    Ok(all)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
