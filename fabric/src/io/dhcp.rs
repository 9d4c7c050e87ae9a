//! The sockets of the relay: one for frames on each server port, and one to speak with servers from. Each has a task that hands on what it
//! hears; a flood waits in the kernel, which drops the rest.

use super::raw;
use crate::dhcp::frame::{ETHERTYPE, FRAME_MAX, SERVER_PORT};
use crate::dhcp::{ALL_MAX, Kept, Output};
use crate::node::{Input, RelayWants};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weft_bgp::types::IfIndex;

/// Messages heard and not yet looked at.
const HEARD: usize = 64;

/// How often port 67 is asked for again while somebody else has it.
const RETRY: Duration = Duration::from_secs(1);

/// What the kernel has unless it is told (neighbour.c): hundredths of a second.
const PROXY_DELAY: &str = "80";
/// More octets than so many leases need.
const FILE_MAX: u64 = 256 * ALL_MAX as u64;

/// A socket, once there is one, and who listens.
#[derive(Debug)]
struct Watched {
    socket: Arc<OnceLock<UdpSocket>>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All of them.
#[derive(Debug)]
pub struct Sockets {
    ports: BTreeMap<IfIndex, Watched>,
    servers: Option<(Ipv4Addr, Watched)>,
    /// Ports on which the kernel answers for others because of us.
    proxies: BTreeSet<String>,
    hear: mpsc::Sender<Input>,
    /// What is heard.
    pub heard: mpsc::Receiver<Input>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self::new()
    }
}

impl Sockets {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        let (hear, heard) = mpsc::channel(HEARD);
        Self { ports: BTreeMap::new(), servers: None, proxies: BTreeSet::new(), hear, heard }
    }

    /// Exactly these from now on: our address to the servers, and the server ports.
    pub fn watch(&mut self, wanted: Option<&RelayWants>) {
        let links: Vec<IfIndex> = wanted.iter().flat_map(|wanted| wanted.ports.iter().map(|port| port.link)).collect();
        let giaddr = wanted.map(|wanted| wanted.giaddr);
        self.answer_for_others(wanted);
        self.ports.retain(|link, _| links.contains(link));
        for link in &links {
            if self.ports.contains_key(link) {
                continue;
            }
            match packet_socket(*link) {
                Ok(socket) => {
                    let socket = Arc::new(OnceLock::from(socket));
                    let task = tokio::spawn(frames(*link, Arc::clone(&socket), self.hear.clone())).abort_handle();
                    self.ports.insert(*link, Watched { socket, task });
                }
                Err(error) => {
                    tracing::error!(link = link.0, %error, "DHCP is not relayed for this port (needs CAP_NET_RAW)");
                }
            }
        }
        if self.servers.as_ref().map(|(address, _)| *address) == giaddr {
            return;
        }
        // The port is free only then.
        self.servers = None;
        self.servers = giaddr.map(|giaddr| {
            let socket = Arc::new(OnceLock::new());
            let task = tokio::spawn(datagrams(giaddr, Arc::clone(&socket), self.hear.clone())).abort_handle();
            (giaddr, Watched { socket, task })
        });
    }

    /// Has the kernel answer on ports without addresses for machines on others, at once: by itself it waits up to 0.8 s with that.
    fn answer_for_others(&mut self, wanted: Option<&RelayWants>) {
        let ports = wanted.filter(|wanted| wanted.proxy_arp).into_iter().flat_map(|wanted| &wanted.ports);
        let names: BTreeSet<String> = ports.map(|port| port.name.clone()).collect();
        for (name, value) in names
            .difference(&self.proxies)
            .map(|name| (name, "1"))
            .chain(self.proxies.difference(&names).map(|name| (name, "0")))
        {
            let delay = if value == "1" { "0" } else { PROXY_DELAY };
            for (setting, value) in
                [(format!("conf/{name}/proxy_arp"), value), (format!("neigh/{name}/proxy_delay"), delay)]
            {
                match std::fs::write(Path::new("/proc/sys/net/ipv4").join(&setting), value) {
                    Ok(()) => {}
                    // The interface went.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => tracing::error!(setting, %error, "machines on server ports do not reach each other"),
                }
            }
        }
        self.proxies = names;
    }

    /// Leaves nothing behind.
    pub fn finish(&mut self) {
        self.watch(None);
    }

    /// Sends; a failure shows in the log only, for clients ask again.
    pub fn send(&self, output: &Output) {
        let sent = match output {
            Output::ToServer { server, datagram } => {
                let socket = self.servers.as_ref().and_then(|(_, servers)| servers.socket.get());
                let to = SocketAddr::from((*server, SERVER_PORT));
                socket.map(|socket| SockRef::from(socket).send_to(datagram, &to.into()))
            }
            Output::ToClient { link, frame } => {
                let socket = self.ports.get(link).and_then(|port| port.socket.get());
                socket.map(|socket| SockRef::from(socket).send(frame))
            }
        };
        if let Some(Err(error)) = sent {
            tracing::debug!(%error, "a message of DHCP is not sent");
        }
    }
}

