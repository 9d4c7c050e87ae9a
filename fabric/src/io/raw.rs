//! System calls that no crate wraps safely: socket options as the octets of their structs, packet sockets of one link, letting go of
//! code pages, and the time slice of a thread.
#![expect(
    unsafe_code,
    reason = "setsockopt, bind and sched_setattr with structs that neither rustix nor socket2 knows; madvise"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::Duration;

/// TCP_MD5SIG_EXT (linux/tcp.h).
pub(super) const TCP_MD5SIG_EXT: Name = (libc::IPPROTO_TCP, 32);
/// TCP_AO_ADD_KEY.
pub(super) const TCP_AO_ADD_KEY: Name = (libc::IPPROTO_TCP, 38);
/// TCP_AO_DEL_KEY.
pub(super) const TCP_AO_DEL_KEY: Name = (libc::IPPROTO_TCP, 39);
/// TCP_AO_INFO.
pub(super) const TCP_AO_INFO: Name = (libc::IPPROTO_TCP, 40);
/// What the kernel knows of a connection.
pub(super) const TCP_INFO: Name = (libc::IPPROTO_TCP, libc::TCP_INFO);
/// Least time to live of what is taken.
pub(super) const IP_MINTTL: Name = (libc::IPPROTO_IP, libc::IP_MINTTL);
/// Least hop limit of what is taken.
pub(super) const IPV6_MINHOPCOUNT: Name = (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT);

/// Level and name of an option.
pub(super) type Name = (libc::c_int, libc::c_int);

/// Sets an option.
pub(super) fn set(socket: &impl AsFd, (level, name): Name, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads `length` octets at a pointer that is
    // valid for as many.
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a packet socket hear one EtherType on one link (packet(7)); with 0 it hears nothing.
///
/// # Errors
/// The system's; the first is that there is no such link.
pub fn bind_packet(socket: &impl AsFd, ethertype: u16, link: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(link).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads `length` octets of a struct of that size.
    let result = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the link take frames to a multicast address, for as long as the packet socket is open.
pub(super) fn join_packet(socket: &impl AsFd, link: u32, address: [u8; 6]) -> io::Result<()> {
    // `struct packet_mreq`: link, PACKET_MR_MULTICAST, length of the address, the address in eight octets.
    let mut request = link.to_ne_bytes().to_vec();
    request.extend(0_u16.to_ne_bytes());
    request.extend(6_u16.to_ne_bytes());
    request.extend(address);
    request.extend([0; 2]);
    set(socket, (libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP), &request)
}

/// Whether the kernel knows an option at all.
pub(super) fn knows(socket: &impl AsFd, name: Name) -> bool {
    let read = read(socket, name, &mut [0; 256]);
    !read.is_err_and(|error| error.raw_os_error() == Some(libc::ENOPROTOOPT))
}

/// Octets that a TCP connection has not seen acknowledged, as far as that is known: some, or none.
pub(super) fn is_unacked(socket: &impl AsFd) -> bool {
    // `struct tcp_info` (linux/tcp.h): `tcpi_unacked` in segments, and `tcpi_notsent_bytes`, which kernels before 4.6 leave out.
    const UNACKED: std::ops::Range<usize> = 24..28;
    const NOT_SENT: std::ops::Range<usize> = 144..148;
    let mut info = [0; 256];
    let length = read(socket, TCP_INFO, &mut info).unwrap_or_default();
    [UNACKED, NOT_SENT].into_iter().any(|place| {
        place.end <= length && info.get(place).is_some_and(|octets| octets.iter().any(|octet| *octet != 0))
    })
}

/// The value of an option; how many octets it has.
fn read(socket: &impl AsFd, (level, name): Name, value: &mut [u8]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or_default();
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel writes at most `length` octets to a buffer of
    // that length.
    let result = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    };
    if result == 0 { usize::try_from(length).map_err(io::Error::other) } else { Err(io::Error::last_os_error()) }
}

/// Takes the pages of a mapping out of this process; they come back from the file when they are touched.
pub(super) fn let_go(code: &Code) -> io::Result<()> {
    // SAFETY: the range is a mapping of a file that is private, executable and not writable, as /proc/self/maps says: no page of it
    // differs from the file, so what is read or executed there later is what was there before.
    let result =
        unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(code.start), code.length, libc::MADV_DONTNEED) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How long the calling thread, an ordinary one, may run before others that wait have their turn (Linux 6.12; older kernels leave it as it
/// is). Whoever asks for less than others also comes before them when it wakes, and gets no more of the processor in the end.
pub(super) fn set_slice(slice: Duration, nice: i32) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?,
        sched_policy: u32::try_from(libc::SCHED_OTHER).map_err(io::Error::other)?,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).map_err(io::Error::other)?,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: 0 is the calling thread, the struct says its own size and is read during the call only, and there are no flags.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A mapping of machine code of this process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    start: usize,
    length: usize,
}

impl Code {
    /// All of them, from the text of /proc/self/maps (proc_pid_maps(5)): private, executable, never writable, of a file.
    pub(super) fn all(maps: &str) -> impl Iterator<Item = Self> {
        maps.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (range, permissions) = (words.next()?, words.next()?);
            let file = words.nth(3)?;
            let (start, end) = range.split_once('-')?;
            let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
            (permissions == "r-xp" && file.starts_with('/')).then(|| Self { start, length: end.saturating_sub(start) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_let_go() {
        let maps = "\
55d0-55e0 r--p 00000000 fe:00 12 /usr/bin/weft
5600-5700 r-xp 00010000 fe:00 12 /usr/bin/weft
5700-5800 rw-p 00110000 fe:00 12 /usr/bin/weft
6000-6100 r-xp 00000000 00:00 0  [vdso]
7000-7100 r-xp 00000000 00:00 0
8000-8200 r-xp 00010000 fe:00 13 /lib/libc.so.6 (deleted)
";
        let all: Vec<_> = Code::all(maps).collect();
        assert_eq!(all, [Code { start: 0x5600, length: 0x100 }, Code { start: 0x8000, length: 0x200 }]);
    }

    #[test]
    fn octets_are_unacknowledged_until_the_other_end_has_them() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        let is_acked = || (0..1_000_000).any(|_| !is_unacked(&near));
        assert!(is_acked(), "nothing was sent");
        near.set_nonblocking(true).unwrap();
        // More than both ends take while nobody reads.
        while io::Write::write(&mut near, &[0; 65_536]).is_ok() {}
        assert!(is_unacked(&near));
        drop(far);
    }

    #[test]
    fn what_was_let_go_still_runs() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(Code::all(&maps).count() > 0);
        assert!(Code::all(&maps).all(|code| let_go(&code).is_ok()));
    }
}
