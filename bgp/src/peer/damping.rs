//! How long a peer rests after a failure (RFC 4271 §8.1.1, IdleHoldTimer with DampPeerOscillations). A session that is lost once is
//! back within two seconds; one that keeps failing rests twice as long each time, up to a cap, and after a quiet minute the next
//! failure is a first one again. Knows failures and time, nothing of connections.

use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Without another failure for this long, the next one is a first one. More than twice the cap, so that resting itself is not
/// taken for peace.
const STABLE: Duration = Duration::from_secs(70);
/// Longest rest. An operator who repaired the other end waits for it at most once.
const REST_MAX: Duration = Duration::from_secs(30);
/// From this many failures in a row on the peer is not listened to while it rests: until then the other end may be quicker than we.
const REFUSE_FROM: u32 = 4;
/// Doublings beyond which the cap holds anyway.
const DOUBLINGS_MAX: u32 = 16;

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damping {
    failures: u32,
    last: Instant,
    /// The end of the rest.
    until: Instant,
    /// The end of a rest that was ordered.
    ordered: Instant,
}

impl Damping {
    /// A session was lost, or ended with an error of ours: how long to rest. `retry_ms` is the usual wait between attempts; after
    /// the first failure it is half of that.
    pub(super) fn failed(&mut self, now: Instant, retry_ms: (u32, u32), rng: &mut Rng) -> Duration {
        self.failures = if now.since(self.last) >= STABLE { 1 } else { self.failures.saturating_add(1) };
        self.last = now;
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let stretched = |ms: u32| (Duration::from_millis(u64::from(ms)) / 2 * (1 << doublings)).min(REST_MAX);
        let (least, most) = (stretched(retry_ms.0), stretched(retry_ms.1));
        // RFC 4271 §10: jittered, also where the cap makes both ends of the range one.
        let rest = if least == most { rng.jitter(most) } else { between(least, most, rng) };
        self.until = now + rest;
        rest
    }

    /// Whether nobody is dialled or listened to now.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        self.rest(now).is_some()
    }

    /// For how long nobody is dialled or listened to from now on.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let own = if self.failures >= REFUSE_FROM { self.until } else { Instant::ZERO };
        let end = own.max(self.ordered);
        (now < end).then(|| end.since(now))
    }

    /// A rest of a given length.
    pub(super) const fn rest_until(&mut self, at: Instant) {
        self.ordered = at;
    }

    /// An operator wants it now.
    pub(super) const fn forgive(&mut self) {
        self.failures = 0;
        self.ordered = Instant::ZERO;
    }
}

/// A random time in this range.
pub(super) fn between(least: Duration, most: Duration, rng: &mut Rng) -> Duration {
    let spread = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    least + Duration::from_millis(rng.next_u64() % spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: (u32, u32) = (1_000, 2_000);

    /// Rests after failures that follow each rest by `gap`.
    fn rests(count: usize, gap: Duration) -> Vec<Duration> {
        let (mut damping, mut rng, mut now) = (Damping::default(), Rng::new(3), Instant(5_000_000_000));
        let mut fail = || {
            let rest = damping.failed(now, RETRY, &mut rng);
            now = now + rest + gap;
            rest
        };
        (0..count).map(|_| fail()).collect()
    }

    #[test]
    fn the_first_rest_is_shorter_than_a_retry_and_the_later_ones_double_to_the_cap() {
        // RFC 4271 §8.1.1
        for (at, rest) in rests(12, Duration::from_millis(100)).into_iter().enumerate() {
            let factor = 1_u32 << at.min(10);
            let (least, most) = (Duration::from_millis(500) * factor, Duration::from_secs(1) * factor);
            let low = least.min(Duration::from_millis(22_500));
            assert!(rest >= low && rest <= most.min(REST_MAX), "failure {at}: {rest:?}");
        }
    }

    #[test]
    fn a_quiet_time_makes_the_next_failure_a_first_one() {
        for rest in rests(20, STABLE) {
            assert!(rest <= Duration::from_secs(1), "{rest:?}");
        }
    }

    #[test]
    fn only_a_peer_that_keeps_failing_is_refused_and_only_while_it_rests() {
        let (mut damping, mut rng, now) = (Damping::default(), Rng::new(3), Instant(5_000_000_000));
        for failures in 1..=5 {
            let rest = damping.failed(now, RETRY, &mut rng);
            assert_eq!(damping.refuses(now), failures >= REFUSE_FROM);
            assert_eq!(damping.rest(now), (failures >= REFUSE_FROM).then_some(rest));
            assert!(!damping.refuses(now + rest));
        }
        damping.forgive();
        assert!(!damping.refuses(now));
    }
}
