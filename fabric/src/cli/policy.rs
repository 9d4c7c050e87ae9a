//! `weft policy`: what is written, and the route that is tried.

use crate::config;
use crate::trial::Trial;
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use weft_bgp::types::IpNet;
use weft_bgp::wire::community::ExtCommunity;

/// `weft policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Say which rule of a configuration decides on a route from and to a peer, and what it changes
    Test(Box<PolicyTest>),
}

/// `weft policy test`.
#[derive(Debug, Args)]
pub struct PolicyTest {
    /// The configuration
    pub file: PathBuf,
    /// The route's prefix
    prefix: IpNet,
    /// A configured peer, or an address of a listen range
    #[arg(long, value_name = "NAME|ADDRESS")]
    peer: String,
    /// AS path, nearest first, as in "64599 64601"
    #[arg(long, value_name = "ASNS", default_value = "")]
    as_path: String,
    /// igp, egp or incomplete
    #[arg(long, value_enum, default_value_t = Origin::Igp)]
    origin: Origin,
    /// Local preference
    #[arg(long, value_name = "NUMBER")]
    local_pref: Option<u32>,
    /// Multi-exit discriminator
    #[arg(long, value_name = "NUMBER")]
    med: Option<u32>,
    /// Next hop [default: the peer]
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<IpAddr>,
    /// A standard community, as 64600:1 or no-export (may be given several times)
    #[arg(long, value_name = "COMMUNITY", value_parser = community)]
    community: Vec<config::Community>,
    /// A large community, as 4200000010:1:2 (may be given several times)
    #[arg(long, value_name = "COMMUNITY", value_parser = large_community)]
    large_community: Vec<config::LargeCommunity>,
    /// An extended community, as rt:65000:1 or link-bandwidth:64600:10G (may be given several times)
    #[arg(long, value_name = "COMMUNITY", value_parser = ext_community)]
    ext_community: Vec<ExtCommunity>,
    /// How many next hops the prefix has where it is told
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    next_hops: u32,
}

/// Where a route comes from (RFC 4271 §5.1.1).
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Origin {
    /// Of the AS itself
    Igp,
    /// Of the protocol before BGP
    Egp,
    /// Of somewhere else
    Incomplete,
}

impl PolicyTest {
    /// The route that is tried.
    ///
    /// # Errors
    /// When the AS path is none: what is wrong, for a person.
    pub fn trial(self) -> Result<Trial, String> {
        let as_path: Result<Vec<u32>, _> = self.as_path.split_whitespace().map(str::parse).collect();
        let wrong = |_| format!("--as-path `{}`: write AS numbers with spaces between them", self.as_path);
        Ok(Trial {
            prefix: self.prefix.trunc(),
            peer: self.peer,
            as_path: as_path.map_err(wrong)?,
            origin: match self.origin {
                Origin::Igp => 0,
                Origin::Egp => 1,
                Origin::Incomplete => 2,
            },
            local_pref: self.local_pref,
            med: self.med,
            next_hop: self.next_hop,
            communities: self.community,
            large_communities: self.large_community,
            ext_communities: self.ext_community,
            next_hops: self.next_hops,
        })
    }
}

fn community(text: &str) -> Result<config::Community, String> {
    config::Community::parse(text).ok_or_else(|| "write 64600:1, or a name such as no-export".to_owned())
}

fn large_community(text: &str) -> Result<config::LargeCommunity, String> {
    config::LargeCommunity::parse(text).ok_or_else(|| "write three numbers, as 4200000010:1:2".to_owned())
}

fn ext_community(text: &str) -> Result<ExtCommunity, String> {
    text.parse()
        .map_err(|()| "write rt:65000:1, ro:10.0.0.1:1, link-bandwidth:64600:10G or 0x with 16 digits".to_owned())
}
