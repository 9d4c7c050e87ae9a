//! How routes leave: one by one in descending order, or all routes of an object at once by deleting the object, which the kernel does
//! ten times faster. A loss tells in thousands of changes what is gone: while they come, deletions wait a little for their like.

use super::{Fib, NhId, Op, objects::Held as HeldObject};
use weft_bgp::time::{Duration, Instant};

/// Fewer deletions than this never wait, and fewer routes of an object go one by one: so many take the kernel a few milliseconds.
const MANY: usize = 4_096;
/// An object's routes go with it only if they are one part in this of all routes, since the kernel walks all of them for that.
const SHARE: usize = 16;
/// Changes that follow each other closer than this belong together.
const GAP: Duration = Duration::from_millis(50);
/// Longest wait for more: a table of a million is told within this, and no hold timer is shorter.
const PATIENCE: Duration = Duration::from_secs(3);
/// The kernel holds its routing lock while it walks: not so soon after a link changed, when it may have to learn of another.
const CALM: Duration = Duration::from_secs(1);

/// A group whose routes come back one after another is whole when the last one has: who does not come is looked for when no change has
/// come for so long. More than what lies between two turns of a session that tells its table.
const QUIET: Duration = Duration::from_millis(100);

/// When something happened that deletions wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaving {
    /// Changes were taken since the last look.
    pub(super) fresh: bool,
    /// A link changed since the last look.
    pub(super) shaken: bool,
    /// When changes came last, and when deletions began to wait for them.
    heard: Option<Instant>,
    waits_since: Option<Instant>,
    /// When a link changed last.
    shaken_at: Option<Instant>,
    /// Deletions wait until then.
    until: Option<Instant>,
    /// Since when routes are to be moved off their stand-ins, and until when that waits.
    settle_since: Option<Instant>,
    settle_at: Option<Instant>,
}

impl Leaving {
    /// Follows what happened since the last look.
    pub(super) const fn look(&mut self, now: Instant) {
        if std::mem::replace(&mut self.fresh, false) {
            self.heard = Some(now);
        }
        if std::mem::replace(&mut self.shaken, false) {
            self.shaken_at = Some(now);
        }
    }

    /// Whether routes are to be moved off their stand-ins now, if at all: when changes pause. If not yet, [`Leaving::next_timeout`]
    /// says when.
    pub(super) fn settles(&mut self, now: Instant, wanted: bool) -> bool {
        (self.settle_at, self.settle_since) = (None, self.settle_since.filter(|_| wanted));
        if !wanted {
            return false;
        }
        // From the link's return on: the neighbour that returns with it needs a moment to say the first word.
        let since = *self.settle_since.get_or_insert(now);
        let quiet_at = self.heard.map_or(since, |at| at.max(since)) + QUIET;
        let patience_ends = since + PATIENCE;
        self.settle_at = Some(quiet_at.min(patience_ends)).filter(|at| *at > now);
        if self.settle_at.is_none() {
            self.settle_since = None;
        }
        self.settle_at.is_none()
    }

    /// When what waits is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.until, self.settle_at].into_iter().flatten().min()
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.shaken_at.is_none_or(|at| at + CALM <= now)
    }

    /// Whether so many deletions wait for more.
    fn waits(&mut self, now: Instant, deletions: usize) -> bool {
        let gap_ends = self.heard.map_or(Instant::ZERO, |at| at + GAP);
        if deletions < MANY || gap_ends <= now {
            (self.waits_since, self.until) = (None, None);
            return false;
        }
        let patience_ends = *self.waits_since.get_or_insert(now) + PATIENCE;
        self.until = Some(gap_ends.min(patience_ends)).filter(|until| *until > now);
        self.until.is_some()
    }
}

impl Fib {
    /// The next routes to leave. Called when everything that is to stand stands.
    pub(super) fn deletions(&mut self, now: Instant, max: usize) -> Vec<Op> {
        if let Some(id) = self.leaves_whole(now) {
            return vec![Op::DeleteNexthop { id }];
        }
        self.single_deletions(now, max)
    }

    /// The same beside others that are under way: none where an object is about to take all of its routes with it.
    pub(super) fn more_deletions(&mut self, now: Instant, max: usize) -> Vec<Op> {
        if self.leaves_whole(now).is_some() { Vec::new() } else { self.single_deletions(now, max) }
    }

    fn single_deletions(&mut self, now: Instant, max: usize) -> Vec<Op> {
        if self.leaving.waits(now, self.routes.deletions()) {
            return Vec::new();
        }
        let keys = self.routes.next_to_delete(max);
        keys.into_iter().map(|key| Op::DeleteRoute { key }).collect()
    }

    /// An object whose routes all leave, are many, and which stands in no group: it takes them with it.
    fn leaves_whole(&self, now: Instant) -> Option<NhId> {
        if self.routes.deletions() < MANY || !self.leaving.is_calm(now) {
            return None;
        }
        let fits = |id: &NhId| {
            let routes = usize::try_from(self.routes.holding(*id)).unwrap_or(usize::MAX);
            routes >= MANY
                && routes.saturating_mul(SHARE) >= self.routes.held()
                && self.routes.all_leave(*id)
                && !self.troubles.contains_key(&super::Subject::Nexthop(*id))
                && self.objects.get(*id).is_some_and(|object| object.held != HeldObject::No)
                && !self.objects.is_in_group(*id)
        };
        self.routes.objects().find(fits)
    }
}
