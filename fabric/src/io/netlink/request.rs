//! The socket that asks: batches of operations with one answer each, single requests, dumps. The kernel works on a request while it
//! is being sent, so every answer is there when the call returns, and nothing here ever waits.

use super::wire::{self, Message};
use super::{nexthop, route};
use crate::fib::{Op, Refusal};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Room for the answers of a batch of which every message fails, with the kernel's words; the system may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel sends at most 32 KiB of a dump at a time.
const CHUNK: usize = 64 << 10;
/// A dump that is disturbed by changes is begun again this often before it is given up for now.
pub(super) const DUMP_TRIES: u32 = 5;

/// How far a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// There is more.
    Inner,
    /// It is over, and what it told is void if changes disturbed it.
    Last {
        /// They did not.
        whole: bool,
    },
}

/// Operations as the kernel reads them.
#[derive(Debug)]
pub(super) struct Parcel {
    data: Vec<u8>,
    /// Sequence numbers of the first and the last message.
    first: u32,
    last: u32,
}

/// The part of the socket that sends: the kernel works on a parcel until the call returns, in which somebody else may stand.
#[derive(Clone, Debug)]
pub(super) struct Outlet(Arc<Socket>);

impl Outlet {
    /// Hands operations to the kernel; [`Requests::outcomes`] says what it answered.
    pub(super) fn send(&self, parcel: &Parcel) -> io::Result<()> {
        self.send_octets(&parcel.data)
    }

    fn send_octets(&self, data: &[u8]) -> io::Result<()> {
        self.0.send_to(data, &SocketAddr::new(0, 0), 0).map(drop)
    }
}

