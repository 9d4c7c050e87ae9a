//! From a byte stream to whole messages: marker, length and type are checked before anything else is read (RFC 4271 §6.1).

use super::read::{Parsed, Wrong, whole};
use super::{HEADER_BYTES, Kind, Notification};
use bytes::{Bytes, BytesMut};
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::map_res;
use nom::number::complete::{be_u8, be_u16};

/// Cuts a TCP stream into BGP messages. Holds at most one incomplete message beyond what was pushed and not yet taken.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    max_message: usize,
}

impl Framer {
    /// A framer that accepts messages of at most `max_message` octets.
    #[must_use]
    pub fn new(max_message: usize) -> Self {
        Self { buffer: BytesMut::new(), max_message }
    }

    /// Accept larger messages from now on (RFC 8654 §4, after both OPENs).
    pub const fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// Takes bytes as they came, in any split.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// What was pushed and not yet taken: a part of a message, or messages.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// The next whole message, header included; `None` until enough bytes are there.
    ///
    /// # Errors
    /// The NOTIFICATION to end the session with (RFC 4271 §6.1).
    pub fn next_message(&mut self) -> Option<Result<(Kind, Bytes), Notification>> {
        let header = self.buffer.get(..HEADER_BYTES)?;
        let (kind, length) = match whole(header, Notification::HEADER, 2, |input| parse_header(input, self.max_message))
        {
            Ok(read) => read,
            Err(fault) => return Some(Err(fault)),
        };
        if self.buffer.len() < length {
            return None;
        }
        Some(Ok((kind, self.buffer.split_to(length).freeze())))
    }
}

/// The type and the length of the whole message.
fn parse_header(input: &[u8], max_message: usize) -> Parsed<'_, (Kind, usize)> {
    map_res((take(16_usize), be_u16, be_u8), |(marker, length, kind): (&[u8], _, _)| {
        if marker != [0xff; 16] {
            // RFC 4271 §6.1: Connection Not Synchronized.
            return Err(Wrong::Value(1));
        }
        // RFC 4271 §6.1: Bad Message Type, data = the type; Bad Message Length, data = the length.
        let known = Kind::from_wire(kind).ok_or(Wrong::Octet(3, kind))?;
        let octets = usize::from(length);
        if octets < known.min_length() || octets > known.max_length().min(max_message) {
            return Err(Wrong::Word(2, length));
        }
        Ok((known, octets))
    })
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(length: u16, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes.resize(usize::from(length).max(HEADER_BYTES), 0);
        bytes
    }

    fn fault(bytes: &[u8]) -> (u8, u8) {
        let mut framer = Framer::new(4_096);
        framer.push(bytes);
        let fault = framer.next_message().unwrap().unwrap_err();
        (fault.code, fault.subcode)
    }

    #[test]
    fn header_faults_have_their_subcodes() {
        // RFC 4271 §6.1
        let mut unsynchronized = message(19, 4);
        unsynchronized[3] = 0;
        assert_eq!(fault(&unsynchronized), (1, 1));
        assert_eq!(fault(&message(18, 4)), (1, 2));
        assert_eq!(fault(&message(20, 4)), (1, 2), "KEEPALIVE is 19 octets");
        assert_eq!(fault(&message(28, 1)), (1, 2), "OPEN is at least 29");
        assert_eq!(fault(&message(22, 2)), (1, 2), "UPDATE is at least 23");
        assert_eq!(fault(&message(20, 3)), (1, 2), "NOTIFICATION is at least 21");
        assert_eq!(fault(&message(4_097, 2)), (1, 2));
        assert_eq!(fault(&message(19, 9)), (1, 3));
        assert_eq!(fault(&message(19, 0)), (1, 3));
    }

    proptest! {
        #[test]
        fn any_split_yields_the_same_messages(cuts in proptest::collection::vec(1_usize..40, 1..50)) {
            let mut stream = message(19, 4);
            stream.extend(message(23, 2));
            stream.extend(message(300, 2));
            let mut framer = Framer::new(4_096);
            let mut lengths = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                framer.push(now);
                rest = later;
                while let Some(next) = framer.next_message() {
                    lengths.push(next.unwrap().1.len());
                }
            }
            prop_assert_eq!(lengths, vec![19, 23, 300]);
        }
    }
}
