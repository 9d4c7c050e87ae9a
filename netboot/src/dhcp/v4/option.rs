//! Options of DHCPv4 as octets (RFC 2132, RFC 3396): a map from code to value, read from and written to up to three fields of a message.
//! What a value means, its reader says: a value that has the wrong length is the sender's fault and refused with its code.

use super::message::{Malformed, TooLong};
use bytes::{BufMut as _, BytesMut};
use nom::bytes::complete::take;
use nom::multi::length_data;
use nom::number::complete::be_u8;
use nom::{IResult, Parser as _};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Codes that this server reads or writes (RFC 2132 unless the name says another one).
pub mod code {
    /// Fills up; has no length.
    pub const PAD: u8 = 0;
    /// Netmask of the address (§3.3).
    pub const SUBNET_MASK: u8 = 1;
    /// Routers of its network (§3.5).
    pub const ROUTER: u8 = 3;
    /// Name servers (§3.8).
    pub const DNS: u8 = 6;
    /// Name of the host (§3.14).
    pub const HOST_NAME: u8 = 12;
    /// What the vendor class defines (§8.4).
    pub const VENDOR: u8 = 43;
    /// The address that a client asks for (§9.1).
    pub const REQUESTED: u8 = 50;
    /// Seconds of the lease (§9.2).
    pub const LEASE_TIME: u8 = 51;
    /// Which of `file` and `sname` hold options (§9.3).
    pub const OVERLOAD: u8 = 52;
    /// What kind of message it is (§9.6).
    pub const TYPE: u8 = 53;
    /// Which server is meant (§9.7).
    pub const SERVER: u8 = 54;
    /// Codes that a client would like (§9.8).
    pub const WANTED: u8 = 55;
    /// Why not (§9.9).
    pub const TEXT: u8 = 56;
    /// Octets of the longest message that the client takes (§9.10).
    pub const MESSAGE_SIZE: u8 = 57;
    /// Seconds until the client asks its server again (§9.11).
    pub const RENEWAL: u8 = 58;
    /// Seconds until it asks every server (§9.12).
    pub const REBINDING: u8 = 59;
    /// What software the client is (§9.13).
    pub const CLASS: u8 = 60;
    /// The client's own name for itself (§9.14).
    pub const CLIENT: u8 = 61;
    /// Server of the boot file (§9.4).
    pub const TFTP_SERVER: u8 = 66;
    /// Name of the boot file (§9.5).
    pub const BOOT_FILE: u8 = 67;
    /// User class (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// What relays add (RFC 3046).
    pub const AGENT: u8 = 82;
    /// Architecture of the firmware (RFC 4578 §2.1).
    pub const ARCH: u8 = 93;
    /// UUID of the machine (RFC 4578 §2.3).
    pub const UUID: u8 = 97;
    /// iPXE's own: what it can do, what it is told.
    pub const IPXE: u8 = 175;
    /// Nothing follows.
    pub const END: u8 = 255;
}

/// Octets of one piece: its length is one octet (RFC 2132 §2).
const PIECE_MAX: usize = 255;

