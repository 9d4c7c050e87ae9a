//! `show drain`: what is out of service, how far, and who is waited for.

use super::{NONE, duration, render, table};
use crate::api::{Drain, Drains};

/// The table.
#[must_use]
pub fn table_of(answer: &Drains) -> String {
    let mut lines = table(&["What", "State", "Target", "Since", "By", "Waiting for"]);
    for drain in &answer.drains {
        lines.add_row([
            drain.scope.to_string(),
            drain.state.to_string(),
            if drain.state == drain.target { NONE.to_owned() } else { drain.target.to_string() },
            duration(drain.since_ms / 1_000),
            by(drain),
            waiting(drain),
        ]);
    }
    let mut text = render(&lines, 0);
    if let Some(error) = &answer.not_kept {
        text.push_str(&format!("not kept over a restart: {error}\n"));
    }
    text
}

fn by(drain: &Drain) -> String {
    use crate::drain::{By, State};
    match (drain.by, drain.state, drain.target) {
        (By::Boot, State::Live, State::Live) => NONE.to_owned(),
        (By::Boot, _, _) => "drain.boot".to_owned(),
        (By::Operator, _, _) => "operator".to_owned(),
        (By::Signal, _, _) => "SIGTERM".to_owned(),
    }
}

fn waiting(drain: &Drain) -> String {
    if !drain.waiting_for.is_empty() {
        return drain.waiting_for.join(", ");
    }
    match (drain.settled, drain.late.is_empty()) {
        (false, _) => "time for traffic to move".to_owned(),
        (true, true) => NONE.to_owned(),
        (true, false) => format!("nobody; too late: {}", drain.late.join(", ")),
    }
}
