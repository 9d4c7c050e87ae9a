//! From a command to a transaction: who may, what the machine becomes, what must not have changed meanwhile, and the audit entry.

mod bmc;
mod boot;
mod enrol;
mod keys;
mod migrate;

use super::access::Actor;
use super::audit::{AuditEntry, Stamp};
use super::command::{Command, REGISTER_MAX};
use super::machine::{ANNOUNCES_MAX, Bmc, Machine, Spec, check_labels, word};
use super::state::{self, State, Status, Wish};
use super::{
    ATTEMPTS, AUDIT, BOOTS, DHCP, Decision, FLEET, Fleet, Held, IPAM, Inventory, MACHINES, MIGRATION, PLAN, RULES,
    identifiers,
};
use crate::bmc::wish::WISHES;
use crate::boot::rollout;
use crate::error::{Kind, Refusal};
use crate::ipam::{self, Ipam, Place, passes};
use crate::plan::Plan;
use crate::store::{Compare, Revision, Transaction, Write};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Machines named in a refusal: enough to see what it is about.
const NAMED_MAX: usize = 5;

impl Inventory {
    /// What a command comes to. Nothing of it is done before its transaction is committed.
    ///
    /// # Errors
    /// When the client may not, or the command breaks a rule.
    pub fn decide(&self, command: &Command, actor: &Actor, stamp: &Stamp) -> Result<Decision, Refusal> {
        let machine =
            command.serial().map(|serial| self.machine(serial).ok_or_else(|| Refusal::not_found("machine", serial)));
        let machine = match machine {
            Some(Ok(machine)) => Some(machine),
            Some(Err(missing)) => {
                // Who may not ask learns nothing of what is there.
                actor.may(command, None)?;
                return Err(missing);
            }
            None => None,
        };
        actor.may(command, machine.map(|machine| machine.value.state.name))?;
        let mut draft =
            Draft { actor, stamp, action: command.action(), transaction: Transaction::default(), entries: 0 };
        match (command, machine) {
            (Command::Register { machines }, _) => self.register(&mut draft, machines),
            (Command::SetIpam { ipam }, _) => self.set_ipam(draft, ipam),
            (Command::SetPlan { plan }, _) => {
                plan.check()?;
                self.set_plan(draft, plan)
            }
            (Command::SetDhcp { dhcp }, _) => {
                if dhcp.lease_minutes == 0 {
                    return Err(Refusal::invalid("lease_minutes", "0 is no time", "at least 1"));
                }
                draft.settings(DHCP, self.dhcp.as_ref(), dhcp);
                Ok(draft.done(Vec::new()))
            }
            (Command::Boot { change }, _) => {
                let before = self.boots.as_ref();
                if let (Some(held), Some(role)) = (before, change.goes_on()) {
                    rollout::may_go_on(&held.value, role, self.machines(), stamp.now)?;
                }
                let after = before.map(|held| held.value.as_ref().clone()).unwrap_or_default().after(change)?;
                draft.settings(BOOTS, before, &after);
                Ok(draft.done(Vec::new()))
            }
            (Command::Template { change }, _) => self.template(draft, change),
            (Command::SetRules { rules }, _) => {
                rules.check()?;
                draft.settings(RULES, self.rules.as_ref(), rules);
                Ok(draft.done(Vec::new()))
            }
            (Command::Sight { said }, _) => self.sight(draft, said),
            (Command::Accept { serial, wish }, _) => self.accept(draft, serial, wish),
            (Command::Reject { serial, reason }, _) => self.reject(draft, serial, reason),
            (Command::Forget { serial }, _) => self.forget(draft, serial),
            (Command::BeginMigration { to }, _) => self.begin(draft, to),
            (Command::Confirm { serials }, _) => self.confirm(draft, serials),
            (Command::AbortMigration, _) => self.abort(draft),
            (Command::FinishMigration, _) => self.finish(draft),
            (Command::Bmc { serial, .. }, Some(held)) => {
                draft.audit(serial, (None, None));
                Ok(draft.done(vec![held.value.clone()]))
            }
            (Command::Power { wish, hard, server, longest, .. }, Some(held)) => {
                self.power(draft, &held.value, (*wish, *hard), (server, *longest))
            }
            (Command::Booted { boot, rules, .. }, Some(held)) => Ok(self.booted(draft, &held.value, boot, *rules)),
            (Command::Release { .. }, Some(held)) => self.release(draft, &held.value),
            (Command::Key { change, .. }, Some(held)) => self.change_key(draft, held, change),
            (Command::Remove { .. }, Some(held)) => self.remove(draft, held),
            (_, Some(held)) => self.change(draft, held, command),
            // `serial` names a machine in every other command, and it was looked up above.
            (_, None) => Ok(draft.done(Vec::new())),
        }
    }

