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

/// Flag M (RFC 4861 §4.2): addresses are had by DHCPv6.
const MANAGED: u8 = 0x80;
/// For so long machines keep us as their router without hearing of us: a daemon that is started anew costs nobody the way out. RFC 4861
/// §6.2.1 has three of the longest intervals as its default, which come to 1,800 s.
const ROUTER_LIFETIME_S: u16 = 1_800;

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

    /// Sends an advertisement to all nodes: with router lifetime 0, or for machines that are to ask by DHCPv6.
    ///
    /// # Errors
    /// What the system says; a full queue is an error too, the next one comes soon.
    pub fn advertise(&self, managed: bool) -> io::Result<()> {
        self.send(&advertisement(self.mac, managed), ALL_NODES)
    }

    /// Sends a solicitation to all routers.
    ///
    /// # Errors
    /// As [`RaSocket::advertise`].
    pub fn solicit(&self) -> io::Result<()> {
        self.send(&with_mac(vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0], self.mac), ALL_ROUTERS)
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
            // The fixed part and the first options are all that is needed of either message; the rest is cut off.
            let mut packet = [0; 64];
            let (length, from) = self.socket.recv_from(&mut packet).await?;
            if let IpAddr::V6(from) = from.ip()
                && let Some(input) = read(self.link, from, packet.get(..length).unwrap_or_default())
            {
                return Ok(input);
            }
        }
    }
}

/// An advertisement (RFC 4861 §4.2) that makes nobody's default route (§6.2.3); of a router whose machines ask by DHCPv6, one that does.
fn advertisement(mac: [u8; 6], managed: bool) -> Vec<u8> {
    let (flags, lifetime_s) = if managed { (MANAGED, ROUTER_LIFETIME_S) } else { (0, 0) };
    let [high, low] = lifetime_s.to_be_bytes();
    // Type, code, checksum (the kernel's); hop limit unspecified, flags, lifetime; reachable and retransmit time unspecified.
    with_mac(vec![ADVERTISEMENT, 0, 0, 0, 0, flags, high, low, 0, 0, 0, 0, 0, 0, 0, 0], mac)
}

fn with_mac(mut packet: Vec<u8>, mac: [u8; 6]) -> Vec<u8> {
    if mac != [0; 6] {
        packet.extend([SOURCE_MAC, 1]);
        packet.extend(mac);
    }
    packet
}

/// What a packet means to the node; `None` if it is malformed or something else.
#[must_use]
pub fn read(link: IfIndex, from: Ipv6Addr, packet: &[u8]) -> Option<Input> {
    match *packet {
        [SOLICITATION, 0, _, _, _, _, _, _, ref options @ ..] => {
            Some(Input::RouterSolicitation { link, from, mac: source_mac(options) })
        }
        [ADVERTISEMENT, 0, _, _, _, _, high, low, ref rest @ ..] => {
            let options = rest.get(8..).unwrap_or_default();
            let lifetime_s = u16::from_be_bytes([high, low]);
            Some(Input::RouterAdvertisement { link, from, lifetime_s, mac: source_mac(options) })
        }
        _ => None,
    }
}

/// The source link-layer address among options, each of which says its length in units of eight octets (RFC 4861 §4.6).
fn source_mac(mut options: &[u8]) -> Option<[u8; 6]> {
    while let [kind, units, ..] = *options {
        if kind == SOURCE_MAC && units == 1 {
            return options.get(2..8)?.try_into().ok();
        }
        // RFC 4861 §4.6: a length of zero makes the packet void.
        let length = usize::from(units).checked_mul(8).filter(|length| *length > 0)?;
        options = options.get(length..)?;
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINK: IfIndex = IfIndex(2);
    const FROM: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn mac_of(packet: &[u8]) -> Option<[u8; 6]> {
        let (Input::RouterSolicitation { mac, .. } | Input::RouterAdvertisement { mac, .. }) =
            read(LINK, FROM, packet)?
        else {
            return None;
        };
        mac
    }

    #[test]
    fn the_hardware_address_is_found_among_other_options() {
        let mtu = [5, 1, 0, 0, 0, 0, 5, 220];
        let source = [&[SOURCE_MAC, 1][..], &MAC].concat();
        let solicitation = [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &source].concat();
        assert_eq!(mac_of(&solicitation), Some(MAC));
        let head = [ADVERTISEMENT, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0];
        let advertisement = [&head[..], &mtu, &source].concat();
        assert_eq!(mac_of(&advertisement), Some(MAC));
        let plain = read(LINK, FROM, &head);
        assert!(matches!(plain, Some(Input::RouterAdvertisement { lifetime_s: 30, mac: None, .. })), "{plain:?}");
        assert_eq!(mac_of(&[&head[..], &[5, 0], &source].concat()), None, "a length of zero");
        assert_eq!(mac_of(&[&head[..], &source[..7]].concat()), None, "cut off");
        assert!(read(LINK, FROM, &head[..7]).is_none());
    }

    #[test]
    fn our_advertisements_have_router_lifetime_0_and_no_prefix() {
        // RFC 4861 §4.2: octets 6 and 7 are the router lifetime, 5 the flags M and O.
        let packet = advertisement(MAC, false);
        assert_eq!(packet[5..8], [0, 0, 0], "nobody takes a default route or an address from it");
        assert_eq!((packet.len(), packet[16..18].to_vec()), (24, vec![SOURCE_MAC, 1]), "and no option but our address");
        let found = read(LINK, FROM, &packet);
        assert!(matches!(found, Some(Input::RouterAdvertisement { lifetime_s: 0, mac: Some(MAC), .. })), "{found:?}");
        assert_eq!(advertisement([0; 6], false).len(), 16, "a link without hardware addresses");
    }

    #[test]
    fn machines_that_are_to_ask_by_dhcpv6_are_told_so_and_have_a_router() {
        // RFC 4861 §4.2: M is the highest bit of octet 5.
        let packet = advertisement(MAC, true);
        assert_eq!((packet[5], packet.len()), (0x80, 24), "no prefix: nobody makes an address of its own");
        assert!(matches!(read(LINK, FROM, &packet), Some(Input::RouterAdvertisement { lifetime_s: 1_800, .. })));
    }

    proptest! {
        #[test]
        fn whatever_a_neighbour_sends_is_read_without_a_panic(kind in 133_u8..=134, rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(LINK, FROM, &[&[kind, 0][..], &rest].concat());
        }
    }
}
