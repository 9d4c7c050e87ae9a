//! Many operations at once: while the kernel works on one batch, in the call of a thread that lives as long as the burst, this one
//! follows what came of those before, takes in what the daemon wants meanwhile, and prepares those that come next. What cannot wait
//! takes back what the kernel was not given yet.

use super::super::Command;
use super::super::request::{Outlet, Parcel};
use super::super::watch::Note;
use super::{BATCH, Worker};
use crate::fib::{Op, Refusal};
use crate::io::place;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use weft_bgp::time::Instant;

/// Batches that are ready for the kernel or in its hands. It is woken for none of them, and need not wait while this thread takes in what
/// 512 routes want: with two it stood still for an eighth of the time of a million routes.
const AHEAD: usize = 8;

/// Batches that wait for the thread that stands in the kernel.
#[derive(Debug, Default)]
struct Waiting {
    parcels: Mutex<(VecDeque<Parcel>, End)>,
    changed: Condvar,
}

/// Whether there will be more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Closed,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Parcel>, End)> {
        // Whoever panicked with it left a list of whole parcels.
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, parcel: Parcel) {
        self.lock().0.push_back(parcel);
        self.changed.notify_one();
    }

    /// The last that nobody has begun with.
    fn take_back(&self) -> Option<Parcel> {
        self.lock().0.pop_back()
    }

    /// The next, when there is one. `None`: there will be none.
    fn pop(&self) -> Option<Parcel> {
        let is_idle = |(parcels, end): &mut (VecDeque<Parcel>, End)| parcels.is_empty() && *end == End::Open;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }

    fn close(&self) {
        self.lock().1 = End::Closed;
        self.changed.notify_one();
    }
}

/// The thread that stands in the kernel. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Courier {
    waiting: Arc<Waiting>,
    back: Receiver<(Parcel, bool)>,
    thread: JoinHandle<()>,
}

impl Courier {
    /// `None`: the system gives no thread.
    fn start(outlet: Outlet) -> Option<Self> {
        let waiting = Arc::new(Waiting::default());
        let (returned, back) = sync_channel(AHEAD);
        let parcels = Arc::clone(&waiting);
        let carry = move || carry(&outlet, &parcels, &returned);
        let thread = thread::Builder::new().name("netlink-send".into()).spawn(carry).ok()?;
        Some(Self { waiting, back, thread })
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.waiting.close();
    }
}

fn carry(outlet: &Outlet, waiting: &Waiting, returned: &SyncSender<(Parcel, bool)>) {
    place::keep_away();
    while let Some(parcel) = waiting.pop() {
        let sent = outlet.send(&parcel).is_ok();
        if returned.send((parcel, sent)).is_err() {
            return;
        }
    }
}

impl Worker {
    /// Carries out operations of which none depends on another, a batch at a time, and those that may follow them without a pause. What
    /// is not begun when something comes that cannot wait is given back.
    pub(super) fn carry_out_many(&mut self, now: Instant, ops: Vec<Op>) {
        let courier = self.courier.take().filter(|courier| !courier.thread.is_finished());
        match courier.or_else(|| Courier::start(self.requests.outlet())) {
            Some(courier) => {
                self.relay(&courier, ops);
                self.courier = Some(courier);
            }
            None => ops.chunks(BATCH).for_each(|batch| self.carry_out(now, batch)),
        }
    }

    fn relay(&mut self, courier: &Courier, ops: Vec<Op>) {
        let mut ops = VecDeque::from(ops);
        let mut under_way = VecDeque::with_capacity(AHEAD);
        let mut is_stopped = false;
        loop {
            while under_way.len() < AHEAD {
                is_stopped |= self.must_stop();
                if is_stopped {
                    self.recall(courier, &mut under_way, &mut ops);
                    break;
                }
                if ops.is_empty() {
                    ops.extend(self.more_ops());
                }
                let batch: Vec<_> = ops.drain(..BATCH.min(ops.len())).collect();
                if batch.is_empty() {
                    break;
                }
                courier.waiting.push(self.requests.pack(&batch, self.fib.config().protocol));
                under_way.push_back(batch);
            }
            let Some(batch) = under_way.pop_front() else { break };
            let outcomes = self.wait(courier, &batch);
            self.follow(self.clock.now(), &batch, &outcomes);
            is_stopped |= self.take_in();
            self.watch.deliver(self.clock.now());
        }
        // Before the routes that came meanwhile are taken in.
        if is_stopped {
            self.attend();
        }
    }

    /// Gives back what the kernel was not given: the last of what is under way, and what was to follow it.
    fn recall(&mut self, courier: &Courier, under_way: &mut VecDeque<Vec<Op>>, ops: &mut VecDeque<Op>) {
        while courier.waiting.take_back().is_some() {
            self.fib.give_back(&under_way.pop_back().unwrap_or_default());
        }
        self.fib.give_back(ops.make_contiguous());
        ops.clear();
    }

    /// What may follow while the kernel works on the last batches: a pause in which it is decided on costs a ninth of the time of a
    /// million routes. Nothing where anything else is to be done first.
    fn more_ops(&mut self) -> Vec<Op> {
        let now = self.clock.now();
        let timeout = self.next_timeout().into_iter().chain(self.watch.next_timeout()).min();
        if !self.watch.notes.is_empty() || timeout.is_some_and(|at| at <= now) {
            return Vec::new();
        }
        let ops = self.fib.more_ops(now, BATCH);
        if !ops.is_empty() {
            self.follow_burst(now, ops.len());
        }
        ops
    }

    fn wait(&mut self, courier: &Courier, batch: &[Op]) -> Vec<Result<(), Refusal>> {
        match courier.back.recv() {
            Ok((parcel, sent)) => self.requests.outcomes(parcel, sent, batch.len()),
            Err(_) => vec![Err(Refusal::Unanswered); batch.len()],
        }
    }

    /// A link or a neighbour came or went, or the daemon wants something else than routes.
    fn must_stop(&mut self) -> bool {
        self.watch.read(self.clock.now());
        self.watch.notes.iter().any(Note::is_link) || !self.put_off.iter().all(Command::is_install)
    }

    /// Takes routes in that are wanted, one batch of them: the kernel has work for no longer than that takes. Whether somebody died or
    /// came back, who is not behind the routes that wait.
    fn take_in(&mut self) -> bool {
        let is_pressed = self.hear_commands();
        if self.put_off.front().is_some_and(Command::is_install)
            && let Some(Command::Install(changes)) = self.put_off.pop_front()
        {
            self.fib.want(&changes);
        }
        is_pressed
    }
}
