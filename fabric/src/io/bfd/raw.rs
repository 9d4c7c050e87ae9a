//! System calls of the BFD thread that no crate wraps safely: many packets at once with their TTL and link, and real-time scheduling.
#![expect(unsafe_code, reason = "recvmmsg(2) with control messages, sched_setscheduler(2)")]

use crate::bfd::{Heard, wire};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd as _};
use weft_bgp::types::IfIndex;

/// Packets of one call: those of a thousand sessions in a turn, and some room.
const BATCH: usize = 64;
/// Octets kept of a packet: what is beyond a Control packet without authentication matters to nobody.
const KEPT: usize = wire::LENGTH;
/// Octets of control messages: TTL and packet info of either family take 64 at most.
const CONTROL: usize = 128;
/// Above all ordinary work, below what the system itself may run.
const PRIORITY: libc::c_int = 10;

/// Room for one packet, aligned as control messages want it.
#[repr(C, align(8))]
struct Room {
    control: [u8; CONTROL],
    packet: [u8; KEPT],
    from: libc::sockaddr_storage,
}

/// Where packets are read into.
pub(super) struct Inbox {
    rooms: Box<[Room; BATCH]>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("rooms", &self.rooms.len()).finish()
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { rooms: Box::new(zeroed()) }
    }

    /// Reads what waits, one batch at most, and hands on each packet; whether there may be more.
    pub(super) fn receive(
        &mut self,
        socket: &impl AsFd,
        is_multihop: bool,
        mut each: impl FnMut(Heard),
    ) -> io::Result<bool> {
        let (mut heads, mut vectors): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = (zeroed(), zeroed());
        for ((room, head), vector) in self.rooms.iter_mut().zip(&mut heads).zip(&mut vectors) {
            room.packet = [0; KEPT];
            *vector = libc::iovec { iov_base: room.packet.as_mut_ptr().cast(), iov_len: KEPT };
            let message = &mut head.msg_hdr;
            message.msg_name = (&raw mut room.from).cast();
            message.msg_namelen = length_of::<libc::sockaddr_storage>();
            message.msg_iov = &raw mut *vector;
            message.msg_iovlen = 1;
            message.msg_control = room.control.as_mut_ptr().cast();
            message.msg_controllen = CONTROL;
            message.msg_flags = 0;
        }
        // With MSG_TRUNC the length is that of the whole packet, however much was kept.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let count = libc::c_uint::try_from(BATCH).unwrap_or(0);
        // SAFETY: the descriptor is open as long as `socket` is borrowed; each header points to one vector of this frame and to buffers
        // of `rooms`, with their true lengths, and nothing else touches them during the call.
        let read = unsafe {
            libc::recvmmsg(socket.as_fd().as_raw_fd(), heads.as_mut_ptr(), count, flags, std::ptr::null_mut())
        };
        let Ok(read) = usize::try_from(read) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        };
        for (room, head) in self.rooms.iter().zip(&heads).take(read) {
            let Some(from) = address(&room.from) else {
                continue;
            };
            let (ttl, link) = facts(&head.msg_hdr);
            let length = usize::try_from(head.msg_len).unwrap_or(usize::MAX);
            each(Heard { is_multihop, link, from, ttl, first: room.packet, length });
        }
        Ok(read == BATCH)
    }
}

fn zeroed<T>() -> T {
    // SAFETY: called for arrays of structs of the kernel's interface only, which are numbers and pointers: all zeros is a value of each.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// Who sent it.
fn address(from: &libc::sockaddr_storage) -> Option<IpAddr> {
    match libc::c_int::from(from.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is large enough and aligned for every address, and the family says which one it is.
            let v4 = unsafe { &*std::ptr::from_ref(from).cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*std::ptr::from_ref(from).cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Time to live or hop limit, and link; zeros, which no session accepts, where the kernel did not say.
fn facts(message: &libc::msghdr) -> (u8, IfIndex) {
    let (mut ttl, mut link) = (0, IfIndex(0));
    // SAFETY: the kernel filled in the control messages and their length, within the buffer that the header points to; the macros
    // walk within that length and yield null at its end.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: not null, so it points to a whole header; the data behind it has the type that level and type say, and is read as
        // unaligned.
        unsafe {
            let data = libc::CMSG_DATA(next);
            match ((*next).cmsg_level, (*next).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    ttl = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).unwrap_or(0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    link = IfIndex(u32::try_from(info.ipi_ifindex).unwrap_or(0));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    link = IfIndex(data.cast::<libc::in6_pktinfo>().read_unaligned().ipi6_ifindex);
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
    (ttl, link)
}

/// Makes the calling thread a real-time one. Threads that it starts are too, so that a program which it executes can have one.
pub(super) fn become_realtime() -> io::Result<()> {
    set_scheduler(libc::SCHED_FIFO, PRIORITY)
}

/// Makes it one like all others.
pub(super) fn become_ordinary() -> io::Result<()> {
    set_scheduler(libc::SCHED_OTHER, 0)
}

fn set_scheduler(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread, and the parameters are read during the call only.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
