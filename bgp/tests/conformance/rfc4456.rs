//! RFC 4456, BGP Route Reflection. Who hears whose routes is in `speaker/machine/tests.rs`: that takes three internal peers.

use crate::bytes::{NLRI, PREFIX, attribute, established, route_with, telling};
use crate::harness::plant::{Kin, Plant};
use weft_bgp::peer::AddPathSend;
use weft_bgp::wire::attrs::Attrs;

/// §8: a route that we originated, by ORIGINATOR_ID, comes back: it is ignored.
#[test]
fn a_route_with_our_identifier_as_originator_is_ignored() {
    let plant = telling(Kin::Internal, 0x80, 9, &[10, 0, 0, 9]);
    assert_eq!((plant.route(PREFIX), plant.guest_state().as_str()), (None, "Established"));
    assert!(telling(Kin::Internal, 0x80, 9, &[10, 0, 0, 8]).route(PREFIX).is_some());
}

/// §8: a route that was in our cluster, anywhere in CLUSTER_LIST, is ignored.
#[test]
fn a_route_that_was_in_our_cluster_is_ignored() {
    for list in [&[10, 0, 0, 9][..], &[10, 0, 0, 7, 10, 0, 0, 9], &[10, 0, 0, 9, 10, 0, 0, 7]] {
        assert_eq!(telling(Kin::Internal, 0x80, 10, list).route(PREFIX), None, "{list:?}");
    }
    assert!(telling(Kin::Internal, 0x80, 10, &[10, 0, 0, 7]).route(PREFIX).is_some());
}

/// §7: the cluster id is our own where one is configured.
#[test]
fn a_configured_cluster_id_is_the_one_that_counts() {
    let mut plant = Plant::configured(Kin::Internal, |config, _, _| config.cluster_id = "10.9.9.9".parse().unwrap());
    plant.accept();
    plant.open();
    plant.update(&[], &route_with(Kin::Internal, &attribute(0x80, 10, &[10, 0, 0, 9])), &NLRI);
    assert!(plant.route(PREFIX).is_some());
    plant.update(&[], &route_with(Kin::Internal, &attribute(0x80, 10, &[10, 9, 9, 9])), &NLRI);
    assert_eq!(plant.route(PREFIX), None);
    plant.check();
}

/// §8: both attributes are for the AS alone; outside nobody is told of them.
#[test]
fn originator_and_clusters_do_not_leave_the_as() {
    let mut plant = established(Kin::Internal);
    let more = [attribute(0x80, 9, &[10, 0, 0, 7]), attribute(0x80, 10, &[10, 0, 0, 7])].concat();
    plant.update(&[], &[&route_with(Kin::Internal, &[])[..], &more].concat(), &NLRI);
    let block = plant.told(PREFIX).unwrap();
    assert_eq!((Attrs(&block).value(9), Attrs(&block).value(10)), (None, None));
    let path = &plant.route(PREFIX).unwrap().paths[0];
    assert_eq!(
        (path.originator_id, path.cluster_list.len()),
        Some("10.0.0.7".parse().unwrap()).map(|id| (Some(id), 1)).unwrap()
    );
    plant.check();
}

/// An internal guest tells two paths of a prefix (RFC 7911), equal but for these attributes: the identifier of the best one, and why.
/// The second is named 2, so that no identifier speaks for it.
fn best_of(first: &[u8], second: &[u8]) -> (u32, String) {
    let mut plant = Plant::new(Kin::Internal);
    plant.offer_paths(AddPathSend::None);
    plant.try_open();
    for (id, more) in [(1, first), (2, second)] {
        let nlri = [&[0, 0, 0, id][..], &NLRI].concat();
        plant.update(&[], &[&route_with(Kin::Internal, &[])[..], more].concat(), &nlri);
    }
    let route = plant.route(PREFIX).unwrap();
    assert!(route.paths.len() == 2 && route.paths.iter().all(|path| path.used), "equal but in the last rules");
    let best = route.paths.iter().find(|path| path.best).unwrap();
    plant.check();
    (best.path_id.unwrap(), best.reason.clone())
}

fn originator(last: u8) -> Vec<u8> {
    attribute(0x80, 9, &[10, 0, 0, last])
}

fn clusters(count: u8) -> Vec<u8> {
    attribute(0x80, 10, &(1..=count).flat_map(|at| [10, 1, 1, at]).collect::<Vec<_>>())
}

/// §9: ORIGINATOR_ID stands for the identifier of the speaker; a route without one has that of the peer, 10.0.0.1.
#[test]
fn the_lower_originator_is_preferred() {
    for (first, second, best) in [
        (originator(8), originator(7), 2),
        (originator(7), originator(8), 1),
        (originator(2), Vec::new(), 2),
        (Vec::new(), originator(2), 1),
        (Vec::new(), attribute(0x80, 9, &[9, 255, 255, 255]), 2),
    ] {
        let (id, why) = best_of(&first, &second);
        assert_eq!(id, best, "{why}");
        assert!(why.contains("identifier"), "{why}");
    }
}

/// §9: then the shorter CLUSTER_LIST; the length is zero where there is none.
#[test]
fn then_the_shorter_cluster_list_is_preferred() {
    let with = |list: Vec<u8>| [originator(7), list].concat();
    for (first, second, best) in [
        (with(clusters(2)), with(clusters(1)), 2),
        (with(clusters(1)), with(clusters(3)), 1),
        (with(clusters(1)), with(Vec::new()), 2),
        (clusters(1), Vec::new(), 2),
    ] {
        let (id, why) = best_of(&first, &second);
        assert_eq!(id, best, "{why}");
        assert!(why.contains("shorter CLUSTER_LIST"), "{why}");
    }
}

/// §9: the new rule stands between f and g: the identifier comes first, whatever the lengths.
#[test]
fn the_originator_comes_before_the_cluster_list() {
    let far = [originator(7), clusters(5)].concat();
    assert_eq!(best_of(&originator(8), &far).0, 2);
    assert_eq!(best_of(&far, &originator(8)).0, 1);
}

/// §6, §8: an external route told to a client is no reflected one: neither attribute is added.
#[test]
fn an_external_route_is_told_to_a_client_without_them() {
    let mut plant = established(Kin::Internal);
    plant.canary_announces("10.7.0.0/24", &[2, 1, 0, 0, 0xfc, 0x5a], &[]);
    let (block, _) = plant.guest_told("10.7.0.0/24").unwrap();
    assert_eq!((Attrs(&block).value(9), Attrs(&block).value(10)), (None, None));
    assert_eq!(Attrs(&block).as_path().to_string(), "64602", "RFC 4271 §5.1.2: our AS is not put in front inside");
}
