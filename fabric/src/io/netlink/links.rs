//! Interfaces and their addresses: the picture that notifications and dumps paint (rtnetlink(7)).

use super::wire;
use crate::link::{AddrInfo, LinkInfo, is_link_local};
use std::collections::BTreeMap;
use weft_bgp::types::{IfIndex, IpNet};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
pub(super) const RTM_GETADDR: u16 = 22;

/// Length of `struct ifinfomsg`: family, pad, type, index, flags, change.
pub(super) const LINK_HEADER: usize = 16;
/// Length of `struct ifaddrmsg`: family, prefix length, flags, scope, index.
pub(super) const ADDR_HEADER: usize = 8;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
/// The carrier, whatever the administrator says of the port's state.
const IFF_LOWER_UP: u32 = 0x1_0000;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;

const IFA_F_NODAD: u32 = 0x02;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
/// No route for the address's network is made along with it.
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// All interfaces.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_index: BTreeMap<IfIndex, LinkInfo>,
    /// Addresses on the loopback interface that carry our mark: put there by us, now or in an earlier run.
    marked: BTreeMap<IpNet, u8>,
}

/// What a message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing, or nothing that matters.
    None,
    /// An interface has its carrier now.
    Usable(IfIndex),
    /// An interface has it no longer.
    Unusable(IfIndex),
    /// An interface is gone.
    Gone(IfIndex),
    /// Other properties.
    Properties,
    /// An address came, or is ready now.
    AddressAdded,
    /// An address went.
    AddressRemoved(IfIndex, IpNet),
}

impl Links {
    /// The whole picture.
    pub(super) fn list(&self) -> Vec<LinkInfo> {
        self.by_index.values().cloned().collect()
    }

    /// Interfaces that can be used.
    pub(super) fn usable(&self) -> impl Iterator<Item = IfIndex> {
        self.by_index.values().filter(|link| link.is_usable()).map(|link| link.index)
    }

    /// Keeps a link out of use for flapping so often, or (0) no longer.
    pub(super) fn damp(&mut self, index: IfIndex, flaps: u32) {
        if let Some(link) = self.by_index.get_mut(&index) {
            link.damped = flaps;
        }
    }

    /// How often a link has flapped that is kept out of use for it.
    pub(super) fn damped(&self, index: IfIndex) -> u32 {
        self.by_index.get(&index).map_or(0, |link| link.damped)
    }

    /// The name of an interface.
    pub(super) fn name(&self, index: IfIndex) -> String {
        self.by_index.get(&index).map_or_else(|| index.0.to_string(), |link| link.name.clone())
    }

    /// Whether this is a bridge with an address, so that there may be neighbours behind its ports.
    pub(super) fn is_routed_bridge(&self, index: IfIndex) -> bool {
        let bridge = self.by_index.get(&index).filter(|link| link.kind.as_deref() == Some("bridge"));
        bridge.is_some_and(|link| link.addrs.iter().any(|addr| !addr.link_local))
    }

    /// Whether there is one.
    pub(super) fn has_routed_bridge(&self) -> bool {
        self.by_index.keys().any(|index| self.is_routed_bridge(*index))
    }

    /// Whether an interface can be used.
    pub(super) fn is_usable(&self, index: IfIndex) -> bool {
        self.by_index.get(&index).is_some_and(LinkInfo::is_usable)
    }

    /// The loopback interface.
    pub(super) fn loopback(&self) -> Option<IfIndex> {
        self.by_index.values().find(|link| link.loopback).map(|link| link.index)
    }

    /// Whether an address of the loopback interface carries this mark.
    pub(super) fn is_marked(&self, net: &IpNet, mark: u8) -> bool {
        self.marked.get(net) == Some(&mark)
    }

