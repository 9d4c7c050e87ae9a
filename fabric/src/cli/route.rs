//! `weft route`: what is written, and what is asked of the daemon.

use crate::io::verbs;
use clap::Subcommand;
use weft_bgp::types::IpNet;

/// `weft route`.
#[derive(Debug, Subcommand)]
pub enum Route {
    /// Announce a route, or renew its lease; it goes when that is over
    Add {
        /// What is announced
        prefix: IpNet,
        /// For whom: only the same name may change or end it
        #[arg(long, value_name = "NAME", default_value = "cli")]
        owner: String,
        /// Seconds until it goes unless it is renewed
        #[arg(long = "lease", value_name = "SECONDS", default_value_t = 3_600)]
        lease_s: u64,
        /// A standard community, as 64600:1 or no-export (may be given several times)
        #[arg(long, value_name = "COMMUNITY")]
        community: Vec<String>,
        /// A large community, as 4200000010:1:2 (may be given several times)
        #[arg(long, value_name = "COMMUNITY")]
        large_community: Vec<String>,
        /// Share of the traffic beside other origins, told as a link bandwidth of so many Gbit/s
        #[arg(long, value_name = "NUMBER")]
        weight: Option<u16>,
    },
    /// No longer announce a route
    #[command(alias = "delete")]
    Del {
        /// Which; all of the owner unless said
        prefix: Option<IpNet>,
        /// Whose
        #[arg(long, value_name = "NAME", default_value = "cli")]
        owner: String,
    },
    /// Everything that is originated here, and for whom
    List,
}

impl Route {
    /// What is asked.
    #[must_use]
    pub fn asked(self) -> verbs::Verb {
        match self {
            Self::Add { prefix, owner, lease_s, community, large_community, weight } => {
                verbs::Verb::AddRoute(verbs::NewRoute {
                    prefix: prefix.to_string(),
                    owner,
                    lease_s,
                    communities: community,
                    large_communities: large_community,
                    weight,
                })
            }
            Self::Del { prefix, owner } => verbs::Verb::RemoveRoutes(owner, prefix.map(|prefix| prefix.to_string())),
            Self::List => verbs::Verb::Originated,
        }
    }
}
