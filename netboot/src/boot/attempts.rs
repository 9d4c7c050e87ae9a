//! Machines that boot again and again: what was seen of each, and which are held. Pure: times are arguments.
//!
//! ```text
//!   script ─▶ files ─▶ kernel whole = one boot ──▶ becomes healthy: nothing is counted any more
//!     ▲                        │
//!     └── firmware again ◀─────┴── the `boots`th one within `within_s`, none of them healthy ──▶ held ──▶ released
//! ```
//!
//! A boot is counted when a machine got its kernel whole: what broke before, because a server or the network was away, is none, however
//! often firmware tries. **The count and the hold are in the store**: a service address has several servers, each connection may come to
//! another one, and a hold that one of them does not know is none. It is one small write for each boot of a machine, and nobody waits for
//! it. What was seen (the timeline) is of each server and in memory: for people, who ask each.

use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Events of one machine that are kept: some boots with what led to them.
pub const EVENTS_MAX: usize = 32;
/// Machines with a timeline; who was not seen for longest is forgotten.
pub const MACHINES_MAX: usize = 16_384;
/// Kernels that come within this are one boot: firmware asks some files twice.
const SAME: SignedDuration = SignedDuration::from_secs(5);
/// Most boots that may be asked for: they are in the entry of each machine.
const BOOTS_MAX: u32 = 32;

/// When a machine is held: the part `boot.loops` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// With so many boots, …
    pub boots: u32,
    /// … all within so many seconds, without becoming healthy.
    pub within_s: u32,
}

impl Default for Rules {
    /// A server takes two to five minutes from power-on to its kernel, and a person who looks for a fault boots it some times.
    fn default() -> Self {
        Self { boots: 6, within_s: 3_600 }
    }
}

impl Rules {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn check(&self) -> Result<(), String> {
        if self.boots < 2 || self.boots > BOOTS_MAX {
            return Err(format!("boot.loops.boots: {}: write 2 to {BOOTS_MAX}", self.boots));
        }
        if self.within_s == 0 {
            return Err("boot.loops.within_s: 0 is no time: write 1 or more seconds".to_owned());
        }
        Ok(())
    }
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Boot {
    /// When the kernel was whole.
    pub at: Timestamp,
    /// Of which image.
    pub image: String,
}

/// Why a machine gets nothing to boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: String,
}

/// The boots of a machine since it was healthy last: its entry in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempts {
    /// The last ones, oldest first.
    pub boots: Vec<Boot>,
    /// Set when there were too many.
    #[serde(default)]
    pub held: Option<Hold>,
}

impl Attempts {
    /// After one more boot, or the same if that is known already.
    #[must_use]
    pub fn after(&self, boot: &Boot, machine: &Machine, rules: Rules) -> Self {
        let mut after = self.clone();
        if after.boots.iter().any(|known| known.at.duration_since(boot.at).abs() <= SAME) {
            return after;
        }
        let well = became_healthy(machine);
        let first = boot.at.checked_sub(SignedDuration::from_secs(rules.within_s.into())).unwrap_or(Timestamp::MIN);
        after.boots.retain(|known| known.at > first && well.is_none_or(|well| known.at > well));
        if well.is_none_or(|well| boot.at > well) {
            after.boots.push(boot.clone());
        }
        let most = usize::try_from(rules.boots.min(BOOTS_MAX)).unwrap_or(usize::MAX);
        after.boots.drain(..after.boots.len().saturating_sub(most));
        if self.hold(machine).is_none() {
            after.held = after.boots.first().filter(|_| after.boots.len() >= most).map(|first| {
                let minutes = boot.at.duration_since(first.at).as_secs().div_euclid(60);
                let why = format!("{most} boots of {} within {minutes} min, and it never became healthy", boot.image);
                Hold { since: boot.at, why }
            });
        }
        after
    }

    /// Whether the machine is held: not any more when it became healthy since, whatever it booted.
    #[must_use]
    pub fn hold(&self, machine: &Machine) -> Option<&Hold> {
        self.held.as_ref().filter(|hold| became_healthy(machine).is_none_or(|well| well < hold.since))
    }
}

/// When a machine became healthy last.
fn became_healthy(machine: &Machine) -> Option<Timestamp> {
    if machine.state.name == State::Healthy {
        return Some(machine.state.since);
    }
    machine.history.iter().rev().find(|passage| passage.to == State::Healthy).map(|passage| passage.at)
}

/// What a server saw of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum What {
    /// It was told what to boot.
    Told {
        /// An image, `disk`, or null: nobody said yet.
        boots: Option<String>,
    },
    /// It was told to wait, because it is held.
    Held,
    /// It got the kernel of an image whole: by iPXE, after all other files.
    Kernel {
        /// Which image.
        image: String,
    },
    /// It got an image whole, as one file for UEFI.
    OneFile {
        /// Which image.
        image: String,
    },
}

/// Something that a server saw, once or several times without anything else between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// How often.
    pub times: u32,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a server saw of machines, by serial number.
