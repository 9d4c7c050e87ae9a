//! `weft show`: what is written, and what is asked of the daemon.

use clap::{Args, Subcommand, ValueEnum};
use weft_bgp::types::Family;
use weft_fabric::io::verbs;

/// Whose routes; with `--output frr`, which shows one family at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Of {
    #[default]
    Ipv4,
    Ipv6,
}

/// What of a table.
#[derive(Debug, Args)]
pub(crate) struct Which {
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

#[derive(Debug, Subcommand)]
pub(crate) enum Show {
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

/// What is asked.
pub(crate) fn verb(show: Show) -> verbs::Verb {
    match show {
        Show::Summary => verbs::Verb::Neighbors(None),
        Show::Neighbors { name: Some(name), history: true } => verbs::Verb::NeighborHistory(name),
        Show::Neighbors { name, history: _ } => verbs::Verb::Neighbors(name),
        Show::Bgp(Which { prefix, limit, family: _ }) => verbs::Verb::Bgp(prefix, limit),
        Show::Routes(Which { prefix, limit, family: _ }) => verbs::Verb::Routes(prefix, limit),
        Show::Fib { diff } => verbs::Verb::Fib(diff),
        Show::Interfaces => verbs::Verb::Interfaces,
        Show::Version => verbs::Verb::Version,
        Show::History => verbs::Verb::History,
        Show::Policy => verbs::Verb::Policy,
        Show::Observers => verbs::Verb::Observers,
        Show::Health => verbs::Verb::Health(false),
        Show::Rpki => verbs::Verb::Rpki,
        Show::Bfd => verbs::Verb::Bfd,
        Show::Vips => verbs::Verb::Vips,
        Show::Drain => verbs::Verb::Drains,
    }
}

/// Which of FRR's documents that is, if it has one.
pub(crate) fn frr(show: Show) -> Option<verbs::Verb> {
    let of = |family| match family {
        Of::Ipv4 => Family::Ipv4Unicast,
        Of::Ipv6 => Family::Ipv6Unicast,
    };
    let document = match show {
        Show::Summary => verbs::Frr::Summary,
        Show::Neighbors { name, history: false } => verbs::Frr::Neighbors(name),
        Show::Bgp(Which { prefix: Some(prefix), .. }) => verbs::Frr::Path(prefix),
        Show::Bgp(Which { prefix: None, limit: None, family }) => verbs::Frr::Bgp(of(family)),
        Show::Routes(Which { prefix: Some(prefix), .. }) => verbs::Frr::Route(prefix),
        Show::Routes(Which { prefix: None, limit: None, family }) => verbs::Frr::Routes(of(family)),
        Show::Neighbors { history: true, .. }
        | Show::Bgp(Which { limit: Some(_), .. })
        | Show::Routes(Which { limit: Some(_), .. })
        | Show::Fib { .. }
        | Show::Interfaces
        | Show::Version
        | Show::History
        | Show::Policy
        | Show::Observers
        | Show::Health
        | Show::Rpki
        | Show::Bfd
        | Show::Vips
        | Show::Drain => return None,
    };
    Some(verbs::Verb::Frr(document))
}
