//! `show bgp`: every path of every prefix, with the codes that other routers use.

use super::{ADDRESS_WIDTH, DURATION_WIDTH, INTERFACE_WIDTH, PREFIX_WIDTH, Paged, duration, or_none, render, table};
use crate::api::{Bgp, BgpPath};

/// What the first column means.
const CODES: &str = "* usable, > best, = multipath, i internal, S stale; origin: i IGP, e EGP, ? incomplete";

/// The head of the listing.
#[must_use]
pub fn head(node: &str, answer: &Bgp) -> String {
    let paths = answer.paths;
    format!(
        "{node}, AS {}, router id {}: {} prefixes, {} IPv4 and {} IPv6 paths from neighbors\n{CODES}\n\n",
        answer.asn, answer.router_id, answer.prefixes, paths.ipv4, paths.ipv6
    )
}

/// A page of paths; the names of the columns on the first one only.
#[must_use]
pub fn page(answer: &Bgp, first: bool) -> String {
    let header = ["", "Prefix", "Next hop", "Interface", "From", "Pref", "MED", "For", "AS path"];
    let mut lines = table(if first { &header } else { &[] });
    let paged = Paged(!first || answer.next.is_some());
    for route in &answer.routes {
        for (at, path) in route.paths.iter().enumerate() {
            // A prefix is written once, as on other routers.
            let prefix = if at == 0 { route.prefix.to_string() } else { String::new() };
            lines.add_row([
                paged.cell(&codes(path), 3),
                paged.cell(&prefix, PREFIX_WIDTH),
                paged.cell(&next_hop(path), ADDRESS_WIDTH),
                paged.cell(&or_none(path.via.as_ref().map(|via| &via.interface)), INTERFACE_WIDTH),
                path.from.clone(),
                paged.cell(&or_none(path.local_pref), 4),
                paged.cell(&or_none(path.med), 3),
                paged.cell(&duration(path.age_s), DURATION_WIDTH),
                as_path(path),
            ]);
        }
    }
    render(&lines, 0)
}

fn codes(path: &BgpPath) -> String {
    let local = path.from == "local";
    let usable = path.used || path.best || path.via.is_some() || local;
    let choice = if path.best {
        '>'
    } else if path.used {
        '='
    } else {
        ' '
    };
    let internal = if path.external || local { ' ' } else { 'i' };
    let stale = if path.stale { "S" } else { "" };
    format!("{}{choice}{internal}{stale}", if usable { '*' } else { ' ' }).trim_end().to_owned()
}

fn next_hop(path: &BgpPath) -> String {
    if path.from == "local" { "local".to_owned() } else { path.next_hop.to_string() }
}

fn as_path(path: &BgpPath) -> String {
    let origin = match path.origin.as_str() {
        "igp" => "i",
        "egp" => "e",
        _ => "?",
    };
    if path.as_path.is_empty() { origin.to_owned() } else { format!("{} {origin}", path.as_path) }
}
