//! What is forgotten: changes that everybody has read, and prefixes of which nothing is left.

use super::{AHEAD, HOPS_ONLY, Paths, SlotId, Table};
use std::collections::VecDeque;

/// A log that was longer than this gives its memory back once it is empty.
const LOG_KEPT: usize = 16_384;
/// Most changes forgotten in one call: a reader that falls away may have held back a long log.
const TRIM: usize = 65_536;
/// Most prefixes without paths that wait until there is time to forget them; 4 MB.
const BARE: usize = 1 << 20;
/// Changes in the log from which on they wait.
const BUSY: usize = 16_384;

impl Table {
    /// Every reader has passed `cursor`: older changes are forgotten, and prefixes without paths wait for [`Table::forget_bare`]. Not
    /// more than `TRIM` at a time; the rest goes with the next calls.
    pub fn trim(&mut self, cursor: u64) {
        for _ in 0..TRIM {
            if self.log_base >= cursor {
                break;
            }
            let Some(at) = self.log.pop_front().map(|noted| noted & !HOPS_ONLY) else {
                break;
            };
            self.log_base += 1;
            let newest = self.is_newest(at, self.log_base);
            if newest {
                self.slots.slot(at).in_log = false;
            }
            if (self.watch.trim(at, self.log_base) || newest) && !self.is_logged(at) {
                match self.slots.slot(at).paths() {
                    Paths::None if self.bare.len() < BARE => self.bare.push_back(at),
                    Paths::None => self.forget(at),
                    Paths::Many(list) => self.fold_tagged(at, list),
                    Paths::One(_) => {}
                }
            }
        }
        if self.log.is_empty() && self.log.capacity() > LOG_KEPT {
            self.log = VecDeque::new();
        }
    }

    /// Whether prefixes without paths are to be forgotten: they wait while there is much to tell, for that goes first.
    #[must_use]
    pub fn has_bare(&self) -> bool {
        !self.bare.is_empty() && self.log.len() < BUSY
    }

    /// Forgets up to `most` prefixes without paths. That takes longer than telling that they went, so it is done behind it.
    pub fn forget_bare(&mut self, most: usize) {
        for turn in 0..most {
            if turn % AHEAD == 0 {
                let next = self.bare.iter().take(AHEAD).filter_map(|at| self.slots.get(*at));
                self.index.warm(next.map(|slot| self.slots.prefix(slot)));
            }
            let Some(at) = self.bare.pop_front() else {
                break;
            };
            // It may have come and gone again, or be a prefix that came later.
            let is_bare = self.slots.get(at).is_some_and(|slot| matches!(slot.paths(), Paths::None));
            if is_bare && !self.is_logged(at) {
                self.forget(at);
            }
        }
        if self.bare.is_empty() && self.bare.capacity() > LOG_KEPT {
            self.bare = VecDeque::new();
        }
    }

    pub(super) fn forget(&mut self, at: SlotId) {
        if let Some(prefix) = self.slots.get(at).map(|slot| self.slots.prefix(slot)) {
            self.index.remove(&prefix);
            self.slots.remove(at);
        }
    }
}
