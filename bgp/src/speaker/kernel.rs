//! The kernel's side of the speaker: what it is asked to hold, what it has done, and what it refused. What it has not done nobody is
//! told of where routes are advertised after install.

use super::machine::Speaker;
use super::{FibChange, Want};
use crate::rib::table::{AGGREGATE, Entry, SlotId};
use crate::types::IpNet;
use std::sync::Arc;

impl Speaker {
    /// Changes for the kernel, the latest state of each prefix once.
    pub fn poll_fib(&mut self, max: usize) -> Vec<FibChange> {
        let mut changes = Vec::new();
        self.fib_signalled = false;
        if self.is_deferring() {
            return changes;
        }
        while changes.len() < max {
            let Some(slot) = self.table.next_change(&mut self.fib_cursor) else {
                break;
            };
            let seq = self.fib_cursor;
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            let held = set_bit(&mut self.in_kernel, slot, is_wanted(&entry));
            let want = match entry.hops {
                Some(hops) => Want::Hops(Arc::clone(hops)),
                None if entry.best == Some(AGGREGATE) => Want::Discard,
                None if held => Want::Nothing,
                None => continue,
            };
            self.fib_sent = seq;
            self.fib_failed.remove(&entry.prefix);
            changes.push(FibChange { prefix: entry.prefix, want, seq });
        }
        self.trim();
        changes
    }

    /// The kernel did what it was asked, or refused it.
    pub(super) fn on_fib_ack(&mut self, seq: u64, failed: Vec<IpNet>) {
        self.fib_acked = self.fib_acked.max(seq);
        self.note_done();
        // A change under way may still succeed: its own acknowledgement decides.
        let settled = |prefix: &IpNet| self.table.get(prefix).is_some_and(|entry| entry.changed <= seq);
        self.fib_failed.extend(failed.into_iter().filter(settled));
    }

    /// What the kernel had refused it holds now: peers are told after all.
    pub(super) fn on_repaired(&mut self, prefixes: &[IpNet]) {
        for prefix in prefixes {
            if self.fib_failed.remove(prefix) {
                self.table.touch(prefix);
            }
        }
    }

    /// Up to where the log may be told to peers: everything, or what the kernel has acknowledged.
    pub(super) fn readable(&self) -> u64 {
        if !self.config.advertise_after_install {
            return self.table.log_end();
        }
        self.kernel_done()
    }

    /// Up to where the kernel has done what it was asked.
    pub(super) const fn kernel_done(&self) -> u64 {
        self.fib_done
    }

    pub(super) fn note_done(&mut self) {
        let done = if self.fib_acked >= self.fib_sent { self.fib_cursor } else { self.fib_acked };
        self.fib_done = self.fib_done.max(done);
    }

    /// Passes over changes that the kernel need not know of (our own routes, say): they wait for nobody.
    pub(super) fn skip_kernel(&mut self) {
        let mut cursor = self.fib_cursor;
        while let Some(slot) = self.table.next_change(&mut cursor) {
            let wanted = self.table.entry(slot).is_some_and(|entry| is_wanted(&entry));
            if wanted || bit(&self.in_kernel, slot) {
                break;
            }
            self.fib_cursor = cursor;
        }
        self.note_done();
    }
}

/// Whether the kernel is to hold something for an entry: the way to it, or an aggregate's discard route.
pub(super) fn is_wanted(entry: &Entry<'_>) -> bool {
    entry.hops.is_some() || entry.best == Some(AGGREGATE)
}

/// Sets a bit and answers what it was.
fn set_bit(bits: &mut Vec<u64>, at: SlotId, value: bool) -> bool {
    let word = at as usize / 64;
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    let mask = 1 << (at % 64);
    let was = bits[word] & mask != 0;
    if was != value {
        bits[word] ^= mask;
    }
    was
}

fn bit(bits: &[u64], at: SlotId) -> bool {
    bits.get(at as usize / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
}
