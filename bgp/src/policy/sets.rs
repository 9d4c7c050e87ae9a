//! Prefix sets: does any of `10.72.32.0/20 ge 32`, `10.69.0.4/32`, … cover a prefix?
//!
//! An entry covers a prefix when the entry's network holds the prefix's address and the prefix's length is within the entry's
//! bounds, which never lie below the entry's own length. So the entries over an *address* decide, and the length is one bit: the
//! address space is cut into runs covered by the same entries, each run with the union of their lengths. A question is one look into
//! an index over equal stretches of addresses, a binary search among the few runs that begin in a stretch, and one bit, whatever the
//! size of the set.

use crate::types::IpNet;

/// Prefix lengths 0..=128, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Lengths([u64; 3]);

impl Lengths {
    fn of(range: (u8, u8)) -> Self {
        let mut lengths = Self::default();
        for length in range.0..=range.1.min(128) {
            lengths.0[usize::from(length / 64)] |= 1 << (length % 64);
        }
        lengths
    }

    const fn has(self, length: u8) -> bool {
        self.0[(length / 64) as usize] & (1 << (length % 64)) != 0
    }

    fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }
}

/// One entry: a network, and the least and greatest length of the prefixes meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The network.
    pub net: IpNet,
    /// Least length.
    pub ge: u8,
    /// Greatest length.
    pub le: u8,
}

/// Most stretches of an index, four octets each: enough that hardly more than one run of a set of 100,000 begins in one.
const STRETCHES: usize = 1 << 18;

/// Addresses that the same entries cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run<A> {
    start: A,
    /// Which lengths are meant: index into the few distinct sets of them. Beside the start, so that both are in one cache line.
    kind: u32,
}

/// All runs, by start, and the index over them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Runs<A> {
    runs: Vec<Run<A>>,
    /// For each stretch of 2^`shift` addresses from the first start on, how many runs begin before it; and one more for the end.
    before: Vec<u32>,
    shift: u32,
}

impl<A: Copy + Ord + Into<u128>> Runs<A> {
    /// From entries (first address, last address, lengths) sorted by first address, wider ones first.
    fn new(entries: &[(A, A, Lengths)], table: &mut Vec<Lengths>, next: impl Fn(A) -> Option<A>) -> Self {
        let mut runs = Self { runs: Vec::new(), before: Vec::new(), shift: 0 };
        let mut open: Vec<(A, Lengths)> = Vec::new();
        for &(first, last, lengths) in entries {
            runs.close(&mut open, Some(first), table, &next);
            let over = open.last().map_or_else(Lengths::default, |(_, lengths)| *lengths);
            let lengths = lengths.union(over);
            runs.begin(first, lengths, table);
            open.push((last, lengths));
        }
        runs.close(&mut open, None, table, &next);
        runs.index();
        runs
    }

