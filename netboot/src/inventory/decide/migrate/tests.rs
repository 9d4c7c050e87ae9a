//! A change of the address plan, against a store in memory: no address is of two machines at any moment, whoever knows what.

use super::*;
use crate::inventory::access::Access;
use crate::inventory::command::Command;
use crate::inventory::state::State;
use crate::inventory::tests::{Server, actor, admin, register, spec, state, with_plan};
use crate::ipam::tests::{neco, pool};
use crate::ipam::{addresses_of, all};
use crate::store::memory::Memory;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The plan of the reference in another prefix, with larger racks.
fn elsewhere() -> Ipam {
    Ipam { node: vec![pool("10.80.0.0/16", 7, 25)], ..neco() }
}

/// In the same prefix with larger racks: addresses of one rack become those of another.
fn wider() -> Ipam {
    Ipam { node: vec![pool("10.69.0.0/16", 7, 25)], ..neco() }
}

fn begin(to: Ipam) -> Command {
    Command::BeginMigration { to: Box::new(to) }
}

fn confirm(serials: &[&str]) -> Command {
    Command::Confirm { serials: serials.iter().map(|serial| (*serial).to_owned()).collect() }
}

fn started() -> (Memory, Server) {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs"), spec("b", 0, "cs"), spec("c", 1, "cs")])).unwrap();
    server.run(&mut store, &begin(elsewhere())).unwrap();
    (store, server)
}

