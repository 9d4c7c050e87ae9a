//! The prefix index: prefix ▶ slot number, ordered by family, address and length, for exact and longest match and for walks from a
//! cursor. Knows nothing of paths.
//!
//! A trie with one node per hexadecimal digit of the address. The node at depth `d` holds the prefixes of lengths `d+1..=d+4` whose
//! first `d` bits led to it, and a child for each digit behind which there are longer ones. All nodes are blocks of one vector of
//! 32-bit words, so an IPv4 table costs 6 to 10 octets per prefix and an exact match reads about one cache line per digit:
//!
//! ```text
//! block   which prefixes (30 bits) │ which children (16 bits) │ positions of the children … │ slot numbers …
//! ```
//! The bits of prefixes are in the order of a walk: by digit, then by length. So the number of lower bits set is the place of a
//! prefix among the slot numbers, and a walk goes through the bits from the lowest on, each digit's prefixes before its child.
#![expect(
    clippy::cast_possible_truncation,
    reason = "digits, depths and bits are below 128; the vector has fewer than 2^32 words"
)]

use super::slots::SlotId;
use crate::types::{Family, IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bits of address that one node decides.
const STRIDE: u8 = 4;
/// Words before the children.
const HEAD: usize = 2;
/// Words of the largest block: head, 16 children, 30 prefixes.
const MAX_WORDS: usize = HEAD + 16 + 30;
/// Prefixes whose nodes are read at once: about as many cache lines as a core can wait for.
pub const AHEAD: usize = 8;
/// No node: the vector begins with the two roots, so no block is at its start.
const NONE: u32 = 0;

/// A prefix without its family: address bits from the most significant on, and the length.
type Key = (u128, u8);

/// For each digit the first bit of its prefixes in a node; behind the last digit the number of bits.
const STARTS: [u8; 17] = {
    let mut starts = [0; 17];
    let mut digit = 0;
    while digit < 16 {
        starts[digit + 1] = starts[digit] + STRIDE + 1 - shortest(digit);
        digit += 1;
    }
    starts
};

/// The shortest length within a node of a prefix whose last digit is `digit`: 8 = 1000₂ may be 1 bit long, 2 = 0010₂ needs 3.
const fn shortest(digit: usize) -> u8 {
    match digit.trailing_zeros() {
        0 => 4,
        1 => 3,
        2 => 2,
        _ => 1,
    }
}

/// The bit of the prefix that ends in `digit` after `length` bits of it (1..=4).
const fn bit(digit: usize, length: u8) -> u32 {
    (STARTS[digit] + length - shortest(digit)) as u32
}

/// The digit at `depth` bits.
const fn digit(address: u128, depth: u8) -> usize {
    // Half by half: shifting 128 bits takes several instructions, and IPv4 never needs the lower half.
    let half = if depth < 64 { (address >> 64) as u64 } else { address as u64 };
    (half >> (60 - depth % 64)) as usize & 15
}

/// The bits of `word` below `bit`, counted.
const fn below(word: u32, bit: u32) -> usize {
    (word & ((1 << bit) - 1)).count_ones() as usize
}

/// Words set aside for a block of `words`: a little room to grow, so that few insertions move a block.
const fn capacity(words: usize) -> usize {
    if words <= 16 { words.next_multiple_of(2) } else { words.next_multiple_of(8) }
}

fn key(prefix: &IpNet) -> Key {
    match prefix {
        IpNet::V4(net) => (u128::from(net.addr().to_bits()) << 96, net.prefix_len()),
        IpNet::V6(net) => (net.addr().to_bits(), net.prefix_len()),
    }
}

fn prefix(family: Family, (address, length): Key) -> Option<IpNet> {
    Some(match family {
        Family::Ipv4Unicast => {
            let address = Ipv4Addr::from_bits(u32::try_from(address >> 96).ok()?);
            IpNet::V4(Ipv4Net::new(address, length).ok()?)
        }
        Family::Ipv6Unicast => IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(address), length).ok()?),
    })
}

/// Prefixes of both families, each with its slot number.
#[derive(Debug)]
pub struct Index {
    words: Vec<u32>,
    /// Free blocks by half their capacity, chained through their first word.
    free: [u32; MAX_WORDS / 2 + 1],
    /// The slots of 0.0.0.0/0 and ::/0, which are in no node.
    defaults: [Option<SlotId>; 2],
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { words: vec![NONE; 2], free: [NONE; MAX_WORDS / 2 + 1], defaults: [None; 2], len: 0 }
    }
}