    /// Makes stretches about as many as runs, over the addresses from the first to the last start.
    fn index(&mut self) {
        let (Some(&Run { start: first, .. }), Some(&Run { start: last, .. })) = (self.runs.first(), self.runs.last())
        else {
            return;
        };
        let span: u128 = last.into() - first.into();
        let most = self.runs.len().next_power_of_two().min(STRETCHES);
        self.shift = (u128::BITS - span.leading_zeros()).saturating_sub(most.trailing_zeros());
        let stretch = |start: A| usize::try_from((start.into() - first.into()) >> self.shift).unwrap_or(STRETCHES);
        self.before = vec![0; stretch(last) + 2];
        for run in &self.runs {
            self.before[stretch(run.start) + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut self.before {
            sum += *count;
            *count = sum;
        }
    }

    /// Ends the open entries that end before `until`.
    fn close(
        &mut self,
        open: &mut Vec<(A, Lengths)>,
        until: Option<A>,
        table: &mut Vec<Lengths>,
        next: impl Fn(A) -> Option<A>,
    ) {
        while let Some(&(last, _)) = open.last()
            && until.is_none_or(|until| last < until)
        {
            open.pop();
            if let Some(behind) = next(last) {
                let over = open.last().map_or_else(Lengths::default, |(_, lengths)| *lengths);
                self.begin(behind, over, table);
            }
        }
    }

    fn begin(&mut self, start: A, lengths: Lengths, table: &mut Vec<Lengths>) {
        let at = table.iter().position(|known| *known == lengths).unwrap_or_else(|| {
            table.push(lengths);
            table.len() - 1
        });
        let kind = u32::try_from(at).unwrap_or(u32::MAX);
        self.runs.pop_if(|last| last.start == start);
        if self.runs.last().is_none_or(|last| last.kind != kind) {
            self.runs.push(Run { start, kind });
        }
    }

    fn kind(&self, address: A) -> Option<usize> {
        let offset = address.into().checked_sub(self.runs.first()?.start.into())?;
        // Behind the last start everything is of the last stretch.
        let last = self.before.len().checked_sub(2)?;
        let stretch = usize::try_from(offset >> self.shift).unwrap_or(last).min(last);
        let (from, to) = (*self.before.get(stretch)? as usize, *self.before.get(stretch + 1)? as usize);
        let behind = from + self.runs.get(from..to)?.partition_point(|run| run.start <= address);
        Some(self.runs.get(behind.checked_sub(1)?)?.kind as usize)
    }
}

/// A compiled set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixSet {
    v4: Runs<u32>,
    v6: Runs<u128>,
    table: Vec<Lengths>,
}

impl PrefixSet {
    /// Compiles entries, in any order.
    #[must_use]
    pub fn new(entries: &[Entry]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for entry in entries {
            let lengths = Lengths::of((entry.ge.max(entry.net.prefix_len()), entry.le));
            match entry.net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), lengths)),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), lengths)),
            }
        }
        v4.sort_unstable_by_key(|&(first, last, _)| (first, u32::MAX - last));
        v6.sort_unstable_by_key(|&(first, last, _)| (first, u128::MAX - last));
        let mut table = Vec::new();
        Self {
            v4: Runs::new(&v4, &mut table, |last| last.checked_add(1)),
            v6: Runs::new(&v6, &mut table, |last| last.checked_add(1)),
            table,
        }
    }

    /// Whether an entry covers `prefix`.
    #[must_use]
    pub fn contains(&self, prefix: &IpNet) -> bool {
        let kind = match prefix {
            IpNet::V4(net) => self.v4.kind(net.network().to_bits()),
            IpNet::V6(net) => self.v6.kind(net.network().to_bits()),
        };
        kind.and_then(|kind| self.table.get(kind)).is_some_and(|lengths| lengths.has(prefix.prefix_len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn set(entries: &[(&str, u8, u8)]) -> PrefixSet {
        let entry = |(net, ge, le): &(&str, u8, u8)| Entry { net: net.parse().unwrap(), ge: *ge, le: *le };
        PrefixSet::new(&entries.iter().map(entry).collect::<Vec<_>>())
    }

    fn has(set: &PrefixSet, prefix: &str) -> bool {
        set.contains(&prefix.parse().unwrap())
    }

    #[test]
    fn lengths_are_bounded_from_below_and_above() {
        let set = set(&[("10.72.32.0/20", 32, 32), ("10.69.0.4/32", 32, 32), ("10.64.0.0/12", 12, 16)]);
        assert!(has(&set, "10.72.32.1/32") && has(&set, "10.69.0.4/32"));
        assert!(!has(&set, "10.72.32.0/20") && !has(&set, "10.72.48.1/32") && !has(&set, "10.69.0.5/32"));
        assert!(has(&set, "10.64.0.0/12") && has(&set, "10.72.0.0/16") && !has(&set, "10.72.0.0/17"));
        assert!(!has(&set, "10.0.0.0/8"), "an entry never covers a wider prefix");
    }

    #[test]
    fn the_default_route_is_not_everything() {
        let default = set(&[("0.0.0.0/0", 0, 0), ("::/0", 0, 128)]);
        assert!(has(&default, "0.0.0.0/0") && !has(&default, "0.0.0.0/1") && !has(&default, "10.0.0.0/8"));
        assert!(has(&default, "::/0") && has(&default, "2001:db8::1/128") && has(&default, "::/128"));
        assert!(!has(&set(&[]), "10.0.0.0/8"));
    }

    #[test]
    fn a_large_set_has_its_entries_and_nothing_between() {
        // Every other address of some networks far apart: many runs in few stretches, and long stretches without any.
        let address = |at: u32| Ipv4Addr::from_bits([0x0a00_0000, 0x0a45_0000, 0xc0a8_0000][at as usize % 3] + at * 2);
        let host = |address: Ipv4Addr| IpNet::new(IpAddr::V4(address), 32).unwrap();
        let entries: Vec<_> = (0..9_000).map(|at| Entry { net: host(address(at)), ge: 32, le: 32 }).collect();
        let set = PrefixSet::new(&entries);
        for at in 0..9_000 {
            let own = address(at);
            assert!(set.contains(&host(own)));
            assert!(!set.contains(&host(Ipv4Addr::from_bits(own.to_bits() + 1))));
            assert!(!set.contains(&IpNet::new(IpAddr::V4(own), 31).unwrap()));
        }
        assert!(!has(&set, "9.255.255.255/32") && !has(&set, "255.255.255.255/32") && !has(&set, "0.0.0.0/0"));
    }

    fn net(v6: bool, address: u8, length: u8) -> IpNet {
        // Few address bits, so that entries overlap.
        if v6 {
            let address = Ipv6Addr::from_bits(u128::from(address) << 120);
            IpNet::new(IpAddr::V6(address), length.min(128)).unwrap().trunc()
        } else {
            let address = Ipv4Addr::from_bits(u32::from(address) << 24 | u32::from(address));
            IpNet::new(IpAddr::V4(address), length.min(32)).unwrap().trunc()
        }
    }

    proptest! {
        #[test]
        fn the_runs_answer_as_the_list_does(
            entries in proptest::collection::vec((any::<bool>(), any::<u8>(), 0_u8..=32, 0_u8..=128, 0_u8..=128), 0..30),
            asked in proptest::collection::vec((any::<bool>(), any::<u8>(), 0_u8..=32), 1..30),
        ) {
            let entries: Vec<_> = entries.into_iter().map(|(v6, address, length, ge, le)| {
                let net = net(v6, address, length);
                Entry { net, ge: ge.max(net.prefix_len()), le }
            }).collect();
            let set = PrefixSet::new(&entries);
            for (v6, address, length) in asked {
                let prefix = net(v6, address, length);
                let listed = entries.iter().any(|entry| {
                    entry.net.contains(&prefix) && (entry.ge..=entry.le).contains(&prefix.prefix_len())
                });
                prop_assert_eq!(set.contains(&prefix), listed, "{}", prefix);
            }
        }
    }
}
