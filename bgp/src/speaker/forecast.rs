//! Which routes would change with a new configuration, before it is in force: a walk over the table, in slices, that changes nothing.
//!
//! The table holds what the import policy in force made of what came (there is no copy of it from before). A new import policy is asked
//! about that: this is exact where the old one changes nothing, and an estimate where it does. What it refused is not in the table:
//! that a peer tells again after the reload, and until then only its prefixes are known.

use super::export::Route as Told;
use super::filter::Offer;
use super::machine::{Member, Speaker};
use super::reconfigure::{PeerStep, Reconfiguration, Step};
use crate::peer::{PeerConfig, Session};
use crate::policy::{Chosen, Policies, Route, Source, Verdict};
use crate::rib::table::{Entry, Path, SlotId};
use crate::types::{IpNet, NextHop, PeerId};
use crate::wire::attrs::Attrs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Prefixes named of each kind; the others are counted.
pub const NAMED_MAX: usize = 10;
/// Questions to policies in one slice: a few milliseconds, so that no keepalive waits for it.
const SLICE: u64 = 1_024;
/// Questions to policies in all: with 64 peers, of 100,000 routes every one is looked at. Beyond, the forecast says that it is of a part.
pub const QUESTIONS_MAX: u64 = 8_000_000;

/// So many prefixes, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How many.
    pub count: u64,
    /// At most [`NAMED_MAX`] of them.
    pub first: Vec<IpNet>,
}

impl Found {
    fn note(&mut self, prefix: IpNet) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(prefix);
        }
    }
}

/// What would become of the routes from and to one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRoutes {
    /// Taken now, and refused then.
    pub refused: Found,
    /// Taken now and then, with other attributes.
    pub changed: Found,
    /// Refused now by the policy; the peer tells them again, and then the new policy decides. As far as is remembered.
    pub asked_again: Found,
    /// Not told now, and told then.
    pub told: Found,
    /// Told now, and withdrawn then.
    pub withdrawn: Found,
    /// Told now and then, with other attributes.
    pub told_otherwise: Found,
    /// The session ends: so many paths of the peer go until it is back.
    pub lost: u64,
    /// The old import policy changes routes, or several paths are told: the counts are an estimate.
    pub is_estimate: bool,
}

/// A forecast under way. See [`Speaker::forecast_on`].
#[derive(Clone, Debug)]
pub struct Forecast {
    policies: Arc<Policies>,
    peers: Vec<Outlook>,
    next: SlotId,
    asked: u64,
    is_cut: bool,
    is_over: bool,
}

#[derive(Clone, Debug)]
struct Outlook {
    id: PeerId,
    config: PeerConfig,
    import: bool,
    export: bool,
    routes: PeerRoutes,
}

impl Forecast {
    /// What was found so far, by peer.
    pub fn routes(&self) -> impl Iterator<Item = (PeerId, &PeerRoutes)> {
        self.peers.iter().map(|outlook| (outlook.id, &outlook.routes))
    }

    /// Nothing more will be found.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The table was too large for all of it: the counts are of a part.
    #[must_use]
    pub const fn is_part(&self) -> bool {
        self.is_cut
    }

    /// It has taken long enough: what was found so far is the answer.
    pub const fn cut(&mut self) {
        self.is_cut |= !self.is_over;
        self.is_over = true;
    }
}

impl Speaker {
    /// Begins a forecast for peers whose routes `steps` concern.
    #[must_use]
    pub fn forecast(&self, new: &Reconfiguration, steps: &[PeerStep]) -> Forecast {
        let policies = Arc::clone(&new.config.policies);
        let peers: Vec<Outlook> = steps.iter().filter_map(|step| self.outlook(new, step, &policies)).collect();
        let is_over = !peers.iter().any(|outlook| outlook.import || outlook.export);
        Forecast { policies, peers, next: 0, asked: 0, is_cut: false, is_over }
    }

    fn outlook(&self, new: &Reconfiguration, step: &PeerStep, policies: &Policies) -> Option<Outlook> {
        let member = self.members.get(&step.peer)?;
        let session = member.peer.session()?;
        let mut routes = PeerRoutes::default();
        let (import, export) = match step.step {
            // Without a refresh its routes stay as they are.
            Step::Refresh { import, can_ask, export } => (import && can_ask, export),
            Step::Renegotiate | Step::Reset | Step::Remove => {
                routes.lost = member.held.of_session();
                (false, false)
            }
            Step::Nothing | Step::InPlace | Step::Add => return None,
        };
        let config = new.of(member).unwrap_or_else(|| member.peer.config().clone());
        let chosen = policies.choose(config.import.as_deref(), session.codec.ebgp);
        if import && !matches!(chosen, Chosen::Always(Verdict::Reject)) {
            let mut seen = BTreeSet::new();
            let refused = member.refused.by_policy().filter(|(_, prefix)| seen.insert(*prefix));
            refused.for_each(|(_, prefix)| routes.asked_again.note(prefix));
        }
        let changes = self.config.policies.changes_routes(member.peer.config().import.as_deref());
        routes.is_estimate = (import && changes) || (export && session.codec.add_path_tx.contains(&true));
        Some(Outlook { id: step.peer, config, import, export, routes })
    }

