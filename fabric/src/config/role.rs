//! Roles: what a node is in the fabric, and the defaults that follow from it.
//!
//! A role carries the safe policy. Without a role RFC 8212 holds: an external peer without a named policy
//! is neither believed nor told anything.

use super::fib::NexthopCompat;
use serde::{Deserialize, Serialize};
use std::fmt;
use weft_bgp::peer::NextHopRule;

/// Hosts take a default route, loopbacks and service addresses: more than this is somebody else's table.
const HOST_MAX_PREFIXES: u32 = 10_000;

/// How long a switch waits at start for every peer's End-of-RIB. Switches that start together wait for each other,
/// so this is what a cold start costs; it is never paid when all peers were there before.
const HOLD_BACK_MS: u32 = 2_000;

/// What this node is in the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A server: announces its own addresses, never transits.
    Host,
    /// A top-of-rack switch.
    Tor,
    /// A spine: everything it tells has itself as next hop.
    Spine,
    /// A boot server: a host that serves those that have nothing yet.
    Boot,
    /// A border router: believes all, tells the fabric only what it originates.
    Border,
}

/// What a role says where the file is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Import and export policy of peers that name none.
    pub policy: Option<&'static str>,
    /// Tell peers only what we originate.
    pub originated_only: bool,
    /// Next-hop treatment of internal peers.
    pub internal_next_hop: NextHopRule,
    /// Next-hop treatment of external peers.
    pub external_next_hop: NextHopRule,
    /// Most prefixes of a peer.
    pub max_prefixes: Option<u32>,
    /// Tell others about a route only after the kernel holds it.
    pub advertise_after_install: bool,
    /// Wait for End-of-RIB at start, milliseconds.
    pub hold_back_ms: u32,
    /// How the kernel tells others of next-hop objects.
    pub nexthop_compat: NexthopCompat,
}

impl Defaults {
    /// The defaults of a role, or of none.
    #[must_use]
    pub const fn of(role: Option<Role>) -> Self {
        let none = Self {
            policy: None,
            originated_only: false,
            internal_next_hop: NextHopRule::Standard,
            external_next_hop: NextHopRule::Standard,
            max_prefixes: None,
            advertise_after_install: false,
            hold_back_ms: 0,
            nexthop_compat: NexthopCompat::Keep,
        };
        let within = Self { policy: Some("accept-all"), ..none };
        // Its kernel is the fabric's: nothing else on it reads routes, and a group changes under all of them.
        let switch = Self {
            advertise_after_install: true,
            hold_back_ms: HOLD_BACK_MS,
            nexthop_compat: NexthopCompat::Fast,
            ..within
        };
        match role {
            None => none,
            Some(Role::Host | Role::Boot) => Self {
                originated_only: true,
                internal_next_hop: NextHopRule::PeerOnImport,
                max_prefixes: Some(HOST_MAX_PREFIXES),
                ..within
            },
            Some(Role::Tor) => switch,
            Some(Role::Spine) => Self {
                internal_next_hop: NextHopRule::SelfOnExport,
                external_next_hop: NextHopRule::SelfOnExport,
                ..switch
            },
            Some(Role::Border) => Self { originated_only: true, ..within },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Tor => "tor",
            Self::Spine => "spine",
            Self::Boot => "boot",
            Self::Border => "border",
        })
    }
}
