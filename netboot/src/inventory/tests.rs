//! The inventory against a store in memory: what the reference says of machines, and that nothing is given twice.

use super::access::{Access, Actor};
use super::audit::{AuditEntry, Stamp};
use super::command::{Command, Dhcp};
use super::machine::{Bmc, Hardware, Ids, Machine, Spec};
use super::state::{State, Status};
use super::*;
use crate::error::{Kind, Refusal};
use crate::ipam::tests::{neco, pool};
use crate::store::memory::Memory;
use crate::store::{Outcome, Revision};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use std::net::IpAddr;

/// A machine as the golden formula has it.
pub(crate) fn machine(serial: &str, rack: u32, index: u32) -> Machine {
    let addresses = neco().addresses(rack, index).unwrap();
    let since = Timestamp::UNIX_EPOCH;
    let role = if index == 3 { "boot" } else { "cs" };
    Machine {
        serial: serial.to_owned(),
        name: Machine::default_name(role, rack, index),
        ids: Ids::default(),
        labels: BTreeMap::new(),
        rack,
        index,
        role: role.to_owned(),
        ipv4: addresses.ipv4,
        ipv6: addresses.ipv6,
        bmc: Bmc { kind: String::new(), ipv4: addresses.bmc_ipv4, ipv6: None },
        announces: Vec::new(),
        registered: since,
        retires: None,
        hardware: Hardware::default(),
        state: Status { name: State::Uninitialized, since, reason: "registered".to_owned(), by: "me".to_owned() },
        history: Vec::new(),
        disk_keys: BTreeSet::new(),
    }
}

/// A boot server: its view of a store that it may share with others.
pub(super) struct Server {
    pub(super) inventory: Inventory,
    turn: u64,
    name: u64,
}

pub(super) fn admin() -> Actor {
    Actor { name: "root".to_owned(), access: Access::Admin, via: "test".to_owned() }
}

pub(super) fn actor(name: &str, access: Access) -> Actor {
    Actor { name: name.to_owned(), access, via: "test".to_owned() }
}

impl Server {
    pub(super) fn new(name: u64) -> Self {
        Self { inventory: Inventory::default(), turn: 0, name }
    }

    pub(super) fn catch_up(&mut self, store: &Memory) {
        for event in store.events("", self.inventory.revision()).unwrap() {
            self.inventory.apply(&event).unwrap();
        }
    }

    fn stamp(&mut self) -> Stamp {
        self.turn += 1;
        let second = i64::try_from(self.turn).unwrap();
        Stamp { now: Timestamp::from_second(second).unwrap(), nonce: self.name << 32 | self.turn }
    }

    /// Decides on what it knows, without hearing what others did first.
    pub(super) fn try_once(
        &mut self,
        store: &mut Memory,
        command: &Command,
        actor: &Actor,
    ) -> Result<Outcome, Refusal> {
        let stamp = self.stamp();
        let decision = self.inventory.decide(command, actor, &stamp)?;
        if decision.transaction.writes.is_empty() {
            return Ok(Outcome::Committed(self.inventory.revision()));
        }
        match store.commit(&decision.transaction) {
            Ok(outcome) => Ok(outcome),
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn run_as(&mut self, store: &mut Memory, command: &Command, actor: &Actor) -> Result<Revision, Refusal> {
        for _ in 0..8 {
            self.catch_up(store);
            if let Outcome::Committed(revision) = self.try_once(store, command, actor)? {
                self.catch_up(store);
                return Ok(revision);
            }
        }
        panic!("conflicts without anybody else");
    }

    pub(super) fn run(&mut self, store: &mut Memory, command: &Command) -> Result<Revision, Refusal> {
        self.run_as(store, command, &admin())
    }
}

pub(super) fn with_plan() -> (Memory, Server) {
    let (mut store, mut server) = (Memory::default(), Server::new(1));
    server.run(&mut store, &Command::SetIpam { ipam: neco() }).unwrap();
    (store, server)
}

/// One machine, at place 4 of rack 0.
pub(crate) fn with_machines() -> Inventory {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("N1", 0, "cs")])).unwrap();
    server.inventory
}

