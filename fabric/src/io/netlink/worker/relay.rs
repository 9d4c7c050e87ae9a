//! Many operations at once: while the kernel works on one batch, in the call of a thread that lives as long as the burst, this one
//! follows what came of the one before, takes in what the daemon wants meanwhile, and prepares the next but one. What cannot wait stops it.

use super::super::Command;
use super::super::request::{Outlet, Parcel};
use super::super::watch::Note;
use super::{BATCH, Worker};
use crate::fib::{Op, Refusal};
use crate::io::place;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use weft_bgp::time::Instant;

/// Batches that the thread has: the one that the kernel works on, and one that waits, or the kernel would wait for two threads to wake
/// after each (a sixth of the time of a million routes).
const AHEAD: usize = 2;

/// The thread that stands in the kernel. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Courier {
    there: SyncSender<Parcel>,
    back: Receiver<(Parcel, bool)>,
    thread: JoinHandle<()>,
}

impl Courier {
    /// `None`: the system gives no thread.
    fn start(outlet: Outlet) -> Option<Self> {
        let (there, parcels) = sync_channel::<Parcel>(AHEAD);
        let (returned, back) = sync_channel(AHEAD);
        let carry = move || {
            place::keep_away();
            for parcel in parcels {
                let sent = outlet.send(&parcel).is_ok();
                if returned.send((parcel, sent)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("netlink-send".into()).spawn(carry).ok()?;
        Some(Self { there, back, thread })
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
                    self.fib.give_back(ops.make_contiguous());
                    ops.clear();
                } else if ops.is_empty() {
                    ops.extend(self.more_ops());
                }
                let batch: Vec<_> = ops.drain(..BATCH.min(ops.len())).collect();
                if batch.is_empty() {
                    break;
                }
                let parcel = self.requests.pack(&batch, self.fib.config().protocol);
                // If the thread is gone, nothing comes back from it.
                let _ = courier.there.send(parcel);
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
