//! Import and export policy: what may pass, and how it is changed on the way.
//!
//! ```text
//! policy:                                     JSON value ──▶ parse ──▶ Policies ──▶ eval: Route ──▶ Outcome
//!   sets: {NAME: [prefix, "prefix ge N", …]}
//!   guards: [{prefix: …, minimum_next_hops: 2}]
//!   NAME:                                     a policy: rules from top to bottom; the first verdict counts,
//!     - {match: {…}, not: {…}, then: …}       and a route that reaches the end without one is rejected
//! ```
//!
//! Compiled once ([`parse`]), asked once per prefix ([`eval`]). Every rule has a number of its own: an outcome names the rule that
//! decided and those that changed the route, so that equal changes are made once for many prefixes. All keys are in the README.

mod change;
pub mod eval;
mod members;
pub mod parse;
pub mod sets;

pub use change::SetNextHop;
pub use eval::{Outcome, Route, Source};
pub use parse::{PolicyFault, compile};

use crate::rib::table::Guards;
use change::Changes;
use eval::Condition;
use std::collections::BTreeMap;

/// Names that every speaker knows.
pub const BUILT_IN: [&str; 2] = ["accept-all", "reject-all"];

/// What a policy says of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take or tell it.
    Accept,
    /// Do not.
    Reject,
}

/// The number of a rule; the end of each policy has one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(u32);

impl RuleId {
    /// What stands at the place of this number.
    pub(crate) fn place(self, numbers: &[Option<Self>]) -> Option<Self> {
        numbers.get(self.0 as usize).copied().flatten()
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// All of these hold, …
    when: Vec<Condition>,
    /// … and not all of these, if there are any.
    unless: Vec<Condition>,
    changes: Changes,
    /// A policy that is asked after the changes: its verdict, if it has one, is the verdict.
    call: Option<usize>,
    /// `None`: go on with the next rule.
    then: Option<Verdict>,
}

/// Rules from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    name: String,
    rules: Vec<Rule>,
    /// Number of the first rule; the others follow, and then the end.
    first: u32,
}

/// Policies by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    all: Vec<Policy>,
    index: BTreeMap<String, usize>,
    guards: Guards,
}

/// The policy in force for one direction of a session.
#[derive(Clone, Copy, Debug)]
pub enum Chosen<'p> {
    /// The same for every route.
    Always(Verdict),
    /// Depends.
    Rules(&'p Policies, usize),
}

