//! RFC 7911, Advertisement of Multiple Paths in BGP.

use crate::bytes::{NEXT_HOP, ORIGIN, PREFIX, attribute};
use crate::harness::plant::{Kin, OWN_PREFIX, Plant};
use std::time::Duration;
use weft_bgp::peer::{AddPath, AddPathSend};
use weft_bgp::wire::capability::PathDirections;

/// 10.5.0.0/24 under an identifier.
fn path(id: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[24, 10, 5, 0]].concat()
}

/// The attributes of a route whose AS_PATH is the guest's AS, `hops` times.
fn attributes(hops: usize) -> Vec<u8> {
    let path: Vec<u8> = [vec![2, u8::try_from(hops).unwrap()], [0, 0, 0xfc, 0x59].repeat(hops)].concat();
    [&ORIGIN[..], &attribute(0x40, 2, &path), &NEXT_HOP].concat()
}

/// A guest that sends several paths of a prefix, and is sent them.
fn established(send: AddPathSend) -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.offer_paths(send);
    plant.accept();
    plant.open();
    plant
}

/// The identifiers of the guest's paths of the prefix, in the table, with the number of ASes in each path.
fn held(plant: &Plant) -> Vec<(u32, usize)> {
    let paths = plant.route(PREFIX).map_or_else(Vec::new, |route| route.paths);
    let guest = paths.iter().filter(|path| path.from == "guest");
    guest.map(|path| (path.path_id.unwrap(), path.as_path.split(' ').count())).collect()
}

/// How many ASes the canary, which is told of one path, sees behind us.
fn told_hops(plant: &Plant) -> Option<usize> {
    let block = plant.told(PREFIX)?;
    Some(weft_bgp::wire::attrs::Attrs(&block).as_path().hop_count() - 1)
}

/// §2: "A BGP speaker that re-advertises a route MUST generate its own Path Identifier", and uses "the (Prefix, Path Identifier) to
/// uniquely identify a path advertised to a neighbor": the same as long as the path stands.
#[test]
fn our_identifiers_are_our_own_and_stand_as_long_as_their_path() {
    let mut plant = established(AddPathSend::All);
    plant.canary_announces(OWN_PREFIX, &[2, 1, 0, 0, 0xfc, 0x5a], &[]);
    let both = plant.guest_paths(OWN_PREFIX);
    let own = both.iter().find(|(_, path)| path == "64600").unwrap().clone();
    assert_eq!(both.len(), 2);
    // The other one changes, under its identifier.
    plant.canary_announces(OWN_PREFIX, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0xfc, 0x5a], &[]);
    let changed = plant.guest_paths(OWN_PREFIX);
    assert_eq!(changed.iter().map(|(id, _)| id).collect::<Vec<_>>(), both.iter().map(|(id, _)| id).collect::<Vec<_>>());
    assert!(changed.contains(&own) && changed.iter().any(|(_, path)| path == "64600 64602 64602"));
    assert_eq!(plant.guest_state(), "Established");
}

/// §3: the identifier stands in front of each prefix, in the IPv4 fields and in MP_REACH_NLRI and MP_UNREACH_NLRI.
#[test]
fn every_field_of_prefixes_has_identifiers() {
    let mut plant = established(AddPathSend::None);
    plant.update(&[], &attributes(2), &[path(1), path(0xffff_ffff)].concat());
    assert_eq!(held(&plant), [(1, 2), (0xffff_ffff, 2)]);
    plant.update(&path(1), &[], &[]);
    assert_eq!(held(&plant), [(0xffff_ffff, 2)]);
    let hop = [&[0, 2, 1, 16], &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0]].concat();
    let nlri = |id: u8| [0, 0, 0, id, 32, 0x20, 1, 0x0d, 0xb9];
    let reach = attribute(0x80, 14, &[&hop[..], &nlri(7), &nlri(8)].concat());
    plant.update(&[], &[&reach[..], &attributes(1)].concat(), &[]);
    let v6 = |plant: &Plant| plant.route("2001:db9::/32").map_or(0, |route| route.paths.len());
    assert_eq!(v6(&plant), 2);
    plant.update(&[], &attribute(0x80, 15, &[&[0, 2, 1][..], &nlri(7)].concat()), &[]);
    assert_eq!(v6(&plant), 1);
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §3 with RFC 7606 §5.3: an identifier without a prefix behind it leaves nobody knowing what was meant.
#[test]
fn an_identifier_cut_short_resets() {
    let mut plant = established(AddPathSend::None);
    plant.update(&[], &attributes(1), &[0, 0, 0, 1, 24, 10, 5]);
    assert_eq!(plant.notified(), [(3, 10)]);
    plant.check();
}

/// §4: each direction is in use if the sender offered to send and the receiver to receive, and only then.
#[test]
fn each_direction_needs_the_offers_of_both() {
    for bits in 0_u8..16 {
        let [ours, our_send, theirs, their_send] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let mut plant = Plant::new(Kin::External);
        plant.configure(|config| {
            let send = if our_send { AddPathSend::All } else { AddPathSend::None };
            config.add_path = AddPath { receive: ours, send, ..AddPath::default() };
        });
        plant.offer(|open| open.can.add_path = [PathDirections { receive: theirs, send: their_send }; 2]);
        plant.expect_paths(our_send && theirs);
        plant.accept();
        plant.open();
        let capability = plant.our_open().can.add_path;
        assert_eq!(capability, [PathDirections { receive: ours, send: our_send }; 2]);
        let receives = ours && their_send;
        let nlri = if receives { path(5) } else { vec![24, 10, 5, 0] };
        plant.update(&[], &attributes(1), &nlri);
        let id = plant.route(PREFIX).unwrap().paths[0].path_id;
        assert_eq!(id, receives.then_some(5), "{bits:04b}");
        // The guest reads what it is told by what was agreed, or falls over.
        assert_eq!(plant.guest_paths(OWN_PREFIX).len(), 1, "{bits:04b}");
        assert_eq!(plant.guest_paths(OWN_PREFIX)[0].0 != 0, our_send && theirs, "{bits:04b}");
        plant.check();
    }
}

