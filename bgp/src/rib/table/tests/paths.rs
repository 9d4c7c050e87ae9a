//! Readers that are told of several paths of a prefix (RFC 7911) hold exactly the usable ones, under identifiers that stand.

use super::*;
use crate::rib::attrs::AttrsId;

/// What a reader was told: prefix and our identifier ▶ the path and its attributes.
type Told = BTreeMap<(IpNet, u32), (PathKey, AttrsId)>;

/// Follows the log as an exporter does: what is new or was not told is told, what is gone is withdrawn. How many were told.
fn follow(table: &Table, cursor: &mut u64, told: &mut Told) -> usize {
    let mut count = 0;
    let from = *cursor;
    for change in from..table.log_end() {
        let Some(slot) = table.path_change_at(change) else {
            continue;
        };
        let prefix = table.entry(slot).unwrap().prefix;
        let wanted: Vec<_> = table.sendable(slot).collect();
        told.retain(|(of, id), _| *of != prefix || wanted.iter().any(|path| path.id == *id));
        for path in wanted {
            let new = (path.path.key(), path.path.attrs);
            if path.changed > from || !told.contains_key(&(prefix, path.id)) {
                told.insert((prefix, path.id), new);
                count += 1;
            }
        }
    }
    *cursor = table.log_end();
    count
}

fn standing(table: &Table) -> Told {
    let slots = 0..table.slots();
    let all = slots.filter_map(|slot| Some((slot, table.entry(slot)?.prefix)));
    all.flat_map(|(slot, prefix)| {
        table.sendable(slot).map(move |path| ((prefix, path.id), (path.path.key(), path.path.attrs)))
    })
    .collect()
}

#[test]
fn a_change_of_one_path_is_told_alone_and_only_to_those_who_are_told_of_several() {
    let mut table = table();
    table.watch_paths(true);
    announce_path(&mut table, "10.0.0.0/8", (1, 1), 1);
    announce_path(&mut table, "10.0.0.0/8", (1, 2), 2);
    announce_path(&mut table, "10.0.0.0/8", (2, 0), 3);
    let (mut cursor, mut told, mut best) = (0, Told::new(), table.log_end());
    assert_eq!(follow(&table, &mut cursor, &mut told), 3);
    announce_path(&mut table, "10.0.0.0/8", (2, 0), 4);
    assert_eq!(changes(&table, &mut best), [""; 0], "the best path is the same");
    assert_eq!(follow(&table, &mut cursor, &mut told), 1);
    table.trim(cursor);
    assert!(table.remove(&"10.0.0.0/8".parse().unwrap(), PathKey { peer: PeerId(1), id: 1 }).is_some());
    assert_eq!(changes(&table, &mut best), ["10.0.0.0/8"]);
    assert_eq!(follow(&table, &mut cursor, &mut told), 0, "only a withdrawal");
    assert_eq!(told.keys().map(|(_, id)| *id).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn the_only_path_left_keeps_its_identifier() {
    // RFC 7911 §2: the identifier names the path as long as it is advertised.
    let mut table = table();
    table.watch_paths(true);
    announce_path(&mut table, "10.0.0.0/8", (1, 1), 1);
    announce_path(&mut table, "10.0.0.0/8", (1, 2), 1);
    let prefix = "10.0.0.0/8".parse().unwrap();
    table.remove(&prefix, PathKey { peer: PeerId(1), id: 1 });
    table.trim(table.log_end());
    let ids = |table: &Table| table.sendable(table.slot(&prefix).unwrap()).map(|path| path.id).collect::<Vec<_>>();
    assert_eq!(ids(&table), [2]);
    announce_path(&mut table, "10.0.0.0/8", (1, 9), 1);
    assert_eq!(ids(&table), [2, 1]);
    table.remove(&prefix, PathKey { peer: PeerId(1), id: 2 });
    table.remove(&prefix, PathKey { peer: PeerId(1), id: 9 });
    table.trim(table.log_end());
    assert!(table.is_empty());
}

#[test]
fn the_ranking_begins_with_the_best_and_names_each_path_once() {
    let mut table = table();
    for (key, length) in [((1, 1), 3), ((1, 2), 1), ((2, 0), 2), ((3, 5), 1), ((3, 4), 1)] {
        announce_path(&mut table, "10.0.0.0/8", key, length);
    }
    let slot = table.slot(&"10.0.0.0/8".parse().unwrap()).unwrap();
    let order: Vec<_> = table.ranked(slot).map(|path| (path.path.peer.0, path.path.id)).collect();
    assert_eq!(order, [(1, 2), (3, 4), (3, 5), (2, 0), (1, 1)]);
}

proptest! {
    #[test]
    fn a_reader_holds_the_usable_paths_under_identifiers_that_stand(
        steps in proptest::collection::vec((0_u8..3, 1_u8..4, 0_u32..3, 0_usize..4), 1..100),
    ) {
        let mut table = table();
        table.watch_paths(true);
        let (mut cursor, mut told, mut slow, mut late) = (0, Told::new(), 0, Told::new());
        let mut before = standing(&table);
        for (step, (at, peer, id, length)) in steps.into_iter().enumerate() {
            let prefix = format!("10.{at}.0.0/16");
            let key = PathKey { peer: PeerId(peer.into()), id };
            if length == 0 {
                table.remove(&prefix.parse().unwrap(), key);
            } else {
                announce_path(&mut table, &prefix, (peer, id), length);
            }
            let now = standing(&table);
            for ((prefix, id), (key, _)) in &now {
                let was = before.iter().find(|((of, _), (before, _))| of == prefix && before == key);
                prop_assert!(was.is_none_or(|((_, was), _)| was == id), "the identifier of a path that stands changed");
            }
            let told_now = follow(&table, &mut cursor, &mut told);
            prop_assert!(told_now <= 1, "one change, one announcement");
            prop_assert_eq!(&told, &now);
            before = now;
            if step % 7 == 6 {
                follow(&table, &mut slow, &mut late);
                prop_assert_eq!(&late, &before, "a slow reader");
                table.trim(slow);
            }
        }
    }
}
