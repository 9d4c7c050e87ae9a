//! A wish as the store keeps it, and as the server that has it drives it: what is to be pressed is stored before it is pressed.
//!
//! ```text
//!   Drive ── Read ──▶ controller        Drive ── Save ──▶ store (compare-and-swap on the wish's entry)
//!         ── Press ─▶ controller              ◀─ Kept: press · Changed: harder, or of another server · Away: press nothing, ask again later
//! ```
//!
//! A server that cannot store presses nothing. One whose wish another server has taken stops.

use super::duty::TRUST;
use super::power::{self, End, Phase, Task, Times};
use super::{Power, Press, Trouble};
use crate::store::Revision;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use super::power::Wish;

/// Where wishes are, by serial number.
pub const WISHES: &str = "wishes/";
/// Steps of a wish that are kept: all of one server's, and those of some that took it over. The oldest goes first.
const STEPS_MAX: usize = 24;
/// Signs of what a step says: the words of a controller can be longer.
const SAYS_MAX: usize = 300;
/// Wait before a store that is away is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What.
    pub wish: Wish,
    /// Without asking the operating system.
    pub hard: bool,
    /// By whom.
    pub who: String,
    /// When it was wished.
    pub since: Timestamp,
    /// When it is given up.
    pub until: Timestamp,
    /// The server that has it; `None` = the last one gave it away.
    pub server: Option<String>,
    /// Where it is.
    pub phase: Phase,
    /// What was done, oldest first.
    pub steps: Vec<Step>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Ended>,
}

/// What was done for a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When, by the clock of the server.
    pub at: Timestamp,
    /// By which server.
    pub server: String,
    /// What.
    pub says: String,
}

/// The end of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Whether the machine is as wished.
    pub well: bool,
}

impl Record {
    /// A new one, of this server.
    #[must_use]
    pub fn new(wish: Wish, hard: bool, (who, server): (&str, &str), since: Timestamp, longest: Duration) -> Self {
        let longest = jiff::SignedDuration::try_from(longest).unwrap_or(jiff::SignedDuration::MAX);
        let (who, server) = (who.to_owned(), Some(server.to_owned()));
        let until = since.checked_add(longest).unwrap_or(Timestamp::MAX);
        let phase = Phase::first(wish);
        Self { wish, hard, who, since, until, server, phase, steps: Vec::new(), end: None }
    }

    /// Whether it is one and the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.since, self.wish, &self.who) == (other.since, other.wish, &other.who)
    }

    /// Whether this server has it, and it is not over.
    #[must_use]
    pub fn is_of(&self, server: &str) -> bool {
        self.end.is_none() && self.server.as_deref() == Some(server)
    }

    /// The last step, in words.
    #[must_use]
    pub fn says(&self) -> &str {
        self.steps.last().map_or("not begun", |step| &step.says)
    }

    /// The same with one more step.
    #[must_use]
    pub fn with_step(mut self, at: Timestamp, server: &str, says: &str) -> Self {
        let says: String = says.chars().take(SAYS_MAX).collect();
        if self.steps.last().is_none_or(|last| last.says != says) {
            self.steps.push(Step { at, server: server.to_owned(), says });
        }
        let over = self.steps.len().saturating_sub(STEPS_MAX);
        self.steps.drain(..over);
        self
    }

    /// The same, of another server or of none.
    #[must_use]
    pub fn handed(mut self, at: Timestamp, from: &str, to: Option<&str>, says: &str) -> Self {
        self.server = to.map(str::to_owned);
        self.with_step(at, to.unwrap_or(from), says)
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Store it: see [`Drive::draft`].
    Save,
    /// Ask the controller for the state.
    Read,
    /// Press a button.
    Press(Press),
    /// Nothing before this time.
    Wait(Duration),
    /// It is over, or somebody else has it.
    End,
}

/// How storing it ended.
#[derive(Clone, Debug)]
pub enum Saved {
    /// It is stored.
    Kept(Revision),
    /// It is another one in the store: this, or none.
    Changed(Option<(Record, Revision)>),
    /// The store does not answer; it has it or not.
    Away(String),
}

/// A wish that this server has.
#[derive(Clone, Debug)]
pub struct Drive {
    server: String,
    task: Task,
    /// As it is in the store, as far as is known.
    record: Record,
    modified: Revision,
    deadline: Duration,
    /// The store is not tried before.
    again: Duration,
    /// Nobody can have taken it before.
    trusted: Duration,
    lost: Option<String>,
}

