//! The decision process again for many prefixes, in slices: what a lost link or another bound on ECMP sets asks for.
//!
//! The kernel's side does not wait for it: a dead member leaves its sets there at once. Until its turn comes, a prefix keeps its best path.

use super::Table;
use crate::rib::nexthop::HopId;
use crate::rib::slots::{Paths, SlotId};
use std::collections::BTreeSet;
use std::ops::Range;

/// What is left to do.
#[derive(Debug, Default)]
pub(super) struct Rerank {
    /// Next hops whose resolution is another one. Bounded by the next hops.
    hops: BTreeSet<HopId>,
    /// Every prefix with several paths.
    lists: bool,
    /// Every prefix.
    all: bool,
    /// Slots to look at: these first, then those. A walk that finds more to do on its way goes once around from there, so that none
    /// is ever begun anew.
    walk: [Range<SlotId>; 2],
}

impl Table {
    /// Another bound on ECMP sets: every prefix with several paths is to be ranked again.
    pub fn set_multipath(&mut self, multipath: u8) {
        self.multipath = usize::from(multipath.clamp(1, 64));
        self.begin_epoch();
        self.rerank.lists = true;
        self.walk_around();
    }

    /// Every prefix is to be ranked again.
    pub(super) fn rank_all(&mut self) {
        self.rerank.all = true;
        self.walk_around();
    }

    /// Every prefix with a path through one of these next hops, whose resolution is another one now, is to be ranked again.
    pub fn hops_changed(&mut self, changed: &[HopId]) {
        if !changed.is_empty() {
            self.rerank.hops.extend(changed);
            self.walk_around();
        }
    }

    fn walk_around(&mut self) {
        let at = if self.is_reranking() { self.rerank.walk[0].start } else { 0 };
        self.rerank.walk = [at..self.slots(), 0..at];
    }

    /// Whether prefixes are left to be ranked again.
    #[must_use]
    pub fn is_reranking(&self) -> bool {
        self.rerank.walk.iter().any(|range| !range.is_empty())
    }

    /// Ranks again what is to be among the next `count` slots.
    pub fn rerank(&mut self, count: SlotId) {
        let mut left = count;
        while left > 0 && self.is_reranking() {
            if self.rerank.walk[0].is_empty() {
                self.rerank.walk.swap(0, 1);
            }
            let at = self.rerank.walk[0].start;
            self.rerank.walk[0].start += 1;
            self.rank_again(at);
            left -= 1;
        }
        if !self.is_reranking() {
            self.rerank.hops.clear();
            self.rerank.lists = false;
            self.rerank.all = false;
        }
    }

    fn rank_again(&mut self, at: SlotId) {
        let Some(slot) = self.slots.get(at) else {
            return;
        };
        let several = matches!(slot.paths(), Paths::Many(_));
        let moved = self.slots.paths(slot).iter().any(|path| self.rerank.hops.contains(&path.hop));
        if moved || self.rerank.all || (several && self.rerank.lists) {
            let noted = self.rank(at, moved && !several);
            self.note_path(at, None, noted);
        }
    }
}
