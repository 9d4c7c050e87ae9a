//! MRT dumps (RFC 6396, RFC 8050): this file cuts a stream into records and says what each one is. Knows no files and no
//! compression; what a record's body says is in `mrt/table`, `mrt/message` and `mrt/route`, the writing side in `mrt/write`.
//!
//! ```text
//! octets ─▶ Framer ─▶ Raw ─▶ Dump::record ─▶ Rib, Message, StateChange
//! ```
//! A record that cannot be read costs only itself; a length that cannot be true ends the dump, for nobody knows where the next
//! record begins.

mod message;
mod replay;
mod route;
mod table;
mod write;

pub use message::{Message, StateChange};
pub use replay::{Gathered, Teller};
pub use route::{Attributes, Route, codec};
pub use table::{Entries, Entry, Peer, Rib};
pub(crate) use write::whole_records;
pub use write::{RibWriter, put_message, put_peers, put_state_change};

use crate::types::Asn;
use crate::wire::read::Parsed;
use bytes::{Bytes, BytesMut};
use nom::Parser;
use nom::number::complete::{be_u16, be_u32};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Time stamp, type, subtype, length (RFC 6396 §2).
const HEADER_BYTES: usize = 12;
/// Longest record that is believed. A prefix with 65,535 paths (the count has 16 bits) of 256 octets each takes this much;
/// the largest seen in public dumps are below 200 kB.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Most peers of one dump: a peer index has 16 bits (RFC 6396 §4.3.4).
pub const PEERS_MAX: usize = 65_535;

/// Types of records (RFC 6396 §4).
pub mod kind {
    /// RFC 6396 §4.2
    pub const TABLE_DUMP: u16 = 12;
    /// RFC 6396 §4.3
    pub const TABLE_DUMP_V2: u16 = 13;
    /// RFC 6396 §4.4
    pub const BGP4MP: u16 = 16;
    /// RFC 6396 §4.4, with microseconds (§3)
    pub const BGP4MP_ET: u16 = 17;
    /// RFC 6396 §4.5, with microseconds
    pub const ISIS_ET: u16 = 33;
    /// RFC 6396 §4.6, with microseconds
    pub const OSPFV3_ET: u16 = 49;
}

/// Wall-clock time of a record (RFC 6396 §2, §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: u32,
    /// Microseconds, 0..=999_999; 0 in a record without them.
    pub micros: u32,
}

/// One record, its body unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its number in the dump, from 0.
    pub number: u64,
    /// Octets before it in the (uncompressed) dump.
    pub offset: u64,
    /// When.
    pub stamp: Stamp,
    /// One of [`kind`], or another.
    pub kind: u16,
    /// Depends on the type.
    pub subtype: u16,
    /// What follows the header, and the microseconds if there are any.
    pub body: Bytes,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} at octet {offset} of the uncompressed dump: {what}; {remedy}")]
pub struct Damage {
    /// Number of the record, from 0.
    pub record: u64,
    /// Octets before it.
    pub offset: u64,
    /// As a sentence.
    pub what: String,
    /// What a person can do.
    pub remedy: &'static str,
}

/// For one record that cannot be read.
const SKIPPED: &str = "it is left out; ask the source for an undamaged copy if it matters";
/// For a dump that cannot be read on.
const ENDED: &str = "what came before is good; fetch the file again, or check that it is an MRT dump";

/// Cuts a stream of octets into records. Holds at most one incomplete record beyond what was pushed and not yet taken.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    offset: u64,
    number: u64,
    ended: bool,
}

