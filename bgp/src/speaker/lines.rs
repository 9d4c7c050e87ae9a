//! What listings of the whole table say of each path and each route: borrowed, for there may be millions. The typed answers in `answers`
//! say the same, and own it.

use super::machine::Speaker;
use crate::rib::decide::{Ranking, Rule, explain};
use crate::rib::table::{AGGREGATE, Entry, HeldBack};
use crate::rpki::Validity;
use crate::types::{Family, Hop, IpNet};
use crate::wire::attrs::Attrs;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// What a listing of all paths says of one; borrowed, for there may be millions.
#[derive(Clone, Copy, Debug)]
pub struct PathLine<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// It is the first one of its prefix.
    pub first: bool,
    /// The kernel acknowledged the next hops of the used paths of its prefix.
    pub installed: bool,
    /// Name of the peer, or `local`.
    pub from: &'a str,
    /// Next hop after the next-hop rule.
    pub next_hop: IpAddr,
    /// Where that leads.
    pub hop: Option<Hop>,
    /// Its attributes.
    pub attrs: Attrs<'a>,
    /// Learnt over an external session.
    pub external: bool,
    /// Seconds since start at which it came.
    pub since_s: u64,
    /// The best path.
    pub best: bool,
    /// In the ECMP set.
    pub used: bool,
    /// Kept for a restarting peer.
    pub stale: bool,
    of: &'a Judged<'a>,
    at: usize,
}

impl PathLine<'_> {
    /// The peer's path identifier, on a session with them (RFC 7911).
    #[must_use]
    pub fn path_id(&self) -> Option<u32> {
        let path = self.of.entry.paths.get(self.at)?;
        self.of.speaker.has_path_ids(path.peer, Family::of(&self.prefix)).then_some(path.id)
    }

    /// Validation state of its origin (RFC 6811), as the caches have it now; `None` where there are no caches.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.of.speaker.validity(&self.prefix, self.attrs)
    }

    /// Why it is or is not used, with the section of the RFC.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        self.of.reason(self.at)
    }
}

/// A prefix, and what the decision process makes of its paths.
pub(super) struct Judged<'a> {
    speaker: &'a Speaker,
    entry: Entry<'a>,
    ranking: Option<Ranking>,
    pub(super) held_back: Option<HeldBack>,
    pub(super) installed: bool,
}

/// Without the speaker, which is everything.
impl fmt::Debug for Judged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").field("entry", &self.entry).field("ranking", &self.ranking).finish_non_exhaustive()
    }
}

impl<'a> Judged<'a> {
    pub(super) fn new(speaker: &'a Speaker, entry: Entry<'a>) -> Self {
        let (ranking, held_back) = (speaker.table.ranking(entry.paths), speaker.table.why_held_back(&entry));
        Self { speaker, entry, ranking, held_back, installed: speaker.is_installed(&entry) }
    }

    fn rule(&self, at: usize) -> Rule {
        self.ranking.as_ref().map_or(Rule::Unresolved, |ranking| ranking.ended_by[at])
    }

    fn is_best(&self, at: usize) -> bool {
        Some(at) == self.entry.best
    }

    fn is_used(&self, at: usize) -> bool {
        self.rule(at) == Rule::Equal && self.held_back.is_none()
    }

    /// Of the path at this place.
    pub(super) fn line(&self, at: usize, first: bool) -> PathLine<'_> {
        let (table, path) = (&self.speaker.table, &self.entry.paths[at]);
        PathLine {
            prefix: self.entry.prefix,
            first,
            installed: self.installed,
            from: self.speaker.source_name(path.peer),
            next_hop: table.hops.next_hop(path.hop).addr,
            hop: table.hops.resolved(path.hop),
            attrs: Attrs(table.attrs.block(path.attrs)),
            external: table.candidate(path).is_some_and(|candidate| candidate.ebgp),
            since_s: u64::from(path.came.seconds()),
            best: self.is_best(at),
            used: self.is_used(at),
            stale: self.speaker.is_retained(path, Family::of(&self.entry.prefix)),
            of: self,
            at,
        }
    }

    fn reason(&self, at: usize) -> Cow<'static, str> {
        let (Self { speaker, entry, held_back, .. }, rule) = (self, self.rule(at));
        let path = &entry.paths[at];
        if path.peer == AGGREGATE {
            let count = speaker.aggregates.count(&entry.prefix);
            let noun = if count == 1 { "contributor" } else { "contributors" };
            return format!("aggregate of {count} {noun}").into();
        }
        if self.is_best(at) {
            return speaker.why_best(entry, self.ranking.as_ref());
        }
        if let (Rule::Equal, Some(held_back)) = (rule, held_back) {
            return held_back.to_string().into();
        }
        // Of what is held back, the path that would be the best.
        let strongest = self.ranking.as_ref().and_then(|ranking| entry.paths.get(ranking.best));
        let best = entry.best_path().or_else(|| strongest.filter(|_| held_back.is_some()));
        let best = best.and_then(|path| speaker.table.candidate(path));
        match (speaker.table.candidate(path), &best) {
            (Some(candidate), Some(best)) if rule != Rule::Equal => explain(rule, &candidate, best).into(),
            (Some(_), Some(_)) => "multipath: equal to the best in every rule".into(),
            _ => "next hop unreachable (RFC 4271 §9.1.2.1)".into(),
        }
    }
}

