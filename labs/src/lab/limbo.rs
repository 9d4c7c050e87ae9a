//! A network namespace without a process, for the far ends of links that lead nowhere. It goes away with its descriptor, that
//! is, with the runner.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::netlink::{self, Netlink};
use super::{init, namespace};
use crate::topology::{Device, DeviceSpec, Endpoint, LinkSpec, MacvlanMode};

/// The namespace.
#[derive(Debug)]
pub(super) struct Limbo {
    network: OwnedFd,
    netlink: Netlink,
    runtime: Arc<Runtime>,
}

impl Limbo {
    /// Makes one.
    pub(super) fn new(runtime: &Arc<Runtime>) -> io::Result<Self> {
        let (network, netlink) = namespace::limbo(|| Netlink::open(runtime))?;
        Ok(Self { network, netlink, runtime: Arc::clone(runtime) })
    }

    /// Makes one in which nothing speaks of its own accord.
    pub(super) fn quiet(runtime: &Arc<Runtime>) -> io::Result<Self> {
        let limbo = Self::new(runtime)?;
        match limbo.within(|| init::set_sysctl("net.ipv6.conf.default.disable_ipv6", "1")) {
            // a kernel without IPv6
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(limbo),
        }
    }

    /// The namespace.
    pub(super) fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }

    /// Its interfaces.
    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Does something on a thread inside it.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        namespace::within(self.network.as_fd(), work)
    }

    /// Makes an interface with carrier in a node; `number` is different for each.
    pub(super) fn dummy(&self, node: &Netlink, device: &DeviceSpec, number: usize) -> io::Result<()> {
        let interface = format!("d{number}");
        let mut mac = device.end.mac;
        // locally administered, and not the near end's
        mac[0] = 0x0e;
        let far = Endpoint { node: String::new(), interface: interface.clone(), mac, addresses: Vec::new() };
        let link = LinkSpec { a: device.end.clone(), b: far, mtu: device.mtu };
        node.add_link(&link, self.network.as_fd())?;
        netlink::all(&self.runtime, [self.netlink.set_up(&interface, true)])
    }

    /// Why the kernel cannot make a device, if it cannot: it is tried here, where nobody sees it.
    pub(super) fn why_not(&self, device: &Device) -> Option<String> {
        let end = |interface: &str| {
            let mac = [0x0e, 0, 0, 0, 0, u8::try_from(interface.len()).unwrap_or(0)];
            Endpoint { node: String::new(), interface: interface.to_owned(), mac, addresses: Vec::new() }
        };
        let tried = match device {
            Device::Dummy => Ok(()),
            Device::Macvlan { .. } => {
                let link = LinkSpec { a: end("p"), b: end("far"), mtu: 1500 };
                let parent = self.netlink.add_link(&link, self.network.as_fd());
                let _ = parent; // there already, when it is asked twice
                let device = Device::Macvlan { parent: "p".to_owned(), mode: MacvlanMode::Bridge };
                self.netlink.add_device(&end("try-m"), 1500, &device, self.network.as_fd())
            }
            Device::Vxlan { remote, .. } => {
                let device = Device::Vxlan { remote: *remote, vni: 1, port: 4789, source_port: None, parent: None };
                self.netlink.add_device(&end("try-v"), 1400, &device, self.network.as_fd())
            }
        };
        let kind = match device {
            Device::Dummy => return None,
            Device::Macvlan { .. } => "macvlan",
            Device::Vxlan { .. } => "vxlan",
        };
        match tried {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => Some(format!(
                "this kernel makes no {kind} interface ({error}): load the module (modprobe {kind}), or use a veth link"
            )),
        }
    }
}
