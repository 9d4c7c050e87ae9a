//! Routes by key: slots in one vector, found by a seeded hash and walked in the order of the slots. Memory is touched twice for a
//! look-up, whatever the number of routes. A slot keeps its number as long as its route exists; then the number is given out again.

use super::op::RouteKey;
use super::routes::Entry;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Parts of the index. A part that has become too small is made anew alone: with one part, a million routes once waited for 190 ms, and
/// with them whatever else the thread had to do.
const PARTS: usize = 256;
/// Which bits of a hash tell the part: neither the lowest nor the seven highest, by which a part finds its own (hashbrown).
const PART_SHIFT: u32 = 40;

/// What is to be done about a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Due {
    #[default]
    No,
    /// Create or replace it.
    Set,
    Delete,
}

/// In which of the queues a slot stands. Of the slot, not of the route: it outlives one, so that no slot stands in a queue twice.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a slot may stand in any of them, whatever the others say")]
pub(super) struct Queued {
    pub(super) set: bool,
    pub(super) delete: bool,
    pub(super) starved: bool,
    /// An operation on it was given out, and nothing is known yet of what came of it.
    pub(super) under_way: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) key: RouteKey,
    pub(super) entry: Entry,
    pub(super) due: Due,
    /// Wanted, but none of the neighbours is alive.
    pub(super) starved: bool,
    pub(super) queued: Queued,
}

/// All routes. The hash is seeded, so that no peer can craft collisions.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: Vec<HashTable<u32>>,
    hasher: SeedableRandomState,
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: vec![HashTable::new(); PARTS],
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
        }
    }

    /// The slot of a route.
    pub(super) fn find(&self, key: &RouteKey) -> Option<u32> {
        self.find_hashed(self.hasher.hash_one(key), key)
    }

    fn find_hashed(&self, hash: u64, key: &RouteKey) -> Option<u32> {
        self.index[part(hash)].find(hash, |&at| self.slots[at as usize].key == *key).copied()
    }

    /// The same where it was probably `hint` when it was last asked for.
    pub(super) fn find_near(&self, hint: u32, key: &RouteKey) -> Option<u32> {
        let is_it = |slot: &Slot| slot.key == *key && slot.entry != Entry::NONE;
        if self.slots.get(hint as usize).is_some_and(is_it) { Some(hint) } else { self.find(key) }
    }

    /// The slot of a route, which is made if there is none.
    pub(super) fn find_or_make(&mut self, key: RouteKey) -> u32 {
        let hash = self.hasher.hash_one(key);
        if let Some(at) = self.find_hashed(hash, &key) {
            return at;
        }
        let at = match self.free.pop() {
            Some(at) => {
                let slot = &mut self.slots[at as usize];
                *slot = Slot { key, queued: slot.queued, ..Slot::empty(key) };
                at
            }
            None => {
                self.slots.push(Slot::empty(key));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index[part(hash)].insert_unique(hash, at, |&at| hasher.hash_one(slots[at as usize].key));
        at
    }

    /// Forgets a route that is neither wanted nor held.
    pub(super) fn forget(&mut self, at: u32) {
        let hash = self.hasher.hash_one(self.slots[at as usize].key);
        if let Ok(found) = self.index[part(hash)].find_entry(hash, |&other| other == at) {
            found.remove();
            self.free.push(at);
        }
    }

    pub(super) fn slot(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    pub(super) fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    /// How many slots there are, used or not.
    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Every route with the number of its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.entry != Entry::NONE)
    }
}

const fn part(hash: u64) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

impl Slot {
    fn empty(key: RouteKey) -> Self {
        Self { key, entry: Entry::NONE, due: Due::No, starved: false, queued: Queued::default() }
    }
}
