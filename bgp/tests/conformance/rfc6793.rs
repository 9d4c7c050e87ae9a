//! RFC 6793, BGP Support for Four-Octet AS Number Space, with a peer that has two octets.

use crate::bytes::{NEXT_HOP, NLRI, ORIGIN, PREFIX, attribute, established, told_attr};
use crate::harness::plant::{Kin, Plant};
use weft_bgp::wire::attrs::{AttrIter, Attrs};

/// An AS_PATH or AS4_PATH: type of segment and numbers.
fn path(width: usize, segments: &[(u8, &[u32])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, asns) in segments {
        out.extend([*kind, u8::try_from(asns.len()).unwrap()]);
        out.extend(asns.iter().flat_map(|asn| asn.to_be_bytes()[4 - width..].to_vec()));
    }
    out
}

/// An old guest that has told these; whatever more.
fn told(as_path: &[(u8, &[u32])], as4_path: &[(u8, &[u32])], more: &[u8]) -> Plant {
    let mut plant = established(Kin::Old);
    let paths = [attribute(0x40, 2, &path(2, as_path)), attribute(0xc0, 17, &path(4, as4_path))].concat();
    plant.update(&[], &[&ORIGIN[..], &NEXT_HOP, &paths, more].concat(), &NLRI);
    plant.check();
    plant
}

fn merged(as_path: &[(u8, &[u32])], as4_path: &[(u8, &[u32])]) -> String {
    told(as_path, as4_path, &[]).route(PREFIX).unwrap().paths[0].as_path.clone()
}

const TRANS: u32 = 23_456;
const WIDE: u32 = 4_200_000_001;

/// §4.2.3: as many leading numbers of AS_PATH as AS4_PATH has fewer are put in front of it.
#[test]
fn as4_path_fills_in_for_as_trans() {
    assert_eq!(merged(&[(2, &[64_601, TRANS, 300])], &[(2, &[WIDE, 300])]), "64601 4200000001 300");
    assert_eq!(merged(&[(2, &[TRANS, TRANS])], &[(2, &[WIDE, 70_000])]), "4200000001 70000");
}

/// §4.2.3: an AS4_PATH with more numbers than AS_PATH is ignored.
#[test]
fn an_as4_path_longer_than_the_path_is_ignored() {
    assert_eq!(merged(&[(2, &[64_601])], &[(2, &[WIDE, 300])]), "64601");
}

/// §4.2.3 with RFC 4271 §9.1.2.2 a: a set counts as one.
#[test]
fn a_set_counts_as_one_when_the_paths_are_measured() {
    assert_eq!(merged(&[(2, &[64_601]), (1, &[7, 8]), (2, &[TRANS])], &[(2, &[WIDE])]), "64601 {7,8} 4200000001");
    assert_eq!(merged(&[(2, &[64_601, TRANS]), (1, &[TRANS, 8])], &[(2, &[WIDE]), (1, &[WIDE, 8])]), {
        "64601 4200000001 {4200000001,8}"
    });
}

/// §3, §6: AS_CONFED segments in AS4_PATH are left out, and the rest is used.
#[test]
fn confederation_segments_of_as4_path_are_left_out() {
    let merged = merged(&[(2, &[64_601, TRANS])], &[(3, &[9]), (2, &[WIDE])]);
    assert_eq!(merged, "64601 4200000001");
}

/// §4.2.3: an AGGREGATOR other than AS_TRANS says that both AS4 attributes are older than it.
#[test]
fn an_aggregator_that_is_not_as_trans_makes_both_as4_attributes_stale() {
    let as4 = attribute(0xc0, 18, &[&WIDE.to_be_bytes()[..], &[10, 0, 0, 2]].concat());
    let old = attribute(0xc0, 7, &[0xfc, 0x59, 10, 0, 0, 1]);
    let plant = told(&[(2, &[64_601, TRANS])], &[(2, &[WIDE])], &[&old[..], &as4].concat());
    assert_eq!(plant.route(PREFIX).unwrap().paths[0].as_path, "64601 23456");
    assert_eq!(told_attr(&plant, 7).unwrap().1, [0, 0, 0xfc, 0x59, 10, 0, 0, 1]);
}

