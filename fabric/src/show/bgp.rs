//! `show bgp`: every path of every prefix, with the codes that other routers use.

use super::{ADDRESS_WIDTH, DURATION_WIDTH, INTERFACE_WIDTH, PREFIX_WIDTH, Paged, duration, or_none, render, table};
use crate::api::{Bgp, BgpPath};
use weft_bgp::speaker::LOCAL_NAME;

/// What the first column means.
const CODES: &str = "* usable, > best, = multipath, i internal, S stale; origin: i IGP, e EGP, ? incomplete";

/// Names of the columns, and the least width of some of them.
pub(crate) const COLUMNS: [&str; 9] = ["", "Prefix", "Next hop", "Interface", "From", "Pref", "MED", "For", "AS path"];
pub(crate) const CODES_WIDTH: usize = 3;
pub(crate) const PREF_WIDTH: usize = 4;
pub(crate) const MED_WIDTH: usize = 3;

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
    let mut lines = table(if first { &COLUMNS } else { &[] });
    let paged = Paged(!first || answer.next.is_some());
    for route in &answer.routes {
        for (at, path) in route.paths.iter().enumerate() {
            // A prefix is written once, as on other routers.
            let prefix = if at == 0 { route.prefix.to_string() } else { String::new() };
            lines.add_row([
                paged.cell(&codes(path), CODES_WIDTH),
                paged.cell(&prefix, PREFIX_WIDTH),
                paged.cell(&next_hop(path), ADDRESS_WIDTH),
                paged.cell(&or_none(path.via.as_ref().map(|via| &via.interface)), INTERFACE_WIDTH),
                path.from.clone(),
                paged.cell(&or_none(path.local_pref), PREF_WIDTH),
                paged.cell(&or_none(path.med), MED_WIDTH),
                paged.cell(&duration(path.age_s), DURATION_WIDTH),
                as_path(path),
            ]);
        }
    }
    render(&lines, 0)
}

fn codes(path: &BgpPath) -> String {
    let mut text = String::new();
    let local = path.from == LOCAL_NAME;
    push_codes(&mut text, [path.best, path.used, path.via.is_some(), local, path.external, path.stale]);
    text
}

/// The codes of a path, without blanks behind them.
pub(crate) fn push_codes(text: &mut String, [best, used, reached, local, external, stale]: [bool; 6]) {
    let start = text.len();
    text.push(if used || best || reached || local { '*' } else { ' ' });
    text.push(match (best, used) {
        (true, _) => '>',
        (false, true) => '=',
        (false, false) => ' ',
    });
    text.push(if external || local { ' ' } else { 'i' });
    text.push_str(if stale { "S" } else { "" });
    text.truncate(start + text[start..].trim_end().len());
}

/// The code of an ORIGIN (RFC 4271 §5.1.1).
pub(crate) const fn origin_code(origin: u8) -> &'static str {
    match origin {
        0 => "i",
        1 => "e",
        _ => "?",
    }
}

fn next_hop(path: &BgpPath) -> String {
    if path.from == LOCAL_NAME { LOCAL_NAME.to_owned() } else { path.next_hop.to_string() }
}

fn as_path(path: &BgpPath) -> String {
    let origin = match path.origin.as_str() {
        "igp" => origin_code(0),
        "egp" => origin_code(1),
        _ => origin_code(2),
    };
    if path.as_path.is_empty() { origin.to_owned() } else { format!("{} {origin}", path.as_path) }
}
