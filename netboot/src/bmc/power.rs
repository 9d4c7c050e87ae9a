//! From a wish to a machine that is on or off: soft, then hard, and done only when the controller has said so for a while.
//!
//! ```text
//!            is off                        is on
//!   on    ── press on ─────────────────▶ [steady] ─▶ done
//!   off   ── press soft ─ soft_off ─▶ press hard ─ hard_off ─▶ [steady] ─▶ done
//!   restart = off, then on; cycle = hard off, then on
//! ```
//!
//! A controller may say a state too early, press nothing and say that it did, or be away for minutes: a press is never taken for its effect.
//! Times count from any moment, as [`Duration`]s. What another server needs to go on is its [`Phase`]: it asks the controller first, and gives
//! the last press its whole time again, because nobody knows how much of it is over.

use super::{Power, Press, Trouble};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Presses of one kind before a wish is given up.
pub const PRESSES_MAX: u32 = 3;
/// Between two looks at a state that is to change.
const LOOK: Duration = Duration::from_secs(2);
/// Between two tries to reach a controller that does not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// A controller that did not answer a press may have pressed: its effect is waited for this long, then it is pressed again.
const DOUBT: Duration = Duration::from_secs(10);
/// No wish is given up sooner: another server may have to take it over.
const LONGEST_MIN: Duration = Duration::from_secs(60);

/// What somebody wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Power.
    On,
    /// No power.
    Off,
    /// Off, then on; a machine that is off is turned on.
    Restart,
    /// The same, without asking its operating system.
    Cycle,
}

impl Wish {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Restart => "restart",
            Self::Cycle => "cycle",
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long a model takes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Times {
    /// From asking the operating system to no power; then its power is taken.
    pub soft_off_s: u64,
    /// From taking its power to a controller that says so.
    pub hard_off_s: u64,
    /// From giving it power to a controller that says so.
    pub on_s: u64,
    /// For which a state must stay before it is believed.
    pub steady_s: u64,
    /// For which a controller may be away, as when it starts anew.
    pub away_s: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { soft_off_s: 120, hard_off_s: 30, on_s: 60, steady_s: 3, away_s: 180 }
    }
}

impl Times {
    /// After which a wish is given up, wherever it is: every press as often as it is made, and a controller that is away twice.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let presses = u64::from(PRESSES_MAX) * (self.hard_off_s + self.on_s);
        Duration::from_secs(self.soft_off_s + presses + 2 * (self.steady_s + self.away_s)).max(LONGEST_MIN)
    }

    const fn of(&self, press: Press) -> Duration {
        Duration::from_secs(match press {
            Press::On => self.on_s,
            Press::SoftOff => self.soft_off_s,
            Press::HardOff => self.hard_off_s,
        })
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask the controller for the state.
    Read,
    /// Press a button.
    Press(Press),
    /// Nothing before this time.
    Wait(Duration),
    /// It is over: see [`Task::end`].
    End,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine is as wished; what had to be done for it.
    Done,
    /// It is not, or nobody knows.
    Failed(String),
}

/// A wish under way.
#[derive(Clone, Debug)]
pub struct Task {
    wish: Wish,
    hard: bool,
    times: Times,
    /// What is wanted now: the first half of a restart wants off.
    goal: Goal,
    act: Act,
    /// The last press, and when its effect is no longer waited for.
    pressed: Option<(Pressed, Duration)>,
    /// Since when the state is the wanted one.
    steady: Option<Duration>,
    /// Since when there was no answer.
    away: Option<Duration>,
    /// Whether the controller can ask an operating system to shut down, as far as is known.
    soft: bool,
    power: Option<Power>,
    says: String,
    end: Option<End>,
}

/// What a wish wants of the machine at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Power.
    On,
    /// None.
    Off,
}

/// The last press.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pressed {
    /// Which.
    pub press: Press,
    /// The how manieth of its kind.
    pub count: u32,
    /// Whether the controller answered; otherwise it may have been pressed, or not.
    pub answered: bool,
}

/// Where a wish is, as far as another server must know it to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// What is wanted at the moment.
    pub goal: Goal,
    /// Whether the controller can ask an operating system to shut down, as far as is known.
    pub soft: bool,
    /// The last press for this goal.
    pub pressed: Option<Pressed>,
}