    fn register(&self, draft: &mut Draft<'_>, specs: &[Spec]) -> Result<Decision, Refusal> {
        if specs.is_empty() || specs.len() > REGISTER_MAX {
            let refusal =
                Refusal::invalid("", format!("{} machines", specs.len()), format!("1 to {REGISTER_MAX} at a time"));
            return Err(refusal.of(Kind::TooMuch));
        }
        let ipam = self.planned(draft)?;
        let (by, now) = (draft.actor.name.as_str(), draft.stamp.now);
        let mut taken: BTreeSet<String> = BTreeSet::new();
        let mut machines = Vec::new();
        for (at, spec) in specs.iter().enumerate() {
            let machine = self.newcomer((by, now), spec, ipam, &taken);
            let machine = machine.map_err(|refusal| refusal.within(&format!("[{at}]")))?;
            taken.insert(format!("serial {}", machine.serial));
            taken.extend(identifiers(&machine));
            machines.push(self.add(draft, machine));
        }
        self.count(draft, self.machines.len() + machines.len());
        Ok(draft.take(machines))
    }

    /// The address plan of new machines, which must not change meanwhile: during a migration that to which all go.
    fn planned(&self, draft: &mut Draft<'_>) -> Result<&Ipam, Refusal> {
        let Some(ipam) = &self.ipam else {
            let rule = "set one first: `weft-netboot ipam set FILE`";
            return Err(Refusal::conflict("", "there is no address plan", rule));
        };
        draft.unchanged(IPAM, Some(ipam.modified));
        draft.unchanged(MIGRATION, self.migration.as_ref().map(|held| held.modified));
        Ok(self.target.as_ref().unwrap_or(&ipam.value))
    }

    /// A machine that can be added: with a place, and nothing that another one has.
    fn newcomer(
        &self,
        said: (&str, Timestamp),
        spec: &Spec,
        ipam: &Ipam,
        taken: &BTreeSet<String>,
    ) -> Result<Machine, Refusal> {
        let machine = self.new_machine(said, spec, ipam, taken)?;
        if self.machines.contains_key(&machine.serial) || taken.contains(&format!("serial {}", machine.serial)) {
            let message = format!("`{}` is registered already", machine.serial);
            return Err(Refusal::conflict("serial", message, "a serial number is of one machine"));
        }
        self.unique(&machine, taken)?;
        if let Some(migration) = &self.migration {
            passes(&migration.value.from, &migration.value.to, &machine)?;
        }
        Ok(machine)
    }

    /// Writes a new machine, which was nowhere before.
    fn add(&self, draft: &mut Draft<'_>, machine: Machine) -> Arc<Machine> {
        let key = format!("{MACHINES}{}", machine.serial);
        draft.unchanged(&key, None);
        draft.write(&key, Some(&machine));
        draft.audit(&machine.serial, (None, json(&machine)));
        Arc::new(machine)
    }

    fn new_machine(
        &self,
        (by, since): (&str, Timestamp),
        spec: &Spec,
        ipam: &Ipam,
        taken: &BTreeSet<String>,
    ) -> Result<Machine, Refusal> {
        let spec = spec.clone().checked()?;
        let index = self.index(&spec, ipam, taken)?;
        let addresses = ipam.addresses(spec.rack, index)?;
        Ok(Machine {
            name: spec.name.unwrap_or_else(|| Machine::default_name(&spec.role, spec.rack, index)),
            serial: spec.serial,
            ids: spec.ids,
            labels: spec.labels,
            rack: spec.rack,
            index,
            role: spec.role,
            ipv4: addresses.ipv4,
            ipv6: addresses.ipv6,
            bmc: Bmc { kind: spec.bmc_type, ipv4: addresses.bmc_ipv4, ipv6: addresses.bmc_ipv6 },
            announces: spec.announces,
            registered: since,
            retires: spec.retires,
            hardware: spec.hardware,
            state: Status { name: State::Uninitialized, since, reason: "registered".to_owned(), by: by.to_owned() },
            history: Vec::new(),
            disk_keys: BTreeSet::new(),
        })
    }

