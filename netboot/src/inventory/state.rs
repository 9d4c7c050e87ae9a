//! The life of a machine: seven states, which may follow which, and what each change leaves behind.
//!
//! ```text
//!   uninitialized ──▶ healthy ◀──▶ unhealthy ◀──▶ unreachable        every one of them ──▶ retiring ──▶ retired
//!         ▲              │             │              │                                                    │
//!         ├── updating ◀─┴─────────────┴──────────────┘                                                    │
//!         └────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Differs from Sabakan: an uninitialized machine can become unhealthy and unreachable, an updating one unreachable. There, a machine
//! that dies while it is installed or updated stays what it was, and nobody is told.

use crate::error::{Kind, Refusal};
use crate::inventory::machine::{HISTORY_MAX, Machine, reason};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a machine is fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Registered, not yet seen well.
    Uninitialized,
    /// Fit for work.
    Healthy,
    /// Answers, but something about it is wrong.
    Unhealthy,
    /// Does not answer.
    Unreachable,
    /// Being updated: what it does now says nothing about its health.
    Updating,
    /// Leaves: its disk keys are to be deleted.
    Retiring,
    /// Gone; its record may be deleted.
    Retired,
}

impl State {
    /// All of them, in the order of a machine's life.
    pub const ALL: [Self; 7] = [
        Self::Uninitialized,
        Self::Healthy,
        Self::Unhealthy,
        Self::Unreachable,
        Self::Updating,
        Self::Retiring,
        Self::Retired,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uninitialized => "uninitialized",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unreachable => "unreachable",
            Self::Updating => "updating",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    /// The states that may follow.
    #[must_use]
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Uninitialized => &[Self::Healthy, Self::Unhealthy, Self::Unreachable, Self::Retiring],
            Self::Healthy => &[Self::Unhealthy, Self::Unreachable, Self::Updating, Self::Retiring],
            Self::Unhealthy => &[Self::Healthy, Self::Unreachable, Self::Updating, Self::Retiring],
            Self::Unreachable => &[Self::Healthy, Self::Unhealthy, Self::Updating, Self::Retiring],
            Self::Updating => &[Self::Uninitialized, Self::Unreachable],
            Self::Retiring => &[Self::Retired],
            Self::Retired => &[Self::Uninitialized],
        }
    }

    /// Whether only an administrator may bring it about: retiring a machine ends in the loss of its data, and a retired one that
    /// comes back is trusted anew.
    #[must_use]
    pub const fn needs_admin(from: Self, to: Self) -> bool {
        matches!((from, to), (_, Self::Retiring) | (Self::Retired, Self::Uninitialized))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = Refusal;

    /// In small or capital letters: Sabakan's GraphQL writes `UNHEALTHY`.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|state| state.name()).collect();
            Refusal::invalid("state", format!("`{text}` is no state"), format!("write one of {}", all.join(", ")))
        })
    }
}

/// The state a machine is in, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The state.
    pub name: State,
    /// When it came about.
    pub since: Timestamp,
    /// Why, in the words of who said so.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passage {
    /// The state it was in.
    pub from: State,
    /// The state it came to.
    pub to: State,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// What somebody wants a machine to become.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The state.
    pub to: State,
    /// Why.
    pub reason: &'a str,
    /// Who says so.
    pub by: &'a str,
    /// Now.
    pub at: Timestamp,
}

