//! Several paths of a prefix on one session (RFC 7911): which are told, under which identifiers, and what is left after a loss.

use super::*;
use crate::peer::AddPathSend;
use crate::rib::table::LOCAL;
use proptest::prelude::*;

/// 1, 2 and 3 tell 4, which tells 5 of several paths.
fn fan(asns: &[u32; 5], send: AddPathSend) -> Net {
    let mut net = Net::new(asns);
    for from in 1..4 {
        net.join(from, 4, |_, at| at.route_reflector_client = true);
    }
    net.join(5, 4, |receiver, sender| {
        receiver.add_path.receive = true;
        sender.add_path.send = send;
    });
    for at in 0..5 {
        originate(&mut net, at, &[]);
    }
    net.settle();
    net
}

fn originate(net: &mut Net, at: usize, prefixes: &[(u8, u32)]) {
    let route = |(prefix, community): &(u8, u32)| Originate {
        prefix: format!("20.{prefix}.0.0/16").parse().unwrap(),
        // Makes the path another one.
        communities: vec![*community],
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    net.give(at, Input::SetOriginated(prefixes.iter().map(route).collect()));
}

/// What 5 learnt from 4: prefix, AS path or originator, community.
fn heard(net: &Net) -> Vec<String> {
    let routes = net.speakers[4].routes(None, 1_000);
    let learnt = routes.into_iter().flat_map(|route| {
        let from = route.paths.into_iter().filter(|path| path.from == "r4");
        from.map(move |path| {
            let origin = path.originator_id.map_or_else(|| path.as_path.clone(), |id| id.to_string());
            format!("{} [{origin}] {}", route.prefix, path.communities.join(" "))
        })
    });
    let mut all: Vec<_> = learnt.collect();
    all.sort();
    all
}

/// What 4 ought to tell 5, from its table.
fn due(net: &Net, most: usize) -> Vec<String> {
    let table = &net.speakers[3].table;
    let ebgp = net.speakers[3].members[&PeerId(5)].peer.session().unwrap().codec.ebgp;
    let mut all = Vec::new();
    for entry in table.after(None) {
        let slot = table.slot(&entry.prefix).unwrap();
        let others = table.ranked(slot).filter(|path| path.path.peer != PeerId(5));
        for path in others.take(most) {
            let attrs = crate::wire::attrs::Attrs(table.attrs.block(path.path.attrs));
            let as_path = if ebgp {
                format!("{} {}", net.speakers[3].config.asn, attrs.as_path())
            } else {
                attrs.as_path().to_string()
            };
            let origin = match path.path.peer {
                peer if !ebgp && peer != LOCAL => RouterId::new(10, 0, 0, u8::try_from(peer.0).unwrap()).to_string(),
                _ => as_path.trim_end().to_owned(),
            };
            let communities: Vec<_> =
                attrs.communities().map(|word| format!("{}:{}", word >> 16, word & 0xffff)).collect();
            all.push(format!("{} [{origin}] {}", entry.prefix, communities.join(" ")));
        }
    }
    all.sort();
    all
}

#[test]
fn every_path_is_told_and_used_together() {
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::All);
    for at in 0..3 {
        originate(&mut net, at, &[(1, 7)]);
    }
    net.settle();
    assert_eq!(
        heard(&net),
        ["20.1.0.0/16 [65004 65001] 0:7", "20.1.0.0/16 [65004 65002] 0:7", "20.1.0.0/16 [65004 65003] 0:7"]
    );
    let route = net.speakers[4].routes(None, 1).remove(0);
    let ids: Vec<_> = route.paths.iter().filter_map(|path| path.path_id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(route.paths.iter().all(|path| path.used), "equal in every rule");
    let told = net.speakers[3].neighbors(net.now).into_iter().find(|neighbor| neighbor.name == "r5").unwrap();
    assert_eq!(told.prefixes_sent, [3, 0]);
}

#[test]
fn one_more_change_while_the_socket_is_full_costs_one_update_for_each_path() {
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::All);
    for at in 0..3 {
        originate(&mut net, at, &[(1, 0)]);
    }
    net.settle();
    let sent = |net: &Net| net.speakers[3].members[&PeerId(5)].out.updates;
    let before = sent(&net);
    net.deaf.insert(4);
    for community in 1..11 {
        for at in 0..2 {
            originate(&mut net, at, &[(1, community)]);
            net.settle();
        }
    }
    net.listen();
    assert_eq!(sent(&net) - before, 2, "the third path did not change");
    assert_eq!(heard(&net), due(&net, 9));
}

