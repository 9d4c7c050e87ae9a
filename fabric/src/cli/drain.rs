//! `weft drain` and `weft undrain`: what is written, and what is asked of the daemon.

use crate::config::Span;
use crate::drain::{Scope, State};
use crate::io::verbs;
use clap::{Args, ValueEnum};
use std::time::Duration;

/// What is meant; the node unless said.
#[derive(Debug, Args)]
pub struct What {
    /// A link, by its name, and everybody who is on it
    #[arg(long, value_name = "NAME", conflicts_with = "vip")]
    interface: Option<String>,
    /// A service address, by its name
    #[arg(long, value_name = "NAME")]
    vip: Option<String>,
    /// Return when everybody has acknowledged it and packets no longer come; exit code 1 if they still do
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time, requires = "wait")]
    limit: Duration,
}

/// `weft drain`.
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    what: What,
    /// How far
    #[arg(long, value_enum, default_value_t = Far::Drained)]
    state: Far,
    /// Also the last link over which this node is reached
    #[arg(long)]
    force: bool,
}

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Far {
    /// As `weft undrain`
    Live,
    /// Announced with GRACEFUL_SHUTDOWN: who has another way takes it
    Soft,
    /// No longer announced; who sends all the same still gets packets through
    Warm,
    /// Ready to be stopped, or unplugged
    Drained,
}

impl Drain {
    /// What is asked.
    #[must_use]
    pub fn asked(self) -> verbs::Verb {
        let state = match self.state {
            Far::Live => State::Live,
            Far::Soft => State::Soft,
            Far::Warm => State::Warm,
            Far::Drained => State::Drained,
        };
        self.what.order(state, self.force)
    }
}

impl What {
    /// What `weft undrain` asks.
    #[must_use]
    pub fn undrained(self) -> verbs::Verb {
        self.order(State::Live, false)
    }

    fn order(self, state: State, force: bool) -> verbs::Verb {
        let scope = match (self.interface, self.vip) {
            (Some(name), _) => Scope::Interface(name),
            (None, Some(name)) => Scope::Vip(name),
            (None, None) => Scope::Node,
        };
        verbs::Verb::Drain(verbs::Order { scope, state, force, wait: self.wait.then_some(self.limit) })
    }
}

fn time(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(|span| span.0).ok_or_else(|| "write a time as 30s or 2m".to_owned())
}
