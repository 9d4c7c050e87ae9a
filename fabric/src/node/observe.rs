//! Observers and RPKI caches of a node: the speaker's, as the driver asks for them.

use super::Node;
use bytes::BytesMut;
use weft_bgp::rtr;
use weft_bgp::speaker::{MonitorConfig, MonitorInfo, Progress};
use weft_bgp::time::{Duration, Instant};

impl Node {
    /// An observer is there.
    pub fn open_monitor(&mut self, now: Instant, id: u32, config: MonitorConfig) {
        self.speaker.open_monitor(now, id, config);
    }

    /// An observer is gone.
    pub fn close_monitor(&mut self, id: u32) {
        self.speaker.close_monitor(id);
    }

    /// About `limit` octets for an observer.
    pub fn poll_monitor(&mut self, now: Instant, id: u32, buf: &mut BytesMut, limit: usize) -> Progress {
        self.speaker.poll_monitor(now, id, buf, limit)
    }

    /// Whether an observer has something to hear.
    #[must_use]
    pub fn has_news_for(&self, id: u32) -> bool {
        self.speaker.has_news_for(id)
    }

    /// How an observer is doing.
    #[must_use]
    pub fn monitor(&self, id: u32) -> Option<MonitorInfo> {
        self.speaker.monitor(id)
    }

    /// The caches of the configuration in force; they begin anew.
    pub fn set_caches(&mut self, now: Instant) {
        self.speaker.set_caches(now, self.config.rpki.len());
        self.pump(now);
    }

    /// What the next program needs of a cache of the configuration, and its data.
    #[must_use]
    pub fn keep_cache(&self, cache: usize) -> Option<(rtr::Kept, BytesMut)> {
        self.speaker.keep_cache(cache)
    }

    /// A cache goes on where the program before left it.
    ///
    /// # Errors
    /// Why it begins anew.
    pub fn resume_cache(
        &mut self,
        now: Instant,
        cache: usize,
        kept: &rtr::Kept,
        octets: &[u8],
    ) -> Result<(), &'static str> {
        self.speaker.resume_cache(now, cache, kept, octets)
    }

    /// The connection to a cache stands.
    pub fn cache_connected(&mut self, now: Instant, cache: usize) {
        self.speaker.cache_connected(now, cache);
    }

    /// Octets came from a cache.
    pub fn cache_received(&mut self, now: Instant, cache: usize, data: &[u8]) {
        self.speaker.cache_received(now, cache, data);
        self.pump(now);
    }

    /// The connection to a cache is over; how long to wait before the next attempt.
    pub fn cache_disconnected(&mut self, cache: usize, error: &str) -> Duration {
        self.speaker.cache_disconnected(cache, error)
    }

    /// Octets for a cache; true: close its connection behind them.
    pub fn poll_cache(&mut self, cache: usize) -> (BytesMut, bool) {
        self.speaker.poll_cache(cache)
    }
}
