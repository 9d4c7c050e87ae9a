//! Another image for a role, some machines first: who is chosen, how they fare, and the way back. Pure: machines and times are arguments.
//!
//! ```text
//!   role ── pin ──▶ image 1 ── canary image 2, 10 % ──▶ well? ── promote ──▶ image 2 ── rollback ──▶ image 1
//!                      ▲                                  └── failed: held, promoted by force alone
//!                      └───────────── rollback ──────────────┘
//! ```
//!
//! What is known of machines is their states, which all servers share: nobody has to have seen a machine boot. One that was healthy when the
//! canary began, left that state and did not come back within a time, failed; what was not healthy before says nothing of an image.

use super::{Boots, Choice, PINS_MAX};
use crate::error::{Kind, Refusal};
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What roles booted before, all roles together; the oldest are forgotten.
pub const HISTORY_MAX: usize = 128;
/// How long a machine may take to become healthy again, in seconds, unless somebody says otherwise.
pub const WITHIN_S: u32 = 900;
/// Roles with a canary at a time.
const CANARIES_MAX: usize = 64;
/// Machines named in a refusal.
const NAMED_MAX: usize = 5;

/// What some machines of a role boot before the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// What they boot.
    pub to: Choice,
    /// How many of a hundred machines, 1 to 100. Who is chosen stays chosen when it grows.
    pub percent: u8,
    /// How long one of them may be anything but healthy, in seconds.
    #[serde(default = "within")]
    pub within_s: u32,
    /// When it began; what was healthy then is judged.
    pub since: Timestamp,
}

const fn within() -> u32 {
    WITHIN_S
}

impl Canary {
    /// Whether a machine is chosen: by its serial number and the image, so that it is not always the same ones that try.
    #[must_use]
    pub fn has(&self, serial: &str) -> bool {
        let sum = digest(&SHA256, format!("{serial}\n{}", self.to).as_bytes());
        let four = sum.as_ref().iter().take(4).fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        // Of 2^32 the first hundredths.
        four * 100 < u64::from(self.percent) << 32
    }

    /// How a machine fares with it.
    #[must_use]
    pub fn trial(&self, machine: &Machine, now: Timestamp) -> Trial {
        let state = &machine.state;
        match state.name {
            State::Healthy if state.since > self.since => Trial::Well,
            State::Healthy => Trial::Waiting,
            State::Uninitialized | State::Unhealthy | State::Unreachable => {
                let left = machine.history.iter().rev().find(|passage| passage.from == State::Healthy);
                match left.map(|passage| passage.at) {
                    Some(at) if at < self.since => Trial::Aside,
                    Some(at) if now.duration_since(at) > SignedDuration::from_secs(self.within_s.into()) => {
                        Trial::Failed
                    }
                    Some(_) => Trial::Trying,
                    None => Trial::Aside,
                }
            }
            State::Updating | State::Retiring | State::Retired => Trial::Aside,
        }
    }
}

/// How a chosen machine fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trial {
    /// It is as it was: it did not boot since.
    Waiting,
    /// It left its healthy state not long ago.
    Trying,
    /// It came back healthy.
    Well,
    /// It did not.
    Failed,
    /// It was not healthy when the canary began, or is being updated or leaves.
    Aside,
}

impl Trial {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Trying, Self::Well, Self::Failed, Self::Aside];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Trying => "trying",
            Self::Well => "well",
            Self::Failed => "failed",
            Self::Aside => "aside",
        }
    }
}

/// Something that a role booted before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// Which role.
    pub role: String,
    /// What; null = as everybody else.
    pub to: Option<Choice>,
}

/// Why somebody boots what he boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is said of this machine.
    Machine,
    /// Its role has a canary, and it is chosen.
    Canary,
    /// It is said of its role.
    Role,
    /// It is what everybody else boots.
    Rest,
}

