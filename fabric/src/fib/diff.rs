//! RIB = kernel, proven or not: a fresh dump beside what is wanted ∧ alive, route by route, by what happens to a packet. Changes nothing.

use super::objects::{Shape, is_needed};
use super::op::{Dump, HeldNexthop, HeldRoute, HeldShape, Member, NhId, RouteKey, Target};
use super::routes::{Entry, Wanted};
use super::{Fib, Refusal, Subject, source_of};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weft_bgp::types::{IfIndex, IpNet};

/// Most differences listed; the counts are of all.
const LISTED: usize = 100;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibDiff {
    /// False: the kernel is left alone, and nothing was compared.
    pub install: bool,
    /// Routes that should be there.
    pub routes_wanted: u64,
    /// Routes of ours that are there.
    pub routes_found: u64,
    /// Nexthop objects and groups of ours that are there.
    pub nexthops_found: u64,
    /// Wanted, but none of their neighbours is alive.
    pub without_neighbor: u64,
    /// Left by an earlier run, and not asked for yet.
    pub leftovers: u64,
    /// Operations not yet sent: what is different because of them will not be for long.
    pub pending: u64,
    /// Changes of the table that are on their way here.
    pub on_their_way: u64,
    /// Should be there, and is not.
    pub missing: u64,
    /// Is there, and should not be.
    pub extra: u64,
    /// Is there, and does something else.
    pub different: u64,
    /// The first hundred of the three.
    pub differences: Vec<Difference>,
    /// Prefixes where a route that is not ours stands in the way.
    pub conflicts: Vec<IpNet>,
    /// How long dump and comparison took, milliseconds.
    pub took_ms: u64,
}

/// One thing that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The prefix, or `nexthop 4026531840`.
    pub what: String,
    /// `missing`, `extra`, `different`.
    pub kind: String,
    /// What should be there.
    pub wanted: String,
    /// What is there.
    pub found: String,
    /// Why the kernel refused it last.
    pub refusal: Option<Refusal>,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    Via(Vec<(Member, u8)>),
    Drop(Target),
}

impl Effect {
    /// A single neighbour has no weight.
    fn via(mut members: Vec<(Member, u8)>) -> Self {
        members.sort_unstable();
        if let [(_, weight)] = &mut members[..] {
            *weight = 1;
        }
        Self::Via(members)
    }

    fn text(&self, name: &dyn Fn(IfIndex) -> String) -> String {
        match self {
            Self::Drop(Target::Blackhole) => "drops".to_owned(),
            Self::Drop(Target::Unreachable) => "unreachable".to_owned(),
            Self::Drop(Target::Nexthop(_) | Target::Other) => "something else".to_owned(),
            Self::Via(members) => {
                let one =
                    |(member, weight): &(Member, u8)| format!("{} dev {} ×{weight}", member.gateway, name(member.link));
                members.iter().map(one).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl FibDiff {
    /// Whether the kernel holds exactly what is wanted and alive.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.missing + self.extra + self.different == 0
    }

    fn note(&mut self, difference: impl FnOnce() -> Difference) {
        if self.differences.len() < LISTED {
            self.differences.push(difference());
        }
    }
}

/// A dump made ready for questions.
struct Found<'a> {
    objects: BTreeMap<NhId, &'a HeldNexthop>,
}

impl Found<'_> {
    fn effect(&self, target: Target) -> Option<Effect> {
        let id = match target {
            Target::Nexthop(id) => id,
            Target::Blackhole | Target::Unreachable | Target::Other => return Some(Effect::Drop(target)),
        };
        let member = |id: &NhId| match self.objects.get(id).map(|object| &object.shape) {
            Some(HeldShape::Member(member)) => Some(*member),
            Some(HeldShape::Group(..) | HeldShape::Other) | None => None,
        };
        match &self.objects.get(&id)?.shape {
            HeldShape::Member(member) => Some(Effect::via(vec![(*member, 1)])),
            HeldShape::Group(_, members) => {
                let members = members.iter().map(|(id, weight)| Some((member(id)?, *weight)));
                members.collect::<Option<Vec<_>>>().map(Effect::via)
            }
            HeldShape::Other => None,
        }
    }
}

impl Fib {
    /// Compares with all that the kernel holds of ours; `name` is for the links in the answer.
    #[must_use]
    pub fn diff(&self, dump: &Dump, name: &dyn Fn(IfIndex) -> String) -> FibDiff {
        let ours = dump.nexthops.iter().filter(|object| object.ours);
        let found = Found { objects: ours.map(|object| (object.id, object)).collect() };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let report = self.report();
        let mut diff = FibDiff {
            install: self.config.install,
            routes_found: count(dump.routes.len()),
            nexthops_found: count(found.objects.len()),
            leftovers: count(report.leftovers),
            pending: count(report.pending),
            conflicts: report.conflicts,
            ..FibDiff::default()
        };
        // Routes share objects: what each does is found once.
        let mut wanted_effects: BTreeMap<NhId, Option<Effect>> = BTreeMap::new();
        let mut found_effects: BTreeMap<NhId, Option<Effect>> = BTreeMap::new();
        self.routes.pair(&dump.routes, |key, entry, route| {
            if entry.is_some_and(|entry| entry.want == Wanted::Leftover) {
                return;
            }
            let wanted = match entry.map(|entry| entry.want) {
                Some(Wanted::To(Target::Nexthop(id))) => {
                    wanted_effects.entry(id).or_insert_with(|| self.alive_effect(id)).clone()
                }
                Some(Wanted::To(target)) => Some(Effect::Drop(target)),
                Some(Wanted::Nothing | Wanted::Leftover) | None => None,
            };
            let is = match route.map(|route| route.target) {
                Some(Target::Nexthop(id)) => found_effects
                    .entry(id)
                    .or_insert_with(|| found.effect(Target::Nexthop(id)))
                    .clone()
                    .or(Some(Effect::Drop(Target::Other))),
                Some(target) => found.effect(target),
                None => None,
            };
            self.judge(&mut diff, (key, entry, route), (wanted, is), name);
        });
        for id in self.objects.needless(&found.objects, &dump.routes) {
            diff.extra += 1;
            diff.note(|| Difference {
                what: format!("nexthop {}", id.0),
                kind: "extra".to_owned(),
                wanted: "nothing".to_owned(),
                found: "an object that no route needs".to_owned(),
                refusal: self.troubles.get(&Subject::Nexthop(id)).map(|trouble| trouble.refusal),
            });
        }
        diff
    }

