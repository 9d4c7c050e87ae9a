//! One table for both families: prefix ▶ paths, the chosen ones among them, and a log of changes that every reader follows at its
//! own pace.
//!
//! Each prefix has a dense slot number, so that "who was told" is one bit per prefix and reader, and the log is one number per
//! change. A reader (one for each peer, one for the kernel) holds a cursor into the log; an entry that changed again later is
//! skipped at its older place, so ten changes cost a slow reader one.

mod forget;
mod guard;
mod memo;
mod outcome;
mod paths;
mod rerank;

pub use super::slots::{Came, Path, PathKey, SlotId};
pub use guard::{Guard, Guards, HeldBack};
pub use paths::{Ranked, Sendable};

use super::attrs::AttrsTable;
use super::decide::{Candidate, Ranking, Rule, decide};
pub use super::index::AHEAD;
use super::index::Index;
use super::lives::Lives;
use super::nexthop::NextHops;
use super::slots::{List, Paths, Slot, Slots};
use crate::types::{Hop, IpNet, PeerId, RouterId};
use crate::wire::attrs::Attrs;
use crate::wire::community::Bandwidth;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// A next hop, and what its path says of the bandwidth behind it.
type Member = (Hop, Option<Bandwidth>);

/// The peer id of what this speaker originates itself.
pub const LOCAL: PeerId = PeerId(u32::MAX);
/// The peer id of the aggregates among that.
pub const AGGREGATE: PeerId = PeerId(u32::MAX - 1);

/// Whether a path is of this speaker's own making.
#[must_use]
pub const fn is_own(peer: PeerId) -> bool {
    peer.0 >= AGGREGATE.0
}

/// Mark of a change, in the log, of where packets go and of nothing else. Slots are fewer.
const HOPS_ONLY: SlotId = 1 << 31;

/// What is known of a peer when its paths are ranked.
#[derive(Clone, Copy, Debug)]
pub struct PeerFacts {
    /// External session.
    pub ebgp: bool,
    /// BGP identifier.
    pub router_id: RouterId,
    /// Address of the session.
    pub address: IpAddr,
    /// A client that we reflect for (RFC 4456).
    pub client: bool,
}

/// One prefix, as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'t> {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths: one per peer, or one per path identifier of a peer that sends several (RFC 7911).
    pub paths: &'t [Path],
    /// Place of the best one.
    pub best: Option<usize>,
    /// Where packets should go: the resolved next hops of the best path and of its equals, and of what would be equal but for a link
    /// that is down ([`NextHops::is_up`] tells them apart).
    pub hops: Option<&'t Arc<[Hop]>>,
    /// What the used paths carry together (RFC 10005 §3.4), if every one of them says.
    pub bandwidth: Option<Bandwidth>,
    /// Number of the newest change, if that is still in the log; 0 if every reader knows it.
    pub changed: u64,
}

