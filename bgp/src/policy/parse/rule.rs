//! One rule: `match`, `not` and `then`.

use super::{Compiler, Kind, each, suggest, values};
use crate::policy::eval::{Changes, Condition, Pattern, PeerIs};
use crate::policy::sets::PrefixSet;
use crate::policy::{Rule, Verdict};
use crate::types::Asn;
use serde_json::Value;
use std::sync::Arc;

/// Most AS numbers one rule puts in front: longer paths are filtered by others, and a slip would fill messages.
const MAX_PREPEND: usize = 32;

/// Keys of `match` and `not`. Cheap tests come first and run first.
const CONDITIONS: [&str; 12] = [
    "family",
    "route",
    "peer",
    "neighbor_asn",
    "prefix",
    "next_hop",
    "origin",
    "med",
    "local_pref",
    "community",
    "large_community",
    "as_path",
];
/// Keys of `as_path` written as a mapping.
const PATH: [&str; 5] = ["contains", "starts_with", "ends_with", "length", "pattern"];

const ASN: Kind<Asn> = Kind { read: values::asn, what: "AS number", remedy: "a number such as 64600" };
const RANGE: Kind<std::ops::RangeInclusive<u32>> =
    Kind { read: values::range, what: "number or range", remedy: "a number, or \"ge 1 le 5\"" };
const NUMBER: Kind<u32> = Kind { read: values::number, what: "number", remedy: "a number 0..=4294967295" };
const COMMUNITY_REMEDY: &str =
    "\"65000:1\" (two numbers up to 65535) or no-export, no-advertise, blackhole, graceful-shutdown";
const COMMUNITY: Kind<u32> = Kind { read: values::community, what: "community", remedy: COMMUNITY_REMEDY };
const LARGE: Kind<[u32; 3]> =
    Kind { read: values::large_community, what: "large community", remedy: "\"4200000010:1:2\", three numbers" };
const COMMUNITY_PATTERN: Kind<Pattern<2>> = Kind {
    read: values::community_pattern,
    what: "community",
    remedy: "\"65000:1\", \"65000:*\", or a well-known name",
};
const LARGE_PATTERN: Kind<Pattern<3>> = Kind {
    read: values::large_pattern,
    what: "large community",
    remedy: "\"4200000010:1:2\", three numbers, each of which may be `*`",
};

