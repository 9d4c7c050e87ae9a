//! What a session leaves behind is removed in slices: a walk over a million prefixes delays no other peer's keepalive.
//!
//! Which paths are of an earlier session their number says ([`crate::rib::lives`]), so a walk can go on while the peer is back and
//! announces: what came since is of another session.

use super::machine::Speaker;
use crate::peer::{Leave, Retain};
use crate::rib::lives::Sessions;
use crate::rib::table::{Came, Path, PathKey, SlotId, is_own};
use crate::time::Instant;
use crate::types::{Family, IpNet, PeerId};

/// Prefixes looked at in one slice of a walk: about a millisecond.
pub(super) const SLICE: SlotId = 8_192;

/// Prefixes without paths that are forgotten in one slice, less than are told meanwhile: about half a millisecond.
const FORGET: usize = 4_096;

/// What a walk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Removes what it finds.
    Remove,
    /// Marks it as long-lived stale (RFC 9494 §4.2).
    MarkLongLived,
    /// Marks it as what is to be left (RFC 8326 §4.2).
    MarkLeaving(Leave),
}

/// A walk over the paths of a peer's earlier sessions.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) peer: PeerId,
    /// Which of them, by family.
    sessions: Sessions,
    what: What,
    next: SlotId,
}

impl Sweep {
    pub(super) const fn new(peer: PeerId, sessions: Sessions, what: What) -> Self {
        Self { peer, sessions, what, next: 0 }
    }

    /// Whether the walk is about this path.
    pub(super) fn hits(&self, path: &Path, family: Family) -> bool {
        path.peer == self.peer && self.sessions[family.index()] & 1 << path.came.session() != 0
    }

    /// Whether it marks what is to be left of a peer.
    pub(super) fn marks_leaving(&self, peer: PeerId) -> bool {
        self.peer == peer && matches!(self.what, What::MarkLeaving(_))
    }

    /// Whether it removes what is left of a peer.
    pub(super) fn removes(&self, peer: PeerId) -> bool {
        self.peer == peer && self.what == What::Remove
    }
}

/// Paths that went, by family, each with its path identifier.
pub(super) type Gone = [Vec<(u32, IpNet)>; 2];

/// Paths of one peer in the table, by family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Of its session.
    now: [u64; 2],
    /// Of earlier ones.
    past: [u64; 2],
    /// Of those of its session, what an earlier policy left as it is, because the peer cannot refresh.
    old: [u64; 2],
    /// When that policy was replaced, in seconds since start.
    replaced_s: Option<u64>,
}

impl Held {
    /// All of them.
    pub(super) fn all(&self) -> [u64; 2] {
        Family::ALL.map(|family| self.now[family.index()] + self.past[family.index()])
    }

    /// Those of the session: what a limit counts. Paths, as with RFC 7911 a prefix may have several: FRR and BIRD count the same.
    pub(super) fn of_session(&self) -> u64 {
        self.now.iter().sum()
    }

    /// What was of the session is of an earlier one.
    pub(super) const fn end(&mut self, family: Family) {
        let at = family.index();
        self.past[at] += std::mem::replace(&mut self.now[at], 0);
        self.old[at] = 0;
    }

    /// The policy is another one, and the peer cannot tell its routes again.
    pub(super) const fn outdate(&mut self, now: Instant) {
        self.old = self.now;
        self.replaced_s = Some(now.as_secs());
    }

    /// A new session: all comes under the policy that is in force.
    pub(super) const fn renew(&mut self) {
        self.old = [0; 2];
        self.replaced_s = None;
    }

    /// How many paths of the session an earlier policy left as they are; `None` if there was none.
    pub(super) fn outdated(&self) -> Option<u64> {
        self.replaced_s.map(|_| self.old.iter().sum())
    }

    /// A path came in session `session`, for one that came earlier or for none.
    pub(super) const fn came(&mut self, family: Family, session: u8, replaced: Option<Came>) {
        if let Some(came) = replaced {
            self.went(family, session, came);
        }
        self.now[family.index()] += 1;
    }

    /// A path is gone; `session` is the peer's.
    pub(super) const fn went(&mut self, family: Family, session: u8, came: Came) {
        let of = if came.session() == session { &mut self.now } else { &mut self.past };
        let count = &mut of[family.index()];
        *count = count.saturating_sub(1);
        let old = &mut self.old[family.index()];
        if *old > 0
            && let Some(replaced_s) = self.replaced_s
            && came.session() == session
            && came.seconds() as u64 <= replaced_s
        {
            *old -= 1;
        }
    }
}

impl Speaker {
    /// Whether a walk is under way.
    pub(super) fn is_walking(&self) -> bool {
        !self.sweeps.is_empty() || self.table.is_reranking() || self.aggregates.is_counting() || self.table.has_bare()
    }

    /// One slice of the oldest walk, or of what walks left bare; one of ranking again, and one of counting.
    pub(super) fn walk_on(&mut self, now: Instant) {
        self.table.rerank(SLICE);
        if self.aggregates.is_counting() {
            self.count_aggregates(now);
        }
        if let Some(sweep) = self.sweeps.pop_front() {
            self.sweep_on(now, sweep);
        } else if self.table.has_bare() {
            self.table.forget_bare(FORGET);
        }
    }

