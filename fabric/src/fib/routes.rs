//! The routes: what is wanted and what is held for each key, and which keys differ. Knows nexthop objects by their ids only, and
//! counts how many routes want and hold each.

use super::op::{HeldRoute, NhId, RouteKey, Target};
use super::standin::Standins;
use super::table::{Due, Slot, Table};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) want: Wanted,
    pub(super) have: Option<Held>,
}

impl Entry {
    /// Neither wanted nor held: there is no such entry.
    pub(super) const NONE: Self = Self { want: Wanted::Nothing, have: None };
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    wanted: u32,
    held: u32,
    /// Of those held: nothing is wanted in their place.
    leaving: u32,
}

/// Which objects an entry counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    wanted: Option<NhId>,
    held: Option<NhId>,
    leaving: Option<NhId>,
    /// Held and wanted, where they are not the same.
    relying: Option<(NhId, NhId)>,
}

impl Counts {
    const fn of(entry: Entry) -> Self {
        let wanted = match entry.want {
            Wanted::To(target) => target.nexthop(),
            Wanted::Leftover | Wanted::Nothing => None,
        };
        let held = match entry.have {
            Some(held) => held.target.nexthop(),
            None => None,
        };
        let relying = match (held, wanted) {
            (Some(held), Some(wanted)) if held.0 != wanted.0 => Some((held, wanted)),
            _ => None,
        };
        Self { wanted, held, leaving: if matches!(entry.want, Wanted::Nothing) { held } else { None }, relying }
    }
}

/// A list of what the kernel holds, as far as it has been read.
#[derive(Debug)]
pub(super) struct Looked {
    /// By slot: it is in the list.
    seen: Vec<bool>,
    /// How many of those that are believed to be held are.
    held: usize,
    /// What is not as believed.
    drift: Vec<(RouteKey, Option<Held>)>,
}

/// All routes of ours.
#[derive(Debug)]
pub(super) struct Routes {
    table: Table,
    counts: BTreeMap<NhId, Count>,
    /// Ids whose count of wanting or holding routes came to or left zero; drained by the owner.
    touched: BTreeSet<NhId>,
    /// Slots to be created or replaced, in the order in which that was asked for. In all three queues a slot of which it is no longer
    /// true is passed over when its turn comes.
    to_set: VecDeque<u32>,
    /// Slots to be deleted, and those whose turn it is: sorted, and taken from the back.
    to_delete: Vec<u32>,
    deleting: Vec<u32>,
    /// Who stands in for what.
    standins: Standins,
    /// Slots of the operations under way, in their order; of those that failed as well, until one after them has succeeded.
    given_out: VecDeque<u32>,
    /// A slot with an operation under way was given up: its key may stand elsewhere now, where nothing tells of the operation.
    is_torn: bool,
    /// Slots wanted, of which none of the neighbours is alive.
    to_revive: Vec<u32>,
    due: usize,
    starved: usize,
    leftovers: usize,
    held: usize,
}