    /// One slice more of a forecast; true: it is over.
    pub fn forecast_on(&self, forecast: &mut Forecast) -> bool {
        let enough = forecast.asked.saturating_add(SLICE);
        while !forecast.is_over && forecast.asked < enough {
            let Forecast { policies, peers, next, asked, is_cut: _, is_over } = forecast;
            if *next >= self.table.slots() {
                *is_over = true;
                break;
            }
            if *asked >= QUESTIONS_MAX {
                forecast.cut();
                break;
            }
            let slot = *next;
            *next += 1;
            // A slot without an entry costs something too.
            *asked += 1;
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            for outlook in peers.iter_mut() {
                let Some(member) = self.members.get(&outlook.id) else { continue };
                let Some(session) = member.peer.session() else { continue };
                if outlook.import {
                    *asked += self.forecast_import(outlook, (member, session), &entry, policies);
                }
                if outlook.export {
                    *asked += 1;
                    self.forecast_export(outlook, (member, session), (slot, &entry), policies);
                }
            }
        }
        forecast.is_over
    }

    fn forecast_import(
        &self,
        outlook: &mut Outlook,
        (member, session): (&Member, &Session),
        entry: &Entry<'_>,
        policies: &Policies,
    ) -> u64 {
        let chosen = policies.choose(outlook.config.import.as_deref(), session.codec.ebgp);
        let mut asked = 0;
        for path in entry.paths.iter().filter(|path| path.peer == outlook.id) {
            asked += 1;
            match self.import_outcome((member, session), (entry, path), chosen) {
                Some(true) => outlook.routes.changed.note(entry.prefix),
                Some(false) => {}
                None => outlook.routes.refused.note(entry.prefix),
            }
        }
        asked
    }

    /// Whether a path would be another one; `None`: it would be refused.
    fn import_outcome(
        &self,
        (member, session): (&Member, &Session),
        (entry, path): (&Entry<'_>, &Path),
        chosen: Chosen<'_>,
    ) -> Option<bool> {
        let block = self.table.attrs.block(path.attrs);
        let outcome = match chosen {
            Chosen::Always(Verdict::Accept) => return Some(false),
            Chosen::Always(Verdict::Reject) => return None,
            Chosen::Rules(..) => chosen.evaluate(Route {
                prefix: &entry.prefix,
                attrs: Attrs(block),
                next_hop: self.table.hops.next_hop(path.hop).addr,
                source: if session.codec.ebgp { Source::Ebgp } else { Source::Ibgp },
                peer_name: &member.peer.config().name,
                peer_address: session.remote.ip(),
                peer_asn: session.remote_asn,
                own_asn: self.config.asn,
                next_hops: 1,
                bandwidth: Attrs(block).link_bandwidth(),
                vrps: self.rpki.vrps(),
            }),
        };
        if outcome.verdict == Verdict::Reject {
            return None;
        }
        let is_other = !outcome.changes.is_empty()
            && (chosen.next_hop(&outcome.changes).is_some()
                || chosen.changed(block, &outcome.changes, self.config.asn, None) != block);
        Some(is_other)
    }

    fn forecast_export(
        &self,
        outlook: &mut Outlook,
        (member, session): (&Member, &Session),
        (slot, entry): (SlotId, &Entry<'_>),
        policies: &Policies,
    ) {
        let new = policies.choose(outlook.config.export.as_deref(), session.codec.ebgp);
        let offer = self.exportable((outlook.id, &outlook.config), session, entry, new);
        match (member.out.was_told(slot), offer) {
            (false, Ok(_)) => outlook.routes.told.note(entry.prefix),
            (true, Err(_)) => outlook.routes.withdrawn.note(entry.prefix),
            (false, Err(_)) => {}
            (true, Ok(offer)) => {
                let old_config = member.peer.config();
                let old = self.export_policy(member, session);
                let before = self.exportable((outlook.id, old_config), session, entry, old);
                let before = before.ok().and_then(|offer| self.as_told((old_config, session), entry, &offer, old));
                if before != self.as_told((&outlook.config, session), entry, &offer, new) {
                    outlook.routes.told_otherwise.note(entry.prefix);
                }
            }
        }
    }

    /// What stands in the UPDATE for an offer.
    fn as_told(
        &self,
        (config, session): (&PeerConfig, &Session),
        entry: &Entry<'_>,
        offer: &Offer<'_>,
        policy: Chosen<'_>,
    ) -> Option<(Vec<u8>, NextHop)> {
        let path = offer.path;
        let cumulative = entry.bandwidth.filter(|_| policy.writes_cumulative(&offer.changes));
        let cumulative = cumulative.map(|rate| rate.octets_per_s().to_bits());
        let route = Told { attrs: path.attrs, hop: path.hop, changes: offer.changes.clone(), cumulative };
        let (next_hop, _) = self.export_next_hop(config, session, (&route, path.peer), policy)?;
        Some((self.export_block((session, &config.routes), (&route, path.peer), policy), next_hop))
    }
}
