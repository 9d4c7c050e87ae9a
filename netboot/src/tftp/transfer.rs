//! One transfer to a client: what is sent when, and when it is over.

use super::{Options, Refused, opcode};
use std::collections::VecDeque;
use std::time::Duration;

/// Octets of a block when nothing else is agreed (RFC 1350 §2).
const BLOCK: u16 = 512;
/// Wait for an acknowledgement when nothing else is agreed; each time twice as long, up to [`LATER_MAX`] times.
const TIMEOUT: Duration = Duration::from_secs(1);
/// See there.
const LATER_MAX: u32 = 8;
/// How often the same is sent again.
const TRIES_MAX: u32 = 6;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these octets.
    Send(Vec<u8>),
    /// Send this head and, behind it, so many octets of the file.
    Data {
        /// Kind and number of the block.
        head: [u8; 4],
        /// The first octet.
        from: u64,
        /// How many; the last block has fewer than the others, or none.
        count: u16,
    },
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client has all of it.
    Done,
    /// The client ended it: firmware does, when it wanted to know the length alone.
    Aborted,
    /// The client says nothing any more.
    Silent,
    /// The client sent what does not belong here.
    Illegal,
}

/// A transfer.
#[derive(Clone, Debug)]
pub struct Transfer {
    length: u64,
    block_size: u16,
    window: u16,
    timeout: Duration,
    /// What was agreed, until the client acknowledges it as block 0.
    agreed: Option<Vec<u8>>,
    /// Blocks that the client has, counted from the first without end: on the wire are the lowest 16 bits.
    acked: u64,
    /// The last block that was sent.
    sent: u64,
    /// The acknowledgement of `acked` came a second time, and what followed was sent again.
    repeated: bool,
    tries: u32,
    deadline: Duration,
    outputs: VecDeque<Output>,
    end: Option<End>,
}

