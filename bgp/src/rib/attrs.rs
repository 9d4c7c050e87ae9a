//! Interned attribute blocks: equal blocks are stored once and named by a small id.

use super::chunks::Chunks;
use super::decide::Preference;
use crate::wire::attrs::Attrs;
use crate::wire::community::Bandwidth;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

/// The name of an interned block: its place, counted from 1. (The unused 0 is what tells a slot with one path from others.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttrsId(NonZeroU32);

impl AttrsId {
    const fn at(place: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(place))
    }

    const fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// One block and how many paths hold it.
#[derive(Debug, Default)]
struct Slot {
    block: Box<[u8]>,
    /// Of the block: when the index grows, it must not read every block again, in one go, while others wait.
    hash: u32,
    holders: u32,
    preference: Preference,
    /// Octets per second; no number where there is none.
    bandwidth: f32,
}

/// Parts of the index, by hash. Each grows on its own, so that no call has to wait for all of it: a full table of the Internet makes
/// one part grow to a few thousand blocks, which takes less than a millisecond.
const PARTS: usize = 64;

/// All blocks of a speaker. The hash is seeded, so that no peer can craft collisions.
#[derive(Debug)]
pub struct AttrsTable {
    slots: Chunks<Slot>,
    free: Vec<u32>,
    freed: u64,
    index: Vec<HashTable<u32>>,
    hasher: SeedableRandomState,
}

impl AttrsTable {
    /// An empty table whose hash order depends on `seed` alone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            slots: Chunks::default(),
            free: Vec::new(),
            freed: 0,
            index: vec![HashTable::new(); PARTS],
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
        }
    }

    /// The id of `block`, with one more holder.
    pub fn intern(&mut self, block: &[u8]) -> AttrsId {
        let short = self.short_hash(block);
        let hash = spread(short);
        let slots = &self.slots;
        let is_it = |&at: &u32| slots.get(at as usize).is_some_and(|slot| &*slot.block == block);
        if let Some(&at) = self.index[part(short)].find(hash, is_it) {
            self.hold(AttrsId::at(at));
            return AttrsId::at(at);
        }
        let attrs = Attrs(block);
        let bandwidth = attrs.link_bandwidth().map_or(f32::NAN, Bandwidth::octets_per_s);
        let slot = Slot { block: block.into(), hash: short, holders: 1, preference: Preference::of(attrs), bandwidth };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let slots = &self.slots;
        self.index[part(short)].insert_unique(hash, at, |&at| spread(slots[at as usize].hash));
        AttrsId::at(at)
    }

    fn short_hash(&self, block: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(block);
        u32::try_from(hash >> 32).unwrap_or_default()
    }

    /// One more holder.
    pub fn hold(&mut self, id: AttrsId) {
        self.slots[id.place()].holders += 1;
    }

    /// One holder less; the last one frees the block.
    pub fn release(&mut self, id: AttrsId) {
        let slot = &mut self.slots[id.place()];
        slot.holders -= 1;
        if slot.holders == 0 {
            slot.block = Box::default();
            let short = slot.hash;
            if let Ok(entry) = self.index[part(short)].find_entry(spread(short), |&at| at as usize == id.place()) {
                entry.remove();
            }
            self.free.push(id.0.get() - 1);
            self.freed += 1;
        }
    }

    /// How many blocks were freed: as long as this stays, an id means what it meant.
    #[must_use]
    pub const fn freed(&self) -> u64 {
        self.freed
    }

    /// The bytes.
    #[must_use]
    pub fn block(&self, id: AttrsId) -> &[u8] {
        &self.slots[id.place()].block
    }

    /// How far the block's path gets in the decision process by its attributes alone.
    #[must_use]
    pub fn preference(&self, id: AttrsId) -> Preference {
        self.slots[id.place()].preference
    }

    /// The link bandwidth that the block says.
    #[must_use]
    pub fn bandwidth(&self, id: AttrsId) -> Option<Bandwidth> {
        Bandwidth::new(self.slots[id.place()].bandwidth)
    }

    /// How many distinct blocks are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// By bits that a part does not look at.
const fn part(hash: u32) -> usize {
    (hash >> 19) as usize % PARTS
}

/// A part looks at the highest and at the lowest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_blocks_share_and_the_last_holder_frees() {
        let mut table = AttrsTable::new(1);
        let a = table.intern(b"one");
        assert_eq!(table.intern(b"one"), a);
        let b = table.intern(b"two");
        assert_ne!(a, b);
        table.release(a);
        assert_eq!(table.len(), 2);
        table.release(a);
        assert_eq!(table.len(), 1);
        assert_eq!(table.block(b), b"two");
        let c = table.intern(b"three");
        assert_eq!(c, a, "the slot is used again");
        assert_eq!(table.intern(b"two"), b);
    }

    #[test]
    fn blocks_are_found_and_freed_whatever_part_of_the_index_holds_them() {
        let mut table = AttrsTable::new(1);
        let block = |number: u32| number.to_be_bytes();
        let held: Vec<_> = (0..5_000).map(|number| table.intern(&block(number))).collect();
        assert_eq!(table.len(), 5_000);
        for (number, id) in (0..).zip(&held) {
            assert_eq!((table.intern(&block(number)), table.block(*id)), (*id, &block(number)[..]));
        }
        held.iter().for_each(|id| table.release(*id));
        assert_eq!(table.len(), 5_000, "held once more");
        held.iter().for_each(|id| table.release(*id));
        assert!(table.is_empty() && table.index.iter().all(HashTable::is_empty));
    }
}
