//! What an interface is, as every part of the daemon sees it: plain data, filled from the kernel by `io/netlink` or by a test.
//! This file must not know how it is read.

pub mod damp;

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use weft_bgp::types::{IfIndex, IpNet};

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddrInfo {
    /// The address with the prefix length of its connected network.
    pub net: IpNet,
    /// Duplicate address detection has not ended or has failed (RFC 4862 §5.4): not usable as a source yet.
    pub tentative: bool,
    /// It has failed: somebody else on the link has this address.
    pub duplicate: bool,
    /// In `fe80::/10` or `169.254.0.0/16`.
    pub link_local: bool,
    /// Who put it there, as the kernel keeps it (`IFA_PROTO`, Linux 5.18): 0 = nobody said.
    pub protocol: u8,
}

impl AddrInfo {
    /// An address that is ready for use.
    #[must_use]
    pub fn new(net: IpNet) -> Self {
        Self { net, tentative: false, duplicate: false, link_local: is_link_local(net.addr()), protocol: 0 }
    }
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Kernel index; may be reused after the interface is deleted.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// Its hardware address; zero if it has none of six octets.
    pub mac: [u8; 6],
    /// Largest packet, in octets.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The far end is there.
    pub carrier: bool,
    /// How often it lost its carrier within the last minute, while it is kept out of use for that: 0 = it is not.
    pub damped: u32,
    /// The loopback interface.
    pub loopback: bool,
    /// The bridge, bond or VRF it belongs to.
    pub master: Option<IfIndex>,
    /// `veth`, `bridge`, `vlan`, …; `None` for a physical device.
    pub kind: Option<String>,
    /// Its addresses, in ascending order.
    pub addrs: Vec<AddrInfo>,
}

impl LinkInfo {
    /// Whether packets can be sent through it now.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.has_carrier() && self.damped == 0
    }

    /// Whether packets can be sent through it, flapping or not.
    #[must_use]
    pub const fn has_carrier(&self) -> bool {
        self.up && self.carrier
    }

    /// The link-local IPv6 address to speak from, if one is ready.
    #[must_use]
    pub fn link_local_v6(&self) -> Option<std::net::Ipv6Addr> {
        self.addrs.iter().find_map(|a| match a.net {
            IpNet::V6(net) if a.link_local && !a.tentative => Some(net.addr()),
            IpNet::V4(_) | IpNet::V6(_) => None,
        })
    }
}

/// Whether an address is valid on its link only (RFC 3927 §2.1, RFC 4291 §2.5.6).
#[must_use]
pub const fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
