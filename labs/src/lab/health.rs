//! Whether nodes are well: their `healthcheck:` run again and again while the lab runs.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "looks at nodes in real time, on threads")]

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::machine::Machine;
use crate::topology::stage::HealthSpec;

/// During the start period it is looked at this often, if `interval` is longer.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// What the last looks said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not well yet, and nothing counts against it yet.
    Starting,
    /// The last look was good.
    Healthy,
    /// As many looks as its file allows were bad, one after the other.
    Unhealthy,
}

impl Verdict {
    /// Docker's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The verdicts of all nodes that have a check.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    verdicts: BTreeMap<String, Verdict>,
    is_over: bool,
}

impl Health {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node's; `None` when it has no check, or has not begun.
    pub(super) fn of(&self, node: &str) -> Option<Verdict> {
        self.locked().verdicts.get(node).copied()
    }

    /// Ends all looking.
    pub(super) fn end(&self) {
        self.locked().is_over = true;
        self.changed.notify_all();
    }

    /// Begins to look at a node, on a thread of its own.
    pub(super) fn watch(self: &Arc<Self>, machine: &Arc<Machine>, spec: &HealthSpec) {
        let (health, machine, spec) = (Arc::clone(self), Arc::clone(machine), spec.clone());
        health.locked().verdicts.insert(machine.name().to_owned(), Verdict::Starting);
        thread::spawn(move || health.look(&machine, &spec));
    }

    fn look(&self, machine: &Machine, spec: &HealthSpec) {
        let begin = Instant::now();
        let mut bad = 0_u32;
        loop {
            let is_good = machine.succeeds_within(&spec.words, spec.timeout);
            let in_start = begin.elapsed() < spec.start_period;
            bad = if is_good || in_start { 0 } else { bad + 1 };
            let mut state = self.locked();
            if state.is_over {
                return;
            }
            if let Some(verdict) = state.verdicts.get_mut(machine.name()) {
                *verdict = match (is_good, *verdict) {
                    (true, _) => Verdict::Healthy,
                    (false, _) if bad >= spec.retries => Verdict::Unhealthy,
                    (false, before) => before,
                };
            }
            self.changed.notify_all();
            let is_starting = in_start && state.verdicts.get(machine.name()) == Some(&Verdict::Starting);
            let pause = if is_starting { spec.interval.min(START_INTERVAL) } else { spec.interval };
            let until = Instant::now() + pause;
            while !state.is_over && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.is_over {
                return;
            }
        }
    }
}
