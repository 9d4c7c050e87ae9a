//! `show history`: the last events, oldest first.

use super::{duration, render, table};
use crate::api::{Happening, History};

/// The table of events.
#[must_use]
pub fn table_of(answer: &History) -> String {
    if answer.history.is_empty() {
        return "nothing happened yet\n".to_owned();
    }
    let mut lines = table(&["At", "Ago", "Event"]);
    for event in &answer.history {
        // Counted from the start of the daemon, as its log does.
        let at = format!("{}.{:03}s", event.at_ms / 1_000, event.at_ms % 1_000);
        lines.add_row([at, duration(event.ago_ms / 1_000), line(event)]);
    }
    render(&lines, 0)
}

/// An event, or a run of it.
pub(super) fn line(event: &Happening) -> String {
    match event.times {
        1 => event.text.clone(),
        times => {
            format!("{} (×{times} since {}.{:03}s)", event.text, event.since_ms / 1_000, event.since_ms % 1_000)
        }
    }
}
