//! Reports of machines that nobody registered, and what people say of them. Acceptance is one transaction: the machine, its place, the
//! audit entry, and the candidate that is no longer one.
//!
//! A report that only makes or renews a candidate has no audit entry: it changes nothing that counts, and strangers must not fill the log.

use super::Draft;
use crate::error::{Kind, Refusal};
use crate::inventory::enrol::{
    Acceptance, CANDIDATES_MAX, Candidate, Gives, OF_SOURCE_MAX, Origin, Rejection, Rule, Sighting, Then, Waiting,
};
use crate::inventory::machine::{Machine, reason};
use crate::inventory::{CANDIDATES, Decision, Held, Inventory, QUEUE, Queue, RULES};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What the rules make of a candidate.
enum Verdict {
    Accepted(String, Box<Machine>),
    Rejected(String, String),
    Waits(String),
}

impl Inventory {
    /// A candidate with its rule, and why it waits.
    #[must_use]
    pub fn waiting(&self, candidate: &Candidate, now: Timestamp) -> Waiting {
        let rule = self.rule(candidate);
        let role = rule.and_then(Rule::gives).map(|gives| gives.role.clone());
        let why = match (&candidate.rejected, self.verdict(candidate, "", now)) {
            (Some(rejection), _) => format!("rejected by {}: {}", rejection.by, rejection.reason),
            (None, Verdict::Waits(why)) => why,
            (None, Verdict::Accepted(rule, _)) => format!("rule `{rule}` accepts it when it reports again"),
            (None, Verdict::Rejected(rule, _)) => format!("rule `{rule}` rejects it"),
        };
        Waiting { candidate: candidate.clone(), rule: rule.map(|rule| rule.name.clone()), role, why }
    }

    pub(super) fn sight(&self, mut draft: Draft<'_>, said: &Sighting) -> Result<Decision, Refusal> {
        let said = said.clone().checked()?;
        if self.machines.contains_key(&said.serial) {
            return Ok(draft.done(Vec::new()));
        }
        let (origin, now) = (Origin::of(draft.actor), draft.stamp.now);
        let old = self.candidates.get(&said.serial);
        let candidate = Candidate::after(old.map(|old| old.value.as_ref()), said, &origin, self.addressing(), now);
        let serial = candidate.said.serial.clone();
        draft.unchanged(&key(&serial), old.map(|old| old.modified));
        draft.unchanged(RULES, self.rules.as_ref().map(|held| held.modified));
        if candidate.rejected.is_none() {
            match self.verdict(&candidate, &draft.actor.name, now) {
                Verdict::Accepted(rule, machine) => {
                    draft.action = format!("enrol by rule {rule}");
                    return self.enrol(draft, old, *machine);
                }
                Verdict::Rejected(rule, why) => {
                    let message = format!("rule `{rule}` rejects {serial}: {why}");
                    let rule = "ask who administers the inventory";
                    return Err(Refusal::invalid("serial", message, rule).of(Kind::Forbidden));
                }
                Verdict::Waits(_) => {}
            }
        }
        match old {
            Some(old) if candidate.is_as(&old.value) => return Ok(Decision::default()),
            Some(_) => {}
            None => self.make_room(&mut draft, &candidate)?,
        }
        draft.write(&key(&serial), Some(&candidate));
        Ok(draft.done(Vec::new()))
    }

    pub(super) fn accept(&self, mut draft: Draft<'_>, serial: &str, wish: &Acceptance) -> Result<Decision, Refusal> {
        if self.machines.contains_key(serial) {
            let message = format!("`{serial}` is registered already");
            return Err(Refusal::conflict("serial", message, "a serial number is of one machine"));
        }
        let held = self.held(serial)?;
        let candidate = held.value.as_ref();
        let spec = candidate.spec(self.rule(candidate).and_then(Rule::gives), wish)?;
        let ipam = self.planned(&mut draft)?;
        let machine = self.newcomer((&draft.actor.name, draft.stamp.now), &spec, ipam, &BTreeSet::new())?;
        draft.unchanged(&key(serial), Some(held.modified));
        draft.unchanged(RULES, self.rules.as_ref().map(|held| held.modified));
        self.enrol(draft, Some(held), machine)
    }

    pub(super) fn reject(&self, mut draft: Draft<'_>, serial: &str, why: &str) -> Result<Decision, Refusal> {
        reason("reason", why)?;
        let held = self.held(serial)?;
        let rejection = Rejection { at: draft.stamp.now, by: draft.actor.name.clone(), reason: why.to_owned() };
        let after = Candidate { rejected: Some(rejection), ..held.value.as_ref().clone() };
        draft.unchanged(&key(serial), Some(held.modified));
        draft.write(&key(serial), Some(&after));
        draft.audit(serial, (super::json(held.value.as_ref()), super::json(&after)));
        Ok(draft.done(Vec::new()))
    }