    /// The place that a machine asks for, or the lowest free one.
    fn index(&self, spec: &Spec, ipam: &Ipam, taken: &BTreeSet<String>) -> Result<u32, Refusal> {
        let mut places = ipam.indices(Place::of(&spec.role));
        let free = |index: &u32| {
            let place = format!("index {index} of rack {}", spec.rack);
            !taken.contains(&place) && !self.owners.contains_key(&place)
        };
        let Some(wanted) = spec.index else {
            return places.find(free).ok_or_else(|| {
                let (message, rule) = match Place::of(&spec.role) {
                    Place::Boot => {
                        (format!("rack {} has its boot server", spec.rack), "a rack has one boot server".to_owned())
                    }
                    Place::Node => (
                        format!("rack {} is full", spec.rack),
                        format!("`max_nodes_in_rack` of the address plan is {}", ipam.max_nodes_in_rack),
                    ),
                };
                Refusal::conflict("rack", message, rule)
            });
        };
        if !places.contains(&wanted) {
            let rule = format!("{} to {} for the role {}", places.start(), places.end(), spec.role);
            return Err(Refusal::invalid("index", format!("{wanted} is no place for it"), rule));
        }
        Ok(wanted)
    }

    /// Names and identifiers are of nobody else.
    fn unique(&self, machine: &Machine, taken: &BTreeSet<String>) -> Result<(), Refusal> {
        for identifier in identifiers(machine) {
            let owner = self.owners.get(&identifier).filter(|owner| **owner != machine.serial);
            let other = match owner {
                Some(owner) => owner.as_str(),
                None if taken.contains(&identifier) => "another one of this request",
                None => continue,
            };
            let (field, value) = identifier.split_once(' ').unwrap_or((identifier.as_str(), ""));
            let message = format!("{value} is of {other}");
            return Err(Refusal::conflict(field, message, "no two machines have the same"));
        }
        Ok(())
    }

    /// The entry that all registrations write, so that two of them never decide on the same inventory.
    fn count(&self, draft: &mut Draft<'_>, machines: usize) {
        draft.unchanged(FLEET, self.fleet.as_ref().map(|fleet| fleet.modified));
        draft.write(FLEET, Some(&Fleet { machines: u64::try_from(machines).unwrap_or(u64::MAX) }));
    }

    fn remove(&self, mut draft: Draft<'_>, held: &Held<Machine>) -> Result<Decision, Refusal> {
        let machine = &held.value;
        if machine.state.name != State::Retired {
            let message = format!("{} is {}", machine.serial, machine.state.name);
            let refusal = Refusal::invalid("state", message, "only a retired machine can be removed");
            return Err(refusal.of(Kind::Transition));
        }
        let key = format!("{MACHINES}{}", machine.serial);
        draft.unchanged(&key, Some(held.modified));
        draft.write::<Machine>(&key, None);
        self.drop_record(&mut draft, &machine.serial);
        draft.audit(&machine.serial, (json(machine.as_ref()), None));
        if self.attempts.contains_key(&machine.serial) {
            draft.write::<Machine>(&format!("{ATTEMPTS}{}", machine.serial), None);
        }
        if self.wishes.contains_key(&machine.serial) {
            draft.write::<Machine>(&format!("{WISHES}{}", machine.serial), None);
        }
        self.count(&mut draft, self.machines.len().saturating_sub(1));
        Ok(draft.done(Vec::new()))
    }

    /// Changes of one machine.
    fn change(&self, mut draft: Draft<'_>, held: &Held<Machine>, command: &Command) -> Result<Decision, Refusal> {
        let before = held.value.as_ref();
        let mut after = before.clone();
        edit(&mut after, command, draft.actor, draft.stamp)?;
        if after.state.name == State::Uninitialized && before.state.name != State::Uninitialized {
            self.renew(&mut draft, &mut after);
        }
        if matches!(command, Command::DropKeys { .. }) {
            self.drop_record(&mut draft, &before.serial);
        }
        if after == *before && draft.transaction.writes.is_empty() {
            return Ok(draft.done(vec![held.value.clone()]));
        }
        self.write_changed(&mut draft, held, &after);
        if identifiers(&after) != identifiers(before) {
            self.unique(&after, &BTreeSet::new())?;
            self.count(&mut draft, self.machines.len());
        }
        Ok(draft.done(vec![Arc::new(after)]))
    }

