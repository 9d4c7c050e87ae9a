//! `show fib`: what the kernel holds of ours, what it refused, who disturbs it; with `--diff` a fresh dump beside what is wanted.

use super::{NONE, count, duration, render, table};
use crate::api::Kernel;
use crate::fib::{FibDiff, FibReport};
use std::fmt::Write as _;

/// The page.
#[must_use]
pub fn text(answer: &Kernel) -> String {
    if !answer.fib.install {
        return "the kernel is left alone: the configuration has `fib: {install: false}`\n".to_owned();
    }
    let mut text = counts(&answer.fib);
    text.push_str(&troubles(&answer.fib));
    if let Some(diff) = &answer.diff {
        text.push_str(&difference(diff));
    }
    text
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn counts(fib: &FibReport) -> String {
    let health = &fib.health;
    let mut lines = table(&[]);
    lines.add_row(["kernel", &held(fib)]);
    lines.add_row(["open", &open(fib)]);
    let disturbed = match health.interrupted + health.failed_dumps {
        0 => String::new(),
        times => format!(", {} disturbed by changes", count(times, "dump was", "dumps were")),
    };
    let compared = format!(
        "{} so far, the last {} ago: {} not as believed{disturbed}",
        count(health.dumps, "dump", "dumps"),
        duration(health.dump_age_s),
        health.last_drift
    );
    lines.add_row(["compared", &compared]);
    if health.overruns > 0 {
        lines.add_row(["lost", &format!("notifications {}", count(health.overruns, "time", "times"))]);
    }
    if health.nexthop_compat_fast {
        lines.add_row(["mode", "net.ipv4.nexthop_compat_mode is 0: dumps show ids of next hops, not gateways"]);
    }
    for deleter in &health.deleters {
        let what = count(deleter.count, "route or next hop", "routes and next hops");
        lines.add_row(["deleted", &format!("{what} {} ago by {}", duration(deleter.ago_s), deleter.who)]);
    }
    render(&lines, 0)
}

fn held(fib: &FibReport) -> String {
    format!(
        "{}, {}, {}",
        count(number(fib.routes), "route", "routes"),
        count(number(fib.nexthops), "next hop", "next hops"),
        count(number(fib.groups), "group", "groups")
    )
}

fn open(fib: &FibReport) -> String {
    format!(
        "{} to be sent, {} without a live neighbor, {} of an earlier run",
        count(number(fib.pending), "operation", "operations"),
        fib.waiting,
        fib.leftovers
    )
}

/// What the kernel refused.
fn troubles(fib: &FibReport) -> String {
    if fib.failures.is_empty() {
        return String::new();
    }
    let mut text =
        format!("\n{} refused, tried again until it is done\n\n", count(number(fib.failed), "thing is", "things are"));
    let mut lines = table(&["What", "Tries", "Because"]);
    for failure in &fib.failures {
        lines.add_row([failure.what.clone(), failure.tries.to_string(), failure.reason.to_string()]);
    }
    text.push_str(&render(&lines, 2));
    text
}

fn difference(diff: &FibDiff) -> String {
    let mut text = String::from("\n");
    let way = match diff.on_their_way + diff.pending {
        0 => String::new(),
        some => format!(", {} on the way", count(some, "change is", "changes are")),
    };
    let verdict = if diff.is_clean() {
        "the kernel holds exactly what is wanted and alive".to_owned()
    } else {
        format!("{} missing, {} extra, {} different", diff.missing, diff.extra, diff.different)
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{verdict}: {} wanted, {} found in the kernel, in {} ms{way}",
        count(diff.routes_wanted, "route is", "routes are"),
        count(diff.routes_found, "is", "are"),
        diff.took_ms
    );
    if !diff.differences.is_empty() {
        text.push('\n');
        let mut lines = table(&["What", "Is", "Wanted", "Found", "Refused because"]);
        for one in &diff.differences {
            let refusal = one.refusal.map_or_else(|| NONE.to_owned(), |refusal| refusal.to_string());
            lines.add_row([one.what.clone(), one.kind.clone(), one.wanted.clone(), one.found.clone(), refusal]);
        }
        text.push_str(&render(&lines, 2));
    }
    text
}
