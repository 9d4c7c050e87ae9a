//! Route origin validation (RFC 6811): which AS may originate what, as validated caches say, and what that makes of a route.

use crate::rib::index::Index;
use crate::types::{Asn, Family, IpNet};
use crate::wire::attrs::Attrs;
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// A validated ROA payload (RFC 6811 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vrp {
    /// What may be originated.
    pub prefix: IpNet,
    /// Down to which length.
    pub max_length: u8,
    /// By whom; 0: by nobody (RFC 6483 §4).
    pub asn: Asn,
}

/// The validation state of a route (RFC 6811 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validity {
    /// A VRP covers it and allows its origin.
    Valid,
    /// VRPs cover it, and none allows its origin.
    Invalid,
    /// No VRP covers it.
    NotFound,
}

impl std::fmt::Display for Validity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        })
    }
}

/// A set of VRPs, in a trie by their prefixes.
#[derive(Debug, Default)]
pub struct Vrps {
    index: Index,
    /// By slot of the index: most octets and origin of each.
    lists: Vec<Vec<(u8, Asn)>>,
    free: Vec<u32>,
    len: [usize; 2],
}

impl Vrps {
    /// Adds one; whether it was not there.
    pub fn insert(&mut self, vrp: &Vrp) -> bool {
        let (lists, free) = (&mut self.lists, &mut self.free);
        let slot = self.index.get_or_insert(&vrp.prefix, || {
            free.pop().unwrap_or_else(|| {
                lists.push(Vec::new());
                u32::try_from(lists.len() - 1).unwrap_or(u32::MAX)
            })
        });
        let list = &mut self.lists[slot as usize];
        let item = (vrp.max_length, vrp.asn);
        let is_new = !list.contains(&item);
        if is_new {
            list.push(item);
            self.len[Family::of(&vrp.prefix).index()] += 1;
        }
        is_new
    }

    /// Removes one; whether it was there.
    pub fn remove(&mut self, vrp: &Vrp) -> bool {
        let Some(slot) = self.index.get(&vrp.prefix) else {
            return false;
        };
        let list = &mut self.lists[slot as usize];
        let Some(at) = list.iter().position(|item| *item == (vrp.max_length, vrp.asn)) else {
            return false;
        };
        list.swap_remove(at);
        self.len[Family::of(&vrp.prefix).index()] -= 1;
        if list.is_empty() {
            self.index.remove(&vrp.prefix);
            self.free.push(slot);
        }
        true
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, vrp: &Vrp) -> bool {
        self.index.get(&vrp.prefix).is_some_and(|slot| self.lists[slot as usize].contains(&(vrp.max_length, vrp.asn)))
    }

    /// How many there are: IPv4, IPv6.
    #[must_use]
    pub const fn len(&self) -> [usize; 2] {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == [0; 2]
    }

    /// Up to `limit` VRPs of the prefixes behind a cursor, in order of family and prefix; those of one prefix stay together.
    #[must_use]
    pub fn after(&self, mut cursor: Option<IpNet>, limit: usize) -> Vec<Vrp> {
        let mut all = Vec::new();
        while all.len() < limit
            && let Some((prefix, slot)) = self.index.next(cursor.as_ref())
        {
            let mut here = self.lists[slot as usize].clone();
            here.sort_unstable();
            all.extend(here.into_iter().map(|(max_length, asn)| Vrp { prefix, max_length, asn }));
            cursor = Some(prefix);
        }
        all
    }

    /// The validation state of a route with this origin (RFC 6811 §2.1); `None`: the path has no one origin, which no VRP allows.
    #[must_use]
    pub fn validity(&self, prefix: &IpNet, origin: Option<Asn>) -> Validity {
        let (covered, matched) = (Cell::new(false), Cell::new(false));
        self.index.longest(prefix, |slot| {
            covered.set(true);
            // RFC 6811 §2.1, RFC 6483 §4: AS 0 allows nobody.
            let allows = |&(most, asn): &(u8, Asn)| prefix.prefix_len() <= most && origin == Some(asn) && asn.0 != 0;
            if self.lists[slot as usize].iter().any(allows) {
                matched.set(true);
            }
            false
        });
        match (matched.get(), covered.get()) {
            (true, _) => Validity::Valid,
            (false, true) => Validity::Invalid,
            (false, false) => Validity::NotFound,
        }
    }
}

/// The origin of a route as validation sees it (RFC 6811 §2): of a path that is empty or has confederation segments alone, ourselves;
/// of one that ends in a set, nobody.
#[must_use]
pub fn origin(attrs: Attrs<'_>, own_asn: Asn) -> Option<Asn> {
    match attrs.as_path().segments().last() {
        None => Some(own_asn),
        Some(last) if last.kind > 2 => Some(own_asn),
        Some(_) => attrs.as_path().origin_as(),
    }
}
