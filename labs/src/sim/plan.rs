//! What a change does to every flow: two pictures of a network at rest, before and after, compared destination by destination and node
//! by node. Pure; the pictures come from [`picture`].
//!
//! A flow is all packets from a node to a destination. Where a kernel has several next hops it is divided by their weights, as a hash
//! over many connections divides it, so each flow has a share on each link, and a share that arrives.

pub mod picture;

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Shares that differ by less are the same: sums of a few hundred fractions.
const SAME: f64 = 1e-6;
/// Links beyond which a packet is taken to be in a circle: an IPv4 packet dies there too, as Linux sends it.
const HOPS: usize = 64;
/// The load of a link over the mean of those that share its traffic, and its growth, below which nobody cares.
const UNEVEN: f64 = 0.05;

/// A link as its near end sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The near node.
    pub from: String,
    /// Its interface.
    pub interface: String,
    /// The far node.
    pub to: String,
}

/// What a node does with packets to a destination.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// They are for it.
    Here,
    /// They end there, for this reason.
    Lost(String),
    /// They go on: a share on each link. What goes to nobody is lost.
    Onward(BTreeMap<Link, f64>),
}

/// Where packets go, by destination and node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// By the name of a destination that means the same in another network.
    pub destinations: BTreeMap<String, BTreeMap<String, Step>>,
}

/// How a flow goes.
#[derive(Debug, Default, PartialEq)]
struct Flow<'p> {
    arrives: f64,
    links: BTreeMap<&'p Link, f64>,
    ends: BTreeSet<String>,
}

/// Flows of a node that change in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Row {
    /// The node.
    pub from: String,
    /// How they went.
    pub before: String,
    /// How they go.
    pub after: String,
    /// Where to.
    pub to: Vec<String>,
}

/// Links of a node that share traffic, and do it less evenly than before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uneven {
    /// The node.
    pub at: String,
    /// Its interfaces and who is behind them: how much of what they carry together is on each.
    pub shares: BTreeMap<String, f64>,
    /// The largest over the mean, before.
    pub before: f64,
    /// The same after.
    pub after: f64,
}

/// What a change does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// Flows compared: pairs of a node and a destination of another.
    pub flows: u64,
    /// Of these, those of which less arrives than before, and is not allowed to be lost.
    pub flows_lost: u64,
    /// Of which more arrives.
    pub flows_new: u64,
    /// Of which as much arrives, over other links or with other shares.
    pub flows_moved: u64,
    /// Of which less arrives, as was said.
    pub flows_given_up: u64,
    /// Those that are lost, in groups.
    pub lost: Vec<Row>,
    /// Those that are new.
    pub new: Vec<Row>,
    /// Nodes that send packets elsewhere themselves; what comes through them moves with that.
    pub moved: Vec<Row>,
    /// Where links share traffic less evenly.
    pub unbalanced: Vec<Uneven>,
    /// What does not hold of the network after the change, whatever it was before.
    pub broken: Vec<String>,
    /// Of a live fabric: where the network before the change is not as the daemons say. Then the rest says little.
    pub differences: Vec<String>,
}

impl Plan {
    /// Whether nothing is lost or broken.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.flows_lost == 0 && self.broken.is_empty()
    }
}

/// Compares two networks; flows from or to those of `given_up` may be lost.
#[must_use]
pub fn compare(old: &Picture, new: &Picture, given_up: &BTreeSet<String>) -> Plan {
    let mut plan = Plan::default();
    let (mut lost, mut gained, mut moved) = (Rows::default(), Rows::default(), Rows::default());
    let (mut old_load, mut new_load) = (Load::default(), Load::default());
    let none = BTreeMap::new();
    for to in old.destinations.keys().chain(new.destinations.keys()).collect::<BTreeSet<_>>() {
        let steps = [old, new].map(|picture| picture.destinations.get(to).unwrap_or(&none));
        for from in steps[0].keys().chain(steps[1].keys()).collect::<BTreeSet<_>>() {
            if steps.iter().any(|steps| steps.get(from) == Some(&Step::Here)) {
                continue;
            }
            let [before, after] = steps.map(|steps| flow(steps, from));
            plan.flows += 1;
            old_load.add(&before);
            new_load.add(&after);
            if before.arrives - after.arrives > SAME {
                if given_up.contains(from) || given_up.contains(owner(to)) {
                    plan.flows_given_up += 1;
                } else {
                    plan.flows_lost += 1;
                    lost.add(from, (before.outcome(), after.outcome()), to);
                }
            } else if after.arrives - before.arrives > SAME {
                plan.flows_new += 1;
                gained.add(from, (before.outcome(), after.outcome()), to);
            } else if !same(&before.links, &after.links) {
                plan.flows_moved += 1;
                let [before, after] = steps.map(|steps| ways(steps.get(from)));
                if before != after {
                    moved.add(from, (before, after), to);
                }
            }
        }
    }
    (plan.lost, plan.new, plan.moved) = (lost.done(), gained.done(), moved.done());
    plan.unbalanced = uneven(old, &old_load, new, &new_load);
    plan
}

/// The node of a destination that is an address of its own.
fn owner(destination: &str) -> &str {
    destination.split_once(' ').map_or(destination, |(node, _)| node)
}

