//! Who boots what, and how canaries fare.

use super::{NONE, age, render, table};
use crate::boot::Choice;
use crate::boot::rollout::{Rollout, Trial};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

fn said(choice: Option<&Choice>) -> String {
    choice.map_or_else(|| NONE.to_owned(), ToString::to_string)
}

/// Roles, machines with something of their own, everybody else; the machines of canaries.
#[must_use]
pub fn pins(answer: &Value, now: Timestamp) -> String {
    let roles: Vec<Rollout> = serde_json::from_value(answer["roles"].clone()).unwrap_or_default();
    let mut lines = table(&["Who", "Boots", "Why", "Machines", "Before"]);
    for rollout in &roles {
        let before: Vec<String> = rollout.before.iter().take(4).map(|choice| said(choice.as_ref())).collect();
        let chosen = rollout.canary.as_ref().map_or(0, |trials| trials.machines.len());
        if let Some(trials) = &rollout.canary {
            let why = format!("canary, {} %", trials.canary.percent);
            let to = trials.canary.to.to_string();
            lines.add_row([rollout.role.clone(), to, why, chosen.to_string(), NONE.to_owned()]);
        }
        let before = if before.is_empty() { NONE.to_owned() } else { before.join(" ") };
        let others = rollout.machines.saturating_sub(chosen).to_string();
        lines.add_row([rollout.role.clone(), said(rollout.to.as_ref()), "role".to_owned(), others, before]);
    }
    for (serial, to) in answer["machines"].as_object().into_iter().flatten() {
        let to = to.as_str().unwrap_or(NONE);
        lines.add_row([serial.as_str(), to, "machine", "1", NONE]);
    }
    let rest = answer["rest"].as_str().unwrap_or(NONE);
    lines.add_row(["everybody else", rest, "rest", NONE, NONE]);
    let mut text = render(&lines);
    for rollout in &roles {
        text.push_str(&trials(rollout, now));
    }
    text + &held(answer)
}

fn trials(rollout: &Rollout, now: Timestamp) -> String {
    let Some(trials) = &rollout.canary else { return String::new() };
    let canary = &trials.canary;
    let count = |trial| trials.machines.iter().filter(|tried| tried.trial == trial).count();
    let counts: Vec<String> = Trial::ALL.iter().map(|trial| format!("{} {}", count(*trial), trial.name())).collect();
    let mut text =
        format!("\n{} tries {} for {}: {}\n", rollout.role, canary.to, age(canary.since, now), counts.join(", "));
    let mut lines = table(&["Serial", "Canary", "State", "For"]);
    for tried in &trials.machines {
        let state = tried.state.to_string();
        lines.add_row([tried.serial.clone(), tried.trial.name().to_owned(), state, age(tried.since, now)]);
    }
    if !trials.machines.is_empty() {
        text.push_str(&render(&lines));
    }
    text
}

/// Canaries that must not go on, each with the remedy.
#[must_use]
pub fn held(answer: &Value) -> String {
    let mut text = String::new();
    for role in answer["roles"].as_array().into_iter().flatten() {
        if let Some(why) = role["canary"]["held"].as_str() {
            let role = role["role"].as_str().unwrap_or(NONE);
            let _ = writeln!(
                text,
                "HELD: {why}\n  remedy: `weft-netboot image rollback --role {role}`, or `promote --force`"
            );
        }
    }
    text
}

/// What a promotion or a rollback did.
#[must_use]
pub fn rolled(answer: &Value) -> String {
    let word = |key: &str| answer[key].as_str().unwrap_or("nothing of its own").to_owned();
    let (role, from, to) = (word("role"), word("from"), word("to"));
    match (answer["was_canary"] == true, from == to) {
        (true, true) => format!("role {role}: all boot {to}, which some tried\n"),
        (true, false) => format!("role {role}: the canary {from} is ended, all boot {to}\n"),
        (false, _) => format!("role {role}: {from} ▸ {to}\n"),
    }
}
