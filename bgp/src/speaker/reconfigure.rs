//! A new configuration: what it means for each peer, and the deed. [`Speaker::foresee`] says per peer whether it hears nothing, is asked
//! and told again, or loses its session; [`Speaker::reconfigure`] asks it first and does just that, so that what was said beforehand
//! and what is done cannot differ.

use super::machine::{Member, Speaker};
use super::refused::RefusedRoutes;
use super::sweep::SLICE;
use super::{DynamicRange, SpeakerConfig};
use crate::peer::change::{Change, Effect, Ends, changes, effect_of};
use crate::peer::{Endpoint, Local, Peer, PeerConfig, PeerInput, RemoteAs};
use crate::policy::{Hits, Policies};
use crate::time::Instant;
use crate::types::PeerId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A new configuration, to be put into force in one step: nobody is asked or told twice.
#[derive(Clone, Debug)]
pub struct Reconfiguration {
    /// What the speaker is.
    pub config: SpeakerConfig,
    /// Peers that are new or may differ, in full; who is not named stays as he is.
    pub peers: Vec<(PeerId, PeerConfig)>,
    /// Peers that are no more.
    pub gone: Vec<PeerId>,
    /// All ranges of dynamic peers, if they differ.
    pub ranges: Option<Vec<DynamicRange>>,
}

/// What becomes of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStep {
    /// Its id.
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// It has a session.
    pub is_established: bool,
    /// Why: every field that differs.
    pub changes: Vec<Change>,
    /// What is done.
    pub step: Step,
}

/// What is done to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing changed.
    Nothing,
    /// Something did, but not for the session that stands.
    InPlace,
    /// Its policy, or the treatment of its routes, is another one; the session stands.
    Refresh {
        /// It is asked for its routes again.
        import: bool,
        /// It can be asked (RFC 2918); otherwise they stay as the old policy left them.
        can_ask: bool,
        /// It is told our routes again.
        export: bool,
    },
    /// The session ends and begins again, since an OPEN says other things.
    Renegotiate,
    /// The session ends and begins again.
    Reset,
    /// The peer goes, and its session with it.
    Remove,
    /// A new peer.
    Add,
}

impl PeerStep {
    /// Whether a session that stands ends by it.
    #[must_use]
    pub const fn ends_session(&self) -> bool {
        self.is_established && matches!(self.step, Step::Renegotiate | Step::Reset | Step::Remove)
    }
}

impl Reconfiguration {
    /// The configuration that a peer is to have; `None`: it is to go.
    pub(super) fn of(&self, member: &Member) -> Option<PeerConfig> {
        let (id, config) = (member.peer.id(), member.peer.config());
        if self.gone.contains(&id) {
            return None;
        }
        if let Some(ranges) = self.ranges.as_ref().filter(|_| member.dynamic) {
            let Endpoint::Address(address) = config.endpoint else { return None };
            return ranges.iter().find(|range| range.prefix.contains(&address)).map(|range| range.peer_at(address));
        }
        let named = self.peers.iter().find(|(peer, _)| *peer == id);
        Some(named.map_or_else(|| config.clone(), |(_, config)| config.clone()))
    }
}

impl Speaker {
    /// What a new configuration means for each peer, those included for which it means nothing.
    #[must_use]
    pub fn foresee(&self, new: &Reconfiguration) -> Vec<PeerStep> {
        let has_rules = self.config.policies.has_rules_of(&new.config.policies);
        let mut steps: Vec<PeerStep> =
            self.members.values().map(|member| self.foresee_peer(member, new, !has_rules)).collect();
        let added = new.peers.iter().filter(|(id, _)| !self.members.contains_key(id));
        steps.extend(added.map(|(id, config)| PeerStep {
            peer: *id,
            name: config.name.clone(),
            is_established: false,
            changes: Vec::new(),
            step: Step::Add,
        }));
        steps
    }

    fn foresee_peer(&self, member: &Member, new: &Reconfiguration, other_rules: bool) -> PeerStep {
        let session = member.peer.session();
        let (peer, name) = (member.peer.id(), member.peer.config().name.clone());
        let step = |changes, step| PeerStep { peer, name, is_established: session.is_some(), changes, step };
        let Some(config) = new.of(member) else {
            return step(vec![Change::of("peer", Effect::RESET)], Step::Remove);
        };
        let mut all = changes(member.peer.config(), &config);
        self.add_policy_changes(&mut all, (member, &config), &new.config.policies, other_rules);
        self.add_own_changes(&mut all, member, &new.config);
        let effect = effect_of(&all);
        let what = match effect.ends {
            Some(Ends::Reset) => Step::Reset,
            Some(Ends::Renegotiate) => Step::Renegotiate,
            None if all.is_empty() => Step::Nothing,
            None => match session.filter(|_| effect.import || effect.export) {
                Some(session) => {
                    Step::Refresh { import: effect.import, can_ask: session.route_refresh, export: effect.export }
                }
                None => Step::InPlace,
            },
        };
        step(all, what)
    }

