//! The kernel's side of the daemon: routes go in, links and addresses come out. One thread owns the [`Fib`](crate::fib::Fib) and the only socket that
//! changes anything; a second socket of the same thread listens.
//!
//! ```text
//!   daemon loop ── Kernel (commands, bounded) ──▶ thread: Fib ── batches ──▶ kernel
//!              ◀── Event (bounded; what does not fit is merged) ──  ◀── notifications: hints only; a dump is the truth
//! ```
//! The kernel drops routes and nexthop objects without telling (carrier loss, addresses that go), so our protocol's routes are dumped
//! and compared every half minute and after every event that may have cost some. One daemon per network namespace: two with the
//! same protocol, table and range of nexthop ids would remove each other's routes.

mod aside;
mod bursts;
mod compat;
#[cfg(test)]
mod corpus;
mod foreign;
mod health;
mod import;
mod links;
mod listeners;
mod nexthop;
mod ports;
pub mod reading;
mod request;
mod route;
mod watch;
mod wire;
mod worker;

pub use aside::Handle;
pub use foreign::foreign;
pub use listeners::listeners;

use crate::config::{FibConfig, KernelRule};
use crate::fib::{FibDiff, FibReport, KernelRoute, Member};
use crate::link::LinkInfo;
use crate::node::Imported;
use bursts::Bursts;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tokio::sync::{mpsc, oneshot};
use weft_bgp::speaker::FibChange;
use weft_bgp::types::{IfIndex, IpNet};
use worker::Worker;

/// Most commands under way. The daemon keeps at most two batches of changes unacknowledged, the rest is asked for by people.
const MAX_COMMANDS: usize = 1_024;
/// Most events under way; the thread keeps and merges what does not fit.
const MAX_EVENTS: usize = 64;

/// Something happened in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All interfaces with their addresses; the first event, and after every change.
    Links(Vec<LinkInfo>),
    /// An interface lost its carrier, was set down, or is gone: told before the picture that shows it.
    LinkDown(IfIndex),
    /// A port of a bridge did, and these neighbours on the bridge were behind it: the kernel's routes do without them already. Or they
    /// can be reached again.
    Reachable(Vec<(Member, bool)>),
    /// The kernel holds every change up to `seq`.
    Acked {
        /// [`FibChange::seq`] of the newest change done.
        seq: u64,
        /// But for these of the changes that this acknowledgement covers: refused, or without a live neighbour. They are tried
        /// again without being asked for.
        failed: Vec<IpNet>,
    },
}

/// What the thread is asked for.
#[derive(Debug)]
enum Command {
    Install(Vec<FibChange>),
    AddAddress(IpNet),
    RemoveAddress(IpNet),
    Sweep,
    SetAlive(Member, bool),
    HoldBack(Member, bool),
    Reconfigure(Box<FibConfig>),
    Report(oneshot::Sender<FibReport>),
    Diff(oneshot::Sender<Result<FibDiff, String>>),
    Route(IpNet, oneshot::Sender<Option<KernelRoute>>),
    Finish { keep: bool, done: oneshot::Sender<()> },
}

impl Command {
    const fn is_install(&self) -> bool {
        matches!(self, Self::Install(_))
    }
}

/// A handle on the thread. When the last one is dropped the thread ends, and the kernel keeps what it holds.
#[derive(Clone, Debug)]
pub struct Kernel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: Option<SyncSender<Command>>,
    wake: Arc<OwnedFd>,
    bursts: Bursts,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.commands = None;
        wake(&self.wake);
    }
}

/// The thread's end of a [`Kernel`], before it is started.
#[derive(Debug)]
pub struct Unstarted {
    received: std::sync::mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    bursts: Bursts,
}

impl Unstarted {
    /// See [`Kernel::start`].
    ///
    /// # Errors
    /// Likewise.
    pub fn start(self, config: &FibConfig) -> io::Result<mpsc::Receiver<Event>> {
        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let worker = Worker::new(config, (self.received, self.wake), self.bursts, events)?;
        std::thread::Builder::new().name("netlink".into()).spawn(move || worker.run())?;
        Ok(receiver)
    }
}

