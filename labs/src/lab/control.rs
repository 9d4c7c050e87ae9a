//! What other terminals may ask of a running lab, and how the question travels: one line of JSON over the lab's socket,
//! with the asker's standard streams attached to an `exec`; answers come as lines.
//!
//! Only the lab's owner (and root) can reach the socket: its folder is closed to others.

use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::capture::{Captured, Limits};
use super::faults::Shown;
use crate::fault::Fault;
use crate::probe::Loss;
use crate::verify::kernel::KernelLink;

/// Longest line of either side.
const MAX_LINE: u64 = 1024 * 1024;
/// Descriptors of an exec: standard input, output, error.
const STREAMS: usize = 3;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What is there?
    Inspect,
    /// Which interfaces does a node have, and what did they send so far?
    Interfaces {
        /// The node.
        node: String,
    },
    /// Tell what happens, an event in each line after a first answer, until the asker goes away.
    Events,
    /// Run a command in a node, with the streams that come along.
    Exec {
        /// The node.
        node: String,
        /// Program and arguments.
        command: Vec<String>,
        /// Whether the streams are a terminal, which then becomes the command's own.
        terminal: bool,
        /// Kind of that terminal, TERM.
        kind: Option<String>,
    },
    /// Set an interface up or down.
    Link {
        /// The node.
        node: String,
        /// Its interface.
        interface: String,
        /// Which.
        up: bool,
    },
    /// Kill a node's daemons.
    Kill {
        /// The node.
        node: String,
    },
    /// Start them again.
    Start {
        /// The node.
        node: String,
    },
    /// Make a fault.
    Fault {
        /// What is wrong, and where.
        fault: Fault,
        /// After how many milliseconds it is undone; `None` = when somebody asks.
        lasts_ms: Option<u64>,
    },
    /// Undo faults.
    Mend {
        /// Those at this place; `None` = all.
        place: Option<String>,
    },
    /// What is wrong?
    Faults,
    /// Let packets flow between two nodes, in both directions, until the asker ends its side of the connection.
    Flow {
        /// One end.
        from: String,
        /// The other.
        to: String,
        /// Flows of a packet per millisecond in each direction.
        flows: usize,
    },
    /// Write what passes an interface into the stream that comes along, until the limits or until the asker goes away.
    Capture {
        /// The node.
        node: String,
        /// Its interface.
        interface: String,
        /// When it ends by itself.
        limits: Limits,
    },
    /// Take the lab down.
    Down,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The command ended with this code.
    Exit(i32),
    /// The lab.
    Lab(Inspection),
    /// Interfaces of a node.
    Interfaces(Vec<Interface>),
    /// Everything that is wrong.
    Faults(Vec<Shown>),
    /// What each flow lost, and each in the other direction.
    Losses(Vec<Loss>),
    /// What a capture wrote.
    Captured(Captured),
    /// It cannot be done, and why.
    Refused(String),
}

/// A lab as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Name.
    pub name: String,
    /// Topology file.
    pub path: String,
    /// Every node.
    pub nodes: Vec<InspectedNode>,
}

/// A node as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedNode {
    /// Name in the lab.
    pub name: String,
    /// containerlab's long name.
    pub long_name: String,
    /// Kind.
    pub kind: String,
    /// Image, as in the file.
    pub image: String,
    /// Group, if any.
    pub group: Option<String>,
    /// Which daemon runs in it.
    pub personality: String,
    /// `running`, or `exited` when a daemon does not run.
    pub state: String,
    /// What its health check says, if it has one: `starting`, `healthy` or `unhealthy`.
    pub health: Option<String>,
    /// Its first process, on the host.
    pub pid: u32,
    /// First IPv4 address of lo, with length.
    pub ipv4: Option<String>,
    /// First IPv6 address of lo, with length.
    pub ipv6: Option<String>,
}

/// An interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// What the kernel says of it.
    #[serde(flatten)]
    pub link: KernelLink,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Asks; the connection stays open for the answer, and closing it withdraws an `exec`.
///
/// # Errors
/// When nobody listens at the socket.
pub fn ask(socket: &Path, request: &Request, streams: &[BorrowedFd<'_>]) -> io::Result<UnixStream> {
    let connection = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if !streams.is_empty() {
        attached.push(SendAncillaryMessage::ScmRights(streams));
    }
    let sent = sendmsg(&connection, &[IoSlice::new(&line)], &mut attached, SendFlags::NOSIGNAL)?;
    io::Write::write_all(&mut &connection, &line[sent..])?;
    Ok(connection)
}

/// Waits for the answer.
///
/// # Errors
/// When the lab ends meanwhile.
pub fn answer(connection: &UnixStream) -> io::Result<Answer> {
    let mut line = String::new();
    BufReader::new(connection.take(MAX_LINE)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the lab ended"));
    }
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// Reads one question and what is attached to it.
pub(super) fn receive(connection: &UnixStream) -> io::Result<(Request, Vec<OwnedFd>)> {
    let mut buffer = vec![0; 64 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let read = recvmsg(connection.as_fd(), &mut [IoSliceMut::new(&mut buffer)], &mut attached, flags)?.bytes;
    let mut streams = Vec::new();
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            streams.extend(descriptors);
        }
    }
    let mut line = buffer.get(..read).unwrap_or_default().to_vec();
    if !line.contains(&b'\n') {
        BufReader::new(connection.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    }
    Ok((serde_json::from_slice(&line).map_err(io::Error::other)?, streams))
}
