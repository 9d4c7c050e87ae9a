//! Listening sockets: one for each family, and one for each unnumbered link whose peer has a key, because link-local addresses are the
//! same on every link and a key of the common socket cannot tell them apart.

use super::auth::{Key, Keys};
use super::sockopt;
use super::tcp::Conns;
use crate::handover;
use crate::link::LinkInfo;
use anyhow::Context as _;
use ipnet::{IpNet, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use weft_bgp::types::IfIndex;

/// The BGP port.
const PORT: u16 = 179;

/// A listener and the keys it was given.
#[derive(Debug)]
struct Listener {
    socket: Arc<TcpListener>,
    keys: BTreeMap<IpNet, Key>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All listeners.
#[derive(Debug)]
pub struct Listeners {
    v4: Listener,
    /// A system without IPv6 serves IPv4 alone.
    v6: Option<Listener>,
    links: BTreeMap<IfIndex, Listener>,
}

impl Listeners {
    /// Listens for peers on both families.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(conns: &Conns) -> anyhow::Result<Self> {
        let v4 = open(conns, SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)), None).with_context(|| {
            format!(
                "cannot listen on TCP port {PORT}: is another BGP daemon running here? It needs CAP_NET_BIND_SERVICE"
            )
        })?;
        let v6 = match open(conns, SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)), None) {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%error, "not listening on IPv6: unnumbered and IPv6 peers cannot connect to us");
                None
            }
        };
        Ok(Self { v4, v6, links: BTreeMap::new() })
    }

    /// All sockets, for another process.
    pub fn standing(&self) -> impl Iterator<Item = (handover::Listener, BorrowedFd<'_>)> {
        let v4 = std::iter::once((handover::Listener::V4, &self.v4));
        let v6 = self.v6.iter().map(|listener| (handover::Listener::V6, listener));
        let links = self.links.iter().map(|(link, listener)| (handover::Listener::Link(*link), listener));
        v4.chain(v6).chain(links).map(|(kind, listener)| (kind, listener.socket.as_fd()))
    }

    /// The sockets of the process before; who called meanwhile waits in them.
    ///
    /// # Errors
    /// When that of IPv4 is not among them, or one is no listening socket.
    pub fn take_over(conns: &Conns, all: Vec<(handover::Listener, OwnedFd)>) -> anyhow::Result<Self> {
        let (mut v4, mut v6, mut links) = (None, None, BTreeMap::new());
        for (kind, socket) in all {
            let socket = Arc::new(TcpListener::from_std(std::net::TcpListener::from(socket))?);
            let task = conns.listen(Arc::clone(&socket));
            let listener = Listener { socket, keys: BTreeMap::new(), task };
            match kind {
                handover::Listener::V4 => v4 = Some(listener),
                handover::Listener::V6 => v6 = Some(listener),
                handover::Listener::Link(link) => drop(links.insert(link, listener)),
            }
        }
        let v4 = v4.context("the daemon before handed over no listening socket")?;
        Ok(Self { v4, v6, links })
    }

    /// Puts keys into force: what is new or changed is given, what is gone taken away; nothing else is touched.
    pub fn set_keys(&mut self, conns: &Conns, keys: &Keys, links: &[LinkInfo]) {
        self.v4.set_keys(&keys.of_family(false).map(|(net, key)| (net, key.clone())).collect());
        if let Some(v6) = &mut self.v6 {
            v6.set_keys(&keys.of_family(true).map(|(net, key)| (net, key.clone())).collect());
        }
        let index = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.index);
        let wanted: BTreeMap<IfIndex, &Key> =
            keys.of_links().filter_map(|(name, key)| Some((index(name)?, key))).collect();
        self.links.retain(|link, _| wanted.contains_key(link));
        for (link, key) in wanted {
            if !self.links.contains_key(&link) {
                match self.open_link(conns, link) {
                    Ok(listener) => {
                        self.links.insert(link, listener);
                    }
                    Err(error) => {
                        tracing::error!(link = link.0, %error, "cannot listen on the link of a peer with a key")
                    }
                }
            }
            if let Some(listener) = self.links.get_mut(&link) {
                listener.set_keys(&BTreeMap::from([(link_locals(), key.clone())]));
            }
        }
    }

    fn open_link(&self, conns: &Conns, link: IfIndex) -> std::io::Result<Listener> {
        // Only now: until then, the port shows that another daemon has it.
        if let Some(v6) = &self.v6 {
            sockopt::share(&v6.socket)?;
        }
        open(conns, SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)), Some(link))
    }
}

impl Listener {
    fn set_keys(&mut self, wanted: &BTreeMap<IpNet, Key>) {
        for (net, key) in self.keys.iter().filter(|(net, _)| !wanted.contains_key(*net)) {
            if let Err(error) = key.take(&*self.socket, *net) {
                tracing::error!(peer = %net, error = sockopt::plain(&error), "a key cannot be taken from the listener");
            }
        }
        for (net, key) in wanted.iter().filter(|(net, key)| self.keys.get(*net) != Some(*key)) {
            if let Err(error) = key.give(&*self.socket, *net) {
                let remedy = "a socket takes about 960 keys (net.core.optmem_max): one `listen` range needs one key";
                tracing::error!(peer = %net, error = sockopt::plain(&error), remedy, "the peer cannot connect to us");
            }
        }
        self.keys.clone_from(wanted);
    }
}

fn open(conns: &Conns, address: SocketAddr, link: Option<IfIndex>) -> std::io::Result<Listener> {
    let socket = Arc::new(sockopt::listen(address, link)?);
    let task = conns.listen(Arc::clone(&socket));
    Ok(Listener { socket, keys: BTreeMap::new(), task })
}

/// Where a link-local peer may be.
fn link_locals() -> IpNet {
    IpNet::from(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64))
}
