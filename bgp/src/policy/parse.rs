//! Compiles the `policy:` section. Every fault of the section is reported at once, each with its field path
//! (`policy.plan[2].match.prefix`), the wrong value and what to write instead; lines are the caller's knowledge.

mod guards;
mod rule;
mod then;
mod values;

use super::sets::{Entry, MAX_ENTRIES, PrefixSet};
use super::{BUILT_IN, Policies, Policy, Rule};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Likeness from which an unknown word is taken for a slip of the pen.
const TYPO_LIKENESS: f64 = 0.8;
/// Most policies that call each other in a row.
const CALL_DEPTH_MAX: usize = 16;
/// Most policies that one route may be shown by calls: two calls of the next policy in each of forty would be a million million.
const CALLS_MAX: u64 = 10_000;

/// One thing that is wrong in a policy section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// Path of the field, from `policy` on.
    pub field: String,
    /// What is wrong, with the wrong value.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

/// Compiles a section; `null` is an empty one. `peers`: names that `match: {peer: …}` may use beside addresses.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(section: &Value, peers: &BTreeSet<String>) -> Result<Policies, Vec<PolicyFault>> {
    let empty = Map::new();
    let mut compiler =
        Compiler { peers, sets: BTreeMap::new(), lists: BTreeMap::new(), index: BTreeMap::new(), faults: Vec::new() };
    let section = match section {
        Value::Null => &empty,
        Value::Object(section) => section,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            compiler.fault("policy", "is no mapping", "write policies by name, each a list of rules, and `sets`");
            return Err(compiler.faults);
        }
    };
    compiler.read_sets(section.get("sets"));
    let guards = compiler.guards(section.get("guards"));
    let named: Vec<_> = section.iter().filter(|(name, _)| *name != "sets" && *name != "guards").collect();
    compiler.index = named.iter().enumerate().map(|(at, (name, _))| ((*name).clone(), at)).collect();
    let mut all = Vec::new();
    let mut first = 0;
    for (name, rules) in named {
        let rules = compiler.policy(name, rules);
        let count = u32::try_from(rules.len()).unwrap_or(u32::MAX);
        all.push(Policy { name: name.clone(), rules, first });
        first += count + 1;
    }
    compiler.refuse_circles(&all);
    if compiler.faults.is_empty() {
        compiler.refuse_deep_calls(&all);
    }
    if compiler.faults.is_empty() { Ok(Policies { all, index: compiler.index, guards }) } else { Err(compiler.faults) }
}

struct Compiler<'v> {
    peers: &'v BTreeSet<String>,
    sets: BTreeMap<String, Arc<PrefixSet>>,
    /// Sets of AS numbers or communities, as they are written.
    lists: BTreeMap<String, Vec<Value>>,
    index: BTreeMap<String, usize>,
    faults: Vec<PolicyFault>,
}

