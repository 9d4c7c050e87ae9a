//! Wishes of power: one of each machine at a time, whichever server was asked.

use super::super::{Decision, Inventory};
use super::{Draft, json};
use crate::bmc::power::Wish;
use crate::bmc::wish::{Record, WISHES};
use crate::error::Refusal;
use crate::inventory::machine::Machine;
use std::time::Duration;

impl Inventory {
    /// A new wish; or the one that is the same and under way, which may become harder. It and its audit entry are one transaction, before
    /// anything is pressed.
    pub(super) fn power(
        &self,
        mut draft: Draft<'_>,
        machine: &std::sync::Arc<Machine>,
        (wish, hard): (Wish, bool),
        (server, longest): (&str, Duration),
    ) -> Result<Decision, Refusal> {
        let key = format!("{WISHES}{}", machine.serial);
        let before = self.wishes.get(&machine.serial);
        draft.unchanged(&key, before.map(|held| held.modified));
        let under_way = before.map(|held| held.value.as_ref()).filter(|record| record.end.is_none());
        match under_way {
            Some(other) if other.wish != wish => {
                let at = other.server.as_deref().unwrap_or("no server");
                let message = format!("`{}` by {} is under way at {at}: {}", other.wish, other.who, other.says());
                return Err(Refusal::conflict("", message, "wait for its end"));
            }
            Some(same) if hard && !same.hard => {
                let says = format!("hard, by {}", draft.actor.name);
                let after = Record { hard, ..same.clone() }.with_step(draft.stamp.now, server, &says);
                draft.write(&key, Some(&after));
            }
            Some(_) => {}
            None => {
                let record = Record::new(wish, hard, (&draft.actor.name, server), draft.stamp.now, longest);
                draft.write(&key, Some(&record));
            }
        }
        draft.audit(&machine.serial, (None, json(&serde_json::json!({ "server": server }))));
        Ok(draft.done(vec![machine.clone()]))
    }
}
