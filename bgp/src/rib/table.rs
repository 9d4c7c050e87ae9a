//! One table for both families: prefix ▶ paths, the chosen ones among them, and a log of changes that every reader follows at its
//! own pace.
//!
//! Each prefix has a dense slot number, so that "who was told" is one bit per prefix and reader, and the log is one number per
//! change. A reader (one for each peer, one for the kernel) holds a cursor into the log; an entry that changed again later is
//! skipped at its older place, so ten changes cost a slow reader one.

use super::attrs::{AttrsId, AttrsTable};
use super::decide::{Candidate, Ranking, decide};
use super::nexthop::{HopId, NextHops};
use crate::types::{Hop, IpNet, PeerId, RouterId};
use crate::wire::attrs::Attrs;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// The peer id of what this speaker originates itself.
pub const LOCAL: PeerId = PeerId(u32::MAX);

/// A slot number: names a prefix while anything is known of it.
pub type SlotId = u32;

/// One path of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From whom.
    pub peer: PeerId,
    /// Attributes after import policy.
    pub attrs: AttrsId,
    /// Next hop after the next-hop rule.
    pub hop: HopId,
    /// Seconds since start at which it came.
    pub since_s: u32,
    /// Kept from a session that ended, until the peer is back (RFC 4724 §4.2).
    pub stale: bool,
}

/// What is known of a peer when its paths are ranked.
#[derive(Clone, Copy, Debug)]
pub struct PeerFacts {
    /// External session.
    pub ebgp: bool,
    /// BGP identifier.
    pub router_id: RouterId,
    /// Address of the session.
    pub address: IpAddr,
}

/// One prefix.
#[derive(Debug)]
pub struct Entry {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths, one per peer.
    pub paths: Vec<Path>,
    /// The best one, by peer.
    pub best: Option<PeerId>,
    /// Where packets should go: the resolved next hops of the best path and of its equals.
    pub hops: Option<Arc<[Hop]>>,
    /// Number of the newest change in the log.
    pub changed: u64,
}

