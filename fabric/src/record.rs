//! A recording: everything that a [`Node`](crate::node::Node) was fed from its first moment on, and what it answered, as lines of JSON.
//! Whoever feeds another node the same finds out whether it does the same. Pure: how it leaves the daemon is `io`'s.
//!
//! ```text
//! {"begin":{"form":1,"weft":"0.1.0","at":0,"config":{…},"seed":…,"restarting":false}}
//! {"did":[{"handle":{"at":1200417,"input":{"Links":[…]}}},"nothing"]}
//! {"did":["poll",{"output":{"Bgp":{"Connect":{…}}}}]}
//! {"end":{"at":600000000000,"why":"…"}}
//! ```
//! A recording begins where the node does, never later: timers, the generator of chance, what peers were told and in which pieces are a
//! state that no dump holds, and a replay that begins beside it could only say "about the same". A running daemon becomes a new node,
//! with its sessions, by `weft upgrade`. Keys are not in it: they stand in files of their own, of which the configuration has the names.

mod log;
mod perform;
mod recorder;
#[cfg(test)]
mod tests;

pub use log::{Page, Place};
pub use perform::{begin, perform};
pub use recorder::Recorder;

use crate::config::NodeConfig;
use crate::node::{Input, Lease, Output};
use crate::{drain, vip};
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Write as _;
use std::net::SocketAddr;
use weft_bgp::rtr;
use weft_bgp::speaker::{FibChange, MonitorConfig, TimeToLive};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IpNet};

/// The form of what is below; another one is not read.
pub const FORM: u32 = 1;
/// Longest line that is read: a configuration for 10,000 machines has 6 MB, and JSON doubles some of its characters.
pub const LINE_MAX: usize = 16 << 20;
/// Octets of what was sent that are kept as they are; of more, the checksum tells the rest.
const HEAD: usize = 512;

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The first one.
    Begin(Box<Begin>),
    /// What the node was asked or told, and what it answered.
    Did(Box<Call>, Box<Answer>),
    /// The last one, unless the recording was taken while the daemon went on.
    End {
        /// When.
        at: Instant,
        /// Why nothing follows.
        why: String,
    },
}

/// From what a node is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// [`FORM`].
    pub form: u32,
    /// Version of the program.
    pub weft: String,
    /// When.
    pub at: Instant,
    /// The configuration.
    pub config: Written,
    /// The seed that the driver handed in.
    pub seed: u64,
    /// Whether it said that it restarts.
    pub restarting: bool,
}

/// A configuration as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Name of the file.
    pub file: String,
    /// The machine's name, which stands in for one that the file does not say.
    pub hostname: String,
    /// The file.
    pub text: String,
}

impl Written {
    /// Of a configuration.
    #[must_use]
    pub fn of(config: &NodeConfig) -> Self {
        let source = &config.source;
        Self { file: source.file.clone(), hostname: config.hostname.clone(), text: source.text.clone() }
    }
}

/// What the node was asked or told: one method of [`Node`](crate::node::Node) each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the arguments of the methods of the same names")]
pub enum Call {
    /// `handle`, of whatever has no call of its own below.
    Handle { at: Instant, input: Box<Input> },
    /// `handle` of octets that came.
    Received { at: Instant, conn: ConnId, octets: Octets },
    /// `handle` of a new configuration.
    Reload { at: Instant, to: Box<Written>, within: Option<Duration> },
    /// `take_earlier`, and `handle` of what it yields.
    RollBack { at: Instant },
    /// `poll`.
    Poll,
    /// `caller`.
    Caller { at: Instant, remote: SocketAddr },
    /// `poll_control`.
    Control { at: Instant, conn: ConnId },
    /// `poll_transmit`.
    Transmit { at: Instant, conn: ConnId, limit: usize },
    /// `poll_fib`.
    Fib { max: usize },
    /// `lease`.
    Lease { at: Instant, lease: Box<Lease> },
    /// `release`.
    Release { at: Instant, owner: String, prefix: IpNet },
    /// `release_all`.
    ReleaseAll { at: Instant, owner: String },
    /// `resume_drains`.
    ResumeDrains { at: Instant, kept: drain::Kept },
    /// `resume_vips`.
    ResumeVips { kept: Vec<vip::Kept> },
    /// `set_caches`.
    SetCaches { at: Instant },
    /// `resume_cache`.
    ResumeCache { at: Instant, cache: usize, kept: rtr::Kept, octets: Octets },
    /// `cache_connected`.
    CacheConnected { at: Instant, cache: usize },
    /// `cache_received`.
    CacheReceived { at: Instant, cache: usize, octets: Octets },
    /// `cache_disconnected`.
    CacheDisconnected { cache: usize, error: String },
    /// `poll_cache`.
    PollCache { cache: usize },
    /// `open_monitor`.
    OpenMonitor { at: Instant, id: u32, config: MonitorConfig },
    /// `close_monitor`.
    CloseMonitor { id: u32 },
    /// `poll_monitor`.
    PollMonitor { at: Instant, id: u32, limit: usize },
}

