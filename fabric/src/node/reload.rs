//! What a new configuration changes in a running node: only that. Peers are compared by name; one that did not change hears nothing.

use super::{Node, NodeConfig, Output, Source};
use crate::vip;
use std::sync::Arc;
use weft_bgp::peer::{Endpoint, PeerConfig};
use weft_bgp::speaker::{self, SpeakerConfig};
use weft_bgp::time::Instant;
use weft_bgp::types::PeerId;

/// Ids of configured peers stay below this; above are dynamic ones.
const FIRST_DYNAMIC: u32 = 1 << 31;

impl Node {
    /// Starts everybody: the first picture of the links is there.
    pub(super) fn start_peers(&mut self, now: Instant) {
        for config in self.config.peers.clone() {
            self.set_peer(now, config);
        }
        // Also when there are none: this says that the configuration is complete.
        let ranges = self.config.dynamic.clone();
        self.speaker.handle(now, speaker::Input::SetDynamicRanges(ranges));
    }

    /// Puts a new configuration into force.
    pub(super) fn reload(&mut self, now: Instant, mut new: NodeConfig) {
        if self.stopped {
            return;
        }
        // These belong to the run, not to the file.
        new.speaker.seed = self.config.speaker.seed;
        new.speaker.restarting = self.config.speaker.restarting;
        let old = std::mem::replace(&mut self.config, new);
        self.bfd.is_dirty = true;
        // Policies first: a peer may name one that is new.
        if old.speaker.policies != self.config.speaker.policies {
            let policies = Arc::clone(&self.config.speaker.policies);
            self.speaker.set_policies(now, policies);
        }
        if differs(&old.speaker, &self.config.speaker) {
            self.speaker.set_config(now, self.config.speaker.clone());
        }
        if old.originate != self.config.originate {
            self.originate_all(now, Source::Configured, self.config.originate.clone());
        }
        if old.import != self.config.import {
            self.import_connected(now);
        }
        if self.started {
            self.reload_peers(now, &old);
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
    }

    fn reload_peers(&mut self, now: Instant, old: &NodeConfig) {
        let gone = old.peers.iter().filter(|peer| !self.config.peers.iter().any(|new| new.name == peer.name));
        let gone: Vec<PeerId> = gone.filter_map(|peer| self.peers.remove(&peer.name)).collect();
        for peer in gone {
            self.established.remove(&peer);
            self.speaker.handle(now, speaker::Input::RemovePeer { peer });
        }
        for config in self.config.peers.clone() {
            if !old.peers.contains(&config) {
                self.set_peer(now, config);
            }
        }
        if old.dynamic != self.config.dynamic {
            let ranges = self.config.dynamic.clone();
            self.speaker.handle(now, speaker::Input::SetDynamicRanges(ranges));
        }
    }

    /// Adds or changes a peer. Its id stays the same as long as its name does.
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

/// Whether the speaker must be told, policies apart.
fn differs(old: &SpeakerConfig, new: &SpeakerConfig) -> bool {
    (old.asn, old.router_id, old.cluster_id, old.multipath) != (new.asn, new.router_id, new.cluster_id, new.multipath)
        || (old.advertise_after_install, old.hold_back_ms) != (new.advertise_after_install, new.hold_back_ms)
        || old.aggregates != new.aggregates
}
