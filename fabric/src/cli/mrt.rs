//! `weft mrt`: what is written.

use crate::io::mrt;
use clap::{Args, Subcommand};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use weft_bgp::time::Duration;
use weft_bgp::types::Asn;

/// `weft mrt`.
#[derive(Debug, Subcommand)]
pub enum Mrt {
    /// Print a dump, a line for each path, message and state change (--output json: a document for each)
    Show {
        /// The dump
        file: PathBuf,
        /// Stop after so many lines
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u64>,
    },
    /// Write the daemon's table, as it is after the import policies, as TABLE_DUMP_V2
    Dump {
        /// The file; it is replaced when the dump is whole
        file: PathBuf,
    },
    /// Tell a BGP speaker what a dump holds, as its peer, and stay until the session ends
    Replay(Replay),
}

/// `weft mrt replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The dump: of a table, of messages, or both
    pub file: PathBuf,
    /// Where the speaker is, as 10.0.0.1 or `[fd00::1]:1179`
    #[arg(long, value_name = "ADDRESS", value_parser = endpoint)]
    to: SocketAddr,
    /// Our AS; put in front of every path, unless the speaker is in it too
    #[arg(long, value_name = "NUMBER")]
    asn: u32,
    /// Our address, also the next hop [default: the system's choice]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Our BGP identifier
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    router_id: Ipv4Addr,
    /// Tell the routes of this peer of a table dump, by its index [default: the first path of every prefix]
    #[arg(long, value_name = "NUMBER")]
    peer: Option<u16>,
    /// End the session so many seconds after everything was told
    #[arg(long, value_name = "SECONDS")]
    stay_s: Option<u64>,
}

impl Replay {
    /// What is told, and to whom.
    #[must_use]
    pub fn wanted(&self) -> mrt::replay::Replay {
        mrt::replay::Replay {
            to: self.to,
            from: self.from,
            asn: Asn(self.asn),
            router_id: self.router_id,
            peer: self.peer,
            stay: self.stay_s.map(Duration::from_secs),
        }
    }
}

/// An address, with a port or without.
fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map(|address: IpAddr| SocketAddr::new(address, 179));
    address.or_else(|_| text.parse()).map_err(|_| "write 10.0.0.1, 10.0.0.1:179 or [fd00::1]:179".to_owned())
}