/// Takes a machine to another state; false when it is in that state already, which changes nothing.
///
/// # Errors
/// When the state may not follow, or a retiring machine still has disk keys; the machine is as it was.
pub fn change(machine: &mut Machine, wish: Wish<'_>) -> Result<bool, Refusal> {
    let from = machine.state.name;
    if from == wish.to {
        return Ok(false);
    }
    reason("reason", wish.reason)?;
    if !from.next().contains(&wish.to) {
        let may: Vec<_> = from.next().iter().map(|state| state.name()).collect();
        let message = format!("{}: {from} cannot become {}", machine.serial, wish.to);
        let rule = format!("from {from} a machine can become {}", may.join(", "));
        return Err(Refusal::invalid("state", message, rule).of(Kind::Transition));
    }
    if wish.to == State::Retired && !machine.disk_keys.is_empty() {
        let message = format!("{} still has keys of {} disks", machine.serial, machine.disk_keys.len());
        let rule = "delete them first: a retired machine's data must be unreadable";
        return Err(Refusal::invalid("state", message, rule).of(Kind::Transition));
    }
    let Wish { to, reason, by, at } = wish;
    if machine.history.len() >= HISTORY_MAX {
        machine.history.drain(..=machine.history.len() - HISTORY_MAX);
    }
    machine.history.push(Passage { from, to, at, reason: reason.to_owned(), by: by.to_owned() });
    machine.state = Status { name: to, since: at, reason: reason.to_owned(), by: by.to_owned() };
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::machine;

    /// neco.md §1.3, with the three additions of this module's head.
    const TABLE: &str = "\
                uninitialized healthy unhealthy unreachable updating retiring retired
uninitialized   =             yes     yes       yes         -        yes      -
healthy         -             =       yes       yes         yes      yes      -
unhealthy       -             yes     =         yes         yes      yes      -
unreachable     -             yes     yes       =           yes      yes      -
updating        yes           -       -         yes         =        -        -
retiring        -             -       -         -           -        =        yes
retired         yes           -       -         -           -        -        =
";

    #[test]
    fn every_pair_of_states_is_as_in_the_table() {
        let rows: Vec<Vec<&str>> = TABLE.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), State::ALL.len());
        for (row, from) in rows.iter().zip(State::ALL) {
            assert_eq!(row[0], from.name());
            for (cell, to) in row[1..].iter().zip(State::ALL) {
                let mut subject = machine("a", 0, 4);
                subject.state.name = from;
                let before = subject.clone();
                let at = Timestamp::from_second(100).unwrap();
                let done = change(&mut subject, Wish { to, reason: "why", by: "me", at });
                match *cell {
                    "=" => assert_eq!((done, &subject), (Ok(false), &before), "{from} to itself"),
                    "yes" => {
                        assert_eq!(done, Ok(true), "{from} to {to}");
                        assert_eq!((subject.state.name, subject.state.since), (to, at));
                        assert_eq!(subject.history.last().map(|passage| (passage.from, passage.to)), Some((from, to)));
                    }
                    _ => {
                        assert_eq!(done.unwrap_err().kind, Kind::Transition, "{from} to {to}");
                        assert_eq!(subject, before, "a refused change leaves nothing behind");
                    }
                }
            }
        }
    }

    #[test]
    fn retired_only_without_disk_keys() {
        let mut subject = machine("a", 0, 4);
        subject.state.name = State::Retiring;
        subject.disk_keys.insert("disk0".to_owned());
        let wish = Wish { to: State::Retired, reason: "", by: "me", at: Timestamp::UNIX_EPOCH };
        assert_eq!(change(&mut subject, wish).unwrap_err().kind, Kind::Transition);
        subject.disk_keys.clear();
        assert_eq!(change(&mut subject, wish), Ok(true));
    }

    #[test]
    fn the_history_keeps_the_newest() {
        let mut subject = machine("a", 0, 4);
        for turn in 0..100 {
            let to = if turn % 2 == 0 { State::Healthy } else { State::Unhealthy };
            let at = Timestamp::from_second(turn).unwrap();
            assert_eq!(change(&mut subject, Wish { to, reason: "", by: "me", at }), Ok(true));
        }
        assert_eq!(subject.history.len(), HISTORY_MAX);
        assert_eq!(subject.history.last().map(|passage| passage.at.as_second()), Some(99));
    }

    #[test]
    fn only_administrators_retire_and_bring_back() {
        let named: Vec<String> = State::ALL
            .iter()
            .flat_map(|from| from.next().iter().map(move |to| (*from, *to)))
            .filter(|(from, to)| State::needs_admin(*from, *to))
            .map(|(from, to)| format!("{from} {to}"))
            .collect();
        let wanted = [
            "uninitialized retiring",
            "healthy retiring",
            "unhealthy retiring",
            "unreachable retiring",
            "retired uninitialized",
        ];
        assert_eq!(named, wanted);
    }

    #[test]
    fn names_are_read_in_capitals_too() {
        assert_eq!("UNHEALTHY".parse(), Ok(State::Unhealthy));
        assert!("broken".parse::<State>().unwrap_err().rule.contains("unhealthy, unreachable"));
    }
}