impl Boots {
    /// What a machine boots, or one that nobody knows, and why.
    #[must_use]
    pub fn choice_and_why(&self, machine: Option<&Machine>) -> Option<(&Choice, Why)> {
        let rest = self.rest.as_ref().map(|choice| (choice, Why::Rest));
        let Some(machine) = machine else { return rest };
        if let Some(own) = self.machines.get(&machine.serial) {
            return Some((own, Why::Machine));
        }
        if let Some(canary) = self.canaries.get(&machine.role).filter(|canary| canary.has(&machine.serial)) {
            return Some((&canary.to, Why::Canary));
        }
        self.roles.get(&machine.role).map(|choice| (choice, Why::Role)).or(rest)
    }

    pub(super) fn begin_canary(&mut self, role: &str, canary: &Canary) -> Result<(), Refusal> {
        if canary.percent == 0 || canary.percent > 100 {
            let rule = "1 to 100; `image rollback` ends a canary";
            return Err(Refusal::invalid("percent", canary.percent.to_string(), rule));
        }
        if canary.within_s == 0 {
            return Err(Refusal::invalid("within_s", "0 is no time", "1 or more seconds"));
        }
        self.is_there(&canary.to)?;
        if self.roles.get(role) == Some(&canary.to) {
            let message = format!("all machines of the role {role} boot `{}`", canary.to);
            return Err(Refusal::conflict("to", message, "a canary is another image"));
        }
        let before = self.canaries.get(role).filter(|before| before.to == canary.to);
        // One that grows goes on: who was judged stays judged.
        let since = before.map_or(canary.since, |before| before.since);
        self.canaries.insert(role.to_owned(), Canary { since, ..canary.clone() });
        if self.canaries.len() > CANARIES_MAX {
            let rule = format!("at most {CANARIES_MAX}: promote or roll back one");
            return Err(Refusal::conflict("role", "one canary too many", rule).of(Kind::TooMuch));
        }
        Ok(())
    }

    pub(super) fn promote(&mut self, role: &str) -> Result<(), Refusal> {
        let canary = self.canaries.get(role).ok_or_else(|| no_canary(role))?;
        let to = canary.to.clone();
        self.set_role(role, Some(&to))
    }

    /// All machines of a role boot something: this ends its canary, and what they booted is remembered.
    pub(super) fn set_role(&mut self, role: &str, to: Option<&Choice>) -> Result<(), Refusal> {
        self.canaries.remove(role);
        let before = match to {
            Some(choice) => self.roles.insert(role.to_owned(), choice.clone()),
            None => self.roles.remove(role),
        };
        if before.as_ref() != to {
            self.history.push(Past { role: role.to_owned(), to: before });
            let forgotten = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..forgotten);
        }
        if self.roles.len() > PINS_MAX {
            let rule = format!("at most {PINS_MAX}: say it of everybody else");
            return Err(Refusal::conflict("whom", "one pin too many", rule).of(Kind::TooMuch));
        }
        Ok(())
    }

    /// What a rollback of a role would undo: its canary, else what all its machines boot.
    #[must_use]
    pub fn undone(&self, role: &str) -> Option<&Choice> {
        self.canaries.get(role).map(|canary| &canary.to).or_else(|| self.roles.get(role))
    }

    pub(super) fn roll_back(&mut self, role: &str, of: Option<&Choice>) -> Result<(), Refusal> {
        if self.undone(role) != of {
            let now = self.undone(role).map_or_else(|| "nothing of its own".to_owned(), |choice| format!("`{choice}`"));
            let message = format!("the role {role} has {now} meanwhile");
            return Err(Refusal::conflict("of", message, "look at `image pins` and say it again"));
        }
        if self.canaries.remove(role).is_some() {
            return Ok(());
        }
        let Some(at) = self.history.iter().rposition(|past| past.role == role) else {
            let rule = "`image pin` says what it boots";
            return Err(Refusal::conflict("role", format!("nothing is known that {role} booted before"), rule));
        };
        match self.history.remove(at).to {
            Some(choice) => drop(self.roles.insert(role.to_owned(), choice)),
            None => drop(self.roles.remove(role)),
        }
        Ok(())
    }
}

