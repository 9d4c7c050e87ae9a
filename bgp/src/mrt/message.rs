//! Messages and state changes of sessions: BGP4MP and BGP4MP_ET (RFC 6396 §4.4, RFC 8050 §3).

use super::Record;
use super::table::{address, asn};
use crate::types::{Asn, Family, IfIndex};
use crate::wire::read::{Parsed, Wrong, exact};
use crate::wire::{HEADER_BYTES, Kind};
use nom::Parser;
use nom::combinator::{map_opt, map_res, rest};
use nom::number::complete::be_u16;
use std::net::IpAddr;

/// A message of a session (RFC 6396 §4.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The other end's AS.
    pub peer_asn: Asn,
    /// The collector's AS.
    pub local_asn: Asn,
    /// The interface, 0 if it is not known.
    pub link: IfIndex,
    /// The other end's address.
    pub peer: IpAddr,
    /// The collector's address.
    pub local: IpAddr,
    /// AS numbers in the message have four octets.
    pub as4: bool,
    /// Prefixes in the message have path identifiers (RFC 8050 §3).
    pub add_path: bool,
    /// The collector sent it (RFC 6396 §4.4.6).
    pub is_sent: bool,
    /// Its type.
    pub kind: Kind,
    /// The message, header included, as long as its header says.
    pub message: &'a [u8],
}

/// A session changed its state (RFC 6396 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The other end's AS.
    pub peer_asn: Asn,
    /// The collector's AS.
    pub local_asn: Asn,
    /// The interface, 0 if it is not known.
    pub link: IfIndex,
    /// The other end's address.
    pub peer: IpAddr,
    /// The collector's address.
    pub local: IpAddr,
    /// The state that was left: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established.
    pub old: u16,
    /// The state that was entered.
    pub new: u16,
}

impl StateChange {
    /// The name of a state (RFC 4271 §8.2.2).
    #[must_use]
    pub const fn state_name(state: u16) -> &'static str {
        match state {
            1 => "Idle",
            2 => "Connect",
            3 => "Active",
            4 => "OpenSent",
            5 => "OpenConfirm",
            6 => "Established",
            _ => "unknown",
        }
    }
}

/// Subtypes (RFC 6396 §4.4, RFC 8050 §3).
const STATE_CHANGE: u16 = 0;
pub(super) const MESSAGE: u16 = 1;
pub(super) const MESSAGE_AS4: u16 = 4;
pub(super) const STATE_CHANGE_AS4: u16 = 5;
pub(super) const MESSAGE_LOCAL: u16 = 6;
pub(super) const MESSAGE_AS4_LOCAL: u16 = 7;
pub(super) const MESSAGE_ADDPATH: u16 = 8;
pub(super) const MESSAGE_AS4_ADDPATH: u16 = 9;
pub(super) const MESSAGE_LOCAL_ADDPATH: u16 = 10;
pub(super) const MESSAGE_AS4_LOCAL_ADDPATH: u16 = 11;

/// Both ends of a session.
struct Ends {
    peer_asn: Asn,
    local_asn: Asn,
    link: IfIndex,
    peer: IpAddr,
    local: IpAddr,
}

/// RFC 6396 §4.4.1, §4.4.2: AS numbers, interface, AFI, addresses.
fn ends(input: &[u8], as4: bool) -> Parsed<'_, Ends> {
    let (input, (peer_asn, local_asn, link)) =
        (|input| asn(input, as4), |input| asn(input, as4), be_u16).parse(input)?;
    let (input, family) = map_opt(be_u16, |afi| Family::from_wire(afi, 1)).parse(input)?;
    let (input, (peer, local)) = (|input| address(input, family), |input| address(input, family)).parse(input)?;
    Ok((input, Ends { peer_asn, local_asn, link: IfIndex(u32::from(link)), peer, local }))
}

/// The type of a message, whose header says how long it is; the marker is not looked at.
fn whole_message(bytes: &[u8]) -> Result<(Kind, &[u8]), Wrong> {
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(Wrong::Malformed)?;
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    match Kind::from_wire(header[18]) {
        Some(kind) if length == bytes.len() => Ok((kind, bytes)),
        _ => Err(Wrong::Malformed),
    }
}

/// Reads the body of a record of type BGP4MP.
pub(super) fn read(subtype: u16, body: &[u8]) -> Result<Record<'_>, &'static str> {
    let as4 = match subtype {
        STATE_CHANGE | MESSAGE | MESSAGE_LOCAL | MESSAGE_ADDPATH | MESSAGE_LOCAL_ADDPATH => false,
        STATE_CHANGE_AS4 | MESSAGE_AS4 | MESSAGE_AS4_LOCAL | MESSAGE_AS4_ADDPATH | MESSAGE_AS4_LOCAL_ADDPATH => true,
        _ => return Ok(Record::Other),
    };
    if matches!(subtype, STATE_CHANGE | STATE_CHANGE_AS4) {
        let fields = |input| (|input| ends(input, as4), be_u16, be_u16).parse(input);
        let (ends, old, new) = exact(body, fields).ok_or("its addresses and states do not fit its length")?;
        let Ends { peer_asn, local_asn, link, peer, local } = ends;
        return Ok(Record::StateChange(StateChange { peer_asn, local_asn, link, peer, local, old, new }));
    }
    let fields = |input| (|input| ends(input, as4), map_res(rest, whole_message)).parse(input);
    let (ends, (kind, message)) = exact(body, fields).ok_or("its addresses or its message do not fit its length")?;
    let Ends { peer_asn, local_asn, link, peer, local } = ends;
    Ok(Record::Message(Message {
        peer_asn,
        local_asn,
        link,
        peer,
        local,
        as4,
        add_path: subtype >= MESSAGE_ADDPATH,
        is_sent: matches!(
            subtype,
            MESSAGE_LOCAL | MESSAGE_AS4_LOCAL | MESSAGE_LOCAL_ADDPATH | MESSAGE_AS4_LOCAL_ADDPATH
        ),
        kind,
        message,
    }))
}
