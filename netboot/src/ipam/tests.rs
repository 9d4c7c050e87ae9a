//! The formula against the vectors of the reference, and plans that must be refused.

use super::*;
use proptest::prelude::*;

pub(crate) fn pool(prefix: &str, range_bits: u8, mask: u8) -> Pool {
    Pool {
        prefix: prefix.parse().unwrap(),
        offset: None,
        range_bits,
        mask,
        gateway_offset: 1,
        first_rack: 0,
        last_rack: None,
    }
}

/// neco.md §1.3: pool 10.69.0.0/16, size 6, mask 26, 3 per node, index-offset 3; BMC 10.72.16.0/20 + 0.0.1.0, size 5, mask 20.
pub(crate) fn neco() -> Ipam {
    Ipam {
        max_nodes_in_rack: 28,
        node_index_offset: 3,
        node_networks: 3,
        node: vec![pool("10.69.0.0/16", 6, 26)],
        bmc: vec![Pool { offset: Some("0.0.1.0".parse().unwrap()), ..pool("10.72.16.0/20", 5, 20) }],
    }
}

fn ips(text: &str) -> Vec<Ipv4Addr> {
    text.split_whitespace().map(|address| address.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn golden_vectors_of_the_reference() {
    let plan = neco();
    assert_eq!(plan.check(), Ok(()));
    for (rack, index, nodes, bmc) in [
        (0, 4, "10.69.0.4 10.69.0.68 10.69.0.132", "10.72.17.4"),
        (1, 5, "10.69.0.197 10.69.1.5 10.69.1.69", "10.72.17.37"),
    ] {
        let found = plan.addresses(rack, index).unwrap();
        assert_eq!(found.ipv4, ips(nodes));
        assert_eq!(found.bmc_ipv4, Some(bmc.parse().unwrap()));
    }
}

/// neco.md §2.1: node0 10.69.0.0/26 + 192 × rack, switches at node1 + 1 and node2 + 1, boot server at 10.69.0.0 + 192 × rack + 3.
#[test]
fn racks_are_192_addresses_apart() {
    let plan = neco();
    for rack in [0_u32, 1, 2, 100, 340] {
        let base = u32::from(Ipv4Addr::new(10, 69, 0, 0)) + 192 * rack;
        assert_eq!(plan.addresses(rack, 3).unwrap().ipv4[0], Ipv4Addr::from(base + 3));
        for network in 0..3 {
            let place = plan.network(rack, network, true).unwrap();
            assert_eq!(place.address, IpAddr::V4(Ipv4Addr::from(base + 64 * network)));
            assert_eq!((place.gateway, place.mask), (IpAddr::V4(Ipv4Addr::from(base + 64 * network + 1)), 26));
        }
    }
    // 65,536 / 192 = 341.3 racks.
    assert_eq!(plan.addresses(341, 3).unwrap_err().field, "rack");
}

/// neco.md §1.3: offsets 32..62, 31 leases.
#[test]
fn leases_begin_behind_the_last_index() {
    let plan = neco();
    let range = plan.lease_range(0, 1, true).unwrap();
    assert_eq!((range.first, range.last), (ip("10.69.0.96"), ip("10.69.0.126")));
    assert_eq!(range.gateway, ip("10.69.0.65"));
    assert_eq!(plan.lease_range_of(ip("10.69.0.65")), Some(range));
    assert_eq!(plan.lease_range_of(ip("10.69.1.65")), plan.lease_range(1, 2, true));
    assert_eq!(plan.lease_range_of(ip("10.72.17.1")), None);
    assert_eq!(plan.lease_range_of(ip("fd00::1")), None);
}

/// neco.md §2.1: the BMC's router is 10.72.16.1, whatever the rack.
#[test]
fn routers_are_counted_from_the_configured_prefix() {
    let plan = neco();
    assert_eq!(plan.interface(ip("10.72.17.37")).unwrap().gateway, ip("10.72.16.1"));
    assert_eq!(plan.interface(ip("10.69.1.5")).unwrap().gateway, ip("10.69.1.1"));
    assert_eq!(plan.interface(ip("192.0.2.1")), None);
}

#[test]
fn addresses_say_what_they_are() {
    let plan = neco();
    for (address, meaning) in [
        ("10.69.1.5", Some(Meaning::Node { rack: 1, network: 1, index: 5 })),
        ("10.69.0.3", Some(Meaning::Node { rack: 0, network: 0, index: 3 })),
        ("10.69.0.65", Some(Meaning::Gateway { rack: 0, network: 1 })),
        ("10.69.0.96", Some(Meaning::Lease { rack: 0, network: 1 })),
        ("10.69.0.127", Some(Meaning::Unused { rack: 0 })),
        ("10.72.17.37", Some(Meaning::Bmc { rack: 1, index: 5 })),
        ("10.72.16.1", None),
        ("192.0.2.1", None),
        ("fd00::1", None),
    ] {
        assert_eq!(plan.meaning(ip(address)), meaning, "{address}");
    }
}

fn dual() -> Ipam {
    let mut plan = neco();
    plan.node.push(pool("fd00:69::/48", 64, 64));
    plan.bmc.push(pool("fd00:72::/48", 64, 64));
    plan
}

#[test]
fn both_families_by_one_formula() {
    let plan = dual();
    assert_eq!(plan.check(), Ok(()));
    let found = plan.addresses(1, 5).unwrap();
    assert_eq!(found.ipv4, ips("10.69.0.197 10.69.1.5 10.69.1.69"));
    let six: Vec<String> = found.ipv6.iter().map(ToString::to_string).collect();
    assert_eq!(six, ["fd00:69:0:3::5", "fd00:69:0:4::5", "fd00:69:0:5::5"]);
    assert_eq!(found.bmc_ipv6.map(|address| address.to_string()).as_deref(), Some("fd00:72:0:1::5"));
    assert_eq!(plan.meaning(ip("fd00:69:0:4::5")), Some(Meaning::Node { rack: 1, network: 1, index: 5 }));
    assert_eq!(plan.lease_range(1, 1, false).unwrap().first, ip("fd00:69:0:4::20"));
}

#[test]
fn a_second_prefix_takes_over_where_the_first_ends() {
    let mut plan = neco();
    plan.node[0].last_rack = Some(99);
    plan.node.push(Pool { first_rack: 100, ..pool("10.80.0.0/16", 6, 26) });
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(plan.addresses(99, 4).unwrap().ipv4[0], Ipv4Addr::new(10, 69, 74, 68));
    assert_eq!(plan.addresses(100, 4).unwrap().ipv4, ips("10.80.0.4 10.80.0.68 10.80.0.132"));
    assert_eq!(plan.meaning(ip("10.80.0.68")), Some(Meaning::Node { rack: 100, network: 1, index: 4 }));
    assert_eq!(plan.meaning(ip("10.69.80.4")), None, "behind the last rack of the first prefix");
}

#[test]
fn plans_that_cannot_hold_are_refused() {
    let refused = |change: &dyn Fn(&mut Ipam)| {
        let mut plan = dual();
        change(&mut plan);
        plan.check().unwrap_err().field
    };
    assert_eq!(refused(&|plan| plan.max_nodes_in_rack = 0), "max_nodes_in_rack");
    assert_eq!(refused(&|plan| plan.max_nodes_in_rack = 60), "node[0].range_bits");
    assert_eq!(refused(&|plan| plan.node_networks = 0), "node_networks");
    assert_eq!(refused(&|plan| plan.node.clear()), "node");
    assert_eq!(refused(&|plan| plan.node[0].prefix = "10.69.0.1/16".parse().unwrap()), "node[0].prefix");
    assert_eq!(refused(&|plan| plan.node[0].offset = Some(ip("::1"))), "node[0].offset");
    assert_eq!(refused(&|plan| plan.node[0].offset = Some(ip("0.0.255.255"))), "node[0]");
    assert_eq!(refused(&|plan| plan.node[0].range_bits = 17), "node[0].range_bits");
    assert_eq!(refused(&|plan| plan.node[0].mask = 27), "node[0].mask");
    assert_eq!(refused(&|plan| plan.node[0].mask = 15), "node[0].mask");
    assert_eq!(refused(&|plan| plan.node[0].gateway_offset = 4), "node[0].gateway_offset");
    assert_eq!(refused(&|plan| plan.node[0].gateway_offset = 64), "node[0].gateway_offset");
    assert_eq!(refused(&|plan| plan.node[0].last_rack = Some(341)), "node[0]");
    assert_eq!(refused(&|plan| plan.node.push(pool("10.80.0.0/16", 6, 26))), "node[2].first_rack");
    assert_eq!(refused(&|plan| plan.node.push(pool("10.69.64.0/18", 6, 26))), "node[2].prefix");
    assert_eq!(refused(&|plan| plan.bmc[0].prefix = "10.69.16.0/20".parse().unwrap()), "bmc[0].prefix");
    assert_eq!(refused(&|plan| plan.node[1].range_bits = 128), "node[1].range_bits");
}

proptest! {
    /// No address is given twice, and every one says what it is.
    #[test]
    fn every_address_has_one_owner(racks in 1_u32..40, max in 1_u32..29, networks in 1_u32..4) {
        let plan = Ipam { max_nodes_in_rack: max, node_networks: networks, ..dual() };
        prop_assert_eq!(plan.check(), Ok(()));
        let mut seen = std::collections::BTreeMap::new();
        for rack in 0..racks {
            for index in 3..=3 + max {
                let found = plan.addresses(rack, index).unwrap();
                prop_assert_eq!(found.ipv4.len(), usize::try_from(networks).unwrap());
                let four = found.ipv4.iter().chain(&found.bmc_ipv4).map(|address| IpAddr::V4(*address));
                let six = found.ipv6.iter().chain(&found.bmc_ipv6).map(|address| IpAddr::V6(*address));
                for address in four.chain(six) {
                    prop_assert_eq!(seen.insert(address, (rack, index)), None, "{} twice", address);
                    let owner = match plan.meaning(address) {
                        Some(Meaning::Node { rack, index, .. } | Meaning::Bmc { rack, index }) => Some((rack, index)),
                        _ => None,
                    };
                    prop_assert_eq!(owner, Some((rack, index)), "{}", address);
                }
            }
        }
    }

    /// Whatever a plan says, it is refused or every address in it is inside its prefix; nothing overflows.
    #[test]
    fn no_plan_overflows(bits in 0_u8..=255, mask in 0_u8..=255, first in 0_u32..70_000, length in 0_u8..=128, index in 0_u32..5_000, rack: u32) {
        let six = IpNet::new(ip("fd00::"), length).unwrap().trunc();
        for prefix in [six, IpNet::new(ip("10.0.0.0"), length.min(32)).unwrap().trunc()] {
            let mut plan = neco();
            plan.node_index_offset = index;
            plan.bmc.clear();
            plan.node = vec![Pool { prefix, range_bits: bits, mask, first_rack: first, ..pool("10.0.0.0/8", 6, 26) }];
            if plan.check().is_ok()
                && let Ok(found) = plan.addresses(rack, index)
            {
                let inside = found.ipv4.iter().all(|address| prefix.contains(&IpAddr::V4(*address)))
                    && found.ipv6.iter().all(|address| prefix.contains(&IpAddr::V6(*address)));
                prop_assert!(inside);
            }
        }
    }
}