/// §5: "a new advertisement for a given address prefix and a given Path Identifier replaces a previous advertisement for the same".
#[test]
fn the_same_identifier_again_replaces_and_another_one_adds() {
    let mut plant = established(AddPathSend::None);
    plant.update(&[], &attributes(2), &path(1));
    plant.update(&[], &attributes(3), &path(2));
    assert_eq!((held(&plant), told_hops(&plant)), (vec![(1, 2), (2, 3)], Some(2)));
    plant.update(&[], &attributes(1), &path(2));
    assert_eq!((held(&plant), told_hops(&plant)), (vec![(1, 2), (2, 1)], Some(1)));
    assert_eq!(plant.guest().prefixes_received, [2, 0], "paths are counted");
    plant.check();
}

/// §5: "If a BGP speaker receives a message to withdraw a prefix with a Path Identifier not seen before, it SHOULD silently ignore it."
#[test]
fn a_withdrawal_of_an_unknown_identifier_is_ignored() {
    let mut plant = established(AddPathSend::None);
    plant.update(&[], &attributes(2), &path(1));
    plant.update(&path(2), &[], &[]);
    assert_eq!((held(&plant), plant.guest_state().as_str()), (vec![(1, 2)], "Established"));
    plant.update(&path(1), &[], &[]);
    assert_eq!((held(&plant), told_hops(&plant)), (Vec::new(), None));
    plant.check();
}

/// §5: the rules of RFC 4271 §9.1 hold; of paths that are equal in all of them the lower identifier is the best, whichever came first.
#[test]
fn equal_paths_of_a_peer_are_decided_by_the_identifier() {
    for order in [[1, 2], [2, 1]] {
        let mut plant = established(AddPathSend::None);
        for id in order {
            plant.update(&[], &attributes(2), &path(id));
        }
        let route = plant.route(PREFIX).unwrap();
        assert_eq!(route.paths.iter().find(|path| path.best).unwrap().path_id, Some(1));
        assert!(route.paths.iter().all(|path| path.used));
    }
}

/// §5 with RFC 7606 §2: a fault costs the paths named in its message, and no other path of the same prefix.
#[test]
fn treat_as_withdraw_takes_the_path_and_leaves_the_others() {
    let mut plant = established(AddPathSend::None);
    plant.update(&[], &attributes(1), &path(1));
    plant.update(&[], &attributes(2), &path(2));
    let faulty = [&attribute(0x40, 1, &[9])[..], &attributes(1)[4..]].concat();
    plant.update(&[], &faulty, &path(1));
    assert_eq!((held(&plant), told_hops(&plant)), (vec![(2, 2)], Some(2)));
    assert_eq!(plant.guest().withdraw_faults, 1);
    plant.check();
}

/// §5: "A BGP speaker SHOULD include the best route when more than one path is advertised to a neighbor, unless it is a path received
/// from that neighbor", and what is told is withdrawn under its identifier.
#[test]
fn the_best_comes_first_and_no_path_goes_back_to_its_sender() {
    let mut plant = established(AddPathSend::Best(1));
    plant.update(&[], &attributes(1), &path(1));
    plant.update(&[], &attributes(3), &path(2));
    assert_eq!(plant.guest_paths(PREFIX), []);
    plant.canary_announces(PREFIX, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0xfc, 0x5b], &[]);
    let told = plant.guest_paths(PREFIX);
    assert_eq!(told.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(), ["64600 64602 64603"]);
    assert_eq!(plant.guest_state(), "Established");
}

/// §5 with RFC 4724 §2: End-of-RIB has no prefix, so no identifier; a path that the peer does not announce again goes with it.
#[test]
fn end_of_rib_is_the_same_with_identifiers() {
    let mut plant = established(AddPathSend::All);
    let ended = plant.events.iter().filter(|event| matches!(event, weft_bgp::event::Event::EndOfRib { .. })).count();
    plant.update(&[], &[], &[]);
    plant.update(&[], &attribute(0x80, 15, &[0, 2, 1]), &[]);
    let now = plant.events.iter().filter(|event| matches!(event, weft_bgp::event::Event::EndOfRib { .. })).count();
    assert_eq!(now - ended, 2);
    plant.pass(Duration::from_secs(4));
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// draft-ietf-idr-add-paths-limit: more paths of a prefix than the limit are not taken, and counted; the session stays.
#[test]
fn more_paths_than_the_limit_are_not_taken() {
    let mut plant = established(AddPathSend::None);
    plant.configure(|config| config.add_path.paths_limit = 2);
    plant.update(&[], &attributes(1), &[path(1), path(2), path(3), path(2)].concat());
    assert_eq!((held(&plant), plant.guest().paths_over_limit), (vec![(1, 1), (2, 1)], 1));
    // There is room again.
    plant.update(&path(1), &attributes(1), &path(3));
    assert_eq!(held(&plant), [(2, 1), (3, 1)]);
    plant.check();
}
