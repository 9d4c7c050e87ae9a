//! From evidence to verdicts: when a machine is well, when too many are not, and what follows from its state.
//!
//! | state | is well | is not | has no path and no report for the grace time |
//! |---|---|---|---|
//! | uninitialized | healthy | | unreachable, if it was seen before |
//! | healthy | | unhealthy: suspect | unreachable |
//! | unhealthy | healthy, unless somebody else said that it is not | | unreachable |
//! | unreachable | what it was before | suspect, if there is a path or report | |
//! | updating | | | unreachable, after the longer grace |
//! | retiring, retired | | | |

use super::{Liveness, Mass, REPEAT, Route, SETTLE, Verdict, View, Watched};
use crate::inventory::state::State;
use std::time::Duration;

impl Liveness {
    /// Whether its agent reported lately.
    fn reports(&self, now: Duration, machine: &Watched) -> bool {
        // A server that was started just now cannot know of reports before: what was healthy has one lease to report.
        let benefit = (machine.state == State::Healthy).then_some(machine.known_since);
        let last = machine.reported.max(benefit);
        self.rules.agents && last.is_some_and(|at| now < at + self.rules.lease())
    }

    fn is_good(&self, now: Duration, machine: &Watched) -> bool {
        machine.route == Route::Present && (!self.rules.agents || self.reports(now, machine))
    }

    /// Since when it gives no sign of life; `None` while it does.
    fn silent_since(&self, now: Duration, machine: &Watched) -> Option<Duration> {
        if machine.route != Route::Absent || self.reports(now, machine) {
            return None;
        }
        let reported = machine.reported.filter(|_| self.rules.agents).unwrap_or_default();
        // What went while nothing was seen went, for all that is known, when it was seen again.
        Some(machine.route_since.max(reported).max(self.view_since))
    }

    /// Looks at a machine after something changed: whether it is well now, whether that makes too many losses, and when to look again.
    pub(super) fn refresh(&mut self, now: Duration, serial: &str) {
        let Some(machine) = self.machines.get(serial) else { return };
        let good = self.is_good(now, machine);
        // A watcher that is blind counts nothing: what is gone when it sees again went at that moment.
        if self.view == View::Clear && good != machine.good {
            self.set_good(now, serial, good);
        }
        self.plan(now, serial);
    }

    pub(super) fn refresh_all(&mut self, now: Duration) {
        let all: Vec<String> = self.machines.keys().cloned().collect();
        for serial in all {
            self.refresh(now, &serial);
        }
    }

    fn set_good(&mut self, now: Duration, serial: &str, good: bool) {
        let Some(machine) = self.machines.get_mut(serial) else { return };
        machine.good = good;
        if good {
            self.good += 1;
            self.losses.retain(|(_, lost)| lost != serial);
            self.recovered(now, serial);
            return;
        }
        self.good -= 1;
        machine.bad_since = now;
        if matches!(machine.state, State::Retiring | State::Retired | State::Updating) {
            // It was expected to go.
            return;
        }
        if let Some(mass) = &mut self.mass {
            mass.lost.insert(serial.to_owned());
            return;
        }
        self.losses.push_back((now, serial.to_owned()));
        while self.losses.front().is_some_and(|(at, _)| *at + self.rules.window() < now) {
            self.losses.pop_front();
        }
        // Each is there once: who is well again is taken out.
        if self.too_many(self.losses.len()) {
            let lost = self.losses.drain(..).map(|(_, serial)| serial).collect();
            self.mass = Some(Mass { since: now, lost });
        }
    }

    fn too_many(&self, lost: usize) -> bool {
        let (lost, all) = (as_u64(lost), as_u64(self.good + lost));
        lost >= as_u64(self.rules.mass_loss_least) && lost * 100 > self.rules.mass_loss_percent * all
    }

    /// When enough of those that went are back, it was no loss of many any more.
    fn recovered(&mut self, now: Duration, serial: &str) {
        let Some(mass) = &mut self.mass else { return };
        mass.lost.remove(serial);
        let left = mass.lost.len();
        if !self.too_many(left) {
            self.mass = None;
            // The others may be coming back as well.
            self.hold(now);
        }
    }

