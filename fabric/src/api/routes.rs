//! Where packets go: shapes of the answers, and what lies within a prefix.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use weft_bgp::types::IpNet;

/// A page of routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// Prefixes in the whole table.
    #[serde(default)]
    pub prefixes: u64,
    /// Of those within one, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// In order of family and prefix.
    pub routes: Vec<Route>,
    /// Ask for what comes `after` this; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<IpNet>,
}

/// How much of the table lies within a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// Which.
    pub prefix: IpNet,
    /// Prefixes that lie within it, itself included.
    pub prefixes: u64,
    /// There are more: so far they were counted.
    pub more: bool,
}

/// Where packets for a prefix go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The prefix.
    pub prefix: IpNet,
    /// `bgp`, `local` (originated here), `aggregate` (likewise, with a discard route), or `none`: no path can be used.
    pub kind: String,
    /// The kernel acknowledged these next hops.
    pub installed: bool,
    /// `installed`, `waiting`, `refused`, or `none`: nothing is wanted there.
    pub kernel: String,
    /// The next hops; none for a local route.
    pub via: Vec<Via>,
    /// Whose paths are used, the best first.
    pub from: Vec<String>,
    /// Seconds since the newest of these paths came.
    pub age_s: u64,
    /// A guard keeps it from being used: what stands behind it, and what it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Via {
    /// The interface.
    pub interface: String,
    /// The neighbour on it.
    pub gateway: IpAddr,
    /// Relative weight.
    pub weight: u8,
}