impl Kernel {
    /// A handle on a thread that is not there yet: what is asked for waits.
    ///
    /// # Errors
    /// What the system says of an event descriptor.
    pub fn new() -> io::Result<(Self, Unstarted)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, received) = sync_channel(MAX_COMMANDS);
        let bursts = Bursts::default();
        let unstarted = Unstarted { received, wake: Arc::clone(&wake), bursts: bursts.clone() };
        Ok((Self { inner: Arc::new(Inner { commands: Some(commands), wake, bursts }) }, unstarted))
    }

    /// Lists links and leftovers of an earlier run, and starts the thread. The first event is the picture of the links. With
    /// `install: false` only links are reported, and nothing is changed, addresses included.
    ///
    /// # Errors
    /// No permission (CAP_NET_ADMIN in the network namespace), or what the system says of the sockets.
    pub fn start(config: &FibConfig) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let (kernel, unstarted) = Self::new()?;
        Ok((kernel, unstarted.start(config)?))
    }

    /// Starts to read other software's routes; the first thing that is told is all there is. `own`: table and protocol of what this
    /// handle's thread writes.
    ///
    /// # Errors
    /// What the system says of sockets and threads.
    pub fn import(
        &self,
        rules: Vec<KernelRule>,
        own: (u32, u8),
        run: u64,
        events: mpsc::Sender<Imported>,
    ) -> io::Result<Handle> {
        import::import(rules, own, self.inner.bursts.clone(), run, events)
    }

    /// Hands over changes. At most 16 batches of at most 512 should be unacknowledged.
    pub fn install(&self, changes: Vec<FibChange>) {
        self.send(Command::Install(changes));
    }

    /// Puts an address on the loopback interface, without a route for its network. One that is there already is fine; one that we
    /// (now or in an earlier run) put there is remembered as ours, and is put back if somebody removes it.
    pub fn add_address(&self, net: IpNet) {
        self.send(Command::AddAddress(net));
    }

    /// Takes an address of ours away again.
    pub fn remove_address(&self, net: IpNet) {
        self.send(Command::RemoveAddress(net));
    }

    /// Routes of an earlier run that nobody has asked for until now go.
    pub fn sweep(&self) {
        self.send(Command::Sweep);
    }

    /// A neighbour is sent nothing from now on, or packets again: [`weft_bgp::speaker::Output::HoldBack`].
    pub fn hold_back(&self, member: Member, held: bool) {
        self.send(Command::HoldBack(member, held));
    }

    /// A neighbour was found dead, or alive again, by BFD or neighbour discovery; links are watched here.
    pub fn set_alive(&self, member: Member, alive: bool) {
        self.send(Command::SetAlive(member, alive));
    }

    /// The same for who cannot wait: false if there is no room, and it is to be said again.
    #[must_use]
    pub fn offer_alive(&self, member: Member, alive: bool) -> bool {
        let Some(commands) = &self.inner.commands else {
            return true;
        };
        match commands.try_send(Command::SetAlive(member, alive)) {
            Ok(()) => {
                wake(&self.inner.wake);
                true
            }
            Err(TrySendError::Full(_)) => false,
            // The thread has finished: there is nobody left to tell.
            Err(TrySendError::Disconnected(_)) => true,
        }
    }

    /// Takes a new configuration: table, metric, preferred sources and last resorts in place, the rest at the next start.
    pub fn reconfigure(&self, config: FibConfig) {
        self.send(Command::Reconfigure(Box::new(config)));
    }

    /// Counts, failures, conflicts.
    pub async fn report(&self) -> FibReport {
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Report(answer));
        receiver.await.unwrap_or_default()
    }

    /// A fresh dump beside what is wanted.
    ///
    /// # Errors
    /// When the dump could not be completed; try again.
    pub async fn diff(&self) -> Result<FibDiff, String> {
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Diff(answer));
        receiver.await.unwrap_or_else(|_| Err("the thread of kernel routes has ended".to_owned()))
    }

    /// What the kernel holds for a prefix.
    pub async fn route(&self, prefix: IpNet) -> Option<KernelRoute> {
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Route(prefix, answer));
        receiver.await.unwrap_or_default()
    }

    /// Ends the thread. `keep`: what is due is done, and the kernel keeps it all. Otherwise everything of ours goes: routes, nexthop
    /// objects, last resorts, leftovers, and the addresses that we put on the loopback interface.
    pub async fn finish(self, keep: bool) {
        let (done, receiver) = oneshot::channel();
        self.send(Command::Finish { keep, done });
        // An error means that the thread is gone already.
        let _ = receiver.await;
    }

    fn send(&self, command: Command) {
        // It fails when the thread has finished: there is nothing left to ask for.
        if let Some(commands) = &self.inner.commands
            && commands.send(command).is_ok()
        {
            wake(&self.inner.wake);
        }
    }
}

/// Makes the thread that waits for this look at its commands.
pub(super) fn wake(wake: &OwnedFd) {
    // It fails only if the counter is full, and then the thread is awake.
    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
}
