//! The routes: what is wanted and what is held for each key, and which keys differ. Knows nexthop objects by their ids only, and
//! counts how many routes want and hold each.

use super::op::{NhId, RouteKey, Target};
use std::collections::{BTreeMap, BTreeSet};

/// What a key should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Found at start, and nobody has said anything about it yet: left as it is.
    Leftover,
    /// No route.
    Nothing,
    /// A route that does this.
    To(Target),
}

/// What the kernel holds, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// What the route does.
    pub(super) target: Target,
    /// Its other attributes are as wanted too.
    pub(super) exact: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) want: Wanted,
    pub(super) have: Option<Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    wanted: u32,
    held: u32,
}

/// All routes of ours.
#[derive(Debug, Default)]
pub(super) struct Routes {
    entries: BTreeMap<RouteKey, Entry>,
    counts: BTreeMap<NhId, Count>,
    /// Ids whose count of wanting or holding routes came to or left zero; drained by the owner.
    touched: BTreeSet<NhId>,
    /// To be created or replaced.
    to_set: BTreeSet<RouteKey>,
    /// To be deleted.
    to_delete: BTreeSet<RouteKey>,
    /// Wanted, but none of the neighbours is alive.
    starved: BTreeSet<RouteKey>,
    leftovers: usize,
    held: usize,
}

impl Routes {
    /// The entry of a key.
    pub(super) fn entry(&self, key: &RouteKey) -> Option<Entry> {
        self.entries.get(key).copied()
    }

    /// Says what a key should come to.
    pub(super) fn want(&mut self, key: RouteKey, want: Wanted) {
        let entry = self.entries.get(&key).copied().unwrap_or(Entry { want: Wanted::Nothing, have: None });
        self.change(key, entry, Entry { want, ..entry });
    }

    /// Says what the kernel holds now.
    pub(super) fn have(&mut self, key: RouteKey, have: Option<Held>) {
        let entry = self.entries.get(&key).copied().unwrap_or(Entry { want: Wanted::Nothing, have: None });
        self.change(key, entry, Entry { have, ..entry });
    }

    /// Takes a route in that was found at start.
    pub(super) fn adopt(&mut self, key: RouteKey, held: Held) {
        let old = Entry { want: Wanted::Nothing, have: None };
        self.change(key, old, Entry { want: Wanted::Leftover, have: Some(held) });
    }

    fn change(&mut self, key: RouteKey, old: Entry, mut new: Entry) {
        // A leftover that vanished is nobody's business any more.
        if new.want == Wanted::Leftover && new.have.is_none() {
            new.want = Wanted::Nothing;
        }
        self.count(old, false);
        self.count(new, true);
        if new.want == Wanted::Nothing && new.have.is_none() {
            self.entries.remove(&key);
        } else {
            self.entries.insert(key, new);
        }
        self.refresh(key, new);
    }

    fn count(&mut self, entry: Entry, up: bool) {
        let step = |number: &mut u32| {
            *number = if up { *number + 1 } else { *number - 1 };
            *number <= 1
        };
        if let Wanted::To(Target::Nexthop(id)) = entry.want
            && step(&mut self.counts.entry(id).or_default().wanted)
        {
            self.touched.insert(id);
        }
        if let Some(Held { target: Target::Nexthop(id), .. }) = entry.have
            && step(&mut self.counts.entry(id).or_default().held)
        {
            self.touched.insert(id);
        }
        let step = |number: &mut usize| *number = if up { *number + 1 } else { *number - 1 };
        if entry.want == Wanted::Leftover {
            step(&mut self.leftovers);
        }
        if entry.have.is_some() {
            step(&mut self.held);
        }
    }

    fn refresh(&mut self, key: RouteKey, entry: Entry) {
        let (mut set, mut delete) = (false, false);
        match entry.want {
            Wanted::Leftover => {}
            Wanted::Nothing => delete = entry.have.is_some(),
            Wanted::To(target) => set = entry.have != Some(Held { target, exact: true }),
        }
        place(&mut self.to_set, key, set);
        place(&mut self.to_delete, key, delete);
        self.starved.remove(&key);
    }

    /// Makes a key that was set aside due again, if it still differs.
    pub(super) fn retry(&mut self, key: RouteKey) {
        if let Some(entry) = self.entry(&key) {
            self.refresh(key, entry);
        }
    }

    /// Sets a key aside: nothing is tried until [`Routes::retry`] or a change.
    pub(super) fn set_aside(&mut self, key: RouteKey) {
        self.to_set.remove(&key);
        self.to_delete.remove(&key);
    }

    /// None of the neighbours of this route is alive: what is held of it goes, and it waits for [`Routes::revive`].
    pub(super) fn starve(&mut self, key: RouteKey) {
        self.to_set.remove(&key);
        if self.entry(&key).is_some_and(|entry| entry.have.is_some()) {
            self.to_delete.insert(key);
        }
        self.starved.insert(key);
    }

