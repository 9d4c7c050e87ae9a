//! Steps of another address plan under live machines: each is one transaction, and one migration at a time is under way.

use super::{Draft, NAMED_MAX, json, networks};
use crate::error::{Kind, Refusal};
use crate::inventory::command::REGISTER_MAX;
use crate::inventory::machine::Machine;
use crate::inventory::{Decision, FLEET, Held, IPAM, Inventory, MACHINES, MIGRATION, PLAN};
use crate::ipam::{Addresses, Ipam, Migration, missing, passes};
use std::sync::Arc;

impl Inventory {
    pub(super) fn begin(&self, mut draft: Draft<'_>, to: &Ipam) -> Result<Decision, Refusal> {
        self.is_settled(&mut draft)?;
        to.check()?;
        let Some(from) = &self.ipam else {
            let rule = "set it: `weft-netboot ipam set FILE`";
            return Err(Refusal::conflict("", "there is no address plan to change", rule));
        };
        if *from.value == *to {
            return Err(Refusal::conflict("", "it is the plan already", "begin with another plan"));
        }
        for machine in self.machines() {
            passes(&from.value, to, machine)?;
        }
        if let Some(plan) = &self.plan {
            networks(&plan.value, to)?;
        }
        draft.unchanged(IPAM, Some(from.modified));
        draft.unchanged(PLAN, self.plan.as_ref().map(|held| held.modified));
        draft.unchanged(FLEET, self.fleet.as_ref().map(|fleet| fleet.modified));
        let migration = Migration {
            from: from.value.as_ref().clone(),
            to: to.clone(),
            back: false,
            since: draft.stamp.now,
            by: draft.actor.name.clone(),
        };
        draft.write(MIGRATION, Some(&migration));
        draft.audit(IPAM, (json(from.value.as_ref()), json(to)));
        Ok(draft.done(Vec::new()))
    }

    /// Machines run with their new addresses, and need the old ones no more.
    pub(super) fn confirm(&self, mut draft: Draft<'_>, serials: &[String]) -> Result<Decision, Refusal> {
        let migration = self.under_way(&mut draft)?;
        if serials.is_empty() || serials.len() > REGISTER_MAX {
            let rule = format!("1 to {REGISTER_MAX} at a time");
            return Err(Refusal::invalid("serials", format!("{} machines", serials.len()), rule).of(Kind::TooMuch));
        }
        let mut machines: Vec<Arc<Machine>> = Vec::new();
        for serial in serials {
            let held = self.machine(serial).ok_or_else(|| Refusal::not_found("machine", serial))?;
            if machines.iter().any(|machine| machine.serial == *serial) {
                return Err(Refusal::invalid("serials", format!("`{serial}` is there twice"), "name each once"));
            }
            let mut after = held.value.as_ref().clone();
            if let Some(addresses) = migration.beside(&after) {
                take(&mut after, addresses);
                self.write_changed(&mut draft, held, &after);
            }
            machines.push(Arc::new(after));
        }
        if draft.transaction.writes.is_empty() {
            return Ok(Decision { machines, ..Decision::default() });
        }
        Ok(draft.done(machines))
    }

    /// The way back: machines that went through keep both until they are back.
    pub(super) fn abort(&self, mut draft: Draft<'_>) -> Result<Decision, Refusal> {
        let migration = self.under_way(&mut draft)?;
        if migration.back {
            let rule = "when all machines are back: `weft-netboot ipam migration finish`";
            return Err(Refusal::conflict("", "it is aborted already", rule));
        }
        let after = Migration { back: true, ..migration.clone() };
        draft.write(MIGRATION, Some(&after));
        draft.audit(IPAM, (json(migration), json(&after)));
        Ok(draft.done(Vec::new()))
    }

    pub(super) fn finish(&self, mut draft: Draft<'_>) -> Result<Decision, Refusal> {
        let migration = self.under_way(&mut draft)?;
        let late: Vec<&str> = self
            .machines()
            .filter(|machine| migration.beside(machine).is_some())
            .map(|machine| machine.serial.as_str())
            .collect();
        if !late.is_empty() {
            let named = late.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
            let message = format!("{} machines have not confirmed: {named}", late.len());
            let rule =
                "each confirms, is initialised anew, or somebody says so: `weft-netboot ipam migration confirm SERIAL`";
            return Err(Refusal::conflict("", message, rule));
        }
        let target = migration.target();
        draft.unchanged(IPAM, self.ipam.as_ref().map(|held| held.modified));
        draft.unchanged(FLEET, self.fleet.as_ref().map(|fleet| fleet.modified));
        draft.write::<Migration>(MIGRATION, None);
        if self.ipam.as_ref().is_none_or(|held| *held.value != *target) {
            draft.write(IPAM, Some(target));
        }
        draft.audit(IPAM, (json(migration), json(target)));
        Ok(draft.done(Vec::new()))
    }

    /// A machine that is initialised anew comes up with its new addresses.
    pub(super) fn renew(&self, draft: &mut Draft<'_>, machine: &mut Machine) {
        if let Some(held) = &self.migration
            && let Some(addresses) = held.value.beside(machine)
        {
            draft.unchanged(MIGRATION, Some(held.modified));
            take(machine, addresses);
        }
    }

    /// No migration is under way, and none begins meanwhile.
    pub(super) fn is_settled(&self, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        if self.migration.is_some() {
            let rule = "finish or abort it first: `weft-netboot ipam migration show`";
            return Err(Refusal::conflict("", "a change of the address plan is under way", rule));
        }
        draft.unchanged(MIGRATION, None);
        Ok(())
    }

    fn under_way(&self, draft: &mut Draft<'_>) -> Result<&Migration, Refusal> {
        let held = self.migration.as_ref().ok_or_else(missing)?;
        draft.unchanged(MIGRATION, Some(held.modified));
        Ok(&held.value)
    }

    pub(super) fn write_changed(&self, draft: &mut Draft<'_>, held: &Held<Machine>, after: &Machine) {
        let key = format!("{MACHINES}{}", after.serial);
        draft.unchanged(&key, Some(held.modified));
        draft.write(&key, Some(after));
        draft.audit(&after.serial, (json(held.value.as_ref()), json(after)));
    }
}

fn take(machine: &mut Machine, addresses: Addresses) {
    (machine.ipv4, machine.ipv6) = (addresses.ipv4, addresses.ipv6);
    (machine.bmc.ipv4, machine.bmc.ipv6) = (addresses.bmc_ipv4, addresses.bmc_ipv6);
}

#[cfg(test)]
mod tests;