    /// What an object does while only those alive are in it; `None` when nobody is.
    fn alive_effect(&self, id: NhId) -> Option<Effect> {
        let alive = match &self.objects.get(id)?.shape {
            Shape::Member(member) => vec![(*member, 1)],
            Shape::Group(_, set) => set.to_vec(),
            Shape::Orphan(_) => Vec::new(),
        };
        let alive: Vec<_> = alive.into_iter().filter(|(member, _)| self.objects.is_alive(member)).collect();
        (!alive.is_empty()).then(|| Effect::via(alive))
    }

    fn judge(
        &self,
        diff: &mut FibDiff,
        (key, entry, route): (&RouteKey, Option<&Entry>, Option<&HeldRoute>),
        (wanted, found): (Option<Effect>, Option<Effect>),
        name: &dyn Fn(IfIndex) -> String,
    ) {
        if wanted.is_some() {
            diff.routes_wanted += 1;
        } else if entry.is_some_and(|entry| matches!(entry.want, Wanted::To(_))) {
            diff.without_neighbor += 1;
        }
        let source = entry.and_then(|entry| match entry.want {
            Wanted::To(target) => source_of(&self.config, key, target),
            Wanted::Leftover | Wanted::Nothing => None,
        });
        let source_found = route.and_then(|route| route.source);
        let kind = match (&wanted, &found) {
            (None, None) => return,
            (Some(wanted), Some(found)) if wanted == found && source == source_found => return,
            (Some(_), None) => "missing",
            (None, Some(_)) => "extra",
            (Some(_), Some(_)) => "different",
        };
        match kind {
            "missing" => diff.missing += 1,
            "extra" => diff.extra += 1,
            _ => diff.different += 1,
        }
        diff.note(|| Difference {
            what: key.prefix.to_string(),
            kind: kind.to_owned(),
            wanted: sentence(wanted.as_ref(), source, name),
            found: sentence(found.as_ref(), source_found, name),
            refusal: self.troubles.get(&Subject::Route(*key)).map(|trouble| trouble.refusal),
        });
    }
}

fn sentence(effect: Option<&Effect>, source: Option<IpAddr>, name: &dyn Fn(IfIndex) -> String) -> String {
    let text = effect.map_or_else(|| "no route".to_owned(), |effect| effect.text(name));
    source.map_or_else(|| text.clone(), |source| format!("{text} src {source}"))
}

impl super::objects::Objects {
    /// Objects that were found and that nothing needs.
    fn needless(&self, found: &BTreeMap<NhId, &HeldNexthop>, routes: &[HeldRoute]) -> Vec<NhId> {
        let mut needed: BTreeSet<NhId> = routes.iter().filter_map(|route| route.target.nexthop()).collect();
        needed.extend(found.keys().filter(|id| self.get(**id).is_some_and(is_needed)));
        for id in needed.clone() {
            if let Some(HeldShape::Group(_, members)) = found.get(&id).map(|object| &object.shape) {
                needed.extend(members.iter().map(|(member, _)| *member));
            }
        }
        found.keys().filter(|id| !needed.contains(*id)).copied().collect()
    }
}