/// Follows all packets of a flow at once.
fn flow<'p>(steps: &'p BTreeMap<String, Step>, from: &str) -> Flow<'p> {
    let mut flow = Flow::default();
    let Some((from, _)) = steps.get_key_value(from) else {
        flow.ends.insert("there is no such node".to_owned());
        return flow;
    };
    let mut front = BTreeMap::from([(from.as_str(), 1.0)]);
    for _ in 0..HOPS {
        let mut next: BTreeMap<&str, f64> = BTreeMap::new();
        for (node, share) in front {
            match steps.get(node) {
                Some(Step::Here) => flow.arrives += share,
                Some(Step::Lost(why)) => drop(flow.ends.insert(format!("{node} {why}"))),
                Some(Step::Onward(links)) => {
                    for (link, part) in links {
                        *flow.links.entry(link).or_default() += share * part;
                        *next.entry(&link.to).or_default() += share * part;
                    }
                }
                None => drop(flow.ends.insert(format!("nobody has {node}"))),
            }
        }
        front = next;
        if front.is_empty() {
            return flow;
        }
    }
    flow.ends.insert(format!("a circle through {}", front.into_keys().collect::<Vec<_>>().join(", ")));
    flow
}

impl Flow<'_> {
    /// What becomes of it, for a person.
    fn outcome(&self) -> String {
        let ends = self.ends.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        if ends.is_empty() {
            "arrives".to_owned()
        } else if self.arrives > SAME {
            format!("{} arrives; {ends}", percent(self.arrives))
        } else {
            ends
        }
    }
}

fn percent(share: f64) -> String {
    let tenths = (share * 1_000.0).round() / 10.0;
    format!("{tenths} %")
}

/// Where a node itself sends packets, for a person.
fn ways(step: Option<&Step>) -> String {
    match step {
        None => "there is no such node".to_owned(),
        Some(Step::Here) => "for itself".to_owned(),
        Some(Step::Lost(why)) => why.clone(),
        Some(Step::Onward(links)) => {
            let mut text = String::new();
            for (link, share) in links {
                let comma = if text.is_empty() { "" } else { ", " };
                let _ = write!(text, "{comma}{} {}", link.to, percent(*share));
            }
            text
        }
    }
}

fn same(a: &BTreeMap<&Link, f64>, b: &BTreeMap<&Link, f64>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((one, x), (other, y))| one == other && (x - y).abs() < SAME)
}

/// Destinations by node and by what becomes of their flows.
#[derive(Default)]
struct Rows(BTreeMap<(String, String, String), Vec<String>>);

impl Rows {
    fn add(&mut self, from: &str, (before, after): (String, String), to: &str) {
        self.0.entry((from.to_owned(), before, after)).or_default().push(to.to_owned());
    }

    fn done(self) -> Vec<Row> {
        self.0.into_iter().map(|((from, before, after), to)| Row { from, before, after, to }).collect()
    }
}

/// What each link carries if every flow is the same.
#[derive(Default)]
struct Load<'p>(BTreeMap<&'p Link, f64>);

impl<'p> Load<'p> {
    fn add(&mut self, flow: &Flow<'p>) {
        for (link, share) in &flow.links {
            *self.0.entry(link).or_default() += share;
        }
    }

    fn of(&self, link: &Link) -> f64 {
        self.0.get(link).copied().unwrap_or_default()
    }

    /// The largest load over the mean; 1 where there is none.
    fn ratio(&self, links: &BTreeSet<&Link>) -> f64 {
        let loads = || links.iter().map(|link| self.of(link));
        let count = u32::try_from(links.len()).map_or(f64::MAX, f64::from);
        let mean = loads().sum::<f64>() / count.max(1.0);
        if mean > 0.0 { loads().fold(0.0, f64::max) / mean } else { 1.0 }
    }
}

/// Groups of links that share traffic less evenly than before.
fn uneven(old: &Picture, old_load: &Load<'_>, new: &Picture, new_load: &Load<'_>) -> Vec<Uneven> {
    let before = together(old);
    let mut found = Vec::new();
    for links in together(new) {
        // What shared traffic before and is still there.
        let earlier = before.iter().filter(|group| !group.is_disjoint(&links));
        let before = earlier.map(|group| old_load.ratio(group)).fold(1.0, f64::max);
        let after = new_load.ratio(&links);
        if after > 1.0 + UNEVEN && after > before + UNEVEN {
            let all: f64 = links.iter().map(|link| new_load.of(link)).sum();
            let share = |link: &&Link| (format!("{} {}", link.interface, link.to), new_load.of(link) / all);
            let at = links.first().map(|link| link.from.clone()).unwrap_or_default();
            found.push(Uneven { at, shares: links.iter().map(share).collect(), before, after });
        }
    }
    found
}

/// Links of a node that are next hops of one destination, directly or by way of others.
fn together(picture: &Picture) -> Vec<BTreeSet<&Link>> {
    let mut sets: BTreeSet<Vec<&Link>> = BTreeSet::new();
    for step in picture.destinations.values().flat_map(BTreeMap::values) {
        if let Step::Onward(links) = step {
            sets.insert(links.keys().collect());
        }
    }
    let mut groups: Vec<BTreeSet<&Link>> = Vec::new();
    for set in sets.into_iter().filter(|set| set.len() > 1) {
        let mut whole: BTreeSet<&Link> = set.into_iter().collect();
        groups.retain(|group| {
            let is_apart = group.is_disjoint(&whole);
            if !is_apart {
                whole.extend(group.iter().copied());
            }
            is_apart
        });
        groups.push(whole);
    }
    groups.sort();
    groups
}

#[cfg(test)]
mod tests;