fn no_canary(role: &str) -> Refusal {
    Refusal::conflict(
        "role",
        format!("the role {role} has no canary"),
        "begin one: `image pin IMAGE --role ROLE --canary 10%`",
    )
}

/// Whether the canary of a role may grow or be promoted.
///
/// # Errors
/// When a machine failed with it: names some.
pub fn may_go_on<'m>(
    boots: &Boots,
    role: &str,
    machines: impl Iterator<Item = &'m Arc<Machine>>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(canary) = boots.canaries.get(role) else { return Ok(()) };
    let failed: Vec<&str> = machines
        .filter(|machine| matches!(boots.choice_and_why(Some(machine)), Some((_, Why::Canary))) && machine.role == role)
        .filter(|machine| canary.trial(machine, now) == Trial::Failed)
        .map(|machine| machine.serial.as_str())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = failed.iter().copied().take(NAMED_MAX).collect();
    let message = format!(
        "the canary {} of {role} is held: {} did not become healthy within {} s: {}",
        canary.to,
        failed.len(),
        canary.within_s,
        named.join(", ")
    );
    Err(Refusal::conflict("role", message, "`image rollback --role ROLE`, or go on with --force"))
}

/// A role, and what its machines boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    /// Which.
    pub role: String,
    /// What its machines boot; null = as everybody else.
    pub to: Option<Choice>,
    /// Machines of it that have nothing of their own.
    pub machines: usize,
    /// What they booted before, the last first.
    pub before: Vec<Option<Choice>>,
    /// What some of them try.
    pub canary: Option<Trials>,
}

/// A canary, and how its machines fare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trials {
    /// What it is.
    #[serde(flatten)]
    pub canary: Canary,
    /// Who was chosen, by serial number.
    pub machines: Vec<Tried>,
    /// Why it must not go on; null = nothing is known against it.
    pub held: Option<String>,
}

/// A chosen machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// Its serial number.
    pub serial: String,
    /// How it fares.
    pub trial: Trial,
    /// Its state.
    pub state: State,
    /// Since when it has that.
    pub since: Timestamp,
}

/// All roles that have something of their own.
#[must_use]
pub fn rollouts<'m>(
    boots: &Boots,
    machines: impl Iterator<Item = &'m Arc<Machine>> + Clone,
    now: Timestamp,
) -> Vec<Rollout> {
    let mut roles: Vec<&String> = boots.roles.keys().chain(boots.canaries.keys()).collect();
    roles.sort_unstable();
    roles.dedup();
    let one = |role: &String| {
        let of = || {
            machines.clone().filter(|machine| machine.role == *role && !boots.machines.contains_key(&machine.serial))
        };
        let before = boots.history.iter().rev().filter(|past| past.role == *role).map(|past| past.to.clone()).collect();
        let canary = boots.canaries.get(role).map(|canary| {
            let tried = |machine: &Arc<Machine>| Tried {
                serial: machine.serial.clone(),
                trial: canary.trial(machine, now),
                state: machine.state.name,
                since: machine.state.since,
            };
            let held = may_go_on(boots, role, machines.clone(), now).err().map(|refusal| refusal.message);
            let machines = of().filter(|machine| canary.has(&machine.serial)).map(tried).collect();
            Trials { canary: canary.clone(), machines, held }
        });
        Rollout { role: role.clone(), to: boots.roles.get(role).cloned(), machines: of().count(), before, canary }
    };
    roles.into_iter().map(one).collect()
}

