//! The thread's loop: obey, hear everything that has come, let time pass, send, tell. Only what was heard before a deadline is judged by
//! it: the clock is read before the sockets are emptied. Nothing here waits for anybody: no log, no lock, no full channel.

use super::raw::{self, Inbox};
use super::socket::{Ear, Mouth};
use super::{Command, Report, Scheduling};
use crate::bfd::{Bfd, Endpoint, Input, Kept, Notice, Output, SessionId, Status};
use crate::fib::Member;
use crate::io::clock::{self, Clock};
use crate::io::netlink::Kernel;
use crate::io::place::Seat;
use crate::io::sockopt::plain;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::PeerId;

/// Turns are no closer than this: packets of many sessions are read and sent together, and one waits a millisecond at most. Waking up, and
/// waking the other end, are most of what a packet costs.
const PACE: Duration = Duration::from_millis(1);
/// Being late by more than this is no scheduler's jitter.
const LATE: Duration = Duration::from_millis(5);
/// How soon a socket that could not be opened, or a message that did not fit, is tried again.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MESSAGE: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    mouth: Option<Mouth>,
    open_at: Instant,
    error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Worker {
    clock: Clock,
    bfd: Bfd,
    inbox: Inbox,
    ears: Vec<Ear>,
    slots: BTreeMap<SessionId, Slot>,
    port: u16,
    /// The ports of sessions of the process before.
    ports: BTreeMap<Endpoint, u16>,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    kernel: Kernel,
    notices: mpsc::Sender<Notice>,
    /// What the kernel's thread and the daemon had no room for: the last word counts.
    untold_alive: BTreeMap<Member, bool>,
    untold: BTreeMap<PeerId, Notice>,
    scheduling: Scheduling,
    seat: Seat,
    /// When this turn was to begin at the latest, and when it did.
    due: Instant,
    woken: Instant,
}

impl Worker {
    pub(super) fn new(
        clock: Clock,
        kernel: Kernel,
        (commands, wake): (Receiver<Command>, Arc<OwnedFd>),
        notices: mpsc::Sender<Notice>,
    ) -> io::Result<Self> {
        let seed = clock::seed();
        let now = clock.now();
        Ok(Self {
            clock,
            bfd: Bfd::new(seed),
            inbox: Inbox::new(),
            ears: Ear::all()?,
            slots: BTreeMap::new(),
            port: u16::try_from(49_152 + seed % 16_384).unwrap_or_default(),
            ports: BTreeMap::new(),
            commands,
            wake,
            kernel,
            notices,
            untold_alive: BTreeMap::new(),
            untold: BTreeMap::new(),
            scheduling: Scheduling::Ordinary,
            seat: Seat::NONE,
            due: now,
            woken: now,
        })
    }

    /// Goes on with sessions of the process before.
    pub(super) fn resume(&mut self, kept: Vec<Kept>) {
        self.ports = kept.iter().map(|kept| (kept.endpoint, kept.port)).collect();
        self.bfd.resume(self.clock.now(), kept);
    }

    /// Those that are Up, with the ports that they send from.
    fn kept(&self) -> Vec<Kept> {
        let port = |id| self.slots.get(&id).and_then(|slot| slot.mouth.as_ref()).map_or(0, Mouth::port);
        self.bfd.kept().map(|(id, kept)| Kept { port: port(id), ..kept }).collect()
    }

    /// The thread's place is given back at the end.
    pub(super) fn run(mut self, scheduling: Scheduling, seat: Seat) -> Seat {
        (self.scheduling, self.seat) = (scheduling, seat);
        let start = self.clock.now();
        (self.due, self.woken) = (start, start);
        loop {
            let (finished, is_over) = self.obey();
            let listened = self.clock.now();
            // A packet that came before the deadline began the turn before it; then nothing is late.
            let late = listened.since(self.due);
            if late > LATE {
                self.seat.late(late);
                self.bfd.handle(listened, Input::Starved(late));
            }
            self.hear();
            self.bfd.handle(listened, Input::Tick);
            self.carry_out();
            self.speak();
            self.tell();
            if let Some(done) = finished {
                // Nobody may be waiting.
                let _ = done.send(());
            }
            if is_over {
                return self.seat;
            }
            self.sleep();
        }
    }

