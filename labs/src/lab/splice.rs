//! Leads what an interface sends through this program, and back: without touching the interface, its far end, or a frame on its way.
//!
//! ```text
//! node's stack ─▶ eth1, a rule at its egress ──forward──▶ relayN ═ veth ═ far end, in a namespace of its own
//!                   ▲ lets frames with our mark pass                              │ packet socket
//!                   └──────────── packet socket, with our mark ◀──── relay ◀──────┘
//! ```
//!
//! The rule is the whole splice: it is added when all else stands and deleted before anything else goes, each in one transaction of nf_tables,
//! so a frame goes one way or the other. (A filter of `tc` would need the queueing discipline clsact: while that is added or taken away, the
//! kernel stops the interface and drops what it is to send, for half a second on a busy machine.)
#![expect(unsafe_code, reason = "an ethtool request and a socket's statistics have no safe call")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use socket2::{Domain, Protocol, Socket, Type};
use weft_fabric::io::bind_packet;

/// On frames that come from us: "weft" in ASCII.
const MARK: u32 = 0x7765_6674;
/// Room for frames while the relay does not run; an ordinary user gets what net.core.rmem_max allows.
const RECEIVE_BYTES: usize = 16 * 1024 * 1024;
/// A node's own rules at an egress come before ours, at priority 0 or so.
const PRIORITY: u32 = 300;
/// The chain in our table.
const CHAIN: &[u8] = b"egress\0";

/// What one interface sends, led through two sockets.
#[derive(Debug)]
pub(super) struct Detour {
    /// Asks the node's nf_tables.
    netlink: OwnedFd,
    interface: String,
    helper: u32,
    /// Frames that the node sends.
    pub(super) from: OwnedFd,
    /// Frames that are to leave through the interface.
    pub(super) to: OwnedFd,
}

/// Opens the socket at the far end of a helper; to be called in the namespace of that end.
pub(super) fn listen(link: u32) -> io::Result<OwnedFd> {
    let socket = packet(link, libc::ETH_P_ALL)?;
    let forced = set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES);
    forced.or_else(|_| set_socket_recv_buffer_size(&socket, RECEIVE_BYTES))?;
    Ok(socket)
}

/// Opens the sockets at the interface; to be called in the node's namespace.
pub(super) fn prepare(interface: (u32, &str), helper: (u32, &str), from: OwnedFd) -> io::Result<Detour> {
    whole_frames(helper.1)?;
    let to = Socket::from(packet(interface.0, 0)?);
    to.set_mark(MARK)?;
    let netlink = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW.cloexec(),
        Some(Protocol::from(libc::NETLINK_NETFILTER)),
    )?;
    netlink.set_read_timeout(Some(ANSWER_LIMIT))?;
    Ok(Detour { netlink: netlink.into(), interface: interface.1.to_owned(), helper: helper.0, from, to: to.into() })
}

/// A kernel that answers later hangs: a transaction waits until no processor is in an old rule.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

impl Detour {
    /// From now on frames go through our sockets.
    pub(super) fn begin(&self) -> io::Result<()> {
        let messages = [
            (libc::NFT_MSG_NEWTABLE, attribute(TABLE_NAME, &self.table())),
            (libc::NFT_MSG_NEWCHAIN, self.chain()),
            (libc::NFT_MSG_NEWRULE, self.rule()),
        ];
        self.commit(&messages, NLM_F_CREATE | NLM_F_EXCL).map_err(|error| {
            let what = "the kernel takes no rule at an interface's egress (nf_tables, nft_fwd_netdev; Linux 5.17)";
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })
    }

    /// From now on frames go their own way again; those that were led here before can still be received.
    pub(super) fn end(&self) -> io::Result<()> {
        self.commit(&[(libc::NFT_MSG_DELTABLE, attribute(TABLE_NAME, &self.table()))], 0)
    }

    /// A table for each interface.
    fn table(&self) -> Vec<u8> {
        format!("weft-relay-{}\0", self.interface).into_bytes()
    }

    /// The chain at the interface's egress.
    fn chain(&self) -> Vec<u8> {
        /// NF_NETDEV_EGRESS (linux/netfilter_netdev.h).
        const EGRESS: u32 = 1;
        let device = [self.interface.as_bytes(), b"\0"].concat();
        let hook = [attribute(1, &EGRESS.to_be_bytes()), attribute(2, &PRIORITY.to_be_bytes()), attribute(3, &device)];
        [attribute(1, &self.table()), attribute(3, CHAIN), nested(4, &hook.concat()), attribute(7, b"filter\0")]
            .concat()
    }

