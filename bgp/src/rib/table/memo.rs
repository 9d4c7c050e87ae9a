//! What the decision process made of the last list of paths, for those that follow and are alike: where several neighbours offer a
//! table, nearly all of its prefixes have the same peers, attributes and next hops in the same order.

use super::Table;
use super::outcome::{FEW, Outcome};
use crate::rib::attrs::AttrsId;
use crate::rib::nexthop::HopId;
use crate::rib::slots::Path;
use crate::types::PeerId;

/// A list of paths, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// All of a path but when it came, which decides nothing.
    paths: Vec<(PeerId, u32, AttrsId, HopId)>,
    outcome: Outcome,
    epoch: Epoch,
}

/// How often anything changed that an outcome depends on beside the paths: blocks of attributes that went, whose numbers others may have
/// now; next hops that went or resolve otherwise; peers, and the settings of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    attrs: u64,
    hops: u64,
    table: u64,
}

impl Memo {
    /// What came of these paths.
    pub(super) fn recall(&self, epoch: Epoch, paths: &[Path]) -> Option<&Outcome> {
        let is_known =
            self.epoch == epoch && !paths.is_empty() && paths.iter().map(facts).eq(self.paths.iter().copied());
        is_known.then_some(&self.outcome)
    }

    /// Remembers what came of them.
    pub(super) fn keep(&mut self, epoch: Epoch, paths: &[Path], outcome: &Outcome) {
        self.paths.clear();
        // More are rare, and would be compared for nothing.
        if paths.len() <= FEW {
            self.paths.extend(paths.iter().map(facts));
            self.outcome.clone_from(outcome);
            self.epoch = epoch;
        }
    }
}

fn facts(path: &Path) -> (PeerId, u32, AttrsId, HopId) {
    (path.peer, path.id, path.attrs, path.hop)
}

impl Table {
    pub(super) const fn epoch(&self) -> Epoch {
        Epoch { attrs: self.attrs.freed(), hops: self.hops.changes(), table: self.changes }
    }

    /// Something else is decided now, of the same paths.
    pub(super) const fn begin_epoch(&mut self) {
        self.changes += 1;
    }
}
