//! For readers that are told of several paths of a prefix (RFC 7911): which change of a slot is the newest of any of its paths, and
//! which identifier each path is sent with.
//!
//! A change of a path that is not the best is an entry of the same log; readers of best paths alone pass over it. Its number is kept
//! beside the slots, only while somebody is told of several paths, so that a slot stays at 32 octets.

use super::{HOPS_ONLY, Table, low_half};
use crate::rib::decide::{Candidate, Preference, decide};
use crate::rib::slots::{List, Path, Paths, SlotId, Tag, Tags};

/// A usable path, as it may be sent beside others of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sendable {
    /// The identifier that we give it (RFC 7911 §3).
    pub id: u32,
    /// Number of its newest change.
    pub changed: u64,
    /// The path.
    pub path: Path,
}

/// What is known beside the slots.
#[derive(Debug, Default)]
pub(super) struct Watch {
    active: bool,
    /// By slot: number of its newest change that is none of its best path; 0 when that is out of the log, or overtaken.
    changed: Vec<u64>,
    overtaken: u64,
}

impl Watch {
    fn of(&self, at: SlotId) -> u64 {
        self.changed.get(at as usize).copied().unwrap_or_default()
    }

    /// A change of the best path follows; `in_log`: an earlier one is still there.
    pub(super) fn overtake(&mut self, at: SlotId, in_log: bool) {
        if let Some(changed) = self.changed.get_mut(at as usize) {
            self.overtaken += u64::from(in_log || *changed != 0);
            *changed = 0;
        } else {
            self.overtaken += u64::from(self.active && in_log);
        }
    }

    /// Change number `change` of a slot is forgotten; whether it was the newest of its paths.
    pub(super) fn trim(&mut self, at: SlotId, change: u64) -> bool {
        let newest = self.of(at) == change;
        if newest {
            self.changed[at as usize] = 0;
        }
        newest
    }

    fn note(&mut self, at: SlotId, change: u64) {
        let at = at as usize;
        if self.changed.len() <= at {
            self.changed.resize(at + 1, 0);
        }
        self.changed[at] = change;
    }
}

impl Table {
    /// Whether changes of paths that are not the best are noted from now on.
    pub fn watch_paths(&mut self, active: bool) {
        self.watch.active = active;
    }

    /// Whether they are noted.
    #[must_use]
    pub const fn is_watching_paths(&self) -> bool {
        self.watch.active
    }

    /// Number of the newest change of any path of a slot, while it is in the log; 0 otherwise.
    #[must_use]
    pub fn paths_changed(&self, at: SlotId) -> u64 {
        let best = self.slots.get(at).and_then(|slot| self.change_of(slot)).unwrap_or_default();
        best.max(self.watch.of(at))
    }

    /// The slot whose newest change of any path follows `change` changes.
    #[must_use]
    pub fn path_change_at(&self, change: u64) -> Option<SlotId> {
        let slot = *self.log.get(usize::try_from(change.checked_sub(self.log_base)?).ok()?)? & !HOPS_ONLY;
        (self.paths_changed(slot) == change + 1).then_some(slot)
    }

    /// How many changes of paths were overtaken by a later one of the same prefix while they were in the log.
    #[must_use]
    pub const fn overtaken_paths(&self) -> u64 {
        self.watch.overtaken
    }

    /// The usable paths of a slot.
    pub fn sendable(&self, at: SlotId) -> impl Iterator<Item = Sendable> {
        let slot = self.slots.get(at);
        let tags = slot.and_then(|slot| match slot.paths() {
            Paths::Many(list) => self.slots.list(list).tags.as_deref(),
            Paths::One(_) | Paths::None => None,
        });
        let slot = slot.filter(|_| !self.watchman.holds(at));
        let paths = slot.map_or(&[][..], |slot| self.slots.paths(slot));
        let tag = move |place: usize| match tags {
            Some(tags) => tags.0[place],
            None => Tag { id: number(place) + 1, changed: self.paths_changed(at) },
        };
        let all = paths.iter().enumerate().filter(|(_, path)| self.is_usable(path));
        all.map(move |(place, path)| Sendable { id: tag(place).id, changed: tag(place).changed, path: *path })
    }

