//! Disk keys: what a machine showed, what it was given, and the end of its keys. A half is written in the transaction that says in the
//! machine's record that it is held, and deleted in the one that says that it is not.

use super::{Draft, hold_key};
use crate::error::{Kind, Refusal};
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use crate::inventory::{Decision, Held, Inventory};
use crate::keys::{Change, KEYS, Record, after};
use serde_json::json;

impl Inventory {
    pub(super) fn change_key(
        &self,
        mut draft: Draft<'_>,
        held: &Held<Machine>,
        change: &Change,
    ) -> Result<Decision, Refusal> {
        let serial = &held.value.serial;
        let record = self.keys.get(serial);
        let before = record.map(|record| record.value.as_ref().clone()).unwrap_or_default();
        let Some((record_after, says)) = after(&before, change, draft.stamp.now)? else {
            return Ok(draft.done(Vec::new()));
        };
        if let Change::Release { asked, .. } = change {
            if matches!(held.value.state.name, State::Retiring | State::Retired) {
                let message = format!("{serial} is {}", held.value.state.name);
                let rule = "a machine that leaves gets no keys";
                return Err(Refusal::invalid("state", message, rule).of(Kind::Transition));
            }
            let mut machine = held.value.as_ref().clone();
            if !machine.disk_keys.contains(&asked.disk) {
                hold_key(&mut machine, &asked.disk)?;
                self.write_changed(&mut draft, held, &machine);
            } else {
                // It must not be retired meanwhile.
                draft.unchanged(&format!("{}{serial}", crate::inventory::MACHINES), Some(held.modified));
            }
        }
        let key = format!("{KEYS}{serial}");
        draft.unchanged(&key, record.map(|record| record.modified));
        draft.write(&key, Some(&record_after));
        draft.audit(serial, (Some(json!({})), Some(says)));
        Ok(draft.done(vec![held.value.clone()]))
    }

    /// With the machine's keys goes all that is kept of them.
    pub(super) fn drop_record(&self, draft: &mut Draft<'_>, serial: &str) {
        if let Some(record) = self.keys.get(serial) {
            let key = format!("{KEYS}{serial}");
            draft.unchanged(&key, Some(record.modified));
            draft.write::<Record>(&key, None);
        }
    }
}