/// Why canaries must not go on, of all roles.
#[must_use]
pub fn held<'m>(
    boots: &Boots,
    machines: impl Iterator<Item = &'m Arc<Machine>> + Clone,
    now: Timestamp,
) -> Vec<String> {
    let roles = boots.canaries.keys();
    roles
        .filter_map(|role| may_go_on(boots, role, machines.clone(), now).err().map(|refusal| refusal.message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Blob, Change, Digest, Image, Whom};
    use super::*;
    use crate::inventory::state::{self, Wish};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn canary(percent: u8) -> Canary {
        Canary { to: "b".to_owned().into(), percent, within_s: 100, since: at(1_000) }
    }

    fn boots() -> Boots {
        let kernel = Blob { sha256: Digest::of(&[1; 32]), bytes: 1 };
        let image = Image { kernel, initrds: Vec::new(), cmdline: String::new(), start: None };
        let mut boots = Boots::default();
        for name in ["a", "b", "c"] {
            boots = boots.after(&Change::Add { name: name.to_owned(), image: image.clone() }).unwrap();
        }
        boots.after(&pin("a")).unwrap()
    }

    fn pin(to: &str) -> Change {
        Change::Pin { whom: Whom::Role("cs".to_owned()), to: Some(to.to_owned().into()) }
    }

    fn begin(percent: u8) -> Change {
        Change::Canary { role: "cs".to_owned(), canary: canary(percent), force: false }
    }

    fn back(of: &str) -> Change {
        Change::Rollback { role: "cs".to_owned(), of: Some(of.to_owned().into()) }
    }

    fn machine(serial: &str, states: &[(State, i64)]) -> Arc<Machine> {
        let mut machine = crate::inventory::tests::machine(serial, 0, 4);
        "cs".clone_into(&mut machine.role);
        machine.state.since = at(0);
        for (to, second) in states {
            state::change(&mut machine, Wish { to: *to, reason: "r", by: "b", at: at(*second) }).unwrap();
        }
        Arc::new(machine)
    }

    fn says(boots: &Boots) -> Option<String> {
        boots.roles.get("cs").map(ToString::to_string)
    }

    #[test]
    fn a_percentage_is_about_so_many_and_who_is_chosen_stays() {
        let serials: Vec<String> = (0..10_000).map(|number| format!("SN{number:05}")).collect();
        let mut before: Vec<&String> = Vec::new();
        for percent in [1, 10, 50, 100] {
            let chosen: Vec<&String> = serials.iter().filter(|serial| canary(percent).has(serial)).collect();
            let wanted = usize::from(percent) * 100;
            // Four times the deviation of as many throws.
            assert!(chosen.len().abs_diff(wanted) <= 200, "{percent} %: {}", chosen.len());
            assert!(before.iter().all(|serial| chosen.contains(serial)), "{percent} %");
            before = chosen;
        }
        assert_eq!(before.len(), 10_000, "all of them");
        let other = Canary { to: "c".to_owned().into(), ..canary(10) };
        assert!(serials.iter().any(|serial| other.has(serial) && !canary(10).has(serial)), "not always the same ones");
    }

    #[test]
    fn what_was_well_before_is_judged_by_its_way_back() {
        use State::{Healthy, Unhealthy, Unreachable};
        for (states, now, trial) in [
            (&[(Healthy, 500)][..], 2_000, Trial::Waiting),
            (&[(Healthy, 500), (Unhealthy, 1_100)], 1_150, Trial::Trying),
            (&[(Healthy, 500), (Unhealthy, 1_100), (Unreachable, 1_190)], 1_201, Trial::Failed),
            (&[(Healthy, 500), (Unhealthy, 1_100), (Unreachable, 1_190), (Healthy, 1_195)], 1_300, Trial::Well),
            // Dead before, or never well: it says nothing of an image; and when it comes, it does.
            (&[(Healthy, 500), (Unreachable, 900)], 5_000, Trial::Aside),
            (&[], 5_000, Trial::Aside),
            (&[(Healthy, 1_700)], 5_000, Trial::Well),
        ] {
            assert_eq!(canary(10).trial(&machine("N1", states), at(now)), trial, "{states:?}");
        }
    }

    #[test]
    fn the_chosen_boot_it_until_it_is_promoted_or_rolled_back() {
        let boots = boots();
        let tries = boots.after(&begin(100)).unwrap();
        let one = machine("N1", &[]);
        let choice = |boots: &Boots| boots.choice_and_why(Some(&one)).map(|(choice, why)| (choice.to_string(), why));
        assert_eq!(choice(&boots), Some(("a".to_owned(), Why::Role)));
        assert_eq!(choice(&tries), Some(("b".to_owned(), Why::Canary)));
        let own = Change::Pin { whom: Whom::Machine("N1".to_owned()), to: Some("c".to_owned().into()) };
        assert_eq!(choice(&tries.after(&own).unwrap()), Some(("c".to_owned(), Why::Machine)));
        // What some try cannot be removed.
        assert!(tries.after(&Change::Remove { name: "b".to_owned() }).unwrap_err().message.contains("cs"));
        let ended = tries.after(&back("b")).unwrap();
        assert_eq!((says(&ended).as_deref(), ended.canaries.len()), (Some("a"), 0));
        let promote = Change::Promote { role: "cs".to_owned(), force: false };
        let all = tries.after(&promote).unwrap();
        assert_eq!((says(&all).as_deref(), all.canaries.len()), (Some("b"), 0));
        assert!(all.after(&promote).unwrap_err().message.contains("no canary"));
        let undone = all.after(&back("b")).unwrap();
        assert_eq!(says(&undone).as_deref(), Some("a"));
        // To before anything was said, and no further.
        let first = undone.after(&back("a")).unwrap();
        assert_eq!(says(&first), None);
        let none = Change::Rollback { role: "cs".to_owned(), of: None };
        assert!(first.after(&none).unwrap_err().message.contains("nothing is known"));
    }

    #[test]
    fn a_rollback_undoes_what_was_seen_and_nothing_else() {
        let two = boots().after(&pin("b")).unwrap();
        assert!(two.after(&back("a")).unwrap_err().message.contains("has `b` meanwhile"));
        // What is gone cannot be gone back to.
        let gone = two.after(&pin("c")).unwrap().after(&Change::Remove { name: "b".to_owned() }).unwrap();
        assert_eq!(says(&gone.after(&back("c")).unwrap()).as_deref(), Some("a"));
        let mut many = two;
        for turn in 0..2 * HISTORY_MAX {
            many = many.after(&pin(if turn % 2 == 0 { "a" } else { "b" })).unwrap();
        }
        assert_eq!(many.history.len(), HISTORY_MAX);
    }

    #[test]
    fn one_that_failed_holds_it() {
        let boots = boots().after(&begin(100)).unwrap();
        let failed = machine("N2", &[(State::Healthy, 500), (State::Unhealthy, 1_100)]);
        let all = [machine("N1", &[(State::Healthy, 1_100)]), failed];
        assert_eq!(may_go_on(&boots, "cs", all.iter(), at(1_150)), Ok(()));
        let held = may_go_on(&boots, "cs", all.iter(), at(1_300)).unwrap_err();
        assert!(held.message.ends_with("1 did not become healthy within 100 s: N2"), "{held}");
        let shown = rollouts(&boots, all.iter(), at(1_300));
        let canary = shown[0].canary.as_ref().unwrap();
        let trials: Vec<Trial> = canary.machines.iter().map(|tried| tried.trial).collect();
        assert_eq!((shown.len(), shown[0].machines, trials), (1, 2, vec![Trial::Well, Trial::Failed]));
        assert!(canary.held.is_some());
        for percent in [0, 101] {
            assert_eq!(boots.after(&begin(percent)).unwrap_err().field, "percent");
        }
        // Who grows is judged from when it began.
        let grown = Change::Canary {
            role: "cs".to_owned(),
            canary: Canary { since: at(9_000), ..canary_of(&boots) },
            force: false,
        };
        assert_eq!(canary_of(&boots.after(&grown).unwrap()).since, at(1_000));
    }

    fn canary_of(boots: &Boots) -> Canary {
        boots.canaries["cs"].clone()
    }
}
