//! Peers of a kind share what is made for them, and still each is told exactly what it needs.

use super::*;

/// A hub, a feeder (2) and readers (3, 4, 5).
fn star() -> Net {
    let mut net = Net::new(&[65_001, 65_002, 65_003, 65_004, 65_005]);
    for reader in 2..=5 {
        net.join(1, reader, |_, _| {});
    }
    net
}

/// The feeder originates those of eight prefixes whose bit is set, with a community.
fn feed(net: &mut Net, bits: u64, community: u32) {
    let chosen = (0..8_u8).filter(|bit| bits & (1 << bit) != 0);
    let route = |at| Originate {
        prefix: format!("172.16.{at}.0/24").parse().unwrap(),
        communities: vec![community],
        large_communities: Vec::new(),
        weight: None,
        why: String::new(),
    };
    net.give(1, Input::SetOriginated(chosen.map(route).collect()));
    net.settle();
}

fn sent(net: &Net, reader: usize) -> (u64, u64) {
    let all = net.speakers[0].neighbors(net.now);
    let neighbor = all.iter().find(|neighbor| neighbor.name == format!("r{reader}")).unwrap();
    (neighbor.prefixes_sent[0], neighbor.updates_sent)
}

#[test]
fn ten_changes_cost_a_deaf_reader_one_update_though_its_kind_was_told_ten() {
    let mut net = star();
    let before = [3, 4].map(|reader| sent(&net, reader).1);
    net.deaf.insert(2);
    for community in 1..=10 {
        feed(&mut net, 1, community);
    }
    net.listen();
    let after = [3, 4].map(|reader| sent(&net, reader).1);
    // One announcement, and the withdrawal of what the feeder originated before.
    assert_eq!(after[0] - before[0], 2);
    assert_eq!(after[1] - before[1], 11);
    assert_eq!(net.routes(3).last(), net.routes(4).last());
}

#[test]
fn whoever_reads_when_all_know_the_same_in_the_end() {
    let mut rng = Rng::new(7);
    let mut net = star();
    for _ in 0..400 {
        let dice = rng.next_u64();
        match dice % 8 {
            0..=3 => feed(&mut net, dice >> 8, u32::try_from(dice >> 40 & 3).unwrap()),
            4 | 5 => {
                net.deaf.insert(usize::try_from(dice >> 8 & 3).unwrap() + 1);
                net.deaf.remove(&1);
            }
            6 => net.give(0, Input::Clear { peer: PeerId(3), hard: false }),
            _ => net.listen(),
        }
    }
    net.listen();
    for reader in 3..=5 {
        let held = &net.speakers[reader - 1].neighbors(net.now)[0];
        assert_eq!(held.prefixes_received[0], sent(&net, reader).0, "what reader {reader} holds is what it was told");
        let told: Vec<_> = net.routes(reader).into_iter().filter(|route| route.starts_with("172.")).collect();
        assert_eq!(told.len(), net.routes(1).iter().filter(|route| route.starts_with("172.")).count());
    }
}