/// Leases of an earlier run; none if there was none.
///
/// # Errors
/// When the file cannot be read, or is not ours.
pub fn load(path: &Path) -> io::Result<Vec<Kept>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

fn packet_socket(link: IfIndex) -> io::Result<UdpSocket> {
    // Without a protocol nothing comes before it is bound to its link, and the filter is there by then.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None::<Protocol>)?;
    socket.attach_filter(&filter())?;
    raw::bind_packet(&socket, ETHERTYPE, link.0)?;
    // Any socket of datagrams, for the runtime: it only waits and receives.
    UdpSocket::from_std(socket.into())
}

fn server_socket(giaddr: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // The address may come to its interface a moment later.
    socket.set_freebind_v4(true)?;
    socket.bind(&SocketAddr::from((giaddr, SERVER_PORT)).into())?;
    UdpSocket::from_std(socket.into())
}

async fn frames(link: IfIndex, socket: Arc<OnceLock<UdpSocket>>, heard: mpsc::Sender<Input>) {
    let Some(socket) = socket.get() else {
        return;
    };
    let mut frame = vec![0; FRAME_MAX];
    loop {
        let length = match socket.recv(&mut frame).await {
            Ok(length) => length,
            // Said once when the interface goes down, which may come up again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
            Err(error) => {
                // The interface is gone; the next picture of the links says so too.
                tracing::debug!(%error, "DHCP ends on a port");
                return;
            }
        };
        let frame = frame.get(..length).unwrap_or_default().to_vec();
        if heard.send(Input::DhcpFrame { link, frame }).await.is_err() {
            return;
        }
    }
}

async fn datagrams(giaddr: Ipv4Addr, slot: Arc<OnceLock<UdpSocket>>, heard: mpsc::Sender<Input>) {
    let mut is_said = false;
    let socket = loop {
        match server_socket(giaddr) {
            Ok(socket) => break slot.get_or_init(|| socket),
            Err(error) if !is_said => tracing::error!(
                address = %giaddr, %error,
                "DHCP is not relayed: port 67 of this address cannot be had yet; end the other relay or server of this machine"
            ),
            Err(_) => {}
        }
        is_said = true;
        tokio::time::sleep(RETRY).await;
    };
    if is_said {
        tracing::info!(address = %giaddr, "DHCP is relayed now");
    }
    // One octet more than is taken, so that what was cut off is refused.
    let mut datagram = vec![0; crate::dhcp::MESSAGE_MAX + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(%error, "DHCP servers are not heard any more");
                return;
            }
        };
        let IpAddr::V4(from) = from.ip() else {
            continue;
        };
        let datagram = datagram.get(..length).unwrap_or_default().to_vec();
        if heard.send(Input::DhcpDatagram { from, datagram }).await.is_err() {
            return;
        }
    }
}

/// Lets in UDP to port 67, whole or not, and nothing else.
fn filter() -> [SockFilter; 7] {
    // `BPF_LD | BPF_B | BPF_ABS`, `BPF_LDX | BPF_B | BPF_MSH`, `BPF_LD | BPF_H | BPF_IND`, `BPF_JMP | BPF_JEQ | BPF_K` and `BPF_RET | BPF_K`
    // of linux/bpf_common.h; 23 is the protocol behind an Ethernet header, 14 the IPv4 header, whose length X holds, and 16 the
    // destination port behind both.
    [
        SockFilter::new(0x30, 0, 0, 23),
        SockFilter::new(0x15, 0, 4, 17),
        SockFilter::new(0xb1, 0, 0, 14),
        SockFilter::new(0x48, 0, 0, 16),
        SockFilter::new(0x15, 0, 1, u32::from(SERVER_PORT)),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}
