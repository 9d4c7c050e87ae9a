//! What a new configuration would do, before it does it: per peer whether it hears nothing, is asked and told again, or loses its
//! session, and why; which routes follow; what changes of ourselves and of the kernel's side. Pure: two configurations in, a plan out.
//!
//! ```text
//! old, new ──▶ Node::plan ──▶ speaker.foresee ──▶ compare ──▶ Plan ──▶ is it refused? ──▶ Node::reload ──▶ speaker.reconfigure
//!                                    │                         ▲                                          (foresees the same, and does it)
//!                                    └─▶ forecast, in slices ──┘
//! ```

mod settings;

use crate::config::NodeConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use weft_bgp::peer::change::{Change, Effect};
use weft_bgp::speaker::{Forecast, Originate, PeerRoutes, PeerStep, Step};
use weft_bgp::types::{IpNet, PeerId};

/// Peers named in a refusal: a line of a terminal or two. The others are counted.
const NAMED_MAX: usize = 8;

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Every peer, those included to which nothing happens.
    pub peers: Vec<PeerPlan>,
    /// What changes of the node as a whole.
    pub settings: Vec<Setting>,
    /// Routes that we originate.
    pub originated: Vec<Difference>,
    /// Addresses on `lo`.
    pub addresses: Vec<Difference>,
    /// Service addresses.
    pub vips: Vec<Difference>,
    /// The table was too large to look at all of it: counts of routes are of a part.
    pub routes_in_part: bool,
}

/// What happens to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPlan {
    /// Its name.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// It has a session now.
    pub established: bool,
    /// It is asked for its routes again (RFC 2918).
    pub asks: bool,
    /// It would be, but cannot be asked: its routes stay as the old policy left them.
    pub cannot_ask: bool,
    /// It is told our routes again.
    pub tells: bool,
    /// Which fields differ, and what follows from each.
    pub changes: Vec<FieldChange>,
    /// What becomes of routes; with a session only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<PeerRoutes>,
    #[serde(skip)]
    id: Option<PeerId>,
}

/// What is done to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing.
    Nothing,
    /// It is changed; its session does not notice.
    InPlace,
    /// Routes are asked for or told again; the session stands.
    Refresh,
    /// The session ends and begins again: an OPEN says other things.
    Renegotiate,
    /// The session ends and begins again.
    Reset,
    /// The session ends, and the peer is forgotten.
    Remove,
    /// A new peer.
    Add,
}

/// A field of a peer that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// As the configuration file calls it.
    pub field: String,
    /// What it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// What it becomes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// What follows.
    pub effect: String,
}

/// A field of the node that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// As the configuration file calls it.
    pub field: String,
    /// What it was.
    pub from: String,
    /// What it becomes.
    pub to: String,
}

/// Something that comes, goes or changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// How.
    pub change: Kind,
    /// What.
    pub what: String,
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is there no more.
    Removed,
    /// It is another one.
    Changed,
}

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is in force.
    Reloaded,
    /// It is in force until somebody confirms it, or does not in time.
    OnProbation,
    /// It stays.
    Confirmed,
    /// Nobody confirmed it: the earlier one is in force again.
    RolledBack,
    /// It was wrong, or would have ended a session: nothing changed.
    Refused,
}

/// Something happened to the configuration or the program, for the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The configuration.
    Configuration {
        /// What.
        outcome: Outcome,
        /// What changed, in a few words, or why nothing did; empty where there was nothing to change.
        summary: String,
        /// The time within which it must be confirmed.
        confirm_within_s: Option<u64>,
    },
    /// Another program takes over, or did.
    Upgrade {
        /// How far it is, as a sentence.
        summary: String,
    },
}

impl Event {
    /// As a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (outcome, summary, confirm_within_s) = match self {
            Self::Configuration { outcome, summary, confirm_within_s } => (outcome, summary, confirm_within_s),
            Self::Upgrade { summary } => return summary.clone(),
        };
        match outcome {
            Outcome::Reloaded => format!("configuration reloaded: {summary}"),
            Outcome::OnProbation => {
                let within = confirm_within_s.unwrap_or_default();
                format!("configuration reloaded, to be confirmed within {within} s: {summary}")
            }
            Outcome::Confirmed => "configuration confirmed".to_owned(),
            Outcome::Refused => format!("configuration not reloaded: {summary}"),
            Outcome::RolledBack => format!("configuration not confirmed in time, the earlier one is back: {summary}"),
        }
    }
}

/// Compares two configurations; `steps` says what the speaker will do to peers.
#[must_use]
pub fn compare(old: &NodeConfig, new: &NodeConfig, steps: &[PeerStep]) -> Plan {
    let routes = |config: &NodeConfig| -> BTreeMap<IpNet, Originate> {
        config.originate.iter().map(|route| (route.prefix, route.clone())).collect()
    };
    let addresses = |config: &NodeConfig| config.addresses.iter().map(|net| (*net, ())).collect::<BTreeMap<_, _>>();
    let vips = |config: &NodeConfig| -> BTreeMap<String, _> {
        config.vips.iter().map(|vip| (vip.name.clone(), vip.clone())).collect()
    };
    Plan {
        peers: steps.iter().map(|step| peer_plan(old, new, step)).collect(),
        settings: settings::settings(old, new),
        originated: differences(&routes(old), &routes(new)),
        addresses: differences(&addresses(old), &addresses(new)),
        vips: differences(&vips(old), &vips(new)),
        routes_in_part: false,
    }
}

