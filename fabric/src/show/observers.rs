//! `show observers`: BMP collectors and dumps of messages, one line for each.

use super::{count, render, table};
use crate::api::{Observer, Observers};

/// The table.
#[must_use]
pub fn table_of(answer: &Observers) -> String {
    if answer.observers.is_empty() {
        return "nobody observes: the configuration has neither `bmp` nor `mrt`\n".to_owned();
    }
    let mut lines = table(&["Observer", "Kind", "State", "Messages", "Waiting", "Note"]);
    for observer in &answer.observers {
        lines.add_row([
            observer.name.clone(),
            observer.kind.clone(),
            state(observer).to_owned(),
            observer.messages.to_string(),
            format!("{} octets", observer.waiting_bytes),
            note(observer),
        ]);
    }
    render(&lines, 0)
}

const fn state(observer: &Observer) -> &'static str {
    match (observer.connected, observer.synchronized) {
        (false, _) => "not connected",
        (true, false) => "first table",
        (true, true) => "synchronized",
    }
}

fn note(observer: &Observer) -> String {
    let mut notes = Vec::new();
    notes.extend(observer.last_error.clone());
    if observer.overflows > 0 {
        notes.push(format!("too slow {}", count(observer.overflows, "time", "times")));
    }
    if observer.dropped > 0 {
        notes.push(format!("{} left out", count(observer.dropped, "record", "records")));
    }
    notes.join(", ")
}
