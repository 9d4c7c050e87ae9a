//! `health`: one line for each check, and what to do where something is wrong.

use super::{count, render, table};
use crate::api::Health;
use crate::health::State;

/// The list, and what it comes to.
#[must_use]
pub fn text(node: &str, answer: &Health) -> String {
    let mut lines = table(&[]);
    for check in &answer.checks {
        lines.add_row([check.state.to_string(), check.name.clone(), check.fact.clone()]);
        if let Some(remedy) = &check.remedy {
            lines.add_row(["", "", &format!("remedy: {remedy}")]);
        }
    }
    let of = |state| answer.checks.iter().filter(|check| check.state == state).count();
    let [ok, warn, bad] = [State::Ok, State::Warn, State::Bad].map(of);
    let all = count(u64::try_from(answer.checks.len()).unwrap_or(u64::MAX), "check", "checks");
    format!("{}\n{node}: {all}, {ok} ok, {warn} warn, {bad} bad\n", render(&lines, 0))
}