impl Index {
    /// How many prefixes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: &IpNet) -> Option<SlotId> {
        let family = Family::of(prefix).index();
        let (address, length) = key(prefix);
        if length == 0 {
            return self.defaults[family];
        }
        let mut at = self.words[family];
        let mut depth = 0;
        while at != NONE {
            if length <= depth + STRIDE {
                return self.slot(at, bit(digit(address, depth), length - depth));
            }
            at = self.child(at, digit(address, depth));
            depth += STRIDE;
        }
        None
    }

    /// Reads what leads to these prefixes, all of them a digit at a time: the processor waits for their nodes at once, and not for one
    /// after the other when each is looked up, added or removed. No more than [`AHEAD`] are looked at.
    pub fn warm(&self, prefixes: impl Iterator<Item = IpNet>) {
        let mut ways = [(0, 0, NONE); AHEAD];
        let mut deepest = 0;
        for (way, prefix) in ways.iter_mut().zip(prefixes) {
            let (address, length) = key(&prefix);
            *way = (address, length, self.words[Family::of(&prefix).index()]);
            deepest = deepest.max(length);
        }
        for depth in (0..deepest).step_by(usize::from(STRIDE)) {
            for (address, _, at) in ways.iter_mut().filter(|(_, length, at)| *at != NONE && depth + STRIDE < *length) {
                *at = self.child(*at, digit(*address, depth));
            }
        }
        let heads: u32 = ways.iter().map(|(_, _, at)| self.words[*at as usize]).fold(0, u32::wrapping_add);
        std::hint::black_box(heads);
    }

    /// The slot of a prefix; one that is not there yet is added with the slot that `make` yields.
    pub fn get_or_insert(&mut self, prefix: &IpNet, make: impl FnOnce() -> SlotId) -> SlotId {
        let (address, length) = key(prefix);
        let mut link = Family::of(prefix).index();
        if length == 0 {
            return *self.defaults[link].get_or_insert_with(|| {
                self.len += 1;
                make()
            });
        }
        let mut depth = 0;
        loop {
            if self.words[link] == NONE {
                self.words[link] = self.allocate(HEAD);
            }
            let at = self.words[link] as usize;
            let (prefixes, children) = (self.words[at], self.words[at + 1]);
            let digit = digit(address, depth);
            if length <= depth + STRIDE {
                let bit = bit(digit, length - depth);
                let place = HEAD + children.count_ones() as usize + below(prefixes, bit);
                if prefixes & (1 << bit) != 0 {
                    return self.words[at + place];
                }
                let slot = make();
                let new = self.add_word(link, place, slot);
                self.words[new - place] |= 1 << bit;
                self.len += 1;
                return slot;
            }
            let place = HEAD + below(children, digit as u32);
            if children & (1 << digit) == 0 {
                link = self.add_word(link, place, NONE);
                self.words[link - place + 1] |= 1 << digit;
            } else {
                link = at + place;
            }
            depth += STRIDE;
        }
    }

    /// Removes a prefix, and the nodes that nothing needs any more.
    pub fn remove(&mut self, prefix: &IpNet) -> Option<SlotId> {
        let (address, length) = key(prefix);
        let family = Family::of(prefix).index();
        if length == 0 {
            let slot = self.defaults[family].take()?;
            self.len -= 1;
            return Some(slot);
        }
        // Where the links to the nodes of the path are: one for every digit before the last.
        let mut links = [family; 32];
        let last = usize::from((length - 1) / STRIDE);
        for level in 0..last {
            let at = self.words[links[level]] as usize;
            let digit = digit(address, level as u8 * STRIDE);
            if at == NONE as usize || self.words[at + 1] & (1 << digit) == 0 {
                return None;
            }
            links[level + 1] = at + HEAD + below(self.words[at + 1], digit as u32);
        }
        let at = self.words[links[last]];
        let depth = last as u8 * STRIDE;
        let bit = bit(digit(address, depth), length - depth);
        let slot = if at == NONE { None } else { self.slot(at, bit) }?;
        let at = at as usize;
        let place = HEAD + self.words[at + 1].count_ones() as usize + below(self.words[at], bit);
        self.words[at] &= !(1 << bit);
        self.remove_word(links[last], place);
        self.len -= 1;
        for level in (0..last).rev() {
            if self.words[links[level + 1]] != NONE {
                break;
            }
            let at = self.words[links[level]] as usize;
            let digit = digit(address, level as u8 * STRIDE);
            self.words[at + 1] &= !(1 << digit);
            self.remove_word(links[level], links[level + 1] - at);
        }
        Some(slot)
    }

    /// The first prefix behind `cursor`, or the first of all, and its slot.
    #[must_use]
    pub fn next(&self, cursor: Option<&IpNet>) -> Option<(IpNet, SlotId)> {
        let from = cursor.map_or(Family::Ipv4Unicast, Family::of);
        if let Some(found) = self.next_of(from, cursor.map(key)) {
            return Some(found);
        }
        match from {
            Family::Ipv4Unicast => self.next_of(Family::Ipv6Unicast, None),
            Family::Ipv6Unicast => None,
        }
    }

    fn next_of(&self, family: Family, after: Option<Key>) -> Option<(IpNet, SlotId)> {
        if let (None, Some(slot)) = (after, self.defaults[family.index()]) {
            return Some((prefix(family, (0, 0))?, slot));
        }
        let root = self.words[family.index()];
        let (key, slot) = self.next_in(root, (0, 0), after.filter(|(_, length)| *length > 0))?;
        Some((prefix(family, key)?, slot))
    }

    /// The first prefix in the node at `at`, to which the bits of `path` led, and behind `after`.
    fn next_in(&self, at: u32, path: Key, after: Option<Key>) -> Option<(Key, SlotId)> {
        if at == NONE {
            return None;
        }
        let (address, depth) = path;
        let (prefixes, children) = (self.words[at as usize], self.words[at as usize + 1]);
        let first = after.map_or(0, |(after, _)| digit(after, depth));
        for digit in first..16 {
            let mut own = prefixes & ((1 << STARTS[digit + 1]) - (1 << STARTS[digit]));
            let mut inside = None;
            if let Some((_, length)) = after.filter(|_| digit == first) {
                if length > depth + STRIDE {
                    own = 0;
                    inside = after;
                } else {
                    own &= !((2 << bit(digit, length - depth)) - 1);
                }
            }
            let address = address | (digit as u128) << (124 - depth);
            if own != 0 {
                let lowest = own.trailing_zeros();
                let length = depth + shortest(digit) + lowest as u8 - STARTS[digit];
                return Some(((address, length), self.slot(at, lowest)?));
            }
            if children & (1 << digit) != 0
                && let Some(found) = self.next_in(self.child(at, digit), (address, depth + STRIDE), inside)
            {
                return Some(found);
            }
        }
        None
    }

    /// The slot of the longest prefix that covers `target` (or is it) and that `accept` takes.
    pub fn longest(&self, target: &IpNet, accept: impl Fn(SlotId) -> bool) -> Option<SlotId> {
        let family = Family::of(target).index();
        let (address, length) = key(target);
        let mut found = self.defaults[family].filter(|&slot| accept(slot));
        let mut at = self.words[family];
        let mut depth = 0;
        while at != NONE && depth < length {
            let digit = digit(address, depth);
            for bits in 1..=STRIDE.min(length - depth) {
                let masked = digit >> (STRIDE - bits) << (STRIDE - bits);
                found = self.slot(at, bit(masked, bits)).filter(|&slot| accept(slot)).or(found);
            }
            at = self.child(at, digit);
            depth += STRIDE;
        }
        found
    }

    /// The child behind `digit`.
    fn child(&self, at: u32, digit: usize) -> u32 {
        let at = at as usize;
        let children = self.words[at + 1];
        if children & (1 << digit) == 0 {
            return NONE;
        }
        self.words[at + HEAD + below(children, digit as u32)]
    }

    /// The slot of the prefix at `bit`.
    fn slot(&self, at: u32, bit: u32) -> Option<SlotId> {
        let at = at as usize;
        let (prefixes, children) = (self.words[at], self.words[at + 1]);
        let place = HEAD + children.count_ones() as usize + below(prefixes, bit);
        (prefixes & (1 << bit) != 0).then(|| self.words[at + place])
    }

    /// Words in use of the block at `at`.
    fn words_of(&self, at: usize) -> usize {
        HEAD + (self.words[at].count_ones() + self.words[at + 1].count_ones()) as usize
    }

    /// Inserts a word into the block that `link` leads to; answers where it is, for the block may have moved.
    fn add_word(&mut self, link: usize, place: usize, word: u32) -> usize {
        let at = self.words[link] as usize;
        let used = self.words_of(at);
        let to = if capacity(used + 1) == capacity(used) {
            at
        } else {
            let to = self.allocate(used + 1) as usize;
            self.words.copy_within(at..at + used, to);
            self.release(at, used);
            self.words[link] = to as u32;
            to
        };
        self.words.copy_within(to + place..to + used, to + place + 1);
        self.words[to + place] = word;
        to + place
    }

    /// Takes a word, whose bit is cleared already, out of the block that `link` leads to; an empty block is freed.
    fn remove_word(&mut self, link: usize, place: usize) {
        let at = self.words[link] as usize;
        let used = self.words_of(at);
        self.words.copy_within(at + place + 1..at + used + 1, at + place);
        if used == HEAD {
            self.release(at, used + 1);
            self.words[link] = NONE;
        } else if capacity(used) != capacity(used + 1) {
            let to = self.allocate(used) as usize;
            self.words.copy_within(at..at + used, to);
            self.release(at, used + 1);
            self.words[link] = to as u32;
        }
    }

    /// A block with room for `words`, its head zeroed.
    fn allocate(&mut self, words: usize) -> u32 {
        let class = capacity(words) / 2;
        let mut at = self.free[class] as usize;
        if at == NONE as usize {
            at = self.words.len();
            self.words.resize(at + capacity(words), 0);
        } else {
            self.free[class] = self.words[at];
        }
        self.words[at..at + HEAD].fill(0);
        at as u32
    }

    fn release(&mut self, at: usize, words: usize) {
        let class = capacity(words) / 2;
        self.words[at] = self.free[class];
        self.free[class] = at as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ops::Bound;

    #[test]
    fn bits_of_a_node_are_in_the_order_of_a_walk() {
        assert_eq!(STARTS[16], 30);
        let all = (0..16).flat_map(|digit| (shortest(digit)..=4).map(move |length| bit(digit, length)));
        assert_eq!(all.collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    }

    fn nets() -> impl Strategy<Value = IpNet> {
        // Few different bits, so that prefixes nest and meet.
        let v4 = (0_u32..64, 0_u32..4, 0_u8..=32).prop_map(|(high, low, length)| {
            IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(high << 26 | low), length).unwrap().trunc())
        });
        let v6 = (0_u128..64, 0_u128..4, 0_u8..=128).prop_map(|(high, low, length)| {
            IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(high << 122 | low), length).unwrap().trunc())
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in proptest::collection::vec((nets(), any::<bool>()), 1..300), target in nets()) {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (number, (net, add)) in (0..).zip(steps) {
                prop_assert_eq!(index.get(&net), model.get(&net).copied());
                if !add {
                    prop_assert_eq!(index.remove(&net), model.remove(&net));
                } else {
                    let slot = *model.entry(net).or_insert(number);
                    prop_assert_eq!(index.get_or_insert(&net, || number), slot);
                }
            }
            prop_assert_eq!(index.len(), model.len());
            let walk: Vec<_> = std::iter::successors(index.next(None), |(net, _)| index.next(Some(net))).collect();
            prop_assert_eq!(walk, model.iter().map(|(net, slot)| (*net, *slot)).collect::<Vec<_>>());
            let behind = model.range((Bound::Excluded(target), Bound::Unbounded)).next();
            prop_assert_eq!(index.next(Some(&target)), behind.map(|(net, slot)| (*net, *slot)), "a cursor need not exist");
            let covering = std::iter::successors(Some(target), IpNet::supernet).filter_map(|net| model.get(&net));
            prop_assert_eq!(index.longest(&target, |slot| slot % 3 > 0), covering.copied().find(|slot| slot % 3 > 0));
            for net in model.keys() {
                index.remove(net);
            }
            prop_assert_eq!(&index.words[..2], &[NONE; 2], "no node is left");
        }
    }
}
