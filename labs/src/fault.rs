//! What goes wrong in a lab, as data: the `faults:` list of a topology file, read strictly and turned into one enum.
//!
//! ```text
//! {at: 5s, link: "leaf1:eth1", loss: 10%, for: 3s, seed: 7}        when · where · what · how long
//! ```
//!
//! A line names one place (a link by one of its ends, a node, or nodes that are cut off from the rest) and what is wrong there. Where the
//! simulator's incidents mean the same, they have the same words: `unplug`, `deafen`, `kill`. This file decides what a line means and knows
//! neither kernels nor clocks; [`channel`] decides what a bad cable does to each frame.

pub mod channel;
pub mod units;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::expect::Expectation;
use crate::fault::units::{duration, parts, rate};

/// Longest delay of a cable.
pub const MAX_DELAY: Duration = Duration::from_secs(10);
/// Largest shift of a clock, seconds: ten years.
pub const MAX_CLOCK_S: i64 = 315_360_000;

/// A fault at a moment of the timeline, and what must hold while it is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Line")]
pub struct Incident {
    /// Counted from the moment when everything expected of the lab holds.
    pub at: Duration,
    /// What is wrong, and where.
    pub fault: Fault,
    /// When it is undone, counted from `at`; `None` = not before the end.
    pub lasts: Option<Duration>,
    /// What must hold, each within its own time from the moment of the fault.
    pub expect: Vec<Expectation>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// An interface is down; its far end has no carrier.
    Unplug {
        /// The end that is set down.
        end: End,
    },
    /// A cable treats frames badly, and both ends have carrier.
    Cable {
        /// One end.
        end: End,
        /// Which frames, seen from that end.
        way: Way,
        /// What is done to them.
        harm: Harm,
    },
    /// A node, with its links and addresses kept.
    Node {
        /// Its name.
        node: String,
        /// What is done to it.
        deed: NodeDeed,
    },
    /// Nothing passes between these nodes and all others; carrier stays.
    Partition {
        /// The nodes on one side.
        nodes: BTreeSet<String>,
    },
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct End {
    /// Node.
    pub node: String,
    /// Interface.
    pub interface: String,
}

/// Which frames of a link, seen from the end that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// All.
    Both,
    /// What it sends.
    Out,
    /// What it is sent.
    In,
}

/// What a cable does to frames; all zero = nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Harm {
    /// Every frame is swallowed.
    pub deaf: bool,
    /// Frames that are lost, of a million.
    pub loss: u32,
    /// Frames that arrive twice, of a million.
    pub duplicate: u32,
    /// Frames in which one bit is another, of a million.
    pub corrupt: u32,
    /// Frames that do not wait for `delay` and so overtake others, of a million.
    pub reorder: u32,
    /// How long a frame is under way.
    pub delay: Duration,
    /// By how much that differs from frame to frame, at most, in either direction; the order stays.
    pub jitter: Duration,
    /// Bits per second; `None` = as many as the machine can carry.
    pub rate: Option<u64>,
    /// What chance begins with: the same seed treats the same frames in the same way.
    pub seed: u64,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeDeed {
    /// SIGKILL for its daemons; undone, they start.
    Kill,
    /// Its daemons stand still; undone, they go on.
    Pause,
    /// SIGKILL for its daemons, which start again at once.
    Restart,
    /// Its daemons start again with clocks (monotonic and since boot) that are so many seconds off; undone, with the right ones.
    Clock(i64),
}

impl Harm {
    /// Whether it does anything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self { seed: self.seed, ..Self::default() }
    }

    /// Both together; where they differ, what the later one says.
    #[must_use]
    pub fn with(&self, later: &Self) -> Self {
        let part = |own: u32, other: u32| if other > 0 { other } else { own };
        let time = |own: Duration, other: Duration| if other.is_zero() { own } else { other };
        Self {
            deaf: self.deaf || later.deaf,
            loss: part(self.loss, later.loss),
            duplicate: part(self.duplicate, later.duplicate),
            corrupt: part(self.corrupt, later.corrupt),
            reorder: part(self.reorder, later.reorder),
            delay: time(self.delay, later.delay),
            jitter: time(self.jitter, later.jitter),
            rate: later.rate.or(self.rate),
            seed: later.seed,
        }
    }
}

