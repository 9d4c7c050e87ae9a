//! One table for both families: prefix ▶ paths, the chosen ones among them, and a log of changes that every reader follows at its
//! own pace.
//!
//! Each prefix has a dense slot number, so that "who was told" is one bit per prefix and reader, and the log is one number per
//! change. A reader (one for each peer, one for the kernel) holds a cursor into the log; an entry that changed again later is
//! skipped at its older place, so ten changes cost a slow reader one.

pub use super::slots::{Path, SlotId};

use super::attrs::AttrsTable;
use super::decide::{Candidate, Ranking, Rule, decide};
use super::index::Index;
use super::nexthop::{HopId, NextHops};
use super::slots::{List, Paths, Slot, Slots};
use crate::types::{Family, Hop, IpNet, PeerId, RouterId};
use crate::wire::attrs::Attrs;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// The peer id of what this speaker originates itself.
pub const LOCAL: PeerId = PeerId(u32::MAX);
/// The peer id of the aggregates among that.
pub const AGGREGATE: PeerId = PeerId(u32::MAX - 1);

/// Whether a path is of this speaker's own making.
#[must_use]
pub const fn is_own(peer: PeerId) -> bool {
    peer.0 >= AGGREGATE.0
}

/// A log that was longer than this gives its memory back once it is empty.
const LOG_KEPT: usize = 16_384;

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

/// One prefix, as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'t> {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths, one per peer.
    pub paths: &'t [Path],
    /// The best one, by peer.
    pub best: Option<PeerId>,
    /// Where packets should go: the resolved next hops of the best path and of its equals.
    pub hops: Option<&'t Arc<[Hop]>>,
    /// Number of the newest change, if that is still in the log; 0 if every reader knows it.
    pub changed: u64,
}

impl<'t> Entry<'t> {
    /// The best path.
    #[must_use]
    pub fn best_path(&self) -> Option<&'t Path> {
        self.paths.iter().find(|path| Some(path.peer) == self.best)
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    slots: Slots,
    index: Index,
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
    overtaken: u64,
}

impl Table {
    /// An empty table with ECMP sets of at most `multipath` members.
    #[must_use]
    pub fn new(seed: u64, multipath: u8) -> Self {
        Self {
            slots: Slots::default(),
            index: Index::default(),
            attrs: AttrsTable::new(seed),
            hops: NextHops::default(),
            peers: BTreeMap::new(),
            hop_sets: BTreeMap::new(),
            multipath: usize::from(multipath.clamp(1, 64)),
            log: VecDeque::new(),
            log_base: 0,
            overtaken: 0,
        }
    }

    /// Tells what a peer is, before its first path.
    pub fn set_peer(&mut self, peer: PeerId, facts: PeerFacts) {
        self.peers.insert(peer, facts);
    }

    /// Adds or replaces the path of a peer; whether it had none before.
    pub fn insert(&mut self, prefix: IpNet, path: Path) -> bool {
        let at = self.index.get_or_insert(&prefix, || self.slots.add(&prefix));
        let Some(own) = self.slots.paths_mut(at).iter_mut().find(|own| own.peer == path.peer) else {
            self.add_path(at, path);
            return true;
        };
        let old = std::mem::replace(own, path);
        self.attrs.release(old.attrs);
        // The same route again: nothing downstream may notice (and a stale mark is gone).
        if old.attrs != path.attrs || old.hop != path.hop {
            self.rank(at, Some(path.peer));
        }
        false
    }

    fn add_path(&mut self, at: SlotId, path: Path) {
        match self.slots.slot(at).paths {
            Paths::None => {
                self.slots.slot(at).paths = Paths::One(path);
                self.rank(at, Some(path.peer));
            }
            Paths::One(first) => {
                let usable = self.slots.slot(at).usable;
                let best = usable.then_some(first.peer);
                let hops = self.hops_of_one(&first).filter(|_| usable).cloned();
                self.slots.spread(at, List { paths: vec![first, path], best, hops });
                self.rank(at, None);
            }
            Paths::Many(list) => {
                self.slots.list_mut(list).paths.push(path);
                self.rank(at, None);
            }
        }
    }