    /// When to look at a machine again without being told.
    fn plan(&mut self, now: Duration, serial: &str) {
        let Some(machine) = self.machines.get(serial) else { return };
        let mut times = vec![];
        if self.view == View::Clear && self.mass.is_none() {
            if self.wanted(now, machine).is_some() {
                times.push(machine.asked.map_or(now, |at| at + REPEAT));
            }
            times.push(machine.bad_since + SETTLE);
            let silent = self.silent_since(now, machine);
            let grace = if machine.state == State::Updating { self.rules.updating_grace() } else { self.rules.grace() };
            times.extend(silent.map(|since| since + grace));
        }
        if self.rules.agents {
            let last = machine.reported.max(Some(machine.known_since));
            times.extend(last.map(|at| at + self.rules.lease()));
        }
        // What is past needs no look, but for a verdict that is due.
        let now_due = times.first().filter(|at| **at <= now && self.verdict_is_due(now, machine)).copied();
        let next = now_due.map(|_| now).or_else(|| times.into_iter().filter(|at| *at > now).min());
        let old = machine.due;
        if old == next {
            return;
        }
        if let Some(old) = old {
            self.due.remove(&(old, serial.to_owned()));
        }
        if let Some(next) = next {
            self.due.insert((next, serial.to_owned()));
        }
        if let Some(machine) = self.machines.get_mut(serial) {
            machine.due = next;
        }
    }

    fn verdict_is_due(&self, now: Duration, machine: &Watched) -> bool {
        self.view == View::Clear
            && self.mass.is_none()
            && machine.asked.is_none_or(|at| now >= at + REPEAT)
            && self.wanted(now, machine).is_some()
    }

    pub(super) fn verdict(&mut self, now: Duration, serial: &str) -> Option<Verdict> {
        let machine = self.machines.get(serial)?;
        if !self.verdict_is_due(now, machine) {
            return None;
        }
        let (to, reason) = self.wanted(now, machine)?;
        let verdict = Verdict { serial: serial.to_owned(), from: machine.state, since: machine.since, to, reason };
        if let Some(machine) = self.machines.get_mut(serial) {
            machine.asked = Some(now);
        }
        self.plan(now, serial);
        Some(verdict)
    }

    /// What a machine must become, and why.
    fn wanted(&self, now: Duration, machine: &Watched) -> Option<(State, String)> {
        let good = self.is_good(now, machine);
        let silent = self.silent_since(now, machine).map(|since| now.saturating_sub(since));
        let after = |grace: Duration| silent.filter(|silent| *silent >= grace);
        let dead = |for_: Duration| {
            let report = if self.rules.agents { " and no report" } else { "" };
            (State::Unreachable, format!("no path{report} for {} s", for_.as_secs()))
        };
        let well = || {
            let report = if self.rules.agents { ", its agent reports" } else { "" };
            format!("path by {}{report}", machine.from.join(", "))
        };
        let settled = now >= machine.bad_since + SETTLE;
        match machine.state {
            State::Retiring | State::Retired => None,
            State::Updating => after(self.rules.updating_grace()).map(dead),
            State::Uninitialized if good => Some((State::Healthy, well())),
            State::Uninitialized => after(self.rules.grace()).filter(|_| machine.seen).map(dead),
            State::Healthy if good || !settled => None,
            State::Healthy => {
                after(self.rules.grace()).map(dead).or_else(|| Some((State::Unhealthy, self.doubt(now, machine))))
            }
            State::Unhealthy if good => (machine.others != Some(State::Unhealthy)).then(|| (State::Healthy, well())),
            State::Unhealthy => after(self.rules.grace()).map(dead),
            State::Unreachable if good && machine.others == Some(State::Unhealthy) => {
                Some((State::Unhealthy, format!("{}; it was unhealthy before", well())))
            }
            State::Unreachable if good => Some((State::Healthy, well())),
            State::Unreachable => silent.is_none().then(|| (State::Unhealthy, self.doubt(now, machine))),
        }
    }

    fn doubt(&self, now: Duration, machine: &Watched) -> String {
        match machine.route {
            Route::Absent => "suspect: no path".to_owned(),
            Route::Stale => format!("suspect: its path by {} is stale", machine.from.join(", ")),
            Route::Present => {
                let last = machine.reported.map_or_else(
                    || "its agent has not reported".to_owned(),
                    |at| format!("no report for {} s", now.saturating_sub(at).as_secs()),
                );
                format!("suspect: {last}")
            }
        }
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
