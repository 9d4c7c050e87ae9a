//! Router advertisements and solicitations on the wire (RFC 4861 §4.1, §4.2): one raw socket per interface, so that a packet's
//! link is never in doubt. The kernel checks checksums and, by a filter, type and hop limit.

use crate::node::Input;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use tokio::net::UdpSocket;
use weft_bgp::types::IfIndex;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Proof that a packet has not been routed (RFC 4861 §6.1.1, §6.1.2).
const HOP_LIMIT: u32 = 255;
/// Option: source link-layer address (RFC 4861 §4.6.1).
const SOURCE_MAC: u8 = 1;

/// A socket for one interface.
#[derive(Debug)]
pub struct RaSocket {
    link: IfIndex,
    mac: [u8; 6],
    /// Raw, though its type says datagram: that type has what is needed, addresses with every packet.
    socket: UdpSocket,
}

impl RaSocket {
    /// Opens a socket bound to an interface; needs CAP_NET_RAW.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(link: IfIndex, name: &str, mac: [u8; 6]) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV6))?;
        // The filter first: nothing else shall ever be queued.
        socket.attach_filter(&filter())?;
        socket.bind_device(Some(name.as_bytes()))?;
        socket.set_unicast_hops_v6(HOP_LIMIT)?;
        socket.set_multicast_hops_v6(HOP_LIMIT)?;
        socket.set_multicast_if_v6(link.0)?;
        socket.set_multicast_loop_v6(false)?;
        match socket.join_multicast_v6(&ALL_ROUTERS, link.0) {
            Err(error) if error.raw_os_error() != Some(Errno::ADDRINUSE.raw_os_error()) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self { link, mac, socket: UdpSocket::from_std(socket.into())? })
    }

    /// Sends an advertisement with router lifetime 0 to all nodes.
    ///
    /// # Errors
    /// What the system says; a full queue is an error too, the next one comes soon.
    pub fn advertise(&self) -> io::Result<()> {
        // Type, code, checksum (the kernel's); hop limit unspecified, no flags, lifetime 0; reachable and retransmit time unspecified.
        let mut packet = vec![ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.put_mac(&mut packet);
        self.send(&packet, ALL_NODES)
    }

    /// Sends a solicitation to all routers.
    ///
    /// # Errors
    /// As [`RaSocket::advertise`].
    pub fn solicit(&self) -> io::Result<()> {
        let mut packet = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        self.put_mac(&mut packet);
        self.send(&packet, ALL_ROUTERS)
    }

    fn put_mac(&self, packet: &mut Vec<u8>) {
        if self.mac != [0; 6] {
            packet.extend([SOURCE_MAC, 1]);
            packet.extend(self.mac);
        }
    }

    fn send(&self, packet: &[u8], to: Ipv6Addr) -> io::Result<()> {
        let to = SocketAddr::V6(SocketAddrV6::new(to, 0, 0, self.link.0));
        // Past the runtime, which holds a new socket for full until it has been asked once.
        SockRef::from(&self.socket).send_to(packet, &to.into()).map(drop)
    }

    /// Waits for the next packet and says what it means to the node.
    ///
    /// # Errors
    /// When the interface is gone.
    pub async fn receive(&self) -> io::Result<Input> {
        loop {
            // Eight octets are all that is needed of either message; the rest is cut off.
            let mut packet = [0; 8];
            let (length, from) = self.socket.recv_from(&mut packet).await?;
            if let IpAddr::V6(from) = from.ip()
                && length == packet.len()
                && let Some(input) = self.input(from, packet)
            {
                return Ok(input);
            }
        }
    }

    const fn input(&self, from: Ipv6Addr, packet: [u8; 8]) -> Option<Input> {
        let link = self.link;
        match packet {
            [SOLICITATION, 0, ..] => Some(Input::RouterSolicitation { link, from }),
            [ADVERTISEMENT, 0, _, _, _, _, high, low] => {
                Some(Input::RouterAdvertisement { link, from, lifetime_s: u16::from_be_bytes([high, low]) })
            }
            _ => None,
        }
    }
}

/// Lets in solicitations and advertisements with hop limit 255, and nothing else.
fn filter() -> [SockFilter; 7] {
    // `BPF_LD | BPF_B | BPF_ABS` and `BPF_JMP | BPF_JEQ | BPF_K` and `BPF_RET | BPF_K` of linux/bpf_common.h; offsets from SKF_NET_OFF
    // count from the IPv6 header: 6 = next header, 7 = hop limit, 40 = ICMPv6 type.
    const LOAD: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NETWORK: u32 = 0xfff0_0000;
    [
        SockFilter::new(LOAD, 0, 0, NETWORK + 7),
        SockFilter::new(EQUAL, 0, 4, HOP_LIMIT),
        SockFilter::new(LOAD, 0, 0, NETWORK + 40),
        SockFilter::new(EQUAL, 1, 0, u32::from(SOLICITATION)),
        SockFilter::new(EQUAL, 0, 1, u32::from(ADVERTISEMENT)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
