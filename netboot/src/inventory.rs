//! The inventory: every machine and the plans, as they are in the store, and what a change makes of them.
//!
//! ```text
//!   store ── read, watch ──▶ Inventory ── decide(command) ──▶ Transaction ──▶ store
//!                                │                                │ conflict: hear what changed, decide again
//!                                └──▶ queries                     ▼ committed: the inventory hears its own change
//! ```
//!
//! Pure: no store, no clock. Every transaction names the revisions of what it was decided on. Registering and deleting also write the one
//! entry `fleet`, so that places, addresses, names and identifiers stay unique over all servers: who decides on an older inventory
//! than the store's meets a conflict. A new candidate writes the entry `enrol-queue` for the same reason.

pub mod access;
pub mod audit;
pub mod command;
mod decide;
pub mod enrol;
pub mod machine;
pub mod query;
pub mod state;

#[cfg(test)]
pub(crate) mod tests;

use crate::bmc::duty::SERVERS;
use crate::bmc::wish::{self, WISHES};
use crate::boot::Boots;
use crate::boot::attempts::{Attempts, Hold};
use crate::boot::template::{Pins, Template, Templates};
use crate::error::{NetbootError, Refusal};
use crate::ipam::{Addressing, Ipam, Migration};
use crate::keys::{KEYS, Record};
use crate::plan::{Plan, Switch};
use crate::store::{Change, Event, Revision, Snapshot, Transaction};
use command::Dhcp;
use enrol::{Candidate, Rules};
use machine::Machine;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Where machines are.
pub const MACHINES: &str = "machines/";
/// Where templates are.
const TEMPLATES: &str = "templates/";
const TEMPLATE_PINS: &str = "template-pins";
/// Where boots of machines are counted.
const ATTEMPTS: &str = "attempts/";
/// Where the audit log is.
pub const AUDIT: &str = "audit/";
const IPAM: &str = "ipam";
const PLAN: &str = "plan";
const DHCP: &str = "dhcp";
const BOOTS: &str = "boots";
const FLEET: &str = "fleet";
/// Where machines are that wait.
const CANDIDATES: &str = "candidates/";
const RULES: &str = "enrol-rules";
/// Where the change of the address plan is that is under way.
pub const MIGRATION: &str = "migration";
/// How machines and migration both begin, and nothing else: who watches this hears of both, in their order.
pub const WATCHED: &str = "m";
/// Where the last newcomer among the candidates is counted.
const QUEUE: &str = "enrol-queue";

/// Something stored, and when it was written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// The thing.
    pub value: Arc<T>,
    /// The revision of its last change.
    pub modified: Revision,
}

/// What is true of all machines together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fleet {
    /// How many there are.
    machines: u64,
}

/// The entry that every new candidate writes, so that no two of them ever take the last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Queue {
    /// How many there were after it.
    candidates: u64,
}

/// Everything that the store holds, but the audit log.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    revision: Revision,
    machines: BTreeMap<String, Held<Machine>>,
    ipam: Option<Held<Ipam>>,
    plan: Option<Held<Plan>>,
    /// Rack and network of each switch of the plan, by its addresses: asked for each question of DHCP.
    switches: BTreeMap<IpAddr, (u32, u32)>,
    dhcp: Option<Held<Dhcp>>,
    boots: Option<Held<Boots>>,
    /// Boots of machines that did not become healthy yet, and who is held, by serial number.
    attempts: BTreeMap<String, Held<Attempts>>,
    templates: BTreeMap<String, Held<Template>>,
    template_pins: Option<Held<Pins>>,
    fleet: Option<Held<Fleet>>,
    candidates: BTreeMap<String, Held<Candidate>>,
    queue: Option<Held<Queue>>,
    rules: Option<Held<Rules>>,
    keys: BTreeMap<String, Held<Record>>,
    migration: Option<Held<Migration>>,
    /// The last wish of power of each machine, by serial number; which of them are not over.
    wishes: BTreeMap<String, Held<wish::Record>>,
    wishes_under_way: BTreeSet<String>,
    /// When servers with such wishes said last that they are there.
    bmc_servers: BTreeMap<String, Revision>,
    /// The plan to which machines go, while they do.
    target: Option<Arc<Ipam>>,
    /// Owners of names and identifiers: of each one only.
    owners: BTreeMap<String, String>,
}