    /// How many slots there are, free ones included: for walks in slices.
    #[must_use]
    pub fn slots(&self) -> SlotId {
        self.slots.end()
    }

    /// Removes the path of a peer; whether there was one.
    pub fn remove(&mut self, prefix: &IpNet, peer: PeerId) -> bool {
        self.index.get(prefix).is_some_and(|at| self.remove_at(at, peer))
    }

    /// Removes the path of a peer from a slot; whether there was one.
    pub fn remove_at(&mut self, at: SlotId, peer: PeerId) -> bool {
        let Some(slot) = self.slots.get(at) else {
            return false;
        };
        let Some(place) = self.slots.paths(slot).iter().position(|path| path.peer == peer) else {
            return false;
        };
        let path = match self.slots.slot(at).paths {
            Paths::None => return false,
            Paths::One(path) => {
                let slot = self.slots.slot(at);
                slot.paths = Paths::None;
                if std::mem::take(&mut slot.usable) {
                    self.note_change(at);
                } else if !slot.in_log {
                    self.forget(at);
                }
                path
            }
            Paths::Many(list) => {
                let path = self.slots.list_mut(list).paths.remove(place);
                self.rank(at, None);
                if let [last] = *self.slots.list(list).paths.as_slice() {
                    let usable = self.is_usable(&last);
                    self.slots.fold(at, list);
                    self.slots.slot(at).usable = usable;
                }
                path
            }
        };
        self.attrs.release(path.attrs);
        true
    }

    /// Marks the paths of a peer in these families as stale.
    pub fn set_stale(&mut self, peer: PeerId, families: &[Family]) {
        for at in 0..self.slots() {
            let family = self.slots.get(at).map(|slot| Family::of(&self.slots.prefix(slot)));
            if family.is_some_and(|family| families.contains(&family))
                && let Some(path) = self.slots.paths_mut(at).iter_mut().find(|path| path.peer == peer)
            {
                path.stale = true;
            }
        }
    }

    /// Another bound on ECMP sets: every prefix is ranked again.
    pub fn set_multipath(&mut self, multipath: u8) {
        self.multipath = usize::from(multipath.clamp(1, 64));
        for at in 0..self.slots() {
            if self.slots.get(at).is_some_and(|slot| matches!(slot.paths, Paths::Many(_))) {
                self.rank(at, None);
            }
        }
    }

    /// Ranks again every prefix with a path through one of these next hops, whose resolution is another one now.
    pub fn hops_changed(&mut self, changed: &[HopId]) {
        for at in 0..self.slots() {
            let slot = self.slots.get(at);
            let hit = |slot: &Slot| self.slots.paths(slot).iter().any(|path| changed.contains(&path.hop));
            match slot.filter(|slot| hit(slot)).map(|slot| &slot.paths) {
                Some(Paths::One(path)) => self.rank(at, Some(path.peer)),
                Some(Paths::Many(_)) => self.rank(at, None),
                Some(Paths::None) | None => {}
            }
        }
    }

    /// The decision process for one prefix; `replaced`: if the best path is this peer's, it is another one than before.
    fn rank(&mut self, at: SlotId, replaced: Option<PeerId>) {
        match self.slots.slot(at).paths {
            Paths::None => {}
            Paths::One(path) => {
                let usable = self.is_usable(&path);
                let was = std::mem::replace(&mut self.slots.slot(at).usable, usable);
                if usable != was || (usable && replaced.is_some()) {
                    self.note_change(at);
                }
            }
            Paths::Many(list) => {
                let (best, hops) = self.outcome(list);
                let list = self.slots.list_mut(list);
                let force = replaced.is_some() && list.best == replaced;
                if force || list.best != best || list.hops != hops {
                    list.best = best;
                    list.hops = hops;
                    self.note_change(at);
                }
            }
        }
    }

