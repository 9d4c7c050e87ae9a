//! Machines that nobody registered, against a store in memory.

use super::*;
use crate::inventory::audit::AuditEntry;
use crate::inventory::command::Command;
use crate::inventory::tests::{Server, actor, admin, register, spec, with_plan};
use crate::store::memory::Memory;
use crate::store::{Outcome, Revision};

fn said(serial: &str) -> Sighting {
    let hardware =
        Hardware { vendor: "Dell Inc.".to_owned(), product: "PowerEdge R640".to_owned(), ..Hardware::default() };
    Sighting { serial: serial.to_owned(), hardware, ..Sighting::default() }
}

fn with_mac(serial: &str, mac: &str) -> Sighting {
    Sighting { ids: Ids { macs: vec![mac.to_owned()], ..Ids::default() }, ..said(serial) }
}

fn stranger(address: &str) -> Actor {
    Actor { name: "stranger".to_owned(), access: Access::Stranger, via: address.to_owned() }
}

/// A machine with its certificate, at an address of rack 1 in the plan of the reference.
fn machine(serial: &str) -> Actor {
    Actor { via: "10.69.0.230".to_owned(), ..actor(serial, Access::Machine) }
}

fn rules(text: &str) -> Command {
    Command::SetRules { rules: serde_json::from_str(text).unwrap() }
}

const RULES: &str = r#"[
    {"name": "spare", "match": {"serial": "SPARE*"}, "then": {"reject": {"reason": "it stays in its box"}}},
    {"name": "dell", "match": {"vendor": "dell*", "macs": ["b0:7b:25"], "racks": [1, 2]}, "then": {"accept": {"role": "cs", "labels": {"zone": "x"}}}},
    {"name": "lab", "match": {"serial": "LAB*"}, "then": {"accept": {"role": "ss", "rack": 2, "open": true}}},
    {"name": "rest", "then": {"hold": {"role": "cs"}}}
]"#;

fn with_rules() -> (Memory, Server) {
    let (mut store, mut server) = with_plan();
    server.run(&mut store, &rules(RULES)).unwrap();
    (store, server)
}

fn report(store: &mut Memory, server: &mut Server, said: Sighting, by: &Actor) -> Result<Revision, Refusal> {
    server.run_as(store, &Command::Sight { said: Box::new(said) }, by)
}

fn why(server: &Server, serial: &str) -> String {
    let candidate = server.inventory.candidate(serial).unwrap();
    server.inventory.waiting(candidate, Timestamp::UNIX_EPOCH).why
}

fn accept(serial: &str, wish: Acceptance) -> Command {
    Command::Accept { serial: serial.to_owned(), wish }
}

fn audit(store: &Memory) -> Vec<AuditEntry> {
    store.read("audit/").entries.iter().map(|entry| serde_json::from_slice(&entry.value).unwrap()).collect()
}

#[test]
fn a_rule_lets_a_machine_in_with_rack_role_and_labels() {
    let (mut store, mut server) = with_rules();
    report(&mut store, &mut server, with_mac("D1", "B0-7B-25-00-00-01"), &machine("D1")).unwrap();
    let found = server.inventory.machine("D1").unwrap().value.clone();
    assert_eq!((found.rack, found.role.as_str(), found.labels["zone"].as_str()), (1, "cs", "x"));
    assert_eq!(found.ipv4[0].to_string(), "10.69.0.196", "its place follows from the plan");
    let last = audit(&store).pop().unwrap();
    assert_eq!((last.action.as_str(), last.who.as_str(), last.role), ("enrol by rule dell", "D1", Access::Machine));
    assert_eq!(server.inventory.candidates().len(), 0);
    // Again: it is there, and what it says of itself now has another way.
    let before = server.inventory.revision();
    assert_eq!(report(&mut store, &mut server, said("D1"), &machine("D1")), Ok(before));
}