/// What a listing of all routes says of one.
#[derive(Clone, Copy, Debug)]
pub struct RouteLine<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// Names of those whose paths are used, the best first; nobody where no path can be used.
    pub from: &'a [&'a str],
    /// The best path leads to a neighbour: it is no route of our own.
    pub is_learnt: bool,
    /// Where the kernel is asked to send packets, as far as that is up.
    pub hops: &'a [Hop],
    /// The kernel acknowledged exactly these hops.
    pub installed: bool,
    /// The kernel refused them.
    pub refused: bool,
    /// A guard keeps it from being used: what it has, and what it needs.
    pub held_back: Option<HeldBack>,
    /// Seconds since start at which the newest used path came.
    pub since_s: Option<u64>,
}

impl Speaker {
    /// The paths of up to `limit` prefixes behind a cursor, in order of family and prefix, the best of each first, then those used with
    /// it, then the others. Returns the last prefix, if there were so many.
    pub fn each_path(&self, after: Option<IpNet>, limit: usize, mut each: impl FnMut(&PathLine<'_>)) -> Option<IpNet> {
        let (mut seen, mut last) = (0, None);
        let mut order = Vec::new();
        for entry in self.table.after(after).filter(|entry| !entry.paths.is_empty()).take(limit) {
            (seen, last) = (seen + 1, Some(entry.prefix));
            let judged = Judged::new(self, entry);
            order.clear();
            order.extend(0..entry.paths.len());
            order.sort_by_key(|at| (!judged.is_best(*at), !judged.is_used(*at)));
            for (line, at) in order.iter().enumerate() {
                each(&judged.line(*at, line == 0));
            }
        }
        last.filter(|_| seen == limit)
    }

    /// Up to `limit` routes behind a cursor, in order of family and prefix. Returns the last prefix, if there were so many.
    pub fn each_route(
        &self,
        after: Option<IpNet>,
        limit: usize,
        mut each: impl FnMut(&RouteLine<'_>),
    ) -> Option<IpNet> {
        let (mut seen, mut last) = (0, None);
        let (mut from, mut hops) = (Vec::new(), Vec::new());
        for entry in self.table.after(after).filter(|entry| !entry.paths.is_empty()).take(limit) {
            (seen, last) = (seen + 1, Some(entry.prefix));
            let held_back = self.table.why_held_back(&entry);
            let ranking = self.table.ranking(entry.paths).filter(|_| held_back.is_none());
            let is_used =
                |at: usize| ranking.as_ref().is_some_and(|ranking| ranking.ended_by.get(at) == Some(&Rule::Equal));
            let best = entry.best.filter(|at| is_used(*at));
            let others = (0..entry.paths.len()).filter(|at| Some(*at) != best && is_used(*at));
            let used = || best.into_iter().chain(others.clone()).map(|at| &entry.paths[at]);
            from.clear();
            from.extend(used().map(|path| self.source_name(path.peer)));
            hops.clear();
            hops.extend(entry.hops.into_iter().flat_map(|hops| hops.iter()).filter(|hop| self.table.hops.is_up(hop)));
            each(&RouteLine {
                prefix: entry.prefix,
                from: &from,
                is_learnt: used().next().is_some_and(|best| self.table.hops.resolved(best.hop).is_some()),
                hops: &hops,
                installed: self.is_installed(&entry),
                refused: self.fib_failed.contains(&entry.prefix),
                held_back,
                since_s: used().map(|path| u64::from(path.came.seconds())).max(),
            });
        }
        last.filter(|_| seen == limit)
    }
}