    /// Tells every reader of a prefix again, as if it had changed.
    pub fn touch(&mut self, prefix: &IpNet) {
        if let Some(at) = self.index.get(prefix) {
            self.note_change(at);
        }
    }

    fn note_change(&mut self, at: SlotId) {
        self.log.push_back(at);
        let slot = self.slots.slot(at);
        self.overtaken += u64::from(std::mem::replace(&mut slot.in_log, true));
        slot.changed = low_half(self.log_base + self.log.len() as u64);
    }

    fn is_usable(&self, path: &Path) -> bool {
        is_own(path.peer) || self.hops.resolved(path.hop).is_some()
    }

    fn hops_of_one(&self, path: &Path) -> Option<&Arc<[Hop]>> {
        if is_own(path.peer) { None } else { self.hops.alone(path.hop) }
    }

    /// Ranks paths of a prefix, without changing anything.
    #[must_use]
    pub fn ranking(&self, paths: &[Path]) -> Option<Ranking> {
        if let [only] = paths {
            // Nearly every prefix: nothing to compare.
            return self.is_usable(only).then(|| Ranking { best: 0, ended_by: vec![Rule::Equal] });
        }
        let candidates: Vec<_> = paths.iter().filter_map(|path| self.candidate(path)).collect();
        decide(&candidates)
    }

    /// A path as the decision process sees it.
    #[must_use]
    pub fn candidate(&self, path: &Path) -> Option<Candidate<'_>> {
        let local = is_own(path.peer);
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

    /// The best of a list of paths by peer, and the next hops of those as good.
    fn outcome(&mut self, list: u32) -> (Option<PeerId>, Option<Arc<[Hop]>>) {
        let list = self.slots.list(list);
        let paths = self.strongest(&list.paths);
        let Some(ranking) = self.ranking(&paths) else {
            return (None, None);
        };
        let best = paths[ranking.best].peer;
        if is_own(best) {
            return (Some(best), None);
        }
        let equal = |at: &usize| ranking.ended_by.get(*at) == Some(&Rule::Equal);
        let others = (0..paths.len()).filter(|&at| at != ranking.best).filter(equal);
        let mut hops: Vec<_> = std::iter::once(ranking.best)
            .chain(others)
            .filter_map(|at| self.hops.resolved(paths[at].hop))
            .take(self.multipath)
            .collect();
        hops.sort_unstable();
        hops.dedup();
        match &list.hops {
            Some(same) if **same == *hops => (Some(best), Some(Arc::clone(same))),
            Some(_) | None => (Some(best), Some(self.shared(hops))),
        }
    }

    /// The usable paths that share the best preference: the later rules decide among these.
    fn strongest(&self, paths: &[Path]) -> Vec<Path> {
        let preference = |path: &Path| {
            let preference = self.attrs.preference(path.attrs);
            if is_own(path.peer) { preference.originated() } else { preference }
        };
        let usable = paths.iter().filter(|path| self.is_usable(path));
        let least = usable.clone().map(preference).min();
        usable.filter(|path| Some(preference(path)) == least).copied().collect()
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
    pub fn get(&self, prefix: &IpNet) -> Option<Entry<'_>> {
        self.entry(self.index.get(prefix)?)
    }

    /// The slot of a prefix.
    #[must_use]
    pub fn slot(&self, prefix: &IpNet) -> Option<SlotId> {
        self.index.get(prefix)
    }