fn own(server: &Server, serial: &str) -> String {
    let machine = &server.inventory.machine(serial).unwrap().value;
    let all = server.inventory.addressing().unwrap().of(machine);
    all.iter().flat_map(Addresses::own).map(|address| address.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn machines_keep_both_until_they_confirm() {
    let (mut store, mut server) = started();
    assert_eq!(own(&server, "a"), "10.69.0.4 10.80.0.4");
    assert_eq!(server.inventory.ipam().unwrap().as_ref(), &neco(), "the plan is what it was");
    server.run_as(&mut store, &confirm(&["a"]), &actor("a", Access::Machine)).unwrap();
    assert_eq!((own(&server, "a"), own(&server, "b")), ("10.80.0.4".to_owned(), "10.69.0.5 10.80.0.5".to_owned()));
    let revision = server.inventory.revision();
    assert_eq!(server.run(&mut store, &confirm(&["a"])), Ok(revision), "once is enough");
    // New machines come with the new plan, and one that is initialised anew too.
    server.run(&mut store, &register(&[spec("d", 1, "cs")])).unwrap();
    assert_eq!(own(&server, "d"), "10.80.1.133");
    for to in [State::Healthy, State::Updating, State::Uninitialized] {
        server.run(&mut store, &state("b", to)).unwrap();
    }
    assert_eq!(own(&server, "b"), "10.80.0.5");
    let refusal = server.run(&mut store, &Command::FinishMigration).unwrap_err();
    assert!(refusal.message.contains("1 machines have not confirmed: c"), "{refusal}");
    server.run(&mut store, &confirm(&["c"])).unwrap();
    server.run(&mut store, &Command::FinishMigration).unwrap();
    assert!(server.inventory.migration().is_none());
    assert_eq!(server.inventory.ipam().unwrap().as_ref(), &elsewhere());
    assert_eq!(own(&server, "c"), "10.80.1.132");
    let again = Inventory::load(&store.read("")).unwrap();
    assert!(again.machines().eq(server.inventory.machines()));
}

#[test]
fn there_is_a_way_back() {
    let (mut store, mut server) = started();
    server.run(&mut store, &confirm(&["a"])).unwrap();
    server.run(&mut store, &register(&[spec("d", 1, "cs")])).unwrap();
    server.run(&mut store, &Command::AbortMigration).unwrap();
    assert_eq!(own(&server, "a"), "10.80.0.4 10.69.0.4", "it has both again");
    assert_eq!(own(&server, "b"), "10.69.0.5", "it never left");
    assert!(server.run(&mut store, &Command::FinishMigration).unwrap_err().message.contains("2 machines"));
    server.run(&mut store, &confirm(&["a", "d", "b"])).unwrap();
    server.run(&mut store, &Command::FinishMigration).unwrap();
    assert_eq!(server.inventory.ipam().unwrap().as_ref(), &neco());
    assert_eq!((own(&server, "a"), own(&server, "d")), ("10.69.0.4".to_owned(), "10.69.0.197".to_owned()));
}

/// Each refusal names field and rule, and changes nothing.
#[test]
fn what_may_not_follow_is_refused() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs"), spec("c", 1, "cs")])).unwrap();
    let tight = Ipam { node_index_offset: 10, max_nodes_in_rack: 20, ..elsewhere() };
    let nowhere = Ipam { node: vec![crate::ipam::Pool { first_rack: 1, ..elsewhere().node[0].clone() }], ..neco() };
    let lone = Ipam { node_networks: 1, ..elsewhere() };
    server.run(&mut store, &Command::SetPlan { plan: crate::plan::tests::two_racks() }).unwrap();
    let mut refused = |server: &mut Server, command: &Command, who: &crate::inventory::access::Actor, says: &str| {
        let before = store.read("");
        let refusal = server.run_as(&mut store, command, who).unwrap_err();
        assert!(refusal.message.contains(says) && !refusal.rule.is_empty(), "{says}: {refusal:?}");
        assert_eq!(store.read(""), before);
    };
    let root = admin();
    refused(&mut server, &begin(neco()), &root, "it is the plan already");
    refused(&mut server, &begin(wider()), &root, "is something else in the");
    refused(&mut server, &begin(tight), &root, "a has index 4");
    refused(&mut server, &begin(nowhere), &root, "no pool of nodes has a part for rack 0");
    refused(&mut server, &begin(lone), &root, "has no network 1");
    refused(&mut server, &begin(Ipam { node_networks: 0, ..neco() }), &root, "0 is out of range");
    for command in [confirm(&["a"]), Command::AbortMigration, Command::FinishMigration] {
        refused(&mut server, &command, &root, "no change of the address plan is under way");
    }
    refused(&mut server, &begin(elsewhere()), &actor("o", Access::Operator), "may not begin ipam migration");
    server.run(&mut store, &begin(elsewhere())).unwrap();
    let mut refused = |server: &mut Server, command: &Command, who: &crate::inventory::access::Actor, says: &str| {
        let before = store.read("");
        let refusal = server.run_as(&mut store, command, who).unwrap_err();
        assert!(refusal.message.contains(says) && !refusal.rule.is_empty(), "{says}: {refusal:?}");
        assert_eq!(store.read(""), before);
    };
    refused(&mut server, &begin(wider()), &root, "is under way");
    refused(&mut server, &Command::SetIpam { ipam: neco() }, &root, "is under way");
    refused(&mut server, &confirm(&["nobody"]), &root, "there is no machine `nobody`");
    refused(&mut server, &confirm(&["a", "a"]), &root, "is there twice");
    refused(&mut server, &confirm(&[]), &root, "0 machines");
    refused(&mut server, &confirm(&["c"]), &actor("a", Access::Machine), "may not confirm for others");
    server.run(&mut store, &Command::AbortMigration).unwrap();
    let twice = server.run(&mut store, &Command::AbortMigration).unwrap_err();
    assert!(twice.message.contains("aborted already"), "{twice}");
}

/// The switch takes from a port the addresses of that machine by both plans, and nothing else; by the daemon's own policy.
#[test]
fn a_switch_takes_old_and_new_of_the_machine_on_the_port() {
    let (mut store, mut server) = started();
    server.run(&mut store, &Command::SetPlan { plan: crate::plan::tests::two_racks() }).unwrap();
    server.run(&mut store, &confirm(&["b"])).unwrap();
    let generated = |server: &Server, name: &str| {
        let inventory = &server.inventory;
        let machines = inventory.machines().map(AsRef::as_ref);
        let made = crate::plan::generate(name, inventory.plan().unwrap(), inventory.addressing().unwrap(), machines);
        made.unwrap().to_string()
    };
    let text = generated(&server, "tor1");
    let node = weft_fabric::config::parse("t", &text)
        .and_then(|config| config.node())
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let accepted = |peer: &str, prefix: &str| crate::plan::tests::is_accepted(&node, peer, prefix);
    // a: 10.69.0.4 and 10.80.0.4, on network 1 10.69.0.68 and 10.80.0.132; b has confirmed.
    for (peer, prefix, owned) in [
        ("10.69.0.68", "10.69.0.4/32", true),
        ("10.69.0.68", "10.80.0.4/32", true),
        ("10.80.0.132", "10.69.0.4/32", true),
        ("10.80.0.132", "10.80.0.4/32", true),
        ("10.69.0.68", "10.69.0.5/32", false),
        ("10.69.0.68", "10.80.0.5/32", false),
        ("10.69.0.68", "10.80.0.6/32", false),
        ("10.80.0.133", "10.80.0.5/32", true),
        ("10.80.0.133", "10.69.0.5/32", false),
        ("10.69.0.69", "10.69.0.5/32", false),
        ("10.69.0.69", "10.80.0.5/32", false),
    ] {
        assert_eq!(accepted(peer, prefix), owned, "{prefix} from {peer}\n{text}");
    }
    assert!(text.contains("prefix: 10.69.0.64/26") && text.contains("prefix: 10.80.0.128/25"), "{text}");
    assert!(text.contains("unreachable: [10.69.0.0/26, 10.80.0.0/25]"), "{text}");
    let host = generated(&server, "a");
    assert!(host.contains("addresses: [10.69.0.4/32, 10.80.0.4/32]"), "{host}");
    assert!(host.contains("tor1: {address: 10.69.0.65") && host.contains("tor1-next: {address: 10.80.0.129"), "{host}");
    weft_fabric::config::parse("t", &host).and_then(|config| config.node()).unwrap();
    assert!(!host.contains("router_id"), "it is its first address: {host}");
    // Who has confirmed has the new one alone, and no session ends by it: its BGP identifier stays until the change is finished.
    let host = generated(&server, "b");
    let identifier = |text: &str| {
        weft_fabric::config::parse("t", text).and_then(|config| config.node()).unwrap().speaker.router_id.to_string()
    };
    assert!(host.contains("addresses: [10.80.0.5/32]") && identifier(&host) == "10.69.0.5", "{host}");
    server.run(&mut store, &Command::AbortMigration).unwrap();
    let host = generated(&server, "b");
    assert!(host.contains("addresses: [10.80.0.5/32, 10.69.0.5/32]") && identifier(&host) == "10.69.0.5", "{host}");
    server.run(&mut store, &confirm(&["b"])).unwrap();
    server.run(&mut store, &Command::FinishMigration).unwrap();
    assert!(!generated(&server, "b").contains("router_id"));
}

#[test]
fn a_preview_says_what_would_change() {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &register(&[spec("a", 0, "cs"), spec("c", 1, "cs")])).unwrap();
    let plan = crate::plan::tests::two_racks();
    let preview =
        |to: &Ipam| crate::plan::preview(Some(&plan), &neco(), to, server.inventory.machines().map(AsRef::as_ref));
    let found = preview(&elsewhere());
    assert_eq!((found.machines, found.moved, found.conflicts.len(), found.switches.len()), (2, 2, 0, 2));
    assert_eq!((found.steps[0].asn, found.steps[0].after[0].to_string().as_str()), (Some(64_600), "10.80.0.4"));
    let lines = &found.switches[0].lines;
    assert!(lines.iter().any(|line| line.starts_with('-') && line.contains("10.69.0.68")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with('+') && line.contains("10.80.0.132")), "{lines:?}");
    let clash = preview(&wider());
    assert!(!clash.conflicts.is_empty() && clash.conflicts[0].serial.is_some(), "{clash:?}");
    assert_eq!(preview(&Ipam { node_networks: 0, ..neco() }).conflicts[0].field, "node_networks");
}