/// §4.2.3: where AGGREGATOR is AS_TRANS, AS4_AGGREGATOR takes its place; neither is handed on to a speaker of four octets (§4.1).
#[test]
fn as4_aggregator_takes_the_place_of_as_trans() {
    let as4 = attribute(0xc0, 18, &[&WIDE.to_be_bytes()[..], &[10, 0, 0, 2]].concat());
    let old = attribute(0xc0, 7, &[0x5b, 0xa0, 10, 0, 0, 1]);
    let plant = told(&[(2, &[64_601, TRANS])], &[(2, &[WIDE])], &[&old[..], &as4].concat());
    assert_eq!(plant.route(PREFIX).unwrap().paths[0].as_path, "64601 4200000001");
    assert_eq!(told_attr(&plant, 7).unwrap().1, [&WIDE.to_be_bytes()[..], &[10, 0, 0, 2]].concat());
    assert_eq!((told_attr(&plant, 17), told_attr(&plant, 18)), (None, None));
}

/// §4.1: a speaker of four octets has no business to send AS4 attributes; they are discarded.
#[test]
fn as4_attributes_of_a_new_speaker_are_discarded() {
    let mut plant = established(Kin::External);
    let as4 = attribute(0xc0, 17, &path(4, &[(2, &[WIDE])]));
    plant.update(&[], &crate::bytes::route_with(Kin::External, &as4), &NLRI);
    assert_eq!(plant.route(PREFIX).unwrap().paths[0].as_path, "64601");
    assert_eq!(told_attr(&plant, 17), None);
    plant.check();
}

/// §6: malformed ones are discarded and the UPDATE is processed without them.
#[test]
fn malformed_as4_attributes_are_discarded() {
    for (kind, bad) in [(17, &[2, 9, 0, 0, 0, 1][..]), (17, &[2]), (17, &[9, 1, 0, 0, 0, 1]), (17, &[]), (18, &[0; 7])]
    {
        let mut plant = established(Kin::Old);
        plant.update(&[], &crate::bytes::route_with(Kin::Old, &attribute(0xc0, kind, bad)), &NLRI);
        assert_eq!(plant.route(PREFIX).unwrap().paths[0].as_path, "64601", "{bad:02x?}");
        plant.check();
    }
}

/// §4.2.2: an old speaker is told AS_TRANS for what does not fit, and AS4_PATH with the numbers; only then.
#[test]
fn an_old_speaker_is_told_as_trans_and_as4_path() {
    let mut plant = established(Kin::Old);
    plant.canary_announces("10.7.0.0/24", &path(4, &[(2, &[64_602, WIDE])]), &[]);
    plant.canary_announces("10.8.0.0/24", &path(4, &[(2, &[64_602, 300])]), &[]);
    let (merged, wide) = plant.guest_told("10.7.0.0/24").unwrap();
    assert_eq!(Attrs(&merged).as_path().to_string(), "64600 64602 4200000001");
    let sent = |update: &[u8], kind: u8| {
        let found = AttrIter::new(&update[23..]).find(|attr| attr.kind == kind);
        found.map(|attr| attr.value.to_vec())
    };
    assert_eq!(sent(&wide, 2), Some(path(2, &[(2, &[64_600, 64_602, TRANS])])));
    assert_eq!(sent(&wide, 17), Some(path(4, &[(2, &[64_600, 64_602, WIDE])])));
    let (_, narrow) = plant.guest_told("10.8.0.0/24").unwrap();
    assert_eq!(sent(&narrow, 2), Some(path(2, &[(2, &[64_600, 64_602, 300])])));
    assert_eq!(sent(&narrow, 17), None, "nothing had to stand in");
}
