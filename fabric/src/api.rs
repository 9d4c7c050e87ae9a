//! The local API: what may be asked of a running daemon, and the typed answers. The CLI's tables and `--output json` print the same
//! values. This file must not know how a request travels; `io/http` does.
//!
//! ```text
//! GET /v1/…   ──▶ target::parse ──▶ Request::Show(Question) ──▶ answer(&Node) ──▶ Answer ──▶ JSON
//! POST /v1/…  ──▶ target::parse ──▶ Request::Do(Command)    ──▶ the daemon's loop ──▶ Answer::done
//! GET /v1/plan        ──▶ Request::Plan ──▶ the daemon's loop, in slices ──▶ Answer
//! GET /v1/record      ──▶ Request::Record ──▶ the daemon's loop, page by page ──▶ lines of JSON
//! GET /v1/watch/routes ──▶ Request::Watch(prefixes) ──▶ questions, again and again ──▶ lines of JSON
//! GET /v1/watch/events ──▶ Request::Watch(kinds)    ──▶ what the loop says meanwhile ──▶ lines of JSON
//! ```

mod access;
mod answers;
mod bfd;
mod build;
mod dhcp;
mod doors;
mod drain;
mod dump;
mod health;
mod kernel;
mod originated;
mod routes;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod vips;

pub use access::{Access, Caller};
pub use answers::{
    AddPathUse, Address, Bgp, BgpPath, BgpRoute, Done, Explanation, Happening, Health, History, Interface, Interfaces,
    LastReload, Neighbor, NeighborHistory, NeighborPolicy, Neighbors, Observer, Observers, PerFamily, Policy, Refusal,
    Refused, Rpki, RpkiCache, RuleHits, Told, Version,
};
pub use bfd::{BfdSession, BfdSessions};
pub(crate) use build::ESTABLISHED;
pub use build::{answer, find_peer, sentence_of};
pub use dhcp::{Dhcp, DhcpLease, DhcpPort, DhcpRelay};
pub use doors::{Certificate, Doors, Handshakes, Requests};
pub use drain::{Around as DrainAround, Drain, Drains, alone, objection};
pub use dump::{TableDump, TablePath, TablePeer, TableRoute};
pub use kernel::{Kernel, NO_ROUTE, kernel_sentence};
pub use originated::{Originated, OriginatedRoute, refusal};
pub use routes::{Route, Routes, Via, Within};
pub use target::{CONFIRM_MAX_S, Door, MAX_LIMIT, PORT_LIMIT, parse, query};
pub use vips::{Vip, Vips};
pub use weft_bgp::speaker::ToldPath;

use crate::news::Kind;
use crate::node::{Lease, Node};
use crate::record;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use target::Query;
use weft_bgp::types::IpNet;

/// The version of the JSON below. Fields may be added to it; none is renamed or removed.
pub const SCHEMA: &str = "weft/v1";
/// Header of an answer in lines: what to ask for `after` it, where there is more.
pub const NEXT_HEADER: &str = "weft-next";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Answered by [`answer`] from the node alone.
    Show(Question),
    /// Carried out by the daemon's loop.
    Do(Command),
    /// What a reload would do.
    Plan,
    /// What the node was fed so far, from the place where the answer before ended.
    Record(Option<record::Place>),
    /// What has no end; `io/http` follows it.
    Watch(Watch),
}

/// What may be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The routes within these prefixes, and every change of them.
    Routes(Vec<IpNet>),
    /// Events of these kinds, from now on.
    Events(Vec<Kind>),
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What runs here.
    Version,
    /// The peers.
    Neighbors,
    /// The last states and messages of the peer with this name or address.
    NeighborHistory(String),
    /// Where packets go.
    Routes(Selection),
    /// The same of what lies within a prefix.
    RoutesWithin {
        /// Which.
        net: IpNet,
        /// The last prefix of the page before.
        after: Option<IpNet>,
        /// Most routes in the answer, 1..=[`MAX_LIMIT`].
        limit: usize,
    },
    /// The paths behind that.
    Bgp(Selection),
    /// Links, their addresses and who was found on them.
    Interfaces,
    /// Everything about one prefix.
    Explain(Target),
    /// What happened lately.
    History,
    /// The policy as written, and who is under it.
    Policy,
    /// The configuration in force, as written.
    Configuration,
    /// Whether the daemon has converged, and what its checks say.
    Health,
    /// BMP collectors and dumps of messages.
    Observers,
    /// RPKI caches.
    Rpki,
    /// BFD sessions.
    Bfd,
    /// Service addresses.
    Vips,
    /// What is relayed of DHCP, and leases.
    Dhcp,
    /// What is out of service.
    Drains,
    /// What we originate, and for whom.
    Originated,
    /// A page of the table with all attributes, for a dump.
    Dump(Selection),
    /// A page of the table, as lines.
    Lines {
        /// What of it.
        of: Listing,
        /// For whom.
        form: LineForm,
        /// The last prefix of the page before.
        after: Option<IpNet>,
        /// Most prefixes in the answer, 1..=[`MAX_LIMIT`].
        limit: usize,
    },
    /// Counters, as Prometheus reads them.
    Metrics,
    /// The kernel's side.
    Fib {
        /// With a fresh dump beside what is wanted.
        diff: bool,
    },
}

