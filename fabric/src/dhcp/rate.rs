//! How often a port, and each client on it, may ask: what is beyond that is not relayed, so that one machine cannot keep the servers of all
//! busy.

use std::collections::BTreeMap;
use weft_bgp::time::{Duration, Instant};

/// What a port may ask: a machine with several firmware interfaces that all try at once asks some ten times a second.
const PORT: Rate = Rate { burst: 100, every: Duration::from_millis(10) };
/// What a client may ask: four messages for an address, and again some of them.
const CLIENT: Rate = Rate { burst: 10, every: Duration::from_millis(200) };
/// Clients of a port that are remembered. A client that is silent for `burst × every` = 2 s is as one that never asked, and no more than
/// 100 + 2 s × 100/s = 300 others can ask meanwhile.
const CLIENTS_MAX: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// So many questions are left; one more comes every so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    left: u32,
    /// Since when the next one is on its way.
    since: Instant,
}

impl Bucket {
    const fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, since: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let came = u32::try_from(now.since(self.since).as_nanos() / rate.every.as_nanos()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(came).min(rate.burst);
        self.since = if self.left == rate.burst { now } else { self.since + rate.every * came };
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The rates of a port.
#[derive(Debug)]
pub(super) struct Rates {
    port: Bucket,
    clients: BTreeMap<[u8; 6], Bucket>,
}

impl Rates {
    pub(super) const fn new(now: Instant) -> Self {
        Self { port: Bucket::full(PORT, now), clients: BTreeMap::new() }
    }

    /// Whether one more message of a client is relayed.
    pub(super) fn take(&mut self, now: Instant, client: [u8; 6]) -> bool {
        // The client first: who asks too much takes nothing away from others on its port.
        if self.clients.len() >= CLIENTS_MAX {
            self.clients.retain(|_, bucket| {
                bucket.fill(CLIENT, now);
                bucket.left < CLIENT.burst
            });
        }
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&client) {
            return false;
        }
        self.clients.entry(client).or_insert_with(|| Bucket::full(CLIENT, now)).take(CLIENT, now)
            && self.port.take(PORT, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn mac(number: u32) -> [u8; 6] {
        let [a, b, c, d] = number.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    #[test]
    fn a_client_that_asks_too_often_is_told_apart_from_others() {
        let mut rates = Rates::new(at(0));
        let asked = (0..50).filter(|_| rates.take(at(1), mac(1))).count();
        assert_eq!(asked, 10);
        assert!(rates.take(at(1), mac(2)), "another one");
        assert!(!rates.take(at(200), mac(1)) && rates.take(at(201), mac(1)) && !rates.take(at(202), mac(1)));
    }

    #[test]
    fn a_port_with_ever_new_clients_asks_no_more_than_its_rate() {
        let mut rates = Rates::new(at(0));
        let seconds = 20;
        let asked =
            (0..seconds * 1_000).filter(|at_ms| rates.take(at(*at_ms), mac(u32::try_from(*at_ms).unwrap()))).count();
        assert_eq!(asked, 100 + 20 * 100 - 1);
        assert!(rates.clients.len() <= CLIENTS_MAX);
    }
}
