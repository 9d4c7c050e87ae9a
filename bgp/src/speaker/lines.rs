//! What listings of the whole table say of each path and each route: borrowed, for there may be millions. The typed answers in `answers`
//! say more, and own it.

use super::machine::Speaker;
use crate::rib::decide::Rule;
use crate::types::{Family, Hop, IpNet};
use crate::wire::attrs::Attrs;
use std::net::IpAddr;

/// What a listing of all paths says of one; borrowed, for there may be millions.
#[derive(Clone, Copy, Debug)]
pub struct PathLine<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// It is the first one of its prefix.
    pub first: bool,
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
    /// A guard keeps it from being used.
    pub held_back: bool,
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
            let held_back = self.table.why_held_back(&entry).is_some();
            let ranking = self.table.ranking(entry.paths);
            let rule = |at: usize| ranking.as_ref().map_or(Rule::Unresolved, |ranking| ranking.ended_by[at]);
            let is_used = |at: usize| rule(at) == Rule::Equal && !held_back;
            order.clear();
            order.extend(0..entry.paths.len());
            order.sort_by_key(|at| (Some(*at) != entry.best, !is_used(*at)));
            for (line, at) in order.iter().enumerate() {
                let path = &entry.paths[*at];
                each(&PathLine {
                    prefix: entry.prefix,
                    first: line == 0,
                    from: self.source_name(path.peer),
                    next_hop: self.table.hops.next_hop(path.hop).addr,
                    hop: self.table.hops.resolved(path.hop),
                    attrs: Attrs(self.table.attrs.block(path.attrs)),
                    external: self.table.candidate(path).is_some_and(|candidate| candidate.ebgp),
                    since_s: u64::from(path.came.seconds()),
                    best: Some(*at) == entry.best,
                    used: is_used(*at),
                    stale: self.is_retained(path, Family::of(&entry.prefix)),
                });
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
            let held_back = self.table.why_held_back(&entry).is_some();
            let ranking = self.table.ranking(entry.paths).filter(|_| !held_back);
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
