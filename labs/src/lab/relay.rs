//! A bad cable: a thread that takes what both ends of a link send and lets it go as a [`Channel`] says.
//!
//! ```text
//! Running ─▶ Ending (nothing is done to frames any more; those that wait are let go) ─▶ Leaving (spliced out) ─▶ gone
//!    ▲──────────┘ a new fault of the same link
//! ```
//!
//! A relay is spliced out when no frame waits, and listens until none has come for a while: what was sent into it arrives.
#![expect(clippy::disallowed_types, reason = "frames are let go on time")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvFlags, SendFlags};

use super::splice::Detour;
use crate::fault::Harm;
use crate::fault::channel::{Channel, Counts};

/// Largest frame: what a veth carries with its largest MTU, and the header.
const FRAME_BYTES: usize = 65_536 + 18;
/// Frames taken from one end before others have their turn.
const BATCH: usize = 256;
/// A spliced-out relay has what was sent into it when nothing has come for so long.
const SILENCE: Duration = Duration::from_millis(50);
/// And goes in any case after this.
const LAST: Duration = Duration::from_secs(1);

/// A running relay. Of each pair, the first is what the first end of the link sends.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: OwnedFd,
}

#[derive(Debug)]
struct State {
    channels: [Channel; 2],
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Ending,
    Leaving,
    /// The lab ends: nobody waits for frames.
    Stopped,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // full only when it is awake anyhow
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Relay {
    /// Splices a relay into a link; when it has left it, `clean` takes away what was made for it.
    pub(super) fn start(
        detours: [Detour; 2],
        harm: [Harm; 2],
        clean: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let mut channels = [Channel::default(), Channel::default()];
        for (channel, harm) in channels.iter_mut().zip(harm) {
            channel.set(harm);
        }
        let state = Mutex::new(State { channels, phase: Phase::Running });
        let shared = Arc::new(Shared { state, wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? });
        let begun = detours[0].begin().and_then(|()| detours[1].begin().inspect_err(|_| drop(detours[0].end())));
        if let Err(error) = begun {
            clean();
            return Err(error);
        }
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("relay".to_owned()).spawn(move || {
            if run(&own, &detours) {
                clean();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Treats frames so from now on; false when the relay is already leaving.
    pub(super) fn set(&self, harm: [Harm; 2]) -> bool {
        let mut state = self.shared.state();
        if matches!(state.phase, Phase::Leaving | Phase::Stopped) {
            return false;
        }
        state.phase = Phase::Running;
        for (channel, harm) in state.channels.iter_mut().zip(harm) {
            channel.set(harm);
        }
        drop(state);
        self.shared.wake();
        true
    }

    /// What happened to frames of either direction.
    pub(super) fn counts(&self) -> [Counts; 2] {
        self.shared.state().channels.each_ref().map(Channel::counts)
    }

    /// Begins to leave; nothing is done to frames that come from now on.
    pub(super) fn end(&self) {
        let mut state = self.shared.state();
        if state.phase == Phase::Running {
            state.phase = Phase::Ending;
            for channel in &mut state.channels {
                channel.set(Harm::default());
            }
        }
        drop(state);
        self.shared.wake();
    }

    /// Whether it has left the link.
    pub(super) fn is_gone(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has left the link.
    pub(super) fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Relay {
    /// One that nobody waited for ends at once; its link goes away with the lab.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.state().phase = Phase::Stopped;
            self.shared.wake();
            let _ = thread.join();
        }
    }
}

/// Until it has left the link (then true), or the lab has ended.
fn run(shared: &Shared, detours: &[Detour; 2]) -> bool {
    let begin = Instant::now();
    let mut buffer = vec![0; FRAME_BYTES];
    loop {
        let mut state = shared.state();
        if state.phase == Phase::Stopped || turn(&mut state.channels, detours, begin, &mut buffer).is_err() {
            // the node is gone
            return false;
        }
        if state.phase == Phase::Ending && state.channels.iter().all(Channel::is_empty) {
            state.phase = Phase::Leaving;
            drop(state);
            leave(detours, &mut buffer);
            return true;
        }
        let due = state.channels.iter().filter_map(Channel::next_timeout).min();
        drop(state);
        wait(shared, detours, due.map(|due| Duration::from_nanos(due.saturating_sub(since(begin)))));
    }
}

fn since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for a frame, a word from others, or so long.
fn wait(shared: &Shared, detours: &[Detour; 2], limit: Option<Duration>) {
    let limit = limit.map(timespec);
    let [a, b] = detours.each_ref().map(|detour| PollFd::from_borrowed_fd(detour.from.as_fd(), PollFlags::IN));
    let mut watched = [a, b, PollFd::from_borrowed_fd(shared.wake.as_fd(), PollFlags::IN)];
    if poll(&mut watched, limit.as_ref()).is_ok() && !watched[2].revents().is_empty() {
        let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}

/// Takes what came and lets go what is due, in both directions.
fn turn(channels: &mut [Channel; 2], detours: &[Detour; 2], begin: Instant, buffer: &mut [u8]) -> io::Result<()> {
    for (channel, detour) in channels.iter_mut().zip(detours) {
        for _ in 0..BATCH {
            let Some(frame) = receive(detour, buffer)? else {
                break;
            };
            channel.take(since(begin), frame);
        }
        while let Some(frame) = channel.poll(since(begin)) {
            // an interface that is down takes none, as a cable that is unplugged
            let _ = rustix::net::send(&detour.to, &frame, SendFlags::empty());
        }
    }
    Ok(())
}

/// The next frame that is there; an error when its link is gone.
fn receive<'a>(detour: &Detour, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    match rustix::net::recv(&detour.from, &mut *buffer, RecvFlags::DONTWAIT) {
        Ok((length, _)) => Ok(buffer.get(..length)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Leaves the link: first the rules, then, when nothing comes any more, the sockets.
fn leave(detours: &[Detour; 2], buffer: &mut [u8]) {
    for detour in detours {
        let _ = detour.end();
    }
    let limit = Instant::now() + LAST;
    let mut quiet = Instant::now();
    while quiet.elapsed() < SILENCE && Instant::now() < limit {
        for detour in detours {
            while let Ok(Some(frame)) = receive(detour, buffer) {
                let _ = rustix::net::send(&detour.to, frame, SendFlags::empty());
                quiet = Instant::now();
            }
        }
        let mut watched = detours.each_ref().map(|one| PollFd::from_borrowed_fd(one.from.as_fd(), PollFlags::IN));
        let _ = poll(&mut watched, Some(&timespec(SILENCE.saturating_sub(quiet.elapsed()))));
    }
}
