//! `show version`: what runs, since when, from which file.

use super::{duration, render, table};
use crate::api::Version;

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
    render(&lines, 0)
}
