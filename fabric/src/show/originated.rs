//! `route list`: what we originate, and for whom.

use super::{NONE, duration, or_none, render, table};
use crate::api::{Originated, OriginatedRoute};
use crate::node::{LeftOut, MAX_IMPORTED};

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
    for LeftOut { table, protocol, routes } in &answer.left_out {
        let wanted = format!("table {table} protocol {protocol}");
        text.push_str(&format!(
            "{wanted}: {routes} more are not announced, since {MAX_IMPORTED} prefixes are the most\n"
        ));
    }
    text
}

fn communities(route: &OriginatedRoute) -> String {
    let all: Vec<&str> = route.communities.iter().chain(&route.large_communities).map(String::as_str).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(" ") }
}