    pub(super) fn forget(&self, mut draft: Draft<'_>, serial: &str) -> Result<Decision, Refusal> {
        let held = self.held(serial)?;
        draft.unchanged(&key(serial), Some(held.modified));
        draft.write::<Candidate>(&key(serial), None);
        draft.audit(serial, (super::json(held.value.as_ref()), None));
        Ok(draft.done(Vec::new()))
    }

    fn held(&self, serial: &str) -> Result<&Held<Candidate>, Refusal> {
        self.candidates.get(serial).ok_or_else(|| Refusal::not_found("candidate", serial))
    }

    fn rule(&self, candidate: &Candidate) -> Option<&Rule> {
        self.rules.as_ref()?.value.meaning(candidate)
    }

    fn verdict(&self, candidate: &Candidate, by: &str, now: Timestamp) -> Verdict {
        let Some(rule) = self.rule(candidate) else {
            return Verdict::Waits("no rule means it".to_owned());
        };
        let (gives, at_once) = match &rule.then {
            Then::Reject { reason } => return Verdict::Rejected(rule.name.clone(), reason.clone()),
            Then::Hold(gives) => (gives, false),
            Then::Accept(gives) => (gives, true),
        };
        match self.trial(candidate, gives, by, now) {
            Err(refusal) => Verdict::Waits(refusal.to_string()),
            Ok(_) if !at_once => Verdict::Waits(format!("rule `{}` holds it until somebody accepts it", rule.name)),
            Ok(machine) => match candidate.doubt(gives) {
                Some(doubt) => Verdict::Waits(doubt),
                None => Verdict::Accepted(rule.name.clone(), Box::new(machine)),
            },
        }
    }

    /// The machine that it would be.
    fn trial(&self, candidate: &Candidate, gives: &Gives, by: &str, now: Timestamp) -> Result<Machine, Refusal> {
        let spec = candidate.spec(Some(gives), &Acceptance::default())?;
        let Some(ipam) = &self.ipam else {
            let rule = "set one first: `weft-netboot ipam set FILE`";
            return Err(Refusal::conflict("", "there is no address plan", rule));
        };
        self.newcomer((by, now), &spec, self.target.as_ref().unwrap_or(&ipam.value), &BTreeSet::new())
    }

    /// The machine comes, the candidate goes.
    fn enrol(
        &self,
        mut draft: Draft<'_>,
        old: Option<&Held<Candidate>>,
        mut machine: Machine,
    ) -> Result<Decision, Refusal> {
        self.planned(&mut draft)?;
        machine.state.reason.clone_from(&draft.action);
        if old.is_some() {
            draft.write::<Candidate>(&key(&machine.serial), None);
        }
        let machine = self.add(&mut draft, machine);
        self.count(&mut draft, self.machines.len() + 1);
        Ok(draft.done(vec![machine]))
    }

    /// A new candidate takes a place: who decides so without knowing of another newcomer meets a conflict, so there are never more than
    /// places. It displaces what nobody vouches for: of its own source when that has its part, or of the one with the most. The one
    /// that was not seen for longest goes.
    fn make_room(&self, draft: &mut Draft<'_>, candidate: &Candidate) -> Result<(), Refusal> {
        draft.unchanged(QUEUE, self.queue.as_ref().map(|held| held.modified));
        let displaced = self.displaced(candidate)?;
        let count = self.candidates.len() + 1 - usize::from(displaced.is_some());
        draft.write(QUEUE, Some(&Queue { candidates: u64::try_from(count).unwrap_or(u64::MAX) }));
        if let Some((serial, held)) = displaced {
            draft.unchanged(&key(serial), Some(held.modified));
            draft.write::<Candidate>(&key(serial), None);
        }
        Ok(())
    }

    fn displaced(&self, candidate: &Candidate) -> Result<Option<(&String, &Held<Candidate>)>, Refusal> {
        let mut sources: BTreeMap<&str, Vec<(&String, &Held<Candidate>)>> = BTreeMap::new();
        for (serial, held) in self.candidates.iter().filter(|(_, held)| !held.value.vouched) {
            sources.entry(&held.value.source).or_default().push((serial, held));
        }
        let own = sources.get(candidate.source.as_str()).filter(|_| !candidate.vouched);
        let from = match own.filter(|own| own.len() >= OF_SOURCE_MAX) {
            Some(own) => Some(own),
            None if self.candidates.len() < CANDIDATES_MAX => return Ok(None),
            None => sources.values().max_by_key(|of_source| of_source.len()),
        };
        let oldest = from.and_then(|from| from.iter().min_by_key(|(_, held)| held.value.last_seen));
        oldest.copied().map(Some).ok_or_else(|| {
            let message = format!("{} machines wait already", self.candidates.len());
            let rule = "accept, reject or forget some: `weft-netboot enrol list`";
            Refusal::invalid("", message, rule).of(Kind::TooMuch)
        })
    }
}

fn key(serial: &str) -> String {
    format!("{CANDIDATES}{serial}")
}