#[derive(Clone, Debug, Default)]
pub struct Timelines {
    machines: BTreeMap<String, VecDeque<Event>>,
}

impl Timelines {
    /// Something was seen.
    pub fn saw(&mut self, now: Timestamp, serial: &str, what: What) {
        if !self.machines.contains_key(serial) && self.machines.len() >= MACHINES_MAX {
            let oldest = self.machines.iter().min_by_key(|(_, events)| events.back().map(|event| event.last));
            if let Some(serial) = oldest.map(|(serial, _)| serial.clone()) {
                self.machines.remove(&serial);
            }
        }
        let events = self.machines.entry(serial.to_owned()).or_default();
        if let Some(last) = events.back_mut().filter(|last| last.what == what) {
            (last.last, last.times) = (now, last.times.saturating_add(1));
            return;
        }
        events.push_back(Event { first: now, last: now, times: 1, what });
        if events.len() > EVENTS_MAX {
            events.pop_front();
        }
    }

    /// What was seen of a machine, oldest first.
    pub fn of(&self, serial: &str) -> impl Iterator<Item = &Event> {
        self.machines.get(serial).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::state::{self, Wish};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn machine(states: &[(State, i64)]) -> Machine {
        let mut machine = crate::inventory::tests::machine("N1", 0, 4);
        for (to, second) in states {
            state::change(&mut machine, Wish { to: *to, reason: "r", by: "b", at: at(*second) }).unwrap();
        }
        machine
    }

    const RULES: Rules = Rules { boots: 3, within_s: 600 };

    fn booted(machine: &Machine, seconds: &[i64]) -> Attempts {
        seconds.iter().fold(Attempts::default(), |attempts, second| {
            attempts.after(&Boot { at: at(*second), image: "a".to_owned() }, machine, RULES)
        })
    }

    #[test]
    fn too_many_boots_without_becoming_healthy_hold_a_machine() {
        let one = machine(&[]);
        assert_eq!(booted(&one, &[100, 200]).hold(&one), None);
        let held = booted(&one, &[100, 200, 340]);
        let why = "3 boots of a within 4 min, and it never became healthy";
        assert_eq!(held.hold(&one), Some(&Hold { since: at(340), why: why.to_owned() }));
        // Slowly enough is no loop.
        assert_eq!(booted(&one, &[100, 500, 800, 1_200, 1_500]).hold(&one), None);
        // What it still boots changes nothing of the hold.
        let more = held.after(&Boot { at: at(400), image: "b".to_owned() }, &one, RULES);
        assert_eq!(more.hold(&one).map(|hold| hold.since), Some(at(340)));
    }

    #[test]
    fn files_asked_twice_and_an_answer_that_was_lost_are_one_boot() {
        let one = machine(&[]);
        assert_eq!(booted(&one, &[100, 103, 100, 105, 200, 204]).boots.len(), 2);
    }

    #[test]
    fn who_becomes_healthy_begins_anew() {
        let well = machine(&[(State::Healthy, 250), (State::Unhealthy, 260)]);
        assert_eq!(booted(&well, &[100, 200, 300, 400]).hold(&well), None);
        assert_eq!(booted(&well, &[300, 400, 500]).hold(&well).map(|hold| hold.since), Some(at(500)));
        // A boot that is told late, when it has succeeded already.
        assert_eq!(booted(&machine(&[(State::Healthy, 250)]), &[200]).boots, []);
        // Held, and healthy by other means: by its disk.
        let held = booted(&machine(&[]), &[100, 200, 300]);
        assert_eq!(held.hold(&machine(&[(State::Healthy, 900)])), None);
    }

    #[test]
    fn rules_that_mean_nothing_are_refused() {
        assert!(Rules { boots: 1, ..RULES }.check().unwrap_err().contains("boot.loops.boots"));
        assert!(Rules { boots: 33, ..RULES }.check().is_err() && Rules { within_s: 0, ..RULES }.check().is_err());
        assert_eq!(Rules::default().check(), Ok(()));
    }

    #[test]
    fn a_timeline_is_short_and_the_oldest_machine_is_forgotten() {
        let mut timelines = Timelines::default();
        let told = What::Told { boots: None };
        for second in 0..10 {
            timelines.saw(at(second), "N1", told.clone());
        }
        let events: Vec<&Event> = timelines.of("N1").collect();
        assert_eq!(events, [&Event { first: at(0), last: at(9), times: 10, what: told.clone() }]);
        for second in 10..100 {
            let what = if second % 2 == 0 { told.clone() } else { What::Held };
            timelines.saw(at(second), "N1", what);
        }
        assert_eq!(timelines.of("N1").count(), EVENTS_MAX);
        for number in 0..MACHINES_MAX {
            timelines.saw(at(200), &format!("M{number}"), What::Held);
        }
        assert_eq!((timelines.machines.len(), timelines.of("N1").count()), (MACHINES_MAX, 0));
        let shown = serde_json::to_value(timelines.of("M0").next()).unwrap();
        assert_eq!((&shown["what"], &shown["times"]), (&serde_json::json!("held"), &serde_json::json!(1)));
    }
}