impl Entry {
    /// The best path.
    #[must_use]
    pub fn best_path(&self) -> Option<&Path> {
        self.paths.iter().find(|path| Some(path.peer) == self.best)
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Option<Entry>>,
    free: Vec<SlotId>,
    index: BTreeMap<IpNet, SlotId>,
    /// Attributes of all paths.
    pub attrs: AttrsTable,
    /// Next hops of all paths.
    pub hops: NextHops,
    peers: BTreeMap<PeerId, PeerFacts>,
    hop_sets: BTreeMap<Arc<[Hop]>, ()>,
    multipath: usize,
    log: VecDeque<SlotId>,
    /// Number of the first change still in the log.
    log_base: u64,
}

impl Table {
    /// An empty table with ECMP sets of at most `multipath` members.
    #[must_use]
    pub fn new(seed: u64, multipath: u8) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            attrs: AttrsTable::new(seed),
            hops: NextHops::default(),
            peers: BTreeMap::new(),
            hop_sets: BTreeMap::new(),
            multipath: usize::from(multipath.clamp(1, 64)),
            log: VecDeque::new(),
            log_base: 0,
        }
    }

    /// Tells what a peer is, before its first path.
    pub fn set_peer(&mut self, peer: PeerId, facts: PeerFacts) {
        self.peers.insert(peer, facts);
    }

    /// Adds or replaces the path of a peer; whether it had none before.
    pub fn insert(&mut self, prefix: IpNet, path: Path) -> bool {
        let slot = match self.index.get(&prefix) {
            Some(&slot) => slot,
            None => self.allocate(prefix),
        };
        let Some(entry) = self.slots[slot as usize].as_mut() else {
            return false;
        };
        let before = entry.paths.len();
        match entry.paths.iter_mut().find(|own| own.peer == path.peer) {
            Some(own) => {
                let old = std::mem::replace(own, path);
                self.attrs.release(old.attrs);
                if old.attrs == path.attrs && old.hop == path.hop {
                    // The same route again: nothing downstream may notice (and a stale mark is gone).
                    return false;
                }
            }
            None => entry.paths.push(path),
        }
        let new = entry.paths.len() > before;
        let replaced = entry.best == Some(path.peer);
        self.rank(slot, replaced);
        new
    }

    /// How many slots there are, free ones included: for walks in slices.
    #[must_use]
    pub fn slots(&self) -> SlotId {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Removes the path of a peer; whether there was one.
    pub fn remove(&mut self, prefix: &IpNet, peer: PeerId) -> bool {
        let Some(&slot) = self.index.get(prefix) else {
            return false;
        };
        let Some(entry) = self.slots[slot as usize].as_mut() else {
            return false;
        };
        let Some(at) = entry.paths.iter().position(|path| path.peer == peer) else {
            return false;
        };
        let path = entry.paths.remove(at);
        self.attrs.release(path.attrs);
        self.rank(slot, false);
        true
    }

    /// Marks or clears the stale bit of a path.
    pub fn set_stale(&mut self, prefix: &IpNet, peer: PeerId, stale: bool) {
        let slot = self.index.get(prefix).copied();
        let entry = slot.and_then(|slot| self.slots[slot as usize].as_mut());
        if let Some(path) = entry.and_then(|entry| entry.paths.iter_mut().find(|path| path.peer == peer)) {
            path.stale = stale;
        }
    }

    /// Another bound on ECMP sets: every prefix is ranked again.
    pub fn set_multipath(&mut self, multipath: u8) {
        self.multipath = usize::from(multipath.clamp(1, 64));
        for slot in 0..self.slots() {
            self.rank(slot, false);
        }
    }

    /// Ranks again every prefix with a path through one of these next hops.
    pub fn hops_changed(&mut self, changed: &[HopId]) {
        for slot in 0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX) {
            let entry = self.slots[slot as usize].as_ref();
            if entry.is_some_and(|entry| entry.paths.iter().any(|path| changed.contains(&path.hop))) {
                self.rank(slot, false);
            }
        }
    }

    fn allocate(&mut self, prefix: IpNet) -> SlotId {
        let entry = Entry { prefix, paths: Vec::with_capacity(1), best: None, hops: None, changed: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(prefix, slot);
        slot
    }

    /// The decision process for one prefix; `force`: the best path itself was replaced.
    fn rank(&mut self, slot: SlotId, force: bool) {
        let Some(entry) = self.slots[slot as usize].as_ref() else {
            return;
        };
        let ranking = self.ranking(entry);
        let best = ranking.as_ref().map(|ranking| entry.paths[ranking.best].peer);
        let hops = ranking.and_then(|ranking| self.hop_set(entry, &ranking));
        let hops = hops.map(|hops| self.shared(hops));
        let Some(entry) = self.slots[slot as usize].as_mut() else {
            return;
        };
        if !force && entry.best == best && entry.hops == hops {
            if entry.paths.is_empty() && entry.changed == 0 {
                self.forget(slot);
            }
            return;
        }
        entry.best = best;
        entry.hops = hops;
        entry.changed = self.log_base + self.log.len() as u64 + 1;
        self.log.push_back(slot);
    }

    /// Ranks the paths of an entry, without changing anything.
    #[must_use]
    pub fn ranking(&self, entry: &Entry) -> Option<Ranking> {
        if let [only] = entry.paths.as_slice() {
            // Nearly every prefix: nothing to compare.
            let resolved = only.peer == LOCAL || self.hops.resolved(only.hop).is_some();
            return resolved.then(|| Ranking { best: 0, ended_by: vec![super::decide::Rule::Equal] });
        }
        let candidates: Vec<_> = entry.paths.iter().filter_map(|path| self.candidate(path)).collect();
        decide(&candidates)
    }

    /// A path as the decision process sees it.
    #[must_use]
    pub fn candidate(&self, path: &Path) -> Option<Candidate<'_>> {
        let local = path.peer == LOCAL;
        let unspecified =
            PeerFacts { ebgp: false, router_id: RouterId::UNSPECIFIED, address: IpAddr::V4(RouterId::UNSPECIFIED) };
        let facts = if local { &unspecified } else { self.peers.get(&path.peer)? };
        Some(Candidate {
            attrs: Attrs(self.attrs.block(path.attrs)),
            local,
            ebgp: facts.ebgp,
            resolved: local || self.hops.resolved(path.hop).is_some(),
            metric: 0,
            router_id: facts.router_id,
            peer_address: facts.address,
        })
    }

    fn hop_set(&self, entry: &Entry, ranking: &Ranking) -> Option<Vec<Hop>> {
        if entry.paths.get(ranking.best)?.peer == LOCAL {
            return None;
        }
        let equal = |at: &usize| ranking.ended_by.get(*at) == Some(&super::decide::Rule::Equal);
        let others = (0..entry.paths.len()).filter(|&at| at != ranking.best).filter(equal);
        let mut hops: Vec<_> = std::iter::once(ranking.best)
            .chain(others)
            .filter_map(|at| self.hops.resolved(entry.paths.get(at)?.hop))
            .take(self.multipath)
            .collect();
        hops.sort_unstable();
        hops.dedup();
        Some(hops)
    }

    fn shared(&mut self, hops: Vec<Hop>) -> Arc<[Hop]> {
        if let Some((known, ())) = self.hop_sets.get_key_value(hops.as_slice()) {
            return Arc::clone(known);
        }
        // Sets that no prefix uses any more are dropped when the table of sets doubles.
        if self.hop_sets.len().is_power_of_two() {
            self.hop_sets.retain(|set, ()| Arc::strong_count(set) > 1);
        }
        let hops: Arc<[Hop]> = hops.into();
        self.hop_sets.insert(Arc::clone(&hops), ());
        hops
    }

    /// The entry of a prefix.
    #[must_use]
    pub fn get(&self, prefix: &IpNet) -> Option<&Entry> {
        self.slots[*self.index.get(prefix)? as usize].as_ref()
    }

    /// The slot of a prefix.
    #[must_use]
    pub fn slot(&self, prefix: &IpNet) -> Option<SlotId> {
        self.index.get(prefix).copied()
    }

    /// The entry of a slot.
    #[must_use]
    pub fn entry(&self, slot: SlotId) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Entries in order of family and prefix, behind a cursor.
    pub fn after(&self, cursor: Option<IpNet>) -> impl Iterator<Item = &Entry> {
        use std::ops::Bound;
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.index.range((from, Bound::Unbounded)).filter_map(|(_, &slot)| self.entry(slot))
    }

    /// The longest prefix that covers `target` and has a path.
    #[must_use]
    pub fn covering(&self, target: &IpNet) -> Option<&Entry> {
        std::iter::successors(Some(target.trunc()), IpNet::supernet)
            .filter_map(|prefix| self.get(&prefix))
            .find(|entry| !entry.paths.is_empty())
    }

    /// How many prefixes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The number behind the newest change: where a reader that knows everything stands.
    #[must_use]
    pub fn log_end(&self) -> u64 {
        self.log_base + self.log.len() as u64
    }

    /// The next change at or behind `cursor`, which is moved behind it; changes that were overtaken by a later one are skipped.
    pub fn next_change(&self, cursor: &mut u64) -> Option<SlotId> {
        *cursor = (*cursor).max(self.log_base);
        loop {
            let at = usize::try_from(*cursor - self.log_base).ok()?;
            let slot = *self.log.get(at)?;
            *cursor += 1;
            if self.entry(slot).is_some_and(|entry| entry.changed == *cursor) {
                return Some(slot);
            }
        }
    }

    /// Every reader has passed `cursor`: older changes are forgotten, and prefixes without paths with them.
    pub fn trim(&mut self, cursor: u64) {
        while self.log_base < cursor {
            let Some(slot) = self.log.pop_front() else {
                return;
            };
            self.log_base += 1;
            let gone = |entry: &Entry| entry.paths.is_empty() && entry.changed == self.log_base;
            if self.entry(slot).is_some_and(gone) {
                self.forget(slot);
            }
        }
    }

    fn forget(&mut self, slot: SlotId) {
        if let Some(entry) = self.slots[slot as usize].take() {
            self.index.remove(&entry.prefix);
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