impl Compiler<'_> {
    fn fault(&mut self, field: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(PolicyFault { field: field.to_owned(), message: message.into(), remedy: remedy.into() });
    }

    fn read_sets(&mut self, sets: Option<&Value>) {
        let Some(sets) = sets.filter(|sets| !sets.is_null()) else {
            return;
        };
        let Some(sets) = sets.as_object() else {
            self.fault("policy.sets", "is no mapping", "write `NAME: [prefix, \"prefix ge N le M\"]`");
            return;
        };
        for (name, list) in sets {
            let field = format!("policy.sets.{name}");
            if name.contains('/') || name.is_empty() {
                self.fault(&field, format!("`{name}` is no name for a set"), "use letters, digits, `-` and `_`");
            }
            if let Some(members) = list.as_array().filter(|members| members.first().is_some_and(is_no_prefix)) {
                for (at, wrong) in members.iter().enumerate().filter(|(_, member)| !is_no_prefix(member)) {
                    let remedy = "keep AS numbers, communities and prefixes in sets of their own";
                    self.fault(&format!("{field}[{at}]"), format!("`{wrong}` is no AS number or community"), remedy);
                }
                self.lists.insert(name.clone(), members.clone());
                continue;
            }
            let entries = self.prefixes(&field, list);
            let set = self.prefix_set(&field, entries);
            self.sets.insert(name.clone(), set);
        }
    }

    fn prefix_set(&mut self, field: &str, mut entries: Vec<Entry>) -> Arc<PrefixSet> {
        if entries.len() > MAX_ENTRIES {
            self.fault(
                field,
                format!("has more than {MAX_ENTRIES} prefixes"),
                "write wider prefixes with `ge` and `le`",
            );
            entries.truncate(MAX_ENTRIES);
        }
        Arc::new(PrefixSet::new(&entries))
    }

    fn prefixes(&mut self, field: &str, list: &Value) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (field, value) in each(field, list) {
            match value.as_str().map(values::prefix) {
                Some(Ok(entry)) => entries.push(entry),
                Some(Err((message, remedy))) => self.fault(&field, message, remedy),
                None => self.fault(
                    &field,
                    format!("`{value}` is no prefix"),
                    "write 10.69.0.0/26, or \"10.69.0.0/16 ge 24 le 32\"",
                ),
            }
        }
        entries
    }

    fn policy(&mut self, name: &str, rules: &Value) -> Vec<Rule> {
        let field = format!("policy.{name}");
        if BUILT_IN.contains(&name) {
            self.fault(&field, format!("`{name}` is built in"), "choose another name, or leave it out");
        }
        let Some(rules) = rules.as_array() else {
            self.fault(
                &field,
                "is no list of rules",
                "write `- {match: {prefix: SET}, then: accept}` for each rule below it",
            );
            return Vec::new();
        };
        rules.iter().enumerate().map(|(at, rule)| self.rule(&format!("{field}[{at}]"), rule)).collect()
    }

    /// A policy that calls itself, directly or through others, would never come to an end.
    fn refuse_circles(&mut self, all: &[Policy]) {
        for (start, policy) in all.iter().enumerate() {
            let calls = |at: usize| all[at].rules.iter().filter_map(|rule| rule.call);
            let mut reached = BTreeSet::new();
            let mut ahead: Vec<usize> = calls(start).collect();
            while let Some(at) = ahead.pop() {
                if reached.insert(at) {
                    ahead.extend(calls(at));
                }
            }
            if reached.contains(&start) {
                self.fault(
                    &format!("policy.{}", policy.name),
                    "calls itself in a circle",
                    "take one `call` of the circle away",
                );
            }
        }
    }

    /// Calls are bounded, in a row and in all: a short text must not keep a route busy for ever, nor use up the stack.
    fn refuse_deep_calls(&mut self, all: &[Policy]) {
        let mut within = vec![0_u64; all.len()];
        for depth in 0..=CALL_DEPTH_MAX {
            let calls = |policy: &Policy| {
                let called = policy.rules.iter().filter_map(|rule| rule.call);
                called.fold(0_u64, |sum, at| sum.saturating_add(within[at].saturating_add(1)))
            };
            let deeper: Vec<u64> = all.iter().map(calls).collect();
            let wrong = |at: &usize| deeper[*at] > CALLS_MAX || (depth == CALL_DEPTH_MAX && deeper[*at] != within[*at]);
            // The first one says it all.
            if let Some(policy) = (0..all.len()).find(wrong).and_then(|at| all.get(at)) {
                let message = format!("calls more than {CALL_DEPTH_MAX} policies in a row, or {CALLS_MAX} in all");
                self.fault(&format!("policy.{}", policy.name), message, "put rules into fewer policies");
                return;
            }
            within = deeper;
        }
    }

    /// Complains about keys that are not known; the mapping itself if it is one.
    fn mapping<'v>(&mut self, field: &str, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Some(map) = value.as_object() else {
            self.fault(field, format!("`{value}` is no mapping"), format!("keys of it: {}", known.join(", ")));
            return None;
        };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let remedy = suggest(key, known.iter().copied(), "keys known here");
            self.fault(&format!("{field}.{key}"), format!("unknown field `{key}`"), remedy);
        }
        Some(map)
    }

    /// Reads one value, or complains.
    fn one<T>(&mut self, field: &str, value: &Value, kind: &Kind<T>) -> Option<T> {
        let read = (kind.read)(value);
        if read.is_none() {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.fault(field, format!("`{shown}` is no {}", kind.what), format!("write {}", kind.remedy));
        }
        read
    }

    /// Reads a value or a list of them.
    fn list<T>(&mut self, field: &str, value: &Value, kind: &Kind<T>) -> Vec<T> {
        let all = each(field, value);
        if all.is_empty() {
            self.fault(field, "an empty list never matches and changes nothing", format!("write {}", kind.remedy));
        }
        all.into_iter().filter_map(|(field, value)| self.one(&field, value, kind)).collect()
    }
}

/// Whether a member of a set is an AS number or a community.
fn is_no_prefix(value: &Value) -> bool {
    values::asn(value).is_some()
        || values::community_pattern(value).is_some()
        || values::large_pattern(value).is_some()
        || values::ext_pattern(value).is_some()
}

/// What a leaf may be.
struct Kind<T> {
    read: fn(&Value) -> Option<T>,
    what: &'static str,
    remedy: &'static str,
}

/// The members of a list with their paths, or the value itself.
fn each<'v>(field: &str, value: &'v Value) -> Vec<(String, &'v Value)> {
    match value.as_array() {
        Some(list) => list.iter().enumerate().map(|(at, value)| (format!("{field}[{at}]"), value)).collect(),
        None => vec![(field.to_owned(), value)],
    }
}

/// The known word most like a wrong one, or all known ones.
fn suggest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>, what: &str) -> String {
    let known: Vec<&str> = known.collect();
    let likeness = |word: &&str| strsim::jaro_winkler(wrong, word);
    let nearest = known.iter().map(|word| (likeness(word), *word)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, word)) if likeness >= TYPO_LIKENESS => format!("did you mean `{word}`?"),
        Some(_) => format!("{what}: {}", known.join(", ")),
        None => format!("{what}: none"),
    }
}
