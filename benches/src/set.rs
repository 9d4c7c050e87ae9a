//! A set of prefixes as one bit each: what a monitor holds, exactly, at a cost that does not show. Knows nothing of BGP.

use std::collections::BTreeSet;

/// A prefix: address in host order, length in bits.
pub type Prefix = (u32, u8);

/// Longest prefix that has a bit in a set shaped for tables.
const MAX_LENGTH: u8 = 24;

/// Which prefixes have a bit; the others are kept in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Everything up to /24, in 4 MB.
    Table,
    /// So many /32 from an address on.
    Hosts(u32, u32),
}

/// Prefixes that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixSet {
    shape: Shape,
    words: Vec<u64>,
    rest: BTreeSet<Prefix>,
    len: usize,
}

impl Default for PrefixSet {
    fn default() -> Self {
        Self::shaped(Shape::Table, 1 << (MAX_LENGTH + 1))
    }
}

impl PrefixSet {
    /// An empty set for `count` /32 from `first` on.
    pub fn hosts(first: u32, count: u32) -> Self {
        Self::shaped(Shape::Hosts(first, count), count)
    }

    /// An empty set for the same kind of prefixes.
    #[must_use]
    pub fn cleared(&self) -> Self {
        Self { words: vec![0; self.words.len()], rest: BTreeSet::new(), len: 0, shape: self.shape }
    }

    fn shaped(shape: Shape, bits: u32) -> Self {
        Self { shape, words: vec![0; bits.div_ceil(64) as usize], rest: BTreeSet::new(), len: 0 }
    }

    /// Word and bit of a prefix. In a table, lengths lie one after another, as in a heap.
    fn place(&self, (address, length): Prefix) -> Option<(usize, u64)> {
        let index = match self.shape {
            Shape::Table if length == 0 => 1,
            Shape::Table if length <= MAX_LENGTH => (1_u32 << length) + (address >> (32 - length)),
            Shape::Hosts(first, count) if length == 32 && address.wrapping_sub(first) < count => address - first,
            Shape::Table | Shape::Hosts(..) => return None,
        };
        Some(((index / 64) as usize, 1 << (index % 64)))
    }

    /// Adds a prefix; true if it is new.
    pub fn insert(&mut self, prefix: Prefix) -> bool {
        let is_new = match self.place(prefix) {
            Some((word, bit)) => {
                let old = self.words[word];
                self.words[word] |= bit;
                old & bit == 0
            }
            None => self.rest.insert(prefix),
        };
        self.len += usize::from(is_new);
        is_new
    }

    /// Removes a prefix; true if it was held.
    pub fn remove(&mut self, prefix: Prefix) -> bool {
        let was_held = match self.place(prefix) {
            Some((word, bit)) => {
                let old = self.words[word];
                self.words[word] &= !bit;
                old & bit != 0
            }
            None => self.rest.remove(&prefix),
        };
        self.len -= usize::from(was_held);
        was_held
    }

    /// Whether the prefix is held.
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.place(prefix).map_or_else(|| self.rest.contains(&prefix), |(word, bit)| self.words[word] & bit != 0)
    }

    /// Prefixes held.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is held.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_separate_and_long_prefixes_are_held_too() {
        let mut set = PrefixSet::default();
        assert!(set.insert((0x0b00_0000, 19)) && set.insert((0x0b00_0000, 24)) && set.insert((0, 0)));
        assert!(!set.insert((0x0b00_0000, 24)) && !set.contains((0x0b00_0000, 20)));
        assert!(set.insert((0x0b00_0001, 32)) && set.contains((0x0b00_0001, 32)));
        assert!(set.remove((0x0b00_0000, 19)) && !set.remove((0x0b00_0000, 19)));
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn hosts_outside_of_the_range_are_held_too() {
        let mut set = PrefixSet::hosts(100, 65);
        assert!(set.insert((164, 32)) && set.insert((165, 32)) && set.insert((99, 32)));
        assert!(!set.insert((165, 32)) && !set.contains((100, 32)));
        assert_eq!((set.len(), set.cleared().len()), (3, 0));
    }
}