    /// An object is there (again): routes that waited for it are due.
    pub(super) fn revive(&mut self, id: NhId) {
        let waiting: Vec<_> = self.starved.iter().copied().filter(|key| self.wants(key, id)).collect();
        for key in waiting {
            self.retry(key);
        }
    }

    /// Objects may be there after all.
    pub(super) fn retry_starved(&mut self) {
        for key in std::mem::take(&mut self.starved) {
            self.retry(key);
        }
    }

    fn wants(&self, key: &RouteKey, id: NhId) -> bool {
        self.entry(key).is_some_and(|entry| entry.want == Wanted::To(Target::Nexthop(id)))
    }

    /// The kernel dropped these objects, and with them the routes that named them. Walks the table if any route did.
    pub(super) fn lose(&mut self, gone: &BTreeSet<NhId>) {
        if gone.iter().all(|id| self.holding(*id) == 0) {
            return;
        }
        let named = |entry: &Entry| match entry.have {
            Some(Held { target: Target::Nexthop(id), .. }) => gone.contains(&id),
            Some(Held { target: Target::Blackhole | Target::Unreachable | Target::Other, .. }) | None => false,
        };
        let lost: Vec<_> = self.entries.iter().filter(|(_, entry)| named(entry)).map(|(key, _)| *key).collect();
        for key in lost {
            self.have(key, None);
        }
    }

    /// An object got another id.
    pub(super) fn renumber(&mut self, old: NhId, new: NhId) {
        let hit: Vec<_> = self.entries.keys().copied().filter(|key| self.wants(key, old)).collect();
        for key in hit {
            self.want(key, Wanted::To(Target::Nexthop(new)));
        }
    }

    /// Compares with a complete list of what the kernel holds, ascending by key. `adopt`: what nobody wants is left alone for now.
    /// Returns how many entries had drifted.
    pub(super) fn compare(&mut self, found: &[(RouteKey, Held)], adopt: bool) -> usize {
        let mut drift = Vec::new();
        let mut found = found.iter().peekable();
        for (key, entry) in &self.entries {
            while let Some(extra) = found.next_if(|(other, _)| other < key) {
                drift.push((extra.0, Some(extra.1)));
            }
            let have = found.next_if(|(other, _)| other == key).map(|(_, held)| *held);
            if have != entry.have {
                drift.push((*key, have));
            }
        }
        drift.extend(found.map(|(key, held)| (*key, Some(*held))));
        for (key, have) in &drift {
            match have {
                Some(held) if adopt && !self.entries.contains_key(key) => self.adopt(*key, *held),
                Some(_) | None => self.have(*key, *have),
            }
        }
        drift.len()
    }

    /// Every key with its entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RouteKey, &Entry)> {
        self.entries.iter()
    }

    /// The next key to create or replace.
    pub(super) fn next_to_set(&self, after: Option<RouteKey>) -> Option<RouteKey> {
        next_after(&self.to_set, after)
    }

    /// Keys to delete, descending: the kernel's table takes deletions that way several times faster.
    pub(super) fn to_delete(&self) -> impl Iterator<Item = RouteKey> {
        self.to_delete.iter().rev().copied()
    }

    /// Whether anything is under way for a key.
    pub(super) fn is_due(&self, key: &RouteKey) -> bool {
        self.to_set.contains(key) || self.to_delete.contains(key)
    }

    /// How many operations are due.
    pub(super) fn due(&self) -> usize {
        self.to_set.len() + self.to_delete.len()
    }

    /// How many routes want an object.
    pub(super) fn wanting(&self, id: NhId) -> u32 {
        self.counts.get(&id).map_or(0, |count| count.wanted)
    }

    /// How many routes in the kernel name an object.
    pub(super) fn holding(&self, id: NhId) -> u32 {
        self.counts.get(&id).map_or(0, |count| count.held)
    }

    /// Ids whose counts came to or left zero since the last call.
    pub(super) fn take_touched(&mut self) -> BTreeSet<NhId> {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            if self.wanting(*id) == 0 && self.holding(*id) == 0 {
                self.counts.remove(id);
            }
        }
        touched
    }

    /// Routes in the kernel.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Routes of an earlier run that nobody has asked for.
    pub(super) const fn leftovers(&self) -> usize {
        self.leftovers
    }

    /// Routes whose neighbours are all dead.
    pub(super) fn starved(&self) -> usize {
        self.starved.len()
    }
}

fn place(set: &mut BTreeSet<RouteKey>, key: RouteKey, inside: bool) {
    if inside {
        set.insert(key);
    } else if !set.is_empty() {
        set.remove(&key);
    }
}

fn next_after(set: &BTreeSet<RouteKey>, after: Option<RouteKey>) -> Option<RouteKey> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, Excluded);
    set.range((from, Unbounded)).next().copied()
}
