//! `show neighbors`: one line for each peer, or everything about one.

use super::{NONE, count, duration, or_none, render, table};
use crate::api::{AddPathUse, Neighbor, Neighbors};
use std::fmt::Write as _;
use weft_bgp::types::Family;

/// The table of all peers.
#[must_use]
pub fn table_of(node: &str, answer: &Neighbors) -> String {
    let total = answer.neighbors.len();
    let up = answer.neighbors.iter().filter(|peer| is_up(peer)).count();
    let mut text = format!(
        "{node}, AS {}, router id {}: {up} of {} Established\n",
        answer.asn,
        answer.router_id,
        count(u64::try_from(total).unwrap_or(u64::MAX), "neighbor", "neighbors")
    );
    if total == 0 {
        return text;
    }
    // Most fabrics speak one family for routes: the columns of the other would be zeros.
    let v6 = answer.neighbors.iter().any(|peer| peer.prefixes_received.ipv6 + peer.prefixes_sent.ipv6 > 0);
    let mut header = vec!["Neighbor", "Address", "AS", "State", "For", "MsgRcvd", "MsgSent", "PfxRcvd", "PfxSent"];
    if v6 {
        header.extend(["Pfx6Rcvd", "Pfx6Sent"]);
    }
    header.push("Note");
    let mut lines = table(&header);
    for peer in &answer.neighbors {
        let mut row = vec![
            peer.name.clone(),
            address(peer),
            asn(peer),
            peer.state.clone(),
            duration(peer.since_s),
            peer.messages_received.to_string(),
            peer.messages_sent.to_string(),
            peer.prefixes_received.ipv4.to_string(),
            peer.prefixes_sent.ipv4.to_string(),
        ];
        if v6 {
            row.extend([peer.prefixes_received.ipv6.to_string(), peer.prefixes_sent.ipv6.to_string()]);
        }
        row.push(note(peer));
        lines.add_row(row);
    }
    text.push('\n');
    text.push_str(&render(&lines, 0));
    text
}

/// Everything about one peer.
#[must_use]
pub fn details(peer: &Neighbor) -> String {
    let mut text = format!("{}: {} for {}\n", peer.name, peer.state, duration(peer.since_s));
    let mut lines = table(&[]);
    let mut line = |name: &str, value: String| {
        lines.add_row([name.to_owned(), value]);
    };
    line("address", address(peer));
    line("AS", asn(peer));
    line("router id", or_none(peer.router_id));
    line("hold time", peer.hold_time_s.map_or_else(|| NONE.to_owned(), |time| format!("{time} s")));
    if !peer.agreed.is_empty() {
        line("agreed on", peer.agreed.join(", "));
    }
    let limit = peer.max_prefixes.map_or_else(String::new, |limit| format!(", at most {limit}"));
    let received = peer.prefixes_received;
    line("prefixes received", format!("{} IPv4, {} IPv6{limit}", received.ipv4, received.ipv6));
    if let Some(add_path) = &peer.add_path {
        line("add-path", add_path_of(add_path));
    }
    if let Some(paths) = peer.old_policy {
        let paths = count(paths, "path", "paths");
        let renew = format!("weft clear {} --hard", peer.name);
        line(
            "policy",
            format!(
                "the old policy still applies to {paths} and to what it refused: the peer cannot refresh; `{renew}` renews it"
            ),
        );
    }
    if let Some(state) = &peer.bfd {
        line("BFD", state.clone());
    }
    line("prefixes refused", format!("{} by the import policy", peer.prefixes_rejected));
    line("prefixes sent", format!("{} IPv4, {} IPv6", peer.prefixes_sent.ipv4, peer.prefixes_sent.ipv6));
    line("messages", format!("{} received, {} sent", peer.messages_received, peer.messages_sent));
    let treated = format!("{} looped, {} treated as withdraw", peer.updates_rejected, peer.withdraw_faults);
    line("UPDATEs", format!("{} received ({treated}), {} sent", peer.updates_received, peer.updates_sent));
    line("session", format!("was up {}, lost {}", times(peer.established), times(peer.dropped)));
    if let Some(wrong) = &peer.miswired {
        line("cabling", wrong.clone());
    }
    if let Some(error) = &peer.last_error {
        line("last error", error.clone());
    }
    if let Some(seconds) = peer.resting_s {
        line("rests", format!("for {} more: it failed again and again, or passed a limit", duration(seconds)));
    }
    if let Some(reason) = &peer.shutdown {
        let reason = if reason.is_empty() { "by configuration" } else { reason };
        line("shut down", reason.to_owned());
    }
    if peer.dynamic {
        line("origin", "a listen range".to_owned());
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", render(&lines, 2));
    text
}

fn add_path_of(add_path: &AddPathUse) -> String {
    let families = |list: &[Family]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let mut parts = Vec::new();
    if !add_path.received.is_empty() {
        parts.push(format!("received for {}", families(&add_path.received)));
    }
    if !add_path.sent.is_empty() {
        parts.push(format!("sent for {}", families(&add_path.sent)));
    }
    if add_path.over_limit > 0 {
        parts.push(format!("{} beyond paths_limit", count(add_path.over_limit, "path", "paths")));
    }
    parts.join(", ")
}

fn is_up(peer: &Neighbor) -> bool {
    peer.state == "Established"
}

fn address(peer: &Neighbor) -> String {
    match (&peer.address, &peer.interface) {
        (Some(address), Some(interface)) if interface != &peer.name => format!("{address}%{interface}"),
        (Some(address), _) => address.to_string(),
        (None, Some(interface)) => format!("nobody found on {interface}"),
        (None, None) => NONE.to_owned(),
    }
}

fn asn(peer: &Neighbor) -> String {
    peer.remote_asn.map_or_else(|| peer.expected_asn.clone(), |asn| asn.to_string())
}

/// Why it is not up; or what is unusual about it.
pub(super) fn note(peer: &Neighbor) -> String {
    if let Some(reason) = &peer.shutdown {
        return if reason.is_empty() { "shut down".to_owned() } else { format!("shut down: {reason}") };
    }
    if !is_up(peer) {
        return peer.miswired.clone().or_else(|| peer.last_error.clone()).unwrap_or_default();
    }
    let mut notes = Vec::new();
    notes.extend(peer.miswired.clone());
    if peer.dropped > 0 {
        notes.push(format!("lost {}", times(peer.dropped)));
    }
    if peer.prefixes_rejected > 0 {
        notes.push(format!("{} refused by policy", count(peer.prefixes_rejected, "prefix", "prefixes")));
    }
    if peer.updates_rejected > 0 {
        notes.push(count(peer.updates_rejected, "UPDATE looped", "UPDATEs looped"));
    }
    if peer.old_policy.is_some() {
        notes.push("old policy".to_owned());
    }
    if peer.withdraw_faults > 0 {
        notes.push(format!("{} malformed", peer.withdraw_faults));
    }
    notes.join(", ")
}

fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{number} times"),
    }
}