/// What a command comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What must be stored; without writes nothing has to change.
    pub transaction: Transaction,
    /// The machines concerned, as they will be.
    pub machines: Vec<Arc<Machine>>,
}

impl Inventory {
    /// Reads everything.
    ///
    /// # Errors
    /// When an entry is none of ours, or damaged: better no inventory than one with a hole.
    pub fn load(snapshot: &Snapshot) -> Result<Self, NetbootError> {
        let mut inventory = Self { revision: snapshot.revision, ..Self::default() };
        for entry in &snapshot.entries {
            inventory.put(&entry.key, Some(&entry.value), entry.modified)?;
        }
        Ok(inventory)
    }

    /// Hears a transaction; one that it knows already changes nothing.
    ///
    /// # Errors
    /// When an entry cannot be read.
    pub fn apply(&mut self, event: &Event) -> Result<(), NetbootError> {
        if event.revision <= self.revision {
            return Ok(());
        }
        for Change { key, value } in &event.changes {
            self.put(key, value.as_deref(), event.revision)?;
        }
        self.revision = event.revision;
        Ok(())
    }

    /// The revision that it knows.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, serial: &str) -> Option<&Held<Machine>> {
        self.machines.get(serial)
    }

    /// The machine that has an identifier: `ids.macs MAC`, `ids.uuid UUID`.
    #[must_use]
    pub fn owner(&self, identifier: &str) -> Option<&Arc<Machine>> {
        self.owners.get(identifier).and_then(|serial| self.machines.get(serial)).map(|held| &held.value)
    }

    /// All machines, by serial number.
    pub fn machines(&self) -> impl ExactSizeIterator<Item = &Arc<Machine>> + Clone {
        self.machines.values().map(|held| &held.value)
    }

    /// Machines behind a serial number, in their order: for answers in pages.
    pub fn machines_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a Arc<Machine>> + use<'a> {
        let after = (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
        self.machines.range::<String, _>(after).map(|(_, held)| &held.value)
    }

    /// The address plan.
    #[must_use]
    pub fn ipam(&self) -> Option<&Arc<Ipam>> {
        self.ipam.as_ref().map(|held| &held.value)
    }

    /// The change of the address plan that is under way.
    #[must_use]
    pub fn migration(&self) -> Option<&Arc<Migration>> {
        self.migration.as_ref().map(|held| &held.value)
    }

    /// The address plan with what is under way.
    #[must_use]
    pub fn addressing(&self) -> Option<Addressing<'_>> {
        Some(Addressing::new(self.ipam()?, self.migration().map(Arc::as_ref)))
    }

    /// The plan from which the addresses in a machine's record are.
    #[must_use]
    pub fn ipam_of(&self, machine: &Machine) -> Option<&Arc<Ipam>> {
        let target = self.target.as_ref().filter(|target| {
            target.addresses(machine.rack, machine.index).is_ok_and(|addresses| addresses.ipv4 == machine.ipv4)
        });
        target.or_else(|| self.ipam())
    }

    /// The plan of the fabric.
    #[must_use]
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref().map(|held| &held.value)
    }

    /// Rack and network of the switch with this address in the plan of the fabric.
    #[must_use]
    pub fn switch_at(&self, address: IpAddr) -> Option<(u32, u32)> {
        self.switches.get(&address).copied()
    }

    /// What DHCP says.
    #[must_use]
    pub fn dhcp(&self) -> Option<&Arc<Dhcp>> {
        self.dhcp.as_ref().map(|held| &held.value)
    }

    /// Images, and who boots which; `None` = nobody ever said.
    #[must_use]
    pub fn boots(&self) -> Option<&Arc<Boots>> {
        self.boots.as_ref().map(|held| &held.value)
    }

    /// Templates, and who gets which.
    #[must_use]
    pub fn templates(&self) -> Templates {
        let all = self.templates.iter().map(|(name, held)| (name.clone(), held.value.clone())).collect();
        Templates { all, pins: self.template_pins.as_ref().map(|held| held.value.clone()).unwrap_or_default() }
    }

    /// Why a machine is held: it boots again and again.
    #[must_use]
    pub fn hold(&self, machine: &Machine) -> Option<&Hold> {
        self.attempts.get(&machine.serial).and_then(|held| held.value.hold(machine))
    }

    /// Machines that are held, each with why.
    pub fn holds(&self) -> impl Iterator<Item = (&Arc<Machine>, &Hold)> {
        self.attempts.iter().filter_map(|(serial, held)| {
            let machine = &self.machines.get(serial)?.value;
            Some((machine, held.value.hold(machine)?))
        })
    }

    /// Boots of a machine since it was healthy.
    #[must_use]
    pub fn attempts(&self, serial: &str) -> Option<&Arc<Attempts>> {
        self.attempts.get(serial).map(|held| &held.value)
    }

    /// Machines that wait, by serial number.
    pub fn candidates(&self) -> impl ExactSizeIterator<Item = &Arc<Candidate>> + Clone {
        self.candidates.values().map(|held| &held.value)
    }

    /// One machine that waits.
    #[must_use]
    pub fn candidate(&self, serial: &str) -> Option<&Arc<Candidate>> {
        self.candidates.get(serial).map(|held| &held.value)
    }

    /// The rules of enrolment.
    #[must_use]
    pub fn rules(&self) -> Option<&Arc<Rules>> {
        self.rules.as_ref().map(|held| &held.value)
    }

    /// What is kept of a machine's disk keys.
    #[must_use]
    pub fn disk_keys(&self, serial: &str) -> Option<&Arc<Record>> {
        self.keys.get(serial).map(|held| &held.value)
    }

    /// The last wish of power of a machine.
    #[must_use]
    pub fn wish(&self, serial: &str) -> Option<&Held<wish::Record>> {
        self.wishes.get(serial)
    }

    /// The last wishes of power, by serial number.
    pub fn wishes(&self) -> impl Iterator<Item = (&String, &Held<wish::Record>)> + Clone {
        self.wishes.iter()
    }

    /// Those that are not over.
    pub fn wishes_under_way(&self) -> impl Iterator<Item = (&str, &Held<wish::Record>)> {
        self.wishes_under_way.iter().filter_map(|serial| Some((serial.as_str(), self.wishes.get(serial)?)))
    }

    /// When servers with wishes of power said last that they are there.
    #[must_use]
    pub const fn bmc_servers(&self) -> &BTreeMap<String, Revision> {
        &self.bmc_servers
    }

    /// Machines whose disk keys are kept, by serial number.
    pub fn all_disk_keys(&self) -> impl Iterator<Item = (&String, &Arc<Record>)> {
        self.keys.iter().map(|(serial, held)| (serial, &held.value))
    }

    fn put(&mut self, key: &str, value: Option<&[u8]>, modified: Revision) -> Result<(), NetbootError> {
        match key {
            IPAM => self.ipam = ruled(key, held(key, value, modified)?, Ipam::check)?,
            PLAN => {
                self.plan = ruled(key, held(key, value, modified)?, Plan::check)?;
                let switches = self.plan.iter().flat_map(|held| held.value.switches.values().rev());
                let addresses = |switch: &Switch| {
                    let place = (switch.rack, switch.network);
                    switch.addresses.iter().map(move |net| (net.addr(), place)).collect::<Vec<_>>()
                };
                self.switches = switches.flat_map(addresses).collect();
            }
            DHCP => self.dhcp = held(key, value, modified)?,
            BOOTS => self.boots = held(key, value, modified)?,
            TEMPLATE_PINS => self.template_pins = held(key, value, modified)?,
            FLEET => self.fleet = held(key, value, modified)?,
            QUEUE => self.queue = held(key, value, modified)?,
            MIGRATION => {
                let rules = |migration: &Migration| migration.from.check().and_then(|()| migration.to.check());
                self.migration = ruled(key, held(key, value, modified)?, rules)?;
                let target = |held: &Held<Migration>| Arc::new(held.value.target().clone());
                self.target = self.migration.as_ref().map(target);
            }
            RULES => self.rules = ruled(key, held(key, value, modified)?, Rules::check)?,
            _ if key.starts_with(CANDIDATES) => {
                let serial = key[CANDIDATES.len()..].to_owned();
                match held(key, value, modified)? {
                    Some(candidate) => self.candidates.insert(serial, candidate),
                    None => self.candidates.remove(&serial),
                };
            }
            _ if key.starts_with(TEMPLATES) => {
                let name = key[TEMPLATES.len()..].to_owned();
                match held(key, value, modified)? {
                    Some(template) => self.templates.insert(name, template),
                    None => self.templates.remove(&name),
                };
            }
            _ if key.starts_with(ATTEMPTS) => {
                let serial = key[ATTEMPTS.len()..].to_owned();
                match held(key, value, modified)? {
                    Some(attempts) => self.attempts.insert(serial, attempts),
                    None => self.attempts.remove(&serial),
                };
            }
            _ if key.starts_with(KEYS) => {
                let serial = key[KEYS.len()..].to_owned();
                match held(key, value, modified)? {
                    Some(record) => self.keys.insert(serial, record),
                    None => self.keys.remove(&serial),
                };
            }
            _ if key.starts_with(WISHES) => self.put_wish(&key[WISHES.len()..], held(key, value, modified)?),
            _ if key.starts_with(SERVERS) => {
                let server = key[SERVERS.len()..].to_owned();
                match value {
                    Some(_) => self.bmc_servers.insert(server, modified),
                    None => self.bmc_servers.remove(&server),
                };
            }
            _ if key.starts_with(MACHINES) => self.put_machine(key, value, modified)?,
            // Audit entries are read when somebody asks; what a newer version keeps here is its own.
            _ => {}
        }
        Ok(())
    }

    fn put_wish(&mut self, serial: &str, wish: Option<Held<wish::Record>>) {
        self.wishes_under_way.remove(serial);
        let Some(wish) = wish else {
            self.wishes.remove(serial);
            return;
        };
        if wish.value.end.is_none() {
            self.wishes_under_way.insert(serial.to_owned());
        }
        self.wishes.insert(serial.to_owned(), wish);
    }

    fn put_machine(&mut self, key: &str, value: Option<&[u8]>, modified: Revision) -> Result<(), NetbootError> {
        let serial = &key[MACHINES.len()..];
        if let Some(old) = self.machines.remove(serial) {
            for identifier in identifiers(&old.value) {
                self.owners.remove(&identifier);
            }
        }
        if let Some(machine) = held::<Machine>(key, value, modified)? {
            for identifier in identifiers(&machine.value) {
                self.owners.insert(identifier, serial.to_owned());
            }
            self.machines.insert(serial.to_owned(), machine);
        }
        Ok(())
    }
}