impl Transfer {
    /// Begins to send a file of `length` octets; `now` counts from anywhere.
    #[must_use]
    pub fn new(now: Duration, length: u64, asked: Options) -> Self {
        let granted = asked.granted();
        let mut transfer = Self {
            length,
            block_size: granted.block_size.unwrap_or(BLOCK),
            window: granted.window.unwrap_or(1),
            timeout: granted.timeout_s.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into())),
            agreed: granted.octets(length),
            acked: 0,
            sent: 0,
            repeated: false,
            tries: 0,
            deadline: now,
            outputs: VecDeque::new(),
            end: None,
        };
        transfer.send(now);
        transfer
    }

    /// What the client sent.
    pub fn handle(&mut self, now: Duration, octets: &[u8]) {
        let (Some((kind, rest)), None) = (octets.split_first_chunk::<2>(), self.end) else { return };
        match (u16::from_be_bytes(*kind), rest.split_first_chunk::<2>()) {
            (opcode::ACK, Some((block, _))) => self.on_ack(now, u16::from_be_bytes(*block)),
            (opcode::ERROR, _) => self.end = Some(End::Aborted),
            (opcode::READ | opcode::WRITE | opcode::DATA | opcode::OACK | opcode::ACK, _) => self.on_illegal(),
            // What is no TFTP is nobody's: it may be a scan.
            _ => {}
        }
    }

    /// Time went on.
    pub fn tick(&mut self, now: Duration) {
        if self.end.is_some() || now < self.deadline {
            return;
        }
        self.tries += 1;
        if self.tries > TRIES_MAX {
            self.end = Some(End::Silent);
        } else {
            self.send(now);
        }
    }

    /// When `tick` has something to do.
    #[must_use]
    pub const fn next_timeout(&self) -> Duration {
        self.deadline
    }

    /// What is to be sent, until there is nothing.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// The last block is the first one that is not full (RFC 1350 §6), so a file of whole blocks has an empty one behind.
    fn blocks(&self) -> u64 {
        self.length / u64::from(self.block_size) + 1
    }

    fn on_ack(&mut self, now: Duration, block: u16) {
        let [.., high, low] = self.acked.to_be_bytes();
        let further = u64::from(block.wrapping_sub(u16::from_be_bytes([high, low])));
        if self.agreed.is_some() {
            if block == 0 {
                self.agreed = None;
                self.advance(now, 0);
            }
            return;
        }
        if further > self.sent - self.acked {
            // Of before, or of what was never sent.
            return;
        }
        if further > 0 {
            self.advance(now, further);
        } else if self.window > 1 && !self.repeated {
            // RFC 7440 §4: the client has not got the first block of the window.
            self.repeated = true;
            self.send(now);
        }
    }

    fn advance(&mut self, now: Duration, further: u64) {
        self.acked += further;
        self.tries = 0;
        self.repeated = false;
        if self.acked == self.blocks() {
            self.end = Some(End::Done);
        } else {
            self.send(now);
        }
    }

    fn on_illegal(&mut self) {
        self.outputs.push_back(Output::Send(Refused::ILLEGAL.octets()));
        self.end = Some(End::Illegal);
    }

    /// What the client is to acknowledge next.
    fn send(&mut self, now: Duration) {
        self.deadline = now + self.timeout * 2_u32.pow(self.tries).min(LATER_MAX);
        self.outputs.clear();
        if let Some(agreed) = &self.agreed {
            self.outputs.push_back(Output::Send(agreed.clone()));
            return;
        }
        self.sent = self.blocks().min(self.acked + u64::from(self.window));
        for block in self.acked + 1..=self.sent {
            let from = (block - 1) * u64::from(self.block_size);
            let left = self.length - from;
            let count = u16::try_from(left).map_or(self.block_size, |left| left.min(self.block_size));
            let ([.., high, low], [first, second]) = (block.to_be_bytes(), opcode::DATA.to_be_bytes());
            self.outputs.push_back(Output::Data { head: [first, second, high, low], from, count });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn options(block_size: u16, window: u16) -> Options {
        Options { block_size: Some(block_size), window: Some(window), ..Options::default() }
    }

    fn ack(block: u16) -> Vec<u8> {
        [[0, 4], block.to_be_bytes()].concat()
    }

    /// Numbers of the blocks that are sent now.
    fn sent(transfer: &mut Transfer) -> Vec<u16> {
        std::iter::from_fn(|| transfer.poll())
            .map(|output| match output {
                Output::Data { head: [0, 3, high, low], .. } => u16::from_be_bytes([high, low]),
                other @ (Output::Send(_) | Output::Data { .. }) => panic!("{other:?}"),
            })
            .collect()
    }

    fn started(length: u64, asked: Options) -> Transfer {
        let mut transfer = Transfer::new(Duration::ZERO, length, asked);
        if asked != Options::default() {
            assert!(matches!(transfer.poll(), Some(Output::Send(oack)) if oack.starts_with(&[0, 6])));
            assert_eq!(transfer.poll(), None, "RFC 2347 §2: data waits for the acknowledgement of the options");
            transfer.handle(Duration::ZERO, &ack(0));
        }
        transfer
    }

    /// RFC 1350 §6: the last block is short, and empty when the file ends with a block.
    #[test]
    fn a_file_ends_with_a_short_block() {
        for (length, counts) in [(0, vec![0]), (511, vec![511]), (512, vec![512, 0]), (1_030, vec![512, 512, 6])] {
            let mut transfer = started(length, Options::default());
            for (at, count) in counts.iter().enumerate() {
                let block = u16::try_from(at + 1).unwrap();
                let from = u64::try_from(at).unwrap() * 512;
                let [high, low] = block.to_be_bytes();
                assert_eq!(transfer.poll(), Some(Output::Data { head: [0, 3, high, low], from, count: *count }));
                assert_eq!((transfer.poll(), transfer.end()), (None, None));
                transfer.handle(Duration::ZERO, &ack(block));
            }
            assert_eq!(transfer.end(), Some(End::Done), "{length}");
        }
    }

    /// RFC 1123 §4.2.3.1.
    #[test]
    fn an_acknowledgement_that_comes_twice_sends_nothing() {
        let mut transfer = started(5_000, Options::default());
        assert_eq!(sent(&mut transfer), [1]);
        transfer.handle(Duration::ZERO, &ack(1));
        assert_eq!(sent(&mut transfer), [2]);
        for old in [1, 1, 0, 7, 65_535] {
            transfer.handle(Duration::ZERO, &ack(old));
            assert!(sent(&mut transfer).is_empty(), "{old}");
        }
    }

    /// RFC 7440 §4.
    #[test]
    fn a_window_goes_on_behind_what_the_client_has() {
        let mut transfer = started(10_000, options(1_000, 4));
        assert_eq!(sent(&mut transfer), [1, 2, 3, 4]);
        transfer.handle(SECOND, &ack(2));
        assert_eq!(sent(&mut transfer), [3, 4, 5, 6], "block 3 was lost");
        transfer.handle(SECOND, &ack(2));
        assert_eq!(sent(&mut transfer), [3, 4, 5, 6], "and again, which the client says by what it has");
        transfer.handle(SECOND, &ack(2));
        assert!(sent(&mut transfer).is_empty(), "once");
        transfer.handle(SECOND, &ack(6));
        assert_eq!(sent(&mut transfer), [7, 8, 9, 10]);
        transfer.handle(SECOND, &ack(10));
        assert_eq!(sent(&mut transfer), [11], "a file of whole blocks ends with an empty one");
        transfer.handle(SECOND, &ack(11));
        assert_eq!(transfer.end(), Some(End::Done));
    }

    #[test]
    fn silence_is_answered_later_and_later_and_not_for_ever() {
        let mut transfer = started(1_000, options(512, 2));
        assert_eq!(sent(&mut transfer), [1, 2]);
        let mut waits = Vec::new();
        let mut now = Duration::ZERO;
        while transfer.end().is_none() {
            let at = transfer.next_timeout();
            waits.push((at - now).as_secs());
            transfer.tick(at - Duration::from_millis(1));
            assert!(sent(&mut transfer).is_empty());
            transfer.tick(at);
            now = at;
            let again = sent(&mut transfer);
            assert!(again == [1, 2] || transfer.end() == Some(End::Silent), "{again:?}");
        }
        assert_eq!(waits, [1, 2, 4, 8, 8, 8, 8]);
    }

    /// RFC 2349 §2: the client's own.
    #[test]
    fn the_timeout_is_that_of_the_client() {
        let asked = Options { timeout_s: Some(3), ..Options::default() };
        let mut transfer = started(10, asked);
        assert_eq!((sent(&mut transfer), transfer.next_timeout()), (vec![1], 3 * SECOND));
    }

    /// EDK2 asks for the length, and ends the transfer with error 8.
    #[test]
    fn a_client_that_wanted_the_length_ends_it() {
        let mut transfer = Transfer::new(Duration::ZERO, 10, Options { length: true, ..Options::default() });
        assert_eq!(transfer.poll(), Some(Output::Send(b"\x00\x06tsize\x0010\x00".to_vec())));
        transfer.handle(Duration::ZERO, b"\x00\x05\x00\x08User aborted the transfer\x00");
        assert_eq!((transfer.end(), transfer.poll()), (Some(End::Aborted), None));
    }

    #[test]
    fn what_does_not_belong_to_a_transfer_ends_it() {
        let mut transfer = started(10, Options::default());
        sent(&mut transfer);
        transfer.handle(SECOND, b"\x00");
        transfer.handle(SECOND, b"\x99\x99\x00\x00");
        assert_eq!(transfer.end(), None);
        transfer.handle(SECOND, b"\x00\x03\x00\x01data");
        assert_eq!(transfer.end(), Some(End::Illegal));
        assert!(matches!(transfer.poll(), Some(Output::Send(error)) if error.starts_with(&[0, 5, 0, 4])));
    }

    /// More blocks than 16 bits count: 100 MB of the smallest, as some firmware does it.
    #[test]
    fn block_numbers_begin_again() {
        let mut transfer = started(8 * 70_000, options(8, 16));
        let mut last = 0_u64;
        while transfer.end().is_none() {
            let blocks = sent(&mut transfer);
            last += u64::try_from(blocks.len()).unwrap();
            let block = *blocks.last().unwrap();
            assert_eq!(u64::from(block), last % 65_536);
            transfer.handle(SECOND, &ack(block));
        }
        assert_eq!((transfer.end(), last), (Some(End::Done), 70_001));
    }
}
