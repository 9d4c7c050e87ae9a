//! Boots of machines: each is counted, and one that boots again and again is held until somebody releases it.

use super::super::{ATTEMPTS, Decision, Inventory};
use super::{Draft, json};
use crate::boot::attempts::{Attempts, Boot, Rules};
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
