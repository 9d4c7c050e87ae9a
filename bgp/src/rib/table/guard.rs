//! Guards: what must stand behind a prefix before it is used at all. One with fewer next hops, or less bandwidth, than its guard asks
//! for is as good as unreachable: it is neither installed nor told, so that nobody sends here what cannot be carried.
//!
//! A guard looks at the paths of its prefix and at nothing else: no timer, no memory. The same paths always give the same answer, and
//! `explain` can say it in one line.

use super::outcome::Outcome;
use super::{Entry, Table, is_own};
use crate::policy::sets::PrefixSet;
use crate::rib::decide::Rule;
use crate::rib::slots::{Path, Paths, SlotId};
use crate::types::{Hop, IpNet};
use crate::wire::community::Bandwidth;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What some prefixes must have behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which prefixes.
    pub prefixes: Vec<Arc<PrefixSet>>,
    /// Next hops: those of the best path and of its equals.
    pub minimum_next_hops: u8,
    /// What those say together of their link bandwidth (RFC 10005); a path that says nothing adds nothing.
    pub minimum_bandwidth: Option<Bandwidth>,
}

/// Guards in order; the first that fits a prefix is its guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards(Vec<Guard>);

impl Guards {
    /// Of these, in this order.
    #[must_use]
    pub const fn new(all: Vec<Guard>) -> Self {
        Self(all)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Guard> {
        self.0.iter()
    }

    /// The guard of a prefix.
    #[must_use]
    pub fn of(&self, prefix: &IpNet) -> Option<&Guard> {
        self.0.iter().find(|guard| guard.prefixes.iter().any(|set| set.contains(prefix)))
    }
}

/// Why a prefix is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// So many next hops of those it needs.
    NextHops(usize, u8),
    /// So much link bandwidth of what it needs, and so many next hops that say nothing of theirs.
    Bandwidth(Bandwidth, Bandwidth, usize),
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NextHops(has, needs) => write!(f, "held back: {has} of {needs} next hops"),
            Self::Bandwidth(has, needs, silent) => {
                write!(f, "held back: {has} of {needs} link bandwidth")?;
                match silent {
                    0 => Ok(()),
                    1 => f.write_str(", unknown of 1 next hop"),
                    many => write!(f, ", unknown of {many} next hops"),
                }
            }
        }
    }
}

/// The guards of a table, and what they hold back.
#[derive(Debug, Default)]
pub(super) struct Watchman {
    guards: Guards,
    /// Slots that are held back. Bounded by the prefixes that have a guard.
    held: BTreeSet<SlotId>,
}

impl Watchman {
    /// Whether there is nothing to guard: then nothing else is asked for any prefix.
    pub(super) fn is_idle(&self) -> bool {
        self.guards.is_empty() && self.held.is_empty()
    }

    /// Whether a slot is held back.
    pub(super) fn holds(&self, at: SlotId) -> bool {
        !self.held.is_empty() && self.held.contains(&at)
    }

    /// A slot is held back, or not.
    pub(super) fn note(&mut self, at: SlotId, held: bool) {
        if held {
            self.held.insert(at);
        } else {
            self.held.remove(&at);
        }
    }
}

impl Table {
    /// Replaces the guards; every prefix is looked at again.
    pub fn set_guards(&mut self, guards: &Guards) {
        if self.watchman.guards != *guards {
            self.watchman.guards = guards.clone();
            self.rank_all();
        }
    }

    /// How many prefixes are held back.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.watchman.held.len()
    }

    /// Why a prefix is held back, if it is.
    #[must_use]
    pub fn why_held_back(&self, entry: &Entry<'_>) -> Option<HeldBack> {
        self.is_held_back(&entry.prefix, entry.paths)
    }

    /// What the decision process makes of a list; nothing, where its prefix is held back.
    pub(super) fn guarded(&mut self, at: SlotId, list: u32) -> Outcome {
        let outcome = self.outcome(list);
        if !self.watchman.is_idle() && self.hold_back(at) { (None, None, None) } else { outcome }
    }

    /// Whether what is known of a slot is held back; notes it.
    pub(super) fn hold_back(&mut self, at: SlotId) -> bool {
        let Some(slot) = self.slots.get(at) else {
            return false;
        };
        let held = !matches!(slot.paths(), Paths::None)
            && self.is_held_back(&self.slots.prefix(slot), self.slots.paths(slot)).is_some();
        self.watchman.note(at, held);
        held
    }

    fn is_held_back(&self, prefix: &IpNet, paths: &[Path]) -> Option<HeldBack> {
        let guard = self.watchman.guards.of(prefix)?;
        let used = self.used(paths);
        // What this node originates it need not reach; what nobody can reach is not held back.
        if used.first().is_none_or(|best| is_own(best.peer)) {
            return None;
        }
        // Two paths through one next hop are one way out, as wide as the wider one says.
        let mut hops: BTreeMap<Hop, Option<Bandwidth>> = BTreeMap::new();
        for path in used {
            if let Some(hop) = self.hops.resolved(path.hop) {
                let (known, said) = (hops.entry(hop).or_default(), self.attrs.bandwidth(path.attrs));
                if said.is_some_and(|said| known.is_none_or(|known| said > known)) {
                    *known = said;
                }
            }
        }
        if hops.len() < usize::from(guard.minimum_next_hops) {
            return Some(HeldBack::NextHops(hops.len(), guard.minimum_next_hops));
        }
        let needs = guard.minimum_bandwidth?;
        let sum = Bandwidth::sum(hops.values().flatten().copied());
        let silent = hops.values().filter(|known| known.is_none()).count();
        (sum < needs).then_some(HeldBack::Bandwidth(sum, needs, silent))
    }

    /// The best path and its equals, as many as there are places in an ECMP set; the best first.
    fn used<'p>(&self, paths: &'p [Path]) -> Vec<&'p Path> {
        let Some(ranking) = self.ranking(paths) else {
            return Vec::new();
        };
        let others =
            (0..paths.len()).filter(|&at| at != ranking.best && ranking.ended_by.get(at) == Some(&Rule::Equal));
        let all = std::iter::once(ranking.best).chain(others).filter_map(|at| paths.get(at));
        all.take(self.multipath).collect()
    }
}
