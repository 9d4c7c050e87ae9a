//! Prefix sets: does any of `10.72.32.0/20 ge 32`, `10.69.0.4/32`, … cover a prefix?
//!
//! An entry covers a prefix when the entry's network holds the prefix's address and the prefix's length is within the entry's
//! bounds, which never lie below the entry's own length. So the entries over an *address* decide, and the length is one bit: the
//! address space is cut into runs covered by the same entries, each run with the union of their lengths (`runs`). A question is a
//! look into the index over them, one at the run, and one bit, whatever the size of the set and wherever its prefixes lie. A set of
//! 100,000 takes 1 to 6 MB.

mod runs;

pub(super) use runs::MAX_ENTRIES;

use crate::types::{Family, IpNet};
use runs::Runs;

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

/// A compiled set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixSet {
    v4: Runs<u32>,
    v6: Runs<u128>,
    /// Whether it has 0.0.0.0/0, and ::/0: the only prefixes without a length that a bit could stand for.
    defaults: [bool; 2],
}

impl PrefixSet {
    /// Compiles entries, in any order.
    ///
    /// # Panics
    /// If there are more than 2^23.
    #[must_use]
    pub fn new(entries: &[Entry]) -> Self {
        let (mut v4, mut v6, mut defaults) = (Vec::new(), Vec::new(), [false; 2]);
        for entry in entries {
            let ge = entry.ge.max(entry.net.prefix_len());
            defaults[Family::of(&entry.net).index()] |= ge == 0;
            match entry.net {
                IpNet::V4(net) => {
                    let lengths = u32::try_from(lengths(ge, entry.le.min(32))).unwrap_or_default();
                    v4.push((net.network().to_bits(), net.broadcast().to_bits(), lengths));
                }
                IpNet::V6(net) => {
                    v6.push((net.network().to_bits(), net.broadcast().to_bits(), lengths(ge, entry.le)));
                }
            }
        }
        Self { v4: Runs::new(v4, |last| last.checked_add(1)), v6: Runs::new(v6, |last| last.checked_add(1)), defaults }
    }

    /// Whether an entry covers `prefix`.
    #[must_use]
    pub fn contains(&self, prefix: &IpNet) -> bool {
        let Some(bit) = prefix.prefix_len().checked_sub(1) else {
            return self.defaults[Family::of(prefix).index()];
        };
        match prefix {
            IpNet::V4(net) => self.v4.lengths(net.network().to_bits()).is_some_and(|lengths| lengths >> bit & 1 != 0),
            IpNet::V6(net) => self.v6.lengths(net.network().to_bits()).is_some_and(|lengths| lengths >> bit & 1 != 0),
        }
    }
}

/// Lengths `ge` to `le`, 0 apart: bit `n` is length `n + 1`.
fn lengths(ge: u8, le: u8) -> u128 {
    let below = |length: u8| if length >= 128 { u128::MAX } else { (1 << length) - 1 };
    below(le) & !below(ge.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
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

    /// A network, and the next ones around it: few address bits, at every scale, so that entries overlap, adjoin and crowd.
    fn net(v6: bool, address: u8, scale: u8, length: u8) -> IpNet {
        if v6 {
            let address = u128::from(address) << 120 | u128::from(address) << (scale % 120);
            IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(address)), length.min(128)).unwrap().trunc()
        } else {
            let address = u32::from(address) << 24 | u32::from(address) << (scale % 24);
            IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(address)), length.min(32)).unwrap().trunc()
        }
    }

    fn has_by_the_list(entries: &[Entry], prefix: &IpNet) -> bool {
        let covers = |entry: &Entry| entry.net.contains(prefix) && (entry.ge..=entry.le).contains(&prefix.prefix_len());
        entries.iter().any(covers)
    }

    proptest! {
        #[test]
        fn the_runs_answer_as_the_list_does(
            entries in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<u8>(), 0_u8..=128, 0_u8..=128, 0_u8..=128), 0..80),
            asked in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<u8>(), 0_u8..=128), 1..60),
        ) {
            let entries: Vec<_> = entries.into_iter().map(|(v6, address, scale, length, ge, le)| {
                let net = net(v6, address % 16, scale, length);
                Entry { net, ge: ge.max(net.prefix_len()), le }
            }).collect();
            let set = PrefixSet::new(&entries);
            for (v6, address, scale, length) in asked {
                let prefix = net(v6, address % 16, scale, length);
                prop_assert_eq!(set.contains(&prefix), has_by_the_list(&entries, &prefix), "{}", prefix);
            }
            // Its own entries, and what adjoins them.
            for entry in &entries {
                for length in [entry.ge, entry.le, entry.net.prefix_len()] {
                    let length = length.clamp(entry.net.prefix_len(), entry.net.max_prefix_len());
                    for address in [entry.net.network(), entry.net.broadcast()] {
                        let prefix = IpNet::new(address, length).unwrap().trunc();
                        prop_assert_eq!(set.contains(&prefix), has_by_the_list(&entries, &prefix), "{}", prefix);
                    }
                }
            }
        }

        /// Exact prefixes, as many as a large list has, crowded at some places: against an ordered set.
        #[test]
        fn crowds_at_every_scale_are_told_from_what_is_beside_them(
            crowds in proptest::collection::vec((any::<u128>(), 0_u32..128, 1_u8..=128, 1_u32..400), 1..6),
        ) {
            let mut listed = BTreeSet::new();
            for (place, step, length, count) in &crowds {
                for at in 0..*count {
                    let address = place.wrapping_add(u128::from(at) << step);
                    listed.insert(IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(address)), *length).unwrap().trunc());
                    let address = u32::try_from(place >> 96).unwrap().wrapping_add(at << (step % 32));
                    let length = (length % 32) + 1;
                    listed.insert(IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(address)), length).unwrap().trunc());
                }
            }
            let entry = |net: &IpNet| Entry { net: *net, ge: net.prefix_len(), le: net.prefix_len() };
            let set = PrefixSet::new(&listed.iter().map(entry).collect::<Vec<_>>());
            for net in &listed {
                prop_assert!(set.contains(net), "{}", net);
                let sibling = match net {
                    IpNet::V4(net) => {
                        let sibling = net.network().to_bits() ^ 1 << (32 - net.prefix_len());
                        IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(sibling)), net.prefix_len()).unwrap()
                    }
                    IpNet::V6(net) => {
                        let sibling = net.network().to_bits() ^ 1 << (128 - net.prefix_len());
                        IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(sibling)), net.prefix_len()).unwrap()
                    }
                };
                for beside in [Some(sibling), net.supernet()].into_iter().flatten() {
                    prop_assert_eq!(set.contains(&beside), listed.contains(&beside), "{}", beside);
                }
            }
        }
    }
}
