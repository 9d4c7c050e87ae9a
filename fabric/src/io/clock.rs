//! The daemon's clock: turns the system's monotonic time into [`Instant`]s and deadlines back into the runtime's.

use weft_bgp::time::{Duration, Instant};

/// Counts from the start of the daemon, through every upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
    /// What had passed then.
    before: Duration,
}

impl Clock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self::resume(Instant::ZERO)
    }

    /// Goes on from there.
    #[must_use]
    pub fn resume(now: Instant) -> Self {
        Self { start: tokio::time::Instant::now(), before: Duration::from_nanos(now.0) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant(u64::try_from((self.before + self.start.elapsed()).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The runtime's name for a point in time.
    #[must_use]
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        self.start + Duration::from_nanos(at.0).saturating_sub(self.before)
    }
}

/// True randomness for jitter and hash seeds.
#[must_use]
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher keys come from the system's randomness.
    std::hash::RandomState::new().build_hasher().finish()
}

/// Wall-clock time since 1970-01-01 UTC, for what others read: dumps and collectors.
#[must_use]
#[expect(clippy::disallowed_types, reason = "this is where clocks are read")]
pub fn wall() -> Duration {
    // A clock before 1970 is none.
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
