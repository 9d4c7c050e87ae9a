//! The routes a case offers, already encoded as UPDATE messages (RFC 4271 §4.3), and the exact set of prefixes that a
//! monitor must hold. Knows no sockets.

use std::net::Ipv4Addr;

pub use crate::set::{Prefix, PrefixSet};

/// Octets of the fixed message header (RFC 4271 §4.1).
pub const HEADER_BYTES: usize = 19;

/// Shortest prefix of the synthetic table.
const MIN_LENGTH: u8 = 19;

/// A small deterministic generator (SplitMix64): the same table in every run.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub fn within(&mut self, low: u32, high: u32) -> u32 {
        low + u32::try_from(self.roll() % u64::from(high - low + 1)).unwrap_or(0)
    }
}

/// What one feeder offers.
#[derive(Debug)]
pub struct Table {
    /// Whole UPDATE messages, one after another.
    pub stream: Vec<u8>,
    /// Every prefix in `stream`.
    pub prefixes: PrefixSet,
    /// Distinct attribute sets, one UPDATE each.
    pub attribute_sets: usize,
}

impl Table {
    /// `count` prefixes of a nested /19../24 mix, 4-8 per attribute set, path length 3-5, communities on 3/4 of the sets,
    /// the sets in random order. The prefixes and their order are the same for every `asn`, the paths are not.
    pub fn full(count: usize, asn: u32, next_hop: Ipv4Addr) -> Self {
        let mut dice = Dice(count as u64);
        let nested = nested_prefixes(count, &mut dice);
        let mut groups = Vec::with_capacity(count / 6 + 1);
        let mut rest = nested.as_slice();
        while !rest.is_empty() {
            let (group, tail) = rest.split_at((dice.within(4, 8) as usize).min(rest.len()));
            groups.push(group);
            rest = tail;
        }
        for last in (1..groups.len()).rev() {
            groups.swap(last, dice.within(0, u32::try_from(last).unwrap_or(u32::MAX)) as usize);
        }
        let mut table = Self {
            stream: Vec::with_capacity(count * 16),
            prefixes: PrefixSet::default(),
            attribute_sets: groups.len(),
        };
        let mut dice = Dice(u64::from(asn));
        for (number, group) in groups.iter().enumerate() {
            let attributes = attributes(u32::try_from(number).unwrap_or(0), asn, next_hop, &mut dice);
            put_update(&mut table.stream, &attributes, group);
            for prefix in *group {
                table.prefixes.insert(*prefix);
            }
        }
        table
    }
}

/// `count` /32s from `first` on, half of them in each of two attribute sets, as full messages (RFC 4271 §4.1: 4,096 octets).
pub fn hosts(count: u32, first: Ipv4Addr, asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let mut dice = Dice(u64::from(asn));
    put_hosts(count, first, |number| attributes(number, asn, next_hop, &mut dice))
}

/// The same with paths of three AS and nothing else, so that those of several feeders are equal.
pub fn hosts_alike(count: u32, first: Ipv4Addr, asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    put_hosts(count, first, |number| {
        let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 14, 2, 3];
        for asn in [asn, 1_000, 100_000 + number] {
            out.extend(asn.to_be_bytes());
        }
        out.extend([0x40, 3, 4]);
        out.extend(next_hop.octets());
        out
    })
}

fn put_hosts(count: u32, first: Ipv4Addr, mut attributes: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    let mut stream = Vec::new();
    let all: Vec<Prefix> = (0..count).map(|at| (u32::from(first) + at, 32)).collect();
    for (number, half) in (0..).zip(all.chunks(all.len().div_ceil(2).max(1))) {
        let attributes = attributes(number);
        let room = 4_096 - HEADER_BYTES - 4 - attributes.len();
        for message in half.chunks(room / 5) {
            put_update(&mut stream, &attributes, message);
        }
    }
    stream
}

