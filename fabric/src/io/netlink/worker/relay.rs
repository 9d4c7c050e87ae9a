//! Many operations at once: while the kernel works on one batch, in the call of a thread that lives as long as they take, this one
//! prepares the next, follows what came of the one before, and takes in what the daemon wants meanwhile. What cannot wait stops it.

use super::super::super::place;
use super::super::Command;
use super::super::request::{Outlet, Parcel};
use super::super::watch::Note;
use super::{BATCH, Worker};
use crate::fib::{Op, Refusal};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};
use weft_bgp::time::Instant;

/// The thread that stands in the kernel.
struct Courier {
    there: SyncSender<Parcel>,
    back: Receiver<(Parcel, bool)>,
}

impl Courier {
    /// `None`: the system gives no thread.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, outlet: Outlet) -> Option<Self> {
        // One parcel is in its hands, none waits.
        let (there, parcels) = sync_channel::<Parcel>(1);
        let (returned, back) = sync_channel(1);
        let carry = move || {
            place::keep_away();
            for parcel in parcels {
                let sent = outlet.send(&parcel).is_ok();
                if returned.send((parcel, sent)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("netlink-send".into()).spawn_scoped(scope, carry).ok()?;
        Some(Self { there, back })
    }
}

impl Worker {
    /// Carries out operations of which none depends on another, a batch at a time. What is not begun when something comes that cannot
    /// wait is given back.
    pub(super) fn carry_out_many(&mut self, now: Instant, ops: &[Op]) {
        thread::scope(|scope| match Courier::start(scope, self.requests.outlet()) {
            Some(courier) => self.relay(&courier, now, ops),
            None => ops.chunks(BATCH).for_each(|batch| self.carry_out(now, batch)),
        });
    }

    fn relay(&mut self, courier: &Courier, now: Instant, ops: &[Op]) {
        let protocol = self.fib.config().protocol;
        let mut batches = ops.chunks(BATCH);
        let mut under_way: Option<&[Op]> = None;
        loop {
            let next = batches.next().map(|batch| (batch, self.requests.pack(batch, protocol)));
            let outcomes = under_way.take().map(|batch| (batch, self.wait(courier, batch)));
            let is_over = match next {
                Some((batch, _)) if self.must_stop() => {
                    self.fib.give_back(batch);
                    batches.by_ref().for_each(|batch| self.fib.give_back(batch));
                    true
                }
                Some((batch, parcel)) => {
                    // If the thread is gone, nothing comes back from it.
                    let _ = courier.there.send(parcel);
                    under_way = Some(batch);
                    false
                }
                None => true,
            };
            if let Some((batch, outcomes)) = outcomes {
                self.follow(now, batch, &outcomes);
            }
            if is_over {
                return;
            }
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
