//! RFC 8950, IPv4 NLRI with an IPv6 Next Hop, and the Link-Local Next Hop capability (draft-ietf-idr-linklocal-capability).

use crate::bytes::{AS_PATH, ORIGIN, attribute, established};
use crate::harness::plant::{Kin, OWN_PREFIX, Plant};
use weft_bgp::peer::{Endpoint, LinkLocalForm};
use weft_bgp::wire::attrs::{AttrIter, kind};

const GLOBAL: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const OURS: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// 10.5.0.0/24 in MP_REACH_NLRI with this next hop.
fn reach(next_hop: &[u8]) -> Vec<u8> {
    let length = u8::try_from(next_hop.len()).unwrap();
    let value = [&[0, 1, 1, length][..], next_hop, &[0, 24, 10, 5, 0]].concat();
    [&attribute(0x80, 14, &value)[..], &ORIGIN, &AS_PATH].concat()
}

/// A guest on a link without addresses.
fn unnumbered(form: LinkLocalForm, capable: bool) -> Plant {
    let mut plant = Plant::configured(Kin::External, |_, guest, _| {
        guest.endpoint = Endpoint::Interface("eth0".to_owned());
        guest.routes.link_local_form = form;
    });
    plant.offer(|open| open.can.link_local_next_hop = capable);
    plant.accept_link_local();
    plant.open();
    plant
}

/// The next hop with which the guest is told our IPv4 prefix.
fn told_next_hop(plant: &Plant) -> Vec<u8> {
    let (_, update) = plant.guest_told(OWN_PREFIX).unwrap();
    let mp = AttrIter::new(&update[23..]).find(|attr| attr.kind == kind::MP_REACH_NLRI).unwrap();
    assert_eq!(mp.value[..3], [0, 1, 1], "AFI 1, SAFI 1");
    mp.value[4..4 + usize::from(mp.value[3])].to_vec()
}

/// §3: sixteen octets, or thirty-two with the link-local address behind the global one.
#[test]
fn ipv4_prefixes_are_taken_with_ipv6_next_hops_of_either_length() {
    for next_hop in [&GLOBAL[..], &[GLOBAL, LOCAL].concat()] {
        let mut plant = established(Kin::External);
        plant.update(&[], &reach(next_hop), &[]);
        let path = plant.route("10.5.0.0/24").unwrap().paths[0].clone();
        assert_eq!(path.next_hop, "2001:db8::1".parse::<std::net::IpAddr>().unwrap());
        assert!(path.hop.is_some(), "it leads somewhere");
        plant.check();
    }
}

/// §4: without the capability nobody may send that: a next hop of an unknown length, RFC 7606 §7.11.
#[test]
fn an_ipv6_next_hop_that_was_not_negotiated_resets() {
    let mut plant = Plant::new(Kin::External);
    plant.offer(|open| open.can.extended_next_hop = false);
    plant.accept();
    plant.open();
    plant.update(&[], &reach(&GLOBAL), &[]);
    let sent = plant.notifications();
    assert_eq!((sent[0].code, sent[0].subcode), (3, 9));
    plant.check();
}

/// The three forms in use of a next hop that is only link-local: `::` and the address, the address twice, and once.
#[test]
fn every_form_of_a_link_local_next_hop_is_taken() {
    for next_hop in [&[[0; 16], LOCAL].concat()[..], &[LOCAL, LOCAL].concat(), &LOCAL] {
        let mut plant = unnumbered(LinkLocalForm::Auto, false);
        plant.update(&[], &reach(next_hop), &[]);
        let path = plant.route("10.5.0.0/24").unwrap().paths[0].clone();
        let hop = path.hop.unwrap();
        assert_eq!((hop.gateway, hop.link.0), ("fe80::1".parse().unwrap(), 2), "{next_hop:02x?}");
        assert_eq!(path.next_hop, hop.gateway);
        plant.check();
    }
}

/// What we send: once where both have the capability (§4 of the draft), else what is configured: twice, unless told otherwise, which
/// FRR, BIRD and GoBGP read.
#[test]
fn the_form_that_we_send_follows_capability_and_configuration() {
    let twice = [OURS, OURS].concat();
    for (form, capable, expected) in [
        (LinkLocalForm::Auto, true, OURS.to_vec()),
        (LinkLocalForm::Auto, false, twice.clone()),
        (LinkLocalForm::Single, false, OURS.to_vec()),
        (LinkLocalForm::Twice, false, twice),
        (LinkLocalForm::Unspecified, false, [[0; 16], OURS].concat()),
        (LinkLocalForm::Twice, true, OURS.to_vec()),
        (LinkLocalForm::Unspecified, true, OURS.to_vec()),
    ] {
        let plant = unnumbered(form, capable);
        assert_eq!(told_next_hop(&plant), expected, "{form:?} {capable}");
        plant.check();
    }
}

/// §4: to a peer on a link without addresses that cannot take an IPv6 next hop, IPv4 prefixes are not told at all.
#[test]
fn a_peer_that_cannot_take_them_is_not_told() {
    let mut plant = Plant::configured(Kin::External, |_, guest, _| {
        guest.endpoint = Endpoint::Interface("eth0".to_owned());
    });
    plant.offer(|open| open.can.extended_next_hop = false);
    plant.accept_link_local();
    plant.open();
    assert!(plant.guest_told(OWN_PREFIX).is_none());
    let told = plant.speaker.told(&OWN_PREFIX.parse().unwrap());
    let reason = told.iter().find(|told| told.neighbor == "guest").and_then(|told| told.reason.clone());
    assert!(reason.is_some_and(|reason| reason.contains("RFC 8950")), "{told:?}");
    plant.check();
}