impl Phase {
    /// Of a wish that nobody has begun.
    #[must_use]
    pub const fn first(wish: Wish) -> Self {
        let goal = match wish {
            Wish::On => Goal::On,
            Wish::Off | Wish::Restart | Wish::Cycle => Goal::Off,
        };
        Self { goal, soft: true, pressed: None }
    }
}

impl Goal {
    const fn power(self) -> Power {
        match self {
            Self::On => Power::On,
            Self::Off => Power::Off,
        }
    }
}

impl Task {
    /// Begins; `hard`: without asking the operating system.
    #[must_use]
    pub fn new(wish: Wish, hard: bool, times: Times) -> Self {
        Self::resume(wish, hard, times, Phase::first(wish), Duration::ZERO)
    }

    /// Goes on where somebody else was.
    #[must_use]
    pub fn resume(wish: Wish, hard: bool, times: Times, phase: Phase, now: Duration) -> Self {
        let until = |pressed: Pressed| match pressed.answered {
            true => now + times.of(pressed.press),
            false => now + DOUBT.min(times.of(pressed.press)),
        };
        Self {
            wish,
            hard: hard || wish == Wish::Cycle,
            times,
            goal: phase.goal,
            act: Act::Read,
            pressed: phase.pressed.map(|pressed| (pressed, until(pressed))),
            steady: None,
            away: None,
            soft: phase.soft,
            power: None,
            says: "asks for its state".to_owned(),
            end: None,
        }
    }