    /// The addresses of the loopback interface that carry this mark.
    pub(super) fn all_marked(&self, mark: u8) -> impl Iterator<Item = IpNet> + '_ {
        self.marked.iter().filter(move |(_, found)| **found == mark).map(|(net, _)| *net)
    }

    /// Takes a link or address message.
    pub(super) fn take(&mut self, kind: u16, payload: &[u8]) -> Change {
        match kind {
            RTM_NEWLINK => parse_link(payload).map_or(Change::None, |link| self.set_link(link)),
            RTM_DELLINK => parse_link(payload).map_or(Change::None, |link| self.remove_link(link.index)),
            RTM_NEWADDR | RTM_DELADDR => {
                parse_addr(payload).map_or(Change::None, |addr| self.set_addr(&addr, kind == RTM_NEWADDR))
            }
            _ => Change::None,
        }
    }

    fn set_link(&mut self, mut link: LinkInfo) -> Change {
        let index = link.index;
        let usable = link.has_carrier();
        let Some(old) = self.by_index.get_mut(&index) else {
            self.by_index.insert(index, link);
            return if usable { Change::Usable(index) } else { Change::Properties };
        };
        link.addrs = std::mem::take(&mut old.addrs);
        // What is kept out of use stays so while it has its carrier.
        link.damped = if usable { old.damped } else { 0 };
        let change = match (old.has_carrier(), usable) {
            (true, false) => Change::Unusable(index),
            (false, true) => Change::Usable(index),
            _ if LinkInfo { addrs: Vec::new(), ..link.clone() } == *old => Change::None,
            _ => Change::Properties,
        };
        *old = link;
        change
    }

    fn remove_link(&mut self, index: IfIndex) -> Change {
        match self.by_index.remove(&index) {
            Some(_) => Change::Gone(index),
            None => Change::None,
        }
    }

    fn set_addr(&mut self, addr: &Addr, present: bool) -> Change {
        let Some(link) = self.by_index.get_mut(&addr.link) else { return Change::None };
        if link.loopback {
            if present {
                self.marked.insert(addr.info.net, addr.mark);
            } else {
                self.marked.remove(&addr.info.net);
            }
        }
        let at = link.addrs.binary_search_by_key(&addr.info.net, |info| info.net);
        match (at, present) {
            (Ok(at), true) => match link.addrs.get_mut(at) {
                Some(info) if *info != addr.info => *info = addr.info.clone(),
                Some(_) | None => return Change::None,
            },
            (Err(at), true) => link.addrs.insert(at, addr.info.clone()),
            (Ok(at), false) => {
                link.addrs.remove(at);
                return Change::AddressRemoved(addr.link, addr.info.net);
            }
            // An IPv6 address may go before the kernel has told that it came.
            (Err(_), false) if link.loopback => return Change::AddressRemoved(addr.link, addr.info.net),
            (Err(_), false) => return Change::None,
        }
        Change::AddressAdded
    }
}

fn parse_link(payload: &[u8]) -> Option<LinkInfo> {
    // Messages of other families tell of bridge ports and the like, not of the link itself.
    if *payload.first()? != 0 {
        return None;
    }
    let flags = wire::word(payload, 8)?;
    let mut link = LinkInfo {
        index: IfIndex(wire::word(payload, 4)?),
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        damped: 0,
        loopback: flags & IFF_LOOPBACK != 0,
        master: None,
        kind: None,
        addrs: Vec::new(),
    };
    for (kind, value) in wire::attributes(payload.get(LINK_HEADER..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = wire::word(value, 0)?,
            IFLA_MASTER => link.master = wire::word(value, 0).map(IfIndex),
            IFLA_LINKINFO => {
                let found = wire::attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = found.map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    Some(link)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[derive(Debug)]
struct Addr {
    link: IfIndex,
    info: AddrInfo,
    mark: u8,
}

fn parse_addr(payload: &[u8]) -> Option<Addr> {
    let prefix_length = *payload.get(1)?;
    let mut flags = u32::from(*payload.get(2)?);
    let (mut addr, mut local, mut mark) = (None, None, 0);
    for (kind, value) in wire::attributes(payload.get(ADDR_HEADER..)?) {
        match kind {
            IFA_ADDRESS => addr = wire::address(value),
            // On a point-to-point link the other attribute is the far end.
            IFA_LOCAL => local = wire::address(value),
            IFA_FLAGS => flags = wire::word(value, 0)?,
            IFA_PROTO => mark = *value.first()?,
            _ => {}
        }
    }
    let net = IpNet::new(local.or(addr)?, prefix_length).ok()?;
    // An optimistic address may be used while it is being checked (RFC 4429 §3.3).
    let unchecked = flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0;
    let duplicate = flags & IFA_F_DADFAILED != 0;
    let tentative = unchecked || duplicate;
    let info = AddrInfo { net, tentative, duplicate, link_local: is_link_local(net.addr()), protocol: mark };
    Some(Addr { link: IfIndex(wire::word(payload, 4)?), info, mark })
}

/// The body of a request for an address of an interface, with our mark.
pub(super) fn address(link: IfIndex, net: &IpNet, mark: u8) -> Vec<u8> {
    let (family, octets, flags) = match net {
        IpNet::V4(net) => (libc::AF_INET, net.addr().octets().to_vec(), IFA_F_NOPREFIXROUTE),
        // Nobody else can have it on the loopback interface: usable at once.
        IpNet::V6(net) => (libc::AF_INET6, net.addr().octets().to_vec(), IFA_F_NOPREFIXROUTE | IFA_F_NODAD),
    };
    let mut body = vec![u8::try_from(family).unwrap_or_default(), net.prefix_len(), 0, 0];
    body.extend(link.0.to_ne_bytes());
    wire::attribute(&mut body, IFA_LOCAL, &octets);
    wire::attribute(&mut body, IFA_ADDRESS, &octets);
    wire::attribute(&mut body, IFA_FLAGS, &flags.to_ne_bytes());
    wire::attribute(&mut body, IFA_PROTO, &[mark]);
    body
}