/// The same, with the plan of the fabric `two-racks`.
pub(crate) fn with_fabric() -> Inventory {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("N1", 0, "cs")])).unwrap();
    server.run(&mut store, &Command::SetPlan { plan: crate::plan::tests::two_racks() }).unwrap();
    server.inventory
}

pub(super) fn spec(serial: &str, rack: u32, role: &str) -> Spec {
    Spec { serial: serial.to_owned(), rack, role: role.to_owned(), ..Spec::default() }
}

pub(super) fn register(specs: &[Spec]) -> Command {
    Command::Register { machines: specs.to_vec() }
}

pub(super) fn state(serial: &str, to: State) -> Command {
    Command::SetState { serial: serial.to_owned(), to, reason: "test".to_owned() }
}

#[test]
fn addresses_follow_from_rack_and_role() {
    let (mut store, mut server) = with_plan();
    let all = [spec("b0", 0, "boot"), spec("n1", 0, "cs"), spec("n2", 0, "ss"), spec("n3", 1, "cs")];
    server.run(&mut store, &register(&all)).unwrap();
    let found: Vec<(String, u32, String)> = server
        .inventory
        .machines()
        .map(|machine| (machine.name.clone(), machine.index, machine.ipv4[0].to_string()))
        .collect();
    let wanted = [
        ("boot-0-3", 3, "10.69.0.3"),
        ("cs-0-4", 4, "10.69.0.4"),
        ("ss-0-5", 5, "10.69.0.5"),
        ("cs-1-4", 4, "10.69.0.196"),
    ];
    assert_eq!(found, wanted.map(|(name, index, address)| (name.to_owned(), index, address.to_owned())));
}

/// neco.md §1.3: registration is all-or-nothing; a duplicate serial or a second boot server of a rack is a conflict.
#[test]
fn registration_is_all_or_nothing() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("b0", 0, "boot")])).unwrap();
    let before = store.read("");
    for (specs, field) in [
        (vec![spec("new", 0, "cs"), spec("b0", 1, "cs")], "[1].serial"),
        (vec![spec("new", 0, "cs"), spec("new", 1, "cs")], "[1].serial"),
        (vec![spec("new", 0, "cs"), spec("b1", 0, "boot")], "[1].rack"),
        (vec![spec("new", 0, "cs"), spec("other", 341, "cs")], "[1].rack"),
        (vec![spec("new", 0, "cs"), spec("a b", 0, "cs")], "[1].serial"),
        (vec![spec("new", 0, "cs"), Spec { index: Some(4), ..spec("x", 0, "cs") }], "[1].index"),
        (vec![Spec { index: Some(3), ..spec("x", 0, "cs") }], "[0].index"),
        (vec![spec("new", 0, "cs"), Spec { name: Some("boot-0-3".to_owned()), ..spec("x", 0, "cs") }], "[1].name"),
        (Vec::new(), ""),
        (vec![spec("new", 0, "cs"); 61], ""),
    ] {
        let refusal = server.run(&mut store, &register(&specs)).unwrap_err();
        assert_eq!(refusal.field, field, "{refusal}");
        assert_eq!(store.read(""), before);
    }
}

#[test]
fn identifiers_are_of_one_machine() {
    let (mut store, mut server) = with_plan();
    let ids = Ids { macs: vec!["52:54:00:00:00:01".to_owned()], ..Ids::default() };
    server.run(&mut store, &register(&[Spec { ids: ids.clone(), ..spec("a", 0, "cs") }, spec("b", 0, "cs")])).unwrap();
    let report = Command::Report { serial: "b".to_owned(), ids: Some(ids.clone()), hardware: None };
    let refusal = server.run(&mut store, &report).unwrap_err();
    assert_eq!((refusal.kind, refusal.field.as_str()), (Kind::Conflict, "ids.macs"));
    assert!(refusal.message.contains("is of a"), "{refusal}");
    // When its owner gives it away, the other may have it.
    server
        .run(&mut store, &Command::Report { serial: "a".to_owned(), ids: Some(Ids::default()), hardware: None })
        .unwrap();
    server.run(&mut store, &report).unwrap();
    assert_eq!(server.inventory.machine("b").unwrap().value.ids, ids);
}