impl Framer {
    /// Takes octets as they came, in any split.
    pub fn push(&mut self, data: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(data);
        }
    }

    /// The next whole record; `None` until enough octets are there, or when the dump cannot be read on.
    ///
    /// # Errors
    /// A record that cannot be cut out. Go on calling: `None` follows if nothing behind it can be read.
    pub fn next_record(&mut self) -> Option<Result<Raw, Damage>> {
        let (_, (seconds, kind, subtype, length)) = header(self.buffer.get(..HEADER_BYTES)?).ok()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            self.ended = true;
            let what =
                format!("its length field says {length} octets, the most that can be true is {RECORD_BYTES_MAX}");
            self.buffer.clear();
            return Some(Err(self.damage(what, ENDED)));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return None;
        }
        let mut body = self.buffer.split_to(HEADER_BYTES + length).freeze().split_off(HEADER_BYTES);
        let damage = self.damage("it is too short for its microseconds".to_owned(), SKIPPED);
        let (number, offset) = (self.number, self.offset);
        self.number += 1;
        self.offset += (HEADER_BYTES + length) as u64;
        let mut stamp = Stamp { seconds, micros: 0 };
        // RFC 6396 §3: the microseconds are part of the body that the length counts.
        if matches!(kind, kind::BGP4MP_ET | kind::ISIS_ET | kind::OSPFV3_ET) {
            let Some(&micros) = body.first_chunk::<4>() else {
                return Some(Err(damage));
            };
            stamp.micros = u32::from_be_bytes(micros);
            body = body.slice(4..);
        }
        Some(Ok(Raw { number, offset, stamp, kind, subtype, body }))
    }

    /// Whether the dump ended where a record ends.
    ///
    /// # Errors
    /// When octets of an incomplete record are left.
    pub fn finish(&self) -> Result<(), Damage> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(self.damage(format!("the dump ends {} octets into it", self.buffer.len()), ENDED))
    }

    /// Records cut out so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.number
    }

    fn damage(&self, what: String, remedy: &'static str) -> Damage {
        Damage { record: self.number, offset: self.offset, what, remedy }
    }
}

/// RFC 6396 §2.
fn header(input: &[u8]) -> Parsed<'_, (u32, u16, u16, u32)> {
    (be_u32, be_u16, be_u16, be_u32).parse(input)
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The table of peers that the routes behind it refer to; [`Dump::peers`] has them now.
    Peers {
        /// Name of the view, often empty.
        view: String,
    },
    /// The paths of one prefix, by their peers.
    Rib(Rib<'a>),
    /// A message of a session.
    Message(Message<'a>),
    /// A session changed its state.
    StateChange(StateChange),
    /// Something that is not ours to read: another protocol or family.
    Other,
}

/// Reads records, and remembers the peers that they refer to.
#[derive(Debug, Default)]
pub struct Dump {
    peers: Vec<Peer>,
    /// The peers of TABLE_DUMP, which has no index, by where they are found in `peers`.
    known: BTreeMap<(IpAddr, Asn), u16>,
}

impl Dump {
    /// Every peer so far, by index.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The peer of an entry.
    #[must_use]
    pub fn peer(&self, index: u16) -> Option<&Peer> {
        self.peers.get(usize::from(index))
    }

    /// Reads one record.
    ///
    /// # Errors
    /// When its body is malformed: it is to be left out.
    pub fn record<'a>(&mut self, raw: &'a Raw) -> Result<Record<'a>, Damage> {
        let read = match raw.kind {
            kind::TABLE_DUMP => self.table_dump(raw.subtype, &raw.body),
            kind::TABLE_DUMP_V2 => self.table_dump_v2(raw.subtype, &raw.body),
            kind::BGP4MP | kind::BGP4MP_ET => message::read(raw.subtype, &raw.body),
            _ => Ok(Record::Other),
        };
        read.map_err(|what| Damage { record: raw.number, offset: raw.offset, what: what.to_owned(), remedy: SKIPPED })
    }
}

impl fmt::Display for Stamp {
    /// `2014-05-30 22:00:00.000000`, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:06}", self.micros)
    }
}

/// Year, month and day of a number of days since 1970-01-01.
const fn date(mut days: u32) -> (u32, u32, u32) {
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = if leap { 366 } else { 365 };
        if days < length {
            let months = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut month = 0;
            while days >= months[month] {
                days -= months[month];
                month += 1;
            }
            #[expect(clippy::cast_possible_truncation, reason = "below 12")]
            return (year, month as u32 + 1, days + 1);
        }
        days -= length;
        year += 1;
    }
}

#[cfg(test)]
mod tests;
