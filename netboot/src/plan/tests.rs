//! Configurations from plan and inventory, read by the daemon's own reader and compared with those that people wrote for the labs.

use super::*;
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use crate::inventory::tests::machine;
use crate::ipam::tests::{neco, pool};
use weft_fabric::config::{self, Config, Source};

fn switch(rack: u32, network: u32, address: &str, uplinks: &[(&str, &str)]) -> Switch {
    let uplinks = uplinks.iter().map(|(name, address)| {
        let uplink = Uplink { asn: 64_599, address: Some(address.parse().unwrap()), interface: None };
        ((*name).to_owned(), uplink)
    });
    Switch {
        rack,
        network,
        asn: None,
        addresses: vec![address.parse().unwrap()],
        uplinks: uplinks.collect(),
        ports: BTreeMap::new(),
    }
}

fn ranges(text: &str) -> Vec<Range> {
    vec![text.parse().unwrap()]
}

/// The plan of labs/topologies/two-racks.
pub(crate) fn two_racks() -> Plan {
    let switches = [
        ("tor1", switch(0, 1, "10.69.255.1/32", &[("spine1", "10.72.1.0"), ("spine2", "10.72.1.8")])),
        ("tor2", switch(0, 2, "10.69.255.2/32", &[("spine1", "10.72.1.2"), ("spine2", "10.72.1.10")])),
    ];
    Plan {
        asn: AsPlan::PerRack { base: 64_600 },
        switches: switches.into_iter().map(|(name, switch)| (name.to_owned(), switch)).collect(),
        uplinks: Vec::new(),
        announce: BTreeMap::from([
            ("boot".to_owned(), ranges("10.72.48.0/24 ge 32")),
            ("cs".to_owned(), ranges("10.72.32.0/20 ge 32")),
        ]),
        max_prefixes: 200,
        mark: None,
    }
}

/// The plan of labs/topologies/unnumbered.
fn unnumbered() -> Plan {
    let uplinks = [("spine1", "eth1"), ("spine2", "eth2")].map(|(name, interface)| {
        (name.to_owned(), Uplink { asn: 4_200_000_000, address: None, interface: Some(interface.to_owned()) })
    });
    let ports =
        [("eth3", "B0"), ("eth4", "N1"), ("eth5", "N2")].map(|(port, serial)| (port.to_owned(), serial.to_owned()));
    let tor1 = Switch {
        asn: Some(4_200_000_010),
        uplinks: uplinks.into(),
        ports: ports.into(),
        ..switch(0, 1, "10.69.255.1/32", &[])
    };
    Plan {
        asn: AsPlan::PerHost { base: 4_200_000_100, per_rack: 100 },
        switches: BTreeMap::from([("tor1".to_owned(), tor1)]),
        uplinks: vec!["eth0".to_owned(), "eth1".to_owned()],
        ..two_racks()
    }
}

/// Rack 0 of both labs, and a machine of another rack that no switch here may know.
fn machines() -> Vec<Machine> {
    [("B0", "boot1", 0, 3), ("N1", "node1", 0, 4), ("N2", "node2", 0, 5), ("N3", "node3", 1, 4)]
        .into_iter()
        .map(|(serial, name, rack, index)| Machine { name: name.to_owned(), ..machine(serial, rack, index) })
        .collect()
}

