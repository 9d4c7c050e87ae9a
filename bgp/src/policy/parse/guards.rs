//! The guards of the section: what must stand behind prefixes before they are used.

use super::{Compiler, Kind, each, values};
use crate::rib::table::{Guard, Guards};
use serde_json::Value;

/// The keys of a guard.
const KEYS: [&str; 3] = ["prefix", "minimum_next_hops", "minimum_bandwidth"];
/// Most next hops of a prefix: of an ECMP set.
const NEXT_HOPS_MAX: u8 = 64;

impl Compiler<'_> {
    /// `guards: [{prefix: SET, minimum_next_hops: 2}]`.
    pub(super) fn guards(&mut self, guards: Option<&Value>) -> Guards {
        let Some(guards) = guards.filter(|guards| !guards.is_null()) else {
            return Guards::default();
        };
        if !guards.is_array() {
            self.fault("policy.guards", "is no list", "write `- {prefix: SET, minimum_next_hops: 2}` below it");
            return Guards::default();
        }
        let all = each("policy.guards", guards);
        Guards::new(all.into_iter().filter_map(|(field, guard)| self.guard(&field, guard)).collect())
    }

    fn guard(&mut self, field: &str, value: &Value) -> Option<Guard> {
        let map = self.mapping(field, value, &KEYS)?;
        let prefixes = match map.get("prefix") {
            Some(prefix) => self.prefix(&format!("{field}.prefix"), prefix),
            None => {
                self.fault(field, "does not say which prefixes", "add `prefix:` with the name of a set, or prefixes");
                Vec::new()
            }
        };
        let minimum_next_hops = map.get("minimum_next_hops").and_then(|value| {
            let kind = Kind { read: next_hops, what: "number of next hops", remedy: "2 to 64" };
            self.one(&format!("{field}.minimum_next_hops"), value, &kind)
        });
        let minimum_bandwidth = map.get("minimum_bandwidth").and_then(|value| {
            let kind = Kind { read: values::some_bandwidth, what: "bandwidth", remedy: "100G, in bits per second" };
            self.one(&format!("{field}.minimum_bandwidth"), value, &kind)
        });
        if !(map.contains_key("minimum_next_hops") || map.contains_key("minimum_bandwidth")) {
            self.fault(field, "asks for nothing", "add `minimum_next_hops: 2` or `minimum_bandwidth: 100G`");
        }
        Some(Guard { prefixes, minimum_next_hops: minimum_next_hops.unwrap_or_default(), minimum_bandwidth })
    }
}

/// One next hop is what every prefix needs.
fn next_hops(value: &Value) -> Option<u8> {
    let number = u8::try_from(value.as_u64()?).ok()?;
    (2..=NEXT_HOPS_MAX).contains(&number).then_some(number)
}