/// The options of a message, long ones whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Reads one field, adding to what the fields before it said: pieces of one code are one value (RFC 3396 §5).
    ///
    /// # Errors
    /// When an option is longer than what is left.
    pub(super) fn read(&mut self, mut field: &[u8]) -> Result<(), Malformed> {
        while let Some(&first) = field.first() {
            match first {
                code::PAD => field = &field[1..],
                // A field that ends without it has been cut where it is whole: nothing is missing (RFC 2131 §4.1 demands it of senders).
                code::END => break,
                _ => {
                    let (rest, (code, value)) = option(field).map_err(|_| Malformed::Overruns(first))?;
                    self.0.entry(code).or_default().extend_from_slice(value);
                    field = rest;
                }
            }
        }
        Ok(())
    }

    /// A value as it is.
    #[must_use]
    pub fn raw(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// A value of as many octets as it must have.
    ///
    /// # Errors
    /// When it has another length.
    pub fn exact<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Malformed> {
        self.raw(code).map(|value| value.try_into().map_err(|_| Malformed::Length(code))).transpose()
    }

    /// An address.
    ///
    /// # Errors
    /// When it has not four octets.
    pub fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, Malformed> {
        Ok(self.exact::<4>(code)?.map(Ipv4Addr::from))
    }

    /// A number of 16 bits.
    ///
    /// # Errors
    /// When it has not two octets.
    pub fn u16(&self, code: u8) -> Result<Option<u16>, Malformed> {
        Ok(self.exact::<2>(code)?.map(u16::from_be_bytes))
    }

    /// Sets a value.
    pub fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        self.0.insert(code, value.into());
    }

    /// Takes a value out.
    pub fn remove(&mut self, code: u8) -> Option<Vec<u8>> {
        self.0.remove(&code)
    }

    /// Codes and values by code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// The order in which they are sent: the type and the server first, which readers look for; what a relay added last (RFC 3046 §2.1).
    fn in_order(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let first = [code::TYPE, code::SERVER].into_iter();
        let others = self.0.keys().copied().filter(|code| {
            !matches!(*code, code::TYPE | code::SERVER | code::OVERLOAD | code::AGENT | code::PAD | code::END)
        });
        first.chain(others).filter_map(|code| Some((code, self.raw(code)?)))
    }

    /// Writes them into `most` octets, and what does not fit into the fields of the file and server names, if these are free.
    ///
    /// # Errors
    /// When there is no room.
    pub(super) fn write(&self, most: usize, free: Free) -> Result<Fields, TooLong> {
        let plain = self.spread(most, Free { file: false, sname: false });
        if plain.is_ok() || (!free.file && !free.sname) { plain } else { self.spread(most, free) }
    }

    fn spread(&self, most: usize, free: Free) -> Result<Fields, TooLong> {
        let overload = u8::from(free.file) | (u8::from(free.sname) << 1);
        let agent = self.raw(code::AGENT);
        // The end, what a relay added, and the word about the other fields stand in the first one.
        let reserved = 1 + agent.map_or(0, length) + if overload == 0 { 0 } else { 3 };
        let mut fields = Fields::default();
        for (code, value) in self.in_order() {
            let needs = length(value);
            let field = if fields.options.len() + needs + reserved <= most {
                &mut fields.options
            } else if free.file && fields.file.len() + needs < super::message::FILE {
                &mut fields.file
            } else if free.sname && fields.sname.len() + needs < super::message::SNAME {
                &mut fields.sname
            } else {
                return Err(TooLong { code });
            };
            put(field, code, value);
        }
        if reserved > most {
            return Err(TooLong { code: code::AGENT });
        }
        if overload != 0 {
            put(&mut fields.options, code::OVERLOAD, &[overload]);
            fields.file.put_u8(code::END);
            fields.sname.put_u8(code::END);
        }
        if let Some(value) = agent {
            put(&mut fields.options, code::AGENT, value);
        }
        fields.options.put_u8(code::END);
        fields.overload = Free { file: overload & 1 != 0, sname: overload & 2 != 0 };
        Ok(fields)
    }
}

/// Which of the two other fields may hold options, or do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) file: bool,
    pub(super) sname: bool,
}

/// Options as they are written.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) options: BytesMut,
    pub(super) file: BytesMut,
    pub(super) sname: BytesMut,
    pub(super) overload: Free,
}

/// Code, length, value (RFC 2132 §2).
fn option(field: &[u8]) -> IResult<&[u8], (u8, &[u8])> {
    let (rest, code) = take(1_usize)(field)?;
    let (rest, value) = length_data(be_u8).parse(rest)?;
    Ok((rest, (code[0], value)))
}

/// Octets of a value with its codes and lengths.
const fn length(value: &[u8]) -> usize {
    let pieces = value.len().div_ceil(PIECE_MAX);
    value.len() + 2 * if pieces == 0 { 1 } else { pieces }
}

/// One value: in pieces when it is long (RFC 3396 §6).
fn put(field: &mut BytesMut, code: u8, value: &[u8]) {
    let empty: &[u8] = &[];
    let pieces = value.chunks(PIECE_MAX).chain(value.is_empty().then_some(empty));
    for piece in pieces {
        field.put_u8(code);
        // A piece has at most 255 octets.
        field.put_u8(u8::try_from(piece.len()).unwrap_or(u8::MAX));
        field.put_slice(piece);
    }
}