    /// The entry of a slot.
    #[must_use]
    pub fn entry(&self, slot: SlotId) -> Option<Entry<'_>> {
        let slot = self.slots.get(slot)?;
        let (best, hops) = match &slot.paths {
            Paths::One(path) if slot.usable => (Some(path.peer), self.hops_of_one(path)),
            Paths::One(_) | Paths::None => (None, None),
            Paths::Many(list) => {
                let list = self.slots.list(*list);
                (list.best, list.hops.as_ref())
            }
        };
        let changed = self.change_of(slot).unwrap_or_default();
        Some(Entry { prefix: self.slots.prefix(slot), paths: self.slots.paths(slot), best, hops, changed })
    }

    /// Entries in order of family and prefix, behind a cursor.
    pub fn after(&self, cursor: Option<IpNet>) -> impl Iterator<Item = Entry<'_>> {
        let first = self.index.next(cursor.as_ref());
        let all = std::iter::successors(first, |(prefix, _)| self.index.next(Some(prefix)));
        all.filter_map(|(_, slot)| self.entry(slot))
    }

    /// The longest prefix that covers `target` and has a path.
    #[must_use]
    pub fn covering(&self, target: &IpNet) -> Option<Entry<'_>> {
        let has_path = |at| self.slots.get(at).is_some_and(|slot| !matches!(slot.paths, Paths::None));
        self.entry(self.index.longest(&target.trunc(), has_path)?)
    }

    /// How many prefixes are known.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The number behind the newest change: where a reader that knows everything stands.
    #[must_use]
    pub fn log_end(&self) -> u64 {
        self.log_base + self.log.len() as u64
    }

    /// The number of the newest change of a slot, while it is in the log.
    fn change_of(&self, slot: &Slot) -> Option<u64> {
        // The log is shorter than 2^32, so the low half tells how far behind its start the change is.
        let behind = slot.changed.wrapping_sub(low_half(self.log_base));
        slot.in_log.then(|| self.log_base + u64::from(behind))
    }

    /// The next change at or behind `cursor`, which is moved behind it; changes that were overtaken by a later one are skipped.
    pub fn next_change(&self, cursor: &mut u64) -> Option<SlotId> {
        *cursor = (*cursor).max(self.log_base);
        loop {
            let at = usize::try_from(*cursor - self.log_base).ok()?;
            let slot = *self.log.get(at)?;
            *cursor += 1;
            if self.is_newest(slot, *cursor) {
                return Some(slot);
            }
        }
    }

    /// The slot whose newest change follows `change` changes, if it was not overtaken.
    #[must_use]
    pub fn change_at(&self, change: u64) -> Option<SlotId> {
        let slot = *self.log.get(usize::try_from(change.checked_sub(self.log_base)?).ok()?)?;
        self.is_newest(slot, change + 1).then_some(slot)
    }

    /// The number of the first change that is still in the log.
    #[must_use]
    pub const fn log_start(&self) -> u64 {
        self.log_base
    }

    /// How many changes were overtaken by a later one of the same prefix while they were in the log.
    #[must_use]
    pub const fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// Whether change number `change` is a slot's newest.
    fn is_newest(&self, slot: SlotId, change: u64) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.in_log && slot.changed == low_half(change))
    }

    /// Every reader has passed `cursor`: older changes are forgotten, and prefixes without paths with them.
    pub fn trim(&mut self, cursor: u64) {
        while self.log_base < cursor {
            let Some(at) = self.log.pop_front() else {
                break;
            };
            self.log_base += 1;
            if !self.is_newest(at, self.log_base) {
                continue;
            }
            let slot = self.slots.slot(at);
            slot.in_log = false;
            if matches!(slot.paths, Paths::None) {
                self.forget(at);
            }
        }
        if self.log.is_empty() && self.log.capacity() > LOG_KEPT {
            self.log = VecDeque::new();
        }
    }

    fn forget(&mut self, at: SlotId) {
        if let Some(prefix) = self.slots.get(at).map(|slot| self.slots.prefix(slot)) {
            self.index.remove(&prefix);
            self.slots.remove(at);
        }
    }
}

/// The low half of a number of a change.
const fn low_half(change: u64) -> u32 {
    (change & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests;