#[test]
fn a_rack_is_full_after_as_many_as_the_plan_says() {
    let (mut store, mut server) = with_plan();
    let all: Vec<Spec> = (0..28).map(|at| spec(&format!("n{at}"), 2, "cs")).collect();
    server.run(&mut store, &register(&all)).unwrap();
    let refusal = server.run(&mut store, &register(&[spec("more", 2, "cs")])).unwrap_err();
    assert!(refusal.message.contains("rack 2 is full"), "{refusal}");
    // neco.md §1.3: places are used again after removal.
    for to in [State::Retiring, State::Retired] {
        server.run(&mut store, &state("n7", to)).unwrap();
    }
    server.run(&mut store, &Command::Remove { serial: "n7".to_owned() }).unwrap();
    server.run(&mut store, &register(&[spec("more", 2, "cs")])).unwrap();
    assert_eq!(server.inventory.machine("more").unwrap().value.index, 11);
}

/// neco.md §1.3: removal only from retired; retiring and retired refuse new keys; keys are deleted in retiring alone.
#[test]
fn keys_and_removal_follow_the_state() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs")])).unwrap();
    let serial = || "a".to_owned();
    let hold = |disk: &str| Command::HoldKey { serial: serial(), disk: disk.to_owned() };
    server.run(&mut store, &hold("disk0")).unwrap();
    assert_eq!(server.run(&mut store, &hold("disk0")).unwrap_err().kind, Kind::Conflict);
    let refused = |server: &mut Server, store: &mut Memory, command: &Command| {
        let before = store.read("");
        assert_eq!(server.run(store, command).unwrap_err().kind, Kind::Transition, "{command:?}");
        assert_eq!(store.read(""), before);
    };
    refused(&mut server, &mut store, &Command::DropKeys { serial: serial() });
    refused(&mut server, &mut store, &Command::Remove { serial: serial() });
    server.run(&mut store, &state("a", State::Retiring)).unwrap();
    refused(&mut server, &mut store, &hold("disk1"));
    refused(&mut server, &mut store, &state("a", State::Retired));
    refused(&mut server, &mut store, &Command::Remove { serial: serial() });
    server.run(&mut store, &Command::DropKeys { serial: serial() }).unwrap();
    server.run(&mut store, &state("a", State::Retired)).unwrap();
    refused(&mut server, &mut store, &hold("disk1"));
    server.run(&mut store, &Command::Remove { serial: serial() }).unwrap();
    assert_eq!(server.inventory.machines().len(), 0);
}

#[test]
fn every_change_has_its_audit_entry_and_nothing_else_has() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs"), spec("b", 0, "cs")])).unwrap();
    let operator = actor("ops", Access::Operator);
    server.run_as(&mut store, &state("a", State::Healthy), &operator).unwrap();
    server.run_as(&mut store, &state("a", State::Healthy), &operator).unwrap();
    server.run_as(&mut store, &state("a", State::Uninitialized), &operator).unwrap_err();
    let entries: Vec<AuditEntry> =
        store.read(AUDIT).entries.iter().map(|entry| serde_json::from_slice(&entry.value).unwrap()).collect();
    let said: Vec<String> =
        entries.iter().map(|entry| format!("{} {} {}", entry.who, entry.action, entry.subject)).collect();
    assert_eq!(said, ["root set ipam ipam", "root register a", "root register b", "ops set state healthy a"]);
    let last = entries.last().unwrap();
    assert_eq!(last.before.as_ref().unwrap()["state"]["name"], "uninitialized");
    assert_eq!(last.after.as_ref().unwrap()["state"]["name"], "healthy");
    // Change and entry are of one transaction.
    let modified = server.inventory.machine("a").unwrap().modified;
    assert_eq!(store.read(AUDIT).entries.last().unwrap().modified, modified);
}

