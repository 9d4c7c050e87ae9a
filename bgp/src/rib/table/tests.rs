//! The incremental table equals one made from scratch; readers see the last state once.

use super::*;
use crate::speaker::LinkState;
use crate::types::{IfIndex, NextHop};
use crate::wire::attrs::{AsPath, kind, put};
use proptest::prelude::*;

mod paths;
mod remembered;

fn table() -> Table {
    let mut table = Table::new(1, 64);
    let net = "192.0.2.254/24".parse().unwrap();
    table.hops.set_links(vec![LinkState { link: IfIndex(2), addrs: vec![net] }]);
    for peer in 1..5_u8 {
        let address = IpAddr::from([192, 0, 2, peer]);
        table.set_peer(
            PeerId(peer.into()),
            PeerFacts { ebgp: true, router_id: RouterId::new(10, 0, 0, peer), address, client: false },
        );
    }
    table
}

fn announce(table: &mut Table, prefix: &str, peer: u8, length: usize) {
    announce_path(table, prefix, (peer, 0), length);
}

/// A path with an identifier of the peer's (RFC 7911 §3).
fn announce_path(table: &mut Table, prefix: &str, (peer, id): (u8, u32), length: usize) {
    let mut block = Vec::new();
    put(&mut block, 0x40, kind::ORIGIN, &[0]);
    let path = (0..length).fold(Vec::new(), |path, _| AsPath(&path).prepended(crate::types::Asn(65_000), 1));
    put(&mut block, 0x40, kind::AS_PATH, &path);
    let attrs = table.attrs.intern(&block);
    let hop = table.hops.intern(NextHop::new(IpAddr::from([192, 0, 2, peer])), None);
    let path = Path { peer: PeerId(peer.into()), id, attrs, hop, came: Came::new(0, 0) };
    table.insert(prefix.parse().unwrap(), path);
}

fn changes(table: &Table, cursor: &mut u64) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(slot) = table.next_change(cursor) {
        out.push(table.entry(slot).unwrap().prefix.to_string());
    }
    out
}

#[test]
fn ten_changes_cost_a_slow_reader_one() {
    let mut table = table();
    let (mut slow, mut quick) = (0, 0);
    for length in 1..=10 {
        announce(&mut table, "10.0.0.0/8", 1, length);
        assert_eq!(changes(&table, &mut quick), ["10.0.0.0/8"]);
    }
    announce(&mut table, "11.0.0.0/8", 1, 1);
    assert_eq!(changes(&table, &mut slow), ["10.0.0.0/8", "11.0.0.0/8"]);
    assert_eq!(changes(&table, &mut slow), [""; 0]);
}

#[test]
fn the_same_route_again_is_no_change() {
    let mut table = table();
    announce(&mut table, "10.0.0.0/8", 1, 1);
    let mut cursor = table.log_end();
    announce(&mut table, "10.0.0.0/8", 1, 1);
    assert_eq!(changes(&table, &mut cursor), [""; 0]);
    assert_eq!(table.attrs.len(), 1);
}

/// What peers read of the log.
fn told(table: &Table, from: u64) -> usize {
    (from..table.log_end()).filter_map(|change| table.change_at(change)).count()
}

#[test]
fn another_equal_path_is_news_for_the_kernel_alone() {
    let mut table = table();
    announce(&mut table, "10.0.0.0/8", 1, 2);
    let (mut kernel, peers) = (table.log_end(), table.log_end());
    table.trim(peers);
    for (peer, hops) in [(2, 2), (3, 3)] {
        announce(&mut table, "10.0.0.0/8", peer, 2);
        assert_eq!(table.get(&"10.0.0.0/8".parse().unwrap()).unwrap().hops.unwrap().len(), hops);
        assert_eq!(changes(&table, &mut kernel), ["10.0.0.0/8"]);
    }
    assert_eq!(told(&table, peers), 0);
    assert!(table.is_settled(0, peers), "a peer that walks from here on does not wait for the log");
    announce(&mut table, "10.0.0.0/8", 3, 1);
    assert_eq!((told(&table, peers), table.is_settled(0, peers)), (1, false));
}

#[test]
fn another_equal_path_is_told_where_a_policy_asks_for_it() {
    let mut table = table();
    table.tell_hops(true);
    announce(&mut table, "10.0.0.0/8", 1, 2);
    let peers = table.log_end();
    table.trim(peers);
    announce(&mut table, "10.0.0.0/8", 2, 2);
    assert_eq!(told(&table, peers), 1);
}