    /// Other policies: by other names, or by the same with other rules.
    fn add_policy_changes(
        &self,
        all: &mut Vec<Change>,
        (member, new): (&Member, &PeerConfig),
        policies: &Policies,
        other_rules: bool,
    ) {
        let old = member.peer.config();
        if !other_rules && old.import == new.import && old.export == new.export {
            return;
        }
        let ebgp = member.peer.session().map_or_else(|| self.is_external(old), |session| session.codec.ebgp);
        for (field, here, there, effect) in
            [("import", &new.import, &old.import, Effect::IMPORT), ("export", &new.export, &old.export, Effect::EXPORT)]
        {
            if policies.does_as(here.as_deref(), (&self.config.policies, there.as_deref()), ebgp) {
                continue;
            }
            match all.iter_mut().find(|change| change.field == field) {
                Some(change) => change.effect = change.effect.and(effect),
                None => {
                    all.push(Change::of(format!("{field}: policy.{}", here.as_deref().unwrap_or_default()), effect))
                }
            }
        }
    }

    fn is_external(&self, config: &PeerConfig) -> bool {
        config.remote_asn != RemoteAs::Is(self.config.asn)
    }

    /// What we are ourselves, as far as a peer hears of it.
    fn add_own_changes(&self, all: &mut Vec<Change>, member: &Member, new: &SpeakerConfig) {
        let old = &self.config;
        let mut note = |field: &str, from: String, to: String, effect| {
            if from != to {
                all.push(Change { field: field.to_owned(), from, to, effect });
            }
        };
        note("asn", old.asn.to_string(), new.asn.to_string(), Effect::RESET);
        note("router_id", old.router_id.to_string(), new.router_id.to_string(), Effect::RESET);
        if member.peer.session().is_some_and(|session| !session.codec.ebgp) {
            // It stands in what is reflected (RFC 4456 §8).
            note("cluster_id", old.cluster_id.to_string(), new.cluster_id.to_string(), Effect::EXPORT);
        }
    }

    /// Puts a new configuration into force: just what [`Self::foresee`] says of it, which is the answer.
    pub fn reconfigure(&mut self, now: Instant, new: Reconfiguration) -> Vec<PeerStep> {
        let steps = self.foresee(&new);
        let wanted: Vec<Option<PeerConfig>> = steps
            .iter()
            .map(|step| match self.members.get(&step.peer) {
                Some(member) => new.of(member),
                None => new.peers.iter().find(|(id, _)| *id == step.peer).map(|(_, config)| config.clone()),
            })
            .collect();
        let is_other = (self.config.asn, self.config.router_id) != (new.config.asn, new.config.router_id);
        let alike = self.replace(now, new.config);
        if !alike {
            self.forget_rules(&steps);
        }
        if let Some(ranges) = new.ranges {
            self.named = true;
            self.ranges = ranges;
        }
        // Places first: one that is left may be taken.
        for step in steps.iter().filter(|step| step.step == Step::Remove) {
            self.remove_peer(now, step.peer);
        }
        for (step, config) in steps.iter().zip(wanted) {
            let Some(config) = config else { continue };
            let dynamic = self.members.get(&step.peer).is_some_and(|member| member.dynamic);
            match step.step {
                Step::Nothing | Step::Remove => {}
                Step::Add => self.add_peer(now, step.peer, config, false),
                Step::InPlace | Step::Refresh { .. } | Step::Renegotiate | Step::Reset if !is_other => {
                    self.change_peer(now, step.peer, config, effect_of(&step.changes));
                }
                // RFC 4486 §4: with another AS or identifier we are somebody else.
                Step::InPlace | Step::Refresh { .. } | Step::Renegotiate | Step::Reset => {
                    self.remove_peer(now, step.peer);
                    if !dynamic {
                        self.add_peer(now, step.peer, config, false);
                    }
                }
            }
        }
        self.settle(now);
        self.aggregate(now);
        self.after(now);
        steps
    }

