//! RFC 8092, BGP Large Communities Attribute.

use crate::bytes::{Cost, PREFIX, cost_of, telling, told_attr};
use crate::harness::plant::Kin;

const ONE: [u8; 12] = [0xfa, 0x56, 0xea, 0x0a, 0, 0, 0, 1, 0, 0, 0, 2];

/// §3, §5: three numbers of four octets, in decimal, parted by colons.
#[test]
fn large_communities_are_shown_as_three_numbers() {
    let plant = telling(Kin::External, 0xc0, 32, &ONE);
    assert_eq!(plant.route(PREFIX).unwrap().paths[0].large_communities, ["4200000010:1:2"]);
}

/// §3: optional transitive: carried on, whatever the numbers say; duplicates in what we receive are no fault.
#[test]
fn large_communities_are_carried_on() {
    for value in [ONE.to_vec(), vec![0; 12], vec![0xff; 24], ONE.repeat(3)] {
        let plant = telling(Kin::External, 0xc0, 32, &value);
        assert_eq!(told_attr(&plant, 32), Some((0xc0, value)));
    }
}

/// §6: not a multiple of twelve octets, or empty, is treat-as-withdraw.
#[test]
fn a_wrong_length_is_treated_as_withdraw() {
    for length in [0, 4, 11, 13, 25] {
        assert_eq!(cost_of(Kin::External, 0xc0, 32, &vec![1; length]), Cost::Withdraw, "{length}");
    }
}