    /// What has not our mark is forwarded to the helper.
    fn rule(&self) -> Vec<u8> {
        /// A register for the mark, and one for the helper's index.
        const REGISTERS: [u32; 2] = [1, 2];
        let number = |kind: u16, value: u32| attribute(kind, &value.to_be_bytes());
        let value = |kind: u16, value: u32| nested(kind, &attribute(1, &value.to_ne_bytes()));
        let [mark, device] = REGISTERS;
        let expressions = [
            expression(b"meta\0", &[number(1, mark), number(2, libc::NFT_META_MARK.cast_unsigned())]),
            expression(b"cmp\0", &[number(1, mark), number(2, libc::NFT_CMP_NEQ.cast_unsigned()), value(3, MARK)]),
            expression(b"immediate\0", &[number(1, device), value(2, self.helper)]),
            expression(b"fwd\0", &[number(1, device)]),
        ];
        [attribute(1, &self.table()), attribute(2, CHAIN), nested(4, &expressions.concat())].concat()
    }

    /// Has nf_tables do all of it, or nothing.
    fn commit(&self, messages: &[(libc::c_int, Vec<u8>)], flags: u16) -> io::Result<()> {
        let tables = libc::NFNL_SUBSYS_NFTABLES;
        let mut bytes = message(libc::NFNL_MSG_BATCH_BEGIN, 0, (libc::AF_UNSPEC, tables), &[])?;
        for (kind, body) in messages {
            bytes.extend(message((tables << 8) | kind, flags | NLM_F_ACK, (libc::NFPROTO_NETDEV, 0), body)?);
        }
        bytes.extend(message(libc::NFNL_MSG_BATCH_END, 0, (libc::AF_UNSPEC, tables), &[])?);
        rustix::net::send(&self.netlink, &bytes, SendFlags::empty())?;
        // each message has an answer, also when another one is refused
        let mut result = Ok(());
        for _ in messages {
            let answer = self.answer();
            result = result.and(answer);
        }
        result
    }

    /// The next answer: `nlmsgerr`, whose first word behind the header of 16 octets is 0 or a negative error number.
    fn answer(&self) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        rustix::net::recv(&self.netlink, &mut buffer[..], RecvFlags::empty())?;
        match i32::from_ne_bytes([buffer[16], buffer[17], buffer[18], buffer[19]]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

/// NFTA_TABLE_NAME; this and the numbers of other attributes are those of linux/netfilter/nf_tables.h.
const TABLE_NAME: u16 = 1;
/// NLA_F_NESTED.
const NESTED: u16 = 0x8000;

/// A netlink attribute, padded to four octets (netlink(7)).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

/// One expression of a rule, as an element of its list.
fn expression(name: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[attribute(1, name), nested(2, &attributes.concat())].concat())
}

/// A message with its two headers: `nlmsghdr`, and `nfgenmsg` with a family and a resource.
fn message(
    kind: libc::c_int,
    flags: u16,
    (family, resource): (libc::c_int, libc::c_int),
    body: &[u8],
) -> io::Result<Vec<u8>> {
    let length = u32::try_from(20 + body.len()).map_err(io::Error::other)?;
    let small = |number: libc::c_int| u16::try_from(number).map_err(io::Error::other);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(small(kind)?.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    // neither sequence nor port: answers are waited for one by one
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(family).map_err(io::Error::other)?, 0]);
    bytes.extend(small(resource)?.to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// A packet socket of one link that hears a protocol, or nothing (packet(7)).
fn packet(link: u32, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // without a protocol nothing comes before it is bound to its link
    let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec(), None::<Protocol>)?;
    bind_packet(&socket, u16::try_from(protocol).map_err(io::Error::other)?, link)?;
    Ok(socket.into())
}

/// Frames that a packet socket had no room for, since it was asked last (PACKET_STATISTICS, packet(7)).
pub(super) fn dropped(socket: impl AsFd) -> io::Result<u64> {
    // `struct tpacket_stats`: all, and those dropped
    let mut counts = [0_u32; 2];
    let mut length = libc::socklen_t::try_from(size_of_val(&counts)).map_err(io::Error::other)?;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel writes at most `length` octets.
    let read = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counts).cast(),
            &raw mut length,
        )
    };
    if read == 0 { Ok(u64::from(counts[1])) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel cut segments and fill in checksums before frames go into a helper: what comes out is what a wire would carry.
fn whole_frames(interface: &str) -> io::Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    // `ETHTOOL_STXCSUM` with 0 (linux/ethtool.h); segmentation and scatter-gather end with it.
    let mut value: [u32; 2] = [0x17, 0];
    // SAFETY: `ifreq` is plain old data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.as_bytes().iter().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the request names an `ethtool_value`, two words, that lives longer than the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
