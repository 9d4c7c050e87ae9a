//! What the kernel should hold, what it holds, and how to get there: pure, so that a model of the kernel can test it.
//!
//! **installed = wanted ∧ alive.** The speaker says what is wanted ([`Fib::want`]), links and other evidence say who is alive
//! ([`Fib::set_link`], [`Fib::set_alive`]), a dump says what is there ([`Fib::compare`]). [`Fib::next_ops`] yields operations whose
//! outcome must be told before it is called again ([`Fib::done`]): deletions of dead neighbours, then nexthop objects, groups,
//! routes to set, routes to delete, and last the objects that nothing needs any more. So what is new stands before what is old goes.
//!
//! The kernel drops things without a word (`fib/tests/model.rs` lists them): what an operation, a link event or a hint implies is
//! followed here at once, the rest is found by comparing with a dump, which this file asks for ([`Fib::take_dump_request`]).
//! This file must not know sockets or netlink.

mod diff;
mod leave;
mod objects;
mod op;
mod report;
mod routes;
mod standin;
mod survey;
mod table;
#[cfg(test)]
mod tests;

pub use diff::{Difference, FibDiff};
pub use op::{Dump, Found, HeldNexthop, HeldRoute, HeldShape, Member, NhId, Op, Refusal, RouteKey, Spread, Target};
pub use report::{Deleter, FailureReport, FibHealth, FibReport, KernelMember, KernelRoute};
pub use survey::Survey;

use crate::config::FibConfig;
use objects::{Evidence, Held as HeldObject, Objects, Set};
use routes::{Held, Routes, Wanted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use weft_bgp::speaker::{FibChange, Want};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{Hop, IfIndex, IpNet};

/// Metric of the last-resort unreachable routes: worse than anybody's, and not the kernel's own worst, which is `u32::MAX`.
pub const LAST_RESORT_METRIC: u32 = 0xFFFF_FF00;
/// First wait before what failed is tried again; doubles while something still fails.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait: a foreign route that stands in the way may stay for ever.
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Nexthop(NhId),
    Route(RouteKey),
}

/// What failed, until it succeeds or is no longer wanted. At most one per object and route.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    refusal: Refusal,
    tries: u32,
}

/// Changes that are acknowledged together, and which of them the kernel has not done yet.
#[derive(Debug)]
struct Batch {
    seq: u64,
    /// With where they stand.
    open: Vec<(u32, RouteKey)>,
    failed: Vec<IpNet>,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Everything up to this [`FibChange::seq`] is done.
    pub seq: u64,
    /// But for these of the changes it covers: refused, or none of their neighbours is alive. They are tried again.
    pub failed: Vec<IpNet>,
}

/// What a notification said; what it did not say is found by the next dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Somebody else deleted a nexthop object.
    NexthopGone(NhId),
    /// A route of ours is gone, or somebody else's took its place.
    RouteGone(RouteKey),
    /// A route of somebody else that may have stood in our way is gone.
    RouteFreed(RouteKey),
    /// Something else of ours may have changed.
    Doubt,
}

/// The kernel's routes as they are and should be.
#[derive(Debug)]
pub struct Fib {
    config: FibConfig,
    objects: Objects,
    routes: Routes,
    batches: VecDeque<Batch>,
    troubles: BTreeMap<Subject, Trouble>,
    retry_at: Option<Instant>,
    retry_delay: Duration,
    dump_wanted: bool,
    /// Leftovers have been given up: what nobody wants goes.
    swept: bool,
    /// Objects may have become unneeded.
    tidy: bool,
    /// The set interned last: neighbouring changes mostly share it.
    last_set: Option<(Spread, Arc<[Hop]>, NhId)>,
    /// What deletions wait for.
    leaving: leave::Leaving,
    /// How often a comparison found something that no notification had told.
    drift: u64,
}

impl Fib {
    /// Wants nothing yet but the last-resort routes. Tell it the links and a dump before the first [`Fib::next_ops`].
    /// `seed` is for the hash of the table: nobody outside should know it, and nothing that is done depends on it.
    #[must_use]
    pub fn new(config: FibConfig, seed: u64) -> Self {
        let mut fib = Self {
            objects: Objects::new(config.nexthop_base, config.nexthop_count),
            config,
            routes: Routes::new(seed),
            batches: VecDeque::new(),
            troubles: BTreeMap::new(),
            retry_at: None,
            retry_delay: RETRY_FIRST,
            dump_wanted: false,
            swept: false,
            tidy: false,
            last_set: None,
            leaving: leave::Leaving::default(),
            drift: 0,
        };
        if fib.config.install {
            fib.want_last_resorts(Wanted::To(Target::Unreachable));
        }
        fib
    }