#[test]
fn the_first_rule_decides_and_the_last_holds() {
    let (mut store, mut server) = with_rules();
    let refusal = report(&mut store, &mut server, said("SPARE1"), &machine("SPARE1")).unwrap_err();
    assert!(refusal.kind == Kind::Forbidden && refusal.message.contains("it stays in its box"), "{refusal}");
    report(&mut store, &mut server, with_mac("H1", "52:54:00:00:00:01"), &machine("H1")).unwrap();
    assert_eq!(why(&server, "H1"), "rule `rest` holds it until somebody accepts it");
    let waiting = server.inventory.waiting(server.inventory.candidate("H1").unwrap(), Timestamp::UNIX_EPOCH);
    assert_eq!(
        (waiting.rule.as_deref(), waiting.role.as_deref(), waiting.candidate.rack),
        (Some("rest"), Some("cs"), Some(1))
    );
    server
        .run(&mut store, &accept("H1", Acceptance { name: Some("first".to_owned()), ..Acceptance::default() }))
        .unwrap();
    let found = server.inventory.machine("H1").unwrap().value.clone();
    assert_eq!((found.name.as_str(), found.rack, found.ids.macs.len()), ("first", 1, 1));
    assert_eq!(server.inventory.candidates().len(), 0);
}

#[test]
fn nobody_vouches_for_a_stranger() {
    let (mut store, mut server) = with_rules();
    report(&mut store, &mut server, with_mac("D1", "b0:7b:25:00:00:01"), &stranger("10.69.0.230")).unwrap();
    assert!(why(&server, "D1").contains("nobody vouches for it"), "{}", why(&server, "D1"));
    report(&mut store, &mut server, said("LAB1"), &stranger("10.69.0.230")).unwrap();
    assert_eq!(server.inventory.machine("LAB1").unwrap().value.rack, 2, "its rule says `open`, and its rack");
    // What it says of its rack is a word, where it is seen is a fact.
    let lies = Sighting { rack: Some(7), ..said("D2") };
    report(&mut store, &mut server, lies.clone(), &stranger("10.69.0.230")).unwrap();
    assert_eq!(server.inventory.candidate("D2").unwrap().rack, Some(1));
    report(&mut store, &mut server, Sighting { serial: "D3".to_owned(), ..lies }, &stranger("192.0.2.1")).unwrap();
    assert_eq!(server.inventory.candidate("D3").unwrap().rack, Some(7), "nobody knows better");
    for (who, serial) in [(machine("D1"), "D2"), (actor("r", Access::Read), "D2")] {
        assert_eq!(report(&mut store, &mut server, said(serial), &who).unwrap_err().kind, Kind::Forbidden);
    }
    for command in [accept("D1", Acceptance::default()), Command::Forget { serial: "D1".to_owned() }] {
        let refusal = server.run_as(&mut store, &command, &stranger("10.69.0.230")).unwrap_err();
        assert_eq!(refusal.kind, Kind::Forbidden);
    }
}

#[test]
fn nobody_else_changes_what_a_machine_said() {
    let (mut store, mut server) = with_rules();
    let own = with_mac("D1", "52:54:00:00:00:01");
    report(&mut store, &mut server, own.clone(), &stranger("10.69.0.230")).unwrap();
    report(&mut store, &mut server, with_mac("D1", "52:54:00:00:00:66"), &stranger("192.0.2.66")).unwrap();
    let found = server.inventory.candidate("D1").unwrap().clone();
    assert_eq!((&found.said, found.disputed_by.len()), (&own, 1));
    for at in 0..20 {
        let _ =
            report(&mut store, &mut server, with_mac("D1", "52:54:00:00:00:67"), &stranger(&format!("192.0.2.{at}")));
    }
    assert_eq!(server.inventory.candidate("D1").unwrap().disputed_by.len(), DISPUTES_MAX);
    // But its certificate does.
    let vouched = with_mac("D1", "52:54:00:00:00:02");
    report(&mut store, &mut server, vouched.clone(), &machine("D1")).unwrap();
    let found = server.inventory.candidate("D1").unwrap().clone();
    assert!(found.vouched && found.said == vouched && found.source == "D1");
    report(&mut store, &mut server, own, &stranger("10.69.0.230")).unwrap();
    assert_eq!(server.inventory.candidate("D1").unwrap().said, vouched);
}

