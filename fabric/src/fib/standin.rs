//! Stand-ins. A group that lost members does just what routes want that want what is left of it. Such a route is left as it is, so that a
//! neighbour that goes, and takes its paths with it, costs one step whatever the number of routes.
//!
//! What a route relies on must not send it to who it does not want: a group gets a member back only when every route that relies on it
//! wants that member, too ([`Standins::wanted_of`]). Mostly they come to want the whole group again, one after another; those that do not
//! are moved when no changes have come for a while, and the group is whole after that.

use super::op::NhId;
use std::collections::{BTreeMap, BTreeSet};

/// Who stands in for what, and how many routes rely on it.
#[derive(Debug, Default)]
pub(super) struct Standins {
    /// (held, wanted): the first does what the second would.
    pairs: BTreeSet<(NhId, NhId)>,
    /// Routes that hold the first and want the second, be it because of that or until it is their turn. None is zero.
    relying: BTreeMap<(NhId, NhId), u32>,
    /// Groups that are to stand in no more: they wait for their routes to be moved.
    ending: BTreeSet<NhId>,
    /// Routes may rely on what does not stand in any more.
    unsettled: bool,
}

impl Standins {
    /// Whether a route that holds the first and wants the second is served.
    pub(super) fn has(&self, pair: (NhId, NhId)) -> bool {
        !self.pairs.is_empty() && self.pairs.contains(&pair)
    }

    /// Counts a route in or out; whether that was the last one of its pair.
    pub(super) fn count(&mut self, pair: (NhId, NhId), up: bool) -> bool {
        let count = self.relying.entry(pair).or_default();
        *count = if up { *count + 1 } else { count.saturating_sub(1) };
        if *count > 0 {
            return false;
        }
        self.relying.remove(&pair);
        if self.wanted_of(pair.0).next().is_none() {
            self.ending.remove(&pair.0);
        }
        true
    }

    /// Takes the groups that do what another object would.
    pub(super) fn set(&mut self, mut pairs: BTreeSet<(NhId, NhId)>) {
        pairs.retain(|(held, _)| !self.ending.contains(held));
        self.unsettled |= self.pairs.iter().any(|pair| !pairs.contains(pair) && self.relying.contains_key(pair));
        self.pairs = pairs;
    }

    /// These stand in for nothing from now on.
    pub(super) fn end(&mut self, ending: &BTreeSet<NhId>) {
        self.ending.extend(ending);
        self.pairs.retain(|(held, _)| !ending.contains(held));
        self.unsettled = false;
    }

    /// Whether routes may rely on what does not stand in any more.
    pub(super) const fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// What routes that hold `held` want instead.
    pub(super) fn wanted_of(&self, held: NhId) -> impl Iterator<Item = NhId> {
        self.relying.range((held, NhId(0))..=(held, NhId(u32::MAX))).map(|((_, wanted), _)| *wanted)
    }

    /// Objects that routes hold which want others.
    pub(super) fn relied_on(&self) -> BTreeSet<NhId> {
        self.relying.keys().map(|(held, _)| *held).collect()
    }
}
