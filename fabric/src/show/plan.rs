//! `reload --plan`: what a reload would do, the peers first.

use super::{count, render, table};
use crate::api::Planned;
use crate::plan::{Action, Difference, Kind, PeerPlan};
use std::fmt::Write as _;
use weft_bgp::speaker::{Found, PeerRoutes};

/// All of it.
#[must_use]
pub fn text(answer: &Planned) -> String {
    let plan = &answer.plan;
    let mut text = format!("{}: {}\n", answer.file, answer.summary);
    let changed: Vec<&PeerPlan> = plan.peers.iter().filter(|peer| peer.action != Action::Nothing).collect();
    if !changed.is_empty() {
        let mut lines = table(&["Neighbor", "Action", "Why"]);
        for peer in &changed {
            lines.add_row([peer.name.clone(), action(peer), why(peer)]);
        }
        text.push('\n');
        text.push_str(&render(&lines, 0));
    }
    let untouched = plan.peers.len() - changed.len();
    if untouched > 0 {
        let others = if changed.is_empty() { "" } else { "other " };
        let number = count(u64::try_from(untouched).unwrap_or(u64::MAX), "neighbor", "neighbors");
        let _ = writeln!(text, "{}: nothing", number.replacen(' ', &format!(" {others}"), 1));
    }
    let mut routes = table(&["Neighbor", "Routes", "", "The first"]);
    let mut is_estimate = false;
    for (peer, found) in plan.peers.iter().filter_map(|peer| Some((peer, peer.routes.as_ref()?))) {
        is_estimate |= found.is_estimate;
        for (what, number, first) in rows(found) {
            routes.add_row([peer.name.clone(), what.to_owned(), number.to_string(), first]);
        }
    }
    if routes.row_count() > 0 {
        text.push('\n');
        text.push_str(&render(&routes, 0));
    }
    if is_estimate {
        text.push_str("an estimate: the old import policy changes routes, or several paths of a prefix are told\n");
    }
    if plan.routes_in_part {
        text.push_str("the table is too large to look at all of it: more routes follow than are counted here\n");
    }
    for (title, list) in [("Originated", &plan.originated), ("Addresses", &plan.addresses), ("Vips", &plan.vips)] {
        if !list.is_empty() {
            let _ = writeln!(text, "\n{title}");
            list.iter().for_each(|one| text.push_str(&difference(one)));
        }
    }
    if !plan.settings.is_empty() {
        let mut lines = table(&["Setting", "From", "To"]);
        for setting in &plan.settings {
            lines.add_row([&setting.field, &setting.from, &setting.to]);
        }
        text.push('\n');
        text.push_str(&render(&lines, 0));
    }
    if let Some(refused) = &answer.refused {
        let _ =
            writeln!(text, "\nrefused without --allow-reset: {}", refused.trim_end_matches("; nothing was applied"));
    }
    text
}

const fn name(action: Action) -> &'static str {
    match action {
        Action::Nothing => "nothing",
        Action::InPlace => "in place",
        Action::Refresh => "refresh",
        Action::Renegotiate => "renegotiate",
        Action::Reset => "reset",
        Action::Remove => "remove",
        Action::Add => "add",
    }
}

fn action(peer: &PeerPlan) -> String {
    let ends = matches!(peer.action, Action::Renegotiate | Action::Reset | Action::Remove);
    let down = if ends && !peer.established { " (no session)" } else { "" };
    format!("{}{down}", name(peer.action))
}

fn why(peer: &PeerPlan) -> String {
    match peer.action {
        Action::Remove => return peer.reasons(),
        Action::Add => return "new in the configuration".to_owned(),
        Action::Nothing | Action::InPlace | Action::Refresh | Action::Renegotiate | Action::Reset => {}
    }
    let mut parts: Vec<String> =
        peer.changes.iter().map(|change| format!("{} ({})", change.text(), change.effect)).collect();
    if peer.cannot_ask {
        parts.push("it cannot be asked: its routes stay as the old policy left them".to_owned());
    }
    parts.join(", ")
}

fn rows(routes: &PeerRoutes) -> Vec<(&'static str, u64, String)> {
    let PeerRoutes { refused, changed, asked_again, told, withdrawn, told_otherwise, lost, is_estimate: _ } = routes;
    let mut rows = Vec::new();
    if *lost > 0 {
        rows.push(("gone until it is back", *lost, String::new()));
    }
    for (what, found) in [
        ("no longer taken", refused),
        ("taken with other attributes", changed),
        ("refused so far, asked for again", asked_again),
        ("newly told", told),
        ("no longer told", withdrawn),
        ("told with other attributes", told_otherwise),
    ] {
        if found.count > 0 {
            rows.push((what, found.count, first(found)));
        }
    }
    rows
}

fn first(found: &Found) -> String {
    let mut names: Vec<String> = found.first.iter().map(ToString::to_string).collect();
    if found.count > names.len() as u64 {
        names.push("…".to_owned());
    }
    names.join(" ")
}

fn difference(one: &Difference) -> String {
    let change = match one.change {
        Kind::Added => "added",
        Kind::Removed => "removed",
        Kind::Changed => "changed",
    };
    format!("  {change:7}  {}\n", one.what)
}
