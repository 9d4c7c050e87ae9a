//! Netlink framing (netlink(7), rtnetlink(7)): headers, attributes, answers. What the packet crate has is taken from it; nexthop
//! messages it lacks, and answers are read here because a batch mixes kinds.

use crate::fib::Refusal;
use std::net::IpAddr;

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
pub(super) const NLMSG_OVERRUN: u16 = 4;

pub(super) const NLM_F_REQUEST: u16 = 0x01;
pub(super) const NLM_F_ACK: u16 = 0x04;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;
/// In an answer: attributes follow.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// In an answer: text for people.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Length of a message header.
const HEADER: usize = 16;
/// Low bits of an attribute's type; the two high ones are flags.
const TYPE_MASK: u16 = 0x3fff;

/// Starts a message, and says where it begins so that flags can be changed.
pub(super) fn begin(buffer: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32) -> usize {
    let start = buffer.len();
    buffer.extend([0; 4]);
    buffer.extend(kind.to_ne_bytes());
    buffer.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    buffer.extend(sequence.to_ne_bytes());
    buffer.extend([0; 4]);
    start
}

/// Ends a message: fills in its length.
pub(super) fn end(buffer: &mut Vec<u8>, start: usize) {
    let length = u32::try_from(buffer.len() - start).unwrap_or(u32::MAX);
    if let Some(room) = buffer.get_mut(start..start + 4) {
        room.copy_from_slice(&length.to_ne_bytes());
    }
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

/// Asks for an answer to the message at `start` even if all goes well.
pub(super) fn ask_answer(buffer: &mut [u8], start: usize) {
    if let Some(flags) = half(buffer, start + 6)
        && let Some(room) = buffer.get_mut(start + 6..start + 8)
    {
        room.copy_from_slice(&(flags | NLM_F_ACK).to_ne_bytes());
    }
}

/// Appends an attribute.
pub(super) fn attribute(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    buffer.extend(length.to_ne_bytes());
    buffer.extend(kind.to_ne_bytes());
    buffer.extend(value);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

/// One message as received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Of a notification: the port of the socket that asked for the change; 0 is the kernel itself.
    pub(super) port: u32,
    pub(super) payload: &'a [u8],
}

/// Splits what was received; stops at the first message that does not fit.
pub(super) fn messages(mut data: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = data.get(..HEADER)?;
        let length = usize::try_from(word(header, 0)?).ok()?;
        let payload = data.get(HEADER..length)?;
        let message = Message {
            kind: half(header, 4)?,
            flags: half(header, 6)?,
            sequence: word(header, 8)?,
            port: word(header, 12)?,
            payload,
        };
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Splits attributes into types and values.
pub(super) fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(data, 0)?);
        let kind = half(data, 2)? & TYPE_MASK;
        let value = data.get(4..length)?;
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A 32-bit number in host order.
pub(super) fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// An address of either family, by its length.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

/// What an `NLMSG_ERROR` says (its number is 0 for success): outcome, and text for people.
pub(super) fn answer(message: &Message<'_>) -> (Result<(), Refusal>, Option<String>) {
    let number = message.payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    let mut text = None;
    if message.flags & NLM_F_ACK_TLVS != 0 {
        // Capped answers repeat the header of the request only.
        let extra = message.payload.get(4 + HEADER..).unwrap_or_default();
        let found = attributes(extra).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
        text = found.map(|(_, value)| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
    }
    (if number == 0 { Ok(()) } else { Err(refusal(number.saturating_neg())) }, text)
}

/// Sorts error numbers by what must follow.
pub(super) const fn refusal(errno: i32) -> Refusal {
    match errno {
        libc::EEXIST => Refusal::Exists,
        libc::ENOENT | libc::ESRCH => Refusal::Missing,
        libc::ENETUNREACH | libc::EHOSTUNREACH => Refusal::NotOnLink,
        libc::ENETDOWN | libc::ENODEV => Refusal::LinkDown,
        libc::EINVAL => Refusal::Invalid,
        libc::EBUSY | libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS | libc::EINTR => Refusal::Busy,
        libc::EPERM | libc::EACCES => Refusal::Forbidden,
        errno => Refusal::Other(errno),
    }
}
