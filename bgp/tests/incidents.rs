//! Incidents and CVEs of other daemons, 2017 to 2026: what each asked of us, through a whole speaker, in real bytes.
//!
//! Every test has a guest that sends what went around the world, and a canary: [`Plant::check`] says that it kept its session, its
//! keepalives and its routes, and that all it was told was well-formed. Reactions: RFC 7606 §2, the narrowest that it allows.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library for the fuzz targets, a module here")]
mod harness;

use harness::plant::{Kin, Plant, framed};
use std::time::Duration;
use weft_bgp::wire::attrs::{Attr, Attrs};

/// 10.5.0.0/24, as it stands in a message.
const NLRI: [u8; 4] = [24, 10, 5, 0];
const PREFIX: &str = "10.5.0.0/24";
const ORIGIN: [u8; 4] = [0x40, 1, 1, 0];
/// 64601
const AS_PATH: [u8; 9] = [0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0x59];
const NEXT_HOP: [u8; 7] = [0x40, 3, 4, 192, 0, 2, 1];

fn established(kin: Kin) -> Plant {
    let mut plant = Plant::new(kin);
    plant.accept();
    plant.open();
    plant
}

/// An attribute, its length in two octets.
fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[flags | 0x10, kind, high, low], value].concat()
}

/// An ordinary route with more attributes.
fn with(more: &[u8]) -> Vec<u8> {
    [&ORIGIN[..], &AS_PATH, &NEXT_HOP, more].concat()
}

/// An Established guest that has told its route with these attributes, and a while later.
fn told(kin: Kin, attributes: &[u8]) -> Plant {
    let mut plant = established(kin);
    plant.update(&[], attributes, &NLRI);
    plant.pass(Duration::from_secs(2));
    plant.check();
    plant
}

/// The route was known, and the same prefix with these attributes takes it away; the session stays.
fn withdraws(kin: Kin, attributes: &[u8]) {
    let mut plant = established(kin);
    let pref: &[u8] = if kin == Kin::Internal { &[0x40, 5, 4, 0, 0, 0, 100] } else { &[] };
    plant.update(&[], &with(pref), &NLRI);
    plant.update(&[], &with(pref), &[24, 10, 6, 0]);
    assert!(plant.told(PREFIX).is_some());
    plant.update(&[], attributes, &NLRI);
    plant.pass(Duration::from_secs(2));
    assert_eq!((plant.guest_state().as_str(), plant.guest().withdraw_faults), ("Established", 1));
    assert_eq!((plant.route(PREFIX), plant.told(PREFIX)), (None, None));
    assert!(plant.told("10.6.0.0/24").is_some(), "another prefix suffers");
    plant.check();
}

/// The session ends with this code and subcode, and its routes go.
fn resets(mut plant: Plant, code: (u8, u8)) {
    let sent = plant.notifications();
    assert_eq!(sent.iter().map(|sent| (sent.code, sent.subcode)).collect::<Vec<_>>(), [code]);
    plant.pass(Duration::from_secs(2));
    assert_eq!(plant.told(PREFIX), None);
    plant.check();
}

/// The route and its unknown attribute arrive at the canary: type, length and value as they were, and Partial.
fn passed_on(kin: Kin, kind: u8, value: &[u8]) {
    let plant = told(kin, &with(&attribute(0xc0, kind, value)));
    assert_eq!((plant.guest_state().as_str(), plant.guest().withdraw_faults), ("Established", 0));
    let block = plant.told(PREFIX).unwrap();
    let attr = Attrs(&block).iter().find(|attr| attr.kind == kind).unwrap();
    let long = if value.len() > 255 { 0x10 } else { 0 };
    assert_eq!(attr, Attr { flags: 0xe0 | long, kind, value });
}

