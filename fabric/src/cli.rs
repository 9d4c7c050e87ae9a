//! The command line of `weft`: what may be written there, and what that asks of a daemon. Pure: `main.rs` reads it with this and carries
//! it out, and a fuzz target reads whatever it likes.

mod dhcp;
mod drain;
mod mrt;
mod policy;
mod reload;
mod route;
mod show;
mod whom;

pub use dhcp::Dhcp;
pub use drain::{Drain, Far, What};
pub use mrt::{Mrt, Replay};
pub use policy::{Origin, Policy, PolicyTest};
pub use reload::Reload;
pub use route::Route;
pub use show::{Of, Show, Which};
pub use whom::Whom;

use crate::config::Span;
use crate::news::Kind;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use weft_bgp::time::Duration;

/// BGP to the host: the weft daemon and the commands that inspect it.
///
/// Exit codes: 0 done, 1 refused or not found, 2 wrong command line, 3 no daemon there.
#[derive(Debug, Parser)]
#[command(name = "weft", version)]
pub struct Arguments {
    #[command(flatten)]
    /// Which daemon is asked
    pub whom: Whom,
    /// How answers are printed
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(subcommand)]
    /// What is wanted
    pub verb: Verb,
}

impl Arguments {
    /// Reads a line, the name of the program first.
    ///
    /// # Errors
    /// When it is no line of ours, and when help is asked for: what is to be printed, with its exit code.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(words)
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs; the schema is in `docs/api.md`
    Json,
    /// With the keys of FRR's JSON: show summary, neighbors, bgp and routes
    Frr,
}

/// What is wanted.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon in the foreground; it logs to standard error (WEFT_LOG=debug for more)
    ///
    /// While it runs, http://localhost:9179 (`api.http`) is a web page that shows the node to whoever is at this machine.
    Daemon {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/weft.yaml")]
        config: PathBuf,
        /// What a running daemon says to the program that is to take over, or to run commands for it
        #[arg(long, value_enum, hide = true)]
        resume: Option<Resume>,
    },
    /// Read a daemon's configuration and say what is wrong with it; nothing is started
    Check {
        /// The file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look for settings of this system that do not go with a configuration, and say why they matter and what to do
    Doctor {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/weft.yaml")]
        config: PathBuf,
        /// Set what can be set; exit code 1 if faults are left
        #[arg(long)]
        fix: bool,
        /// Look at the system below this folder
        #[arg(long, value_name = "FOLDER", default_value = "/")]
        root: PathBuf,
    },
    /// Try policies on routes that nobody announced
    #[command(subcommand)]
    Policy(Policy),
    /// Show what the daemon knows
    #[command(subcommand)]
    Show(Show),
    /// Look at everything that can go wrong: what is well, what is not, and what to do about it; exit code 1 if something is bad
    Health,
    /// Say what happens as it happens, until Ctrl-C: a line for each event (--output json: a document for each)
    Monitor {
        /// Only events of these kinds
        #[arg(value_name = "KIND", value_parser = kinds())]
        kinds: Vec<Kind>,
    },
    /// The whole node on one screen, live, until `q`
    Top,
    /// Say everything about an address or prefix: which paths, why these, what the kernel holds, who was told
    Explain {
        /// As 10.69.3.5 or 10.69.3.0/24
        #[arg(value_name = "ADDRESS|PREFIX")]
        target: String,
    },
    /// Follow an address through the fabric, daemon by daemon; exit code 1 if packets are lost or go round on some way
    Trace {
        /// As 10.69.3.5
        #[arg(value_name = "ADDRESS")]
        target: IpAddr,
    },
    /// Apply the changed configuration file; peers that did not change notice nothing
    Reload(Reload),
    /// Let another program take over: listening sockets and sessions go on, packets too; returns when it runs
    Upgrade {
        /// Its absolute path [default: what is now in the place of the running one]
        #[arg(value_name = "PROGRAM")]
        program: Option<PathBuf>,
    },
    /// End the daemon: Cease to every peer, routes removed; returns when it is gone
    Stop,
    /// Ask a peer for its routes again and tell it ours again
    Clear {
        /// Its name or address
        #[arg(value_name = "PEER")]
        peer: String,
        /// Reset the session instead (Cease, Administrative Reset)
        #[arg(long)]
        hard: bool,
    },
    /// Take the node, a link or a service address out of service without losing a packet
    Drain(Drain),
    /// Take it back into service
    Undrain(What),
    /// Hold a service address down, or let it be up
    #[command(subcommand)]
    Vip(Vip),
    /// Write what the daemon was fed since its start, and what it did, to a file: `weft-lab replay FILE` does it again
    ///
    /// The daemon keeps it in memory if its configuration says so, as `record: {memory_mb: 16}`, from its start or a `weft upgrade` on.
    Record {
        /// The file; compressed if its name ends with `.gz`
        file: PathBuf,
        /// Stay and write also what comes within this time, as 90s, 10m or 1h
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        time: Option<Duration>,
    },
    /// Routes that programs on this machine want announced
    #[command(subcommand)]
    Route(Route),
    /// Addresses of machines on server ports, by the relay of DHCP
    #[command(subcommand)]
    Dhcp(Dhcp),
    /// Read, write and replay MRT dumps (RFC 6396); files may be compressed with gzip or bzip2
    #[command(subcommand)]
    Mrt(Mrt),
    /// Print the manual page, or write those of all verbs
    Man {
        /// Where they are written, one file for each verb
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// weft WORD … executes weft-WORD …
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

/// `weft vip`.
#[derive(Debug, Subcommand)]
pub enum Vip {
    /// Say that a service is to be up or down; down holds it down whatever its check says, until the next up
    Set {
        /// Its name
        name: String,
        /// What it is to be
        state: UpDown,
    },
}

/// How a program takes over, or what else it is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resume {
    /// Take over
    New,
    /// Take over again, since the other one could not
    Back,
    /// Try whether it could
    Rehearsal,
    /// Run health checks' commands
    Checks,
}

/// What a service is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UpDown {
    /// As its check says
    Up,
    /// Whatever its check says
    Down,
}

/// A time as in the configuration.
fn span(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(|span| span.0).ok_or_else(|| "write a number and ms, s, m or h, as 10m".to_owned())
}

/// The kinds of events by their names.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}
