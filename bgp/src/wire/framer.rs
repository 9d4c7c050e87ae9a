//! From a byte stream to whole messages: marker, length and type are checked before anything else is read (RFC 4271 §6.1).

use super::{HEADER_BYTES, Kind, Notification};
use bytes::{Bytes, BytesMut};

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

    /// The next whole message, header included; `None` until enough bytes are there.
    ///
    /// # Errors
    /// The NOTIFICATION to end the session with (RFC 4271 §6.1).
    pub fn next_message(&mut self) -> Option<Result<(Kind, Bytes), Notification>> {
        let header = self.buffer.get(..HEADER_BYTES)?;
        if header.iter().take(16).any(|&octet| octet != 0xff) {
            // RFC 4271 §6.1: Connection Not Synchronized.
            return Some(Err(Notification::new(Notification::HEADER, 1)));
        }
        let &[.., high, low, kind] = header else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(known) = Kind::from_wire(kind) else {
            // RFC 4271 §6.1: Bad Message Type, data = the type.
            let fault = Notification::with_data(Notification::HEADER, 3, &[kind]);
            return Some(Err(fault));
        };
        if length < known.min_length() || length > known.max_length().min(self.max_message) {
            // RFC 4271 §6.1: Bad Message Length, data = the length.
            let fault = Notification::with_data(Notification::HEADER, 2, &[high, low]);
            return Some(Err(fault));
        }
        if self.buffer.len() < length {
            return None;
        }
        Some(Ok((known, self.buffer.split_to(length).freeze())))
    }
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
