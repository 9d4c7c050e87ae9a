//! The decision process over the paths of one prefix, as the table runs it each time one of them changes: the same rules as
//! [`decide`], which tells people how it came about, over a word of bits instead of lists.

use super::{Member, Table, is_own};
use crate::rib::decide::{Candidate, Rule, decide};
use crate::rib::slots::{List, Path};
use crate::rib::weights::{total, weighted};
use crate::types::Hop;
use crate::wire::community::Bandwidth;
use std::sync::Arc;

/// Most paths whose places fit a word; more take the longer way.
pub(super) const FEW: usize = 64;

/// The best of a list of paths by its place, the next hops of those as good, and what they carry together.
pub(super) type Outcome = (Option<u32>, Option<Arc<[Hop]>>, Option<Bandwidth>);

impl Table {
    /// What comes of a list of paths.
    pub(super) fn outcome(&mut self, list: u32) -> Outcome {
        let epoch = self.epoch();
        if let Some(known) = self.memo.recall(epoch, &self.slots.list(list).paths) {
            return known.clone();
        }
        let outcome = self.decided(list);
        self.memo.keep(epoch, &self.slots.list(list).paths, &outcome);
        outcome
    }

    fn decided(&mut self, list: u32) -> Outcome {
        let mut members = std::mem::take(&mut self.members);
        members.clear();
        let List { paths, hops, .. } = self.slots.list(list);
        let best = if paths.len() <= FEW { self.few(paths, &mut members) } else { self.many(paths, &mut members) };
        members.truncate(self.multipath);
        let (mut set, mut bandwidth) = (None, None);
        if best.is_some_and(|best| !is_own(paths[best].peer)) {
            if members.iter().all(|(_, known)| known.is_some()) {
                bandwidth = total(&members);
            }
            if let Some(best) = best.filter(|_| self.hops.any_dormant() && !self.tells_hops) {
                self.add_dormant(paths, best, &mut members);
            }
            if members.iter().all(|(_, known)| known.is_none()) {
                members.sort_unstable_by_key(|(hop, _)| *hop);
                members.dedup();
            } else {
                members = weighted(members).into_iter().map(|hop| (hop, None)).collect();
            }
            let is_same = |same: &&Arc<[Hop]>| same.iter().eq(members.iter().map(|(hop, _)| hop));
            set = match hops.as_ref().filter(is_same) {
                Some(same) => Some(Arc::clone(same)),
                None => Some(self.shared(&members)),
            };
        }
        self.members = members;
        (best.and_then(|best| u32::try_from(best).ok()), set, bandwidth)
    }

    fn member(&self, path: &Path) -> Option<Member> {
        Some((self.hops.resolved(path.hop)?, self.attrs.bandwidth(path.attrs)))
    }

    /// Adds the paths that would be as good as the best one, were their links not down: the kernel has let go of them, and takes them
    /// back with their links, so that the set need not change twice for it.
    fn add_dormant(&self, paths: &[Path], best: usize, members: &mut Vec<Member>) {
        if paths.len() > FEW {
            return;
        }
        let is_eligible = |path: &Path| self.is_usable(path) || self.hops.dormant(path.hop).is_some();
        let equals = self.equals(paths, is_eligible);
        // Not where one of them would be better: then the best path is to be another one with its return.
        if equals & 1 << best == 0 {
            return;
        }
        let dormant = |at: usize| {
            let path = &paths[at];
            Some((self.hops.dormant(path.hop)?, self.attrs.bandwidth(path.attrs)))
        };
        let room = self.multipath.saturating_sub(members.len());
        members.extend(bits(equals).filter_map(dormant).take(room));
    }

    /// The best of a few paths; `members`: where it and its equals lead, the best first.
    fn few(&self, paths: &[Path], members: &mut Vec<Member>) -> Option<usize> {
        let alive = self.equals(paths, |path| self.is_usable(path));
        if alive & alive.wrapping_sub(1) == 0 {
            let best = bits(alive).next()?;
            members.extend(self.member(&paths[best]));
            return Some(best);
        }
        let best = bits(alive).filter_map(|at| Some((self.candidate(&paths[at])?.order(), at))).min()?.1;
        let others = bits(alive).filter(|&at| at != best);
        members.extend(std::iter::once(best).chain(others).filter_map(|at| self.member(&paths[at])));
        Some(best)
    }

