//! What is said between [`super::Fib`] and the kernel (or a model of it): operations, refusals, dumps. Plain data.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use weft_bgp::types::{IfIndex, IpNet};

/// The id of a nexthop object or group. Never zero: that is the kernel's word for "choose one".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NhId(pub u32);

/// A neighbour on a link: what one nexthop object stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The interface.
    pub link: IfIndex,
    /// The neighbour's address on it; an IPv6 one serves IPv4 routes too. `0.0.0.0`: whoever is meant is on the link itself.
    pub gateway: IpAddr,
}

/// What makes a route one of a kind in the kernel (type of service is always 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Where to.
    pub prefix: IpNet,
    /// In which table.
    pub table: u32,
    /// The kernel's priority; lower wins.
    pub metric: u32,
}

/// In as few words as it has: a million routes are looked up by it, more than once each.
impl Hash for RouteKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let length = u64::from(self.prefix.prefix_len());
        match self.prefix {
            IpNet::V4(net) => state.write_u64(u64::from(net.addr().to_bits()) << 8 | length),
            IpNet::V6(net) => {
                state.write_u128(net.addr().to_bits());
                state.write_u64(length);
            }
        }
        state.write_u64(u64::from(self.table) << 32 | u64::from(self.metric));
    }
}

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Sends it as the object or group says.
    Nexthop(NhId),
    /// Drops it without a word.
    Blackhole,
    /// Drops it and tells the sender.
    Unreachable,
    /// Something this program never asks for.
    Other,
}

impl Target {
    /// The object or group that it names.
    #[must_use]
    pub const fn nexthop(self) -> Option<NhId> {
        match self {
            Self::Nexthop(id) => Some(id),
            Self::Blackhole | Self::Unreachable | Self::Other => None,
        }
    }
}

/// How a group finds the member of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// By hash: when members change, most flows change theirs.
    #[default]
    Hashed,
    /// By a table of buckets: flows stay at their member as long as it is there (Linux 5.13).
    Resilient,
}

/// One thing the kernel shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create a nexthop object; must fail if the id is taken.
    AddNexthop {
        /// Its id.
        id: NhId,
        /// What it stands for.
        member: Member,
    },
    /// Create a group (must fail if the id is taken), or replace the members of one of ours (must fail if it is gone).
    SetGroup {
        /// Its id.
        id: NhId,
        /// Ids of members and weights, 1..=255, ascending by id.
        members: Vec<(NhId, u8)>,
        /// How it spreads flows; never changes under an id.
        spread: Spread,
        /// Replace instead of create.
        replace: bool,
    },
    /// Delete an object or a group; the kernel drops the routes that name it.
    DeleteNexthop {
        /// Its id.
        id: NhId,
    },
    /// Create a route (must fail if there is one of equal key), or replace one of ours (must fail if it is gone).
    SetRoute {
        /// Which.
        key: RouteKey,
        /// What it does.
        target: Target,
        /// Source address of packets that this host sends by it.
        source: Option<IpAddr>,
        /// Replace instead of create.
        replace: bool,
    },
    /// Delete a route of ours: the kernel compares key and protocol.
    DeleteRoute {
        /// Which.
        key: RouteKey,
    },
}

/// Why the kernel did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// EEXIST: there is one, and it is not known to be ours.
    Exists,
    /// ENOENT, ESRCH: there is none.
    Missing,
    /// ENETUNREACH, EHOSTUNREACH: the gateway is not on the link.
    NotOnLink,
    /// ENETDOWN, ENODEV: the link is down or gone.
    LinkDown,
    /// EINVAL: an object or a source address that is not there, or a fault of ours.
    Invalid,
    /// EBUSY, EAGAIN, ENOMEM, ENOBUFS: try again.
    Busy,
    /// EPERM, EACCES.
    Forbidden,
    /// The answer was lost.
    Unanswered,
    /// Another error number.
    Other(i32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("something that is not ours is in its place"),
            Self::Missing => f.write_str("it is not there"),
            Self::NotOnLink => f.write_str("the gateway is not on the link"),
            Self::LinkDown => f.write_str("the link is down"),
            Self::Invalid => f.write_str("the kernel calls it invalid (preferred source not on this host?)"),
            Self::Busy => f.write_str("the kernel is short of memory or busy"),
            Self::Forbidden => f.write_str("not permitted (CAP_NET_ADMIN?)"),
            Self::Unanswered => f.write_str("the kernel's answer was lost"),
            Self::Other(errno) => write!(f, "error {errno}"),
        }
    }
}

/// A nexthop object found in our id range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldNexthop {
    /// Its id.
    pub id: NhId,
    /// It carries our protocol.
    pub ours: bool,
    /// What it is.
    pub shape: HeldShape,
}

/// What a nexthop object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldShape {
    /// A neighbour on a link.
    Member(Member),
    /// A group: ids and weights, ascending by id.
    Group(Spread, Vec<(NhId, u8)>),
    /// Something this program never asks for.
    Other,
}

/// A route of our protocol found in our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRoute {
    /// Which.
    pub key: RouteKey,
    /// What it does.
    pub target: Target,
    /// Its preferred source.
    pub source: Option<IpAddr>,
}

/// One thing of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A nexthop object in our id range, whoever made it.
    Nexthop(HeldNexthop),
    /// A route of our protocol in our table.
    Route(HeldRoute),
}

/// All that a kernel holds of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Every nexthop object in our id range, whoever made it.
    pub nexthops: Vec<HeldNexthop>,
    /// Every route of our protocol in our table.
    pub routes: Vec<HeldRoute>,
}
