//! `explain`: complete sentences of fact about one prefix, so that nothing needs a second command: whether it is installed and
//! since when, which paths are used, why the others are not, what the kernel holds, who was told and who was not and why.

use super::{NONE, count, duration, render, table};
use crate::api::{BgpPath, Explanation, Route, Told};
use std::collections::BTreeMap;

/// Names in one line; a ToR has dozens of servers that all hear the same.
const MAX_NAMES: usize = 8;
/// Paths shown.
const MAX_PATHS: usize = 64;

/// The explanation.
#[must_use]
pub fn text(answer: &Explanation) -> String {
    let Some(route) = &answer.route else {
        return format!("{}  no route: no prefix of the table covers it\n", answer.target);
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
        Some(_) if route.kernel == "none" && route.kind == "local" => {
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
            format!("multipath with {}", names(&equals))
        } else if answer.paths.len() == 1 {
            "the only path".to_owned()
        } else {
            "better than every other".to_owned()
        }
    } else {
        path.reason.clone()
    };
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
    lines.extend(reasons.iter().map(|(reason, peers)| ("not told", format!("{}: {reason}", names(peers)))));
    if !answer.no_session.is_empty() && !answer.told.is_empty() {
        let without: Vec<&str> = answer.no_session.iter().map(String::as_str).collect();
        lines.push(("not told", format!("{}: no session", names(&without))));
    }
    lines
}

fn names(all: &[&str]) -> String {
    let mut text = all.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    if all.len() > MAX_NAMES {
        text.push_str(&format!(" and {} more", all.len() - MAX_NAMES));
    }
    text
}
