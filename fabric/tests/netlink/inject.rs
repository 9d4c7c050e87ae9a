//! A kernel that refuses, delays and lies: what the daemon's threads ask of their netlink sockets is held up by a seccomp filter, and a
//! thread of the test says for each call whether it goes through, fails, or comes late (seccomp_unotify(2)). Nothing in the daemon knows.
#![expect(unsafe_code, reason = "seccomp(2) and its requests have no safe form")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use weft_bgp::rng::Rng;

/// Calls that can be held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Send,
    Receive,
}

/// What becomes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Through,
    Fails(i32),
    Late(Duration),
}

/// What the kernel says when it will not; of a send that it did not do, and of a receipt that says nothing of what there is.
const SEND: [i32; 4] = [libc::EBUSY, libc::ENOBUFS, libc::ENOMEM, libc::EINTR];
const RECEIVE: [i32; 4] = [libc::ENOBUFS, libc::EAGAIN, libc::ENOMEM, libc::EINTR];

/// One call in so many fails, and one in so many is late.
pub(crate) fn dice(rng: &mut Rng, call: Call) -> Fate {
    let errors = match call {
        Call::Send => SEND,
        Call::Receive => RECEIVE,
    };
    match rng.next_u64() % 12 {
        at @ 0..=3 => Fate::Fails(errors[at as usize]),
        4 => Fate::Late(Duration::from_millis(5)),
        _ => Fate::Through,
    }
}

/// Faults that can be switched off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch {
    off: Arc<AtomicBool>,
    injected: Arc<AtomicU64>,
}

impl Switch {
    /// From now on the kernel is as it is.
    pub(crate) fn off(&self) {
        self.off.store(true, Ordering::Relaxed);
    }

    /// How many calls did not go through as they should.
    pub(crate) fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }
}

/// From here on this thread and those it starts are under the filter; of the latter, those of this name suffer. Once in a thread's life.
/// `Err` where the system has no such filter.
pub(crate) fn begin(thread: &'static str, seed: u64) -> io::Result<Switch> {
    let switch = Switch::default();
    let (give, take) = mpsc::channel::<OwnedFd>();
    let judge = switch.clone();
    // Before the filter: this one must not wait for itself.
    std::thread::Builder::new().name("judge".into()).spawn(move || {
        if let Ok(listener) = take.recv() {
            serve(&listener, thread, seed, &judge);
        }
    })?;
    let listener = install()?;
    give.send(listener).map_err(|_| io::Error::other("the judge is gone"))?;
    Ok(switch)
}

fn serve(listener: &OwnedFd, thread: &str, seed: u64, switch: &Switch) {
    let mut rng = Rng::new(seed);
    while let Some(notif) = receive(listener) {
        let call = if i64::from(notif.data.nr) == libc::SYS_sendto { Call::Send } else { Call::Receive };
        let name = std::fs::read_to_string(format!("/proc/self/task/{}/comm", notif.pid)).unwrap_or_default();
        let suffers = name.trim() == thread && !switch.off.load(Ordering::Relaxed);
        let fate = if suffers { dice(&mut rng, call) } else { Fate::Through };
        switch.injected.fetch_add(u64::from(fate != Fate::Through), Ordering::Relaxed);
        let error = match fate {
            Fate::Through => 0,
            Fate::Fails(errno) => -errno,
            Fate::Late(time) => {
                std::thread::park_timeout(time);
                0
            }
        };
        let flags = if error == 0 { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
        let mut answer = libc::seccomp_notif_resp { id: notif.id, val: 0, error, flags };
        // SAFETY: the request takes a pointer to exactly this struct. A thread that is gone needs no answer.
        let _ = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
}

/// The next call that waits; `None` when nobody is under the filter any more.
fn receive(listener: &OwnedFd) -> Option<libc::seccomp_notif> {
    loop {
        let mut fds = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut fds, None);
        if fds[0].revents().contains(rustix::event::PollFlags::HUP) {
            return None;
        }
        // SAFETY: plain numbers, for which zero is a value; the kernel insists on it.
        let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request takes a pointer to exactly this struct.
        let outcome = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notif) };
        match io::Error::last_os_error().raw_os_error() {
            _ if outcome == 0 => return Some(notif),
            // The thread was interrupted, or is gone.
            Some(libc::ENOENT | libc::EINTR) => {}
            _ => return None,
        }
    }
}

/// `sendto` and `recvfrom` wait for an answer, everything else is as ever.
fn install() -> io::Result<OwnedFd> {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        // The number of the call is the first field of `struct seccomp_data`.
        filter(LOAD, 0, 0, 0),
        filter(EQUAL, 1, 0, u32::try_from(libc::SYS_sendto).unwrap()),
        filter(EQUAL, 0, 1, u32::try_from(libc::SYS_recvfrom).unwrap()),
        filter(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        filter(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the program is valid for the call, and the kernel checks and copies it.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let fd = i32::try_from(outcome).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
