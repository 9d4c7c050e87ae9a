//! Quiet time of a node, for simulations: its timers run alone, and what it says is told instead of sent
//! ([`weft_bgp::speaker::Speaker::keep_alive`]).

use super::Node;
use crate::ra;
use weft_bgp::peer::Beats;
use weft_bgp::time::Instant;
use weft_bgp::types::{ConnId, IfIndex};

impl Node {
    /// Before when nothing will happen of itself but that KEEPALIVEs and router advertisements are sent, as far as neighbours do that
    /// too; `None`: something is under way.
    #[must_use]
    pub fn quiet_until(&self) -> Option<Instant> {
        let is_idle = self.started && !self.stopped && !self.bfd.is_dirty && self.output.is_empty();
        if !is_idle || !self.ra.is_quiet() {
            return None;
        }
        let own = [
            self.vips.next_timeout(),
            self.leases.next_timeout(),
            self.wiring_timeout(),
            self.probation_timeout(),
            self.drain_timeout(),
            self.bfd_timeout(),
        ];
        let own = own.into_iter().flatten().map(|(at, _)| at);
        own.chain([self.speaker.quiet_until()?]).min()
    }

    /// [`weft_bgp::speaker::Speaker::keep_alive`].
    pub fn keep_alive(&mut self, until: Instant, sent: impl FnMut(usize, Instant)) {
        self.speaker.keep_alive(until, sent);
    }

    /// [`weft_bgp::speaker::Speaker::exchanged`].
    pub fn exchanged(&mut self, all: impl Iterator<Item = (ConnId, Beats)>) {
        self.speaker.exchanged(all);
    }

    /// Runs the timers of router advertisements alone until `until`; `sent` hears of each: on which link, and when.
    pub fn advertise(&mut self, until: Instant, mut sent: impl FnMut(IfIndex, Instant)) {
        while let Some((at, _)) = self.ra.next_timeout().filter(|(at, _)| *at <= until) {
            self.ra.handle(at, ra::Input::Tick);
            while let Some(output) = self.ra.poll() {
                if let ra::Output::Advertise(link) = output {
                    sent(link, at);
                }
            }
        }
    }
}