    /// How routes go into the kernel.
    #[must_use]
    pub const fn config(&self) -> &FibConfig {
        &self.config
    }

    /// Takes changes; [`Fib::poll_ack`] says when they are done, those of several calls at once if it can.
    pub fn want(&mut self, changes: &[FibChange]) {
        let Some(seq) = changes.iter().map(|change| change.seq).max() else { return };
        let mut batch = Batch { seq, open: Vec::new(), failed: Vec::new() };
        self.leaving.fresh = true;
        if self.config.install {
            for change in changes {
                let key = self.key(change.prefix);
                let wanted = self.wanted(&change.prefix, &change.want);
                let at = self.set_wanted(key, wanted.unwrap_or(Wanted::Nothing));
                match wanted {
                    // Who withdraws waits for nobody: it is noted, and tried until it is done.
                    Some(Wanted::Nothing) => continue,
                    Some(Wanted::To(_) | Wanted::Leftover) => {}
                    None => batch.failed.push(change.prefix),
                }
                batch.open.push((at.unwrap_or_default(), key));
            }
            self.follow_touched();
        }
        self.batches.push_back(batch);
    }

    const fn key(&self, prefix: IpNet) -> RouteKey {
        RouteKey { prefix, table: self.config.table, metric: self.config.metric }
    }

    /// Says what a route should come to; where it stands.
    fn set_wanted(&mut self, key: RouteKey, wanted: Wanted) -> Option<u32> {
        if !self.troubles.is_empty() {
            self.troubles.remove(&Subject::Route(key));
        }
        self.routes.want(key, wanted)
    }

    fn spread_of(&self, prefix: &IpNet) -> Spread {
        let hit = self.config.resilient.iter().any(|range| range.contains(prefix));
        if hit { Spread::Resilient } else { Spread::Hashed }
    }

    fn wanted(&mut self, prefix: &IpNet, want: &Want) -> Option<Wanted> {
        Some(match want {
            Want::Nothing => Wanted::Nothing,
            Want::Discard => Wanted::To(Target::Blackhole),
            Want::Hops(hops) => Wanted::To(Target::Nexthop(self.intern(self.spread_of(prefix), hops)?)),
        })
    }

    fn intern(&mut self, spread: Spread, hops: &Arc<[Hop]>) -> Option<NhId> {
        if let Some((how, last, id)) = &self.last_set
            && *how == spread
            && (Arc::ptr_eq(last, hops) || last == hops)
        {
            return Some(*id);
        }
        // The kernel refuses a group that names an object twice: one neighbour once, with its greatest weight.
        let mut set: Vec<(Member, u8)> = Vec::with_capacity(hops.len());
        for hop in hops.iter() {
            let member = Member { link: hop.link, gateway: hop.gateway };
            let weight = hop.weight.max(1);
            match set.iter_mut().find(|(other, _)| *other == member) {
                Some((_, other)) => *other = weight.max(*other),
                None => set.push((member, weight)),
            }
        }
        set.sort_unstable();
        let id = self.objects.intern(spread, &Set::from(set))?;
        self.last_set = Some((spread, Arc::clone(hops), id));
        self.follow_standins();
        Some(id)
    }

    fn want_last_resorts(&mut self, wanted: Wanted) {
        for prefix in self.config.unreachable.clone() {
            self.set_wanted(RouteKey { prefix, table: self.config.table, metric: LAST_RESORT_METRIC }, wanted);
        }
    }

    /// Routes follow which groups do what another object would.
    fn follow_standins(&mut self) {
        if self.objects.take_changed() {
            self.routes.set_standins(self.objects.standins());
        }
    }

    /// Moves routes off their stand-ins when it is time: those that keep a group from getting its members back, and those whose
    /// stand-in is none any more.
    fn settle_standins(&mut self, now: Instant) {
        let held_back = self.objects.held_back(self.routes.standins());
        let wanted = self.routes.standins().is_unsettled() || !held_back.is_empty();
        if self.leaving.settles(now, wanted) {
            self.routes.settle(&held_back);
        }
    }

    /// Objects follow which of them routes want.
    fn follow_touched(&mut self) {
        self.follow_standins();
        let touched = self.routes.take_touched();
        self.tidy |= !touched.is_empty();
        for id in touched {
            self.objects.set_wanted(id, self.routes.wanting(id) > 0);
        }
    }