impl Routes {
    /// No routes. The seed is for the hash.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            table: Table::new(seed),
            counts: BTreeMap::new(),
            touched: BTreeSet::new(),
            to_set: VecDeque::new(),
            to_delete: Vec::new(),
            deleting: Vec::new(),
            given_out: VecDeque::new(),
            is_torn: false,
            to_revive: Vec::new(),
            standins: Standins::default(),
            due: 0,
            starved: 0,
            leftovers: 0,
            held: 0,
        }
    }

    /// The entry of a key.
    pub(super) fn entry(&self, key: &RouteKey) -> Option<Entry> {
        Some(self.table.slot(self.table.find(key)?).entry)
    }

    /// The entry of a key, and whether an operation is due for it. `hint`: what [`Routes::want`] said of it.
    pub(super) fn state(&self, hint: u32, key: &RouteKey) -> Option<(Entry, bool)> {
        let slot = self.table.slot(self.table.find_near(hint, key)?);
        Some((slot.entry, slot.due != Due::No))
    }

    /// Says what a key should come to; where it stands, if it does.
    pub(super) fn want(&mut self, key: RouteKey, want: Wanted) -> Option<u32> {
        let at = match want {
            // To make an entry that says nothing would be to make none.
            Wanted::Leftover | Wanted::Nothing => self.table.find(&key),
            Wanted::To(_) => Some(self.table.find_or_make(key)),
        };
        if let Some(at) = at {
            self.change(at, Entry { want, ..self.table.slot(at).entry });
        }
        at
    }

    /// No operation is under way any more.
    pub(super) fn begin_ops(&mut self) {
        for at in self.given_out.drain(..) {
            self.table.slot_mut(at).queued.under_way = false;
        }
        self.is_torn = false;
    }

    /// Whether operations on routes are under way, and it is known of each key whether it has one.
    pub(super) fn can_go_on(&self) -> bool {
        !self.is_torn && !self.given_out.is_empty()
    }

    /// Whether there are keys to create or replace.
    pub(super) fn has_to_set(&self) -> bool {
        !self.to_set.is_empty()
    }

    /// An operation on this slot is under way from now on.
    pub(super) fn give_out(&mut self, at: u32) {
        self.table.slot_mut(at).queued.under_way = true;
        self.given_out.push_back(at);
    }

    /// Where a key stands whose operation was given out; outcomes come in that order, but for those that failed.
    fn landed(&mut self, key: &RouteKey) -> Option<u32> {
        while let Some(at) = self.given_out.pop_front() {
            let slot = self.table.slot_mut(at);
            slot.queued.under_way = false;
            if slot.key == *key {
                return self.table.find_near(at, key);
            }
        }
        self.table.find(key)
    }

    /// Says what the kernel holds after an operation.
    pub(super) fn done(&mut self, key: RouteKey, have: Option<Held>) {
        let known = self.landed(&key);
        self.have_at(known, key, have);
    }

    /// Says what the kernel holds now.
    pub(super) fn have(&mut self, key: RouteKey, have: Option<Held>) {
        self.have_at(self.table.find(&key), key, have);
    }

    fn have_at(&mut self, known: Option<u32>, key: RouteKey, have: Option<Held>) {
        let at = if have.is_none() { known } else { Some(known.unwrap_or_else(|| self.table.find_or_make(key))) };
        if let Some(at) = at {
            self.change(at, Entry { have, ..self.table.slot(at).entry });
        }
    }

    /// Takes a route in that was found at start.
    pub(super) fn adopt(&mut self, key: RouteKey, held: Held) {
        let at = self.table.find_or_make(key);
        self.change(at, Entry { want: Wanted::Leftover, have: Some(held) });
    }

    fn change(&mut self, at: u32, mut new: Entry) {
        // A leftover that vanished is nobody's business any more.
        if new.want == Wanted::Leftover && new.have.is_none() {
            new.want = Wanted::Nothing;
        }
        let old = std::mem::replace(&mut self.table.slot_mut(at).entry, new);
        self.count(old, new, false);
        self.count(new, old, true);
        self.refresh(at);
        if new == Entry::NONE {
            self.is_torn |= self.table.slot(at).queued.under_way;
            self.table.forget(at);
        }
    }

    /// Counts an entry in or out, as far as it differs from the one that follows or preceded it.
    fn count(&mut self, entry: Entry, other: Entry, up: bool) {
        let step = |number: &mut u32| {
            *number = if up { *number + 1 } else { *number - 1 };
            *number <= 1
        };
        let (mine, others) = (Counts::of(entry), Counts::of(other));
        if mine != others {
            if let Some(id) = mine.wanted.filter(|_| mine.wanted != others.wanted)
                && step(&mut self.counts.entry(id).or_default().wanted)
            {
                self.touched.insert(id);
            }
            if let Some(id) = mine.held.filter(|_| mine.held != others.held)
                && step(&mut self.counts.entry(id).or_default().held)
            {
                self.touched.insert(id);
            }
            if let Some(id) = mine.leaving.filter(|_| mine.leaving != others.leaving) {
                step(&mut self.counts.entry(id).or_default().leaving);
            }
            if let Some(pair) = mine.relying.filter(|_| mine.relying != others.relying)
                && self.standins.count(pair, up)
            {
                self.touched.insert(pair.0);
            }
        }
        let step = |number: &mut usize| *number = if up { *number + 1 } else { *number - 1 };
        if entry.want == Wanted::Leftover {
            step(&mut self.leftovers);
        }
        if entry.have.is_some() {
            step(&mut self.held);
        }
    }

    /// Whether the kernel does what is wanted.
    pub(super) fn is_as_wanted(&self, entry: &Entry) -> bool {
        match (entry.want, entry.have) {
            (Wanted::Leftover, _) => true,
            (Wanted::Nothing, have) => have.is_none(),
            (Wanted::To(wanted), Some(Held { target, exact: true })) => {
                target == wanted || target.nexthop().zip(wanted.nexthop()).is_some_and(|pair| self.standins.has(pair))
            }
            (Wanted::To(_), Some(Held { exact: false, .. }) | None) => false,
        }
    }

    /// Who stands in for what.
    pub(super) const fn standins(&self) -> &Standins {
        &self.standins
    }

    /// Takes the groups that do what another object would, as pairs of the two.
    pub(super) fn set_standins(&mut self, pairs: BTreeSet<(NhId, NhId)>) {
        self.standins.set(pairs);
    }

    /// Routes are due where nothing stands in for what they want any more, or where it is one of `ending` that does. Walks the table.
    pub(super) fn settle(&mut self, ending: &BTreeSet<NhId>) {
        self.standins.end(ending);
        let relies = |slot: &Slot| slot.due == Due::No && !slot.starved && Counts::of(slot.entry).relying.is_some();
        let hit: Vec<_> = self
            .table
            .iter()
            .filter(|(_, slot)| relies(slot) && !self.is_as_wanted(&slot.entry))
            .map(|(at, _)| at)
            .collect();
        for at in hit {
            self.refresh(at);
        }
    }

    fn refresh(&mut self, at: u32) {
        let entry = self.table.slot(at).entry;
        let due = match entry.want {
            Wanted::Nothing if entry.have.is_some() => Due::Delete,
            Wanted::To(_) if !self.is_as_wanted(&entry) => Due::Set,
            Wanted::Leftover | Wanted::Nothing | Wanted::To(_) => Due::No,
        };
        self.place(at, due, false);
    }

    /// Puts a slot where it belongs.
    fn place(&mut self, at: u32, due: Due, starved: bool) {
        let slot = self.table.slot_mut(at);
        self.due = self.due + usize::from(due != Due::No) - usize::from(slot.due != Due::No);
        self.starved = self.starved + usize::from(starved) - usize::from(slot.starved);
        slot.due = due;
        slot.starved = starved;
        if due == Due::Set && !std::mem::replace(&mut slot.queued.set, true) {
            self.to_set.push_back(at);
        }
        if due == Due::Delete && !std::mem::replace(&mut slot.queued.delete, true) {
            self.to_delete.push(at);
        }
        if starved && !std::mem::replace(&mut slot.queued.starved, true) {
            self.to_revive.push(at);
        }
    }

    /// Makes a key that was set aside due again, if it still differs.
    pub(super) fn retry(&mut self, key: RouteKey) {
        if let Some(at) = self.table.find(&key) {
            self.refresh(at);
        }
    }

    /// Sets a key aside: nothing is tried until [`Routes::retry`] or a change.
    pub(super) fn set_aside(&mut self, key: RouteKey) {
        if let Some(at) = self.table.find(&key) {
            self.place(at, Due::No, self.table.slot(at).starved);
        }
    }

    /// None of the neighbours of this route is alive: what is held of it goes, and it waits for [`Routes::revive`].
    pub(super) fn starve(&mut self, key: RouteKey) {
        if let Some(at) = self.table.find(&key) {
            let held = self.table.slot(at).entry.have.is_some();
            self.place(at, if held { Due::Delete } else { Due::No }, true);
        }
    }

    /// An object is there (again): routes that waited for it are due.
    pub(super) fn revive(&mut self, id: NhId) {
        self.revive_if(|entry| entry.want == Wanted::To(Target::Nexthop(id)));
    }

    /// Objects may be there after all.
    pub(super) fn retry_starved(&mut self) {
        self.revive_if(|_| true);
    }

    fn revive_if(&mut self, hit: impl Fn(&Entry) -> bool) {
        for at in std::mem::take(&mut self.to_revive) {
            let slot = self.table.slot_mut(at);
            if slot.starved && !hit(&slot.entry) {
                self.to_revive.push(at);
                continue;
            }
            slot.queued.starved = false;
            if slot.starved {
                self.refresh(at);
            }
        }
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
        let lost: Vec<_> = self.table.iter().filter(|(_, slot)| named(&slot.entry)).map(|(at, _)| at).collect();
        for at in lost {
            self.change(at, Entry { have: None, ..self.table.slot(at).entry });
        }
    }

    /// An object got another id.
    pub(super) fn renumber(&mut self, old: NhId, new: NhId) {
        let wants = |entry: &Entry| entry.want == Wanted::To(Target::Nexthop(old));
        let hit: Vec<_> = self.table.iter().filter(|(_, slot)| wants(&slot.entry)).map(|(at, _)| at).collect();
        for at in hit {
            let want = Wanted::To(Target::Nexthop(new));
            self.change(at, Entry { want, ..self.table.slot(at).entry });
        }
    }

    /// A complete list of what the kernel holds begins.
    pub(super) fn begin_look(&self) -> Looked {
        Looked { seen: vec![false; self.table.len()], held: 0, drift: Vec::new() }
    }

    /// Takes in one route of that list.
    pub(super) fn look(&self, looked: &mut Looked, key: RouteKey, held: Held) {
        let at = self.table.find(&key);
        if let Some(at) = at
            && let Some(mark) = looked.seen.get_mut(at as usize)
            && !std::mem::replace(mark, true)
            && self.table.slot(at).entry.have.is_some()
        {
            looked.held += 1;
        }
        if at.is_none_or(|at| self.table.slot(at).entry.have != Some(held)) {
            looked.drift.push((key, Some(held)));
        }
    }

    /// Follows the list. `adopt`: what nobody wants is left alone for now. Returns how many entries had drifted.
    pub(super) fn follow(&mut self, looked: Looked, adopt: bool) -> usize {
        let Looked { seen, held, mut drift } = looked;
        // The table is walked only if something is missing.
        if held < self.held {
            let missing =
                |at: u32, slot: &Slot| slot.entry.have.is_some() && !seen.get(at as usize).is_some_and(|seen| *seen);
            drift.extend(self.table.iter().filter(|(at, slot)| missing(*at, slot)).map(|(_, slot)| (slot.key, None)));
        }
        for (key, have) in &drift {
            match have {
                Some(held) if adopt && self.table.find(key).is_none() => self.adopt(*key, *held),
                Some(_) | None => self.have(*key, *have),
            }
        }
        drift.len()
    }

    /// Pairs every route with what a complete list says of it, and everything in the list with its route.
    pub(super) fn pair(
        &self,
        found: &[HeldRoute],
        mut each: impl FnMut(&RouteKey, Option<&Entry>, Option<&HeldRoute>),
    ) {
        let mut seen = vec![false; self.table.len()];
        for route in found {
            let at = self.table.find(&route.key);
            if let Some(mark) = at.and_then(|at| seen.get_mut(at as usize)) {
                *mark = true;
            }
            each(&route.key, at.map(|at| &self.table.slot(at).entry), Some(route));
        }
        for (at, slot) in self.table.iter() {
            if !seen.get(at as usize).is_some_and(|seen| *seen) {
                each(&slot.key, Some(&slot.entry), None);
            }
        }
    }

    /// Every key with its entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RouteKey, &Entry)> {
        self.table.iter().map(|(_, slot)| (&slot.key, &slot.entry))
    }

    /// The next key to create or replace, with its slot: for [`Routes::give_out`] or [`Routes::starve`]. It stays due until it is told
    /// what came of it. `None` too if an operation on the next one is under way.
    pub(super) fn next_to_set(&mut self) -> Option<(u32, RouteKey, Entry)> {
        while let Some(at) = self.to_set.front().copied() {
            let slot = self.table.slot_mut(at);
            if slot.due == Due::Set && slot.queued.under_way {
                break;
            }
            slot.queued.set = false;
            self.to_set.pop_front();
            if slot.due != Due::Set {
                continue;
            }
            let (key, entry) = (slot.key, slot.entry);
            if self.is_as_wanted(&entry) {
                self.place(at, Due::No, false);
                continue;
            }
            return Some((at, key, entry));
        }
        None
    }

    /// The next keys to delete, at most `max`; they stay due as with [`Routes::next_to_set`]. Descending, because the kernel's trie
    /// does far less work for that than for ascending ones.
    pub(super) fn next_to_delete(&mut self, max: usize) -> Vec<RouteKey> {
        let mut keys = Vec::new();
        while keys.len() < max {
            let Some(at) = self.deleting.pop() else {
                if self.to_delete.is_empty() {
                    break;
                }
                self.begin_deleting();
                continue;
            };
            let slot = self.table.slot_mut(at);
            if slot.due == Due::Delete && slot.queued.under_way {
                self.deleting.push(at);
                break;
            }
            slot.queued.delete = false;
            if slot.due == Due::Delete {
                keys.push(slot.key);
                self.give_out(at);
            }
        }
        keys
    }

    /// All that waits to be deleted becomes what is deleted now.
    fn begin_deleting(&mut self) {
        let table = &mut self.table;
        std::mem::swap(&mut self.deleting, &mut self.to_delete);
        self.deleting.retain(|at| {
            let slot = table.slot_mut(*at);
            slot.queued.delete = slot.due == Due::Delete;
            slot.queued.delete
        });
        self.deleting.sort_unstable_by_key(|at| table.slot(*at).key);
    }

    /// How many operations are due.
    pub(super) const fn due(&self) -> usize {
        self.due
    }

    /// How many routes want an object.
    pub(super) fn wanting(&self, id: NhId) -> u32 {
        self.counts.get(&id).map_or(0, |count| count.wanted)
    }

    /// How many routes in the kernel name an object.
    pub(super) fn holding(&self, id: NhId) -> u32 {
        self.counts.get(&id).map_or(0, |count| count.held)
    }

    /// Objects that routes want or hold.
    pub(super) fn objects(&self) -> impl Iterator<Item = NhId> + '_ {
        self.counts.keys().copied()
    }

    /// Whether every route in the kernel that names an object is to go without a successor.
    pub(super) fn all_leave(&self, id: NhId) -> bool {
        self.counts.get(&id).is_some_and(|count| count.leaving == count.held)
    }

    /// Routes to be deleted, or passed over when their turn comes.
    pub(super) const fn deletions(&self) -> usize {
        self.to_delete.len() + self.deleting.len()
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
    pub(super) const fn starved(&self) -> usize {
        self.starved
    }
}
