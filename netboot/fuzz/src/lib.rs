//! What each fuzz target does with its bytes. The targets call these, and so does `netboot/tests/fuzz_replay.rs` over `corpus/`.
//!
//! | target | must hold |
//! |---|---|
//! | [`query`] | no panic; a refusal names a key of the query, and the rule; what is not meant without a condition is meant with its negation |
//! | [`documents`] | no panic; a plan that is taken gives every place addresses that mean that place; what is written reads the same |
//! | [`store`] | no panic on any entries; what loads can be changed, and every change can be read again |
//! | [`enrol::enrol`] | a report changes its own candidate alone, and only by who is believed; nobody comes in whom no rule lets in; nothing is of two machines |
//! | [`api::rest`] | every refusal names its rule; what the server knows is what its store holds; each change has its audit entry |
//! | [`dhcp::dhcp4`] | no panic; what is read is written and read the same, in as few octets as asked or not at all |
//! | [`dhcp::dhcp4_server`] | no panic; every answer can be read and has room in a frame; nothing waits for a store that has answered |
//! | [`dhcp6::dhcp6`] | no panic; what is read is written and read the same |
//! | [`dhcp6::dhcp6_server`] | no panic; answers have room, and go to the port of who asked; nothing waits for a store that has answered |
//! | [`keys::keys`] | no panic; keys, quotes and proofs of strangers are of one form, or refused; a TPM or a server that answers anything gets a machine nowhere |
//! | [`template::template`] | a refusal names its rule, or template and reason; a template reads nothing but templates; what is right is what the format's grammar takes |
//! | [`ipmi::ipmi`] | a dialogue ends; whoever is between cannot make a press or a state seem what it is not; no text has a password |
//! | [`api::graphql`] | an answer, or errors that each name their rule; a question changes nothing |
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "a failed check of a fuzz target is a panic"
)]

pub mod api;
pub mod dhcp;
pub mod dhcp6;
pub mod enrol;
pub mod ipmi;
pub mod keys;
pub mod memory;
pub mod redfish;
pub mod template;
pub mod tftp;

use jiff::Timestamp;
use std::net::IpAddr;
use weft_netboot::Refusal;
use weft_netboot::config::{self, Config};
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::audit::Stamp;
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::machine::Spec;
use weft_netboot::inventory::query::Query;
use weft_netboot::inventory::state::State;
use weft_netboot::inventory::{Decision, Inventory};
use weft_netboot::ipam::{Ipam, Meaning, Place};
use weft_netboot::plan::{Plan, Range, generate};
use weft_netboot::sabakan::{IpamConfig, MachineFile, MachineView};
use weft_netboot::store::memory::Memory;
use weft_netboot::store::{Outcome, Transaction, Write};

/// Places of a plan that are looked at: the first and the last of some racks.
const RACKS_MAX: u32 = 4;