    /// Those of the eligible paths that are equal in all rules (RFC 4271 §9.1.1 to §9.1.2.2 d) and beaten by none, one bit each.
    fn equals(&self, paths: &[Path], is_eligible: impl Fn(&Path) -> bool) -> u64 {
        let mut alive = self.strongest(paths, is_eligible);
        if alive & alive.wrapping_sub(1) == 0 {
            return alive;
        }
        alive = self.spared_by_med(paths, alive);
        let is_external = |at: &usize| self.candidate(&paths[*at]).is_some_and(|path| path.ebgp);
        let external = bits(alive).filter(is_external).fold(0, |all, at| all | 1 << at);
        if external == 0 { alive } else { external }
    }

    /// The eligible paths that share the best preference (RFC 4271 §9.1.1 to §9.1.2.2 b), one bit each.
    fn strongest(&self, paths: &[Path], is_eligible: impl Fn(&Path) -> bool) -> u64 {
        let (mut least, mut alive) = (None, 0);
        for (at, path) in paths.iter().enumerate().filter(|(_, path)| is_eligible(path)) {
            let preference = self.preference(path);
            if least.is_none_or(|least| preference < least) {
                (least, alive) = (Some(preference), 0);
            }
            if least == Some(preference) {
                alive |= 1 << at;
            }
        }
        alive
    }

    /// RFC 4271 §9.1.2.2 c, for what is nearly always so: nobody sent a MED.
    fn spared_by_med(&self, paths: &[Path], alive: u64) -> u64 {
        let attrs = |at: usize| crate::wire::attrs::Attrs(self.attrs.block(paths[at].attrs));
        if bits(alive).all(|at| attrs(at).med().unwrap_or(0) == 0) {
            return alive;
        }
        let facts = |at: usize| (attrs(at).as_path().first_as(), attrs(at).med().unwrap_or(0));
        let is_beaten = |at: usize| {
            let (neighbour, med) = facts(at);
            bits(alive).map(facts).any(|(other, lower)| other == neighbour && lower < med)
        };
        bits(alive).filter(|&at| !is_beaten(at)).fold(0, |all, at| all | 1 << at)
    }

    /// The same for any number of paths.
    fn many(&self, paths: &[Path], members: &mut Vec<Member>) -> Option<usize> {
        let known: Vec<(usize, Candidate<'_>)> =
            paths.iter().enumerate().filter_map(|(at, path)| Some((at, self.candidate(path)?))).collect();
        let candidates: Vec<Candidate<'_>> = known.iter().map(|(_, candidate)| *candidate).collect();
        let ranking = decide(&candidates)?;
        let others = (0..known.len()).filter(|&at| at != ranking.best && ranking.ended_by[at] == Rule::Equal);
        let all = std::iter::once(ranking.best).chain(others).map(|at| known[at].0);
        members.extend(all.filter_map(|at| self.member(&paths[at])));
        Some(known[ranking.best].0)
    }

    fn shared(&mut self, members: &[Member]) -> Arc<[Hop]> {
        let hops: Arc<[Hop]> = members.iter().map(|(hop, _)| *hop).collect();
        if let Some((known, ())) = self.hop_sets.get_key_value(&hops) {
            return Arc::clone(known);
        }
        // Sets that no prefix uses any more are dropped when the table of sets doubles.
        if self.hop_sets.len().is_power_of_two() {
            self.hop_sets.retain(|set, ()| Arc::strong_count(set) > 1);
        }
        self.hop_sets.insert(Arc::clone(&hops), ());
        hops
    }
}

/// The places of the bits of a word.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = word.trailing_zeros();
        (word != 0).then(|| {
            word &= word - 1;
            at as usize
        })
    })
}