/// Each conflict names its field, and leaves nothing behind.
#[test]
fn what_cannot_be_accepted_is_refused_and_waits() {
    let (mut store, mut server) = with_rules();
    let mut owner = spec("OWNER", 1, "cs");
    owner.ids.macs = vec!["52:54:00:00:00:01".to_owned()];
    let full: Vec<Spec> = (0..28).map(|at| spec(&format!("f{at}"), 3, "cs")).collect();
    server.run(&mut store, &register(&[owner])).unwrap();
    server.run(&mut store, &register(&full)).unwrap();
    report(&mut store, &mut server, with_mac("X1", "52:54:00:00:00:01"), &machine("X1")).unwrap();
    report(&mut store, &mut server, said("X2"), &admin()).unwrap();
    assert!(why(&server, "X1").contains("52:54:00:00:00:01 is of OWNER"), "{}", why(&server, "X1"));
    assert!(why(&server, "X2").contains("nobody knows in which rack it is"), "{}", why(&server, "X2"));
    let in_rack = |rack: u32| Acceptance { rack: Some(rack), ..Acceptance::default() };
    let before = store.read("");
    for (serial, wish, field, says) in [
        ("X1", Acceptance::default(), "ids.macs", "is of OWNER"),
        ("X2", Acceptance::default(), "rack", "nobody knows"),
        ("X2", in_rack(3), "rack", "rack 3 is full"),
        ("X2", in_rack(60_000), "rack", "no pool"),
        ("X2", Acceptance { index: Some(4), ..in_rack(1) }, "index", "4 of rack 1 is of OWNER"),
        ("X2", Acceptance { role: Some("a b".to_owned()), ..in_rack(1) }, "role", "is no word"),
        ("OWNER", in_rack(1), "serial", "registered already"),
        ("nobody", in_rack(1), "", "no candidate"),
    ] {
        let refusal = server.run(&mut store, &accept(serial, wish)).unwrap_err();
        assert!(refusal.field == field && refusal.message.contains(says) && !refusal.rule.is_empty(), "{refusal:?}");
    }
    assert_eq!(store.read(""), before);
}

#[test]
fn who_is_rejected_stays_rejected_until_somebody_forgets_it() {
    let (mut store, mut server) = with_rules();
    report(&mut store, &mut server, said("LAB9"), &stranger("2001:db8::1")).unwrap();
    let machines = server.inventory.machines().len();
    report(&mut store, &mut server, with_mac("H1", "52:54:00:00:00:01"), &machine("H1")).unwrap();
    let reject = Command::Reject { serial: "H1".to_owned(), reason: "stolen".to_owned() };
    server.run(&mut store, &reject).unwrap();
    server.run(&mut store, &rules(r#"[{"name": "all", "then": {"accept": {"role": "cs", "open": true}}}]"#)).unwrap();
    report(&mut store, &mut server, with_mac("H1", "52:54:00:00:00:01"), &machine("H1")).unwrap();
    assert_eq!(server.inventory.machines().len(), machines, "no rule lets it in");
    assert_eq!(why(&server, "H1"), "rejected by root: stolen");
    server.run(&mut store, &Command::Forget { serial: "H1".to_owned() }).unwrap();
    report(&mut store, &mut server, with_mac("H1", "52:54:00:00:00:01"), &machine("H1")).unwrap();
    assert!(server.inventory.machine("H1").is_some());
    let actions: Vec<String> = audit(&store).into_iter().map(|entry| entry.action).collect();
    assert!(
        actions.ends_with(&[
            "reject candidate".into(),
            "set enrol rules".into(),
            "forget candidate".into(),
            "enrol by rule all".into()
        ]),
        "{actions:?}"
    );
}

/// However many strangers come: few places, none of them of those for whom somebody vouches, and nothing in the audit log.
#[test]
fn strangers_are_bounded() {
    let (mut store, mut server) = with_rules();
    for at in 0..10 {
        report(&mut store, &mut server, said(&format!("H{at}")), &machine(&format!("H{at}"))).unwrap();
    }
    let audited = audit(&store).len();
    for at in 0..2_000_u32 {
        report(&mut store, &mut server, said(&format!("loud{at}")), &stranger("192.0.2.1")).unwrap();
    }
    assert_eq!(server.inventory.candidates().len(), 10 + OF_SOURCE_MAX);
    for at in 0..2_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + at);
        report(&mut store, &mut server, said(&format!("many{at}")), &stranger(&address.to_string())).unwrap();
    }
    assert_eq!(server.inventory.candidates().len(), CANDIDATES_MAX);
    assert_eq!(server.inventory.candidates().filter(|candidate| candidate.vouched).count(), 10);
    assert_eq!(audit(&store).len(), audited);
    // The same word again is not worth a write.
    let before = server.inventory.revision();
    assert_eq!(report(&mut store, &mut server, said("many1999"), &stranger("10.0.7.207")), Ok(before));
}

