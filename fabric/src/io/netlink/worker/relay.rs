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
    /// Carries out operations of which none depends on another, a batch at a time. What is not begun when something comes that cannot
    /// wait is given back.
    pub(super) fn carry_out_many(&mut self, now: Instant, ops: &[Op]) {
        let courier = self.courier.take().filter(|courier| !courier.thread.is_finished());
        match courier.or_else(|| Courier::start(self.requests.outlet())) {
            Some(courier) => {
                self.relay(&courier, now, ops);
                self.courier = Some(courier);
            }
            None => ops.chunks(BATCH).for_each(|batch| self.carry_out(now, batch)),
        }
    }

    fn relay(&mut self, courier: &Courier, now: Instant, ops: &[Op]) {
        let mut batches = ops.chunks(BATCH);
        let mut under_way = VecDeque::with_capacity(AHEAD);
        loop {
            while under_way.len() < AHEAD
                && let Some(batch) = batches.next()
            {
                if self.must_stop() {
                    self.fib.give_back(batch);
                    batches.by_ref().for_each(|batch| self.fib.give_back(batch));
                    break;
                }
                let parcel = self.requests.pack(batch, self.fib.config().protocol);
                // If the thread is gone, nothing comes back from it.
                let _ = courier.there.send(parcel);
                under_way.push_back(batch);
            }
            let Some(batch) = under_way.pop_front() else { return };
            let outcomes = self.wait(courier, batch);
            self.follow(now, batch, &outcomes);
            self.take_in();
        }
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
        self.watch.notes.iter().any(Note::is_link) || !self.put_off.is_empty()
    }

    /// Routes that are wanted are as good now as later; anything else waits, and what came after it.
    fn take_in(&mut self) {
        while self.put_off.is_empty()
            && let Ok(command) = self.commands.try_recv()
        {
            if let Command::Install(changes) = command {
                self.fib.want(&changes);
            } else {
                self.put_off.push_back(command);
            }
        }
    }
}
