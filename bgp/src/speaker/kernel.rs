//! The kernel's side of the speaker: what it is asked to hold, what it has done, and what it refused. What it has not done nobody is
//! told of where routes are advertised after install.

use super::machine::Speaker;
use super::{FibChange, Want};
use crate::rib::table::{AGGREGATE, Entry, SlotId};
use crate::time::{Duration, Instant};
use crate::types::IpNet;
use std::ops::Bound;
use std::sync::Arc;

/// First wait before the kernel is asked again for what it refused; doubles while something is refused.
const ASK_FIRST: Duration = Duration::from_secs(1);
/// Longest wait: a foreign route that stands in the way may stay for ever.
const ASK_LAST: Duration = Duration::from_secs(64);
/// Most prefixes asked for again at a time: bounds the work of a call.
const ASK_MOST: usize = 1_024;

/// When the kernel is asked again, and the wait before that.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskAgain {
    at: Instant,
    wait: Duration,
    /// The last prefix asked for, while there are more.
    behind: Option<IpNet>,
}

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
                None if entry.best_peer() == Some(AGGREGATE) => Want::Discard,
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
    pub(super) fn on_fib_ack(&mut self, now: Instant, seq: u64, failed: Vec<IpNet>) {
        self.fib_acked = self.fib_acked.max(seq);
        self.note_done();
        // A change under way may still succeed: its own acknowledgement decides.
        let settled = |prefix: &IpNet| self.table.get(prefix).is_some_and(|entry| entry.changed <= seq);
        self.fib_failed.extend(failed.into_iter().filter(settled));
        if self.ask_again.is_none() && !self.fib_failed.is_empty() {
            self.ask_again = Some(AskAgain { at: now + ASK_FIRST, wait: ASK_FIRST, behind: None });
        }
    }

    /// When the kernel is to be asked again.
    pub(super) fn ask_timeout(&self) -> Option<(Instant, &'static str)> {
        self.ask_again.map(|again| (again.at, "what the kernel refused"))
    }

    /// Asks for what was refused once more: whoever installs routes tries on its own, but only an answer to a change says that a
    /// route may be advertised.
    pub(super) fn ask_kernel_again(&mut self, now: Instant) {
        let Some(again) = self.ask_again.filter(|again| again.at <= now) else {
            return;
        };
        let from = again.behind.map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<_> = self.fib_failed.range((from, Bound::Unbounded)).take(ASK_MOST).copied().collect();
        let behind = some.last().copied().filter(|_| some.len() == ASK_MOST);
        let wait = if behind.is_some() { again.wait } else { (again.wait * 2).min(ASK_LAST) };
        self.ask_again = (!self.fib_failed.is_empty()).then_some(AskAgain { at: now + wait, wait, behind });
        for prefix in &some {
            self.table.touch(prefix);
        }
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
    entry.hops.is_some() || entry.best_peer() == Some(AGGREGATE)
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
