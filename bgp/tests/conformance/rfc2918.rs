//! RFC 2918, Route Refresh Capability for BGP-4; and peers that do not have it, when the policy changes.

use crate::bytes::{NLRI, PREFIX, established, route_with};
use crate::harness::plant::{Kin, Plant, framed};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use weft_bgp::event::Event;
use weft_bgp::policy::{Policies, compile};
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;

const OTHER: [u8; 4] = [24, 10, 6, 0];

/// What the guest sends is taken with this LOCAL_PREF; a policy beside it changes as well.
fn policies(local_pref: u32, beside: u32) -> Arc<Policies> {
    let take = |pref: u32| json!([{"then": {"set": {"local_pref": pref}, "do": "accept"}}]);
    Arc::new(compile(&json!({"in": take(local_pref), "beside": take(beside)}), &BTreeSet::new()).unwrap())
}

/// A guest under the policy that has told two prefixes.
fn plant(kin: Kin) -> Plant {
    let mut plant = Plant::configured(kin, |speaker, guest, _| {
        speaker.policies = policies(200, 1);
        guest.import = Some("in".to_owned());
    });
    plant.accept();
    plant.open();
    plant.update(&[], &route_with(kin, &[]), &[&NLRI[..], &OTHER].concat());
    plant
}

fn local_pref(plant: &Plant) -> Option<u32> {
    plant.route(PREFIX)?.paths[0].local_pref
}

fn old_policies(plant: &Plant) -> Vec<u64> {
    let paths = |event: &Event| if let Event::OldPolicy { paths, .. } = event { Some(*paths) } else { None };
    plant.events.iter().filter_map(paths).collect()
}

/// §2, §3: the capability is offered, and the message asks for each family of the session.
#[test]
fn a_peer_is_asked_for_its_routes() {
    let mut plant = established(Kin::External);
    assert!(plant.our_open().can.route_refresh);
    plant.speaker.handle(plant.now, Input::Clear { peer: PeerId(1), hard: false });
    plant.pass(Duration::from_secs(1));
    let asked: Vec<_> =
        plant.heard(weft_bgp::wire::Kind::RouteRefresh).iter().map(|message| message[19..].to_vec()).collect();
    assert_eq!(asked, [[0, 1, 0, 1], [0, 2, 0, 1]]);
}

/// §4: asked by the peer, we tell it everything again; of a family that was not negotiated, nothing is sent.
#[test]
fn a_peer_that_asks_is_told_again() {
    let mut plant = established(Kin::External);
    let before = plant.heard(weft_bgp::wire::Kind::Update).len();
    plant.send(&framed(5, &[0, 3, 0, 1]));
    assert_eq!(plant.heard(weft_bgp::wire::Kind::Update).len(), before);
    plant.send(&framed(5, &[0, 1, 0, 1]));
    assert!(plant.heard(weft_bgp::wire::Kind::Update).len() > before);
    plant.check();
}

/// §4: a peer with the capability is asked when its policy changes; what it tells comes under the new one, and nothing needs to be said.
#[test]
fn with_the_capability_a_change_of_policy_asks() {
    let mut plant = plant(Kin::External);
    let asked = plant.guest_heard(5);
    plant.speaker.set_policies(plant.now, policies(300, 1));
    plant.pass(Duration::from_secs(1));
    assert!(plant.guest_heard(5) > asked);
    assert_eq!((plant.guest().old_policy, old_policies(&plant)), (None, vec![]));
    plant.update(&[], &route_with(Kin::External, &[]), &NLRI);
    assert_eq!(local_pref(&plant), Some(300));
}

/// §2: without it the peer is sent nothing; that its paths stay as the old policy left them is said, until they come again or its
/// session does.
#[test]
fn without_the_capability_the_old_policy_is_named() {
    let mut plant = plant(Kin::Old);
    plant.pass(Duration::from_secs(2));
    plant.speaker.set_policies(plant.now, policies(300, 1));
    plant.pass(Duration::from_secs(2));
    assert_eq!((plant.guest_heard(5), local_pref(&plant)), (0, Some(200)));
    assert_eq!((plant.guest().old_policy, old_policies(&plant)), (Some(2), vec![2]));
    plant.update(&[], &route_with(Kin::Old, &[]), &NLRI);
    assert_eq!((plant.guest().old_policy, local_pref(&plant)), (Some(1), Some(300)));
    plant.update(&OTHER, &[], &[]);
    assert_eq!(plant.guest().old_policy, Some(0));
    plant.update(&[], &route_with(Kin::Old, &[]), &OTHER);
    assert_eq!(plant.guest().old_policy, Some(0), "a new path is of the new policy");
    plant.accept();
    plant.open();
    assert_eq!(plant.guest().old_policy, None);
    plant.check();
}

/// A change that is none for this peer is not held against it; a wish for its routes is.
#[test]
fn only_what_concerns_the_peer_is_said() {
    let mut plant = plant(Kin::Old);
    plant.speaker.set_policies(plant.now, policies(200, 2));
    plant.pass(Duration::from_secs(1));
    assert_eq!(plant.guest().old_policy, None);
    plant.configure(|config| config.import = Some("beside".to_owned()));
    assert_eq!(old_policies(&plant), [2]);
    plant.speaker.handle(plant.now, Input::Clear { peer: PeerId(1), hard: false });
    plant.pass(Duration::from_secs(1));
    assert_eq!(old_policies(&plant), [2, 2]);
}
