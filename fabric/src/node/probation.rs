//! A configuration on probation: unless somebody confirms it in time, the one before comes back by itself. Whoever reloads may have
//! cut the path by which he came.

use super::{Happened, Node, NodeConfig, Output};
use crate::plan;
use weft_bgp::time::{Duration, Instant};

/// What is in force, and since when.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    last: Option<(Instant, plan::Outcome)>,
    probation: Option<Probation>,
    /// The probation is over; whoever carries out takes it.
    earlier: Option<Box<NodeConfig>>,
}

#[derive(Debug)]
struct Probation {
    earlier: Box<NodeConfig>,
    until: Instant,
}

impl Node {
    /// Puts a configuration into force, for good unless there is a time within which it must be confirmed.
    pub(super) fn reload(&mut self, now: Instant, new: NodeConfig, confirm_within: Option<Duration>) {
        let Some((earlier, summary)) = self.apply(now, new) else {
            return;
        };
        // One that waits already keeps what was in force before it: only that was confirmed.
        let waiting = self.reloads.probation.take().map(|probation| probation.earlier);
        if let Some(within) = confirm_within {
            let earlier = waiting.unwrap_or_else(|| Box::new(earlier));
            self.reloads.probation = Some(Probation { earlier, until: now + within });
        }
        let outcome = if confirm_within.is_some() { plan::Outcome::OnProbation } else { plan::Outcome::Reloaded };
        self.note_reload(now, outcome, summary, confirm_within.map(|within| within.as_secs()));
    }

    /// Puts the earlier configuration back.
    pub(super) fn roll_back(&mut self, now: Instant, earlier: NodeConfig) {
        self.reloads.probation = None;
        if let Some((_, summary)) = self.apply(now, earlier) {
            self.note_reload(now, plan::Outcome::RolledBack, summary, None);
        }
    }

    /// What is on probation stays.
    pub(super) fn confirm(&mut self, now: Instant) {
        if self.reloads.probation.take().is_some() {
            self.note_reload(now, plan::Outcome::Confirmed, String::new(), None);
        }
    }

    pub(super) fn probation_tick(&mut self, now: Instant) {
        if let Some(probation) = self.reloads.probation.take_if(|probation| probation.until <= now) {
            self.reloads.earlier = Some(probation.earlier);
            self.output.push_back(Output::RollBack);
        }
    }

    pub(super) fn probation_timeout(&self) -> Option<(Instant, &'static str)> {
        self.reloads.probation.as_ref().map(|probation| (probation.until, "confirmation of the configuration"))
    }

    fn note_reload(&mut self, now: Instant, outcome: plan::Outcome, summary: String, confirm_within_s: Option<u64>) {
        self.reloads.last = Some((now, outcome));
        self.history
            .note(now, Happened::Configuration(plan::Event::Configuration { outcome, summary, confirm_within_s }));
    }

    /// After [`Output::RollBack`]: what to put back by [`Input::RollBack`](super::Input::RollBack).
    pub fn take_earlier(&mut self) -> Option<Box<NodeConfig>> {
        self.reloads.earlier.take()
    }

    /// How long there is still to confirm the configuration in force; `None`: nothing waits for that.
    #[must_use]
    pub fn unconfirmed(&self, now: Instant) -> Option<Duration> {
        self.reloads.probation.as_ref().map(|probation| probation.until.since(now))
    }

    /// The last reload, and what came of it.
    #[must_use]
    pub const fn last_reload(&self) -> Option<(Instant, plan::Outcome)> {
        self.reloads.last
    }
}

#[cfg(test)]
mod tests;
