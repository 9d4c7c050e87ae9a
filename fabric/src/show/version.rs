//! `show version`: what runs, since when, from which file.

use super::{duration, render, table};
use crate::api::{LastReload, Version};
use crate::plan::Outcome;

/// What came of the last reload.
fn last(reload: &LastReload) -> String {
    let ago = format!("{} ago", duration(reload.ago_s));
    match (reload.outcome, reload.confirm_within_s) {
        (Outcome::OnProbation, Some(left)) => {
            let left = duration(left);
            format!("{ago}; the earlier configuration comes back in {left} unless `weft reload --confirm` comes")
        }
        (Outcome::Reloaded | Outcome::OnProbation, _) => ago,
        (Outcome::Confirmed, _) => format!("confirmed {ago}"),
        (Outcome::RolledBack, _) => {
            format!("not confirmed: the earlier configuration is back since {ago}, the file is another one")
        }
    }
}

/// Facts about the daemon.
#[must_use]
pub fn text(node: &str, answer: &Version) -> String {
    let mut lines = table(&[]);
    let role = answer.role.clone().unwrap_or_else(|| "none: RFC 8212 decides what external peers are told".to_owned());
    for (name, value) in [
        ("node", node.to_owned()),
        ("weft", answer.version.clone()),
        ("role", role),
        ("AS", answer.asn.to_string()),
        ("router id", answer.router_id.to_string()),
        ("configuration", answer.config.clone()),
        ("process", answer.pid.to_string()),
        ("running for", duration(answer.uptime_s)),
    ] {
        lines.add_row([name.to_owned(), value]);
    }
    if let Some((kept, stood)) = answer.upgrade_sessions {
        let mut times = if answer.upgrades == 1 { "once".to_owned() } else { format!("{} times", answer.upgrades) };
        if answer.upgrades_undone > 0 {
            times.push_str(&format!(", {} in vain", answer.upgrades_undone));
        }
        lines.add_row(["upgraded".to_owned(), format!("{times}; the last time {kept} of {stood} sessions went on")]);
    }
    if let Some(reload) = &answer.reload {
        lines.add_row(["last reload".to_owned(), last(reload)]);
    }
    render(&lines, 0)
}