impl Call {
    /// When; `None` where the method is not told the time.
    #[must_use]
    pub const fn at(&self) -> Option<Instant> {
        match self {
            Self::Handle { at, .. }
            | Self::Received { at, .. }
            | Self::Reload { at, .. }
            | Self::RollBack { at }
            | Self::Caller { at, .. }
            | Self::Control { at, .. }
            | Self::Transmit { at, .. }
            | Self::Lease { at, .. }
            | Self::Release { at, .. }
            | Self::ReleaseAll { at, .. }
            | Self::ResumeDrains { at, .. }
            | Self::SetCaches { at }
            | Self::ResumeCache { at, .. }
            | Self::CacheConnected { at, .. }
            | Self::CacheReceived { at, .. }
            | Self::OpenMonitor { at, .. }
            | Self::PollMonitor { at, .. } => Some(*at),
            Self::Poll
            | Self::Fib { .. }
            | Self::ResumeVips { .. }
            | Self::CacheDisconnected { .. }
            | Self::PollCache { .. }
            | Self::CloseMonitor { .. } => None,
        }
    }

    /// Whether something happened to the node, and not only a question was put to it.
    #[must_use]
    pub const fn is_input(&self) -> bool {
        !matches!(
            self,
            Self::Poll
                | Self::Control { .. }
                | Self::Transmit { .. }
                | Self::Fib { .. }
                | Self::PollCache { .. }
                | Self::PollMonitor { .. }
        )
    }
}

/// What the node answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// What must be done.
    Output(Output),
    /// Who is known.
    Caller(Option<TimeToLive>),
    /// Octets, and whether more is waiting.
    Sent(Sent, bool),
    /// Changes for the kernel.
    Fib(Vec<FibChange>),
    /// Whether it was done.
    Done(bool),
    /// How many there were.
    Count(usize),
    /// How long to wait.
    Wait(Duration),
}

/// Octets that were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// How many.
    pub length: usize,
    /// Their CRC-32.
    pub crc: u32,
    /// The first of them, at most 512.
    pub head: Octets,
}

impl Sent {
    /// Of these.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        let head = octets.get(..HEAD).unwrap_or(octets);
        Self { length: octets.len(), crc: crc32fast::hash(octets), head: Octets(Bytes::copy_from_slice(head)) }
    }
}

/// Octets, written as hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Octets(pub Bytes);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 2);
        for octet in &self.0 {
            // A String takes whatever is written to it.
            let _ = write!(text, "{octet:02x}");
        }
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let octet = |pair: &[u8]| {
            let digits = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.contains('+'));
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())
        };
        let octets: Option<Vec<u8>> = text.as_bytes().chunks(2).map(octet).collect();
        octets.map(|octets| Self(octets.into())).ok_or_else(|| D::Error::custom("expected pairs of hexadecimal digits"))
    }
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, with the column.
pub fn read(line: &str) -> Result<Entry, String> {
    if line.len() > LINE_MAX {
        return Err(format!("the line has {} octets, more than {LINE_MAX}", line.len()));
    }
    let entry: Entry = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match &entry {
        Entry::Begin(begin) if begin.form != FORM => Err(format!(
            "a recording of form {} by weft {}, and this program reads form {FORM}: use the weft-lab of that version",
            begin.form, begin.weft
        )),
        Entry::Begin(_) | Entry::Did(..) | Entry::End { .. } => Ok(entry),
    }
}
