//! `show version`: what runs, since when, from which file.

use super::{duration, render, table};
use crate::api::{LastReload, Version};
use crate::plan::Outcome;
use crate::sandbox::Sandbox;

/// Capabilities that are named.
const FEW: usize = 6;

/// What came of the last reload.
fn last(reload: &LastReload) -> String {
    let ago = format!("{} ago", duration(reload.ago_s));
    match (reload.outcome, reload.confirm_within_s) {
        (Outcome::OnProbation, Some(left)) => {
            let left = duration(left);
            format!("{ago}; the earlier configuration comes back in {left} unless `weft reload --confirm` comes")
        }
        // What was refused is none that came of anything.
        (Outcome::Reloaded | Outcome::OnProbation | Outcome::Refused, _) => ago,
        (Outcome::Confirmed, _) => format!("confirmed {ago}"),
        (Outcome::RolledBack, _) => {
            format!("not confirmed: the earlier configuration is back since {ago}, the file is another one")
        }
    }
}

/// Which capabilities it has.
fn may(sandbox: &Sandbox) -> String {
    match sandbox.capabilities.len() {
        0 => "nothing that an ordinary process may not".to_owned(),
        1..=FEW => sandbox.capabilities.join(", "),
        many => format!("{many} capabilities, {} among them", sandbox.capabilities[..2].join(" and ")),
    }
}

/// What it gave up, and what of it is not so.
fn may_not(sandbox: &Sandbox) -> String {
    let parts = [
        (sandbox.no_new_privs, "gain rights by executing a program"),
        (sandbox.landlock, "open other files (Landlock)"),
        (sandbox.seccomp, "make system calls of no use to it (seccomp)"),
    ];
    let held: Vec<&str> = parts.iter().filter(|(is_held, _)| *is_held).map(|(_, part)| *part).collect();
    let mut text = if held.is_empty() { "nothing is given up".to_owned() } else { held.join("; ") };
    for (what, all) in [("switched off", &sandbox.off), ("missing", &sandbox.missing)] {
        if !all.is_empty() {
            text.push_str(&format!("; {what}: {}", all.join(", ")));
        }
    }
    if sandbox.refused > 0 {
        text.push_str(&format!("; {} configurations refused that need more", sandbox.refused));
    }
    text
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
    if let Some(sandbox) = &answer.sandbox {
        lines.add_row(["may".to_owned(), may(sandbox)]);
        lines.add_row(["may not".to_owned(), may_not(sandbox)]);
    }
    if let Some(reload) = &answer.reload {
        lines.add_row(["last reload".to_owned(), last(reload)]);
    }
    render(&lines, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_up_is_said_beside_what_is() {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let all = words(&["CHOWN", "KILL", "SETUID", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_TIME"]);
        let sandbox = Sandbox { capabilities: all, seccomp: true, off: words(&["capabilities"]), ..Sandbox::default() };
        assert_eq!(may(&sandbox), "7 capabilities, CHOWN and KILL among them");
        let sandbox = Sandbox { missing: words(&["landlock: this kernel has none"]), refused: 2, ..sandbox };
        assert_eq!(
            may_not(&sandbox),
            "make system calls of no use to it (seccomp); switched off: capabilities; missing: landlock: this kernel has none; \
             2 configurations refused that need more"
        );
        assert_eq!(may(&Sandbox::default()), "nothing that an ordinary process may not");
        assert_eq!(may_not(&Sandbox::default()), "nothing is given up");
    }
}