#[test]
fn the_best_come_first_and_one_that_is_lost_is_replaced() {
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::Best(2));
    for at in 0..3 {
        originate(&mut net, at, &[(1, 0)]);
    }
    net.settle();
    assert_eq!(heard(&net), ["20.1.0.0/16 [65004 65001] 0:0", "20.1.0.0/16 [65004 65002] 0:0"]);
    originate(&mut net, 0, &[]);
    net.settle();
    assert_eq!(heard(&net), ["20.1.0.0/16 [65004 65002] 0:0", "20.1.0.0/16 [65004 65003] 0:0"]);
}

#[test]
fn a_peer_asks_again_and_is_told_all_paths() {
    // RFC 2918 §4
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::All);
    for at in 0..3 {
        originate(&mut net, at, &[(1, 0)]);
    }
    net.settle();
    let before = net.speakers[4].neighbors(net.now)[0].updates_received;
    net.give(4, Input::Clear { peer: PeerId(4), hard: false });
    net.settle();
    let asked = net.speakers[4].neighbors(net.now)[0].updates_received - before;
    assert!(asked >= 3, "{asked} UPDATEs for three paths");
    assert_eq!(heard(&net), due(&net, 9));
}

#[test]
fn another_number_of_paths_is_in_force_without_a_new_session() {
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::All);
    for at in 0..3 {
        originate(&mut net, at, &[(1, 0)]);
    }
    net.settle();
    let mut config = net.speakers[3].members[&PeerId(5)].peer.config().clone();
    config.add_path.send = AddPathSend::Best(1);
    net.give(3, Input::SetPeer { peer: PeerId(5), config: Box::new(config) });
    net.settle();
    assert_eq!(heard(&net), ["20.1.0.0/16 [65004 65001] 0:0"]);
    assert_eq!(net.speakers[3].neighbors(net.now).iter().map(|neighbor| neighbor.dropped).sum::<u64>(), 0);
}

#[test]
fn a_lost_session_takes_all_paths_and_more_paths_than_the_limit_are_counted() {
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::All);
    let mut config = net.speakers[4].members[&PeerId(4)].peer.config().clone();
    config.add_path.paths_limit = 2;
    net.give(4, Input::SetPeer { peer: PeerId(4), config: Box::new(config) });
    for at in 0..3 {
        originate(&mut net, at, &[(1, 0)]);
    }
    net.settle();
    let neighbor = net.speakers[4].neighbors(net.now).remove(0);
    assert_eq!((neighbor.prefixes_received, neighbor.paths_over_limit), ([2, 0], 1));
    assert!(net.speakers[4].refused(&"20.1.0.0/16".parse().unwrap())[0].reason.ends_with("paths_limit"));
    net.give(4, Input::Clear { peer: PeerId(4), hard: true });
    net.settle();
    net.give(4, Input::Tick);
    assert_eq!((heard(&net), net.speakers[4].neighbors(net.now)[0].prefixes_received), (Vec::new(), [0, 0]));
}

#[test]
fn a_session_that_is_told_of_one_path_hears_nothing_of_the_others() {
    let mut net = fan(&[65_001, 65_002, 65_003, 65_004, 65_005], AddPathSend::All);
    // Another ECMP set is told to all, as a change of the best path.
    let single = SpeakerConfig { multipath: 1, ..net.speakers[3].config.clone() };
    let now = net.now;
    net.speakers[3].set_config(now, single);
    originate(&mut net, 0, &[(1, 0)]);
    net.settle();
    let before = net.speakers[1].neighbors(net.now)[0].updates_received;
    originate(&mut net, 2, &[(1, 0)]);
    net.settle();
    assert_eq!(net.speakers[1].neighbors(net.now)[0].updates_received, before);
    assert_eq!(heard(&net).len(), 2);
}

proptest! {
    #[test]
    fn the_receiver_holds_what_the_table_says(
        internal in any::<bool>(),
        send in prop_oneof![Just(AddPathSend::All), (1_u8..4).prop_map(AddPathSend::Best)],
        steps in proptest::collection::vec(
            (0_usize..5, proptest::collection::btree_map(0_u8..3, 0_u32..3, 0..3), any::<bool>()), 1..25),
    ) {
        let asns = if internal { [65_000; 5] } else { [65_001, 65_002, 65_003, 65_004, 65_005] };
        let mut net = fan(&asns, send);
        for (at, set, deaf) in steps {
            if deaf {
                net.deaf.insert(4);
            }
            let set: Vec<_> = set.into_iter().collect();
            originate(&mut net, at, &set);
            net.settle();
            if !deaf {
                net.listen();
                let most = match send {
                    AddPathSend::None => 1,
                    AddPathSend::All => usize::MAX,
                    AddPathSend::Best(count) => count.into(),
                };
                prop_assert_eq!(heard(&net), due(&net, most));
            }
        }
    }
}