impl Fault {
    /// The end of a link that it names, if it is about a link.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match self {
            Self::Unplug { end } | Self::Cable { end, .. } => Some(end),
            Self::Node { .. } | Self::Partition { .. } => None,
        }
    }

    /// The nodes that it names, if it is about nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Node { node, .. } => (Some(node.as_str()), None),
            Self::Partition { nodes } => (None, Some(nodes)),
            Self::Unplug { .. } | Self::Cable { .. } => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten().map(String::as_str))
    }

    /// Where it is, as written.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Unplug { end } | Self::Cable { end, .. } => end.to_string(),
            Self::Node { node, .. } => node.clone(),
            Self::Partition { nodes } => nodes.iter().map(String::as_str).collect::<Vec<_>>().join(","),
        }
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Unplug { .. } => "unplug".to_owned(),
            Self::Cable { way, harm, .. } => format!("{harm}{way}"),
            Self::Node { deed: NodeDeed::Kill, .. } => "kill".to_owned(),
            Self::Node { deed: NodeDeed::Pause, .. } => "pause".to_owned(),
            Self::Node { deed: NodeDeed::Restart, .. } => "restart".to_owned(),
            Self::Node { deed: NodeDeed::Clock(seconds), .. } => format!("clock {seconds:+} s"),
            Self::Partition { .. } => "partition".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place(), self.what())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.interface)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "",
            Self::Out => ", what it sends",
            Self::In => ", what it is sent",
        })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.deaf {
            words.push("deafen".to_owned());
        }
        for (name, value) in [("loss", self.loss), ("duplicate", self.duplicate), ("corrupt", self.corrupt)] {
            if value > 0 {
                words.push(format!("{name} {}", units::percent_text(value)));
            }
        }
        if !self.delay.is_zero() {
            words.push(format!("delay {:?}", self.delay));
        }
        if !self.jitter.is_zero() {
            words.push(format!("jitter {:?}", self.jitter));
        }
        if self.reorder > 0 {
            words.push(format!("reorder {}", units::percent_text(self.reorder)));
        }
        if let Some(rate) = self.rate {
            words.push(format!("rate {}", units::rate_text(rate)));
        }
        f.write_str(&words.join(" "))
    }
}

impl std::str::FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((node, interface)) if !node.is_empty() && !interface.is_empty() => {
                Ok(Self { node: node.to_owned(), interface: interface.to_owned() })
            }
            Some(_) | None => Err(format!("`{text}`: write NODE:INTERFACE, as leaf1:eth1")),
        }
    }
}

/// What is wrong, as it is written in a file and on a command line, all words as text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Words {
    /// `unplug`, `deafen`, `kill`, `pause` or `restart`.
    pub deed: Option<String>,
    /// Percent.
    pub loss: Option<String>,
    /// Percent.
    pub duplicate: Option<String>,
    /// Percent.
    pub corrupt: Option<String>,
    /// Percent.
    pub reorder: Option<String>,
    /// A time.
    pub delay: Option<String>,
    /// A time.
    pub jitter: Option<String>,
    /// Bits per second.
    pub rate: Option<String>,
    /// A time, with a sign.
    pub clock: Option<String>,
    /// `both`, `out` or `in`.
    pub way: Option<Way>,
    /// What chance begins with.
    pub seed: Option<u64>,
}

impl Words {
    /// What a cable does, as far as numbers say it; `None` when there is no number.
    fn harm(&self) -> Result<Option<Harm>, String> {
        let part = |name: &str, text: &Option<String>| -> Result<u32, String> {
            text.as_deref().map_or(Ok(0), parts).map_err(|error| format!("{name}: {error}"))
        };
        let time = |name: &str, text: &Option<String>| -> Result<Duration, String> {
            let time = text.as_deref().map_or(Ok(Duration::ZERO), duration).map_err(|e| format!("{name}: {e}"))?;
            if time > MAX_DELAY { Err(format!("{name}: {MAX_DELAY:?} is the most")) } else { Ok(time) }
        };
        let harm = Harm {
            deaf: false,
            loss: part("loss", &self.loss)?,
            duplicate: part("duplicate", &self.duplicate)?,
            corrupt: part("corrupt", &self.corrupt)?,
            reorder: part("reorder", &self.reorder)?,
            delay: time("delay", &self.delay)?,
            jitter: time("jitter", &self.jitter)?,
            rate: self.rate.as_deref().map(rate).transpose().map_err(|error| format!("rate: {error}"))?,
            seed: self.seed.unwrap_or(0),
        };
        if harm.jitter > harm.delay {
            return Err("jitter: more than `delay`, and no frame arrives before it was sent".to_owned());
        }
        if harm.reorder > 0 && harm.delay.is_zero() {
            return Err("reorder: such frames do not wait for `delay`, which is not there".to_owned());
        }
        Ok(harm.is_any().then_some(harm))
    }

    /// The fault at an end of a link.
    ///
    /// # Errors
    /// When a word is of another place, is no number, or does not go with another; the text names it.
    pub fn at_link(&self, end: End) -> Result<Fault, String> {
        if self.clock.is_some() {
            return Err("clock: a node has clocks, a link has none".to_owned());
        }
        let harm = self.harm()?;
        let way = self.way.unwrap_or(Way::Both);
        match (self.deed.as_deref(), harm) {
            (Some("unplug"), None) if self.way.is_none() && self.seed.is_none() => Ok(Fault::Unplug { end }),
            (Some("deafen"), None) if self.seed.is_none() => {
                Ok(Fault::Cable { end, way, harm: Harm { deaf: true, ..Harm::default() } })
            }
            (None, Some(harm)) => Ok(Fault::Cable { end, way, harm }),
            _ => Err(format!("{LINK_FORMS}{}", self.unknown(&["unplug", "deafen"]))),
        }
    }