impl<'t> Entry<'t> {
    /// The best path.
    #[must_use]
    pub fn best_path(&self) -> Option<&'t Path> {
        self.paths.get(self.best?)
    }

    /// From whom that is.
    #[must_use]
    pub fn best_peer(&self) -> Option<PeerId> {
        Some(self.best_path()?.peer)
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
    /// Which session of its peer a path is of.
    pub lives: Lives,
    peers: BTreeMap<PeerId, PeerFacts>,
    hop_sets: BTreeMap<Arc<[Hop]>, ()>,
    /// The members of an ECMP set while a prefix is ranked.
    members: Vec<Member>,
    /// What came of the last list.
    memo: memo::Memo,
    /// How often a peer or a setting changed.
    changes: u64,
    multipath: usize,
    /// Where packets go is news for peers too.
    tells_hops: bool,
    /// Slots, with [`HOPS_ONLY`] where that is so.
    log: VecDeque<SlotId>,
    /// Slots without paths that are no longer in it; some may have paths again.
    bare: VecDeque<SlotId>,
    /// Number of the first change still in the log.
    log_base: u64,
    overtaken: u64,
    watch: paths::Watch,
    rerank: rerank::Rerank,
    watchman: guard::Watchman,
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
            lives: Lives::default(),
            peers: BTreeMap::new(),
            hop_sets: BTreeMap::new(),
            members: Vec::new(),
            memo: memo::Memo::default(),
            changes: 0,
            multipath: usize::from(multipath.clamp(1, 64)),
            tells_hops: false,
            log: VecDeque::new(),
            bare: VecDeque::new(),
            log_base: 0,
            overtaken: 0,
            watch: paths::Watch::default(),
            rerank: rerank::Rerank::default(),
            watchman: guard::Watchman::default(),
        }
    }

    /// Tells what a peer is, before its first path.
    pub fn set_peer(&mut self, peer: PeerId, facts: PeerFacts) {
        self.peers.insert(peer, facts);
        self.begin_epoch();
    }

    /// Whether a peer is a client that we reflect for, from now on.
    pub fn set_client(&mut self, peer: PeerId, client: bool) {
        if let Some(facts) = self.peers.get_mut(&peer) {
            facts.client = client;
            self.begin_epoch();
        }
    }

    /// What a peer is, if it ever had a path.
    #[must_use]
    pub fn peer(&self, peer: PeerId) -> Option<&PeerFacts> {
        self.peers.get(&peer)
    }

    /// A peer that is no more, and whose paths are gone.
    pub fn forget_peer(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.begin_epoch();
        self.lives.forget(peer);
    }

    /// Looks at the places of the next [`AHEAD`] prefixes that paths come or go for, so that finding each of them is quick.
    pub fn look_ahead(&self, prefixes: impl Iterator<Item = IpNet>) {
        self.index.warm(prefixes);
    }

    /// Adds or replaces a path, which holds its attributes and its next hop from now on; when the replaced one came.
    pub fn insert(&mut self, prefix: IpNet, path: Path) -> Option<Came> {
        let at = self.index.get_or_insert(&prefix, || self.slots.add(&prefix));
        let mut all = self.slots.paths_mut(at).iter_mut().enumerate();
        let Some((place, own)) = all.find(|(_, own)| own.key() == path.key()) else {
            self.add_path(at, path);
            return None;
        };
        let old = std::mem::replace(own, path);
        self.release(&old);
        // The same route again: nothing downstream may notice.
        if old.attrs != path.attrs || old.hop != path.hop {
            let best = self.is_best(at, place);
            let noted = self.rank(at, best);
            self.note_path(at, Some(place), noted);
        }
        Some(old.came)
    }

    fn add_path(&mut self, at: SlotId, path: Path) {
        match self.slots.slot(at).paths() {
            Paths::None => {
                self.slots.slot(at).set_paths(Paths::One(path));
                self.rank(at, true);
            }
            Paths::One(first) => {
                let usable = self.slots.slot(at).usable;
                let best = usable.then_some(0);
                let hops = self.hops_of_one(&first).filter(|_| usable).cloned();
                let bandwidth = self.attrs.bandwidth(first.attrs).filter(|_| usable);
                // Mostly there are two, for which a vector left to itself would take room for four.
                let mut paths = Vec::with_capacity(2);
                paths.push(first);
                let mut list = List { paths, best, hops, bandwidth, tags: self.tag_of_one(at) };
                list.push(path);
                self.slots.spread(at, list);
                let noted = self.rank(at, false);
                self.note_path(at, Some(1), noted);
            }
            Paths::Many(list) => {
                self.tag_list(list);
                let list = self.slots.list_mut(list);
                let place = list.paths.len();
                list.push(path);
                let noted = self.rank(at, false);
                self.note_path(at, Some(place), noted);
            }
        }
    }

    /// How many slots there are, free ones included: for walks in slices.
    #[must_use]
    pub fn slots(&self) -> SlotId {
        self.slots.end()
    }

    /// Removes a path; when it had come, if there was one.
    pub fn remove(&mut self, prefix: &IpNet, key: PathKey) -> Option<Came> {
        self.index.get(prefix).and_then(|at| self.remove_at(at, key))
    }

    /// Removes a path from a slot; when it had come, if there was one.
    pub fn remove_at(&mut self, at: SlotId, key: PathKey) -> Option<Came> {
        let slot = self.slots.get(at)?;
        let place = self.slots.paths(slot).iter().position(|path| path.key() == key)?;
        let path = match slot.paths() {
            Paths::None => return None,
            Paths::One(path) => {
                let slot = self.slots.slot(at);
                slot.set_paths(Paths::None);
                self.watchman.note(at, false);
                let slot = self.slots.slot(at);
                if std::mem::take(&mut slot.usable) {
                    self.note_change(at);
                } else if !self.is_logged(at) {
                    self.forget(at);
                }
                path
            }
            Paths::Many(list) => {
                self.tag_list(list);
                let best = self.is_best(at, place);
                let path = self.slots.list_mut(list).remove(place);
                let noted = self.rank(at, best);
                self.note_path(at, None, noted);
                if !self.is_watched(list) {
                    self.fold(at, list);
                }
                path
            }
        };
        self.release(&path);
        Some(path.came)
    }

    /// A path is gone, and what it held with it.
    fn release(&mut self, path: &Path) {
        self.attrs.release(path.attrs);
        self.hops.release(path.hop);
    }

    /// Ends a list that is not needed any more; what remains was ranked.
    fn fold(&mut self, at: SlotId, list: u32) {
        match *self.slots.list(list).paths.as_slice() {
            [] => {
                self.slots.fold(at, list);
                if !self.is_logged(at) {
                    self.forget(at);
                }
            }
            [_] => {
                let usable = self.slots.list(list).best.is_some();
                self.slots.fold(at, list);
                self.slots.slot(at).usable = usable;
            }
            [..] => {}
        }
    }

    fn is_best(&self, at: SlotId, place: usize) -> bool {
        self.slots.get(at).is_some_and(|slot| match slot.paths() {
            Paths::None => false,
            Paths::One(_) => slot.usable,
            Paths::Many(list) => self.slots.list(list).best.is_some_and(|best| best as usize == place),
        })
    }

    /// The decision process for one prefix; `replaced`: what was its best path is another one now, or gone. Whether readers will hear
    /// of a change.
    fn rank(&mut self, at: SlotId, replaced: bool) -> bool {
        let changed = match self.slots.slot(at).paths() {
            Paths::None => false,
            Paths::One(path) => {
                let held = !self.watchman.is_idle() && self.hold_back(at);
                let usable = !held && self.is_usable(&path);
                let was = std::mem::replace(&mut self.slots.slot(at).usable, usable);
                usable != was || (usable && replaced)
            }
            Paths::Many(list) => {
                let (best, hops, bandwidth) = self.guarded(at, list);
                let list = self.slots.list_mut(list);
                let changed = replaced || list.best != best || list.bandwidth != bandwidth;
                let hops_only = !changed && list.hops != hops;
                list.best = best;
                list.hops = hops;
                list.bandwidth = bandwidth;
                if hops_only {
                    self.note_hops(at);
                    return true;
                }
                changed
            }
        };
        if changed {
            self.note_change(at);
        }
        changed
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
        self.watch.overtake(at, slot.in_log);
        self.overtaken += u64::from(std::mem::replace(&mut slot.in_log, true));
        slot.changed = low_half(self.log_base + self.log.len() as u64);
    }

    /// Whether peers hear of it, from now on, when packets go elsewhere and the best path is the same.
    pub fn tell_hops(&mut self, tells: bool) {
        if std::mem::replace(&mut self.tells_hops, tells) != tells {
            self.begin_epoch();
            if self.hops.any_dormant() {
                self.rank_all();
            }
        }
    }

    /// Packets go elsewhere, and the best path is the same: the kernel must know, and mostly nobody else.
    fn note_hops(&mut self, at: SlotId) {
        // Whoever has not read an earlier change yet is to read this one.
        let earlier = self.slots.get(at).and_then(|slot| self.change_of(slot));
        let is_told = earlier.is_none_or(|change| self.is_hops_only(change - 1));
        self.note_change(at);
        if let Some(last) = self.log.back_mut().filter(|_| is_told && !self.tells_hops) {
            *last |= HOPS_ONLY;
        }
    }

    /// Whether the change that follows `change` changes was one of next hops alone.
    fn is_hops_only(&self, change: u64) -> bool {
        let place = change.checked_sub(self.log_base).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.log.get(place)).is_some_and(|noted| noted & HOPS_ONLY != 0)
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
        let address = IpAddr::V4(RouterId::UNSPECIFIED);
        let unspecified = PeerFacts { ebgp: false, router_id: RouterId::UNSPECIFIED, address, client: false };
        let facts = if local { &unspecified } else { self.peers.get(&path.peer)? };
        Some(Candidate {
            attrs: Attrs(self.attrs.block(path.attrs)),
            local,
            ebgp: facts.ebgp,
            resolved: local || self.hops.resolved(path.hop).is_some(),
            metric: 0,
            router_id: facts.router_id,
            peer_address: facts.address,
            path_id: path.id,
        })
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
        let (best, hops, bandwidth) = match slot.paths() {
            Paths::One(path) if slot.usable => (Some(0), self.hops_of_one(&path), self.attrs.bandwidth(path.attrs)),
            Paths::One(_) | Paths::None => (None, None, None),
            Paths::Many(list) => {
                let list = self.slots.list(list);
                (list.best.map(|place| place as usize), list.hops.as_ref(), list.bandwidth)
            }
        };
        let changed = self.change_of(slot).unwrap_or_default();
        Some(Entry { prefix: self.slots.prefix(slot), paths: self.slots.paths(slot), best, hops, bandwidth, changed })
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
        let has_path = |at| self.slots.get(at).is_some_and(|slot| !self.slots.paths(slot).is_empty());
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
            let slot = *self.log.get(at)? & !HOPS_ONLY;
            *cursor += 1;
            if self.is_newest(slot, *cursor) {
                return Some(slot);
            }
        }
    }

    /// The slot whose newest change follows `change` changes, if it was not overtaken and is one of the best path.
    #[must_use]
    pub fn change_at(&self, change: u64) -> Option<SlotId> {
        let slot = *self.log.get(usize::try_from(change.checked_sub(self.log_base)?).ok()?)?;
        (slot & HOPS_ONLY == 0 && self.is_newest(slot, change + 1)).then_some(slot)
    }

    /// Whether who walks over the slots and follows the log from `cursor` on must look at this one now: what changed since comes by
    /// the log, unless that was where packets go and nothing else.
    #[must_use]
    pub fn is_settled(&self, at: SlotId, cursor: u64) -> bool {
        let change = self.slots.get(at).map(|slot| self.change_of(slot));
        change.is_some_and(|change| change.is_none_or(|change| change <= cursor || self.is_hops_only(change - 1)))
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
}

/// The low half of a number of a change.
const fn low_half(change: u64) -> u32 {
    (change & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests;
