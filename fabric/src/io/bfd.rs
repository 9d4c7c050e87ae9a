//! BFD's thread: sockets, a clock, and the machine ([`crate::bfd`]), apart from everything that can take long: the table, the disk, the
//! log. It is started with the daemon, because only then it may ask to be scheduled in real time ([`crate::io::sandbox`]), and waits for the
//! first session that is wanted.
//!
//! ```text
//!   daemon loop ── Sessions (bounded) ──▶ thread: Bfd ── packets ──▶ one socket per session
//!               ◀── Notice (bounded; what does not fit is merged) ──  ◀── ports 3784, 4784
//!   kernel's thread ◀── a neighbour is dead, or alive again ──
//! ```

mod raw;
mod socket;
mod worker;

use super::clock::Clock;
use super::netlink::Kernel;
use super::place::Seat;
use crate::bfd::{Kept, Notice, Status, Totals, Wanted};
use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::{mpsc, oneshot};
use worker::Worker;

/// Most commands under way: pictures of the sessions, and questions of people.
const MAX_COMMANDS: usize = 64;
/// Most notices under way; the thread keeps and merges what does not fit.
const MAX_NOTICES: usize = 256;
/// What the thread may be told between two times that it works.
const MAX_ERRANDS: usize = 4;
/// It calls nothing deep.
const STACK_BYTES: usize = 256 << 10;

/// How the system schedules the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheduling {
    /// Before all ordinary work.
    #[serde(rename = "real time (SCHED_FIFO)")]
    RealTime,
    /// With the most of ordinary work.
    #[serde(rename = "nice -20")]
    Nice,
    /// Like all others: neither was permitted (CAP_SYS_NICE).
    #[serde(rename = "ordinary")]
    Ordinary,
}

impl Scheduling {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::RealTime => "real time (SCHED_FIFO)",
            Self::Nice => "nice -20",
            Self::Ordinary => "ordinary",
        }
    }
}

/// All that the thread knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Each session, and why it could not send, if it could not.
    pub sessions: Vec<(Status, Option<String>)>,
    /// Counts.
    pub totals: Totals,
    /// How it is scheduled.
    pub scheduling: Scheduling,
}

#[derive(Debug)]
enum Command {
    Sessions(Vec<Wanted>),
    Report(oneshot::Sender<Report>),
    Keep(oneshot::Sender<Vec<Kept>>),
    Execute(Execution),
    Finish(oneshot::Sender<()>),
}

/// Becoming another program. Its first thread is the one that did it, with its priority, for which nobody can ask any more.
struct Execution {
    execute: Box<dyn FnOnce() -> io::Error + Send>,
    failed: SyncSender<io::Error>,
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Execution")
    }
}

impl Execution {
    fn new(execute: impl FnOnce() -> io::Error + Send + 'static) -> (Self, Receiver<io::Error>) {
        let (failed, receiver) = sync_channel(1);
        (Self { execute: Box::new(execute), failed }, receiver)
    }

    /// Returns only if it failed. The new program's first thread is where this one is.
    fn carry_out(self, seat: &mut Seat) {
        seat.leave();
        // Whoever wanted it waits.
        let _ = self.failed.send((self.execute)());
        seat.keep();
    }
}

#[derive(Debug)]
enum Errand {
    Work(Box<Worker>),
    Execute(Execution),
}

/// The thread, which has its priority and nothing to do yet. It ends with the last handle.
#[derive(Clone, Debug)]
pub struct Thread {
    errands: SyncSender<Errand>,
}

