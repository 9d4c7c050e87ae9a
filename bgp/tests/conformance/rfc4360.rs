//! RFC 4360, BGP Extended Communities Attribute, and RFC 5668 for four-octet AS numbers.

use crate::bytes::{PREFIX, established, telling, told_attr};
use crate::harness::plant::Kin;
use weft_bgp::wire::attrs::{flag, kind, put};
use weft_bgp::wire::community::ExtCommunity;

const TARGET: [u8; 8] = [0, 2, 0xfc, 0x59, 0, 0, 0, 7];
const INSIDE: [u8; 8] = [0x40, 2, 0xfc, 0x59, 0, 0, 0, 7];

/// §2: any number of them, and types that nobody knows, are carried as they came.
#[test]
fn extended_communities_are_carried_as_they_came() {
    let value = [TARGET, [0x3f, 0xff, 1, 2, 3, 4, 5, 6], [0x80, 0, 9, 9, 9, 9, 9, 9]].concat();
    let plant = telling(Kin::External, 0xc0, 16, &value);
    assert_eq!(told_attr(&plant, 16), Some((0xc0, value)));
}

/// §3.1, §3.2, §4, §5, RFC 5668 §2: what people read.
#[test]
fn targets_and_origins_are_shown_by_name() {
    let value = [TARGET, [1, 3, 10, 0, 0, 1, 0, 9], [2, 2, 0xfa, 0x56, 0xea, 0x0a, 0, 9]].concat();
    let plant = telling(Kin::External, 0xc0, 16, &value);
    let shown = &plant.route(PREFIX).unwrap().paths[0].ext_communities;
    assert_eq!(shown, &["rt:64601:7", "ro:10.0.0.1:9", "rt:4200000010:9"]);
    assert!(shown.iter().all(|text| text.parse::<ExtCommunity>().is_ok()));
}

/// §6: a non-transitive one does not cross the boundary of the AS; the transitive ones beside it do.
#[test]
fn non_transitive_communities_do_not_leave_the_as() {
    let plant = telling(Kin::Internal, 0xc0, 16, &[TARGET, INSIDE].concat());
    assert_eq!(told_attr(&plant, 16), Some((0xc0, TARGET.to_vec())));
    let plant = telling(Kin::Internal, 0xc0, 16, &INSIDE);
    assert_eq!(told_attr(&plant, 16), None, "no empty attribute is left");
    assert!(plant.told(PREFIX).is_some());
}

/// §6: inside the AS it is passed on.
#[test]
fn non_transitive_communities_are_passed_on_inside_the_as() {
    let mut plant = established(Kin::Internal);
    let mut more = Vec::new();
    put(&mut more, flag::OPTIONAL | flag::TRANSITIVE, kind::EXTENDED_COMMUNITIES, &INSIDE);
    plant.canary_announces("10.7.0.0/24", &[2, 1, 0, 0, 0xfc, 0x5a], &more);
    let (block, _) = plant.guest_told("10.7.0.0/24").unwrap();
    assert_eq!(weft_bgp::wire::attrs::Attrs(&block).value(kind::EXTENDED_COMMUNITIES), Some(&INSIDE[..]));
}