    /// The fault at a node.
    ///
    /// # Errors
    /// As [`Words::at_link`].
    pub fn at_node(&self, node: String) -> Result<Fault, String> {
        if self.harm()?.is_some() || self.way.is_some() || self.seed.is_some() {
            return Err(NODE_FORMS.to_owned());
        }
        let deed = match (self.deed.as_deref(), &self.clock) {
            (Some("kill"), None) => NodeDeed::Kill,
            (Some("pause"), None) => NodeDeed::Pause,
            (Some("restart"), None) => NodeDeed::Restart,
            (None, Some(clock)) => NodeDeed::Clock(clock_seconds(clock)?),
            _ => return Err(format!("{NODE_FORMS}{}", self.unknown(&["kill", "pause", "restart"]))),
        };
        Ok(Fault::Node { node, deed })
    }

    fn unknown(&self, known: &[&str]) -> String {
        match self.deed.as_deref().filter(|deed| !known.contains(deed)) {
            Some(deed) => format!("; there is no `do: {deed}` there"),
            None => String::new(),
        }
    }
}

const LINK_FORMS: &str = "at a link there is one of `do: unplug`, `do: deafen` (with `way`?), or numbers: loss, duplicate, corrupt, delay, \
                          jitter, reorder, rate (with `way`?, `seed`?)";
const NODE_FORMS: &str = "at a node there is one of `do: kill`, `do: pause`, `do: restart`, `clock: TIME`";

/// Whole seconds, with a sign.
fn clock_seconds(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let seconds = i64::try_from(duration(digits).map_err(|error| format!("clock: {error}"))?.as_secs());
    match seconds {
        Ok(seconds) if (1..=MAX_CLOCK_S).contains(&seconds) => Ok(sign * seconds),
        Ok(_) | Err(_) => Err(format!("clock: `{text}`: between 1 s and {MAX_CLOCK_S} s, in either direction")),
    }
}

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    link: Option<String>,
    node: Option<String>,
    partition: Option<BTreeSet<String>>,
    #[serde(rename = "do")]
    deed: Option<String>,
    loss: Option<String>,
    duplicate: Option<String>,
    corrupt: Option<String>,
    reorder: Option<String>,
    delay: Option<String>,
    jitter: Option<String>,
    rate: Option<String>,
    clock: Option<String>,
    way: Option<Way>,
    seed: Option<u64>,
    r#for: Option<String>,
    #[serde(default)]
    expect: Vec<Expectation>,
    within: Option<String>,
}

impl TryFrom<Line> for Incident {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let time = |name: &str, text: &str| duration(text).map_err(|error| format!("{name}: {error}"));
        let at = time("at", &line.at)?;
        let lasts = line.r#for.as_deref().map(|text| time("for", text)).transpose()?;
        let within = line.within.as_deref().map(|text| time("within", text)).transpose()?;
        let words = Words {
            deed: line.deed,
            loss: line.loss,
            duplicate: line.duplicate,
            corrupt: line.corrupt,
            reorder: line.reorder,
            delay: line.delay,
            jitter: line.jitter,
            rate: line.rate,
            clock: line.clock,
            way: line.way,
            seed: line.seed,
        };
        let fault = match (line.link, line.node, line.partition) {
            (Some(link), None, None) => words.at_link(link.parse()?)?,
            (None, Some(node), None) => words.at_node(node)?,
            (None, None, Some(nodes)) if words == Words::default() && !nodes.is_empty() => Fault::Partition { nodes },
            _ => {
                return Err(
                    "a fault has one of `link: NODE:INTERFACE`, `node: NODE`, `partition: [NODE, …]`".to_owned()
                );
            }
        };
        if lasts.is_some() && matches!(&fault, Fault::Node { deed: NodeDeed::Restart, .. }) {
            return Err(
                "for: a restart has no end; `do: kill` with `for` leaves the node's daemons dead so long".to_owned()
            );
        }
        let mut expect = line.expect;
        if let Some(within) = within {
            if expect.is_empty() {
                return Err("within: there is no `expect` that it could be of".to_owned());
            }
            for expectation in &mut expect {
                expectation.within = within;
            }
        }
        Ok(Self { at, fault, lasts, expect })
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.at, self.fault)?;
        self.lasts.map_or(Ok(()), |lasts| write!(f, ", for {lasts:?}"))
    }
}

#[cfg(test)]
mod tests;
