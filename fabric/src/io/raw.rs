//! Socket options that no crate has: handed to the kernel as the octets of their structs.
#![expect(unsafe_code, reason = "setsockopt with a struct that neither rustix nor socket2 knows")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// TCP_MD5SIG_EXT (linux/tcp.h).
pub(super) const TCP_MD5SIG_EXT: Name = (libc::IPPROTO_TCP, 32);
/// TCP_AO_ADD_KEY.
pub(super) const TCP_AO_ADD_KEY: Name = (libc::IPPROTO_TCP, 38);
/// TCP_AO_DEL_KEY.
pub(super) const TCP_AO_DEL_KEY: Name = (libc::IPPROTO_TCP, 39);
/// TCP_AO_INFO.
pub(super) const TCP_AO_INFO: Name = (libc::IPPROTO_TCP, 40);
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

/// Whether the kernel knows an option at all.
pub(super) fn knows(socket: &impl AsFd, (level, name): Name) -> bool {
    let mut value = [0_u8; 256];
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or_default();
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel writes at most `length` octets to a buffer of
    // that length.
    let result = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOPROTOOPT)
}