    /// A new address plan: taken when every machine keeps its addresses; those that it adds, machines get at once.
    fn set_ipam(&self, mut draft: Draft<'_>, ipam: &Ipam) -> Result<Decision, Refusal> {
        self.is_settled(&mut draft)?;
        ipam.check()?;
        let moved = ipam::moves(ipam, self.machines().map(Arc::as_ref))?;
        if !moved.is_empty() {
            let named: Vec<String> = moved.iter().take(NAMED_MAX).map(|machine| machine.serial.clone()).collect();
            let message = format!("{} machines would get other addresses: {}", moved.len(), named.join(", "));
            let rule = "a plan may add pools, families and room; it moves no machine that is registered: `weft-netboot ipam migrate FILE` does";
            return Err(Refusal::conflict("node", message, rule));
        }
        let mut machines = Vec::new();
        for held in self.machines.values() {
            let mut after = held.value.as_ref().clone();
            let addresses = ipam.addresses(after.rack, after.index)?;
            (after.ipv4, after.ipv6) = (addresses.ipv4, addresses.ipv6);
            (after.bmc.ipv4, after.bmc.ipv6) = (addresses.bmc_ipv4, addresses.bmc_ipv6);
            if after != *held.value {
                machines.push((held, after));
            }
        }
        if machines.len() > REGISTER_MAX {
            let message = format!("{} machines would get further addresses", machines.len());
            let rule = format!(
                "at most {REGISTER_MAX} in one change: add the pool rack by rack with `first_rack` and `last_rack`"
            );
            return Err(Refusal::conflict("node", message, rule).of(Kind::TooMuch));
        }
        draft.settings(IPAM, self.ipam.as_ref(), ipam);
        for (held, after) in &machines {
            self.write_changed(&mut draft, held, after);
        }
        // No machine may be registered under the old plan meanwhile.
        draft.unchanged(FLEET, self.fleet.as_ref().map(|fleet| fleet.modified));
        Ok(draft.done(machines.into_iter().map(|(_, after)| Arc::new(after)).collect()))
    }

    fn set_plan(&self, mut draft: Draft<'_>, plan: &Plan) -> Result<Decision, Refusal> {
        let ipam = self.planned(&mut draft)?;
        networks(plan, ipam)?;
        draft.settings(PLAN, self.plan.as_ref(), plan);
        Ok(draft.done(Vec::new()))
    }
}

/// The address plan has the networks of all switches.
fn networks(plan: &Plan, ipam: &Ipam) -> Result<(), Refusal> {
    let Some((name, switch)) = plan.switches.iter().find(|(_, switch)| switch.network >= ipam.node_networks) else {
        return Ok(());
    };
    let message = format!("the address plan has no network {}", switch.network);
    let rule = format!("1 to {}: `node_networks` counts the nodes' own too", ipam.node_networks.saturating_sub(1));
    Err(Refusal::conflict(format!("switches.{name}.network"), message, rule))
}