    /// A link can be used, or no longer. Every flicker must be told: the kernel drops the objects of a link that loses its carrier.
    pub fn set_link(&mut self, link: IfIndex, usable: bool) {
        if self.objects.usable().contains(&link) == usable {
            return;
        }
        self.objects.set_link(link, usable);
        self.leaving.shaken = true;
        self.retry_all();
    }

    /// Links known to be usable.
    #[must_use]
    pub const fn usable_links(&self) -> &BTreeSet<IfIndex> {
        self.objects.usable()
    }

    /// A neighbour was found dead (or alive again) by BFD or neighbour discovery.
    pub fn set_alive(&mut self, member: Member, alive: bool) {
        self.objects.judge(member, Evidence::Dead, alive);
    }

    /// A neighbour is cut off (or can be reached again): the port of the bridge that it is behind is down. Who is dead by other
    /// evidence stays so.
    pub fn set_reachable(&mut self, member: Member, reachable: bool) {
        self.objects.judge(member, Evidence::CutOff, reachable);
    }

    /// A neighbour is sent nothing from now on, or packets again: [`weft_bgp::speaker::Output::HoldBack`].
    pub fn hold_back(&mut self, member: Member, held: bool) {
        self.objects.judge(member, Evidence::HeldBack, !held);
    }

    /// Takes a notification into account.
    pub fn hint(&mut self, hint: Hint) {
        match hint {
            // What is told may be older than what was done since: a dump follows.
            Hint::NexthopGone(id) if self.objects.get(id).is_some_and(|object| object.held != HeldObject::No) => {
                self.dump_wanted = true;
                self.lose(id)
            }
            Hint::RouteGone(key) if self.routes.entry(&key).is_some() => {
                self.dump_wanted = true;
                self.routes.have(key, None);
                self.follow_touched();
            }
            Hint::RouteFreed(key) if self.troubles.contains_key(&Subject::Route(key)) => self.routes.retry(key),
            Hint::NexthopGone(_) | Hint::RouteGone(_) | Hint::RouteFreed(_) => {}
            Hint::Doubt => self.dump_wanted = true,
        }
    }

    /// Whether a route of this key is ours, or should be.
    #[must_use]
    pub fn knows(&self, key: &RouteKey) -> bool {
        self.routes.entry(key).is_some()
    }

    /// What nobody has wanted until now goes.
    pub fn sweep(&mut self) {
        let left: Vec<_> =
            self.routes.iter().filter(|(_, entry)| entry.want == Wanted::Leftover).map(|(key, _)| *key).collect();
        for key in left {
            self.set_wanted(key, Wanted::Nothing);
        }
        self.swept = true;
        self.tidy = true;
    }

    /// Takes a new configuration. Table, metric, preferred sources and last resorts change in place, what is new standing before
    /// what is old goes. Returns whether something must wait for a restart: `install`, the protocol and the range of ids.
    pub fn reconfigure(&mut self, config: FibConfig) -> bool {
        let old = &self.config;
        let fixed = (old.install, old.protocol, old.nexthop_base, old.nexthop_count);
        let waits = fixed != (config.install, config.protocol, config.nexthop_base, config.nexthop_count);
        if !old.install {
            return waits || *old != config;
        }
        self.want_last_resorts(Wanted::Nothing);
        let old = self.config.clone();
        let (install, protocol, nexthop_base, nexthop_count) = fixed;
        self.config = FibConfig { install, protocol, nexthop_base, nexthop_count, ..config };
        self.want_last_resorts(Wanted::To(Target::Unreachable));
        self.last_set = None;
        let moved = (old.table, old.metric) != (self.config.table, self.config.metric);
        let all: Vec<_> = self.routes.iter().map(|(key, entry)| (*key, *entry)).collect();
        for (key, entry) in all {
            let mut want = entry.want;
            if let Wanted::To(Target::Nexthop(id)) = want
                && let Some(id) = self.objects.respread(id, self.spread_of(&key.prefix))
            {
                want = Wanted::To(Target::Nexthop(id));
                self.set_wanted(key, want);
            }
            if moved && (key.table, key.metric) == (old.table, old.metric) && matches!(want, Wanted::To(_)) {
                self.set_wanted(self.key(key.prefix), want);
                self.set_wanted(key, Wanted::Nothing);
            }
            if let Some(held) = entry.have
                && source_of(&old, &key, held.target) != source_of(&self.config, &key, held.target)
            {
                self.routes.have(key, Some(Held { exact: false, ..held }));
            }
        }
        self.follow_touched();
        waits
    }

    /// Everything of ours goes: objects take their routes with them.
    pub fn remove_all(&mut self) {
        self.sweep();
        let all: Vec<_> = self.routes.iter().map(|(key, _)| *key).collect();
        for key in all {
            self.set_wanted(key, Wanted::Nothing);
        }
        self.config.unreachable.clear();
        self.objects.doom_all();
        self.follow_touched();
        self.retry_all();
    }

