//! What threads have in common that read routes of others, beside the one that writes: a handle that ends them, a socket that listens, and
//! when it is time for a dump. They change nothing.

use super::request;
use super::{wake, wire};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weft_bgp::time::{Duration, Instant};

/// Room for notifications; the system may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Notifications are far smaller.
const CHUNK: usize = 16 << 10;
/// How long a periodic dump may be away.
const DUMP_PERIOD: Duration = Duration::from_secs(30);
/// A dump takes one part in this of the thread's time at most.
const DUMP_SHARE: u32 = 4;
/// How soon a dump that failed is tried again, and what found no room is offered again.
pub(super) const RETRY: Duration = Duration::from_millis(5);
/// Multicast groups of routes (linux/rtnetlink.h), IPv4 and IPv6.
const GROUPS: [u32; 2] = [7, 11];

/// A running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    wake: Arc<OwnedFd>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    doubt: AtomicBool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        wake(&self.wake);
    }
}

impl Handle {
    /// Links or addresses changed: routes may have gone silently.
    pub fn doubt(&self) {
        self.shared.doubt.store(true, Ordering::Relaxed);
        wake(&self.wake);
    }
}

/// The thread's side: it hears of routes, and of what its handle wants.
#[derive(Debug)]
pub(super) struct Ear {
    socket: Socket,
    chunk: Vec<u8>,
    wake: Arc<OwnedFd>,
    shared: Arc<Shared>,
}

impl Ear {
    /// Listens to routes of both families that a filter lets in.
    pub(super) fn open(filter: &[SockFilter]) -> io::Result<(Handle, Self)> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        SockRef::from(&socket).attach_filter(filter)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        request::set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER);
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shared = Arc::new(Shared::default());
        let handle = Handle { wake: Arc::clone(&wake), shared: Arc::clone(&shared) };
        Ok((handle, Self { socket, chunk: vec![0; CHUNK], wake, shared }))
    }

    /// Listens to routes, or not any more: what is not heard is to be read.
    pub(super) fn hear(&self, hear: bool) -> io::Result<()> {
        GROUPS.into_iter().try_for_each(|group| {
            if hear { self.socket.add_membership(group) } else { self.socket.drop_membership(group) }
        })
    }

    /// What [`Ear::sleep`] is woken with.
    pub(super) const fn wake(&self) -> &Arc<OwnedFd> {
        &self.wake
    }

    /// Hands on all there is; whether some was lost (ENOBUFS; anything else is as bad).
    pub(super) fn read(&mut self, mut take: impl FnMut(&wire::Message<'_>)) -> bool {
        let mut is_lost = false;
        loop {
            match request::receive(&self.socket, &mut self.chunk) {
                Ok(length) => {
                    wire::messages(self.chunk.get(..length).unwrap_or_default()).for_each(|message| take(&message))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return is_lost,
                Err(error) => {
                    tracing::debug!(%error, "notifications of routes were lost");
                    is_lost = true;
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        return is_lost;
                    }
                }
            }
        }
    }

    /// The handle was dropped.
    pub(super) fn is_over(&self) -> bool {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// The handle has doubts, which it had not when this was asked last.
    pub(super) fn doubts(&self) -> bool {
        self.shared.doubt.swap(false, Ordering::Relaxed)
    }

    /// Until something is heard, or until then.
    pub(super) fn sleep(&self, now: Instant, at: Instant) {
        let timeout = Timespec::try_from(at.since(now)).ok();
        let mut fds =
            [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, timeout.as_ref());
        let mut counter = [0; 8];
        let _ = rustix::io::read(self.wake.as_fd(), &mut counter);
    }
}

/// When to dump: at once at first, then every half minute, and when there is a reason; but not so often that dumps eat the thread.
#[derive(Debug)]
pub(super) struct Dumps {
    at: Instant,
    not_before: Instant,
}

impl Dumps {
    pub(super) const fn new() -> Self {
        Self { at: Instant::ZERO, not_before: Instant::ZERO }
    }

    /// There is a reason.
    pub(super) fn want(&mut self, at: Instant) {
        self.at = self.at.min(at);
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Instant {
        self.at.max(self.not_before)
    }

    /// One that began then has ended now.
    pub(super) fn ended(&mut self, begun: Instant, now: Instant, well: bool) {
        let rest = now.since(begun) * (DUMP_SHARE - 1);
        (self.at, self.not_before) = if well { (now + DUMP_PERIOD, now + rest) } else { (now, now + RETRY.max(rest)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn dumps_come_when_wanted_and_leave_time_for_other_things() {
        let mut dumps = Dumps::new();
        assert_eq!(dumps.due(), Instant::ZERO);
        dumps.ended(at(0), at(10), true);
        assert_eq!(dumps.due(), at(30_010));
        dumps.want(at(20));
        assert_eq!(dumps.due(), at(40), "a dump of ten milliseconds is followed by thirty without one");
        dumps.ended(at(40), at(41), false);
        assert_eq!(dumps.due(), at(46), "one that failed is tried again, but not at once");
    }
}