fn read(text: &str) -> Config {
    let mut config = config::parse("generated.yaml", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    config.node().unwrap_or_else(|error| panic!("{error}\n{text}"));
    config.source = Source::default();
    config
}

fn generated(name: &str, plan: &Plan, machines: &[Machine]) -> Config {
    assert_eq!(plan.check(), Ok(()));
    read(&generate(name, plan, &neco(), machines.iter()).unwrap().to_string())
}

/// A configuration that a person wrote.
macro_rules! written {
    ($path:literal) => {
        read(include_str!(concat!("../../../labs/topologies/", $path)))
    };
}

#[test]
fn switches_of_the_numbered_lab_follow_from_the_inventory() {
    assert_eq!(generated("tor1", &two_racks(), &machines()), written!("two-racks/tor1.yaml"));
    assert_eq!(generated("tor2", &two_racks(), &machines()), written!("two-racks/tor2.yaml"));
}

#[test]
fn switches_of_the_unnumbered_lab_follow_from_the_inventory() {
    assert_eq!(generated("tor1", &unnumbered(), &machines()), written!("unnumbered/tor1.yaml"));
}

/// By the files that the lab `inventory` gives to its boot servers.
#[test]
fn the_lab_of_the_boot_servers_follows_from_its_own_files() {
    macro_rules! given {
        ($name:literal) => {
            crate::config::parse(
                $name,
                include_str!(concat!("../../../labs/topologies/inventory/", $name, ".netboot.yaml")),
            )
            .unwrap()
        };
    }
    let (plan, ipam): (Plan, crate::ipam::Ipam) = (given!("plan"), given!("ipam"));
    let specs: Vec<crate::inventory::machine::Spec> = given!("machines");
    let places = [3, 3, 3, 4, 5, 4, 5];
    let machines = specs.iter().zip(places).map(|(spec, index)| {
        let of = machine(&spec.serial, spec.rack, index);
        Machine { name: spec.name.clone().unwrap(), role: spec.role.clone(), ..of }
    });
    let machines: Vec<Machine> = machines.collect();
    let made = |name: &str| read(&generate(name, &plan, &ipam, machines.iter()).unwrap().to_string());
    assert_eq!((plan.check(), ipam.check()), (Ok(()), Ok(())));
    assert_eq!(made("tor1"), written!("inventory/tor1.yaml"));
    assert_eq!(made("tor2"), written!("inventory/tor2.yaml"));
    let host = |name: &str| Config { hostname: None, ..made(name) };
    assert_eq!(host("N1"), written!("inventory/node1.yaml"));
    assert_eq!(host("N4"), written!("inventory/node4.yaml"));
    assert_eq!(host("B3"), written!("inventory/boot3.yaml"));
    let next: crate::ipam::Ipam = given!("next-ipam");
    for machine in &machines {
        assert_eq!(crate::ipam::passes(&ipam, &next, machine), Ok(()));
    }
}

#[test]
fn hosts_follow_too() {
    let host = |name: &str, plan: &Plan| {
        let mut config = generated(name, plan, &machines());
        assert_eq!(config.hostname.take().as_deref(), Some("node1"));
        // The lab's node also has an address of a load balancer, which is none of the plan's business.
        config.addresses.push("10.72.32.1/32".parse().unwrap());
        config
    };
    assert_eq!(host("node1", &two_racks()), written!("two-racks/node1.yaml"), "by its name");
    assert_eq!(host("N1", &unnumbered()), written!("unnumbered/node1.yaml"), "by its serial number");
    assert_eq!(
        generate("nobody", &two_racks(), &neco(), machines().iter()).unwrap_err().message,
        "there is no switch or machine `nobody`"
    );
}

/// Every AS of the lab `unnumbered`.
#[test]
fn numbers_follow_from_rack_and_index() {
    let plan = unnumbered().asn;
    for (rack, index, asn) in
        [(0, 3, 4_200_000_103), (0, 4, 4_200_000_104), (1, 3, 4_200_000_203), (1, 5, 4_200_000_205)]
    {
        assert_eq!(plan.machine(rack, index), Ok(asn));
    }
    assert_eq!(two_racks().asn.machine(3, 9), Ok(64_603));
    assert!(AsPlan::PerRack { base: 64_600 }.machine(935, 3).unwrap_err().message.contains("AS 65535"));
    assert!(AsPlan::PerHost { base: 4_294_967_200, per_rack: 100 }.machine(1, 0).is_err());
}

/// Whether the daemon's own policy engine takes a route from a peer.
pub(crate) fn is_accepted(node: &weft_fabric::node::NodeConfig, peer: &str, prefix: &str) -> bool {
    let trial = weft_fabric::trial::Trial {
        prefix: prefix.parse().unwrap(),
        peer: peer.to_owned(),
        as_path: Vec::new(),
        origin: 0,
        local_pref: None,
        med: None,
        next_hop: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
        ext_communities: Vec::new(),
        next_hops: 1,
    };
    weft_fabric::trial::run(node, &trial).unwrap().import.accepted
}

#[test]
fn a_machine_owns_its_own_and_what_it_was_given() {
    let mut all = machines();
    all[1].announces = ranges("10.64.4.0/27");
    let text = generate("tor1", &two_racks(), &neco(), all.iter()).unwrap().to_string();
    assert!(text.contains("node1: [10.69.0.4/32, 10.72.32.0/20 ge 32, 10.64.4.0/27]"), "{text}");
    assert!(!text.contains("10.69.0.196"), "of another rack: {text}");
    // The daemon's own policy engine: accepted from its owner alone.
    let node = config::parse("t", &text).and_then(|config| config.node()).unwrap();
    let accepted = |peer: &str, prefix: &str| is_accepted(&node, peer, prefix);
    for (peer, prefix, owned) in [
        ("10.69.0.68", "10.69.0.4/32", true),
        ("10.69.0.68", "10.64.4.0/27", true),
        ("10.69.0.68", "10.72.32.9/32", true),
        ("10.69.0.68", "10.72.32.0/24", false),
        ("10.69.0.68", "10.69.0.5/32", false),
        ("10.69.0.68", "0.0.0.0/0", false),
        ("10.69.0.69", "10.64.4.0/27", false),
        ("10.69.0.69", "10.69.0.5/32", true),
        ("10.69.0.70", "10.69.0.6/32", false),
    ] {
        assert_eq!(accepted(peer, prefix), owned, "{prefix} from {peer}");
    }
}

#[test]
fn a_retired_machine_owns_nothing() {
    let mut all = machines();
    all[1].state.name = State::Retired;
    let text = generate("tor1", &two_racks(), &neco(), all.iter()).unwrap().to_string();
    assert!(!text.contains("node1") && text.contains("node2"), "{text}");
    let empty = generate("tor1", &two_racks(), &neco(), [].iter()).unwrap().to_string();
    read(&empty);
    assert!(empty.contains("plan: [{then: reject}]"), "{empty}");
}

#[test]
fn switches_mark_what_they_take_and_refuse_forged_marks() {
    let plan =
        Plan { mark: Some(Mark { asn: 4_200_000_010, roles: BTreeMap::from([("cs".to_owned(), 2)]) }), ..two_racks() };
    let text = generate("tor1", &plan, &neco(), machines().iter()).unwrap().to_string();
    read(&text);
    assert!(text.contains("{match: {large_community: \"4200000010:*:*\"}, then: reject}"), "{text}");
    assert!(
        text.contains("then: {add: {large_communities: [\"4200000010:1:2\", \"4200000010:2:0\"]}, do: accept}}"),
        "{text}"
    );
    assert!(
        text.contains("then: {add: {large_communities: [\"4200000010:2:0\"]}, do: accept}}"),
        "a role without a number: {text}"
    );
}

#[test]
fn both_families() {
    let mut ipam = neco();
    ipam.node.push(pool("fd00:69::/48", 64, 64));
    let mut all = machines();
    for machine in &mut all {
        machine.ipv6 = ipam.addresses(machine.rack, machine.index).unwrap().ipv6;
    }
    for (plan, name) in [(two_racks(), "tor1"), (two_racks(), "node1"), (unnumbered(), "tor1"), (unnumbered(), "node1")]
    {
        let text = generate(name, &plan, &ipam, all.iter()).unwrap().to_string();
        let config = read(&text);
        if name == "node1" {
            assert!(config.addresses.contains(&"fd00:69::4/128".parse().unwrap()), "{text}");
        } else {
            assert!(text.contains("node1: [10.69.0.4/32, \"fd00:69::4/128\""), "{text}");
        }
    }
    let text = generate("tor1", &two_racks(), &ipam, all.iter()).unwrap().to_string();
    assert!(text.contains("{match: {peer: \"fd00:69:0:1::4\", prefix: node1}, then: accept}"), "{text}");
}

#[test]
fn plans_that_cannot_hold_are_refused() {
    let refused = |plan: Plan| plan.check().unwrap_err().field;
    let changed = |change: &dyn Fn(&mut Switch)| {
        let mut plan = two_racks();
        change(plan.switches.get_mut("tor1").unwrap());
        refused(plan)
    };
    assert_eq!(changed(&|switch| switch.network = 0), "switches.tor1.network");
    assert_eq!(changed(&|switch| switch.network = 2), "switches.tor2.network");
    assert_eq!(changed(&|switch| switch.asn = Some(64_600)), "switches.tor1.asn");
    assert_eq!(changed(&|switch| switch.addresses.clear()), "switches.tor1.addresses");
    assert_eq!(
        changed(&|switch| switch.uplinks.get_mut("spine1").unwrap().address = None),
        "switches.tor1.uplinks.spine1"
    );
    let twice = [("eth3", "A"), ("eth4", "A")].map(|(port, serial)| (port.to_owned(), serial.to_owned()));
    assert_eq!(changed(&|switch| switch.ports = twice.clone().into()), "switches.tor1.ports.eth4");
    assert_eq!(
        changed(&|switch| switch.ports = BTreeMap::from([("eth 3".to_owned(), "A".to_owned())])),
        "switches.tor1.ports"
    );
    assert_eq!(refused(Plan { asn: AsPlan::PerRack { base: 3_320 }, ..two_racks() }), "asn.asn");
    assert_eq!(
        refused(Plan { asn: AsPlan::PerHost { base: 4_200_000_100, per_rack: 0 }, ..two_racks() }),
        "asn.per_host.per_rack"
    );
    assert_eq!(
        refused(Plan { asn: AsPlan::PerHost { base: 4_200_000_100, per_rack: 100 }, ..two_racks() }),
        "switches.tor1.asn"
    );
    assert_eq!(refused(Plan { max_prefixes: 0, ..two_racks() }), "max_prefixes");
}
