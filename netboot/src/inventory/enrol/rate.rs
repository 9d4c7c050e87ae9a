//! How often machines may report themselves: a little from each source, and so much together that the store has time for others.

use std::collections::BTreeMap;
use std::time::Duration;

/// Reports of one source at once.
const OF_SOURCE: f64 = 8.0;
/// Reports of one source in a second after that: a machine that waits asks every half minute, and a relay may stand for a rack.
const OF_SOURCE_EACH_S: f64 = 1.0;
/// Reports of all at once.
const OF_ALL: f64 = 256.0;
/// Reports of all in a second after that: a tenth of what an embedded store must do.
const OF_ALL_EACH_S: f64 = 50.0;
/// Sources remembered; the one that was quiet for longest makes room.
const SOURCES_MAX: usize = 4_096;

/// Who reported how much.
#[derive(Clone, Debug)]
pub struct Rate {
    sources: BTreeMap<String, Bucket>,
    all: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Bucket {
    /// Filled up by time.
    fn at(self, now: Duration, most: f64, each_s: f64) -> Self {
        let since = now.saturating_sub(self.at).as_secs_f64();
        Self { left: (self.left + since * each_s).min(most), at: now }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self { sources: BTreeMap::new(), all: Bucket { left: OF_ALL, at: Duration::ZERO } }
    }
}

impl Rate {
    /// Whether a source may report now.
    ///
    /// # Errors
    /// Seconds after which it may.
    pub fn take(&mut self, now: Duration, source: &str) -> Result<(), u64> {
        if !self.sources.contains_key(source) && self.sources.len() >= SOURCES_MAX {
            self.forget(now);
        }
        let fresh = Bucket { left: OF_SOURCE, at: now };
        let own = self.sources.get(source).map_or(fresh, |own| own.at(now, OF_SOURCE, OF_SOURCE_EACH_S));
        let all = self.all.at(now, OF_ALL, OF_ALL_EACH_S);
        if own.left < 1.0 || all.left < 1.0 {
            // Who is refused takes nothing from the others.
            return Err(if own.left < 1.0 { 1 } else { 5 });
        }
        self.sources.insert(source.to_owned(), Bucket { left: own.left - 1.0, ..own });
        self.all = Bucket { left: all.left - 1.0, ..all };
        Ok(())
    }

    /// Those that would begin anew anyway, or else the one that was quiet for longest.
    fn forget(&mut self, now: Duration) {
        self.sources.retain(|_, own| own.at(now, OF_SOURCE, OF_SOURCE_EACH_S).left < OF_SOURCE);
        if self.sources.len() >= SOURCES_MAX
            && let Some(quiet) = self.sources.iter().min_by_key(|(_, own)| own.at).map(|(name, _)| name.clone())
        {
            self.sources.remove(&quiet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_is_slow_and_takes_nothing_from_others() {
        let mut rate = Rate::default();
        let taken = (0..10_000).filter(|_| rate.take(Duration::from_secs(1), "loud").is_ok()).count();
        assert_eq!(taken, 8);
        assert_eq!(rate.take(Duration::from_secs(1), "other"), Ok(()));
        assert_eq!(rate.take(Duration::from_secs(2), "loud"), Ok(()));
        assert_eq!(rate.take(Duration::from_secs(2), "loud"), Err(1));
    }

    #[test]
    fn all_together_are_bounded_too() {
        let mut rate = Rate::default();
        let now = Duration::from_secs(1);
        let taken = (0..10_000).filter(|at| rate.take(now, &format!("{at}")).is_ok()).count();
        assert_eq!(taken, 256);
        let later = (0..10_000).filter(|at| rate.take(now * 2, &format!("{at}")).is_ok()).count();
        assert_eq!(later, 50);
        for at in 0..20_000_u64 {
            let _ = rate.take(Duration::from_secs(10 + at), &format!("s{at}"));
            assert!(rate.sources.len() <= SOURCES_MAX);
        }
    }
}