/// Sixteen prefixes out of every /19: itself, one /20, one /21, two /22, two /23, nine /24. Every third /19 from 11.0.0.0
/// on is used, as real tables have gaps.
fn nested_prefixes(count: usize, dice: &mut Dice) -> Vec<Prefix> {
    const LENGTHS: [u8; 16] = [19, 20, 21, 22, 22, 23, 23, 24, 24, 24, 24, 24, 24, 24, 24, 24];
    let mut prefixes = Vec::with_capacity(count + LENGTHS.len());
    let mut block = 11_u32 << 24;
    while prefixes.len() < count {
        let start = prefixes.len();
        for length in LENGTHS {
            loop {
                let inside = dice.within(0, (1 << (length - MIN_LENGTH)) - 1);
                let prefix = (block + (inside << (32 - length)), length);
                if !prefixes[start..].contains(&prefix) {
                    prefixes.push(prefix);
                    break;
                }
            }
        }
        block += 3 << 13;
        if block >> 24 == 127 {
            block = 128 << 24;
        }
    }
    prefixes.truncate(count);
    prefixes
}

/// Path attributes of set `number` (RFC 4271 §5, RFC 1997); the origin AS makes it distinct.
fn attributes(number: u32, asn: u32, next_hop: Ipv4Addr, dice: &mut Dice) -> Vec<u8> {
    let hops = dice.within(3, 5);
    let mut out = vec![0x40, 1, 1, 0];
    let path_bytes = u8::try_from(2 + 4 * hops).unwrap_or(u8::MAX);
    out.extend([0x40, 2, path_bytes, 2, path_bytes / 4]);
    out.extend(asn.to_be_bytes());
    for _ in 2..hops {
        out.extend(dice.within(1_000, 60_000).to_be_bytes());
    }
    out.extend((100_000 + number).to_be_bytes());
    out.extend([0x40, 3, 4]);
    out.extend(next_hop.octets());
    if dice.within(1, 4) != 1 {
        let communities = dice.within(1, 4);
        out.extend([0xc0, 8, u8::try_from(4 * communities).unwrap_or(0)]);
        for _ in 0..communities {
            out.extend(((dice.within(1, 60_000) << 16) | dice.within(0, 0xffff)).to_be_bytes());
        }
    }
    out
}

/// Appends one UPDATE.
pub fn put_update(stream: &mut Vec<u8>, attributes: &[u8], prefixes: &[Prefix]) {
    let start = stream.len();
    put_header(stream, 2);
    stream.extend([0, 0]);
    stream.extend(u16::try_from(attributes.len()).unwrap_or(0).to_be_bytes());
    stream.extend(attributes);
    for (address, length) in prefixes {
        stream.push(*length);
        stream.extend(&address.to_be_bytes()[..usize::from(length.div_ceil(8))]);
    }
    finish(stream, start);
}

/// Appends a header whose length [`finish`] fills in (RFC 4271 §4.1).
pub fn put_header(out: &mut Vec<u8>, kind: u8) {
    out.extend([0xff; 16]);
    out.extend([0, 0, kind]);
}

/// Writes the length of the message that began at `start`.
pub fn finish(out: &mut [u8], start: usize) {
    let length = u16::try_from(out.len() - start).unwrap_or(0).to_be_bytes();
    out[start + 16..start + 18].copy_from_slice(&length);
}

/// Calls `each` for every prefix of an NLRI field (RFC 4271 §4.3); false if the field is malformed.
pub fn walk_nlri(mut bytes: &[u8], mut each: impl FnMut(Prefix)) -> bool {
    while let Some((&length, rest)) = bytes.split_first() {
        let octets = usize::from(length.div_ceil(8));
        if length > 32 || rest.len() < octets {
            return false;
        }
        let mut address = [0; 4];
        address[..octets].copy_from_slice(&rest[..octets]);
        each((u32::from_be_bytes(address), length));
        bytes = &rest[octets..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_table_has_exactly_the_asked_distinct_prefixes() {
        let table = Table::full(30_000, 4_200_000_001, Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(table.prefixes.len(), 30_000);
        assert!((4_800..5_300).contains(&table.attribute_sets), "{}", table.attribute_sets);
    }

    #[test]
    fn malformed_nlri_is_reported() {
        assert!(!walk_nlri(&[33, 1, 2, 3, 4, 5], |_| {}));
        assert!(!walk_nlri(&[24, 1, 2], |_| {}));
    }
}
