//! Service addresses of a node: what they want is carried to the RIB, the loopback interface and the log, and what they look at comes
//! from there.

use super::sources::Source;
use super::{Happened, Node, Output};
use crate::link::LinkInfo;
use crate::vip::{self, Around};
use weft_bgp::speaker::Speaker;
use weft_bgp::time::Instant;
use weft_bgp::types::IpNet;

struct View<'a> {
    links: &'a [LinkInfo],
    /// How the kernel marks addresses of ours.
    mark: u8,
    speaker: &'a Speaker,
}

impl Around for View<'_> {
    fn has(&self, net: &IpNet) -> bool {
        let mut addrs = self.links.iter().flat_map(|link| &link.addrs);
        addrs.any(|addr| addr.net.addr() == net.addr() && !addr.tentative)
    }

    fn is_left(&self, net: &IpNet) -> bool {
        let mut addrs = self.links.iter().filter(|link| link.loopback).flat_map(|link| &link.addrs);
        addrs.any(|addr| addr.net == *net && addr.protocol == self.mark)
    }

    fn has_other_origin(&self, net: &IpNet) -> bool {
        self.speaker.has_other_origin(net)
    }

    fn knows_others(&self) -> bool {
        self.speaker.is_converged()
    }
}

impl Node {
    /// Service addresses hear something.
    pub(super) fn serve(&mut self, now: Instant, input: vip::Input) {
        let view = View { links: &self.links, mark: self.config.fib.protocol, speaker: &self.speaker };
        self.vips.handle(now, input, &view);
        while let Some(wanted) = self.vips.poll() {
            match wanted {
                vip::Output::Check(order) => self.output.push_back(Output::Check(order)),
                vip::Output::AddAddress(net) => self.output.push_back(Output::AddAddress(net)),
                vip::Output::RemoveAddress(net) => {
                    if !self.vips.needs(&net) && !self.config.addresses.contains(&net) {
                        self.output.push_back(Output::RemoveAddress(net));
                    }
                }
                vip::Output::Announce(route) => self.originate(now, Source::Vip, route),
                vip::Output::Withdraw(net) => self.unoriginate(now, Source::Vip, &net),
                vip::Output::Event(event) => {
                    self.history.note(now, Happened::Vip(event.clone()));
                    self.output.push_back(Output::Vip(event));
                }
            }
        }
    }

    /// Service addresses, by name.
    #[must_use]
    pub fn vips(&self, now: Instant) -> Vec<vip::Info> {
        self.vips.infos(now).collect()
    }

    /// What the next program needs of them.
    #[must_use]
    pub fn keep_vips(&self) -> Vec<vip::Kept> {
        self.vips.keep().collect()
    }

    /// They go on as the program before left them, once the links are known.
    pub fn resume_vips(&mut self, kept: Vec<vip::Kept>) {
        self.vips.resume(kept);
    }

    /// Whether there is a service address of this name.
    #[must_use]
    pub fn knows_vip(&self, name: &str) -> bool {
        self.vips.knows(name)
    }
}
