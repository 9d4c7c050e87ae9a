//! A DHCPv4 message (RFC 2131 §2): read from the octets of a datagram, and written to them. Knows no lease and no machine.
//!
//! Reading is strict where a wrong length changes what follows, and takes what real firmware sends: no end of the options, unknown
//! codes, padding anywhere.

use super::option::{Fields, Free, Options, code};
use bytes::{BufMut as _, BytesMut};
use nom::bytes::complete::{tag, take};
use nom::combinator::{map, rest};
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser as _};
use std::fmt;
use std::net::Ipv4Addr;

/// Octets of the longest message that is read: nothing that a client sends needs more than an Ethernet frame, relays add a little.
pub const MESSAGE_MAX: usize = 4_096;
/// Octets of the shortest message that is sent: relays of old drop shorter ones (RFC 1542 §2.1).
pub const MESSAGE_MIN: usize = 300;
/// Octets of `file`.
pub(super) const FILE: usize = 128;
/// Octets of `sname`.
pub(super) const SNAME: usize = 64;
/// Octets before the options, with the cookie.
const HEADER: usize = 240;
/// What the options begin with (RFC 2131 §3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Octets of a datagram's headers, which option 57 counts too (RFC 2132 §9.10 says "datagram").
const UDP: usize = 28;
/// Octets that every client takes (RFC 2131 §2), and the most that one Ethernet frame holds.
const SIZES: std::ops::RangeInclusive<usize> = 576..=1_500;
/// The flag that asks for an answer to everybody (RFC 2131 §2).
const BROADCAST: u16 = 0x8000;

/// Why a datagram is no message; the sender's fault, counted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends within its fixed part, or is longer than [`MESSAGE_MAX`].
    Size(usize),
    /// Neither question nor answer.
    Op(u8),
    /// A hardware address of more than 16 octets.
    Hardware(u8),
    /// The options do not begin with the cookie: BOOTP, or something else.
    NoCookie,
    /// An option is longer than its field.
    Overruns(u8),
    /// An option whose value cannot have this length.
    Length(u8),
    /// It does not say which kind of message it is.
    NoType,
    /// A kind that is none of RFC 2132 §9.6.
    Type(u8),
}

/// What was to be sent does not fit: the first option without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its code.
    pub code: u8,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A client, or a relay for it.
    Request,
    /// A server.
    Reply,
}

/// Kinds of messages (RFC 2132 §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Who has an address for me?
    Discover,
    /// I have this one.
    Offer,
    /// I take it, keep it, or had it.
    Request,
    /// Somebody else uses it.
    Decline,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
    /// I need it no longer.
    Release,
    /// I have an address: tell me the rest.
    Inform,
}

impl Kind {
    const ALL: [Self; 8] =
        [Self::Discover, Self::Offer, Self::Request, Self::Decline, Self::Ack, Self::Nak, Self::Release, Self::Inform];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        Self::ALL.iter().zip(1..).find_map(|(kind, number)| (*kind == self).then_some(number)).unwrap_or(0)
    }

    fn read(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// A hardware address: `htype`, `hlen` and `chaddr`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hardware {
    kind: u8,
    length: u8,
    octets: [u8; 16],
}

impl Hardware {
    /// A MAC address (RFC 1700: hardware type 1).
    #[must_use]
    pub fn ethernet(mac: [u8; 6]) -> Self {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&mac);
        Self { kind: 1, length: 6, octets }
    }

    /// Its type, as IANA numbers them.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// The address itself.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length).min(16)]
    }

    /// The MAC address, if it is one.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        if self.kind == 1 { self.octets().try_into().ok() } else { None }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.octets().iter().enumerate() {
            write!(f, "{}{octet:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{self}", self.kind)
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub op: Op,
    /// What it is.
    pub kind: Kind,
    /// The client's interface.
    pub hardware: Hardware,
    /// Relays that it went through.
    pub hops: u8,
    /// The client's name of this exchange.
    pub xid: u32,
    /// Seconds since it began; iPXE writes other things.
    pub secs: u16,
    /// Only the highest bit has a meaning.
    pub flags: u16,
    /// The client's address, if it has one that works.
    pub ciaddr: Ipv4Addr,
    /// The address that it is given.
    pub yiaddr: Ipv4Addr,
    /// Where it is to boot from.
    pub siaddr: Ipv4Addr,
    /// The relay that it came through.
    pub giaddr: Ipv4Addr,
    /// Name of the server it boots from, without the zeros behind it.
    pub sname: Vec<u8>,
    /// Name of the boot file, without the zeros behind it.
    pub file: Vec<u8>,
    /// All options, but the type (53) and the overload (52), which are in `kind` and in the form of the message.
    pub options: Options,
}

