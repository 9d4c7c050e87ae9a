//! `weft dhcp`: what is written, and what is asked of the daemon.

use crate::io::verbs;
use clap::Subcommand;

/// `weft dhcp`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Dhcp {
    /// Who was lent which address on which server port
    Leases,
    /// Server ports, what was relayed there, and what was not and why
    Relay,
}

impl Dhcp {
    /// What is asked.
    #[must_use]
    pub const fn asked(self) -> verbs::Verb {
        verbs::Verb::Dhcp(match self {
            Self::Leases => verbs::Dhcp::Leases,
            Self::Relay => verbs::Dhcp::Relay,
        })
    }
}