    /// The usable paths of a slot, the best first: each is what the decision process makes of those that are left.
    #[must_use]
    pub fn ranked(&self, at: SlotId) -> Ranked<'_> {
        let preference = |sendable: Sendable| (self.preference(&sendable.path), sendable);
        let mut left: Vec<_> = self.sendable(at).map(preference).collect();
        left.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
        Ranked { table: self, left }
    }

    /// Whether a slot has a change in the log.
    pub(super) fn is_logged(&self, at: SlotId) -> bool {
        self.watch.of(at) != 0 || self.slots.get(at).is_some_and(|slot| slot.in_log)
    }

    /// Whether a list is to be left as it is for those who are told of its paths.
    pub(super) fn is_watched(&self, list: u32) -> bool {
        self.watch.active && self.slots.list(list).tags.is_some()
    }

    /// A path at `place` changed, or one is gone; `noted`: the best one too, and all readers will hear of it.
    pub(super) fn note_path(&mut self, at: SlotId, place: Option<usize>, noted: bool) {
        let Paths::Many(list) = self.slots.slot(at).paths() else {
            return;
        };
        if !self.watch.active {
            return;
        }
        if !noted {
            self.watch.overtaken += u64::from(self.is_logged(at));
            self.log.push_back(at);
            self.watch.note(at, self.log_end());
        }
        let change = self.log_end();
        let tags = self.slots.list_mut(list).tags.as_deref_mut();
        if let Some(tag) = place.and_then(|place| tags?.0.get_mut(place)) {
            tag.changed = change;
        }
    }

    /// The tag of the only path of a slot, which others are to join.
    pub(super) fn tag_of_one(&self, at: SlotId) -> Option<Box<Tags>> {
        let tag = Tag { id: 1, changed: self.paths_changed(at) };
        self.watch.active.then(|| Box::new(Tags(vec![tag])))
    }

    /// Tags a list before it changes for the first time since somebody is told of several paths.
    pub(super) fn tag_list(&mut self, list: u32) {
        if self.watch.active && self.slots.list(list).tags.is_none() {
            let list = self.slots.list_mut(list);
            let tags = (0..list.paths.len()).map(|place| Tag { id: number(place) + 1, changed: 0 });
            list.tags = Some(Box::new(Tags(tags.collect())));
        }
    }

    /// Ends a list whose last change every reader knows, when it is down to a path that keeps its identifier without a list.
    pub(super) fn fold_tagged(&mut self, at: SlotId, list: u32) {
        let tags = self.slots.list(list).tags.as_deref();
        if !self.watch.active || tags.is_none_or(|tags| matches!(tags.0[..], [] | [Tag { id: 1, .. }])) {
            self.fold(at, list);
        }
    }

    pub(super) fn preference(&self, path: &Path) -> Preference {
        let preference = self.attrs.preference(path.attrs);
        if super::is_own(path.peer) { preference.originated() } else { preference }
    }
}

fn number(place: usize) -> u32 {
    low_half(place as u64)
}

impl List {
    pub(super) fn push(&mut self, path: Path) {
        self.paths.push(path);
        if let Some(tags) = &mut self.tags {
            let id = tags.free_id();
            tags.0.push(Tag { id, changed: 0 });
        }
    }

    pub(super) fn remove(&mut self, place: usize) -> Path {
        if let Some(tags) = &mut self.tags {
            tags.0.remove(place);
        }
        let gone = number(place);
        self.best = match self.best {
            Some(best) if best == gone => None,
            Some(best) if best > gone => Some(best - 1),
            other => other,
        };
        self.paths.remove(place)
    }
}

/// See [`Table::ranked`].
#[derive(Debug)]
pub struct Ranked<'t> {
    table: &'t Table,
    /// What is left, the most preferred last.
    left: Vec<(Preference, Sendable)>,
}

impl Iterator for Ranked<'_> {
    type Item = Sendable;

    fn next(&mut self) -> Option<Sendable> {
        let most = self.left.last()?.0;
        // Only those that share the best preference can be the best.
        let first = self.left.partition_point(|(preference, _)| *preference > most);
        let equals = self.left.get(first..)?;
        let best = if equals.len() == 1 {
            0
        } else {
            let all: Vec<Candidate<'_>> =
                equals.iter().filter_map(|(_, sendable)| self.table.candidate(&sendable.path)).collect();
            decide(&all)?.best
        };
        Some(self.left.remove(first + best).1)
    }
}
