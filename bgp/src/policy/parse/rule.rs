//! One rule: `match` and `not`; what it does is in `then`.

use super::{Compiler, Kind, each, suggest, values};
use crate::policy::Rule;
use crate::policy::change::Changes;
use crate::policy::eval::{Condition, ExtPattern, Pattern, PeerIs};
use crate::policy::members::{Forms, Members};
use crate::policy::sets::PrefixSet;
use crate::types::Asn;
use serde_json::Value;
use std::sync::Arc;

/// Keys of `match` and `not`. Cheap tests come first and run first.
const CONDITIONS: [&str; 16] = [
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
    "ext_community",
    "link_bandwidth",
    "next_hops",
    "rpki",
    "as_path",
];
/// Keys of `as_path` written as a mapping.
const PATH: [&str; 5] = ["contains", "starts_with", "ends_with", "length", "pattern"];

pub(super) const ASN: Kind<Asn> = Kind { read: values::asn, what: "AS number", remedy: "a number such as 64600" };
const RANGE: Kind<std::ops::RangeInclusive<u32>> =
    Kind { read: values::range, what: "number or range", remedy: "a number, or \"ge 1 le 5\"" };
pub(super) const COMMUNITY_PATTERN: Kind<Pattern<2>> = Kind {
    read: values::community_pattern,
    what: "community",
    remedy: "\"65000:1\", \"65000:*\", or a well-known name",
};
pub(super) const LARGE_PATTERN: Kind<Pattern<3>> = Kind {
    read: values::large_pattern,
    what: "large community",
    remedy: "\"4200000010:1:2\", three numbers, each of which may be `*`",
};

pub(super) const EXT_PATTERN: Kind<Vec<ExtPattern>> = Kind {
    read: values::ext_pattern,
    what: "extended community",
    remedy: "\"rt:65000:1\", \"ro:65000:*\", \"rt:*\", \"link-bandwidth:*\", \"link-bandwidth:* transitive\", or 0x with 16 \
             digits",
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
            "neighbor_asn" => Some(Condition::NeighborAsn(self.asns(field, value))),
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
            "community" => {
                let all = self.named(field, value, &COMMUNITY_PATTERN);
                Some(Condition::Community(Forms::of_communities(&all)))
            }
            "large_community" => {
                Some(Condition::LargeCommunity(Forms::of_large(&self.named(field, value, &LARGE_PATTERN))))
            }
            "ext_community" => {
                let all = self.named(field, value, &EXT_PATTERN);
                Some(Condition::ExtCommunity(Forms::of_extended(all.into_iter().flatten())))
            }
            "link_bandwidth" => {
                let remedy = "10G (bits per second), or \"ge 10G le 400G\"";
                self.one(field, value, &Kind { read: values::bandwidth_range, what: "bandwidth", remedy })
                    .map(Condition::LinkBandwidth)
            }
            "next_hops" => self.one(field, value, &RANGE).map(Condition::NextHops),
            "rpki" => {
                let kind =
                    Kind { read: values::validity, what: "validation state", remedy: "valid, invalid or not-found" };
                Some(Condition::Rpki(self.list(field, value, &kind)))
            }
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

    /// Names of sets of AS numbers, or numbers themselves.
    fn asns(&mut self, field: &str, value: &Value) -> Members<Asn> {
        Members::new(self.named(field, value, &ASN))
    }

    /// The same of any values: the name of a set stands for all of its members.
    fn named<T>(&mut self, field: &str, value: &Value, kind: &Kind<T>) -> Vec<T> {
        let mut all = Vec::new();
        for (field, value) in each(field, value) {
            match value.as_str().and_then(|name| self.lists.get(name)).cloned() {
                Some(members) => all.extend(self.list(&field, &Value::Array(members), kind)),
                None => all.extend(self.one(&field, value, kind)),
            }
        }
        if value.as_array().is_some_and(Vec::is_empty) {
            self.fault(field, "an empty list never matches and changes nothing", format!("write {}", kind.remedy));
        }
        all
    }

    /// Names of sets, or prefixes themselves.
    pub(super) fn prefix(&mut self, field: &str, value: &Value) -> Vec<Arc<PrefixSet>> {
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
            sets.push(self.prefix_set(field, entries));
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
            all.push(Condition::PathContains(self.asns(field, value)));
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
                "contains" => Some(Condition::PathContains(self.asns(&field, value))),
                "starts_with" => Some(Condition::PathStarts(self.asns(&field, value))),
                "ends_with" => Some(Condition::PathEnds(self.asns(&field, value))),
                "length" => self.one(&field, value, &RANGE).map(Condition::PathLength),
                "pattern" => self.one(&field, value, &pattern).map(Condition::PathLike),
                _ => None,
            };
            all.extend(read);
        }
    }
}
