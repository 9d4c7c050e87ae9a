//! `show bfd`: one line for each session, and what went wrong as a whole.

use super::{NONE, count, duration, render, table};
use crate::api::{BfdSession, BfdSessions};
use std::fmt::Write as _;

/// The table.
#[must_use]
pub fn table_of(answer: &BfdSessions) -> String {
    if answer.sessions.is_empty() {
        return "no BFD sessions: no neighbor that is there has `bfd`\n".to_owned();
    }
    let header =
        ["Neighbor", "Address", "Interface", "State", "For", "Remote", "Interval", "Detection", "Failed", "Note"];
    let mut lines = table(&header);
    for session in &answer.sessions {
        lines.add_row([
            session.neighbor.clone(),
            session.address.to_string(),
            session.interface.clone().unwrap_or_else(|| "multihop".to_owned()),
            session.state.clone(),
            duration(session.since_s),
            session.remote_state.clone(),
            milliseconds(session.transmit_us),
            milliseconds(session.detection_us),
            session.failures.to_string(),
            note(session),
        ]);
    }
    let mut text = render(&lines, 0);
    text.push_str(&foot(answer));
    text
}

fn milliseconds(us: u64) -> String {
    match us {
        0 => NONE.to_owned(),
        us if us % 1_000 == 0 => format!("{} ms", us / 1_000),
        us => format!("{}.{:03} ms", us / 1_000, us % 1_000),
    }
}

fn note(session: &BfdSession) -> String {
    let mut notes = Vec::new();
    if let Some(error) = &session.error {
        notes.push(format!("cannot send: {error}"));
    }
    if session.out_of_use {
        notes.push("not used by the kernel".to_owned());
    }
    if session.state != "Up" {
        notes.push(if session.remote_discriminator == 0 {
            "nothing heard".to_owned()
        } else if session.remote_state == "AdminDown" {
            "taken down there on purpose".to_owned()
        } else {
            session.diagnostic.clone()
        });
    } else if session.failures > 0 {
        notes.push(format!("last: {}", session.diagnostic));
    }
    notes.join(", ")
}

fn foot(answer: &BfdSessions) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(scheduling) = &answer.scheduling {
        let _ = write!(text, "\nscheduled: {scheduling}");
    }
    if answer.starved > 0 {
        let longest = milliseconds(answer.starved_longest_us);
        let times = count(answer.starved, "time", "times");
        let _ = write!(text, "; could not run {times}, {longest} at the longest: neighbors were not blamed for that");
    }
    text.push('\n');
    if answer.refused > 0 {
        let _ = writeln!(text, "{} refused: too many", count(answer.refused, "session", "sessions"));
    }
    if !answer.discarded.is_empty() {
        let each: Vec<String> =
            answer.discarded.iter().map(|(reason, count)| format!("{count} ({})", reason.replace('_', " "))).collect();
        let _ = writeln!(text, "packets discarded: {}", each.join(", "));
    }
    text
}
