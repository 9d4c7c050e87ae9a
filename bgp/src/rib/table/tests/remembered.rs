//! What came of the last list is what comes of a list: whatever it hangs on may have changed since.

use super::*;

/// Best peer and next hops of every prefix.
type Best = (IpNet, Option<PeerId>, Option<Arc<[Hop]>>);

fn state(table: &Table) -> Vec<Best> {
    table.after(None).map(|entry| (entry.prefix, entry.best_peer(), entry.hops.cloned())).collect()
}

#[test]
fn a_peer_that_is_another_one_is_ranked_as_that() {
    let mut table = table();
    let best = |table: &Table, prefix: &str| table.get(&prefix.parse().unwrap()).unwrap().best_peer();
    for prefix in ["10.0.0.0/16", "10.1.0.0/16"] {
        announce(&mut table, prefix, 1, 2);
        announce(&mut table, prefix, 2, 2);
        assert_eq!(best(&table, prefix), Some(PeerId(1)), "the lower identifier (RFC 4271 §9.1.2.2 f)");
    }
    let address = IpAddr::from([192, 0, 2, 1]);
    let router_id = RouterId::new(10, 0, 0, 9);
    table.set_peer(PeerId(1), PeerFacts { ebgp: true, router_id, address, client: false });
    announce(&mut table, "10.2.0.0/16", 1, 2);
    announce(&mut table, "10.2.0.0/16", 2, 2);
    assert_eq!(best(&table, "10.2.0.0/16"), Some(PeerId(2)));
}

#[test]
fn attributes_whose_number_others_had_are_their_own() {
    let mut table = table();
    announce(&mut table, "10.0.0.0/16", 1, 2);
    announce(&mut table, "10.0.0.0/16", 2, 3);
    let prefix = "10.0.0.0/16".parse().unwrap();
    assert_eq!(table.get(&prefix).unwrap().best_peer(), Some(PeerId(1)));
    for peer in [1, 2] {
        table.remove(&prefix, PathKey::only(PeerId(peer)));
    }
    // The lengths changed places, and maybe the numbers of their blocks did not.
    for (first, second) in [(3, 2), (2, 3)] {
        for prefix in ["10.1.0.0/16", "10.2.0.0/16"] {
            announce(&mut table, prefix, 1, first);
            announce(&mut table, prefix, 2, second);
            let best = PeerId(if first < second { 1 } else { 2 });
            assert_eq!(table.get(&prefix.parse().unwrap()).unwrap().best_peer(), Some(best), "{prefix} {first}");
            for peer in [1, 2] {
                table.remove(&prefix.parse().unwrap(), PathKey::only(PeerId(peer)));
            }
        }
    }
}

proptest! {
    /// Everything is as it is when nothing is remembered.
    #[test]
    fn what_is_remembered_is_what_would_be_found(
        steps in proptest::collection::vec((0_u8..8, 0_u8..4, 1_u8..5, 1_usize..4), 1..80)
    ) {
        let mut table = table();
        relink(&mut table, two_links(2));
        for (what, at, peer, length) in steps {
            let prefix = format!("10.{at}.0.0/16");
            match what {
                0 => _ = table.remove(&prefix.parse().unwrap(), PathKey::only(PeerId(peer.into()))),
                1 => relink(&mut table, two_links(length - 1)),
                2 => {
                    table.set_multipath(peer);
                    table.rerank(SlotId::MAX);
                }
                3 => {
                    table.tell_hops(peer < 3);
                    table.rerank(SlotId::MAX);
                }
                _ => announce(&mut table, &prefix, peer, length),
            }
        }
        let remembered = state(&table);
        for slot in 0..table.slots() {
            table.memo = memo::Memo::default();
            table.rank(slot, false);
        }
        prop_assert_eq!(remembered, state(&table));
    }
}