    /// Whether a path of an earlier session is kept until its peer is back; others wait only for the walk that removes them.
    pub(super) fn is_retained(&self, path: &Path, family: Family) -> bool {
        let goes = |sweep: &Sweep| sweep.removes(path.peer) && sweep.hits(path, family);
        !is_own(path.peer) && self.table.lives.is_stale(path, family) && !self.sweeps.iter().any(goes)
    }

    /// A session ended: what is not to be retained goes.
    pub(super) fn leave_behind(&mut self, now: Instant, id: PeerId, retain: &Retain) {
        let ended = Family::ALL.map(|family| 1 << self.table.lives.now(id, family));
        let mut is_counted = self.table.lives.end(id);
        if !is_counted {
            // After fifteen sessions within one walk.
            self.finish_sweeps(now, id);
            is_counted = self.table.lives.end(id);
        }
        if !is_counted {
            // Or within one long-lived stale time: what is of the earlier ones is given up.
            self.drop_stale(id, &Family::ALL);
            self.finish_sweeps(now, id);
            let _ = self.table.lives.end(id);
        }
        let past = self.table.lives.past(id);
        let sessions = Family::ALL.map(|family| match past[family.index()] {
            _ if retain.earlier.contains(&family) => 0,
            past if retain.session.contains(&family) => past & !ended[family.index()],
            past => past,
        });
        if let Some(member) = self.members.get_mut(&id) {
            Family::ALL.into_iter().for_each(|family| member.held.end(family));
            member.held.renew();
        }
        self.start_sweep(id, sessions);
    }

    /// What is left of earlier sessions in these families goes.
    pub(super) fn drop_stale(&mut self, id: PeerId, families: &[Family]) {
        let past = self.table.lives.past(id);
        let sessions = Family::ALL.map(|family| if families.contains(&family) { past[family.index()] } else { 0 });
        self.start_sweep(id, sessions);
    }

    fn start_sweep(&mut self, id: PeerId, mut sessions: Sessions) {
        for under_way in self.sweeps.iter().filter(|sweep| sweep.removes(id)) {
            for family in Family::ALL {
                sessions[family.index()] &= !under_way.sessions[family.index()];
            }
        }
        if sessions != [0; 2] {
            self.sweeps.push_back(Sweep::new(id, sessions, What::Remove));
        }
    }

    /// Does the walks of a peer to their end. Only where what is left of it cannot wait.
    pub(super) fn finish_sweeps(&mut self, now: Instant, id: PeerId) {
        while let Some(place) = self.sweeps.iter().position(|sweep| sweep.peer == id) {
            if let Some(sweep) = self.sweeps.remove(place) {
                self.sweep_on(now, sweep);
            }
        }
    }

    fn sweep_on(&mut self, now: Instant, mut sweep: Sweep) {
        let end = sweep.next.saturating_add(SLICE).min(self.table.slots());
        let mut gone = self.is_observed(sweep.peer).then(Gone::default);
        for slot in sweep.next..end {
            match sweep.what {
                What::Remove => self.sweep_slot(slot, &sweep, gone.as_mut()),
                What::MarkLongLived => self.mark_long_lived(slot, &sweep),
                What::MarkLeaving(leave) => self.mark_leaving(slot, &sweep, leave),
            }
        }
        if let Some(gone) = gone {
            self.observe_gone(now, sweep.peer, &gone);
        }
        sweep.next = end;
        if end < self.table.slots() {
            self.sweeps.push_front(sweep);
            return;
        }
        let Sweep { peer, sessions, what, .. } = sweep;
        if what != What::Remove {
            return;
        }
        self.table.lives.swept(peer, sessions);
        self.release_held();
        if !self.members.contains_key(&peer) && self.table.lives.past(peer) == [0; 2] {
            self.table.forget_peer(peer);
            self.left.remove(&peer);
        }
    }

    fn sweep_slot(&mut self, slot: SlotId, sweep: &Sweep, mut gone: Option<&mut Gone>) {
        loop {
            let Some(entry) = self.table.entry(slot) else {
                return;
            };
            let (prefix, family) = (entry.prefix, Family::of(&entry.prefix));
            let Some(path) = entry.paths.iter().find(|path| sweep.hits(path, family)) else {
                return;
            };
            let key: PathKey = path.key();
            let only = entry.paths.len() == 1;
            let Some(came) = self.table.remove_at(slot, key) else {
                return;
            };
            self.went(sweep.peer, family, came);
            if let Some(gone) = &mut gone {
                gone[family.index()].push((key.id, prefix));
            }
            if only {
                return;
            }
        }
    }

    /// A path of a peer is gone.
    pub(super) fn went(&mut self, peer: PeerId, family: Family, came: Came) {
        let now = self.table.lives.now(peer, family);
        let held = match self.members.get_mut(&peer) {
            Some(member) => Some(&mut member.held),
            None => self.left.get_mut(&peer),
        };
        if let Some(held) = held {
            held.went(family, now, came);
        }
    }
}