/// The route arrives without this attribute.
fn discarded(kin: Kin, kind: u8, attribute: &[u8]) {
    let plant = told(kin, &with(attribute));
    assert_eq!((plant.guest_state().as_str(), plant.guest().withdraw_faults), ("Established", 0));
    assert_eq!(Attrs(&plant.told(PREFIX).unwrap()).value(kind), None);
}

/// CVE-2023-4481 and its kin, June 2023.
#[test]
fn attr_28_unknown_is_passed_on_with_partial_never_reset() {
    passed_on(Kin::External, 28, &[1, 2, 3, 0, 0xff]);
    passed_on(Kin::External, 28, &[]);
}

/// FRR CVE-2023-38802, CVE-2024-44070.
#[test]
fn attr_23_tunnel_encap_with_lying_tlvs_is_not_ours_to_read() {
    passed_on(Kin::External, 23, &[0, 15, 0, 0xff]);
    passed_on(Kin::External, 23, &[0, 15, 0]);
}

/// May 2025. RFC 8669 §4.
#[test]
fn attr_40_prefix_sid_of_zeros_is_discarded_at_the_edge() {
    discarded(Kin::External, 40, &attribute(0xc0, 40, &[0; 10]));
    discarded(Kin::External, 40, &attribute(0xc0, 40, &[]));
}

/// October 2025. RFC 9234 §5.
#[test]
fn attr_35_otc_of_1024_octets_is_treated_as_withdraw() {
    withdraws(Kin::External, &with(&attribute(0xc0, 35, &[0; 1024])));
    let plant = told(Kin::External, &with(&attribute(0xc0, 35, &[0, 0, 0xfc, 0x59])));
    assert_eq!(Attrs(&plant.told(PREFIX).unwrap()).value(35), Some(&[0, 0, 0xfc, 0x59][..]));
}

/// October 2025: the encoder that rewrote it.
#[test]
fn an_unknown_attribute_of_any_length_is_passed_on_byte_for_byte() {
    for length in [0, 1, 255, 256, 1024, 3_900] {
        passed_on(Kin::External, 99, &vec![0xa5; length]);
    }
}

/// FRR CVE-2022-40302, -40318, -43681, #22307. RFC 9072 §2.
#[test]
fn open_with_extended_parameters_cut_anywhere_costs_that_connection_only() {
    let fixed = [4, 0xfc, 0x59, 0, 9, 10, 0, 0, 1];
    for (parameters, subcode) in [
        (&[255, 255][..], 0),
        (&[255, 255, 0], 0),
        (&[255, 255, 0xff, 0xff, 2], 0),
        (&[255, 255, 0, 3, 2, 0, 1], 0),
        // Too short for the form, so it is a parameter that nobody knows.
        (&[2, 255, 0], 4),
    ] {
        let mut plant = Plant::new(Kin::External);
        plant.accept();
        plant.send(&framed(1, &[&fixed[..], parameters].concat()));
        resets(plant, (2, subcode));
    }
}

