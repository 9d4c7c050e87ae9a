//! `explain`: complete sentences of fact about one prefix, so that nothing needs a second command: whether it is installed and
//! since when, which paths are used, why the others are not, what the kernel holds, who was told and who was not and why.

use super::{NONE, count, duration, render, table};
use crate::api::{BgpPath, Explanation, NO_ROUTE, Refused, Route, Told, ToldPath};
use comfy_table::Table;
use std::collections::BTreeMap;

/// Names in one line; a ToR has dozens of servers that all hear the same.
const MAX_NAMES: usize = 8;
/// Paths shown.
const MAX_PATHS: usize = 64;

/// The explanation.
#[must_use]
pub fn text(answer: &Explanation) -> String {
    let Some(route) = &answer.route else {
        let mut facts = table(&[]);
        refused(answer, &mut facts);
        return format!("{}  no route: no prefix of the table covers it\n{}", answer.target, render(&facts, 2));
    };
    let mut text = String::new();
    if answer.target != route.prefix.to_string() && answer.target != route.prefix.addr().to_string() {
        text.push_str(&covered(answer, route));
    }
    text.push_str(&format!("{}  {}\n", route.prefix, headline(answer, route)));
    text.push_str(&paths(answer));
    let mut facts = table(&[]);
    match &answer.kernel {
        // The addresses themselves are on `lo`.
        Some(kernel) if route.kind == "local" && kernel == NO_ROUTE => {
            facts.add_row(["kernel", "needs no route of ours"]);
        }
        Some(kernel) => {
            facts.add_row(["kernel", kernel]);
        }
        None => {}
    }
    for (label, fact) in told(answer) {
        facts.add_row([label, fact.as_str()]);
    }
    refused(answer, &mut facts);
    text.push_str(&render(&facts, 2));
    text
}

fn covered(answer: &Explanation, route: &Route) -> String {
    let what = if answer.target.contains('/') { "is not in the table; it is covered by" } else { "falls into" };
    format!("{} {what} {}\n", answer.target, route.prefix)
}

fn headline(answer: &Explanation, route: &Route) -> String {
    let all = u64::try_from(answer.paths.len()).unwrap_or(u64::MAX);
    let used = answer.paths.iter().filter(|path| path.used).count();
    let age = duration(route.age_s);
    if route.kind == "local" || route.kind == "aggregate" {
        let why = answer.originated.as_deref().unwrap_or("configured");
        return format!("originated here ({why}) for {age}");
    }
    if let Some(why) = &route.held_back {
        return format!("{why}; neither installed nor told, {}", count(all, "path is known", "paths are known"));
    }
    let state = if route.installed {
        "installed"
    } else if route.kernel == "refused" {
        "not installed: the kernel refused it"
    } else if used == 0 {
        return format!("not usable: {} known, none can be used", count(all, "path is", "paths are"));
    } else {
        "not installed: the kernel has not acknowledged it"
    };
    let how = match (used, all) {
        (1, 1) => "over its only path".to_owned(),
        (1, _) => format!("over 1 of {all} paths"),
        _ => format!("ECMP over {used} of {all} paths"),
    };
    format!("{state}, {how}, unchanged for {age}")
}

fn paths(answer: &Explanation) -> String {
    let mut lines = table(&[]);
    for path in answer.paths.iter().take(MAX_PATHS) {
        let role = if path.best {
            "best"
        } else if path.used {
            "used"
        } else {
            "not"
        };
        let interface = path.via.as_ref().map_or(NONE, |via| via.interface.as_str());
        // An unnumbered peer is called as its link.
        let interface = if interface == path.from { "" } else { interface };
        let as_path = if path.as_path.is_empty() { "(empty AS path)" } else { &path.as_path };
        lines.add_row([role, path.from.as_str(), interface, as_path, reason(answer, path).as_str()]);
    }
    let mut text = render(&lines, 2);
    if answer.paths.len() > MAX_PATHS {
        text.push_str(&format!("  … and {} more\n", answer.paths.len() - MAX_PATHS));
    }
    text
}

fn reason(answer: &Explanation, path: &BgpPath) -> String {
    let mut reason = if path.best {
        let equals: Vec<&str> =
            answer.paths.iter().filter(|other| other.used && !other.best).map(|other| other.from.as_str()).collect();
        if !equals.is_empty() {
            format!("multipath with {}; {}", names(&equals), path.reason)
        } else {
            path.reason.clone()
        }
    } else {
        path.reason.clone()
    };
    if let Some(id) = path.path_id {
        reason.push_str(&format!("; add-path id {id}"));
    }
    if path.stale {
        reason.push_str("; stale: kept while the peer restarts (RFC 4724 §4.2)");
    }
    reason
}

/// Who was told, and for each reason who was not.
fn told(answer: &Explanation) -> Vec<(&'static str, String)> {
    let told: Vec<&str> = answer.told.iter().filter(|peer| peer.told).map(|peer| peer.peer.as_str()).collect();
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Told { peer, reason, .. } in answer.told.iter().filter(|peer| !peer.told) {
        reasons.entry(reason.as_deref().unwrap_or(NONE)).or_default().push(peer);
    }
    let mut lines = Vec::new();
    if told.is_empty() {
        let nobody = if reasons.is_empty() { "nobody: there is no session" } else { "nobody" };
        lines.push(("told", nobody.to_owned()));
    } else {
        lines.push(("told", names(&told)));
    }
    lines.extend(answer.told.iter().flat_map(told_paths));
    lines.extend(reasons.iter().map(|(reason, peers)| ("not told", format!("{}: {reason}", names(peers)))));
    if !answer.no_session.is_empty() && !answer.told.is_empty() {
        let without: Vec<&str> = answer.no_session.iter().map(String::as_str).collect();
        lines.push(("not told", format!("{}: no session", names(&without))));
    }
    lines
}

/// A peer that is told of several paths: which, and which not.
fn told_paths(told: &Told) -> Vec<(&'static str, String)> {
    let name = |path: &ToldPath| match path.from_path_id {
        Some(id) => format!("the path of {} with id {id}", path.from),
        None => format!("the path of {}", path.from),
    };
    let line = |path: &ToldPath| match &path.reason {
        None => ("told", format!("{}: {} as add-path id {}", told.peer, name(path), path.path_id)),
        Some(reason) => ("not told", format!("{}: {}: {reason}", told.peer, name(path))),
    };
    // Where none was told, the reason stands with those of other peers.
    told.paths.iter().take(if told.told { MAX_PATHS } else { 0 }).map(line).collect()
}

fn refused(answer: &Explanation, facts: &mut Table) {
    for Refused { prefix, from, path_id, reason, age_s } in answer.refused.iter().take(MAX_PATHS) {
        let id = path_id.map_or_else(String::new, |id| format!(" with add-path id {id}"));
        let ago = duration(*age_s);
        facts.add_row(["refused", format!("{from} announced {prefix}{id} {ago} ago: {reason}").as_str()]);
    }
}

fn names(all: &[&str]) -> String {
    let mut text = all.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    if all.len() > MAX_NAMES {
        text.push_str(&format!(" and {} more", all.len() - MAX_NAMES));
    }
    text
}