    /// Takes commands until there are none. The end is the last one.
    fn obey(&mut self) -> (Option<oneshot::Sender<()>>, bool) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Sessions(wanted)) => self.bfd.handle(self.clock.now(), Input::Sessions(wanted)),
                Ok(Command::Report(answer)) => drop(answer.send(self.report())),
                Ok(Command::Keep(answer)) => drop(answer.send(self.kept())),
                Ok(Command::Execute(execution)) => execution.carry_out(&mut self.seat),
                Ok(Command::Finish(done)) => {
                    self.bfd.handle(self.clock.now(), Input::Sessions(Vec::new()));
                    return (Some(done), true);
                }
                Err(TryRecvError::Empty) => return (None, false),
                Err(TryRecvError::Disconnected) => return (None, true),
            }
        }
    }

    fn report(&self) -> Report {
        let errors: BTreeMap<Endpoint, &String> =
            self.slots.values().filter_map(|slot| Some((slot.endpoint, slot.error.as_ref()?))).collect();
        let with_error = |status: Status| {
            let error = errors.get(&status.endpoint).map(|error| (*error).clone());
            (status, error)
        };
        Report {
            sessions: self.bfd.status().map(with_error).collect(),
            totals: self.bfd.totals().clone(),
            scheduling: self.scheduling,
        }
    }

    fn hear(&mut self) {
        let Self { ears, inbox, bfd, clock, .. } = self;
        let now = clock.now();
        for ear in ears {
            // An error of the socket itself is one packet less; the next turn reads on.
            let _ = ear.hear(inbox, |heard| bfd.handle(now, Input::Packet(heard)));
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.bfd.poll() {
            match output {
                Output::Open(id, endpoint) => {
                    let slot = Slot { endpoint, mouth: None, open_at: Instant::ZERO, error: None };
                    self.slots.insert(id, slot);
                }
                Output::Close(id) => drop(self.slots.remove(&id)),
                Output::Alive(member, alive) => drop(self.untold_alive.insert(member, alive)),
                Output::Changed(notice) => drop(self.untold.insert(notice.peer, notice)),
            }
        }
        // The kernel at once, before anything is sent.
        self.untold_alive.retain(|member, alive| !self.kernel.offer_alive(*member, *alive));
    }

    fn speak(&mut self) {
        let now = self.clock.now();
        while let Some((id, packet)) = self.bfd.poll_transmit(now) {
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            if slot.mouth.is_none() && slot.open_at <= now {
                slot.open_at = now + RETRY;
                // RFC 5881 §4: the same port for as long as the session lives.
                let mut kept = self.ports.remove(&slot.endpoint).filter(|port| *port > 0).map(|port| port - 1);
                match Mouth::open(&slot.endpoint, kept.as_mut().unwrap_or(&mut self.port)) {
                    Ok(mouth) => slot.mouth = Some(mouth),
                    Err(error) => slot.error = Some(plain(&error)),
                }
            }
            if let Some(mouth) = &slot.mouth {
                match mouth.send(&packet) {
                    Ok(()) => {
                        if slot.error.is_some() {
                            slot.error = None;
                        }
                    }
                    // No room: one packet less.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        slot.error = Some(plain(&error));
                        if !is_passing(&error) {
                            slot.mouth = None;
                        }
                    }
                }
            }
        }
    }

    fn tell(&mut self) {
        let notices = &self.notices;
        self.untold.retain(|_, notice| {
            notices.try_send(*notice).is_err_and(|error| matches!(error, mpsc::error::TrySendError::Full(_)))
        });
    }

    /// Waits for a packet, a command, or the next deadline.
    fn sleep(&mut self) {
        let pause = PACE.saturating_sub(self.clock.now().since(self.woken));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let now = self.clock.now();
        let is_told = self.untold.is_empty() && self.untold_alive.is_empty();
        let retry = (!is_told).then(|| now + RETRY_MESSAGE);
        let next = self.bfd.next_timeout().map(|(at, _)| at);
        let at = [next, retry].into_iter().flatten().min();
        self.due = at.unwrap_or(Instant(u64::MAX));
        let timeout = at.and_then(|at| Timespec::try_from(at.since(now)).ok());
        let mut fds: Vec<PollFd<'_>> = self.ears.iter().map(|ear| PollFd::new(ear, PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.wake, PollFlags::IN));
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, timeout.as_ref());
        let is_called = fds.last().is_some_and(|wake| !wake.revents().is_empty());
        if is_called {
            let mut counter = [0; 8];
            let _ = rustix::io::read(self.wake.as_fd(), &mut counter);
        }
        self.woken = self.clock.now();
    }
}

/// Whether the same socket may be able to send later. Else its link or its address is gone, and may come back as another.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENETDOWN, libc::EPERM, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

/// What is left where real time is not permitted.
const NICEST: i32 = -20;

/// As much before others as the system permits.
pub(super) fn schedule() -> (Scheduling, Seat) {
    if raw::become_realtime().is_ok() {
        (Scheduling::RealTime, Seat::take())
    } else if rustix::process::setpriority_process(None, NICEST).is_ok() {
        (Scheduling::Nice, Seat::NONE)
    } else {
        (Scheduling::Ordinary, Seat::NONE)
    }
}

/// Back to what every thread is.
pub(super) fn become_ordinary() {
    // Less of it is always permitted.
    let _ = raw::become_ordinary();
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice == NICEST) {
        let _ = rustix::process::setpriority_process(None, 0);
    }
}