#[test]
fn another_equal_path_hides_no_news_from_who_lags() {
    let mut table = table();
    announce(&mut table, "10.0.0.0/8", 1, 2);
    announce(&mut table, "10.0.0.0/8", 2, 2);
    announce(&mut table, "10.0.0.0/8", 3, 2);
    assert_eq!(told(&table, 0), 1, "the first path was not told before the others came");
}

#[test]
fn equal_paths_make_one_set_and_a_lost_link_empties_it() {
    let mut table = table();
    announce(&mut table, "10.0.0.0/8", 1, 2);
    announce(&mut table, "10.0.0.0/8", 2, 2);
    announce(&mut table, "10.0.0.0/8", 3, 3);
    let prefix = "10.0.0.0/8".parse().unwrap();
    let gateways = |table: &Table| {
        let hops = table.get(&prefix).unwrap().hops;
        hops.map(|hops| hops.iter().map(|hop| hop.gateway.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(gateways(&table).unwrap(), ["192.0.2.1", "192.0.2.2"]);
    let changed = table.hops.set_links(Vec::new());
    table.hops_changed(&changed);
    table.rerank(1);
    assert_eq!(gateways(&table), None);
    assert_eq!(table.get(&prefix).unwrap().best, None);
}

/// A table with peers 1 and 2 on one link, 3 and 4 on another; and its links, for as many as are up.
fn two_links(up: usize) -> Vec<LinkState> {
    let link = |link: u32, net: &str| LinkState { link: IfIndex(link), addrs: vec![net.parse().unwrap()] };
    let mut links = vec![link(2, "192.0.2.0/31"), link(3, "192.0.2.3/31")];
    links.truncate(up);
    links
}

fn relink(table: &mut Table, links: Vec<LinkState>) {
    let changed = table.hops.set_links(links);
    table.hops_changed(&changed);
    table.rerank(table.slots());
}

#[test]
fn a_set_stays_as_it_is_while_a_link_of_it_is_down() {
    let mut table = table();
    relink(&mut table, two_links(2));
    let prefix = "10.0.0.0/8".parse().unwrap();
    announce(&mut table, "10.0.0.0/8", 1, 2);
    announce(&mut table, "10.0.0.0/8", 2, 2);
    let set = table.get(&prefix).unwrap().hops.unwrap().clone();
    assert_eq!(set.len(), 2);
    let mut kernel = table.log_end();
    relink(&mut table, two_links(1));
    assert_eq!(table.get(&prefix).unwrap().hops, Some(&set));
    let up: Vec<_> = set.iter().filter(|hop| table.hops.is_up(hop)).collect();
    assert_eq!(up.len(), 1, "{set:?}");
    relink(&mut table, two_links(2));
    assert_eq!(changes(&table, &mut kernel), [""; 0], "nobody had to hear of any of it");
    // With the path goes its place.
    relink(&mut table, two_links(1));
    table.remove(&prefix, PathKey::only(PeerId(2)));
    assert_eq!(table.get(&prefix).unwrap().hops.unwrap().len(), 1);
}

#[test]
fn a_path_whose_link_is_down_is_in_no_set_with_worse_ones() {
    let mut table = table();
    relink(&mut table, two_links(2));
    let prefix = "10.0.0.0/8".parse().unwrap();
    announce(&mut table, "10.0.0.0/8", 1, 2);
    announce(&mut table, "10.0.0.0/8", 2, 1);
    relink(&mut table, two_links(1));
    let entry = table.get(&prefix).unwrap();
    assert_eq!((entry.best, entry.hops.unwrap().len()), (Some(0), 1), "the longer way alone");
    // Nor in any once its link is there without the way to it.
    announce(&mut table, "10.0.0.0/8", 2, 2);
    assert_eq!(table.get(&prefix).unwrap().hops.unwrap().len(), 2);
    let mut links = two_links(2);
    links[1].addrs.clear();
    relink(&mut table, links);
    assert_eq!(table.get(&prefix).unwrap().hops.unwrap().len(), 1);
}

#[test]
fn where_peers_hear_of_next_hops_a_set_holds_those_that_are_up() {
    let mut table = table();
    table.tell_hops(true);
    relink(&mut table, two_links(2));
    announce(&mut table, "10.0.0.0/8", 1, 2);
    announce(&mut table, "10.0.0.0/8", 2, 2);
    let peers = table.log_end();
    relink(&mut table, two_links(1));
    assert_eq!(table.get(&"10.0.0.0/8".parse().unwrap()).unwrap().hops.unwrap().len(), 1);
    assert_eq!(told(&table, peers), 1);
    table.tell_hops(false);
    table.rerank(table.slots());
    assert_eq!(table.get(&"10.0.0.0/8".parse().unwrap()).unwrap().hops.unwrap().len(), 2);
}

#[test]
fn a_withdrawn_prefix_lives_until_every_reader_heard_of_it() {
    let mut table = table();
    announce(&mut table, "10.0.0.0/8", 1, 1);
    let mut cursor = table.log_end();
    assert!(table.remove(&"10.0.0.0/8".parse().unwrap(), PathKey::only(PeerId(1))).is_some());
    assert_eq!(table.len(), 1);
    assert_eq!(changes(&table, &mut cursor), ["10.0.0.0/8"]);
    table.trim(cursor);
    assert!(table.has_bare());
    table.forget_bare(1);
    assert!(table.is_empty() && !table.has_bare());
    assert!(table.attrs.is_empty());
    announce(&mut table, "12.0.0.0/8", 1, 1);
    assert_eq!(changes(&table, &mut cursor), ["12.0.0.0/8"], "the slot is used again");
}

#[test]
fn the_loss_of_the_best_path_is_a_change_where_the_others_are_no_use() {
    let mut table = table();
    let prefix = "10.0.0.0/8".parse().unwrap();
    announce(&mut table, "10.0.0.0/8", 1, 1);
    let attrs = table.attrs.intern(&[]);
    let hop = table.hops.intern(NextHop::new(IpAddr::from([192, 0, 2, 1])), None);
    table.insert(prefix, Path { peer: LOCAL, id: 0, attrs, hop, came: Came::new(0, 0) });
    let changed = table.hops.set_links(Vec::new());
    table.hops_changed(&changed);
    table.rerank(1);
    let mut cursor = table.log_end();
    assert!(table.remove(&prefix, PathKey::only(LOCAL)).is_some());
    assert_eq!(changes(&table, &mut cursor), ["10.0.0.0/8"]);
    assert_eq!(table.get(&prefix).unwrap().best, None);
}

#[test]
fn the_longest_covering_prefix_is_found() {
    let mut table = table();
    for prefix in ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"] {
        announce(&mut table, prefix, 1, 1);
    }
    let covering = |target: &str| table.covering(&target.parse().unwrap()).unwrap().prefix.to_string();
    assert_eq!(covering("10.1.2.3/32"), "10.1.0.0/16");
    assert_eq!(covering("10.2.2.3/32"), "10.0.0.0/8");
    assert_eq!(covering("11.0.0.1/32"), "0.0.0.0/0");
}

/// A guard of `prefix` alone.
fn guards(prefix: &str, minimum_next_hops: u8) -> Guards {
    let net: IpNet = prefix.parse().unwrap();
    let entry = crate::policy::sets::Entry { net, ge: net.prefix_len(), le: net.prefix_len() };
    let prefixes = vec![Arc::new(crate::policy::sets::PrefixSet::new(&[entry]))];
    Guards::new(vec![Guard { prefixes, minimum_next_hops, minimum_bandwidth: None }])
}

proptest! {
    #[test]
    fn looking_only_at_the_strongest_paths_finds_what_the_whole_process_finds(
        specs in proptest::collection::vec((0_u32..3, 0_usize..3, 0_u8..3, 0_u32..2, 0_u32..6), 1..8)
    ) {
        let mut table = table();
        let prefix = "10.0.0.0/8".parse().unwrap();
        for (local_pref, length, origin, med, peer) in specs {
            let mut block = Vec::new();
            put(&mut block, 0x40, kind::ORIGIN, &[origin]);
            let path = (0..length).fold(Vec::new(), |path, _| AsPath(&path).prepended(crate::types::Asn(65_000), 1));
            put(&mut block, 0x40, kind::AS_PATH, &path);
            put(&mut block, 0x80, kind::MULTI_EXIT_DISC, &med.to_be_bytes());
            if local_pref > 0 {
                put(&mut block, 0x40, kind::LOCAL_PREF, &(98 + local_pref).to_be_bytes());
            }
            let attrs = table.attrs.intern(&block);
            // The last of the addresses is not on the link; peer 0 stands for ourselves.
            let address = if peer == 4 { [198, 51, 100, 1] } else { [192, 0, 2, u8::try_from(peer).unwrap()] };
            let hop = table.hops.intern(NextHop::new(IpAddr::from(address)), None);
            let peer = if peer == 0 { LOCAL } else { PeerId(peer.min(4)) };
            table.insert(prefix, Path { peer, id: 0, attrs, hop, came: Came::new(0, 0) });
        }
        let entry = table.get(&prefix).unwrap();
        let ranking = table.ranking(entry.paths);
        prop_assert_eq!(entry.best, ranking.as_ref().map(|ranking| ranking.best));
        let equal = ranking.map_or(0, |ranking| ranking.ended_by.iter().filter(|rule| **rule == Rule::Equal).count());
        if entry.best_peer().is_some_and(|best| best != LOCAL) {
            prop_assert_eq!(entry.hops.map_or(0, |hops| hops.len()), equal);
        }
    }

    #[test]
    fn incremental_equals_from_scratch(
        steps in proptest::collection::vec((0_u8..4, 1_u8..5, 0_u32..3, 0_usize..4), 1..80),
        watched in any::<bool>(),
        minimum in 0_u8..4,
    ) {
        let prefix = |at: u8| format!("10.{at}.0.0/16");
        let guards = guards("10.1.0.0/16", minimum);
        let mut incremental = table();
        incremental.set_guards(&guards);
        incremental.watch_paths(watched);
        let mut held = BTreeMap::new();
        let (mut cursor, mut seen) = (0, BTreeMap::new());
        let route = |table: &Table, path: &Path| (path.peer, table.attrs.block(path.attrs).to_vec());
        let best = |table: &Table| table.after(None).filter_map(|entry| Some((entry.prefix, route(table, entry.best_path()?))))
            .collect::<BTreeMap<_, _>>();
        let tell = |table: &Table, from: u64, told: &mut BTreeMap<_, _>| {
            for slot in (from..table.log_end()).filter_map(|change| table.change_at(change)) {
                let entry = table.entry(slot).unwrap();
                match entry.best_path() {
                    Some(path) => _ = told.insert(entry.prefix, route(table, path)),
                    None => _ = told.remove(&entry.prefix),
                }
            }
        };
        let mut told_best = BTreeMap::new();
        for (at, peer, id, length) in steps {
            if length == 0 {
                incremental.remove(&prefix(at).parse().unwrap(), PathKey { peer: PeerId(peer.into()), id });
                held.remove(&(at, peer, id));
            } else {
                announce_path(&mut incremental, &prefix(at), (peer, id), length);
                held.insert((at, peer, id), length);
            }
            if length == 2 {
                tell(&incremental, cursor, &mut told_best);
                while let Some(slot) = incremental.next_change(&mut cursor) {
                    let entry = incremental.entry(slot).unwrap();
                    seen.insert(entry.prefix, (entry.best_peer(), entry.hops.cloned()));
                }
                incremental.trim(cursor);
            }
            if length == 3 {
                incremental.forget_bare(1);
            }
        }
        let mut scratch = table();
        for ((at, peer, id), length) in held {
            announce_path(&mut scratch, &prefix(at), (peer, id), length);
        }
        scratch.set_guards(&guards);
        scratch.rerank(SlotId::MAX);
        let held_back = scratch.after(None).filter(|entry| !entry.paths.is_empty() && entry.best.is_none()).count();
        prop_assert_eq!([incremental.held_back(), scratch.held_back()], [held_back; 2]);
        let state = |table: &Table| table.after(None).filter(|entry| entry.best.is_some())
            .map(|entry| (entry.prefix, (entry.best_peer(), entry.hops.cloned()))).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(state(&incremental), state(&scratch));
        tell(&incremental, cursor, &mut told_best);
        while let Some(slot) = incremental.next_change(&mut cursor) {
            let entry = incremental.entry(slot).unwrap();
            seen.insert(entry.prefix, (entry.best_peer(), entry.hops.cloned()));
        }
        seen.retain(|_, (best, _)| best.is_some());
        prop_assert_eq!(seen, state(&scratch), "what a reader saw");
        prop_assert_eq!(told_best, best(&scratch), "what a peer was told");
    }
}
