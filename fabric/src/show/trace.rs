//! `trace`: a line for each daemon on the way, and how it ends.

use super::{NONE, count, render, table};
use crate::trace::{End, Hop, Trace, Way};

/// Next hops in one line.
const WAYS: usize = 4;

/// The way, or all of them.
#[must_use]
pub fn text(trace: &Trace) -> String {
    let mut lines = table(&["Hop", "Node", "Route", "Next", "Kernel"]);
    for hop in &trace.hops {
        lines.add_row([
            (hop.distance + 1).to_string(),
            hop.node.clone(),
            hop.prefix.map_or_else(|| NONE.to_owned(), |prefix| prefix.to_string()),
            next(trace, hop),
            kernel(hop),
        ]);
    }
    format!("{}\n{}\n", render(&lines, 0), verdict(trace))
}

fn next(trace: &Trace, hop: &Hop) -> String {
    let ways: Vec<String> = hop.ways.iter().take(WAYS).map(way).collect();
    let more = hop.ways.len().saturating_sub(WAYS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let ways = format!("{}{more}", ways.join(", "));
    match &hop.end {
        None => ways,
        Some(End::Owner) => format!("{} is here", trace.target),
        Some(End::Originator) => "announced from here; what is behind it no daemon knows".to_owned(),
        Some(End::Connected) => format!("{ways}, a network of this node"),
        Some(End::Dropped) => "dropped: an aggregate without anything more specific".to_owned(),
        Some(End::NoRoute) => "no route".to_owned(),
        Some(End::Unusable) => "no path can be used".to_owned(),
        Some(End::Unasked(why)) if ways.is_empty() => why.clone(),
        Some(End::Unasked(why)) => format!("{ways}; {why}"),
    }
}

fn way(way: &Way) -> String {
    let who = way.peer.as_ref().or(way.next.as_ref());
    let gateway = way.gateway.map(|gateway| gateway.to_string());
    let who = who.cloned().or(gateway).unwrap_or_default();
    let space = if who.is_empty() || who == way.interface { "" } else { " " };
    let interface = if who == way.interface { "" } else { &way.interface };
    format!("{who}{space}{interface}")
}

fn kernel(hop: &Hop) -> String {
    match (&hop.kernel, hop.agrees) {
        (Some(_), true) => "agrees".to_owned(),
        (Some(kernel), false) => kernel.clone(),
        (None, true) => NONE.to_owned(),
        (None, false) => "not installed".to_owned(),
    }
}

/// How it ends, in one sentence.
fn verdict(trace: &Trace) -> String {
    if let Some(round) = &trace.r#loop {
        return format!("packets go round: {}", round.join(" → "));
    }
    let ended = |wanted: fn(&End) -> bool| -> Vec<&str> {
        let all = trace.hops.iter().filter(|hop| hop.end.as_ref().is_some_and(wanted));
        all.map(|hop| hop.node.as_str()).collect()
    };
    let lost = ended(End::loses);
    let unsure = ended(|end| matches!(end, End::Unasked(_)));
    let there = ended(|end| !end.loses() && !matches!(end, End::Unasked(_)));
    let furthest = trace.hops.iter().map(|hop| hop.distance).max().unwrap_or_default();
    let length = count(u64::try_from(furthest).unwrap_or(u64::MAX), "hop", "hops");
    match (lost.is_empty(), unsure.is_empty()) {
        (false, _) => format!("packets are lost at {}", lost.join(", ")),
        (true, false) => format!("known as far as {}", unsure.join(", ")),
        (true, true) if trace.is_bad() => "a kernel does otherwise than its daemon wants".to_owned(),
        (true, true) if furthest == 0 => format!("the way ends here, at {}", there.join(" or ")),
        (true, true) => {
            let silent: Vec<String> = trace.unasked().into_iter().collect();
            let (which, rest) = match silent.as_slice() {
                [] => ("every way ends", String::new()),
                some => ("every way that can be followed ends", format!("; {} cannot be asked", some.join(" and "))),
            };
            format!("{which} at {}, after {length} at most{rest}", there.join(" or "))
        }
    }
}
