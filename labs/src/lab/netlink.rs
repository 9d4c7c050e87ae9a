//! Makes links, bridges and addresses, and sets interfaces: rtnetlink over sockets that were opened inside the nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{BridgeStpState, InfoData, InfoVeth, MacVlanMode};
use rtnetlink::{Error, Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan};
use rustix::io::Errno;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::topology::{Device, Endpoint, LinkSpec, MacvlanMode};
use crate::verify::kernel;

/// Requests of one call that the kernel has not answered: their answers must fit into one socket's buffer.
const MAX_UNANSWERED: usize = 64;

/// Drives the sockets of all nodes. It has no thread of its own: requests move while somebody waits for one.
pub(super) fn runtime() -> io::Result<Arc<Runtime>> {
    Builder::new_current_thread().enable_io().build().map(Arc::new)
}

/// Sockets inside one node's network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    runtime: Arc<Runtime>,
    handle: Handle,
    /// One asker at a time: answers on this socket carry no name.
    tables: Mutex<OwnedFd>,
}

impl Netlink {
    /// To be called inside the namespace.
    pub(super) fn open(runtime: &Arc<Runtime>) -> io::Result<Self> {
        let _entered = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        runtime.spawn(connection);
        Ok(Self { runtime: Arc::clone(runtime), handle, tables: Mutex::new(kernel::open()?) })
    }

    /// Interface indices by name.
    pub(super) fn indices(&self) -> io::Result<BTreeMap<String, u32>> {
        Ok(self.links()?.into_iter().map(|(name, link)| (name, link.index)).collect())
    }