/// Two servers on one store: one machine is accepted once, and two of them never get one place.
#[test]
fn two_servers_accept_at_once() {
    let (mut store, mut first) = with_rules();
    let mut second = Server::new(2);
    for serial in ["A", "B"] {
        report(&mut store, &mut first, said(serial), &machine(serial)).unwrap();
    }
    second.catch_up(&store);
    let done = first.try_once(&mut store, &accept("A", Acceptance::default()), &admin()).unwrap();
    assert!(matches!(done, Outcome::Committed(_)));
    for serial in ["A", "B"] {
        let late = second.try_once(&mut store, &accept(serial, Acceptance::default()), &admin()).unwrap();
        assert_eq!(late, Outcome::Conflict, "{serial}");
    }
    assert!(
        second.run(&mut store, &accept("A", Acceptance::default())).unwrap_err().message.contains("registered already")
    );
    second.run(&mut store, &accept("B", Acceptance::default())).unwrap();
    let places: Vec<u32> = second.inventory.machines().map(|machine| machine.index).collect();
    assert_eq!(places, [4, 5]);
}

#[test]
fn faults_of_rules_name_their_field() {
    let (mut store, mut server) = with_plan();
    for (text, field) in [
        (r#"[{"name": "a b", "then": {"hold": {"role": "cs"}}}]"#, "[0].name"),
        (r#"[{"name": "a", "then": {"hold": {"role": ""}}}]"#, "[0].then.role"),
        (r#"[{"name": "a", "then": {"reject": {}}}, {"name": "a", "then": {"reject": {}}}]"#, "[1].name"),
        (r#"[{"name": "a", "match": {"macs": ["b0:7"]}, "then": {"reject": {}}}]"#, "[0].match.macs"),
        (r#"[{"name": "a", "match": {"racks": [70000]}, "then": {"reject": {}}}]"#, "[0].match.racks"),
        (r#"[{"name": "a", "then": {"accept": {"role": "cs", "labels": {"zone": ""}}}}]"#, "[0].then.labels.zone"),
    ] {
        assert_eq!(server.run(&mut store, &rules(text)).unwrap_err().field, field, "{text}");
    }
    assert!(
        serde_json::from_str::<Rules>(r#"[{"name": "a", "match": {"rack": [1]}, "then": {"reject": {}}}]"#).is_err()
    );
    let big = vec![crate::inventory::machine::Disk { name: "x".repeat(200), ..Default::default() }; 200];
    let big = Sighting { hardware: Hardware { disks: big, ..Hardware::default() }, ..said("big") };
    assert_eq!(report(&mut store, &mut server, big, &admin()).unwrap_err().kind, Kind::TooMuch);
}

/// Of three servers, none of which has heard of the others' newcomers: the last place is given once.
#[test]
fn the_last_place_is_given_once() {
    let (mut store, mut first) = with_rules();
    for at in 0..CANDIDATES_MAX - 1 {
        report(&mut store, &mut first, said(&format!("C{at}")), &machine(&format!("C{at}"))).unwrap();
    }
    let mut servers = [first, Server::new(2), Server::new(3)];
    servers.iter_mut().for_each(|server| server.catch_up(&store));
    let sight = |at: usize| Command::Sight { said: Box::new(said(&format!("LATE{at}"))) };
    let outcomes: Vec<Outcome> = (0..3)
        .map(|at| servers[at].try_once(&mut store, &sight(at), &machine(&format!("LATE{at}"))).unwrap())
        .collect();
    assert!(matches!(outcomes[..], [Outcome::Committed(_), Outcome::Conflict, Outcome::Conflict]), "{outcomes:?}");
    for server in servers.iter_mut().skip(1) {
        let refusal = report(&mut store, server, said("LATER"), &machine("LATER")).unwrap_err();
        assert_eq!((refusal.kind, refusal.message.as_str()), (Kind::TooMuch, "512 machines wait already"));
    }
    assert_eq!(store.read("candidates/").entries.len(), CANDIDATES_MAX);
    // Who leaves makes room, on whichever server.
    servers[1].run(&mut store, &Command::Forget { serial: "C0".to_owned() }).unwrap();
    report(&mut store, &mut servers[2], said("LATER"), &machine("LATER")).unwrap();
    assert_eq!(store.read("candidates/").entries.len(), CANDIDATES_MAX);
}

/// And so is the last place of one source that nobody vouches for.
#[test]
fn a_source_has_its_part_whatever_server_it_asks() {
    let (mut store, mut first) = with_rules();
    for at in 0..OF_SOURCE_MAX - 1 {
        report(&mut store, &mut first, said(&format!("C{at}")), &stranger("192.0.2.1")).unwrap();
    }
    let mut second = Server::new(2);
    second.catch_up(&store);
    let sight = |at: usize| Command::Sight { said: Box::new(said(&format!("LATE{at}"))) };
    first.try_once(&mut store, &sight(0), &stranger("192.0.2.1")).unwrap();
    assert_eq!(second.try_once(&mut store, &sight(1), &stranger("192.0.2.1")), Ok(Outcome::Conflict));
    second.run_as(&mut store, &sight(1), &stranger("192.0.2.1")).unwrap();
    assert_eq!(store.read("candidates/").entries.len(), OF_SOURCE_MAX);
}

/// A relay's network is of the old plan or of the new one, and either says the rack.
#[test]
fn while_the_plan_is_changed_either_says_the_rack() {
    let (mut store, mut server) = with_rules();
    let mut to = crate::ipam::tests::neco();
    to.node = vec![crate::ipam::tests::pool("10.80.0.0/16", 6, 26)];
    server.run(&mut store, &Command::BeginMigration { to: Box::new(to) }).unwrap();
    for (serial, address, rack) in
        [("S1", "10.69.0.230", Some(1)), ("S2", "10.80.0.230", Some(1)), ("S3", "10.81.0.230", None)]
    {
        report(&mut store, &mut server, said(serial), &stranger(address)).unwrap();
        assert_eq!(server.inventory.candidate(serial).unwrap().rack, rack, "{address}");
    }
    // Where two plans have it in different racks, nobody knows.
    let mut other = crate::ipam::tests::neco();
    other.node[0].first_rack = 1;
    let actor = stranger("10.69.0.230");
    let migration = crate::ipam::Migration {
        from: crate::ipam::tests::neco(),
        to: other,
        back: false,
        since: Timestamp::UNIX_EPOCH,
        by: "ops".to_owned(),
    };
    let ipam = migration.from.clone();
    let origin = Origin::of(&actor);
    assert_eq!(origin.rack(Some(Addressing::new(&ipam, Some(&migration)))), None);
    assert_eq!(origin.rack(Some((&ipam).into())), Some(1));
}