fn peer_plan(old: &NodeConfig, new: &NodeConfig, step: &PeerStep) -> PeerPlan {
    let mut changes: Vec<FieldChange> = match step.step {
        // That it goes says everything.
        Step::Remove => Vec::new(),
        Step::Nothing | Step::InPlace | Step::Refresh { .. } | Step::Renegotiate | Step::Reset | Step::Add => {
            step.changes.iter().map(field_change).collect()
        }
    };
    if !matches!(step.step, Step::Add | Step::Remove) {
        changes.extend(settings::beside(old, new, &step.name));
    }
    let (asks, cannot_ask, tells) = match step.step {
        Step::Refresh { import, can_ask, export } => (import && can_ask, import && !can_ask, export),
        Step::Nothing | Step::InPlace | Step::Renegotiate | Step::Reset | Step::Remove | Step::Add => {
            (false, false, false)
        }
    };
    let action = match step.step {
        Step::Nothing if changes.is_empty() => Action::Nothing,
        Step::Nothing | Step::InPlace => Action::InPlace,
        Step::Refresh { .. } => Action::Refresh,
        Step::Renegotiate => Action::Renegotiate,
        Step::Reset => Action::Reset,
        Step::Remove => Action::Remove,
        Step::Add => Action::Add,
    };
    PeerPlan {
        name: step.name.clone(),
        action,
        established: step.is_established,
        asks,
        cannot_ask,
        tells,
        changes,
        routes: None,
        id: Some(step.peer),
    }
}

fn field_change(change: &Change) -> FieldChange {
    let Effect { import, export, next_session, ends } = change.effect;
    let effect = match (ends, import, export) {
        (Some(_), _, _) => "ends the session",
        (None, true, true) => "asks and tells again",
        (None, true, false) => "asks for its routes again",
        (None, false, true) => "tells it our routes again",
        (None, false, false) if next_session => "from the next session on",
        (None, false, false) => "at once",
    };
    FieldChange {
        field: change.field.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
        effect: effect.to_owned(),
    }
}

fn differences<K: Ord + ToString, V: PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Vec<Difference> {
    let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (Kind::Removed, key));
    let other = new.iter().filter_map(|(key, value)| match old.get(key) {
        None => Some((Kind::Added, key)),
        Some(before) if before != value => Some((Kind::Changed, key)),
        Some(_) => None,
    });
    gone.chain(other).map(|(change, key)| Difference { change, what: key.to_string() }).collect()
}

impl PeerPlan {
    /// Whether a session that stands ends.
    #[must_use]
    pub const fn ends_session(&self) -> bool {
        self.established && matches!(self.action, Action::Renegotiate | Action::Reset | Action::Remove)
    }

    /// Which fields end it: `hold_s 9 → 30`.
    #[must_use]
    pub fn reasons(&self) -> String {
        if self.action == Action::Remove {
            return "no longer in the configuration".to_owned();
        }
        let ends = self.changes.iter().filter(|change| change.effect.starts_with("ends"));
        ends.map(FieldChange::text).collect::<Vec<_>>().join(", ")
    }
}

impl FieldChange {
    /// `hold_s 9 → 30`, or the field alone where there are no values.
    #[must_use]
    pub fn text(&self) -> String {
        if self.from.is_empty() && self.to.is_empty() {
            return self.field.clone();
        }
        format!("{} {} → {}", self.field, self.from, self.to)
    }
}

impl Plan {
    /// Nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.iter().all(|peer| peer.action == Action::Nothing)
            && self.settings.is_empty()
            && self.originated.is_empty()
            && self.addresses.is_empty()
            && self.vips.is_empty()
    }

    /// Adds what a forecast found.
    pub fn add_routes(&mut self, forecast: &Forecast) {
        self.routes_in_part = forecast.is_part();
        for (id, routes) in forecast.routes() {
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == Some(id)) {
                peer.routes = Some(routes.clone());
            }
        }
    }

    /// Why a reload that may end no session is refused; `None`: it ends none.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let mut ending = self.peers.iter().filter(|peer| peer.ends_session());
        let named: Vec<String> =
            ending.by_ref().take(NAMED_MAX).map(|peer| format!("{} ({})", peer.name, peer.reasons())).collect();
        if named.is_empty() {
            return None;
        }
        let others = match ending.count() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        Some(format!("sessions that stand would end: {}{others}; nothing was applied", named.join(", ")))
    }

    /// In a few words, for the log and the history.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return "nothing is different".to_owned();
        }
        let mut parts = Vec::new();
        for (action, words) in [
            (Action::InPlace, "changed in place"),
            (Action::Refresh, "refreshed"),
            (Action::Renegotiate, "renegotiated"),
            (Action::Reset, "reset"),
            (Action::Remove, "removed"),
            (Action::Add, "added"),
        ] {
            match self.peers.iter().filter(|peer| peer.action == action).count() {
                0 => {}
                1 => parts.push(format!("1 peer {words}")),
                count => parts.push(format!("{count} peers {words}")),
            }
        }
        for (count, one, several) in [
            (self.settings.len(), "setting", "settings"),
            (self.originated.len(), "originated route", "originated routes"),
            (self.addresses.len(), "address", "addresses"),
            (self.vips.len(), "service address", "service addresses"),
        ] {
            match count {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                count => parts.push(format!("{count} {several}")),
            }
        }
        parts.join(", ")
    }
}
