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
/// The highest bits of a hash tell the part.
const PART_SHIFT: u32 = 24;
/// Odd, so that the lowest bits, by which a part finds its own (hashbrown), are a permutation of the hash's; the seven highest, by which
/// it compares before it looks, are of all of them: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where a route stands, with its hash: a part that grows does not look at the routes again, for which it would read what is in no cache.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    at: u32,
}

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
    index: Vec<HashTable<Place>>,
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
        self.find_hashed(self.hash(key), key)
    }

    fn find_hashed(&self, hash: u32, key: &RouteKey) -> Option<u32> {
        let is_it = |place: &Place| place.hash == hash && self.slots[place.at as usize].key == *key;
        self.index[part(hash)].find(spread(hash), is_it).map(|place| place.at)
    }

    fn hash(&self, key: &RouteKey) -> u32 {
        // As good as any other half.
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// The same where it was probably `hint` when it was last asked for.
    pub(super) fn find_near(&self, hint: u32, key: &RouteKey) -> Option<u32> {
        let is_it = |slot: &Slot| slot.key == *key && slot.entry != Entry::NONE;
        if self.slots.get(hint as usize).is_some_and(is_it) { Some(hint) } else { self.find(key) }
    }

    /// The slot of a route, which is made if there is none.
    pub(super) fn find_or_make(&mut self, key: RouteKey) -> u32 {
        let hash = self.hash(&key);
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
        self.index[part(hash)].insert_unique(spread(hash), Place { hash, at }, |place| spread(place.hash));
        at
    }

    /// Forgets a route that is neither wanted nor held.
    pub(super) fn forget(&mut self, at: u32) {
        let hash = self.hash(&self.slots[at as usize].key);
        if let Ok(found) = self.index[part(hash)].find_entry(spread(hash), |place| place.at == at) {
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

const fn part(hash: u32) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

/// A hash as long as the parts want it.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(SPREAD)
}

impl Slot {
    fn empty(key: RouteKey) -> Self {
        Self { key, entry: Entry::NONE, due: Due::No, starved: false, queued: Queued::default() }
    }
}