    /// All interfaces by name.
    pub(super) fn links(&self) -> io::Result<BTreeMap<String, kernel::KernelLink>> {
        kernel::links(&*self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Addresses with their interface's index.
    pub(super) fn addresses(&self) -> io::Result<Vec<(u32, IpAddr)>> {
        kernel::addresses(&*self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes both ends of a link: `a` here, `b` in the other namespace.
    pub(super) fn add_link(&self, link: &LinkSpec, far: BorrowedFd<'_>) -> io::Result<()> {
        let peer = end(LinkUnspec::new_with_name(&link.b.interface), &link.b, link.mtu).setns_by_fd(far.as_raw_fd());
        // as a message of its own: rtnetlink gives the far end a name and nothing else
        let near = end(LinkVeth::new(&link.a.interface, &link.b.interface), &link.a, link.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        self.done(self.handle.link().add(near.build()).execute())
    }

    /// Makes an interface that stands on one of this namespace's, in another namespace.
    pub(super) fn add_device(&self, near: &Endpoint, mtu: u32, device: &Device, to: BorrowedFd<'_>) -> io::Result<()> {
        let indices = self.indices()?;
        let index = |name: &str| {
            let missing =
                || io::Error::new(io::ErrorKind::NotFound, format!("the lab's host has no interface `{name}`"));
            indices.get(name).copied().ok_or_else(missing)
        };
        let message = match device {
            Device::Dummy => return Err(io::Error::other("a dummy stands on nothing")),
            Device::Macvlan { parent, mode } => {
                let mode = match mode {
                    MacvlanMode::Bridge => MacVlanMode::Bridge,
                    MacvlanMode::Vepa => MacVlanMode::Vepa,
                    MacvlanMode::Private => MacVlanMode::Private,
                    MacvlanMode::Passthru => MacVlanMode::Passthrough,
                };
                let macvlan = LinkMacVlan::new(&near.interface, index(parent)?, mode);
                // a passthru has its parent's address
                let macvlan = if mode == MacVlanMode::Passthrough { macvlan.mtu(mtu) } else { end(macvlan, near, mtu) };
                macvlan.setns_by_fd(to.as_raw_fd()).build()
            }
            Device::Vxlan { remote, vni, port, source_port, parent } => {
                let vxlan = LinkVxlan::new(&near.interface, *vni).port(*port);
                let vxlan = match remote {
                    IpAddr::V4(remote) => vxlan.remote(*remote),
                    IpAddr::V6(remote) => vxlan.remote6(*remote),
                };
                let vxlan = match parent {
                    Some(parent) => vxlan.dev(index(parent)?),
                    None => vxlan,
                };
                let vxlan = match source_port {
                    Some(port) => vxlan.port_range(*port, port.saturating_add(1)),
                    None => vxlan,
                };
                end(vxlan, near, mtu).setns_by_fd(to.as_raw_fd()).build()
            }
        };
        self.done(self.handle.link().add(message).execute())
    }

    /// Makes a bridge that forwards at once and knows no spanning tree.
    pub(super) fn add_bridge(&self, name: &str) -> io::Result<()> {
        let bridge = LinkBridge::new(name).forward_delay(0).stp_state(BridgeStpState::Disabled);
        // nobody queries here, and without a querier snooping loses neighbour discovery
        let bridge = bridge.mcast_snooping(false);
        self.done(self.handle.link().add(bridge.build()).execute())
    }

    /// Makes an interface a port of a bridge.
    pub(super) fn set_port(&self, port: u32, bridge: u32) -> io::Result<()> {
        let port = LinkUnspec::new_with_index(port).controller(bridge);
        self.done(self.handle.link().set(port.build()).execute())
    }

    /// Gives an interface an address that is usable at once.
    pub(super) fn add_address(&self, index: u32, address: IpNet) -> io::Result<()> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            request.message_mut().header.flags = AddressHeaderFlags::Nodad;
        }
        self.done(request.execute())
    }

    /// Sets an interface up or down, once it is waited for.
    pub(super) fn set_up(&self, interface: &str, up: bool) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let link = LinkUnspec::new_with_name(interface);
        let link = if up { link.up() } else { link.down() };
        let request = self.handle.link().set(link.build());
        let name = interface.to_owned();
        async move {
            request.execute().await.map_err(plain).map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NODEV) => io::Error::new(error.kind(), format!("there is no interface `{name}`")),
                Some(_) | None => io::Error::new(error.kind(), format!("interface {name}: {error}")),
            })
        }
    }

    /// Makes a neighbour that is never asked for, once it is waited for.
    pub(super) fn add_neighbour(
        &self,
        index: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let request = self.handle.neighbours().add(index, address).link_layer_address(&mac).replace();
        async move { request.execute().await.map_err(plain) }
    }

    /// Takes an interface away, and the other end of its pair with it.
    pub(super) fn delete(&self, interface: &str) -> io::Result<()> {
        match self.indices()?.get(interface) {
            Some(index) => self.done(self.handle.link().del(*index).execute()),
            None => Ok(()),
        }
    }

    /// What drives its requests.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn done(&self, request: impl Future<Output = Result<(), Error>>) -> io::Result<()> {
        self.runtime.block_on(request).map_err(plain)
    }
}

/// Has many requests, of any nodes, carried out one right after the other: the kernel gets the next before the answer to the
/// last is looked at. (It changes links under one lock, and carries a request out while it is being sent: more threads would
/// only wait for each other.) All are tried; the first error is answered.
pub(super) fn all<F>(runtime: &Runtime, requests: impl IntoIterator<Item = F>) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    runtime.block_on(async {
        let (mut tasks, mut result) = (JoinSet::new(), Ok(()));
        for request in requests {
            if tasks.len() >= MAX_UNANSWERED {
                result = result.and(next(&mut tasks).await);
            }
            tasks.spawn(request);
        }
        while !tasks.is_empty() {
            result = result.and(next(&mut tasks).await);
        }
        result
    })
}

async fn next(tasks: &mut JoinSet<io::Result<()>>) -> io::Result<()> {
    match tasks.join_next().await {
        Some(done) => done?,
        None => Ok(()),
    }
}

/// The system's own error, which says more and can be told apart.
fn plain(error: Error) -> io::Error {
    if let Error::NetlinkError(error) = error { error.to_io() } else { io::Error::other(error) }
}

fn end<T>(message: LinkMessageBuilder<T>, end: &Endpoint, mtu: u32) -> LinkMessageBuilder<T> {
    message.address(end.mac.to_vec()).mtu(mtu)
}
