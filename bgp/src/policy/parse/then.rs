//! What a rule does: `then`.

use super::rule::{ASN, COMMUNITY_PATTERN, EXT_PATTERN, LARGE_PATTERN};
use super::{Compiler, Kind, suggest, values};
use crate::policy::change::Changes;
use crate::policy::{Rule, Verdict};
use crate::wire::community::ExtCommunity;
use serde_json::Value;

/// Most AS numbers one rule puts in front: longer paths are filtered by others, and a slip would fill messages.
const MAX_PREPEND: usize = 32;

const NUMBER: Kind<u32> = Kind { read: values::number, what: "number", remedy: "a number 0..=4294967295" };
const COMMUNITY_REMEDY: &str = "\"65000:1\" (two numbers up to 65535) or no-export, no-advertise, blackhole, graceful-shutdown, llgr-stale, no-llgr";
const COMMUNITY: Kind<u32> = Kind { read: values::community, what: "community", remedy: COMMUNITY_REMEDY };
const LARGE: Kind<[u32; 3]> =
    Kind { read: values::large_community, what: "large community", remedy: "\"4200000010:1:2\", three numbers" };
const EXT: Kind<ExtCommunity> = Kind {
    read: values::ext_community,
    what: "extended community",
    remedy: "\"rt:65000:1\", \"ro:10.0.0.1:1\", or 0x with 16 digits",
};

impl Compiler<'_> {
    pub(super) fn then(&mut self, field: &str, value: &Value, rule: &mut Rule) {
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
        let known = [
            "local_pref",
            "med",
            "origin",
            "next_hop",
            "communities",
            "large_communities",
            "ext_communities",
            "link_bandwidth",
        ];
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
                "ext_communities" => changes.ext_communities = Some(self.some(&field, value, &EXT)),
                "link_bandwidth" => {
                    let remedy = "10G (bits per second), `cumulative`, or one of them with ` non-transitive` behind it";
                    let kind = Kind { read: values::set_bandwidth, what: "bandwidth", remedy };
                    changes.link_bandwidth = self.one(&field, value, &kind);
                }
                _ => {}
            }
        }
    }

    fn some<T>(&mut self, field: &str, value: &Value, kind: &Kind<T>) -> Vec<T> {
        if value.as_array().is_some_and(Vec::is_empty) { Vec::new() } else { self.list(field, value, kind) }
    }

    fn add(&mut self, field: &str, value: &Value, changes: &mut Changes) {
        let Some(map) = self.mapping(field, value, &["communities", "large_communities", "ext_communities"]) else {
            return;
        };
        if let Some(list) = map.get("communities") {
            changes.add_communities = self.list(&format!("{field}.communities"), list, &COMMUNITY);
        }
        if let Some(list) = map.get("large_communities") {
            changes.add_large = self.list(&format!("{field}.large_communities"), list, &LARGE);
        }
        if let Some(list) = map.get("ext_communities") {
            changes.add_ext = self.list(&format!("{field}.ext_communities"), list, &EXT);
        }
    }

    fn remove(&mut self, field: &str, value: &Value, changes: &mut Changes) {
        let Some(map) = self.mapping(field, value, &["communities", "large_communities", "ext_communities", "med"])
        else {
            return;
        };
        if let Some(list) = map.get("communities") {
            changes.remove_communities = self.list(&format!("{field}.communities"), list, &COMMUNITY_PATTERN);
        }
        if let Some(list) = map.get("large_communities") {
            changes.remove_large = self.list(&format!("{field}.large_communities"), list, &LARGE_PATTERN);
        }
        if let Some(list) = map.get("ext_communities") {
            let patterns = self.list(&format!("{field}.ext_communities"), list, &EXT_PATTERN);
            changes.remove_ext = patterns.into_iter().flatten().collect();
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
