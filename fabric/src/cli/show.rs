//! `weft show`: what is written, and what is asked of the daemon.

use crate::io::verbs;
use clap::{Args, Subcommand, ValueEnum};
use weft_bgp::types::Family;

/// Whose routes; with `--output frr`, which shows one family at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Of {
    /// IPv4
    #[default]
    Ipv4,
    /// IPv6
    Ipv6,
}

/// What of a table.
#[derive(Debug, Args)]
pub struct Which {
    /// One prefix, or the address it covers
    #[arg(value_name = "ADDRESS|PREFIX")]
    prefix: Option<String>,
    /// Stop after so many prefixes
    #[arg(long, value_name = "NUMBER", conflicts_with = "prefix")]
    limit: Option<usize>,
    /// With --output frr: which family, as FRR shows one at a time
    #[arg(long, value_enum, default_value_t, value_name = "FAMILY", conflicts_with = "prefix")]
    family: Of,
}

/// `weft show`.
#[derive(Debug, Subcommand)]
pub enum Show {
    /// BGP neighbors, one line for each
    Summary,
    /// BGP neighbors, or everything about one
    #[command(alias = "neighbours", alias = "neighbor", alias = "neighbour")]
    Neighbors {
        /// Its name or address
        name: Option<String>,
        /// Its last states and messages
        #[arg(long, requires = "name")]
        history: bool,
    },
    /// Paths of every prefix, and which of them are used
    Bgp(Which),
    /// Where packets go, and whether the kernel holds it
    #[command(alias = "route")]
    Routes(Which),
    /// What the kernel holds of ours, what it refused, and who disturbs it
    #[command(alias = "kernel")]
    Fib {
        /// Compare a fresh dump of the kernel with what is wanted; exit code 1 if they differ
        #[arg(long)]
        diff: bool,
    },
    /// Links, their addresses, and who is on them
    #[command(alias = "interface")]
    Interfaces,
    /// What runs, since when, from which file
    Version,
    /// The last events
    History,
    /// Policies, and who is under which
    Policy,
    /// BMP collectors and dumps of messages, and whether they keep up
    Observers,
    /// What is well and what is not, and what to do about it; `weft health` has an exit code too
    Health,
    /// RPKI caches, and how much each knows
    Rpki,
    /// BFD sessions, and what they found
    Bfd,
    /// Service addresses, whether they are announced, and why
    #[command(alias = "vip")]
    Vips,
    /// What is out of service, how far, and who is waited for
    Drain,
}

impl Show {
    /// What is asked.
    #[must_use]
    pub fn asked(self) -> verbs::Verb {
        match self {
            Self::Summary => verbs::Verb::Neighbors(None),
            Self::Neighbors { name: Some(name), history: true } => verbs::Verb::NeighborHistory(name),
            Self::Neighbors { name, history: _ } => verbs::Verb::Neighbors(name),
            Self::Bgp(Which { prefix, limit, family: _ }) => verbs::Verb::Bgp(prefix, limit),
            Self::Routes(Which { prefix, limit, family: _ }) => verbs::Verb::Routes(prefix, limit),
            Self::Fib { diff } => verbs::Verb::Fib(diff),
            Self::Interfaces => verbs::Verb::Interfaces,
            Self::Version => verbs::Verb::Version,
            Self::History => verbs::Verb::History,
            Self::Policy => verbs::Verb::Policy,
            Self::Observers => verbs::Verb::Observers,
            Self::Health => verbs::Verb::Health(false),
            Self::Rpki => verbs::Verb::Rpki,
            Self::Bfd => verbs::Verb::Bfd,
            Self::Vips => verbs::Verb::Vips,
            Self::Drain => verbs::Verb::Drains,
        }
    }

    /// Which of FRR's documents that is, if it has one.
    #[must_use]
    pub fn frr(self) -> Option<verbs::Verb> {
        let of = |family| match family {
            Of::Ipv4 => Family::Ipv4Unicast,
            Of::Ipv6 => Family::Ipv6Unicast,
        };
        let document = match self {
            Self::Summary => verbs::Frr::Summary,
            Self::Neighbors { name, history: false } => verbs::Frr::Neighbors(name),
            Self::Bgp(Which { prefix: Some(prefix), .. }) => verbs::Frr::Path(prefix),
            Self::Bgp(Which { prefix: None, limit: None, family }) => verbs::Frr::Bgp(of(family)),
            Self::Routes(Which { prefix: Some(prefix), .. }) => verbs::Frr::Route(prefix),
            Self::Routes(Which { prefix: None, limit: None, family }) => verbs::Frr::Routes(of(family)),
            Self::Neighbors { history: true, .. }
            | Self::Bgp(Which { limit: Some(_), .. })
            | Self::Routes(Which { limit: Some(_), .. })
            | Self::Fib { .. }
            | Self::Interfaces
            | Self::Version
            | Self::History
            | Self::Policy
            | Self::Observers
            | Self::Health
            | Self::Rpki
            | Self::Bfd
            | Self::Vips
            | Self::Drain => return None,
        };
        Some(verbs::Verb::Frr(document))
    }
}