proptest! {
    /// Three servers over one store, each deciding on what it happens to know: at no moment do two machines have one address, by either
    /// plan; every machine can go on and back; and what is stored can be read again.
    #[test]
    fn no_address_is_of_two_machines_at_any_moment(steps in prop::collection::vec((0_usize..3, 0_u8..12, 0_u32..3, 0_u8..8, any::<bool>()), 1..100)) {
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
                3 => begin([elsewhere(), neco(), wider()][usize::from(which) % 3].clone()),
                4..6 => confirm(&[&serial]),
                6 => Command::AbortMigration,
                7 => Command::FinishMigration,
                8 => Command::SetIpam { ipam: [elsewhere(), neco(), wider()][usize::from(which) % 3].clone() },
                9 => state(&serial, [State::Healthy, State::Updating, State::Uninitialized][usize::try_from(rack).unwrap()]),
                10 => state(&serial, [State::Retiring, State::Retired, State::Uninitialized][usize::try_from(rack).unwrap()]),
                _ => Command::Remove { serial },
            };
            let _ = server.try_once(&mut store, &command, &admin());
            let truth = Inventory::load(&store.read("")).unwrap();
            let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::new();
            for machine in truth.machines() {
                let plans = truth.addressing().unwrap();
                for address in plans.of(machine).iter().flat_map(all) {
                    let other = seen.insert(address, &machine.serial);
                    prop_assert!(other.is_none_or(|other| other == machine.serial), "{} is of {:?} and {}", address, other, machine.serial);
                }
                // What it has is what one of the plans says, and that it can get what the other says.
                let own = addresses_of(machine);
                let by: Vec<bool> = plans.plans().map(|plan| plan.addresses(machine.rack, machine.index) == Ok(own.clone())).collect();
                prop_assert!(by.contains(&true), "{}: {:?}", machine.serial, by);
                if let Some(migration) = truth.migration() {
                    prop_assert_eq!(passes(&migration.from, &migration.to, machine), Ok(()));
                }
            }
        }
    }
}
