//! One machine: its kernel (interfaces, forwarding table, sockets) and, while it runs, the daemon's node.

use super::fib::Fib;
use super::network::{LOOPBACK, NodeId, Port};
use super::pipe::PipeId;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use weft_bgp::time::Instant;
use weft_bgp::types::{ConnId, IfIndex, IpNet};
use weft_fabric::bfd::{Bfd, Endpoint, SessionId};
use weft_fabric::config::NodeConfig;
use weft_fabric::link::{AddrInfo, LinkInfo};
use weft_fabric::record::Recorder;

/// A machine of the network.
#[derive(Debug)]
pub struct Machine {
    /// Its name in the topology.
    pub name: String,
    /// What the daemon is started with.
    pub config: NodeConfig,
    /// The daemon, while it runs.
    pub daemon: Option<Recorder>,
    /// The daemon shall run: false after it was stopped for good.
    pub(super) enabled: bool,
    /// An operator wants it out of service; a daemon that starts again knows it still.
    pub(super) drained: bool,
    /// Off: nothing of it answers or forwards.
    pub powered: bool,
    /// The interfaces as the kernel has them.
    pub links: Vec<LinkInfo>,
    /// The interfaces as they are after a boot.
    at_boot: Vec<LinkInfo>,
    /// The kernel's routes.
    pub fib: Fib,
    /// Where the daemon listens for router advertisements.
    pub(super) ra_links: Vec<IfIndex>,
    /// Counts starts and ends of the daemon: what was meant for an earlier one is dropped.
    pub(super) life: u32,
    pub(super) armed: Option<Instant>,
    /// BFD of the daemon, once it wanted a session, where its sessions send to, and when it is called.
    pub(super) bfd: Option<Bfd>,
    pub(super) bfd_ends: BTreeMap<SessionId, Endpoint>,
    pub(super) bfd_armed: Option<Instant>,
    pub(super) fib_busy: bool,
    /// The first convergence was said: leftovers go with the next empty batch.
    pub(super) sweep_due: bool,
    pub(super) conns: BTreeMap<ConnId, (PipeId, usize)>,
    pub(super) accepted: u64,
}

impl Machine {
    /// A machine that is on, without a daemon.
    #[must_use]
    pub fn new(name: String, config: NodeConfig, links: Vec<LinkInfo>) -> Self {
        Self {
            name,
            config,
            daemon: None,
            enabled: true,
            drained: false,
            powered: true,
            at_boot: links.clone(),
            links,
            fib: Fib::default(),
            ra_links: Vec::new(),
            life: 0,
            armed: None,
            bfd: None,
            bfd_ends: BTreeMap::new(),
            bfd_armed: None,
            fib_busy: false,
            sweep_due: false,
            conns: BTreeMap::new(),
            accepted: 0,
        }
    }

    /// The daemon starts; `seed` stands for the randomness that the driver would hand in.
    pub(super) fn start(&mut self, now: Instant, seed: u64) {
        let mut config = self.config.clone();
        config.speaker.seed = seed;
        // RFC 4724 §4.1: forwarding state that is still there was kept.
        config.speaker.restarting = self.fib.routes().next().is_some();
        self.fib.adopt();
        self.fib.set_last_resort(&config.fib.unreachable);
        self.daemon = Some(Recorder::new(config, now));
        self.life += 1;
        (self.armed, self.fib_busy, self.sweep_due) = (None, false, false);
        self.end_bfd();
    }

    /// The daemon is gone; kernel state stays.
    pub(super) fn end(&mut self) {
        self.daemon = None;
        self.ra_links.clear();
        self.conns.clear();
        self.life += 1;
        self.end_bfd();
    }

    /// It is a thread of the daemon, and goes with it.
    fn end_bfd(&mut self) {
        (self.bfd, self.bfd_armed) = (None, None);
        self.bfd_ends.clear();
    }

    /// The whole machine is gone: after a boot it has what it is built with.
    pub(super) fn crash(&mut self) {
        self.end();
        self.powered = false;
        self.fib.clear();
        self.links.clone_from(&self.at_boot);
    }

    /// Puts an address on the loopback interface; false if it is there.
    pub(super) fn add_address(&mut self, net: IpNet) -> bool {
        let Some(lo) = self.links.iter_mut().find(|link| link.index == LOOPBACK) else {
            return false;
        };
        let new = lo.addrs.iter().all(|addr| addr.net != net);
        if new {
            lo.addrs.push(AddrInfo::new(net));
        }
        new
    }

    /// Takes an address from the loopback interface.
    pub(super) fn remove_address(&mut self, net: IpNet) {
        for lo in self.links.iter_mut().filter(|link| link.index == LOOPBACK) {
            lo.addrs.retain(|addr| addr.net != net);
        }
    }

    /// An interface.
    #[must_use]
    pub fn link(&self, index: IfIndex) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.index == index)
    }

    /// Whether packets for `address` that come in on `link` are for this machine. As in Linux, any interface answers for every
    /// address of the machine, but a link-local one belongs to its interface.
    #[must_use]
    pub fn owns(&self, address: IpAddr, link: IfIndex) -> bool {
        let scoped = weft_fabric::link::is_link_local(address);
        let here = self.links.iter().filter(|own| !scoped || own.index == link);
        self.powered && here.flat_map(|own| &own.addrs).any(|addr| addr.net.addr() == address)
    }

    /// The first routable IPv4 address on the loopback interface: what its packets carry.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let addrs = self.link(LOOPBACK)?.addrs.iter().map(|addr| addr.net.addr());
        addrs.into_iter().find(|addr| addr.is_ipv4() && !addr.is_loopback())
    }

    /// From which interface and address a neighbour is dialled.
    ///
    /// # Errors
    /// The system's words, when there is no way.
    pub(super) fn source(&self, node: NodeId, remote: SocketAddr) -> Result<(Port, SocketAddr), &'static str> {
        let scope = match remote {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(IfIndex(v6.scope_id())),
            SocketAddr::V4(_) | SocketAddr::V6(_) => None,
        };
        let fits = |link: &LinkInfo, net: &IpNet| match scope {
            Some(index) => link.index == index && net.contains(&remote.ip()),
            None => !link.loopback && net.contains(&remote.ip()),
        };
        let usable = self.links.iter().filter(|link| link.is_usable());
        let all = usable.flat_map(|link| link.addrs.iter().map(move |addr| (link, addr.net)));
        let best = all.filter(|(link, net)| fits(link, net)).max_by_key(|(_, net)| net.prefix_len());
        let (link, net) = best.ok_or("No route to host")?;
        Ok((Port { node, link: link.index }, socket(net.addr(), 0, link.index)))
    }
}

/// A socket address; a link-local one carries its interface.
pub(super) fn socket(address: IpAddr, port: u16, link: IfIndex) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, link.0)),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(address, port),
    }
}
