//! A DHCPv6 message (RFC 8415 §8) with the relays that it came through (§9): read from a datagram, and written to one. Knows no lease and
//! no machine.

use bytes::{BufMut as _, BytesMut};
use nom::Parser as _;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use std::net::Ipv6Addr;

/// Octets of the longest message that is read: a client's fits in a frame, each relay adds some dozens.
pub const MESSAGE_MAX: usize = 4_096;
/// Relays that a message may have come through (RFC 8415 §7.6, HOP_COUNT_LIMIT).
pub const RELAYS_MAX: usize = 8;
/// Options of a message: those that firmware sends are a dozen.
const OPTIONS_MAX: usize = 64;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;

/// Codes that this server reads or writes (RFC 8415 §21 unless the name says another one).
pub mod code {
    /// DUID of the client (§21.2).
    pub const CLIENT: u16 = 1;
    /// DUID of the server (§21.3).
    pub const SERVER: u16 = 2;
    /// An association for addresses (§21.4).
    pub const IA_NA: u16 = 3;
    /// An address (§21.6).
    pub const ADDRESS: u16 = 5;
    /// Codes that a client would like (§21.7).
    pub const WANTED: u16 = 6;
    /// How much a server wants to be taken (§21.8).
    pub const PREFERENCE: u16 = 7;
    /// The message within what a relay sends (§21.10).
    pub const RELAYED: u16 = 9;
    /// How it went (§21.13).
    pub const STATUS: u16 = 13;
    /// Two messages instead of four (§21.14).
    pub const RAPID_COMMIT: u16 = 14;
    /// User class (§21.15).
    pub const USER_CLASS: u16 = 15;
    /// Vendor class (§21.16).
    pub const VENDOR_CLASS: u16 = 16;
    /// The relay's interface (§21.18).
    pub const INTERFACE: u16 = 18;
    /// Name servers (RFC 3646 §3).
    pub const DNS: u16 = 23;
    /// Who is at the other end of the relay's interface (RFC 4649 §3).
    pub const REMOTE: u16 = 37;
    /// Where to boot from (RFC 5970 §3.1).
    pub const BOOT_URL: u16 = 59;
    /// What to say to it (RFC 5970 §3.2).
    pub const BOOT_PARAMETERS: u16 = 60;
    /// Architectures of the firmware (RFC 5970 §3.3).
    pub const ARCH: u16 = 61;
    /// Its network interface (RFC 5970 §3.4).
    pub const INTERFACE_TYPE: u16 = 62;
    /// The client's network card, as the first relay saw it (RFC 6939 §4).
    pub const LINK_LAYER: u16 = 79;
}

/// Why a datagram is no message; the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends within its fixed part, or is longer than [`MESSAGE_MAX`].
    Size(usize),
    /// A kind that is none of RFC 8415 §7.3.
    Kind(u8),
    /// An option is longer than what is left.
    Overruns,
    /// An option whose value cannot have this length, or which must not be there twice.
    Value(u16),
    /// More relays, or options, than are read.
    Many,
    /// A relay's message with none in it.
    Empty,
}

/// Kinds of messages between clients and servers (RFC 8415 §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Who has an address for me?
    Solicit,
    /// I have this one.
    Advertise,
    /// I take it.
    Request,
    /// Does it belong here?
    Confirm,
    /// I keep it, if you, my server, let me.
    Renew,
    /// I keep it, if anybody lets me.
    Rebind,
    /// An answer to all of them.
    Reply,
    /// I need it no longer.
    Release,
    /// Somebody else uses it.
    Decline,
    /// Have yourself told something new.
    Reconfigure,
    /// Tell me everything but an address.
    InformationRequest,
}

impl Kind {
    /// All of them with their names, in the order of their numbers, from 1.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Solicit, "solicit"),
        (Self::Advertise, "advertise"),
        (Self::Request, "request"),
        (Self::Confirm, "confirm"),
        (Self::Renew, "renew"),
        (Self::Rebind, "rebind"),
        (Self::Reply, "reply"),
        (Self::Release, "release"),
        (Self::Decline, "decline"),
        (Self::Reconfigure, "reconfigure"),
        (Self::InformationRequest, "information_request"),
    ];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub fn place(self) -> usize {
        Self::ALL.iter().position(|(kind, _)| *kind == self).unwrap_or(0)
    }

    fn read(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).map(|(kind, _)| *kind)
    }

    fn number(self) -> u8 {
        // Eleven of them.
        u8::try_from(self.place() + 1).unwrap_or(u8::MAX)
    }
}

/// Options in the order in which they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(u16, Vec<u8>)>);

impl Options {
    /// Reads them to the end (RFC 8415 §21.1).
    ///
    /// # Errors
    /// When one is longer than what is left, or there are too many.
    pub fn read(mut field: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::default();
        while !field.is_empty() {
            let overruns = |_: nom::Err<()>| Malformed::Overruns;
            let (rest, (code, length)) = (be_u16, be_u16).parse(field).map_err(overruns)?;
            let (rest, value) = take(usize::from(length))(rest).map_err(overruns)?;
            if options.0.len() >= OPTIONS_MAX {
                return Err(Malformed::Many);
            }
            options.0.push((code, value.to_vec()));
            field = rest;
        }
        Ok(options)
    }

