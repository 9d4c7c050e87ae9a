//! Whether a service is well: counts results of its check, and makes one that flaps wait longer each time.

use crate::config::{CheckConfig, ProbeConfig, VipConfig};
use weft_bgp::time::{Duration, Instant};

/// A wait doubles so often at most: 64 times the first.
const DOUBLINGS_MAX: u32 = 6;
/// A service that stayed up so long, and sixteen times its last wait, has flapped for the last time.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// See there.
const FORGET_WAITS: u32 = 16;
/// A result that is overdue by so much more than the check may take never comes.
const OVERDUE: Duration = Duration::from_secs(1);
/// Longest reason kept, octets.
const REASON_MAX: usize = 256;

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No result yet: the first one decides, so that a restart of the daemon costs one check and not `rise` of them.
    Unknown,
    Good,
    Bad,
}

#[derive(Debug)]
pub(super) struct Health {
    pub(super) verdict: Verdict,
    /// Results in succession that speak against the verdict.
    pub(super) against: u32,
    /// The check under way, and when it is given up.
    running: Option<(u64, Instant)>,
    next: Instant,
    /// Failures without a long good time between them.
    pub(super) flaps: u32,
    pub(super) hold_until: Instant,
    /// Since when it is good.
    pub(super) good_since: Instant,
    pub(super) results: u64,
    pub(super) failures: u64,
    /// Why the last check failed; kept while it is bad.
    pub(super) reason: Option<String>,
    /// The last result, whatever it means: its time and words.
    pub(super) last: Option<(Instant, Result<(), String>)>,
}

impl Health {
    pub(super) const fn new(config: &VipConfig, now: Instant) -> Self {
        let verdict = match &config.check {
            CheckConfig::None | CheckConfig::Api { up: true } => Verdict::Good,
            CheckConfig::Api { up: false } => Verdict::Bad,
            CheckConfig::Probe(_) => Verdict::Unknown,
        };
        Self {
            verdict,
            against: 0,
            running: None,
            next: now,
            flaps: 0,
            hold_until: Instant::ZERO,
            good_since: now,
            results: 0,
            failures: 0,
            reason: None,
            last: None,
        }
    }

    /// Whether the service may be announced.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.verdict == Verdict::Good && self.hold_until <= now
    }

    /// Good again, but made to wait.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        (self.verdict == Verdict::Good && self.hold_until > now).then_some(self.hold_until)
    }

    /// A check of another kind: what was under way is not heard any more.
    pub(super) fn begin_anew(&mut self, config: &VipConfig, now: Instant) {
        (self.running, self.next, self.against) = (None, now, 0);
        match &config.check {
            CheckConfig::None => self.say(now, config, true, None),
            CheckConfig::Api { up } => self.say(now, config, *up, Some("as configured".to_owned())),
            // It keeps its verdict until a result says otherwise.
            CheckConfig::Probe(_) => {}
        }
    }

    /// Whether a check is to begin; it has the number `run`.
    pub(super) fn poll_check(&mut self, now: Instant, probe: &ProbeConfig, run: u64) -> bool {
        if self.running.is_some() || self.next > now {
            return false;
        }
        self.running = Some((run, now + probe.timeout + OVERDUE));
        self.next = now + probe.every;
        true
    }

    /// When a check is to begin, or to be given up.
    pub(super) const fn next_timeout(&self, config: &VipConfig) -> Option<Instant> {
        match (&config.check, self.running) {
            (CheckConfig::Probe(_), Some((_, overdue))) => Some(overdue),
            (CheckConfig::Probe(_), None) => Some(self.next),
            (CheckConfig::None | CheckConfig::Api { .. }, _) => None,
        }
    }

    /// A result came.
    pub(super) fn checked(&mut self, now: Instant, config: &VipConfig, run: u64, outcome: Result<(), String>) {
        if self.running.is_some_and(|(expected, _)| expected == run) {
            self.running = None;
            self.take(now, config, outcome);
        }
    }

    /// Gives up a check that never answers.
    pub(super) fn tick(&mut self, now: Instant, config: &VipConfig) {
        if self.running.take_if(|(_, overdue)| *overdue <= now).is_some() {
            self.take(now, config, Err("the check itself does not end".to_owned()));
        }
    }

    /// Somebody who knows says so.
    pub(super) fn say(&mut self, now: Instant, config: &VipConfig, good: bool, reason: Option<String>) {
        match (self.verdict, good) {
            (Verdict::Good, true) | (Verdict::Bad, false) => {}
            (Verdict::Unknown | Verdict::Bad, true) => {
                (self.verdict, self.good_since, self.reason) = (Verdict::Good, now, None);
            }
            (Verdict::Unknown, false) => (self.verdict, self.reason) = (Verdict::Bad, reason),
            (Verdict::Good, false) => {
                (self.verdict, self.reason) = (Verdict::Bad, reason);
                self.flapped(now, config);
            }
        }
        self.against = 0;
    }

    fn take(&mut self, now: Instant, config: &VipConfig, outcome: Result<(), String>) {
        let CheckConfig::Probe(probe) = &config.check else {
            return;
        };
        let outcome = outcome.map_err(short);
        self.results += 1;
        self.failures += u64::from(outcome.is_err());
        let good = outcome.is_ok();
        let needed = match self.verdict {
            Verdict::Unknown => 1,
            Verdict::Bad => probe.rise,
            Verdict::Good => probe.fall,
        };
        let agrees = matches!((self.verdict, good), (Verdict::Good, true) | (Verdict::Bad, false));
        self.against = if agrees { 0 } else { self.against + 1 };
        if self.against >= needed {
            self.say(now, config, good, outcome.as_ref().err().cloned());
        } else if let (Verdict::Bad, Err(why)) = (self.verdict, &outcome) {
            self.reason = Some(why.clone());
        }
        self.last = Some((now, outcome));
    }

    /// It failed after it had been good: the second time in a row it waits, and each time after that twice as long.
    fn flapped(&mut self, now: Instant, config: &VipConfig) {
        let wait = |flaps: u32| match flaps {
            0 | 1 => Duration::ZERO,
            flaps => config.hold_down * (1 << (flaps - 2).min(DOUBLINGS_MAX)),
        };
        let calm = FORGET_AFTER.max(wait(self.flaps) * FORGET_WAITS);
        if now.since(self.good_since) >= calm {
            self.flaps = 0;
        }
        self.flaps = self.flaps.saturating_add(1);
        self.hold_until = now + wait(self.flaps);
    }
}

fn short(mut reason: String) -> String {
    if reason.len() > REASON_MAX {
        let end = (0..=REASON_MAX).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        reason.truncate(end);
    }
    reason
}
