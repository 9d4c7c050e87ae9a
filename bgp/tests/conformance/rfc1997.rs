//! RFC 1997, BGP Communities Attribute.

use crate::bytes::{PREFIX, established, telling, told_attr};
use crate::harness::plant::Kin;
use weft_bgp::wire::attrs::{Attrs, community, flag, kind, put};

/// The canary announces 10.7.0.0/24 with these communities to an internal guest: whether the guest is told.
fn told_inside(words: &[u32]) -> bool {
    let mut plant = established(Kin::Internal);
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let mut more = Vec::new();
    put(&mut more, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, &value);
    plant.canary_announces("10.7.0.0/24", &[2, 1, 0, 0, 0xfc, 0x5a], &more);
    plant.guest_told("10.7.0.0/24").is_some()
}

/// The guest announces its route with this community: whether the canary, in another AS, is told.
fn told_outside(kin: Kin, word: u32) -> bool {
    telling(kin, 0xc0, 8, &word.to_be_bytes()).told(PREFIX).is_some()
}

/// "Well-known Communities": NO_EXPORT is not told outside the AS; inside it is.
#[test]
fn no_export_stays_inside() {
    assert!(!told_outside(Kin::External, community::NO_EXPORT) && !told_outside(Kin::Internal, community::NO_EXPORT));
    assert!(told_inside(&[community::NO_EXPORT]));
}

/// "Well-known Communities": NO_ADVERTISE is told to nobody.
#[test]
fn no_advertise_is_told_to_nobody() {
    assert!(!told_outside(Kin::External, community::NO_ADVERTISE));
    assert!(!told_inside(&[community::NO_ADVERTISE]));
}

/// "Well-known Communities": NO_EXPORT_SUBCONFED is not told to external peers; we are no confederation.
#[test]
fn no_export_subconfed_stays_inside() {
    assert!(!told_outside(Kin::External, community::NO_EXPORT_SUBCONFED));
    assert!(told_inside(&[community::NO_EXPORT_SUBCONFED]));
}

/// "Communities Attribute": all others are passed on as they came, those of the reserved ranges that have no meaning here too
/// (NOPEER of RFC 3765, say).
#[test]
fn every_other_community_is_passed_on() {
    for word in [0xfc59_0001, 0xffff_ff04, 0xffff_029a, 0x0000_0000, 0xffff_ffff] {
        let plant = telling(Kin::External, 0xc0, 8, &u32::to_be_bytes(word));
        assert_eq!(told_attr(&plant, 8), Some((0xc0, word.to_be_bytes().to_vec())), "{word:#x}");
    }
}

/// "Operation": a community among others counts, wherever it stands.
#[test]
fn a_well_known_community_counts_wherever_it_stands() {
    let words = [0xfc59_0001, community::NO_EXPORT, 0xfc59_0002];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let plant = telling(Kin::External, 0xc0, 8, &value);
    assert_eq!(plant.told(PREFIX), None);
    assert!(plant.route(PREFIX).is_some(), "it is used here");
}

/// "Aggregation": ours has no AS_SET and takes no communities of its contributors.
#[test]
fn an_aggregate_does_not_take_the_communities_of_its_parts() {
    let mut plant = crate::harness::plant::Plant::configured(Kin::External, |config, _, _| {
        config.aggregates = vec!["10.5.0.0/16".parse().unwrap()];
    });
    plant.accept();
    plant.open();
    let attributes = crate::bytes::route_with(Kin::External, &crate::bytes::attribute(0xc0, 8, &[0xfc, 0x59, 0, 1]));
    plant.update(&[], &attributes, &crate::bytes::NLRI);
    let block = plant.told("10.5.0.0/16").unwrap();
    assert_eq!(Attrs(&block).communities().count(), 0);
    plant.check();
}
