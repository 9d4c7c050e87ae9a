//! The RPKI cache of the plant.

use super::Plant;
use weft_bgp::wire::Kind;

impl Plant {
    /// So many caches are configured; the first one connects.
    pub fn set_caches(&mut self, count: usize) {
        self.speaker.set_caches(self.now, count);
        self.speaker.cache_connected(self.now, 0);
        self.run();
    }

    /// The first cache connects anew.
    pub fn cache_connects(&mut self) {
        self.speaker.cache_connected(self.now, 0);
        self.run();
    }

    /// The connection to the first cache is over.
    pub fn cache_leaves(&mut self) {
        self.speaker.cache_disconnected(0, "closed");
        self.run();
    }

    /// The first cache says this.
    pub fn cache(&mut self, data: &[u8]) {
        self.speaker.cache_received(self.now, 0, data);
        self.run();
    }

    /// The first cache, in session 5, has another serial number.
    pub fn notify_cache(&mut self, serial: u32) {
        let bytes = [&[1, 0, 0, 5, 0, 0, 0, 12][..], &serial.to_be_bytes()].concat();
        self.cache(&bytes);
    }

    /// Messages of a type that the guest heard.
    #[must_use]
    pub fn guest_heard(&self, kind: u8) -> usize {
        self.guest.heard.iter().filter(|(heard, _)| Kind::to_wire(*heard) == kind).count()
    }
}
