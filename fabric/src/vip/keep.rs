//! What service addresses leave to the next program in the same process (`weft upgrade`): it goes on with what checks have said so far, so
//! that nothing is announced, withdrawn or made the last choice for a moment because somebody changed the program.

use super::health::{Health, Verdict};
use super::service::Service;
use super::{State, Vips};
use serde::{Deserialize, Serialize};
use weft_bgp::time::Instant;
use weft_bgp::types::IpNet;

/// One service address. Times are of a clock that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which.
    pub name: String,
    /// With other addresses it is another one.
    pub addresses: Vec<IpNet>,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// `weft vip set NAME down` is in force.
    #[serde(default)]
    pub set_down: bool,
    /// Times it went up, and was withdrawn.
    #[serde(default)]
    pub ups_downs: (u64, u64),
    /// What its check has said.
    pub health: KeptHealth,
}

/// Whether a service is well, and how often it was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptHealth {
    /// `None` before the first result.
    pub good: Option<bool>,
    /// Results in succession that speak against that.
    pub against: u32,
    /// Failures without a long good time between them.
    pub flaps: u32,
    /// Held down until then though its check passes.
    pub hold_until: Instant,
    /// Since when it is good.
    pub good_since: Instant,
    /// Results so far, and how many of them were bad.
    pub results_failures: (u64, u64),
    /// Why the last check failed; while it is bad.
    pub reason: Option<String>,
}

impl Vips {
    /// All configured ones, as they are.
    pub fn keep(&self) -> impl Iterator<Item = Kept> + '_ {
        self.services.values().map(Service::keep)
    }

    /// The next configuration finds these as they were left.
    pub fn resume(&mut self, kept: Vec<Kept>) {
        self.left = kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
    }
}

impl Health {
    pub(super) fn keep(&self) -> KeptHealth {
        KeptHealth {
            good: match self.verdict {
                Verdict::Good => Some(true),
                Verdict::Bad => Some(false),
                Verdict::Unknown => None,
            },
            against: self.against,
            flaps: self.flaps,
            hold_until: self.hold_until,
            good_since: self.good_since,
            results_failures: (self.results, self.failures),
            reason: self.reason.clone(),
        }
    }

    pub(super) fn resume(&mut self, kept: KeptHealth) {
        self.verdict = match kept.good {
            Some(true) => Verdict::Good,
            Some(false) => Verdict::Bad,
            None => Verdict::Unknown,
        };
        (self.against, self.flaps) = (kept.against, kept.flaps);
        (self.hold_until, self.good_since) = (kept.hold_until, kept.good_since);
        (self.results, self.failures) = kept.results_failures;
        self.reason = kept.reason;
    }
}