impl Compiler<'_> {
    pub(super) fn rule(&mut self, field: &str, value: &Value) -> Rule {
        let mut rule =
            Rule { when: Vec::new(), unless: Vec::new(), changes: Changes::default(), call: None, then: None };
        let Some(map) = self.mapping(field, value, &["match", "not", "then"]) else {
            return rule;
        };
        if let Some(conditions) = map.get("match") {
            rule.when = self.conditions(&format!("{field}.match"), conditions);
        }
        if let Some(conditions) = map.get("not") {
            rule.unless = self.conditions(&format!("{field}.not"), conditions);
        }
        match map.get("then") {
            Some(then) => self.then(&format!("{field}.then"), then, &mut rule),
            None => self.fault(field, "says nothing of what is to be done", "add `then: accept` or `then: reject`"),
        }
        rule
    }

    fn conditions(&mut self, field: &str, value: &Value) -> Vec<Condition> {
        let mut all = Vec::new();
        let Some(map) = self.mapping(field, value, &CONDITIONS) else {
            return all;
        };
        if map.is_empty() {
            self.fault(field, "is empty", "leave it out: a rule without `match` fits every route");
        }
        for key in CONDITIONS {
            if let Some(value) = map.get(key) {
                self.condition(&format!("{field}.{key}"), key, value, &mut all);
            }
        }
        all
    }

    fn condition(&mut self, field: &str, key: &str, value: &Value, all: &mut Vec<Condition>) {
        let read = match key {
            "family" => {
                let kind = Kind { read: values::family, what: "family", remedy: "ipv4 or ipv6" };
                self.one(field, value, &kind).map(Condition::Family)
            }
            "route" => {
                let kind =
                    Kind { read: values::source, what: "kind of route", remedy: "local, aggregate, ebgp or ibgp" };
                Some(Condition::Source(self.list(field, value, &kind)))
            }
            "peer" => Some(Condition::Peer(self.peers(field, value))),
            "neighbor_asn" => Some(Condition::NeighborAsn(self.list(field, value, &ASN))),
            "prefix" => Some(Condition::Prefix(self.prefix(field, value))),
            "next_hop" => {
                let kind =
                    Kind { read: values::address_or_net, what: "address", remedy: "an address or a prefix around it" };
                Some(Condition::NextHop(self.list(field, value, &kind)))
            }
            "origin" => {
                let kind = Kind { read: values::origin, what: "ORIGIN", remedy: "igp, egp or incomplete" };
                Some(Condition::Origin(self.list(field, value, &kind)))
            }
            "med" => self.one(field, value, &RANGE).map(Condition::Med),
            "local_pref" => self.one(field, value, &RANGE).map(Condition::LocalPref),
            "community" => Some(Condition::Community(self.list(field, value, &COMMUNITY_PATTERN))),
            "large_community" => Some(Condition::LargeCommunity(self.list(field, value, &LARGE_PATTERN))),
            "as_path" => {
                self.as_path(field, value, all);
                None
            }
            _ => None,
        };
        all.extend(read);
    }

    fn peers(&mut self, field: &str, value: &Value) -> Vec<PeerIs> {
        let kind = Kind { read: values::peer, what: "peer", remedy: "its address, its name, or a range of addresses" };
        let all = self.list(field, value, &kind);
        for (field, value) in each(field, value) {
            if let Some(PeerIs::Named(name)) = values::peer(value)
                && !self.peers.contains(&name)
            {
                let remedy = suggest(&name, self.peers.iter().map(String::as_str), "peers of this file");
                self.fault(&field, format!("there is no peer `{name}`"), remedy);
            }
        }
        all
    }

    /// Names of sets, or prefixes themselves.
    fn prefix(&mut self, field: &str, value: &Value) -> Vec<Arc<PrefixSet>> {
        let (mut sets, mut entries) = (Vec::new(), Vec::new());
        for (field, value) in each(field, value) {
            match value.as_str() {
                Some(name) if !name.contains('/') => match self.sets.get(name) {
                    Some(set) => sets.push(Arc::clone(set)),
                    None => {
                        let remedy = suggest(name, self.sets.keys().map(String::as_str), "sets of this file");
                        self.fault(&field, format!("no such set `{name}`"), remedy);
                    }
                },
                _ => entries.extend(self.prefixes(&field, value)),
            }
        }
        if !entries.is_empty() {
            sets.push(Arc::new(PrefixSet::new(&entries)));
        }
        sets
    }

    fn as_path(&mut self, field: &str, value: &Value, all: &mut Vec<Condition>) {
        let pattern = Kind {
            read: values::path_pattern,
            what: "AS path pattern",
            remedy: "AS numbers, `*` for any run of them and `?` for any one: \"64599 * 64600\"",
        };
        if value.is_number() || value.is_array() {
            all.push(Condition::PathContains(self.list(field, value, &ASN)));
            return;
        }
        if value.is_string() {
            all.extend(self.one(field, value, &pattern).map(Condition::PathLike));
            return;
        }
        let Some(map) = self.mapping(field, value, &PATH) else {
            return;
        };
        for (key, value) in map {
            let field = format!("{field}.{key}");
            let read = match key.as_str() {
                "contains" => Some(Condition::PathContains(self.list(&field, value, &ASN))),
                "starts_with" => Some(Condition::PathStarts(self.list(&field, value, &ASN))),
                "ends_with" => Some(Condition::PathEnds(self.list(&field, value, &ASN))),
                "length" => self.one(&field, value, &RANGE).map(Condition::PathLength),
                "pattern" => self.one(&field, value, &pattern).map(Condition::PathLike),
                _ => None,
            };
            all.extend(read);
        }
    }

    fn then(&mut self, field: &str, value: &Value, rule: &mut Rule) {
        if value.is_string() {
            rule.then = self.verdict(field, value);
            return;
        }
        let Some(map) = self.mapping(field, value, &["set", "add", "remove", "prepend", "call", "do"]) else {
            return;
        };
        if let Some(set) = map.get("set") {
            self.set(&format!("{field}.set"), set, &mut rule.changes);
        }
        if let Some(add) = map.get("add") {
            self.add(&format!("{field}.add"), add, &mut rule.changes);
        }
        if let Some(remove) = map.get("remove") {
            self.remove(&format!("{field}.remove"), remove, &mut rule.changes);
        }
        if let Some(prepend) = map.get("prepend") {
            self.prepend(&format!("{field}.prepend"), prepend, &mut rule.changes);
        }
        if let Some(call) = map.get("call") {
            rule.call = self.call(&format!("{field}.call"), call);
        }
        match map.get("do") {
            Some(verdict) => rule.then = self.verdict(&format!("{field}.do"), verdict),
            None if map.contains_key("call") => {}
            None => self.fault(
                field,
                "does not say what becomes of the route",
                "add `do: accept`, or `do: next` to go on with the next rule",
            ),
        }
    }

    fn verdict(&mut self, field: &str, value: &Value) -> Option<Verdict> {
        let read = |value: &Value| match value.as_str()? {
            "accept" => Some(Some(Verdict::Accept)),
            "reject" => Some(Some(Verdict::Reject)),
            "next" => Some(None),
            _ => None,
        };
        self.one(field, value, &Kind { read, what: "verdict", remedy: "accept, reject or next" }).flatten()
    }

    fn call(&mut self, field: &str, value: &Value) -> Option<usize> {
        let name = value.as_str().unwrap_or_default();
        let found = self.index.get(name).copied();
        if found.is_none() {
            let remedy = suggest(name, self.index.keys().map(String::as_str), "policies of this file");
            self.fault(field, format!("there is no policy `{name}`"), remedy);
        }
        found
    }

    fn set(&mut self, field: &str, value: &Value, changes: &mut Changes) {
        let known = ["local_pref", "med", "origin", "next_hop", "communities", "large_communities"];
        let Some(map) = self.mapping(field, value, &known) else {
            return;
        };
        for (key, value) in map {
            let field = format!("{field}.{key}");
            match key.as_str() {
                "local_pref" => changes.local_pref = self.one(&field, value, &NUMBER),
                "med" => changes.med = self.one(&field, value, &NUMBER),
                "origin" => {
                    let kind = Kind { read: values::origin, what: "ORIGIN", remedy: "igp, egp or incomplete" };
                    changes.origin = self.one(&field, value, &kind);
                }
                "next_hop" => {
                    let remedy = "`self` (us, on export), `peer` (it, on import) or an address";
                    changes.next_hop =
                        self.one(&field, value, &Kind { read: values::next_hop, what: "next hop", remedy });
                }
                // An empty list is a way to say: none at all.
                "communities" => changes.communities = Some(self.some(&field, value, &COMMUNITY)),
                "large_communities" => changes.large_communities = Some(self.some(&field, value, &LARGE)),
                _ => {}
            }
        }
    }

    fn some<T>(&mut self, field: &str, value: &Value, kind: &Kind<T>) -> Vec<T> {
        if value.as_array().is_some_and(Vec::is_empty) { Vec::new() } else { self.list(field, value, kind) }
    }

    fn add(&mut self, field: &str, value: &Value, changes: &mut Changes) {
        let Some(map) = self.mapping(field, value, &["communities", "large_communities"]) else {
            return;
        };
        if let Some(list) = map.get("communities") {
            changes.add_communities = self.list(&format!("{field}.communities"), list, &COMMUNITY);
        }
        if let Some(list) = map.get("large_communities") {
            changes.add_large = self.list(&format!("{field}.large_communities"), list, &LARGE);
        }
    }

    fn remove(&mut self, field: &str, value: &Value, changes: &mut Changes) {
        let Some(map) = self.mapping(field, value, &["communities", "large_communities", "med"]) else {
            return;
        };
        if let Some(list) = map.get("communities") {
            changes.remove_communities = self.list(&format!("{field}.communities"), list, &COMMUNITY_PATTERN);
        }
        if let Some(list) = map.get("large_communities") {
            changes.remove_large = self.list(&format!("{field}.large_communities"), list, &LARGE_PATTERN);
        }
        if let Some(med) = map.get("med") {
            let kind = Kind { read: Value::as_bool, what: "yes or no", remedy: "true" };
            changes.remove_med = self.one(&format!("{field}.med"), med, &kind).unwrap_or(false);
        }
    }

    /// How many times our own AS, or which AS numbers, nearest first.
    fn prepend(&mut self, field: &str, value: &Value, changes: &mut Changes) {
        if value.is_array() {
            changes.prepend = self.list(field, value, &ASN);
            if changes.prepend.len() > MAX_PREPEND {
                let message = format!("{} AS numbers in one rule", changes.prepend.len());
                self.fault(field, message, format!("write at most {MAX_PREPEND}"));
            }
            return;
        }
        let read = |value: &Value| {
            u8::try_from(value.as_u64()?).ok().filter(|times| (1..=MAX_PREPEND).contains(&usize::from(*times)))
        };
        let remedy = "how many times our AS is put in front, 1..=32, or a list of AS numbers";
        changes.prepend_own = self.one(field, value, &Kind { read, what: "number of times", remedy }).unwrap_or(0);
    }
}
