//! `route list`: what we originate, and for whom.

use super::{NONE, duration, or_none, render, table};
use crate::api::{Originated, OriginatedRoute};

/// The table.
#[must_use]
pub fn table_of(answer: &Originated) -> String {
    if answer.originated.is_empty() {
        return "nothing is originated here\n".to_owned();
    }
    let mut lines = table(&["Prefix", "Source", "For", "Lease", "Weight", "Communities"]);
    for route in &answer.originated {
        lines.add_row([
            route.prefix.to_string(),
            if route.announced { route.source.clone() } else { format!("{} (hidden)", route.source) },
            route.owner.clone().unwrap_or_else(|| route.why.clone()),
            route.lease_s.map_or_else(|| NONE.to_owned(), duration),
            or_none(route.weight),
            communities(route),
        ]);
    }
    let mut text = render(&lines, 0);
    if answer.import_left_out > 0 {
        let count = answer.import_left_out;
        text.push_str(&format!("{count} more prefixes of kernel tables are not announced: there are too many\n"));
    }
    text
}

fn communities(route: &OriginatedRoute) -> String {
    let all: Vec<&str> = route.communities.iter().chain(&route.large_communities).map(String::as_str).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(" ") }
}
