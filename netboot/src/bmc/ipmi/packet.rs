//! Datagrams: RMCP (§13.1), the session headers of IPMI 1.5 and 2.0 (table 13-8), messages (§13.8). What is not exactly so is `None`.

use super::suite::{Keys, same};

/// RMCP 1.0, no acknowledgement, class IPMI (§13.1.3).
const RMCP: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
/// Format of the session header: RMCP+.
const RMCP_PLUS: u8 = 0x06;
/// Of the last octet before the check.
const NEXT_HEADER: u8 = 0x07;
/// Bits of the payload's type: encrypted, authenticated.
const SEALED: u8 = 0xc0;
/// Octets of a datagram: none of what is asked here has a tenth.
pub const DATAGRAM_MAX: usize = 1_024;
/// Address of the controller, and of a console elsewhere.
const CONTROLLER: u8 = 0x20;
const CONSOLE: u8 = 0x81;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message outside a session.
    Plain(Vec<u8>),
    /// Part of the making of a session: type and octets.
    Setup(u8, Vec<u8>),
    /// A message within a session, whose check was right.
    Sealed {
        /// Number of the packet.
        sequence: u32,
        /// The message.
        message: Vec<u8>,
    },
}

/// A message outside a session, in the header of IPMI 1.5 that every controller reads.
#[must_use]
pub fn plain(message: &[u8]) -> Vec<u8> {
    let mut packet = RMCP.to_vec();
    packet.extend([0; 9]);
    packet.push(u8::try_from(message.len()).unwrap_or_default());
    packet.extend_from_slice(message);
    packet
}

/// A part of the making of a session: neither encrypted nor checked here (§13.20 to §13.24).
#[must_use]
pub fn setup(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = RMCP.to_vec();
    packet.extend([RMCP_PLUS, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(u16::try_from(payload.len()).unwrap_or_default().to_le_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// A message within a session; `session` is the receiver's number of it, `vector` is used once.
#[must_use]
pub fn sealed(keys: &Keys, session: u32, sequence: u32, message: &[u8], vector: [u8; 16]) -> Vec<u8> {
    let payload = keys.encrypt(vector, message);
    let mut packet = RMCP.to_vec();
    packet.extend([RMCP_PLUS, SEALED]);
    packet.extend(session.to_le_bytes());
    packet.extend(sequence.to_le_bytes());
    packet.extend(u16::try_from(payload.len()).unwrap_or_default().to_le_bytes());
    packet.extend(payload);
    // What is checked has whole words with the two octets of its end (§13.28.4).
    let padding = (4 - (packet.len() - RMCP.len() + 2) % 4) % 4;
    packet.extend(std::iter::repeat_n(0xff, padding));
    packet.extend([u8::try_from(padding).unwrap_or_default(), NEXT_HEADER]);
    let check = keys.check(packet.get(RMCP.len()..).unwrap_or_default());
    packet.extend(check);
    packet
}

/// Reads a datagram; `session` has the keys and our number of the session, where there is one.
#[must_use]
pub fn read(datagram: &[u8], session: Option<(&Keys, u32)>) -> Option<Heard> {
    if datagram.len() > DATAGRAM_MAX {
        return None;
    }
    // The sequence number of RMCP is not ours to compare: 0xff means none.
    let rest = datagram.strip_prefix(&[0x06, 0x00])?.get(1..)?.strip_prefix(&[0x07])?;
    if rest.first() == Some(&0) {
        let message = rest.strip_prefix(&[0; 9])?;
        let (length, message) = message.split_first()?;
        return Some(Heard::Plain(message.get(..usize::from(*length))?.to_vec()));
    }
    let (kind, after) = rest.strip_prefix(&[RMCP_PLUS])?.split_first()?;
    let (id, after) = after.split_first_chunk::<4>()?;
    let (sequence, after) = after.split_first_chunk::<4>()?;
    let (length, after) = after.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (payload, trailer) = after.split_at_checked(length)?;
    if *kind & SEALED == 0 {
        return (*id == [0; 4] && *kind != 0).then(|| Heard::Setup(*kind, payload.to_vec()));
    }
    let (keys, own) = session.filter(|(_, own)| *id == own.to_le_bytes() && *kind == SEALED)?;
    let (end, check) = trailer.split_at_checked(trailer.len().checked_sub(keys.check_length())?)?;
    let checked = rest.get(..rest.len() - check.len())?;
    debug_assert!(own != 0, "a session has a number");
    let padding = end.len().checked_sub(2)?;
    let well = padding < 4 && end.ends_with(&[u8::try_from(padding).ok()?, NEXT_HEADER]);
    if !well || !same(&keys.check(checked), check) {
        return None;
    }
    Some(Heard::Sealed { sequence: u32::from_le_bytes(*sequence), message: keys.decrypt(payload)? })
}

/// What a controller is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Network function: 0 chassis, 6 application (§5.1).
    pub net_fn: u8,
    /// Its number.
    pub number: u8,
}

/// A request; `number` (six bits) comes back in its answer.
#[must_use]
pub fn request(command: Command, number: u8, data: &[u8]) -> Vec<u8> {
    let head = [CONTROLLER, command.net_fn << 2];
    let mut message = vec![head[0], head[1], sum(&head)];
    message.extend([CONSOLE, number << 2, command.number]);
    message.extend_from_slice(data);
    message.push(sum(message.get(3..).unwrap_or_default()));
    message
}

/// The answer to this command with this number: completion code and data.
#[must_use]
pub fn answer(message: &[u8], command: Command, number: u8) -> Option<(u8, &[u8])> {
    let (head, rest) = message.split_first_chunk::<3>()?;
    let (last, body) = rest.split_last()?;
    let right = head[..2] == [CONSOLE, (command.net_fn | 1) << 2] && sum(&head[..2]) == head[2] && sum(body) == *last;
    let (from, data) = body.split_first_chunk::<3>()?;
    let (code, data) = data.split_first()?;
    (right && *from == [CONTROLLER, number << 2, command.number]).then_some((*code, data))
}

/// The sum of all octets with it is zero (§13.8).
fn sum(octets: &[u8]) -> u8 {
    octets.iter().fold(0_u8, |all, octet| all.wrapping_add(*octet)).wrapping_neg()
}