    /// The same, with a controller that turned out to know no soft power-off.
    #[must_use]
    pub fn without_soft(self) -> Self {
        Self { soft: false, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase { goal: self.goal, soft: self.soft, pressed: self.pressed.map(|(pressed, _)| pressed) }
    }

    /// What was wished.
    #[must_use]
    pub const fn wish(&self) -> Wish {
        self.wish
    }

    /// Whether its operating system is not asked.
    #[must_use]
    pub const fn is_hard(&self) -> bool {
        self.hard
    }

    /// Where it is, in words.
    #[must_use]
    pub fn says(&self) -> &str {
        &self.says
    }

    /// The last state that the controller said.
    #[must_use]
    pub const fn power(&self) -> Option<Power> {
        self.power
    }

    /// How it ended, if it did.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether the controller turned out to know no soft power-off.
    #[must_use]
    pub const fn knows_soft(&self) -> bool {
        self.soft
    }

    /// Somebody does not want to wait for the operating system any more.
    pub fn harden(&mut self) {
        self.hard = true;
        if let Some((Pressed { press: Press::SoftOff, .. }, until)) = &mut self.pressed {
            *until = Duration::ZERO;
            self.act = Act::Read;
        }
    }

    /// The press that is due was not made: it comes again when the state was asked for anew.
    pub fn hold(&mut self, now: Duration, before: Phase, why: String) {
        if !matches!(self.act, Act::Press(_)) {
            return;
        }
        // When the goal changed with it, the next look changes it again.
        self.goal = before.goal;
        self.pressed = before.pressed.map(|pressed| (pressed, now));
        self.says = why;
        self.act = Act::Wait(now + LOOK);
    }

    /// Ends it, wherever it is.
    pub fn give_up(&mut self, why: String) {
        if self.end.is_none() {
            self.fail(why);
        }
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self, now: Duration) -> Act {
        match self.act {
            _ if self.end.is_some() => Act::End,
            Act::Wait(until) if until <= now => Act::Read,
            act @ (Act::Read | Act::Press(_) | Act::Wait(_) | Act::End) => act,
        }
    }

    /// The controller said a state, or why not.
    pub fn on_state(&mut self, now: Duration, heard: Result<Power, Trouble>) {
        let power = match heard {
            Ok(power) => power,
            Err(trouble) => return self.on_trouble(now, &trouble),
        };
        self.away = None;
        self.power = Some(power);
        if power == self.goal.power() {
            return self.on_goal(now);
        }
        self.steady = None;
        let Some(press) = self.due(now) else {
            self.act = Act::Wait(now + LOOK);
            return;
        };
        let before = self.pressed.filter(|(last, _)| last.press == press).map_or(0, |(last, _)| last.count);
        if before >= PRESSES_MAX {
            let what = words(press);
            self.fail(format!("it is {power} after {before} times {what}"));
            return;
        }
        // A press whose answer never comes counts too.
        let pressed = Pressed { press, count: before + 1, answered: false };
        self.pressed = Some((pressed, now + DOUBT.min(self.times.of(press))));
        self.says = format!("is {power}: {}", words(press));
        self.act = Act::Press(press);
    }

    /// The controller took a press, or did not.
    pub fn on_pressed(&mut self, now: Duration, heard: Result<(), Trouble>) {
        let Act::Press(press) = self.act else { return };
        self.act = Act::Wait(now + LOOK.min(self.times.of(press)));
        match heard {
            Ok(()) => {
                self.pressed = self.pressed.map(|(pressed, _)| (pressed, now + self.times.of(press)));
                self.answered();
                self.says = format!("{}: taken", words(press));
            }
            Err(Trouble::Unsupported(why)) if press == Press::SoftOff => {
                self.soft = false;
                self.pressed = None;
                self.says = format!("knows no soft power-off ({why})");
                self.act = Act::Read;
            }
            // It says the same of a machine that is off already, and of one that is on its way.
            Err(Trouble::Refused(why)) => {
                self.answered();
                self.says = format!("{}: refused ({why})", words(press));
            }
            Err(trouble) => self.on_trouble(now, &trouble),
        }
    }

    const fn answered(&mut self) {
        if let Some((pressed, _)) = &mut self.pressed {
            pressed.answered = true;
        }
    }

    /// The press that is due, unless the last one may still have its effect.
    fn due(&self, now: Duration) -> Option<Press> {
        let first = match self.goal {
            Goal::On => Press::On,
            Goal::Off if self.hard || !self.soft => Press::HardOff,
            Goal::Off => Press::SoftOff,
        };
        let Some((last, until)) = self.pressed else { return Some(first) };
        if now < until {
            return None;
        }
        match last.press {
            // One that may never have come to the machine is made again: its operating system is owed its time.
            Press::SoftOff if first == Press::SoftOff && !last.answered && last.count < PRESSES_MAX => Some(first),
            Press::SoftOff => Some(Press::HardOff),
            press @ (Press::On | Press::HardOff) => Some(press),
        }
    }

    /// It is as wanted; for long enough?
    fn on_goal(&mut self, now: Duration) {
        let since = *self.steady.get_or_insert(now);
        let steady = Duration::from_secs(self.times.steady_s);
        if now < since + steady {
            self.says = format!("is {}: for how long?", self.goal.power());
            self.act = Act::Wait(now + LOOK.min(since + steady - now));
            return;
        }
        if self.goal == Goal::Off && self.wish != Wish::Off {
            self.goal = Goal::On;
            (self.pressed, self.steady) = (None, None);
            // As far as it is known it is off: press now.
            self.on_state(now, Ok(Power::Off));
            return;
        }
        self.says = format!("is {}", self.goal.power());
        self.end = Some(End::Done);
    }

    fn on_trouble(&mut self, now: Duration, trouble: &Trouble) {
        match trouble {
            Trouble::Silent(_) | Trouble::Refused(_) => {
                let since = *self.away.get_or_insert(now);
                if now >= since + Duration::from_secs(self.times.away_s) {
                    self.fail(format!("{trouble}; whether the machine is {} is not known", self.goal.power()));
                    return;
                }
                self.says = trouble.to_string();
                self.act = Act::Wait(now + AGAIN);
            }
            Trouble::Unsupported(_) | Trouble::Credentials(_) | Trouble::Untrusted(_) | Trouble::Absent(_) => {
                self.fail(trouble.to_string());
            }
        }
    }

    fn fail(&mut self, why: String) {
        self.says.clone_from(&why);
        self.end = Some(End::Failed(why));
    }
}

const fn words(press: Press) -> &'static str {
    match press {
        Press::On => "power on",
        Press::SoftOff => "soft power-off",
        Press::HardOff => "hard power-off",
    }
}

#[cfg(test)]
#[path = "power/tests.rs"]
pub(super) mod tests;