/// What is told in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every path of every prefix.
    Paths,
    /// Where packets go.
    Routes,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LineForm {
    /// A table for people.
    Text,
    /// An object for each prefix.
    Json,
}

impl LineForm {
    /// What an answer says that it is.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/jsonl",
        }
    }
}

/// How to reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Sessions that stand may end.
    pub allow_reset: bool,
    /// Unless it is confirmed within so many seconds, the earlier configuration comes back.
    pub confirm_within_s: Option<u64>,
}

/// An answer to [`Request::Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The file that was read.
    pub file: String,
    /// In a few words.
    pub summary: String,
    /// Why the reload is refused unless sessions may end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// All of it.
    #[serde(flatten)]
    pub plan: crate::plan::Plan,
}

/// What may be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration again and apply what changed.
    Reload(Reload),
    /// What was reloaded to be confirmed stays.
    ConfirmReload,
    /// Let another program take over, sessions and all.
    Upgrade {
        /// Which; the one that is now in the place of the running one unless said.
        program: Option<PathBuf>,
    },
    /// Cease, withdraw, remove the routes, end.
    Stop,
    /// Ask a peer for its routes again and tell it ours, or reset its session.
    Clear {
        /// Its name, or its address.
        peer: String,
        /// Reset the session.
        hard: bool,
    },
    /// Announce a route for a program, or renew its lease.
    AddRoute(Box<Lease>),
    /// End the lease of one, or of all of an owner.
    RemoveRoutes {
        /// Whose.
        owner: String,
        /// Which; all unless said.
        prefix: Option<IpNet>,
    },
    /// Hold a service address down, or let it be up.
    SetVip {
        /// Its name.
        name: String,
        /// Up.
        up: bool,
    },
    /// Take something out of service, or back.
    Drain {
        /// What.
        scope: crate::drain::Scope,
        /// How far.
        state: crate::drain::State,
        /// Also the last way to this node.
        force: bool,
    },
}

/// Which routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// A page of all of them.
    Page {
        /// The last prefix of the page before.
        after: Option<IpNet>,
        /// Most routes in the answer, 1..=[`MAX_LIMIT`].
        limit: usize,
    },
    /// One: the prefix itself, or the longest match of an address.
    One(Target),
}

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The longest prefix that covers it.
    Address(IpAddr),
    /// This prefix.
    Prefix(IpNet),
}

impl Target {
    /// Reads `10.0.0.1` or `10.0.0.0/8`; bits beyond the length of a prefix are ignored.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let address = text.parse().ok().map(Self::Address);
        address.or_else(|| text.parse().ok().map(|net: IpNet| Self::Prefix(net.trunc())))
    }

    /// As a prefix: of full length for an address.
    #[must_use]
    pub fn net(self) -> IpNet {
        match self {
            Self::Address(address) => IpNet::from(address),
            Self::Prefix(net) => net,
        }
    }
}

/// What the daemon knows beside its node.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The configuration file.
    pub config: String,
    /// Process id.
    pub pid: u32,
    /// How often another program took over in this process.
    pub upgrades: u64,
    /// And how often one could not start.
    pub upgrades_undone: u64,
    /// The last time: sessions that went on, of so many.
    pub upgrade_sessions: Option<(usize, usize)>,
    /// Resident memory, octets.
    pub resident_bytes: Option<u64>,
    /// The kernel's side, if it is managed.
    pub kernel: Option<KernelCounts>,
    /// Who observes.
    pub observers: Vec<Observer>,
    /// All that the kernel's thread reports, where it was asked.
    pub fib: Option<crate::fib::FibReport>,
    /// What BFD's thread reports, if there is one.
    pub bfd: Option<crate::io::bfd::Report>,
    /// Packets, and the file, where they were asked for.
    pub drain: DrainAround,
    /// What was given up at the start, where it was asked for.
    pub sandbox: Option<crate::sandbox::Sandbox>,
    /// How long changes took until they were everywhere.
    pub pace: Option<crate::pace::Histograms>,
    /// How the API is used.
    pub doors: Doors,
}

