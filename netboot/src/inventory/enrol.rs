//! Machines that nobody registered: what they say of themselves, who vouches for it, and the rules by which they come in.
//!
//! ```text
//!   a machine reports itself ──▶ rules, in order ──┬─ accept ──▶ registered, in one transaction
//!                                                  ├─ hold, or none means it ──▶ candidate: waits for `enrol accept`
//!                                                  └─ reject ──▶ nothing is kept
//! ```
//!
//! A report is a claim. Whoever shows the certificate of the serial number, or an operator, vouches for it; of anybody else only the
//! source address is known, from which the address plan says the rack. Such a report never replaces what another source said.

mod rate;
mod rules;

pub(crate) use rules::glob;

pub use rate::Rate;
pub use rules::{Gives, Match, RULES_MAX, Rule, Rules, Then};

use super::access::{Access, Actor, source};
use super::machine::{Hardware, Ids, Spec, bmc_type, word};
use crate::error::{Kind, Refusal};
use crate::ipam::{Addressing, RACK_NUMBER_MAX};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Candidates at a time, whatever the number of servers: some racks that are new.
pub const CANDIDATES_MAX: usize = 512;
/// Of these from one source that shows no certificate: a rack behind a relay.
pub const OF_SOURCE_MAX: usize = 64;
/// Octets of what a machine says: 64 network cards and some hundred disks. All candidates together are 16 MiB at most.
pub const SAID_BYTES_MAX: usize = 32 * 1024;
/// Other sources remembered that said something else of the same serial number.
const DISPUTES_MAX: usize = 4;
/// A candidate that says what it said before is written again after this.
pub const SEEN_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// What the vendor calls it.
    pub serial: String,
    /// What else tells it apart.
    #[serde(default)]
    pub ids: Ids,
    /// What is in it.
    #[serde(default)]
    pub hardware: Hardware,
    /// Where it was seen, in the words of who reports; the address plan knows better where it knows the source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<u32>,
    /// The kind of its management controller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bmc_type: String,
}

/// A machine that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// What it says.
    pub said: Sighting,
    /// The rack it was seen in, by its source address or its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<u32>,
    /// Who reported it: an address, or the name in a certificate.
    pub source: String,
    /// Whether somebody vouches for it: the certificate of its serial number, or an operator.
    pub vouched: bool,
    /// Its first report.
    pub first_seen: Timestamp,
    /// Its last report, to the minute.
    pub last_seen: Timestamp,
    /// Others that said something else of this serial number; it was not believed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disputed_by: BTreeSet<String>,
    /// Who does not want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejection>,
}

/// Somebody does not want a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What an operator says who takes a candidate; what is left out is as its rule and its report say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acceptance {
    /// See [`super::machine::Machine::role`].
    pub role: Option<String>,
    /// See [`super::machine::Machine::rack`].
    pub rack: Option<u32>,
    /// See [`super::machine::Machine::index`].
    pub index: Option<u32>,
    /// See [`super::machine::Machine::name`].
    pub name: Option<String>,
    /// Beside those of its rule.
    pub labels: BTreeMap<String, String>,
}

/// A candidate as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    /// As it is stored.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The first rule that means it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The role that this rule gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Why it waits.
    pub why: String,
}

/// Where a report comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who counts as one.
    pub source: String,
    /// Whether somebody vouches.
    pub vouched: bool,
    /// The machine's own address, where it reports itself.
    address: Option<IpAddr>,
}

impl Origin {
    /// Of a request.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        let address: Option<IpAddr> = actor.via.parse().ok();
        match actor.access {
            Access::Stranger => {
                let source = address.map_or_else(|| actor.via.clone(), |address| source(address).to_string());
                Self { source, vouched: false, address }
            }
            Access::Machine => Self { source: actor.name.clone(), vouched: true, address },
            Access::Read | Access::Operator | Access::Admin => {
                Self { source: actor.name.clone(), vouched: true, address: None }
            }
        }
    }

    /// The rack that the plan knows by the source address. While the plan is changed, an address may be of either; one that they have in
    /// different racks says nothing.
    fn rack(&self, plans: Option<Addressing<'_>>) -> Option<u32> {
        let address = self.address?.to_canonical();
        let mut racks = plans?.plans().filter_map(|plan| plan.rack_of(address));
        let first = racks.next()?;
        racks.all(|rack| rack == first).then_some(first)
    }
}