    /// The value of an option that may be there once.
    ///
    /// # Errors
    /// When it is there twice (RFC 8415 §21: "unless otherwise noted, each option may appear only in the options area of a message, and
    /// at most once").
    pub fn once(&self, code: u16) -> Result<Option<&[u8]>, Malformed> {
        let mut all = self.all(code);
        let first = all.next();
        if all.next().is_some() { Err(Malformed::Value(code)) } else { Ok(first) }
    }

    /// All values of an option.
    pub fn all(&self, code: u16) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(own, _)| *own == code).map(|(_, value)| value.as_slice())
    }

    /// Whether an option is there.
    #[must_use]
    pub fn has(&self, code: u16) -> bool {
        self.all(code).next().is_some()
    }

    /// Adds one.
    pub fn add(&mut self, code: u16, value: impl Into<Vec<u8>>) {
        self.0.push((code, value.into()));
    }

    /// Octets of it all.
    #[must_use]
    pub fn octets(&self) -> BytesMut {
        let mut out = BytesMut::new();
        for (code, value) in &self.0 {
            out.put_u16(*code);
            // What is read or made here is shorter: a datagram has no more.
            out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
            out.put_slice(value);
        }
        out
    }
}

/// What one relay put around a message (RFC 8415 §9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Relays before it.
    pub hops: u8,
    /// An address of the client's link, or `::`.
    pub link: Ipv6Addr,
    /// Whom it has it from.
    pub peer: Ipv6Addr,
    /// What it says beside the message.
    pub options: Options,
}

/// A message, and the relays that it came through, the last one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Outermost first.
    pub relays: Vec<Relay>,
    /// What kind.
    pub kind: Kind,
    /// The client's name of this exchange, 24 bits.
    pub transaction: [u8; 3],
    /// Its options.
    pub options: Options,
}

impl Message {
    /// Reads a datagram.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        if datagram.len() > MESSAGE_MAX {
            return Err(Malformed::Size(datagram.len()));
        }
        let mut relays = Vec::new();
        let mut inner = datagram.to_vec();
        while inner.first() == Some(&RELAY_FORWARD) {
            if relays.len() >= RELAYS_MAX {
                return Err(Malformed::Many);
            }
            let size = |_: nom::Err<()>| Malformed::Size(inner.len());
            let (rest, (_, hops, link, peer)) = (be_u8, be_u8, be_u128, be_u128).parse(&inner[..]).map_err(size)?;
            let mut options = Options::read(rest)?;
            let within = options.once(code::RELAYED)?.ok_or(Malformed::Empty)?.to_vec();
            options.0.retain(|(code, _)| *code != code::RELAYED);
            relays.push(Relay { hops, link: link.into(), peer: peer.into(), options });
            inner = within;
        }
        let size = |_: nom::Err<()>| Malformed::Size(inner.len());
        let (rest, (kind, transaction)) = (be_u8, take(3_usize)).parse(&inner[..]).map_err(size)?;
        let kind = Kind::read(kind).ok_or(Malformed::Kind(kind))?;
        let transaction = [transaction[0], transaction[1], transaction[2]];
        Ok(Self { relays, kind, transaction, options: Options::read(rest)? })
    }

    /// Writes it as a client or its relays send it.
    #[must_use]
    pub fn write(&self) -> BytesMut {
        self.wrap(RELAY_FORWARD, |options| options.clone())
    }

    /// Writes an answer, as the relays hand it back: each one its own addresses, its interface and who it said is there (RFC 8415 §19.3,
    /// RFC 4649 §3).
    #[must_use]
    pub fn write_answer(&self) -> BytesMut {
        self.wrap(RELAY_REPLY, |options| {
            let echoed = options.0.iter().filter(|(code, _)| matches!(*code, code::INTERFACE | code::REMOTE));
            Options(echoed.cloned().collect())
        })
    }

    fn wrap(&self, kind: u8, said: impl Fn(&Options) -> Options) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u8(self.kind.number());
        out.put_slice(&self.transaction);
        out.put_slice(&self.options.octets());
        for relay in self.relays.iter().rev() {
            let mut options = said(&relay.options);
            options.add(code::RELAYED, out.as_ref());
            out = BytesMut::new();
            out.put_u8(kind);
            out.put_u8(relay.hops);
            out.put_slice(&relay.link.octets());
            out.put_slice(&relay.peer.octets());
            out.put_slice(&options.octets());
        }
        out
    }
}

/// An association for addresses, as a client names it (RFC 8415 §21.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Its number, of the client's choice.
    pub id: u32,
    /// Addresses in it, as wishes or as what the client has.
    pub addresses: Vec<Ipv6Addr>,
}

impl Association {
    /// Reads the value of an IA_NA.
    ///
    /// # Errors
    /// When it is too short, or something in it is.
    pub fn read(value: &[u8]) -> Result<Self, Malformed> {
        let wrong = |code| move |_: nom::Err<()>| Malformed::Value(code);
        let (rest, (id, _, _)) = (be_u32, be_u32, be_u32).parse(value).map_err(wrong(code::IA_NA))?;
        let mut addresses = Vec::new();
        for address in Options::read(rest)?.all(code::ADDRESS) {
            let (_, (octets, _, _)) = (be_u128, be_u32, be_u32).parse(address).map_err(wrong(code::ADDRESS))?;
            addresses.push(Ipv6Addr::from(octets));
        }
        Ok(Self { id, addresses })
    }
}