fn held<T: DeserializeOwned>(
    key: &str,
    value: Option<&[u8]>,
    modified: Revision,
) -> Result<Option<Held<T>>, NetbootError> {
    let Some(value) = value else {
        return Ok(None);
    };
    match serde_json::from_slice(value) {
        Ok(value) => Ok(Some(Held { value: Arc::new(value), modified })),
        Err(error) => Err(NetbootError::Store(format!("entry `{key}` is damaged, or of a newer version: {error}"))),
    }
}

/// A plan that keeps its rules: everything that is computed from one relies on them.
fn ruled<T>(
    key: &str,
    held: Option<Held<T>>,
    check: impl Fn(&T) -> Result<(), Refusal>,
) -> Result<Option<Held<T>>, NetbootError> {
    match held.as_ref().map(|held| check(&held.value)) {
        Some(Err(refusal)) => Err(NetbootError::Store(format!("entry `{key}` breaks a rule: {refusal}"))),
        Some(Ok(())) | None => Ok(held),
    }
}

/// What only one machine may have, each with the field that says it.
fn identifiers(machine: &Machine) -> Vec<String> {
    let macs = machine.ids.macs.iter().map(|mac| format!("ids.macs {mac}"));
    let uuid = machine.ids.uuid.iter().map(|uuid| format!("ids.uuid {uuid}"));
    let key = machine.ids.tpm_ek.iter().map(|key| format!("ids.tpm_ek {key}"));
    let place = format!("index {} of rack {}", machine.index, machine.rack);
    macs.chain(uuid).chain(key).chain([place, format!("name {}", machine.name)]).collect()
}