/// GoBGP's FQDN panic; FRR's host names.
#[test]
fn open_with_capabilities_whose_inner_lengths_lie_is_accepted_without_them() {
    let mut plant = Plant::new(Kin::Old);
    plant.accept();
    let capabilities = [73, 2, 0xff, 0x61, 75, 1, 0xff, 64, 1, 0x80, 65, 2, 0, 1, 1, 3, 0, 1, 0];
    let length = u8::try_from(capabilities.len()).unwrap();
    let fixed = [4, 0xfc, 0x59, 0, 9, 10, 0, 0, 1, length + 2, 2, length];
    plant.send(&framed(1, &[&fixed[..], &capabilities].concat()));
    plant.send(&framed(4, &[]));
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// FRR CVE-2023-46753, CVE-2023-47234. RFC 7606 §3 d.
#[test]
fn missing_mandatory_attributes_are_treated_as_withdraw() {
    withdraws(Kin::External, &[&AS_PATH[..], &NEXT_HOP].concat());
    withdraws(Kin::External, &[&ORIGIN[..], &NEXT_HOP].concat());
    withdraws(Kin::External, &[&ORIGIN[..], &AS_PATH].concat());
    withdraws(Kin::Internal, &with(&[]));
    withdraws(Kin::External, &attribute(0xc0, 99, &[1]));
}

/// FRR CVE-2023-47235. RFC 4724 §2.
#[test]
fn an_update_with_only_an_unknown_attribute_is_no_end_of_rib() {
    let mut plant = established(Kin::External);
    plant.events.clear();
    plant.update(&[], &attribute(0xc0, 99, &[1]), &[]);
    assert_eq!((plant.guest_state().as_str(), plant.events.len()), ("Established", 0));
    plant.update(&[], &[], &[]);
    assert_eq!(plant.events.len(), 1, "but this is one");
    plant.check();
}

/// FRR CVE-2023-46752. RFC 7606 §5.3, §7.11.
#[test]
fn mp_reach_that_cannot_be_read_resets() {
    for value in [&[0, 2][..], &[0, 2, 1, 16, 0], &[0, 2, 1, 5, 0, 0, 0, 0, 0, 0], &[0, 2, 1, 0, 0, 129]] {
        let mut plant = established(Kin::External);
        plant.update(&[], &[&attribute(0x80, 14, value), &ORIGIN[..], &AS_PATH].concat(), &[]);
        resets(plant, (3, 9));
    }
}

/// FRR CVE-2023-41358.
#[test]
fn mp_reach_without_prefixes_is_harmless() {
    let mut plant = established(Kin::External);
    let value = [&[0, 2, 1, 16][..], &[0x20; 16], &[0]].concat();
    plant.update(&[], &[&attribute(0x80, 14, &value), &ORIGIN[..], &AS_PATH].concat(), &[]);
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// FRR #14129, #14175.
#[test]
fn a_bad_attribute_does_not_move_the_prefixes() {
    withdraws(Kin::External, &[&[0x40, 1, 1, 7][..], &AS_PATH, &NEXT_HOP].concat());
    withdraws(Kin::External, &[&[0x40, 1, 2, 0, 0][..], &AS_PATH, &NEXT_HOP].concat());
    withdraws(Kin::External, &with(&[0xc0, 99, 200, 1]));
}

/// FRR #22563. RFC 7606 §5.2.
#[test]
fn a_bad_attribute_with_nothing_to_withdraw_resets() {
    let mut plant = established(Kin::External);
    plant.update(&NLRI, &[0x40, 1, 1, 7], &[]);
    resets(plant, (3, 5));
}

/// GoBGP CVE-2026-41643; ExaBGP #353. RFC 6793 §6.
#[test]
fn as4_path_before_as_path_and_malformed_is_discarded() {
    let path = [0x40, 2, 4, 2, 1, 0xfc, 0x59];
    for bad in [&[2, 9, 0, 0, 0, 1][..], &[2], &[9, 1, 0, 0, 0, 1], &[2, 0]] {
        let attributes = [&attribute(0xc0, 17, bad), &ORIGIN[..], &path, &NEXT_HOP].concat();
        let plant = told(Kin::Old, &attributes);
        assert_eq!(Attrs(&plant.told(PREFIX).unwrap()).as_path().to_string(), "64600 64601");
    }
    discarded(Kin::External, 17, &attribute(0xc0, 17, &[2, 1, 0, 0, 0, 1]));
}

/// GoBGP CVE-2026-30405. RFC 7606 §7.3.
#[test]
fn next_hop_of_a_wrong_length_is_treated_as_withdraw() {
    for length in [0, 1, 2, 3, 5, 16] {
        withdraws(Kin::External, &[&ORIGIN[..], &AS_PATH, &attribute(0x40, 3, &vec![10; length])].concat());
    }
}

/// GoBGP CVE-2026-37461; ExaBGP #514. RFC 7606 §7.8, §7.14, §7.15; RFC 8092 §5.
#[test]
fn communities_of_a_wrong_length_are_treated_as_withdraw() {
    for (kind, length) in [(8, 0), (8, 3), (16, 0), (16, 20), (25, 19), (32, 0), (32, 13)] {
        withdraws(Kin::External, &with(&attribute(0xc0, kind, &vec![1; length])));
    }
}

/// GoBGP CVE-2026-37462. RFC 4271 §6.3.
#[test]
fn update_whose_lengths_do_not_fit_resets() {
    for body in [&[0xff, 0xff, 0, 0][..], &[0, 0, 0xff, 0xff], &[0, 2, 0, 0], &[0, 0, 0, 1]] {
        let mut plant = established(Kin::External);
        plant.send(&framed(2, body));
        resets(plant, (3, 1));
    }
}

/// GoBGP #3325. RFC 4271 §6.1.
#[test]
fn unknown_message_types_reset_in_every_state() {
    for kind in [0, 6, 255] {
        let mut plant = Plant::new(Kin::External);
        plant.accept();
        plant.send(&framed(kind, &[]));
        resets(plant, (1, 3));
        let mut plant = told(Kin::External, &with(&[]));
        plant.send(&framed(kind, &[1, 2, 3]));
        resets(plant, (1, 3));
    }
}

/// FRR CVE-2026-37459, -37457, -37460: families and attributes that we do not speak.
#[test]
fn what_was_not_negotiated_is_not_read() {
    let mut plant = established(Kin::External);
    // Flowspec with a lying length, EVPN, and IPv6 from a peer that never offered it.
    for value in [&[0, 1, 133, 0, 0, 0xff][..], &[0, 25, 70, 9, 1]] {
        plant.update(&[], &[&attribute(0x80, 14, value), &ORIGIN[..], &AS_PATH].concat(), &[]);
        plant.update(&[], &attribute(0x80, 15, &value[..3]), &[]);
    }
    assert_eq!((plant.guest_state().as_str(), plant.guest().prefixes_received), ("Established", [0, 0]));
    passed_on(Kin::External, 39, &[0, 1, 0]);
    let mut old = established(Kin::Old);
    let value = [&[0, 2, 1, 16][..], &[0x20; 16], &[0, 32, 0x20, 1, 0x0d, 0xb9]].concat();
    old.update(&[], &attribute(0x80, 14, &value), &[]);
    assert_eq!((old.guest_state().as_str(), old.guest().prefixes_received), ("Established", [0, 0]));
    old.check();
}

/// FRR #22828. RFC 2918 §3: no ORF was offered.
#[test]
fn route_refresh_with_orf_is_bounded() {
    let mut plant = told(Kin::External, &with(&[]));
    plant.send(&framed(5, &[0, 1, 0, 1]));
    plant.send(&framed(5, &[0, 25, 0, 70]));
    assert_eq!(plant.guest_state(), "Established");
    plant.send(&framed(5, &[&[0, 1, 0, 1, 1, 64, 0xff, 0xff][..], &[0; 40]].concat()));
    resets(plant, (1, 2));
}

/// OpenBGPD 7.7, FRR #22045: no room to prepend ourselves.
#[test]
fn a_route_that_does_not_fit_the_peer_is_withdrawn_there_and_never_looped() {
    let mut plant = told(Kin::External, &with(&[]));
    let before = plant.canary_updates();
    // Fits the message that brought it to the last octet: with our AS in front it is four too long.
    let room = 4_096 - 19 - 4 - NLRI.len() - with(&[]).len() - 4;
    plant.update(&[], &with(&attribute(0xc0, 99, &vec![7; room])), &NLRI);
    plant.pass(Duration::from_secs(5));
    assert!(plant.route(PREFIX).is_some(), "we keep it");
    assert_eq!((plant.told(PREFIX), plant.canary_updates()), (None, before + 1));
    plant.check();
}

/// ExaBGP #912, FRR CVE-2017-15865. RFC 4271 §6.4.
#[test]
fn notification_with_any_data_is_never_answered_nor_echoed() {
    for data in [&[6, 2, 200, 0xff, 0xfe][..], &[6, 2, 2, b'\n', 0x1b], &[0xff, 0xff], &[2, 7, 0, 0, 0]] {
        let mut plant = told(Kin::External, &with(&[]));
        plant.send(&framed(3, data));
        assert!(plant.notifications().is_empty());
        let said = plant.guest().last_error.unwrap();
        assert!(said.chars().all(|letter| !letter.is_control()), "{said:?}");
        plant.pass(Duration::from_secs(2));
        assert_eq!(plant.told(PREFIX), None);
        plant.check();
    }
}

/// FRR #11698: OPEN and NOTIFICATION in fast loops.
#[test]
fn reconnecting_in_a_fast_loop_leaves_nothing_behind() {
    let mut plant = Plant::new(Kin::External);
    // Without the rest that such a peer has to take.
    plant.configure(|config| config.session.damp_oscillations = false);
    for _ in 0..300 {
        plant.accept();
        plant.open();
        plant.update(&[], &with(&[]), &NLRI);
        plant.send(&framed(3, &[6, 0]));
    }
    plant.leave();
    assert_eq!((plant.route(PREFIX), plant.told(PREFIX)), (None, None));
    plant.check();
}

/// FRR 8.4.4, OpenBGPD 7.7: silence in OpenConfirm. RFC 4271 §8.2.2.
#[test]
fn silence_after_the_open_ends_with_the_negotiated_hold_time() {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.send(&framed(1, &[4, 0xfc, 0x59, 0, 3, 10, 0, 0, 1, 0]));
    assert_eq!(plant.guest_state(), "OpenConfirm");
    plant.pass(Duration::from_secs(3));
    resets(plant, (4, 0));
}

/// BIRD 2.0.12: an absent capability is not a zero.
#[test]
fn an_open_without_capabilities_is_accepted() {
    let mut plant = established(Kin::Old);
    let path = [0x40, 2, 4, 2, 1, 0xfc, 0x59];
    plant.update(&[], &[&ORIGIN[..], &path, &NEXT_HOP].concat(), &NLRI);
    assert!(plant.told(PREFIX).is_some());
    plant.check();
}

/// FRR 8.4.4: IPv4 that came in MP_REACH_NLRI leaves with NEXT_HOP. RFC 4271 §5.1.3.
#[test]
fn ipv4_in_mp_reach_is_told_with_the_next_hop_of_the_session() {
    let value = [&[0, 1, 1, 4, 192, 0, 2, 1, 0][..], &NLRI].concat();
    let mut plant = established(Kin::External);
    plant.update(&[], &[&attribute(0x80, 14, &value), &ORIGIN[..], &AS_PATH].concat(), &[]);
    let routes = plant.canary_routes();
    let (_, next_hop) = routes.get(&(PREFIX.parse().unwrap(), 0)).unwrap();
    assert_eq!(next_hop.addr.to_string(), "192.0.2.9");
    plant.check();
}

/// Found by replaying seeds. RFC 5065 §4.1: nobody outside sees a confederation.
#[test]
fn confederation_segments_do_not_leave_the_as() {
    let path = [0x40, 2, 12, 3, 1, 0, 0, 0xfd, 0xe9, 2, 1, 0, 0, 0xfc, 0x59];
    let pref = [0x40, 5, 4, 0, 0, 0, 100];
    let plant = told(Kin::Internal, &[&ORIGIN[..], &path, &NEXT_HOP, &pref].concat());
    assert_eq!(Attrs(&plant.told(PREFIX).unwrap()).as_path().to_string(), "64600 64601");
    withdraws(Kin::External, &[&ORIGIN[..], &path, &NEXT_HOP].concat());
}
