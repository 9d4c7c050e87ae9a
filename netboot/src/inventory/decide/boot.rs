//! Boots of machines: each is counted, and one that boots again and again is held until somebody releases it. And templates of what they read.

use super::super::{ATTEMPTS, Decision, Inventory, TEMPLATE_PINS, TEMPLATES};
use super::{Draft, json};
use crate::boot::attempts::{Attempts, Boot, Rules};
use crate::boot::template::{Change, Templates};
use crate::error::Refusal;
use crate::inventory::machine::Machine;

impl Inventory {
    /// One more boot. It is in the audit log only when the machine is held by it: what machines do every day is no change of a person.
    pub(super) fn booted(&self, mut draft: Draft<'_>, machine: &Machine, boot: &Boot, rules: Rules) -> Decision {
        let before = self.attempts.get(&machine.serial);
        let known = before.map(|held| held.value.as_ref().clone()).unwrap_or_default();
        let after = known.after(boot, machine, rules);
        if after == known {
            return draft.done(Vec::new());
        }
        let key = format!("{ATTEMPTS}{}", machine.serial);
        draft.unchanged(&key, before.map(|held| held.modified));
        draft.write(&key, Some(&after));
        if after.held.is_some() && after.held != known.held {
            "hold: it boots again and again".clone_into(&mut draft.action);
            draft.audit(&machine.serial, (None, json(&after)));
        }
        draft.done(Vec::new())
    }

    /// Templates, or who gets which. What they say is not in the audit log, but which version is there: the entry has room for one of them.
    pub(super) fn template(&self, mut draft: Draft<'_>, change: &Change) -> Result<Decision, Refusal> {
        let before = self.templates();
        let after = before.after(change)?;
        if after == before {
            return Ok(draft.done(Vec::new()));
        }
        let pins = self.template_pins.as_ref();
        let Some(name) = change.name() else {
            // Nobody removes it meanwhile.
            if let Change::Pin { to: Some(name), .. } = change {
                draft.unchanged(&format!("{TEMPLATES}{name}"), self.templates.get(name).map(|held| held.modified));
            }
            draft.settings(TEMPLATE_PINS, pins, after.pins.as_ref());
            return Ok(draft.done(Vec::new()));
        };
        let key = format!("{TEMPLATES}{name}");
        draft.unchanged(&key, self.templates.get(name).map(|held| held.modified));
        draft.unchanged(TEMPLATE_PINS, pins.map(|held| held.modified));
        draft.write(&key, after.all.get(name).map(AsRef::as_ref));
        let said = |all: &Templates| {
            let last = all.all.get(name)?.versions.last()?;
            Some(serde_json::json!({ "version": last.number, "by": last.by, "octets": last.text.len() }))
        };
        draft.audit(&key, (said(&before), said(&after)));
        Ok(draft.done(Vec::new()))
    }

    /// A machine that is held boots again.
    pub(super) fn release(&self, mut draft: Draft<'_>, machine: &Machine) -> Result<Decision, Refusal> {
        let before = self.attempts.get(&machine.serial);
        let Some(held) = before.filter(|held| held.value.hold(machine).is_some()) else {
            let message = format!("{} is not held", machine.serial);
            return Err(Refusal::conflict("", message, "only a machine that boots again and again is"));
        };
        let key = format!("{ATTEMPTS}{}", machine.serial);
        draft.unchanged(&key, Some(held.modified));
        draft.write::<Attempts>(&key, None);
        draft.audit(&machine.serial, (json(held.value.as_ref()), None));
        Ok(draft.done(Vec::new()))
    }
}