#[test]
fn roles_decide_who_may() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs"), spec("b", 0, "cs")])).unwrap();
    let (reader, operator, machine) =
        (actor("r", Access::Read), actor("o", Access::Operator), actor("a", Access::Machine));
    let report = |serial: &str| Command::Report {
        serial: serial.to_owned(),
        ids: None,
        hardware: Some(Hardware { threads: 8, ..Hardware::default() }),
    };
    let retired = |server: &mut Server, store: &mut Memory| {
        server.run(store, &state("b", State::Retiring)).unwrap();
        server.run(store, &state("b", State::Retired)).unwrap();
    };
    let mut kind = |command: &Command, actor: &Actor, server: &mut Server| {
        server.run_as(&mut store, command, actor).map_err(|refusal| refusal.kind).err()
    };
    assert_eq!(kind(&state("a", State::Healthy), &reader, &mut server), Some(Kind::Forbidden));
    assert_eq!(kind(&state("a", State::Healthy), &machine, &mut server), Some(Kind::Forbidden));
    assert_eq!(kind(&report("a"), &machine, &mut server), None);
    assert_eq!(kind(&report("b"), &machine, &mut server), Some(Kind::Forbidden));
    assert_eq!(kind(&report("nobody"), &machine, &mut server), Some(Kind::Forbidden), "not told who is there");
    assert_eq!(kind(&state("a", State::Healthy), &operator, &mut server), None);
    assert_eq!(kind(&state("a", State::Retiring), &operator, &mut server), Some(Kind::Forbidden));
    assert_eq!(kind(&Command::SetIpam { ipam: neco() }, &operator, &mut server), Some(Kind::Forbidden));
    assert_eq!(kind(&Command::Remove { serial: "a".to_owned() }, &operator, &mut server), Some(Kind::Forbidden));
    retired(&mut server, &mut store);
    let refusal = server.run_as(&mut store, &state("b", State::Uninitialized), &operator).unwrap_err();
    assert_eq!(refusal.kind, Kind::Forbidden);
    assert!(
        machine.may_read(Some("a")).is_ok() && machine.may_read(Some("b")).is_err() && machine.may_read(None).is_err()
    );
}

#[test]
fn a_plan_may_grow_under_live_machines_but_moves_none() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs"), spec("b", 1, "boot")])).unwrap();
    let mut moved = neco();
    moved.node[0].range_bits = 7;
    moved.node[0].mask = 25;
    let refusal = server.run(&mut store, &Command::SetIpam { ipam: moved }).unwrap_err();
    assert!(refusal.message.contains("2 machines would get other addresses: a, b"), "{refusal}");
    let mut tight = neco();
    (tight.node_index_offset, tight.max_nodes_in_rack) = (10, 20);
    assert!(server.run(&mut store, &Command::SetIpam { ipam: tight }).unwrap_err().message.contains("a has index 4"));
    let mut dual = neco();
    dual.node.push(pool("fd00:69::/48", 64, 64));
    server.run(&mut store, &Command::SetIpam { ipam: dual.clone() }).unwrap();
    let machine = &server.inventory.machine("b").unwrap().value;
    assert_eq!(
        machine.own_addresses().map(|address| address.to_string()).collect::<Vec<_>>(),
        ["10.69.0.195", "fd00:69:0:3::3"]
    );
    let revision = store.read("").revision;
    assert_eq!(server.run(&mut store, &Command::SetIpam { ipam: dual }).unwrap(), revision, "the same plan again");
}

#[test]
fn settings_are_looked_at() {
    let (mut store, mut server) = with_plan();
    let dhcp = |lease_minutes| Command::SetDhcp { dhcp: Dhcp { lease_minutes, dns_servers: Vec::new() } };
    assert_eq!(server.run(&mut store, &dhcp(0)).unwrap_err().field, "lease_minutes");
    server.run(&mut store, &dhcp(60)).unwrap();
    assert_eq!(server.inventory.dhcp().unwrap().lease_minutes, 60);
    let plan = crate::plan::tests::two_racks();
    server.run(&mut store, &Command::SetPlan { plan: plan.clone() }).unwrap();
    let mut more = plan;
    more.switches.get_mut("tor1").unwrap().network = 3;
    assert_eq!(server.run(&mut store, &Command::SetPlan { plan: more }).unwrap_err().field, "switches.tor1.network");
}