    /// Replaces what the speaker is, peers apart; whether the rules of the policies are the same.
    fn replace(&mut self, now: Instant, config: SpeakerConfig) -> bool {
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        if old.policies != new.policies {
            self.table.tell_hops(new.policies.asks_of_next_hops());
            self.table.set_guards(new.policies.guards());
            self.table.rerank(SLICE);
        }
        let alike = old.policies.has_rules_of(&self.config.policies);
        if !alike || old.cluster_id != self.config.cluster_id {
            // They were made with the old ones.
            self.groups.clear();
        }
        if !alike {
            let numbers = self.config.policies.numbers_of(&old.policies);
            for member in self.members.values_mut() {
                member.hits.renumber(&numbers);
                member.refused.renumber(&numbers);
            }
        }
        if old.multipath != self.config.multipath {
            self.table.set_multipath(self.config.multipath);
            self.table.rerank(SLICE);
        }
        if old.aggregates != self.config.aggregates
            || old.asn != self.config.asn
            || old.router_id != self.config.router_id
        {
            self.set_aggregates(now);
        }
        alike
    }

    /// What counted under rules that are no more, of peers that have others now.
    fn forget_rules(&mut self, steps: &[PeerStep]) {
        for step in steps {
            let effect = effect_of(&step.changes);
            if let Some(member) = self.members.get_mut(&step.peer).filter(|_| effect.import || effect.export) {
                member.hits = Hits::default();
                if effect.import {
                    member.refused.clear();
                }
            }
        }
    }

    /// Replaces what the speaker is. A new AS or identifier ends every session and begins them again (RFC 4486 §4, Other
    /// Configuration Change); anything else is applied in place.
    pub fn set_config(&mut self, now: Instant, config: SpeakerConfig) {
        self.reconfigure(now, Reconfiguration { config, peers: Vec::new(), gone: Vec::new(), ranges: None });
    }

    /// Replaces the policies: peers whose own did not change hear nothing.
    pub fn set_policies(&mut self, now: Instant, policies: Arc<Policies>) {
        self.set_config(now, SpeakerConfig { policies, ..self.config.clone() });
    }

    /// Adds a peer, or changes it.
    pub(super) fn set_peer(&mut self, now: Instant, id: PeerId, config: PeerConfig, dynamic: bool) {
        let Some(member) = self.members.get(&id) else {
            return self.add_peer(now, id, config, dynamic);
        };
        let mut all = changes(member.peer.config(), &config);
        self.add_policy_changes(&mut all, (member, &config), &self.config.policies, false);
        if !all.is_empty() {
            self.change_peer(now, id, config, effect_of(&all));
        }
    }

    fn change_peer(&mut self, now: Instant, id: PeerId, config: PeerConfig, effect: Effect) {
        self.groups.clear();
        let Some(old) = self.members.get(&id).map(|member| member.peer.config().endpoint.clone()) else {
            return;
        };
        if old != config.endpoint {
            self.leave_place(id, &old);
            self.take_place(id, &config.endpoint);
        }
        let (client, leave) = (config.route_reflector_client, config.routes.leave);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let left = member.peer.config().routes.leave;
        if !member.peer.set_config(now, config, &mut self.rng, &mut self.next_conn) {
            if left != leave {
                self.leave(id, leave);
            }
            let Some(member) = self.members.get_mut(&id) else {
                return;
            };
            self.table.set_client(id, client);
            if effect.export {
                member.out.restart();
                self.news.insert(id);
            }
            if effect.import && self.ask_for_routes_of(id) {
                self.outdate(now, id);
            }
        }
        self.drain(now, id);
    }

    fn add_peer(&mut self, now: Instant, id: PeerId, config: PeerConfig, dynamic: bool) {
        self.groups.clear();
        self.take_place(id, &config.endpoint);
        let restarted = !self.converged;
        let kept = self.config.restarting && restarted;
        let local = Local { asn: self.config.asn, router_id: self.config.router_id, restarted, kept };
        let member = Member {
            peer: Peer::new(id, config, local),
            out: super::export::Out::default(),
            last: None,
            held: self.left.remove(&id).unwrap_or_default(),
            rejected: 0,
            prefixes_rejected: 0,
            paths_over_limit: 0,
            refused: RefusedRoutes::default(),
            hits: Hits::default(),
            faults: 0,
            warned: false,
            over: false,
            updates: 0,
            ended: Vec::new(),
            taken_over: false,
            dynamic,
            timer: None,
        };
        self.members.insert(id, member);
        self.give(now, id, PeerInput::Start);
        self.drain(now, id);
    }
}
