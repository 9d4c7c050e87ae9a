//! What a new configuration changes in a running node: only that. Peers are compared by name; one that did not change hears nothing.
//! [`Node::plan`] says beforehand what [`Input::Reload`](super::Input) does: both ask the same comparison.

use super::{Node, NodeConfig, Output, Source};
use crate::plan::{self, Plan};
use crate::vip;
use weft_bgp::peer::{Endpoint, PeerConfig};
use weft_bgp::speaker::{self, Forecast, PeerStep, Reconfiguration, Step};
use weft_bgp::time::Instant;
use weft_bgp::types::PeerId;

/// Ids of configured peers stay below this; above are dynamic ones.
const FIRST_DYNAMIC: u32 = 1 << 31;

impl Node {
    /// Starts everybody: the first picture of the links is there.
    pub(super) fn start_peers(&mut self, now: Instant) {
        for config in self.config.peers.clone() {
            self.set_peer(now, self.in_force(&config));
        }
        // Also when there are none: this says that the configuration is complete.
        let ranges = self.ranges_in_force(&self.config.dynamic);
        self.speaker.handle(now, speaker::Input::SetDynamicRanges(ranges));
    }

    /// What a new configuration would do, and a forecast of routes to be carried on with [`Self::forecast_on`]. Nothing happens yet.
    #[must_use]
    pub fn plan(&self, new: &NodeConfig) -> (Plan, Forecast) {
        let step = self.step(new);
        let steps = self.speaker.foresee(&step);
        (plan::compare(&self.config, new, &steps), self.speaker.forecast(&step, &steps))
    }

    /// One slice more of a forecast; true: it is over.
    pub fn forecast_on(&self, forecast: &mut Forecast) -> bool {
        self.speaker.forecast_on(forecast)
    }

    /// A new configuration as the speaker compares it. Ids of new peers are those that they will have.
    fn step(&self, new: &NodeConfig) -> Reconfiguration {
        let mut config = new.speaker.clone();
        // These belong to the run, not to the file.
        config.seed = self.config.speaker.seed;
        config.restarting = self.config.speaker.restarting;
        if !self.started {
            // Peers come with the first picture of the links.
            return Reconfiguration { config, peers: Vec::new(), gone: Vec::new(), ranges: None };
        }
        let gone = self.peers.iter().filter(|(name, _)| !new.peers.iter().any(|peer| peer.name == **name));
        let differing = new.peers.iter().filter(|peer| !self.config.peers.contains(peer));
        let fresh = (self.next_peer..).map(|id| PeerId(id % FIRST_DYNAMIC));
        let mut fresh = fresh.filter(|id| !self.peers.values().any(|known| known == id));
        let ids =
            differing.filter_map(|peer| Some((self.peer(&peer.name).or_else(|| fresh.next())?, self.in_force(peer))));
        Reconfiguration {
            config,
            peers: ids.collect(),
            gone: gone.map(|(_, id)| *id).collect(),
            ranges: (self.config.dynamic != new.dynamic).then(|| self.ranges_in_force(&new.dynamic)),
        }
    }

    /// Puts a new configuration into force; the one of before, and what changed in a few words.
    pub(super) fn apply(&mut self, now: Instant, mut new: NodeConfig) -> Option<(NodeConfig, String)> {
        if self.stopped {
            return None;
        }
        let step = self.step(&new);
        new.speaker = step.config.clone();
        let old = std::mem::replace(&mut self.config, new);
        self.bfd.is_dirty = true;
        let steps = self.reload_speaker(now, step);
        if old.originate != self.config.originate {
            self.originate_all(now, Source::Configured, self.config.originate.clone());
        }
        if old.import != self.config.import {
            self.import_connected(now);
        }
        if self.started && old.vips != self.config.vips {
            self.serve(now, vip::Input::Configure(self.config.vips.clone()));
        }
        let gone = old.addresses.iter().filter(|net| !self.config.addresses.contains(net) && !self.vips.needs(net));
        self.output.extend(gone.copied().map(Output::RemoveAddress));
        if self.started {
            self.want_addresses();
            self.watch(now);
        }
        let summary = plan::compare(&old, &self.config, &steps).summary();
        Some((old, summary))
    }

    pub(super) fn reload_speaker(&mut self, now: Instant, step: Reconfiguration) -> Vec<PeerStep> {
        for peer in &step.gone {
            self.peers.retain(|_, id| id != peer);
            self.established.remove(peer);
        }
        for (id, config) in &step.peers {
            self.peers.insert(config.name.clone(), *id);
            self.next_peer = self.next_peer.max(id.0 + 1);
        }
        let steps = self.speaker.reconfigure(now, step);
        for step in steps.iter().filter(|step| step.step != Step::Nothing) {
            let config = self.config.peers.iter().find(|peer| peer.name == step.name);
            if let Some(Endpoint::Interface(name)) = config.map(|config| config.endpoint.clone()) {
                self.remind(now, step.peer, &name);
            }
        }
        steps
    }

    /// Adds a peer. Its id stays the same as long as its name does.
    fn set_peer(&mut self, now: Instant, config: PeerConfig) {
        let peer = self.peers.get(&config.name).copied().unwrap_or_else(|| {
            let fresh = PeerId(self.next_peer % FIRST_DYNAMIC);
            self.next_peer += 1;
            self.peers.insert(config.name.clone(), fresh);
            fresh
        });
        let interface = match &config.endpoint {
            Endpoint::Interface(name) => Some(name.clone()),
            Endpoint::Address(_) => None,
        };
        self.speaker.handle(now, speaker::Input::SetPeer { peer, config: Box::new(config) });
        if let Some(interface) = interface {
            self.remind(now, peer, &interface);
        }
    }
}