#[derive(Debug)]
pub(super) struct Requests {
    socket: Outlet,
    port: u32,
    sequence: u32,
    out: Vec<u8>,
    chunk: Vec<u8>,
    /// No change has disturbed the dump under way.
    undisturbed: bool,
    /// What the kernel said last to explain a refusal.
    pub(super) words: Option<String>,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_non_blocking(true)?;
        set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER);
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        // Filters of dumps are obeyed, and nonsense is refused rather than ignored.
        socket.set_netlink_get_strict_chk(true)?;
        let socket = Outlet(Arc::new(socket));
        Ok(Self { socket, port, sequence: 0, out: Vec::new(), chunk: vec![0; CHUNK], undisturbed: true, words: None })
    }

    /// For who sends parcels in our stead, one at a time and while nothing else is asked.
    pub(super) fn outlet(&self) -> Outlet {
        self.socket.clone()
    }

    /// How the kernel names us in notifications of what we did.
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Sends operations together and tells the outcome of each.
    pub(super) fn batch(&mut self, ops: &[Op], protocol: u8) -> Vec<Result<(), Refusal>> {
        let parcel = self.pack(ops, protocol);
        let sent = self.socket.send(&parcel);
        self.outcomes(parcel, sent.is_ok(), ops.len())
    }

    /// Operations on the wire, to be sent before anything that is packed or asked after them.
    pub(super) fn pack(&mut self, ops: &[Op], protocol: u8) -> Parcel {
        let mut data = std::mem::take(&mut self.out);
        data.clear();
        let first = self.sequence.wrapping_add(1);
        let mut last = None;
        for op in ops {
            self.sequence = self.sequence.wrapping_add(1);
            last = nexthop::push(&mut data, op, protocol, self.sequence)
                .or_else(|| route::push(&mut data, op, protocol, self.sequence));
        }
        if let Some(start) = last {
            wire::ask_answer(&mut data, start);
        }
        Parcel { data, first, last: self.sequence }
    }

    /// What the kernel answered to so many operations.
    pub(super) fn outcomes(&mut self, parcel: Parcel, sent: bool, number: usize) -> Vec<Result<(), Refusal>> {
        let mut outcomes = vec![Ok(()); number];
        // Only failures are answered one by one; the answer to the last message says that all have been worked on.
        let answered = sent && self.collect(parcel.first, parcel.last, &mut outcomes);
        if !answered {
            outcomes.fill(Err(Refusal::Unanswered));
        }
        self.out = parcel.data;
        outcomes
    }

    fn collect(&mut self, first: u32, end: u32, outcomes: &mut [Result<(), Refusal>]) -> bool {
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut complete = false;
        while !complete {
            let Ok(length) = self.receive(&mut chunk) else { break };
            for message in wire::messages(chunk.get(..length).unwrap_or_default()) {
                if message.kind != wire::NLMSG_ERROR {
                    continue;
                }
                let index = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                let (outcome, words) = wire::answer(&message);
                if let Some(slot) = outcomes.get_mut(index) {
                    *slot = outcome;
                    self.words = words.or_else(|| self.words.take());
                    complete |= message.sequence == end;
                }
            }
        }
        self.chunk = chunk;
        complete
    }

    /// One request with its answer.
    pub(super) fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        let start = wire::begin(&mut out, kind, flags | wire::NLM_F_ACK, self.sequence);
        out.extend(body);
        wire::end(&mut out, start);
        self.ask(&out)
    }

    /// Whether we may change anything: the kernel checks that before it looks at what is asked, here nothing.
    pub(super) fn probe(&mut self) -> Result<(), Refusal> {
        self.request(nexthop::RTM_DELNEXTHOP, 0, &[0; nexthop::HEADER])
    }

    fn ask(&mut self, out: &[u8]) -> Result<(), Refusal> {
        let mut outcome = [Ok(())];
        if self.send(out).is_err() || !self.collect(self.sequence, self.sequence, &mut outcome) {
            return Err(Refusal::Unanswered);
        }
        let [outcome] = outcome;
        outcome
    }

    /// A whole dump. `take` is given its messages, and `None` when an attempt was disturbed and all it was given is void;
    /// `between` is called while a dump is under way, for what cannot wait.
    ///
    /// # Errors
    /// What the kernel says; `Interrupted` if changes disturbed every attempt.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        mut take: impl FnMut(Option<&Message<'_>>),
        mut between: impl FnMut(),
    ) -> io::Result<()> {
        for _ in 0..DUMP_TRIES {
            if self.dump_once(kind, body, &mut take, &mut between)? {
                return Ok(());
            }
            take(None);
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Whether it was whole.
    fn dump_once(
        &mut self,
        kind: u16,
        body: &[u8],
        take: &mut impl FnMut(Option<&Message<'_>>),
        between: &mut impl FnMut(),
    ) -> io::Result<bool> {
        self.begin_dump(kind, body)?;
        loop {
            match self.next_piece(|message| take(Some(message)))? {
                Piece::Inner => between(),
                Piece::Last { whole } => return Ok(whole),
            }
        }
    }

    /// Asks for a dump, which [`Requests::next_piece`] gives piece by piece; one at a time.
    pub(super) fn begin_dump(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        let start = wire::begin(&mut out, kind, wire::NLM_F_DUMP, self.sequence);
        out.extend(body);
        wire::end(&mut out, start);
        self.undisturbed = true;
        self.send(&out)
    }

    /// The next piece of the dump that was begun.
    ///
    /// # Errors
    /// What the kernel says; the dump is over then.
    pub(super) fn next_piece(&mut self, mut take: impl FnMut(&Message<'_>)) -> io::Result<Piece> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let length = self.receive(&mut chunk);
        let mut done = None;
        let data = chunk.get(..*length.as_ref().unwrap_or(&0)).unwrap_or_default();
        for message in wire::messages(data).filter(|message| message.sequence == self.sequence) {
            self.undisturbed &= message.flags & wire::NLM_F_DUMP_INTR == 0;
            match message.kind {
                // Both carry an error number first; a dump is valid only if it ends with none.
                wire::NLMSG_DONE | wire::NLMSG_ERROR => done = Some(wire::answer(&message).0),
                wire::NLMSG_OVERRUN => self.undisturbed = false,
                _ => take(&message),
            }
        }
        self.chunk = chunk;
        length?;
        match done {
            None => Ok(Piece::Inner),
            // A table that does not exist yet holds nothing.
            Some(Ok(()) | Err(Refusal::Missing)) => Ok(Piece::Last { whole: self.undisturbed }),
            Some(Err(Refusal::Busy)) => Ok(Piece::Last { whole: false }),
            Some(Err(refusal)) => Err(io::Error::other(format!("dump: {refusal}"))),
        }
    }

    fn send(&self, data: &[u8]) -> io::Result<()> {
        self.socket.send_octets(data)
    }

    fn receive(&self, chunk: &mut [u8]) -> io::Result<usize> {
        receive(&self.socket.0, chunk)
    }
}

/// Receives from the kernel; a message from another process (which the kernel does not allow by default) is dropped.
pub(super) fn receive(socket: &Socket, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        let (length, from) = socket.recv_from(&mut &mut *chunk, 0)?;
        if from.port_number() == 0 {
            return Ok(length.min(chunk.len()));
        }
    }
}

/// As large as the system lets us.
pub(super) fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: usize) {
    use rustix::net::sockopt;
    // The first needs CAP_NET_ADMIN in the first namespace, the second stops at net.core.rmem_max without an error.
    if sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, bytes);
    }
}