/// The plan of the reference, as its servers have it.
#[must_use]
pub fn ipam() -> Ipam {
    let text = r#"{
        "max_nodes_in_rack": 28, "node_index_offset": 3, "node_networks": 3,
        "node": [{ "prefix": "10.69.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1 }],
        "bmc": [{ "prefix": "10.72.16.0/20", "offset": "0.0.1.0", "range_bits": 5, "mask": 20, "gateway_offset": 1 }]
    }"#;
    serde_json::from_str(text).unwrap()
}

/// Who asks, with a role that an octet chooses.
#[must_use]
pub fn actor(octet: u8) -> Actor {
    let access = Access::ALL[usize::from(octet) % Access::ALL.len()];
    Actor { name: "m0".to_owned(), access, via: "fuzz".to_owned() }
}

fn admin() -> Actor {
    actor(3)
}

fn stamp(nonce: u64) -> Stamp {
    Stamp { now: Timestamp::from_second(1_800_000_000).unwrap(), nonce }
}

fn named(refusal: &Refusal) {
    assert!(!refusal.message.is_empty() && !refusal.rule.is_empty(), "{refusal:?}");
}

/// An inventory in memory, and the store that it is a copy of.
struct World {
    memory: Memory,
    inventory: Inventory,
    turn: u64,
    actor: Actor,
}

impl World {
    fn new() -> Self {
        let mut world = Self { memory: Memory::default(), inventory: Inventory::default(), turn: 0, actor: admin() };
        world.run(&Command::SetIpam { ipam: ipam() }).unwrap();
        let machine = |serial: &str, rack, role: &str| Spec {
            serial: serial.to_owned(),
            rack,
            role: role.to_owned(),
            ..Spec::default()
        };
        let machines = vec![machine("m0", 0, "cs"), machine("m1", 1, "ss"), machine("b0", 0, "boot")];
        world.run(&Command::Register { machines }).unwrap();
        world
    }

    /// Does a change as a server does it, and reads everything again.
    fn run(&mut self, command: &Command) -> Result<(), Refusal> {
        self.turn += 1;
        let Decision { transaction, .. } = self.inventory.decide(command, &self.actor, &stamp(self.turn))?;
        if transaction.writes.is_empty() {
            return Ok(());
        }
        let before = self.inventory.revision();
        assert!(matches!(self.memory.commit(&transaction), Ok(Outcome::Committed(_))), "{transaction:?}");
        for event in self.memory.events("", before).unwrap() {
            self.inventory.apply(&event).unwrap();
        }
        let read = Inventory::load(&self.memory.read("")).unwrap();
        assert!(read.machines().eq(self.inventory.machines()) && read.candidates().eq(self.inventory.candidates()));
        Ok(())
    }
}

/// A query as a URL writes it.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pairs: Vec<(&str, &str)> = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let world = World::new();
    match Query::read(pairs.iter().copied()) {
        Err(refusal) => {
            named(&refusal);
            assert!(pairs.iter().any(|(key, _)| *key == refusal.field), "{refusal:?}");
        }
        Ok(query) => {
            let count = world.inventory.machines().filter(|machine| query.matches(machine)).count();
            if let ([(key, value)], false) = (pairs.as_slice(), pairs[0].0.starts_with("without-")) {
                let negated = Query::read([(format!("without-{key}").as_str(), *value)].into_iter()).unwrap();
                let others = world.inventory.machines().filter(|machine| negated.matches(machine)).count();
                assert_eq!(count + others, world.inventory.machines().len());
            }
        }
    }
}

/// First octet: which document. The rest: its text.
pub fn documents(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind % 8 {
        0 => drop(config::parse::<Config>("fuzz", text)),
        1 => {
            if let Ok(ipam) = serde_json::from_str::<Ipam>(text) {
                plan_of_addresses(&ipam);
            }
        }
        2 => {
            if let Ok(plan) = serde_json::from_str::<Plan>(text) {
                plan_of_fabric(plan);
            }
        }
        3 => {
            if let Ok(machines) = serde_json::from_str::<Vec<Spec>>(text) {
                register(machines);
            }
        }
        4 => {
            if let Ok(files) = serde_json::from_str::<Vec<MachineFile>>(text) {
                register(files.into_iter().map(MachineFile::into_spec).collect());
            }
        }
        5 => {
            if let Ok(Ok(ipam)) = serde_json::from_str::<IpamConfig>(text).map(IpamConfig::into_ipam) {
                plan_of_addresses(&ipam);
            }
        }
        6 => {
            if let Ok(range) = text.parse::<Range>() {
                assert_eq!(range.to_string().parse(), Ok(range));
            }
        }
        _ => {
            if let Ok(ipam) = config::parse::<Ipam>("fuzz", text) {
                plan_of_addresses(&ipam);
            }
        }
    }
}

fn plan_of_addresses(ipam: &Ipam) {
    let written = serde_json::to_string(ipam).unwrap();
    assert_eq!(&serde_json::from_str::<Ipam>(&written).unwrap(), ipam);
    if let Err(refusal) = ipam.check() {
        return named(&refusal);
    }
    let first = ipam.node.iter().map(|pool| pool.first_rack).min().unwrap_or(0);
    for rack in first..first.saturating_add(RACKS_MAX) {
        for place in [Place::Boot, Place::Node] {
            let indices = ipam.indices(place);
            for index in [*indices.start(), *indices.end()] {
                let Ok(addresses) = ipam.addresses(rack, index) else { continue };
                let own = addresses.ipv4.iter().map(|address| IpAddr::from(*address));
                for address in own.chain(addresses.ipv6.iter().map(|address| IpAddr::from(*address))) {
                    let Some(Meaning::Node { rack: found, index: at, .. }) = ipam.meaning(address) else {
                        panic!(
                            "{address} of rack {rack}, index {index} means {:?} in {written}",
                            ipam.meaning(address)
                        );
                    };
                    assert_eq!((found, at), (rack, index), "{address} in {written}");
                    assert!(ipam.interface(address).is_some());
                }
            }
        }
    }
}