impl Drive {
    /// Begins, or goes on where another one was. `wall` and `now` are the same moment; `soft`: whether the controller is believed to know a soft
    /// power-off.
    #[must_use]
    pub fn new(
        server: &str,
        (record, modified): (Record, Revision),
        (times, soft): (Times, bool),
        (wall, now): (Timestamp, Duration),
    ) -> Self {
        let mut task = Task::resume(record.wish, record.hard, times, record.phase, now);
        if !soft {
            task = task.without_soft();
        }
        // The clock of another server may be anything.
        let left = Duration::try_from(wall.duration_until(record.until)).unwrap_or_default().min(times.longest());
        let server = server.to_owned();
        Self {
            server,
            task,
            record,
            modified,
            deadline: now + left,
            again: Duration::ZERO,
            trusted: Duration::ZERO,
            lost: None,
        }
    }

    /// The wish as it was stored last.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// When it was stored last.
    #[must_use]
    pub const fn modified(&self) -> Revision {
        self.modified
    }

    /// Until when no other server can have taken it, as it was stored just before.
    #[must_use]
    pub const fn trusted(&self) -> Duration {
        self.trusted
    }

    /// Where it is, in words.
    #[must_use]
    pub fn says(&self) -> &str {
        self.lost.as_deref().unwrap_or_else(|| self.task.says())
    }

    /// How it ended, if this server saw it to its end.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.task.end().filter(|_| self.lost.is_none())
    }

    /// Whether the controller turned out to know no soft power-off.
    #[must_use]
    pub const fn knows_soft(&self) -> bool {
        self.task.knows_soft()
    }

    fn is_saved(&self) -> bool {
        self.record.phase == self.task.phase() && self.record.end.is_some() == self.task.end().is_some()
    }

    /// What to do now.
    pub fn next(&mut self, now: Duration) -> Act {
        if self.lost.is_some() {
            return Act::End;
        }
        if now >= self.deadline {
            let (goal, says) = (self.record.wish, self.task.says().to_owned());
            self.task.give_up(format!("{goal}: its time is over; the last was: {says}"));
        }
        let rests = now < self.again;
        match self.task.next(now) {
            power::Act::End if self.is_saved() => Act::End,
            power::Act::End if rests => Act::Wait(self.again),
            power::Act::Press(press) if self.is_saved() => Act::Press(press),
            power::Act::End | power::Act::Press(_) => Act::Save,
            power::Act::Read | power::Act::Wait(_) if !self.is_saved() && !rests => Act::Save,
            power::Act::Read => Act::Read,
            power::Act::Wait(until) => Act::Wait(until),
        }
    }

    /// What is to be stored, in place of what was stored at [`Drive::modified`].
    #[must_use]
    pub fn draft(&self, wall: Timestamp) -> Record {
        let mut draft = self.record.clone().with_step(wall, &self.server, self.task.says());
        draft.phase = self.task.phase();
        draft.end = self.task.end().map(|end| Ended { at: wall, well: *end == End::Done });
        draft
    }

    /// Storing a draft, begun at a time, ended so.
    pub fn on_saved(&mut self, (begun, now): (Duration, Duration), draft: Record, saved: Saved) {
        match saved {
            Saved::Kept(modified) => {
                (self.record, self.modified) = (draft, modified);
                self.trusted = begun + TRUST;
            }
            Saved::Changed(found) => self.heard(found),
            Saved::Away(why) => {
                self.again = now + AGAIN;
                self.task.hold(now, self.record.phase, format!("the store is away, so nothing is pressed: {why}"));
            }
        }
    }

    /// It is this in the store now.
    pub fn heard(&mut self, found: Option<(Record, Revision)>) {
        let Some((record, modified)) = found.filter(|(record, _)| record.is_same(&self.record)) else {
            self.lost = Some("it is no longer wished".to_owned());
            return;
        };
        // Who waits for this server to know what is stored waits for that.
        self.modified = modified;
        let is_ours = record.server.as_ref() == Some(&self.server);
        if !is_ours || record.end.is_some() != self.task.end().is_some() && record.end.is_some() {
            let who = record.server.as_deref().unwrap_or("no server");
            self.lost = Some(format!("{who} has it now"));
            return;
        }
        if record.hard && !self.record.hard {
            self.task.harden();
        }
        self.record = record;
    }

    /// The controller said a state, or why not.
    pub fn on_state(&mut self, now: Duration, heard: Result<Power, Trouble>) {
        self.task.on_state(now, heard);
    }

    /// The controller took a press, or did not.
    pub fn on_pressed(&mut self, now: Duration, heard: Result<(), Trouble>) {
        self.task.on_pressed(now, heard);
    }
}

#[cfg(test)]
#[path = "wish/tests.rs"]
mod tests;