    /// Deletions wait for nothing any more.
    pub fn hurry(&mut self) {
        self.leaving = leave::Leaving::default();
    }

    /// The next operations on neighbours and groups alone: who died and who is back waits for nothing else. To be done like
    /// those of [`Fib::next_ops`].
    pub fn urgent_ops(&mut self, max: usize) -> Vec<Op> {
        self.objects.next_ops(max, self.routes.standins())
    }

    /// The next operations, at most `max`, none of which depends on another; their outcomes must be told by [`Fib::done`] before
    /// the next call, in their order; [`Fib::want`] and [`Fib::more_ops`] may come before, and so may [`Fib::give_back`] for the last
    /// of them. Empty: nothing is due until something happens or [`Fib::next_timeout`].
    pub fn next_ops(&mut self, now: Instant, max: usize) -> Vec<Op> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.retry_delay = (self.retry_delay * 2).min(RETRY_LAST);
            self.retry_all();
        }
        self.leaving.look(now);
        self.routes.begin_ops();
        let ops = self.objects.next_ops(max, self.routes.standins());
        if !ops.is_empty() {
            return ops;
        }
        self.settle_standins(now);
        let ops = self.routes_to_set(max);
        if !ops.is_empty() {
            return ops;
        }
        let ops = self.deletions(now, max);
        if !ops.is_empty() || !self.swept || !std::mem::take(&mut self.tidy) {
            return ops;
        }
        // Ids that are forgotten here must not be found again by a set that was interned before.
        self.last_set = None;
        let unneeded = self.objects.unneeded(|id| self.routes.holding(id) > 0);
        self.troubles.retain(|subject, _| match subject {
            Subject::Nexthop(id) => self.objects.get(*id).is_some(),
            Subject::Route(_) => true,
        });
        unneeded
            .into_iter()
            .filter(|id| !self.troubles.contains_key(&Subject::Nexthop(*id)))
            .map(|id| Op::DeleteNexthop { id })
            .collect()
    }

    /// More operations on routes, at most `max`, while outcomes of others are still to be told; those of all come in the order in which
    /// they were given out. None of them is on a key that has one under way. Empty: [`Fib::next_ops`] decides what comes next, once
    /// all outcomes are told.
    pub fn more_ops(&mut self, now: Instant, max: usize) -> Vec<Op> {
        let is_due = self.next_timeout().is_some_and(|at| at <= now);
        if is_due || !self.routes.can_go_on() || !self.objects.next_ops(1, self.routes.standins()).is_empty() {
            return Vec::new();
        }
        self.leaving.look(now);
        let ops = self.routes_to_set(max);
        if ops.is_empty() && !self.routes.has_to_set() { self.more_deletions(now, max) } else { ops }
    }

    fn routes_to_set(&mut self, max: usize) -> Vec<Op> {
        let mut ops = Vec::new();
        while ops.len() < max
            && let Some((at, key, entry)) = self.routes.next_to_set()
        {
            let Wanted::To(target) = entry.want else { continue };
            match target {
                Target::Nexthop(id) if !self.objects.is_held(id) => self.routes.starve(key),
                Target::Nexthop(_) | Target::Blackhole | Target::Unreachable | Target::Other => {
                    let source = source_of(&self.config, &key, target);
                    self.routes.give_out(at);
                    ops.push(Op::SetRoute { key, target, source, replace: entry.have.is_some() });
                }
            }
        }
        ops
    }

    /// Operations that were not begun are due again.
    pub fn give_back(&mut self, ops: &[Op]) {
        self.tidy = true;
        for op in ops {
            if let Op::SetRoute { key, .. } | Op::DeleteRoute { key } = op {
                self.routes.retry(*key);
            }
        }
    }

    /// Takes the outcome of one operation.
    pub fn done(&mut self, now: Instant, op: &Op, outcome: Result<(), Refusal>) {
        let subject = match op {
            Op::AddNexthop { id, .. } | Op::SetGroup { id, .. } | Op::DeleteNexthop { id } => Subject::Nexthop(*id),
            Op::SetRoute { key, .. } | Op::DeleteRoute { key } => Subject::Route(*key),
        };
        match (op, outcome) {
            (Op::AddNexthop { id, .. }, Ok(())) => self.objects.created(*id),
            (Op::SetGroup { id, members, .. }, Ok(())) => self.objects.grouped(*id, members),
            // To delete what is not there is no failure.
            (Op::DeleteNexthop { id }, Ok(()) | Err(Refusal::Missing))
            | (Op::SetGroup { id, replace: true, .. }, Err(Refusal::Missing)) => {
                self.lose(*id);
            }
            // What a route named before may be needed by nobody now, whenever it was that the route ceased to be wanted there.
            (Op::SetRoute { key, target, .. }, Ok(())) => {
                self.tidy = true;
                self.routes.done(*key, Some(Held { target: *target, exact: true }));
            }
            (Op::DeleteRoute { key }, Ok(()) | Err(Refusal::Missing))
            | (Op::SetRoute { key, replace: true, .. }, Err(Refusal::Missing)) => {
                self.tidy = true;
                self.routes.done(*key, None);
            }
            (_, Err(refusal)) => {
                self.trouble(subject, refusal, now);
                return self.follow_touched();
            }
        }
        if !self.troubles.is_empty() {
            self.troubles.remove(&subject);
        }
        if let Op::AddNexthop { id, .. } | Op::SetGroup { id, .. } = op
            && self.objects.is_held(*id)
        {
            self.routes.revive(*id);
        }
        self.follow_touched();
    }

    /// An object is gone, and all that hung on it.
    fn lose(&mut self, id: NhId) {
        let gone = self.objects.lost(id);
        self.routes.lose(&gone);
        self.tidy = true;
        self.follow_touched();
    }

    fn trouble(&mut self, subject: Subject, refusal: Refusal, now: Instant) {
        let tries = self.troubles.get(&subject).map_or(0, |trouble| trouble.tries);
        // What we believe may be wrong. Once is enough: if the dump teaches nothing, another one will not either.
        let doubtful = match refusal {
            Refusal::Exists | Refusal::Missing | Refusal::Invalid | Refusal::Unanswered => true,
            Refusal::NotOnLink | Refusal::LinkDown | Refusal::Busy | Refusal::Forbidden | Refusal::Other(_) => false,
        };
        self.dump_wanted |= doubtful && tries == 0;
        self.troubles.insert(subject, Trouble { refusal, tries: tries.saturating_add(1) });
        match subject {
            Subject::Nexthop(id) => self.objects.set_aside(id),
            Subject::Route(key) => self.routes.set_aside(key),
        }
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.retry_delay);
        }
    }

    /// Whatever failed is due again: something changed that may have been the reason.
    pub fn retry_all(&mut self) {
        if self.troubles.is_empty() {
            self.retry_delay = RETRY_FIRST;
        }
        for subject in self.troubles.keys() {
            match subject {
                Subject::Nexthop(id) => self.objects.retry(*id),
                Subject::Route(key) => self.routes.retry(*key),
            }
        }
        self.troubles.retain(|subject, _| match subject {
            Subject::Nexthop(id) => self.objects.get(*id).is_some(),
            Subject::Route(key) => self.routes.entry(key).is_some(),
        });
        self.tidy = true;
    }

    /// When [`Fib::next_ops`] has something to do again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.retry_at.into_iter().chain(self.leaving.next_timeout()).min()
    }

    /// Whether a dump is needed to know what is there; asks once.
    pub const fn take_dump_request(&mut self) -> bool {
        std::mem::replace(&mut self.dump_wanted, false)
    }

    /// The next acknowledgement that has become due.
    pub fn poll_ack(&mut self) -> Option<Ack> {
        let mut ack: Option<Ack> = None;
        while let Some(batch) = self.batches.front_mut() {
            while let Some((at, key)) = batch.open.last() {
                let state = self.routes.state(*at, key);
                if state.is_some_and(|(_, due)| due) {
                    return ack;
                }
                if !state.is_none_or(|(entry, _)| self.routes.is_as_wanted(&entry)) {
                    batch.failed.push(key.prefix);
                }
                batch.open.pop();
            }
            let Some(batch) = self.batches.pop_front() else { break };
            let ack = ack.get_or_insert(Ack { seq: 0, failed: Vec::new() });
            ack.seq = batch.seq.max(ack.seq);
            ack.failed.extend(batch.failed);
        }
        ack
    }
}

/// Blackholes and their like send nothing, so they have no source.
fn source_of(config: &FibConfig, key: &RouteKey, target: Target) -> Option<IpAddr> {
    match (target, key.prefix) {
        (Target::Nexthop(_), IpNet::V4(_)) => config.prefer_source_v4.map(IpAddr::V4),
        (Target::Nexthop(_), IpNet::V6(_)) => config.prefer_source_v6.map(IpAddr::V6),
        (Target::Blackhole | Target::Unreachable | Target::Other, _) => None,
    }
}