impl Sighting {
    /// Brings identifiers into one form and looks at every word.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn checked(mut self) -> Result<Self, Refusal> {
        word("serial", &self.serial)?;
        if !self.bmc_type.is_empty() {
            bmc_type("bmc_type", &self.bmc_type)?;
        }
        if let Some(rack) = self.rack.filter(|rack| *rack > RACK_NUMBER_MAX) {
            let rule = format!("0 to {RACK_NUMBER_MAX}");
            return Err(Refusal::invalid("rack", format!("{rack} is no rack number"), rule));
        }
        self.ids = self.ids.checked()?;
        self.hardware = self.hardware.checked()?;
        let octets = serde_json::to_vec(&self).map_or(usize::MAX, |text| text.len());
        if octets > SAID_BYTES_MAX {
            let rule = format!("at most {SAID_BYTES_MAX} octets");
            return Err(Refusal::invalid("", format!("{octets} octets about one machine"), rule).of(Kind::TooMuch));
        }
        Ok(self)
    }
}

impl Candidate {
    /// A candidate after a report.
    #[must_use]
    pub fn after(
        old: Option<&Self>,
        said: Sighting,
        origin: &Origin,
        plans: Option<Addressing<'_>>,
        now: Timestamp,
    ) -> Self {
        let seen = origin.rack(plans);
        let Some(old) = old else {
            return Self {
                rack: seen.or(said.rack),
                said,
                source: origin.source.clone(),
                vouched: origin.vouched,
                first_seen: now,
                last_seen: now,
                disputed_by: BTreeSet::new(),
                rejected: None,
            };
        };
        let mut after = Self { last_seen: now, ..old.clone() };
        if origin.vouched || (origin.source == old.source && !old.vouched) {
            after.rack = seen.or(said.rack).or(old.rack);
            after.said = said;
            after.source.clone_from(&origin.source);
            after.vouched = origin.vouched;
        } else if said != old.said {
            if after.disputed_by.len() < DISPUTES_MAX {
                after.disputed_by.insert(origin.source.clone());
            }
            // It was somebody else who was seen.
            after.last_seen = old.last_seen;
        }
        after
    }

    /// Whether it is not worth writing again.
    #[must_use]
    pub fn is_as(&self, old: &Self) -> bool {
        let fresh = self.last_seen.duration_since(old.last_seen) < SEEN_EVERY;
        fresh && Self { last_seen: old.last_seen, ..self.clone() } == *old
    }

    /// What it would be registered as.
    ///
    /// # Errors
    /// When nobody says its role or its rack.
    pub fn spec(&self, gives: Option<&Gives>, wish: &Acceptance) -> Result<Spec, Refusal> {
        let role = wish.role.clone().or_else(|| gives.map(|gives| gives.role.clone()));
        let role = role.ok_or_else(|| {
            Refusal::conflict("role", "no rule gives it one", "say its role, or write a rule that means it")
        })?;
        let rack = wish.rack.or_else(|| gives?.rack).or(self.rack);
        let rack = rack.ok_or_else(|| {
            Refusal::conflict("rack", "nobody knows in which rack it is", "say its rack, or write a rule that does")
        })?;
        let mut labels = gives.map(|gives| gives.labels.clone()).unwrap_or_default();
        labels.extend(wish.labels.clone());
        Ok(Spec {
            serial: self.said.serial.clone(),
            name: wish.name.clone(),
            ids: self.said.ids.clone(),
            labels,
            rack,
            index: wish.index,
            role,
            bmc_type: self.said.bmc_type.clone(),
            hardware: self.said.hardware.clone(),
            ..Spec::default()
        })
    }

    /// Why no rule lets it in without a person, whatever the rule says.
    #[must_use]
    pub fn doubt(&self, gives: &Gives) -> Option<String> {
        if !self.vouched && !gives.open {
            return Some("nobody vouches for it, and its rule has no `open: true`".to_owned());
        }
        if !self.disputed_by.is_empty() {
            let others: Vec<&str> = self.disputed_by.iter().map(String::as_str).collect();
            return Some(format!("{} says something else of this serial number", others.join(", ")));
        }
        match (self.said.rack, self.rack) {
            (Some(said), Some(seen)) if said != seen => Some(format!("says rack {said}, was seen in rack {seen}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
