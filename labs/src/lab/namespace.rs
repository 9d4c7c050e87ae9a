//! The few system calls that move threads and processes between namespaces.
//!
//! Namespaces belong to threads: whoever wants to act inside a node does it on a short-lived thread of its own, so the
//! runner itself never leaves the host's.
#![expect(unsafe_code, reason = "unshare and signal dispositions have no safe call")]

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space, move_into_thread_name_spaces,
    unshare_unsafe,
};

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only CLONE_FILES is unsafe to unshare, and it is never among `flags`.
    unsafe { unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Puts the calling process, which must have a single thread, into a new user namespace.
pub(super) fn unshare_user() -> io::Result<()> {
    unshare(UnshareFlags::NEWUSER)
}

/// Puts the calling process into a node's new namespaces (its process namespace it was born into), with a network of its own or not.
pub(super) fn unshare_node(own_network: bool) -> io::Result<()> {
    let network = if own_network { UnshareFlags::NEWNET } else { UnshareFlags::empty() };
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC | network)
}

/// Makes a network namespace without a process; `work` is done in it.
pub(super) fn limbo<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(OwnedFd, T)> {
    thread::scope(|scope| {
        joined(scope.spawn(|| {
            unshare(UnshareFlags::NEWNET)?;
            let network = std::fs::File::open("/proc/thread-self/ns/net")?;
            Ok((OwnedFd::from(network), work()?))
        }))
    })
}

/// Does `work` on a thread inside a network namespace.
pub(super) fn within<T: Send>(network: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        joined(scope.spawn(move || {
            move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
            work()
        }))
    })
}

/// Puts the calling process, which must have a single thread, into another node's network namespace.
pub(super) fn join_network(path: &Path) -> io::Result<()> {
    let network = std::fs::File::open(path)?;
    Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Whether new network namespaces can be made here.
pub(super) fn can_unshare() -> io::Result<()> {
    thread::scope(|scope| joined(scope.spawn(|| unshare(UnshareFlags::NEWNET))))
}

/// Ended children vanish at once.
pub(super) fn ignore_children() {
    // SAFETY: SIG_IGN installs no handler, so there is no code that could run at a bad moment.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Starts a program as the first process of a new process namespace, with `socket` as its standard input.
pub(super) fn spawn_first(program: &Path, words: &[String], socket: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
    // its allocator would take three huge pages, 6 MB, where 1 MB is enough
    command.env("MIMALLOC_ALLOW_THP", "0");
    // not of the terminal's process group: Ctrl-C is for the runner
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    thread::scope(|scope| {
        joined(scope.spawn(move || {
            unshare(UnshareFlags::NEWPID)?;
            command.spawn()
        }))
    })
}

/// Which of a node's namespaces to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enter {
    /// Network only: files are still the host's.
    Network,
    /// All: a process started from here is one of the node.
    Node,
}

/// Does `work` on a thread inside the namespaces of the process behind `pidfd`.
pub(super) fn enter<T: Send>(
    pidfd: BorrowedFd<'_>,
    what: Enter,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        joined(scope.spawn(move || {
            let mut kinds = ThreadNameSpaceType::NETWORK;
            if what == Enter::Node {
                // root and working directory belong to a mount namespace: they must be this thread's own
                unshare(UnshareFlags::FS)?;
                kinds |= ThreadNameSpaceType::MOUNT
                    | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
                    | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
                    | ThreadNameSpaceType::PROCESS_ID;
            }
            move_into_thread_name_spaces(pidfd, kinds)?;
            work()
        }))
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread inside a node died")))
}

/// Gives a command clocks of its own (monotonic and since boot) that are so many seconds off: it is born into a new time namespace
/// (time_namespaces(7)). The wall clock is the machine's in every namespace.
pub(super) fn own_clocks(command: &mut Command, seconds: i64) {
    let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    let shift = move || {
        unshare(UnshareFlags::NEWTIME)?;
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(c"/proc/self/timens_offsets", flags, rustix::fs::Mode::empty())?;
        rustix::io::write(&file, offsets.as_bytes())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes four system calls, and allocates and locks nothing.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, shift) };
}

/// Makes a command the leader of a session of its own, with its standard input as controlling terminal.
pub(super) fn own_terminal(command: &mut Command) {
    let take = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls, and allocates and locks nothing.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, take) };
}
