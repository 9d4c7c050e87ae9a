//! RFC 5065, Autonomous System Confederations for BGP. We are never a member; paths of members may reach us from inside our AS.

use crate::bytes::{Cost, NLRI, PREFIX, attribute, cost_of, established, route_with};
use crate::harness::plant::Kin;
use weft_bgp::wire::attrs::Attrs;

/// (65001 65002) 7, and the same numbers as a set.
const SEQUENCE: [u8; 16] = [3, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea, 2, 1, 0, 0, 0, 7];
const SET: [u8; 16] = [4, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea, 2, 1, 0, 0, 0, 7];

/// §5: a neighbour outside the confederation must not send these: a malformed AS_PATH, by RFC 7606 §7.2 treat-as-withdraw.
#[test]
fn confederation_segments_from_an_external_peer_are_treated_as_withdraw() {
    assert_eq!(cost_of(Kin::External, 0x40, 2, &SEQUENCE), Cost::Withdraw);
    assert_eq!(cost_of(Kin::External, 0x40, 2, &SET), Cost::Withdraw);
}

/// §3, §4: from inside they are taken, shown, and not counted (§5.3).
#[test]
fn confederation_segments_from_inside_are_taken_and_not_counted() {
    for (value, shown) in [(SEQUENCE, "(65001 65002) 7"), (SET, "[65001,65002] 7")] {
        let mut plant = established(Kin::Internal);
        plant.update(&[], &route_with(Kin::Internal, &attribute(0x40, 2, &value)), &NLRI);
        assert_eq!(plant.route(PREFIX).unwrap().paths[0].as_path, shown);
        // Two hops, longer than one that counts one.
        plant.canary_announces(PREFIX, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0, 9], &[]);
        let route = plant.route(PREFIX).unwrap();
        assert_eq!(route.paths.iter().find(|path| path.best).unwrap().from, "guest");
    }
}

/// §4.1 c: told outside, the path has none of them.
#[test]
fn confederation_segments_are_not_told_outside() {
    for (value, told) in [(&SEQUENCE[..], "64600 7"), (&SET, "64600 7"), (&SEQUENCE[..10], "64600")] {
        let mut plant = established(Kin::Internal);
        plant.update(&[], &route_with(Kin::Internal, &attribute(0x40, 2, value)), &NLRI);
        let block = plant.told(PREFIX).unwrap();
        assert_eq!(Attrs(&block).as_path().to_string(), told);
        plant.check();
    }
}