#[test]
fn what_was_heard_once_changes_nothing_again() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs")])).unwrap();
    let early = store.events("", Revision(0)).unwrap();
    server.run(&mut store, &state("a", State::Healthy)).unwrap();
    for event in &early {
        server.inventory.apply(event).unwrap();
    }
    assert_eq!(server.inventory.machine("a").unwrap().value.state.name, State::Healthy);
    let again = Inventory::load(&store.read("")).unwrap();
    assert_eq!(again.machine("a"), server.inventory.machine("a"));
}

#[test]
fn a_damaged_entry_is_named() {
    let (mut store, _) = with_plan();
    let write = crate::store::Write { key: "machines/x".to_owned(), value: Some(b"{".as_slice().into()) };
    store.commit(&Transaction { compares: Vec::new(), writes: vec![write] }).unwrap();
    assert!(Inventory::load(&store.read("")).unwrap_err().to_string().contains("machines/x"));
}

/// Sums over a plan without rules could go beyond every number.
#[test]
fn a_stored_plan_that_breaks_its_rules_is_named() {
    for (key, value, says) in [
        (
            "ipam",
            json!({ "max_nodes_in_rack": 28, "node_index_offset": u32::MAX, "node_networks": 3, "node": [] }),
            "entry `ipam` breaks",
        ),
        (
            "plan",
            json!({ "asn": { "per_rack": { "base": 64600 } }, "max_prefixes": 0 }),
            "entry `plan` breaks a rule: max_prefixes",
        ),
    ] {
        let (mut store, _) = with_plan();
        let write = crate::store::Write { key: key.to_owned(), value: Some(value.to_string().into_bytes().into()) };
        store.commit(&Transaction { compares: Vec::new(), writes: vec![write] }).unwrap();
        let error = Inventory::load(&store.read("")).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

proptest! {
    /// Three servers over one store, each deciding on what it happens to know: no address, name or place is given twice, and the count
    /// of machines is right.
    #[test]
    fn servers_that_know_little_give_nothing_twice(steps in prop::collection::vec((0_usize..3, 0_u8..8, 0_u32..3, 0_u8..12, any::<bool>()), 1..80)) {
        let (mut store, first) = with_plan();
        let mut servers = [first, Server::new(2), Server::new(3)];
        servers.iter_mut().for_each(|server| server.catch_up(&store));
        for (who, what, rack, which, hears) in steps {
            let serial = format!("m{which}");
            let server = &mut servers[who];
            if hears {
                server.catch_up(&store);
            }
            let command = match what {
                0..3 => register(&[spec(&serial, rack, if which == 0 { "boot" } else { "cs" })]),
                3 => state(&serial, State::Healthy),
                4 => state(&serial, State::Retiring),
                5 => state(&serial, State::Retired),
                6 => Command::Remove { serial },
                _ => Command::Report { serial, ids: Some(Ids { macs: vec![format!("52:54:00:00:00:{rack:02x}")], ..Ids::default() }), hardware: None },
            };
            // A refusal, a conflict or a commit: each is right, as long as what is stored is.
            let _ = server.try_once(&mut store, &command, &admin());
            let truth = Inventory::load(&store.read("")).unwrap();
            let mut seen = BTreeSet::new();
            for machine in truth.machines() {
                let addresses = machine.ipv4.iter().chain(&machine.bmc.ipv4).map(|address| IpAddr::V4(*address).to_string());
                for one in addresses.chain(identifiers(machine)) {
                    prop_assert!(seen.insert(one.clone()), "{} twice", one);
                }
            }
            let counted = truth.fleet.as_ref().map_or(0, |fleet| fleet.value.machines);
            prop_assert_eq!(counted, u64::try_from(truth.machines().len()).unwrap());
        }
    }
}

#[test]
fn who_watches_hears_of_machines_and_migration_and_of_nothing_else() {
    let heard = [AUDIT, BOOTS, CANDIDATES, DHCP, FLEET, IPAM, MACHINES, MIGRATION, PLAN, QUEUE, RULES];
    let heard: Vec<&str> = heard.into_iter().filter(|key| key.starts_with(WATCHED)).collect();
    assert_eq!(heard, [MACHINES, MIGRATION]);
}
