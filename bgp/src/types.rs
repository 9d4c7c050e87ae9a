//! The nouns every module shares: AS numbers, families, ids, next hops.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An autonomous system number, four octets (RFC 6793).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS, the two-octet stand-in for a four-octet number (RFC 6793 §9).
    pub const TRANS: Self = Self(23_456);
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address family with SAFI 1 (unicast), RFC 4760.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

impl Family {
    /// Both families, in the order in which they are listed everywhere.
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The AFI as on the wire.
    #[must_use]
    pub const fn afi(self) -> u16 {
        match self {
            Self::Ipv4Unicast => 1,
            Self::Ipv6Unicast => 2,
        }
    }

    /// 0 or 1: for arrays with one slot per family.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Ipv4Unicast => 0,
            Self::Ipv6Unicast => 1,
        }
    }

    /// The family of an AFI/SAFI pair, if it is one of ours.
    #[must_use]
    pub const fn from_wire(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4Unicast),
            (2, 1) => Some(Self::Ipv6Unicast),
            _ => None,
        }
    }

    /// The family a prefix belongs to.
    #[must_use]
    pub const fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4Unicast,
            IpNet::V6(_) => Self::Ipv6Unicast,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        })
    }
}

/// A configured or dynamic peer of this speaker. Never reused while the speaker lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerId(pub u32);

/// One TCP connection. Ids of connections we dial are handed out by the speaker, ids of accepted ones by the
/// driver with [`ConnId::ACCEPTED`] set, so the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The bit that marks an accepted connection.
    pub const ACCEPTED: u64 = 1 << 63;
}

/// A kernel interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IfIndex(pub u32);

/// A next hop as the wire says it (RFC 4271 §5.1.3, RFC 2545 §3, RFC 8950 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// The global address; the link-local one when the peer has nothing else.
    pub addr: IpAddr,
    /// The link-local address that came with it.
    pub link_local: Option<Ipv6Addr>,
}

impl NextHop {
    /// A next hop without a link-local part.
    #[must_use]
    pub const fn new(addr: IpAddr) -> Self {
        Self { addr, link_local: None }
    }
}

/// A resolved next hop: what the kernel needs. Sorted sets of these are what `fib` interns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The interface to send through.
    pub link: IfIndex,
    /// The neighbour's address on that interface; an IPv6 address may serve IPv4 routes (RFC 8950).
    pub gateway: IpAddr,
    /// Relative weight, 1..=255.
    pub weight: u8,
}

/// A BGP identifier (RFC 6286).
pub type RouterId = Ipv4Addr;
