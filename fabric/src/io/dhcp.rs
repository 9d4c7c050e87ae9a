//! The sockets of the relay, for DHCPv4 and for DHCPv6: one for frames on each server port, and one to speak with servers from. Each has a task
//! that hands on what it hears; a flood waits in the kernel, which drops the rest.

use super::raw;
use crate::dhcp::frame::{CLIENT_PORT6, ETHERTYPE, ETHERTYPE6, FRAME_MAX, SERVER_PORT, SERVER_PORT6};
use crate::dhcp::{ALL_MAX, Family, Kept, Output, v6};
use crate::node::{Input, RelayWants};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
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
const FILE_MAX: u64 = 2 * 512 * ALL_MAX as u64;
/// The hardware address of [`v6::EVERY_SERVER`] (RFC 2464 §7).
const EVERY_SERVER: [u8; 6] = [0x33, 0x33, 0, 1, 0, 2];

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

/// Those of one family.
#[derive(Debug, Default)]
struct Side {
    ports: BTreeMap<IfIndex, Watched>,
    /// On each port of DHCPv6, what is sent from.
    senders: BTreeMap<IfIndex, Socket>,
    servers: Option<(IpAddr, Watched)>,
}

/// All of them.
#[derive(Debug)]
pub struct Sockets {
    v4: Side,
    v6: Side,
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
        Self { v4: Side::default(), v6: Side::default(), proxies: BTreeSet::new(), hear, heard }
    }

    /// Exactly these from now on: our address to the servers, and the server ports.
    pub fn watch(&mut self, wanted: Option<&RelayWants>) {
        let links: Vec<IfIndex> = wanted.iter().flat_map(|wanted| wanted.ports.iter().map(|port| port.link)).collect();
        self.answer_for_others(wanted);
        self.v4.watch(&self.hear, &links, wanted.map(|wanted| IpAddr::V4(wanted.giaddr)), Family::Ipv4);
        let source6 = wanted.and_then(|wanted| wanted.source6).map(IpAddr::V6);
        let links = if source6.is_some() { links.as_slice() } else { &[] };
        self.v6.watch(&self.hear, links, source6, Family::Ipv6);
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
                let side = if server.is_ipv4() { &self.v4 } else { &self.v6 };
                let socket = side.servers.as_ref().and_then(|(_, servers)| servers.socket.get());
                let to = SocketAddr::from((*server, port_of(Family::of(*server))));
                socket.map(|socket| SockRef::from(socket).send_to(datagram, &to.into()))
            }
            Output::ToClient { link, frame } => {
                let socket = self.v4.ports.get(link).and_then(|port| port.socket.get());
                socket.map(|socket| SockRef::from(socket).send(frame))
            }
            Output::ToClient6 { link, peer, datagram } => {
                let to = SocketAddr::V6(SocketAddrV6::new(*peer, CLIENT_PORT6, 0, link.0));
                self.v6.senders.get(link).map(|socket| socket.send_to(datagram, &to.into()))
            }
        };
        if let Some(Err(error)) = sent {
            tracing::debug!(%error, "a message of DHCP is not sent");
        }
    }
}

impl Side {
    fn watch(&mut self, hear: &mpsc::Sender<Input>, links: &[IfIndex], address: Option<IpAddr>, family: Family) {
        self.ports.retain(|link, _| links.contains(link));
        self.senders.retain(|link, _| links.contains(link));
        for link in links {
            if self.ports.contains_key(link) {
                continue;
            }
            match self.port(*link, family) {
                Ok(socket) => {
                    let socket = Arc::new(OnceLock::from(socket));
                    let task = tokio::spawn(frames(*link, Arc::clone(&socket), hear.clone())).abort_handle();
                    self.ports.insert(*link, Watched { socket, task });
                }
                Err(error) => {
                    let family = family.name();
                    tracing::error!(link = link.0, family, %error, "DHCP is not relayed for this port (needs CAP_NET_RAW)");
                }
            }
        }
        if self.servers.as_ref().map(|(address, _)| *address) == address {
            return;
        }
        // The port is free only then.
        self.servers = None;
        self.servers = address.map(|address| {
            let socket = Arc::new(OnceLock::new());
            let task = tokio::spawn(datagrams(address, Arc::clone(&socket), hear.clone())).abort_handle();
            (address, Watched { socket, task })
        });
    }

    fn port(&mut self, link: IfIndex, family: Family) -> io::Result<UdpSocket> {
        if family == Family::Ipv6 {
            self.senders.insert(link, sender(link)?);
        }
        packet_socket(link, family)
    }
}

/// Where servers and relays hear.
const fn port_of(family: Family) -> u16 {
    match family {
        Family::Ipv4 => SERVER_PORT,
        Family::Ipv6 => SERVER_PORT6,
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

fn packet_socket(link: IfIndex, family: Family) -> io::Result<UdpSocket> {
    // Without a protocol nothing comes before it is bound to its link, and the filter is there by then.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None::<Protocol>)?;
    match family {
        Family::Ipv4 => socket.attach_filter(&filter())?,
        Family::Ipv6 => socket.attach_filter(&filter6())?,
    }
    match family {
        Family::Ipv4 => raw::bind_packet(&socket, ETHERTYPE, link.0)?,
        Family::Ipv6 => {
            raw::join_packet(&socket, link.0, EVERY_SERVER)?;
            raw::bind_packet(&socket, ETHERTYPE6, link.0)?;
        }
    }
    // Any socket of datagrams, for the runtime: it only waits and receives.
    UdpSocket::from_std(socket.into())
}

/// What sends to clients on a link from our link-local address there: the kernel asks for the hardware address of a client, which has its
/// own link-local address, and so answers. It hears nothing: the packet socket does.
fn sender(link: IfIndex) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
    socket.bind(&SocketAddr::V6(SocketAddrV6::new(v6::EVERY_SERVER, SERVER_PORT6, 0, link.0)).into())?;
    Ok(socket)
}

fn server_socket(address: IpAddr) -> io::Result<UdpSocket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // The address may come to its interface a moment later.
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&SocketAddr::from((address, port_of(Family::of(address)))).into())?;
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

async fn datagrams(address: IpAddr, slot: Arc<OnceLock<UdpSocket>>, heard: mpsc::Sender<Input>) {
    let mut is_said = false;
    let socket = loop {
        match server_socket(address) {
            Ok(socket) => break slot.get_or_init(|| socket),
            Err(error) if !is_said => tracing::error!(
                %address, port = port_of(Family::of(address)), %error,
                "DHCP is not relayed: this port cannot be had yet; end the other relay or server of this machine"
            ),
            Err(_) => {}
        }
        is_said = true;
        tokio::time::sleep(RETRY).await;
    };
    if is_said {
        tracing::info!(%address, "DHCP is relayed now");
    }
    // One octet more than is taken, so that what was cut off is refused.
    let mut datagram = vec![0; crate::dhcp::MESSAGE_MAX.max(v6::MESSAGE_MAX) + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(%error, "DHCP servers are not heard any more");
                return;
            }
        };
        let from = from.ip();
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

/// Lets in UDP to port 547 without extension headers, whole or not, and nothing else.
fn filter6() -> [SockFilter; 6] {
    // As above, with `BPF_LD | BPF_H | BPF_ABS`: 20 is the next header of IPv6 behind an Ethernet header, 56 the destination port behind both.
    [
        SockFilter::new(0x30, 0, 0, 20),
        SockFilter::new(0x15, 0, 3, 17),
        SockFilter::new(0x28, 0, 0, 56),
        SockFilter::new(0x15, 0, 1, u32::from(SERVER_PORT6)),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ]
}