fn plan_of_fabric(plan: Plan) {
    let mut world = World::new();
    let names: Vec<String> = plan.switches.keys().take(4).cloned().chain(["m0".to_owned(), "b0".to_owned()]).collect();
    match world.run(&Command::SetPlan { plan }) {
        Err(refusal) => named(&refusal),
        Ok(()) => {
            let (plan, ipam) = (world.inventory.plan().unwrap(), world.inventory.addressing().unwrap());
            for name in names {
                match generate(&name, plan, ipam, world.inventory.machines().map(AsRef::as_ref)) {
                    Ok(document) => assert!(!document.to_string().is_empty()),
                    Err(refusal) => named(&refusal),
                }
            }
        }
    }
}

fn register(machines: Vec<Spec>) {
    let mut world = World::new();
    let (before, count) = (world.inventory.machines().len(), machines.len());
    match world.run(&Command::Register { machines }) {
        Err(refusal) => named(&refusal),
        Ok(()) => {
            let places: std::collections::BTreeSet<(u32, u32)> =
                world.inventory.machines().map(|machine| (machine.rack, machine.index)).collect();
            assert_eq!((world.inventory.machines().len(), places.len()), (before + count, before + count));
        }
    }
    assert_eq!(Inventory::load(&world.memory.read("")).unwrap().machines().len(), world.inventory.machines().len());
}

/// Entries, each a key, a blank and a value, in lines: what a damaged or newer store may hold.
pub fn store(data: &[u8]) {
    let mut memory = Memory::default();
    for line in data.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).take(64) {
        let (key, value) = line.split_at(line.iter().position(|octet| *octet == b' ').unwrap_or(line.len()));
        let Ok(key) = std::str::from_utf8(key) else { continue };
        let write = Write { key: key.to_owned(), value: Some(value.get(1..).unwrap_or_default().into()) };
        let _ = memory.commit(&Transaction { compares: Vec::new(), writes: vec![write] });
    }
    let Ok(inventory) = Inventory::load(&memory.read("")) else { return };
    let machines: Vec<String> = inventory.machines().take(4).map(|machine| machine.serial.clone()).collect();
    for machine in inventory.machines().take(4) {
        let view = MachineView::of(machine, inventory.ipam().map(AsRef::as_ref), Timestamp::UNIX_EPOCH);
        assert!(serde_json::to_string(&view).is_ok());
    }
    let mut world = World { memory, inventory, turn: 0, actor: admin() };
    for serial in machines.iter().chain([&"new".to_owned()]) {
        for to in State::ALL {
            let reason = String::new();
            let _ = world.run_loose(&Command::SetState { serial: serial.clone(), to, reason });
        }
    }
    let machines = vec![Spec { serial: "new".to_owned(), role: "cs".to_owned(), ..Spec::default() }];
    let _ = world.run_loose(&Command::Register { machines });
    let _ = world.run_loose(&Command::SetIpam { ipam: ipam() });
}

impl World {
    /// As `run`, on a store that others may have damaged: a serial number there need not be that of its key.
    fn run_loose(&mut self, command: &Command) -> Result<(), Refusal> {
        self.turn += 1;
        let Decision { transaction, .. } = self.inventory.decide(command, &admin(), &stamp(self.turn))?;
        let before = self.inventory.revision();
        if let Ok(Outcome::Committed(_)) = self.memory.commit(&transaction) {
            for event in self.memory.events("", before).unwrap() {
                self.inventory.apply(&event).unwrap();
            }
        }
        assert!(Inventory::load(&self.memory.read("")).is_ok(), "what a change leaves can be read");
        Ok(())
    }
}
