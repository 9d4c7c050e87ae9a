//! Which aggregates have a contributor: a usable route to a longer prefix inside, that is no aggregate itself (RFC 4271 §9.1.4).
//!
//! Another reader of the table's log. Of each prefix one bit is kept, whether it counts; a change of the bit adds one to every
//! aggregate around the prefix, or takes one away. Nothing is ever counted again, except after a change of the configuration.

use super::table::{AGGREGATE, Entry, SlotId, Table};
use crate::types::{Family, IpNet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The configured aggregates and how many contributors each has.
#[derive(Debug, Default)]
pub struct Aggregates {
    counts: BTreeMap<IpNet, u64>,
    /// Lengths that occur, by family: a prefix is looked for in these only.
    lengths: [BTreeSet<u8>; 2],
    /// One bit per slot: it was counted.
    counted: Vec<u64>,
    cursor: u64,
    /// Slots that were there when the prefixes were replaced and are still to be looked at; what changes meanwhile comes by the log.
    uncounted: Range<SlotId>,
}

impl Aggregates {
    /// Replaces the configured prefixes; the table is to be counted.
    pub fn set(&mut self, prefixes: &[IpNet], table: &Table) {
        *self = Self::default();
        for prefix in prefixes {
            self.counts.insert(prefix.trunc(), 0);
            self.lengths[Family::of(prefix).index()].insert(prefix.prefix_len());
        }
        self.cursor = table.log_end();
        if !self.counts.is_empty() {
            self.uncounted = 0..table.slots();
        }
    }

    /// Whether the table is not yet counted: an aggregate may have more contributors than it seems.
    #[must_use]
    pub const fn is_counting(&self) -> bool {
        self.uncounted.start < self.uncounted.end
    }

    /// Looks at the next `count` slots: the aggregates whose count changed.
    pub fn count_on(&mut self, table: &Table, count: SlotId) -> BTreeSet<IpNet> {
        let mut touched = BTreeSet::new();
        let end = self.uncounted.start.saturating_add(count).min(self.uncounted.end);
        for slot in self.uncounted.start..end {
            self.look_at(slot, table, &mut touched);
        }
        self.uncounted.start = end;
        touched
    }

    /// Follows the log to its end: the aggregates whose count changed.
    pub fn follow(&mut self, table: &Table) -> BTreeSet<IpNet> {
        let mut touched = BTreeSet::new();
        if self.counts.is_empty() {
            self.cursor = table.log_end();
            return touched;
        }
        let mut cursor = self.cursor;
        while let Some(slot) = table.next_change(&mut cursor) {
            self.look_at(slot, table, &mut touched);
        }
        self.cursor = cursor;
        touched
    }

    /// How far the log was followed.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The configured aggregates with their number of contributors.
    pub fn all(&self) -> impl Iterator<Item = (IpNet, u64)> {
        self.counts.iter().map(|(prefix, count)| (*prefix, *count))
    }

    /// Contributors of one.
    #[must_use]
    pub fn count(&self, prefix: &IpNet) -> u64 {
        self.counts.get(prefix).copied().unwrap_or_default()
    }

    fn look_at(&mut self, slot: SlotId, table: &Table, touched: &mut BTreeSet<IpNet>) {
        let Some(entry) = table.entry(slot) else {
            return;
        };
        let counts = contributes(&entry);
        if !self.flip(slot, counts) {
            return;
        }
        let prefix = entry.prefix;
        for &length in &self.lengths[Family::of(&prefix).index()] {
            if length >= prefix.prefix_len() {
                break;
            }
            let around = IpNet::new(prefix.addr(), length).map(|net| net.trunc());
            if let Ok(around) = around
                && let Some(count) = self.counts.get_mut(&around)
            {
                *count = if counts { *count + 1 } else { count.saturating_sub(1) };
                touched.insert(around);
            }
        }
    }

    /// Sets a bit; whether it was another one.
    fn flip(&mut self, slot: SlotId, counts: bool) -> bool {
        let word = slot as usize / 64;
        if self.counted.len() <= word {
            if !counts {
                return false;
            }
            self.counted.resize(word + 1, 0);
        }
        let mask = 1 << (slot % 64);
        let changed = (self.counted[word] & mask != 0) != counts;
        if changed {
            self.counted[word] ^= mask;
        }
        changed
    }
}

/// Whether a prefix counts for the aggregates around it.
#[must_use]
pub fn contributes(entry: &Entry<'_>) -> bool {
    entry.best_peer().is_some_and(|best| best != AGGREGATE)
}
