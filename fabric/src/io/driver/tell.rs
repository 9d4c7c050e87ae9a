//! What the loop says to watchers of events. Nothing is made while nobody listens, and nobody who listens is waited for.

use super::Daemon;
use crate::api;
use crate::link::LinkInfo;
use crate::news::{self, Kind, Line, RouteNews};
use crate::node::Happened;
use crate::plan;
use weft_bgp::speaker::{FibChange, Want};
use weft_bgp::types::{Hop, IpNet};

impl Daemon {
    /// Something that stands in the history too.
    pub(super) fn tell_happened(&self, happened: &Happened) {
        if !self.server.events.is_watched() {
            return;
        }
        let kind = match happened {
            Happened::Bgp(_) => Kind::Peers,
            Happened::Vip(_) => Kind::Vips,
            Happened::Bfd(_) => Kind::Bfd,
            Happened::Configuration(_) => Kind::Configuration,
            Happened::Drain(_) => Kind::Drain,
        };
        let name = |peer| self.node.peer_name(peer).unwrap_or_default().to_owned();
        // Our own types always become JSON.
        let event = serde_json::to_value(happened).unwrap_or_default();
        let text = api::sentence_of(happened, name);
        self.server.events.say(Line::new(self.clock.now(), kind, text, event));
    }

    /// Something about the configuration or the program that the node does not know of itself.
    pub(super) fn note_configuration(&mut self, event: plan::Event) {
        let happened = Happened::Configuration(event);
        self.tell_happened(&happened);
        self.node.note_happened(self.clock.now(), happened);
    }

    /// What has just become of the configuration: the newest of its kind in the history.
    pub(super) fn tell_configuration(&self) {
        let newest = self.node.history().rev().find(|entry| matches!(entry.event, Happened::Configuration(_)));
        newest.into_iter().for_each(|entry| self.tell_happened(&entry.event));
    }

    /// What is different about the links now.
    pub(super) fn tell_links(&self, before: &[LinkInfo]) {
        for line in news::links(self.clock.now(), before, self.node.links()) {
            self.server.events.say(line);
        }
    }

    /// What the kernel did not take.
    pub(super) fn tell_refused(&self, failed: &[IpNet]) {
        if self.server.events.is_watched() {
            failed.iter().for_each(|prefix| self.server.events.say(news::refused(self.clock.now(), *prefix)));
        }
    }

    /// Routes that change.
    pub(super) fn tell_routes(&self, changes: &[FibChange]) {
        if !self.server.events.has_routes_watched() {
            return;
        }
        let at = self.clock.now();
        // A next hop whose link is down may stand among the wanted ones: the kernel does without it meanwhile.
        let is_up = |hop: &&Hop| self.node.links().iter().any(|link| link.index == hop.link && link.is_usable());
        for change in changes {
            let want = match &change.want {
                Want::Hops(hops) if !hops.iter().all(|hop| is_up(&hop)) => {
                    Want::Hops(hops.iter().filter(is_up).copied().collect())
                }
                other @ (Want::Hops(_) | Want::Nothing | Want::Discard) => other.clone(),
            };
            let news = RouteNews { at, prefix: change.prefix, want };
            self.server.events.say_route(news);
        }
    }
}
