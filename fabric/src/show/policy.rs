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
    if answer.policy.is_null() {
        text.push_str("\nThe configuration has no `policy`.\n");
    } else {
        text.push_str("\npolicy: ");
        text.push_str(&serde_json::to_string_pretty(&answer.policy).unwrap_or_else(|_| NONE.to_owned()));
        text.push('\n');
    }
    text
}