impl Policies {
    /// The policy called `name` on a session that is external or not. Without a policy an external peer's routes are rejected both
    /// ways (RFC 8212 §3) and an internal one's are accepted; an unknown name rejects.
    #[must_use]
    pub fn choose(&self, name: Option<&str>, ebgp: bool) -> Chosen<'_> {
        match name {
            None if ebgp => Chosen::Always(Verdict::Reject),
            None | Some("accept-all") => Chosen::Always(Verdict::Accept),
            Some(name) => match self.index.get(name) {
                Some(&at) => Chosen::Rules(self, at),
                None => Chosen::Always(Verdict::Reject),
            },
        }
    }

    /// What must stand behind prefixes before they are used.
    #[must_use]
    pub const fn guards(&self) -> &Guards {
        &self.guards
    }

    /// Whether others differ from these in their guards alone.
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        self.all == other.all && self.index == other.index
    }

    /// Whether the policy called `here` does the same as the one called `there` among others.
    #[must_use]
    pub fn does_as(&self, here: Option<&str>, (other, there): (&Self, Option<&str>), ebgp: bool) -> bool {
        match (self.choose(here, ebgp), other.choose(there, ebgp)) {
            (Chosen::Always(here), Chosen::Always(there)) => here == there,
            (Chosen::Rules(_, here), Chosen::Rules(_, there)) => self.is_alike(here, other, there),
            (Chosen::Always(_), Chosen::Rules(..)) | (Chosen::Rules(..), Chosen::Always(_)) => false,
        }
    }

    fn is_alike(&self, here: usize, other: &Self, there: usize) -> bool {
        let (Some(here), Some(there)) = (self.all.get(here), other.all.get(there)) else {
            return false;
        };
        // Calls are bounded: the compiler sees to that.
        let is_alike = |(one, two): (&Rule, &Rule)| {
            let calls = match (one.call, two.call) {
                (None, None) => true,
                (Some(one), Some(two)) => self.is_alike(one, other, two),
                (None, Some(_)) | (Some(_), None) => false,
            };
            calls
                && one.when == two.when
                && one.unless == two.unless
                && one.changes == two.changes
                && one.then == two.then
        };
        here.rules.len() == there.rules.len() && here.rules.iter().zip(&there.rules).all(is_alike)
    }

    /// Whether a rule of the policy, or of one that it calls, asks who the peer is.
    fn asks_of_peer(&self, at: usize) -> bool {
        self.asks(at, Condition::asks_of_peer)
    }

    /// Likewise, whether the origin was validated.
    fn asks_of_validity(&self, at: usize) -> bool {
        self.asks(at, Condition::asks_of_validity)
    }

    fn asks(&self, at: usize, is_meant: fn(&Condition) -> bool) -> bool {
        let mut ahead = vec![at];
        while let Some(policy) = ahead.pop().and_then(|at| self.all.get(at)) {
            let mut conditions = policy.rules.iter().flat_map(|rule| rule.when.iter().chain(&rule.unless));
            if conditions.any(is_meant) {
                return true;
            }
            ahead.extend(policy.rules.iter().filter_map(|rule| rule.call));
        }
        false
    }

    /// Whether any rule asks how many next hops a prefix is sent to: then that is news for peers too.
    #[must_use]
    pub fn asks_of_next_hops(&self) -> bool {
        let rules = self.all.iter().flat_map(|policy| &policy.rules);
        rules.flat_map(|rule| rule.when.iter().chain(&rule.unless)).any(Condition::asks_of_next_hops)
    }

    /// Whether a rule of the policy, or of one that it calls, sets this next hop.
    #[must_use]
    pub fn sets_next_hop(&self, name: &str, next_hop: SetNextHop) -> bool {
        let mut ahead: Vec<usize> = self.index.get(name).copied().into_iter().collect();
        while let Some(policy) = ahead.pop().and_then(|at| self.all.get(at)) {
            if policy.rules.iter().any(|rule| rule.changes.next_hop == Some(next_hop)) {
                return true;
            }
            // Calls make no circle: the compiler refuses that.
            ahead.extend(policy.rules.iter().filter_map(|rule| rule.call));
        }
        false
    }

    /// Whether a rule of the policy, or of one that it calls, changes anything.
    #[must_use]
    pub fn changes_routes(&self, name: Option<&str>) -> bool {
        let mut ahead: Vec<usize> = name.and_then(|name| self.index.get(name)).copied().into_iter().collect();
        while let Some(policy) = ahead.pop().and_then(|at| self.all.get(at)) {
            if policy.rules.iter().any(|rule| rule.changes != Changes::default()) {
                return true;
            }
            // Calls make no circle: the compiler refuses that.
            ahead.extend(policy.rules.iter().filter_map(|rule| rule.call));
        }
        false
    }

    /// Names of the policies, built-in ones apart.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Name of a rule: `plan[2]` as in the field path `policy.plan[2]`, or `plan.end` where no rule had a verdict.
    #[must_use]
    pub fn rule_name(&self, rule: RuleId) -> String {
        let behind = self.all.partition_point(|policy| policy.first <= rule.0);
        let Some(policy) = behind.checked_sub(1).and_then(|at| self.all.get(at)) else {
            return String::new();
        };
        let at = (rule.0 - policy.first) as usize;
        if at < policy.rules.len() { format!("{}[{at}]", policy.name) } else { format!("{}.end", policy.name) }
    }

    /// How many rules there are, ends included: numbers are below this.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.all.last().map_or(0, |policy| policy.first as usize + policy.rules.len() + 1)
    }

    /// Every rule, by number.
    pub fn rules(&self) -> impl Iterator<Item = RuleId> + use<> {
        (0..u32::try_from(self.rule_count()).unwrap_or(u32::MAX)).map(RuleId)
    }

    /// The numbers that the rules of others have here, by theirs: of policies that are there by the same name, and do the same.
    #[must_use]
    pub(crate) fn numbers_of(&self, other: &Self) -> Vec<Option<RuleId>> {
        let mut numbers = Vec::with_capacity(other.rule_count());
        for (there, policy) in other.all.iter().enumerate() {
            let here = self.index.get(&policy.name).copied().filter(|here| self.is_alike(*here, other, there));
            let first = here.and_then(|here| self.all.get(here)).map(|policy| policy.first);
            // The end has a number too.
            let count = u32::try_from(policy.rules.len()).unwrap_or(u32::MAX).saturating_add(1);
            numbers.extend((0..count).map(|at| first.map(|first| RuleId(first + at))));
        }
        numbers
    }

    fn rule(&self, id: RuleId) -> Option<&Rule> {
        let behind = self.all.partition_point(|policy| policy.first <= id.0);
        let policy = self.all.get(behind.checked_sub(1)?)?;
        policy.rules.get((id.0 - policy.first) as usize)
    }
}

/// How often each rule decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits(Vec<u64>);

impl Hits {
    /// One more.
    pub fn count(&mut self, rule: Option<RuleId>) {
        let Some(rule) = rule else {
            return;
        };
        let at = rule.0 as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] += 1;
    }

    /// As many more.
    pub(crate) fn count_many(&mut self, rule: Option<RuleId>, times: u64) {
        if let Some(at) = rule.map(|rule| rule.0 as usize) {
            self.count(rule);
            self.0[at] += times.saturating_sub(1);
        }
    }

    /// The same counts under other numbers; what has none is forgotten.
    pub(crate) fn renumber(&mut self, numbers: &[Option<RuleId>]) {
        let old = std::mem::take(self);
        for (count, number) in old.0.into_iter().zip(numbers).filter(|(count, _)| *count > 0) {
            self.count_many(*number, count);
        }
    }

    /// How many.
    #[must_use]
    pub fn of(&self, rule: RuleId) -> u64 {
        self.0.get(rule.0 as usize).copied().unwrap_or_default()
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests;
