//! `show policy`: who is under which policy, and the policies as the configuration has them.

use super::{NONE, or_none, render, table};
use crate::api::Policy;

/// The table, then the text.
#[must_use]
pub fn text(answer: &Policy) -> String {
    let mut lines = table(&["Neighbor", "Import", "Export", "Told", "Max prefixes"]);
    for peer in &answer.neighbors {
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "RFC 8212".to_owned());
        let told = if peer.originated_only { "what we originate" } else { "all that export accepts" };
        let limit = or_none(peer.max_prefixes);
        lines.add_row([peer.name.clone(), named(&peer.import), named(&peer.export), told.to_owned(), limit]);
    }
    let mut text = render(&lines, 0);
    text.push_str(&rules(answer));
    if answer.policy.is_null() {
        text.push_str("\nThe configuration has no `policy`.\n");
    } else {
        text.push_str("\npolicy: ");
        text.push_str(&serde_json::to_string_pretty(&answer.policy).unwrap_or_else(|_| NONE.to_owned()));
        text.push('\n');
    }
    text
}

/// Rules that decided, and how many never did.
fn rules(answer: &Policy) -> String {
    if answer.rules.is_empty() {
        return String::new();
    }
    let mut lines = table(&["Rule", "Decided"]);
    for rule in answer.rules.iter().filter(|rule| rule.hits > 0) {
        lines.add_row([rule.rule.clone(), super::count(rule.hits, "time", "times")]);
    }
    let never = answer.rules.iter().filter(|rule| rule.hits == 0).count();
    let never = super::count(u64::try_from(never).unwrap_or(u64::MAX), "rule", "rules");
    format!("\n{}{never} never decided.\n", render(&lines, 0))
}