/// Counters of the kernel's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounts {
    /// Routes of ours in the kernel.
    pub routes: u64,
    /// Next-hop objects of ours in the kernel, groups included.
    pub nexthops: u64,
    /// Changes that the kernel refused so far.
    pub failures: u64,
    /// Operations not yet sent.
    pub pending: u64,
    /// Routes that wait for a live neighbour.
    pub waiting: u64,
    /// Routes of others in the place of ours.
    pub conflicts: u64,
    /// Whole dumps compared.
    pub dumps: u64,
    /// Since the last one, seconds.
    pub dump_age_s: u64,
    /// What the last one showed that was not as believed.
    pub differences: u64,
    /// The same of all dumps.
    pub drift: u64,
    /// Dumps that changes disturbed.
    pub interrupted: u64,
    /// Times that notifications were lost.
    pub overruns: u64,
    /// Of ours, deleted by somebody else.
    pub foreign_deletions: u64,
}

/// An answer, as it is sent: the body's fields beside `schema` and `node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the node that answers.
    pub node: String,
    /// The answer itself.
    #[serde(flatten)]
    pub body: Body,
}

/// The answer to each kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// To [`Question::Version`].
    Version(Version),
    /// To [`Question::Neighbors`].
    Neighbors(Neighbors),
    /// To [`Question::NeighborHistory`].
    NeighborHistory(NeighborHistory),
    /// To [`Question::Routes`] and [`Question::RoutesWithin`].
    Routes(Routes),
    /// To [`Question::Bgp`].
    Bgp(Bgp),
    /// To [`Question::Interfaces`].
    Interfaces(Interfaces),
    /// To [`Question::Explain`].
    Explain(Box<Explanation>),
    /// To [`Question::History`].
    History(History),
    /// To [`Question::Policy`].
    Policy(Policy),
    /// To [`Question::Health`].
    Health(Health),
    /// To [`Question::Observers`].
    Observers(Observers),
    /// To [`Question::Rpki`].
    Rpki(Rpki),
    /// To [`Question::Bfd`].
    Bfd(BfdSessions),
    /// To [`Question::Vips`].
    Vips(Vips),
    /// To [`Question::Dhcp`].
    Dhcp(Dhcp),
    /// To [`Question::Drains`].
    Drains(Drains),
    /// To [`Question::Originated`].
    Originated(Originated),
    /// To [`Question::Dump`].
    Dump(TableDump),
    /// To [`Question::Fib`].
    Fib(Box<Kernel>),
    /// To [`Request::Plan`].
    Plan(Box<Planned>),
    /// To [`Question::Configuration`].
    Configuration(record::Written),
    /// To [`Request::Record`]: no document.
    Record(record::Page),
    /// To [`Question::Metrics`]: no JSON, the text as it is.
    Metrics {
        /// Prometheus' text format.
        text: String,
    },
    /// To [`Question::Lines`]: no document.
    Lines {
        /// How they are written.
        form: LineForm,
        /// The lines.
        text: String,
        /// Ask for what comes `after` this; absent on the last page.
        next: Option<IpNet>,
    },
    /// To a [`Command`] that was carried out.
    Done(Done),
    /// To what cannot be answered.
    Refused(Refusal),
}

impl Answer {
    /// Wraps a body.
    #[must_use]
    pub fn new(node: &str, body: Body) -> Self {
        Self { schema: SCHEMA, node: node.to_owned(), body }
    }

    /// A command was carried out.
    #[must_use]
    pub fn done(node: &Node, message: impl Into<String>) -> Self {
        Self::new(&node.config().hostname, Body::Done(Done { done: message.into() }))
    }

    /// A request was refused.
    #[must_use]
    pub fn refused(node: &Node, refusal: Refusal) -> Self {
        Self::new(&node.config().hostname, Body::Refused(refusal))
    }

    /// The prefix that an explanation is about, for whoever asks the kernel about it.
    #[must_use]
    pub fn explained(&self) -> Option<IpNet> {
        match &self.body {
            Body::Explain(explanation) => explanation.route.as_ref().map(|route| route.prefix),
            Body::Version(_)
            | Body::Neighbors(_)
            | Body::NeighborHistory(_)
            | Body::Routes(_)
            | Body::Bgp(_)
            | Body::Interfaces(_)
            | Body::History(_)
            | Body::Policy(_)
            | Body::Health(_)
            | Body::Dump(_)
            | Body::Vips(_)
            | Body::Dhcp(_)
            | Body::Drains(_)
            | Body::Originated(_)
            | Body::Fib(_)
            | Body::Observers(_)
            | Body::Rpki(_)
            | Body::Bfd(_)
            | Body::Plan(_)
            | Body::Metrics { .. }
            | Body::Lines { .. }
            | Body::Done(_)
            | Body::Configuration(_)
            | Body::Record(_)
            | Body::Refused(_) => None,
        }
    }

    /// Adds what the kernel holds to an explanation.
    #[must_use]
    pub fn with_kernel(mut self, holds: String) -> Self {
        if let Body::Explain(explanation) = &mut self.body {
            explanation.kernel = Some(holds);
        }
        self
    }
}