impl Thread {
    /// Starts it; `settle` is what it does once it is scheduled as well as the system permits.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn prepare(settle: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (errands, received) = sync_channel(MAX_ERRANDS);
        let (settled, is_settled) = sync_channel(1);
        let thread = std::thread::Builder::new().name("bfd".into()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let (scheduling, mut seat) = worker::schedule();
            settle();
            // Who started it waits for this.
            let _ = settled.send(());
            for errand in received {
                match errand {
                    Errand::Work(worker) => seat = worker.run(scheduling, seat),
                    Errand::Execute(execution) => execution.carry_out(&mut seat),
                }
            }
        })?;
        // It fails if the thread has panicked, and then sending it something does too.
        let _ = is_settled.recv();
        Ok(Self { errands })
    }

    /// The same in a program that took over: its first thread has the priority of the thread that executed it. A new one has that too
    /// then, and the first one becomes like all others.
    ///
    /// # Errors
    /// Likewise.
    pub fn take_over() -> io::Result<Self> {
        let thread = Self::prepare(|| ())?;
        worker::become_ordinary();
        Ok(thread)
    }

    /// Becomes another program while there are no sessions. Returns only if that fails.
    pub fn execute(&self, execute: impl FnOnce() -> io::Error + Send + 'static) -> io::Error {
        let (execution, failed) = Execution::new(execute);
        if self.errands.send(Errand::Execute(execution)).is_err() {
            return gone();
        }
        failed.recv().unwrap_or_else(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("BFD's thread has ended")
}

/// A handle on the thread, which may not be running yet.
#[derive(Clone, Debug)]
pub struct Detector {
    thread: Thread,
    clock: Clock,
    kernel: Kernel,
    notices: mpsc::Sender<Notice>,
    running: Option<Running>,
}

#[derive(Clone, Debug)]
struct Running(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    commands: Option<SyncSender<Command>>,
    wake: Arc<OwnedFd>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.commands = None;
        super::netlink::wake(&self.wake);
    }
}

impl Running {
    fn send(&self, command: Command) {
        // It fails when the thread has finished: there is nothing left to ask for.
        if let Some(commands) = &self.0.commands
            && commands.send(command).is_ok()
        {
            super::netlink::wake(&self.0.wake);
        }
    }
}

impl Detector {
    /// Detects nothing yet; what it finds comes out of the receiver.
    #[must_use]
    pub fn new(clock: Clock, kernel: Kernel, thread: Thread) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, receiver) = mpsc::channel(MAX_NOTICES);
        (Self { thread, clock, kernel, notices, running: None }, receiver)
    }

    /// The same, and goes on at once with sessions of the process before.
    #[must_use]
    pub fn resume(clock: Clock, kernel: Kernel, thread: Thread, kept: Vec<Kept>) -> (Self, mpsc::Receiver<Notice>) {
        let (mut detector, notices) = Self::new(clock, kernel, thread);
        if !kept.is_empty() {
            match detector.start(kept) {
                Ok(running) => detector.running = Some(running),
                Err(error) => tracing::error!(%error, "BFD does not go on: its sessions begin anew"),
            }
        }
        (detector, notices)
    }

    /// The sessions that are Up, for the next process. They go on here meanwhile.
    pub async fn kept(&self) -> Vec<Kept> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let (answer, receiver) = oneshot::channel();
        running.send(Command::Keep(answer));
        receiver.await.unwrap_or_default()
    }

    /// The sessions that are wanted from now on.
    pub fn want(&mut self, sessions: Vec<Wanted>) {
        if self.running.is_none() && !sessions.is_empty() {
            match self.start(Vec::new()) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    tracing::error!(%error, "no BFD: its sessions stay down");
                    return;
                }
            }
        }
        if let Some(running) = &self.running {
            running.send(Command::Sessions(sessions));
        }
    }

    fn start(&self, kept: Vec<Kept>) -> io::Result<Running> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, received) = sync_channel(MAX_COMMANDS);
        let mut worker =
            Worker::new(self.clock, self.kernel.clone(), (received, Arc::clone(&wake)), self.notices.clone())?;
        worker.resume(kept);
        self.thread.errands.send(Errand::Work(Box::new(worker))).map_err(|_| gone())?;
        Ok(Running(Arc::new(Ends { commands: Some(commands), wake })))
    }

    /// Becomes another program. Returns only if that fails; sessions go on then.
    pub fn execute(&self, execute: impl FnOnce() -> io::Error + Send + 'static) -> io::Error {
        let Some(running) = &self.running else {
            return self.thread.execute(execute);
        };
        let (execution, failed) = Execution::new(execute);
        running.send(Command::Execute(execution));
        failed.recv().unwrap_or_else(|_| gone())
    }

    /// How everything is; `None` without sessions.
    pub async fn report(&self) -> Option<Report> {
        let (answer, receiver) = oneshot::channel();
        self.running.as_ref()?.send(Command::Report(answer));
        receiver.await.ok()
    }

    /// Tells every peer that this end goes down on purpose, which is no failure (RFC 5882 §3.2), and ends the thread.
    pub async fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            let (done, receiver) = oneshot::channel();
            running.send(Command::Finish(done));
            // An error means that the thread is gone already.
            let _ = receiver.await;
        }
    }
}
