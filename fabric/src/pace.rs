//! How long it takes until a change is everywhere: two histograms for Prometheus. One observation for a batch of routes or for a burst of
//! changes, none for a route: a table of a million prefixes costs a few hundred.

use prometheus::{Histogram, HistogramOpts};
use std::collections::VecDeque;
use weft_bgp::time::Instant;

/// Upper bounds of the buckets (s), the same for both: from a route of a lost neighbor to a full table on a small machine.
pub const BUCKETS_S: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// What was measured since the start of the daemon. A clone is the same, not a copy.
#[derive(Clone, Debug)]
pub struct Histograms {
    /// `weft_fib_install_seconds`: a batch of at most 512 routes, from when it is handed to the kernel's thread until the kernel has
    /// acknowledged it or refused it.
    pub install: Histogram,
    /// `weft_convergence_seconds`: from the first change of a burst until the kernel has acknowledged all and every neighbor that reads has
    /// been told.
    pub convergence: Histogram,
}

/// Measures.
#[derive(Debug)]
pub struct Pace {
    histograms: Histograms,
    /// The last change of each batch that the kernel has not acknowledged, and when it was handed over.
    batches: VecDeque<(u64, Instant)>,
    /// Since when something is on its way.
    busy_since: Option<Instant>,
}

impl Histograms {
    fn new() -> prometheus::Result<Self> {
        let histogram =
            |name: &str, help: &str| Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS_S.to_vec()));
        Ok(Self {
            install: histogram(
                "weft_fib_install_seconds",
                "From a batch of routes for the kernel's thread until the kernel has acknowledged it",
            )?,
            convergence: histogram(
                "weft_convergence_seconds",
                "From the first change of a burst until the kernel and every neighbor have all of it",
            )?,
        })
    }
}

impl Pace {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// None with these names and buckets; the crate's signature has one.
    pub fn new() -> prometheus::Result<Self> {
        Ok(Self { histograms: Histograms::new()?, batches: VecDeque::new(), busy_since: None })
    }

    /// For a scrape.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        self.histograms.clone()
    }

    /// A batch, of which this is the last change, was handed to the kernel's thread.
    pub fn handed(&mut self, last: u64, now: Instant) {
        self.batches.push_back((last, now));
    }

    /// The kernel has acknowledged all changes up to this one: that may be several batches.
    pub fn acknowledged(&mut self, seq: u64, now: Instant) {
        while let Some((_, handed)) = self.batches.pop_front_if(|(last, _)| *last <= seq) {
            self.histograms.install.observe((now - handed).as_secs_f64());
        }
    }

    /// How many batches the kernel has not acknowledged.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.batches.len()
    }

    /// To be told after each turn of the loop whether some neighbor has not been told everything yet.
    pub fn look(&mut self, now: Instant, tells: bool) {
        match (self.busy_since, tells || !self.batches.is_empty()) {
            (None, true) => self.busy_since = Some(now),
            (Some(since), false) => {
                self.histograms.convergence.observe((now - since).as_secs_f64());
                self.busy_since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_bgp::time::Duration;

    #[test]
    fn a_burst_is_one_observation_from_its_first_change_to_its_last() {
        let mut pace = Pace::new().unwrap();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        pace.look(at(0), false);
        for (last, ms) in [(7, 10), (9, 20), (12, 25)] {
            pace.handed(last, at(ms));
            pace.look(at(ms), false);
        }
        // One answer for two batches, and then one for what is left while a neighbor is still being told.
        pace.acknowledged(10, at(40));
        pace.look(at(40), true);
        assert_eq!(pace.under_way(), 1);
        pace.acknowledged(12, at(45));
        pace.look(at(45), true);
        pace.look(at(60), false);
        // Nothing for the kernel: a neighbor alone.
        for (ms, tells) in [(70, false), (100, true), (103, false), (104, false)] {
            pace.look(at(ms), tells);
        }
        let Histograms { install, convergence } = pace.histograms();
        assert_eq!((convergence.get_sample_count(), install.get_sample_count()), (2, 3));
        assert!((convergence.get_sample_sum() - 0.053).abs() < 1e-9, "{}", convergence.get_sample_sum());
        assert!((install.get_sample_sum() - 0.07).abs() < 1e-9, "{}", install.get_sample_sum());
    }

    #[test]
    fn buckets_grow() {
        assert!(BUCKETS_S.is_sorted_by(|one, next| one < next));
    }
}