/// What a command makes of one machine.
fn edit(machine: &mut Machine, command: &Command, actor: &Actor, stamp: &Stamp) -> Result<(), Refusal> {
    match command {
        Command::SetState { to, reason, .. } => {
            let wish = Wish { to: *to, reason, by: &actor.name, at: stamp.now };
            state::change(machine, wish)?;
        }
        Command::Observe { from, since, to, reason, .. } => {
            if (machine.state.name, machine.state.since) == (*from, *since) {
                state::change(machine, Wish { to: *to, reason, by: &actor.name, at: stamp.now })?;
            }
        }
        Command::Label { set, remove, .. } => {
            machine.labels.retain(|label, _| !remove.contains(label));
            machine.labels.extend(set.clone());
            check_labels(&machine.labels)?;
        }
        Command::Retire { at, .. } => machine.retires = *at,
        Command::Announce { ranges, .. } => {
            if ranges.len() > ANNOUNCES_MAX {
                let refusal = Refusal::invalid(
                    "announces",
                    format!("{} prefixes", ranges.len()),
                    format!("at most {ANNOUNCES_MAX}"),
                );
                return Err(refusal.of(Kind::TooMuch));
            }
            machine.announces.clone_from(ranges);
        }
        Command::Report { ids, hardware, .. } => {
            if let Some(ids) = ids {
                machine.ids = ids.clone().checked()?;
            }
            if let Some(hardware) = hardware {
                machine.hardware = hardware.clone().checked()?;
            }
        }
        Command::HoldKey { disk, .. } => hold_key(machine, disk)?,
        Command::DropKeys { .. } => {
            if machine.state.name != State::Retiring {
                let message = format!("{} is {}", machine.serial, machine.state.name);
                let rule = "keys are deleted while a machine is retiring, and its data with them";
                return Err(Refusal::invalid("state", message, rule).of(Kind::Transition));
            }
            machine.disk_keys.clear();
        }
        Command::Register { .. }
        | Command::Sight { .. }
        | Command::Accept { .. }
        | Command::Reject { .. }
        | Command::Forget { .. }
        | Command::SetRules { .. }
        | Command::Key { .. }
        | Command::BeginMigration { .. }
        | Command::Confirm { .. }
        | Command::AbortMigration
        | Command::FinishMigration
        | Command::Remove { .. }
        | Command::SetIpam { .. }
        | Command::SetPlan { .. }
        | Command::Boot { .. }
        | Command::Template { .. }
        | Command::Bmc { .. }
        | Command::Power { .. }
        | Command::Booted { .. }
        | Command::Release { .. }
        | Command::SetDhcp { .. } => {}
    }
    Ok(())
}

fn hold_key(machine: &mut Machine, disk: &str) -> Result<(), Refusal> {
    word("disk", disk)?;
    if matches!(machine.state.name, State::Retiring | State::Retired) {
        let message = format!("{} is {}", machine.serial, machine.state.name);
        let rule = "a machine that leaves gets no new keys";
        return Err(Refusal::invalid("state", message, rule).of(Kind::Transition));
    }
    if machine.disk_keys.len() >= super::machine::DISKS_MAX {
        let rule = format!("at most {}", super::machine::DISKS_MAX);
        return Err(Refusal::invalid("disk", "one key too many", rule).of(Kind::TooMuch));
    }
    if !machine.disk_keys.insert(disk.to_owned()) {
        let message = format!("the key of `{disk}` is held already");
        return Err(Refusal::conflict("disk", message, "a key is never replaced: the disk would be lost"));
    }
    Ok(())
}

/// A transaction as it grows.
struct Draft<'a> {
    actor: &'a Actor,
    stamp: &'a Stamp,
    action: String,
    transaction: Transaction,
    entries: usize,
}

impl Draft<'_> {
    /// This entry must be as it was when it was looked at.
    fn unchanged(&mut self, key: &str, modified: Option<Revision>) {
        self.transaction.compares.push(Compare { key: key.to_owned(), modified });
    }

    fn write<T: Serialize>(&mut self, key: &str, value: Option<&T>) {
        let value = value.map(|value| bytes(value).into());
        self.transaction.writes.push(Write { key: key.to_owned(), value });
    }

    /// A plan or setting of which there is one.
    fn settings<T: Serialize + PartialEq>(&mut self, key: &str, old: Option<&Held<T>>, new: &T) {
        self.unchanged(key, old.map(|old| old.modified));
        if old.is_some_and(|old| *old.value == *new) {
            return;
        }
        self.write(key, Some(new));
        self.audit(key, (old.and_then(|old| json(old.value.as_ref())), json(new)));
    }

    fn audit(&mut self, subject: &str, change: (Option<Value>, Option<Value>)) {
        let entry = AuditEntry::new(self.actor, self.stamp, &self.action, subject, change);
        let key = format!("{AUDIT}{}", AuditEntry::key(self.stamp, self.entries));
        self.entries += 1;
        self.write(&key, Some(&entry));
    }

    fn done(mut self, machines: Vec<Arc<Machine>>) -> Decision {
        self.take(machines)
    }

    fn take(&mut self, machines: Vec<Arc<Machine>>) -> Decision {
        Decision { transaction: std::mem::take(&mut self.transaction), machines }
    }
}

/// Our own types have no maps with keys that JSON lacks, so this never fails.
fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn json<T: Serialize>(value: &T) -> Option<Value> {
    serde_json::to_value(value).ok()
}