impl Message {
    /// Reads a datagram.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        let size = datagram.len();
        if size > MESSAGE_MAX {
            return Err(Malformed::Size(size));
        }
        let (field, fixed) = fixed(datagram).map_err(|_| Malformed::Size(size))?;
        let Fixed { mut message, op, hlen, sname, file } = fixed;
        message.op = match op {
            1 => Op::Request,
            2 => Op::Reply,
            other => return Err(Malformed::Op(other)),
        };
        if hlen > 16 {
            return Err(Malformed::Hardware(hlen));
        }
        let (_, field) = cookie(field).map_err(|_| Malformed::NoCookie)?;
        message.options.read(field)?;
        // RFC 2132 §9.3, and the order of RFC 3396 §5: options, file, sname.
        let overload = match message.options.exact::<1>(code::OVERLOAD)? {
            None => 0,
            Some([overload @ 1..=3]) => overload,
            Some(_) => return Err(Malformed::Length(code::OVERLOAD)),
        };
        message.options.remove(code::OVERLOAD);
        if overload & 1 == 0 {
            message.file = text(file);
        } else {
            message.options.read(file)?;
        }
        if overload & 2 == 0 {
            message.sname = text(sname);
        } else {
            message.options.read(sname)?;
        }
        // One that stands in another field, or says that there is more, says nothing.
        message.options.remove(code::OVERLOAD);
        let [kind] = message.options.exact::<1>(code::TYPE)?.ok_or(Malformed::NoType)?;
        message.kind = Kind::read(kind).ok_or(Malformed::Type(kind))?;
        message.options.remove(code::TYPE);
        Ok(message)
    }

    /// Writes it, in at most `most` octets.
    ///
    /// # Errors
    /// When the options do not fit, with that which does not.
    pub fn write(&self, most: usize) -> Result<BytesMut, TooLong> {
        let mut options = self.options.clone();
        options.set(code::TYPE, [self.kind.number()]);
        let free = Free { file: self.file.is_empty(), sname: self.sname.is_empty() };
        let fields = options.write(most.saturating_sub(HEADER), free)?;
        let Fields { options, file, sname, overload } = &fields;
        let mut out = BytesMut::with_capacity(HEADER + options.len().max(MESSAGE_MIN - HEADER));
        out.put_u8(if self.op == Op::Request { 1 } else { 2 });
        out.put_u8(self.hardware.kind);
        out.put_u8(self.hardware.length);
        out.put_u8(self.hops);
        out.put_u32(self.xid);
        out.put_u16(self.secs);
        out.put_u16(self.flags);
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            out.put_slice(&address.octets());
        }
        out.put_slice(&self.hardware.octets);
        put_field(&mut out, if overload.sname { sname } else { &self.sname }, SNAME);
        put_field(&mut out, if overload.file { file } else { &self.file }, FILE);
        out.put_slice(&COOKIE);
        out.put_slice(options);
        out.resize(out.len().max(MESSAGE_MIN), 0);
        Ok(out)
    }

    /// Whether the answer is to go to everybody on the client's link.
    #[must_use]
    pub const fn is_broadcast(&self) -> bool {
        self.flags & BROADCAST != 0
    }

    /// Octets of the longest answer that the client takes.
    #[must_use]
    pub fn answer_max(&self) -> usize {
        let said = self.options.u16(code::MESSAGE_SIZE).ok().flatten().map_or(0, usize::from);
        said.clamp(*SIZES.start(), *SIZES.end()) - UDP
    }
}

/// The fixed part, as it stands there.
struct Fixed<'a> {
    message: Message,
    op: u8,
    hlen: u8,
    sname: &'a [u8],
    file: &'a [u8],
}

fn fixed(input: &[u8]) -> IResult<&[u8], Fixed<'_>> {
    let address = || map(be_u32, Ipv4Addr::from);
    let (input, (op, kind, hlen, hops)) = (be_u8, be_u8, be_u8, be_u8).parse(input)?;
    let (input, (xid, secs, flags)) = (be_u32, be_u16, be_u16).parse(input)?;
    let (input, (ciaddr, yiaddr, siaddr, giaddr)) = (address(), address(), address(), address()).parse(input)?;
    let (input, chaddr) = take(16_usize)(input)?;
    let (input, sname) = take(SNAME)(input)?;
    let (input, file) = take(FILE)(input)?;
    let mut octets = [0; 16];
    octets.copy_from_slice(chaddr);
    let message = Message {
        op: Op::Request,
        kind: Kind::Discover,
        hardware: Hardware { kind, length: hlen, octets },
        hops,
        xid,
        secs,
        flags,
        ciaddr,
        yiaddr,
        siaddr,
        giaddr,
        sname: Vec::new(),
        file: Vec::new(),
        options: Options::default(),
    };
    Ok((input, Fixed { message, op, hlen, sname, file }))
}

fn cookie(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let (input, _) = tag(&COOKIE[..])(input)?;
    rest(input)
}

/// Up to the first zero (RFC 2131 §2: "null terminated string").
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|octet| *octet == 0).next().unwrap_or_default().to_vec()
}

/// A field of fixed size, filled with zeros; a name leaves one at its end.
fn put_field(out: &mut BytesMut, value: &[u8], size: usize) {
    let value = &value[..value.len().min(size)];
    out.put_slice(value);
    out.put_bytes(0, size - value.len());
}
