//! What every store must do, whichever it is: each promise of `store` once. Run against the embedded store and against etcd.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use weft_netboot::store::memory::Memory;
use weft_netboot::store::{
    Change, Compare, Event, Outcome, Revision, Snapshot, Span, Store, StoreError, TRANSACTION_BYTES_MAX, Transaction,
    WRITES_MAX, Watch, Write,
};

/// Longest wait for something that takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

fn put(key: &str, value: &str) -> Write {
    Write { key: key.to_owned(), value: Some(value.as_bytes().into()) }
}

fn delete(key: &str) -> Write {
    Write { key: key.to_owned(), value: None }
}

fn compare(key: &str, modified: Option<Revision>) -> Compare {
    Compare { key: key.to_owned(), modified }
}

async fn commit(store: &dyn Store, compares: Vec<Compare>, writes: Vec<Write>) -> Outcome {
    store.commit(Transaction { compares, writes }).await.unwrap()
}

async fn committed(store: &dyn Store, writes: Vec<Write>) -> Revision {
    match commit(store, Vec::new(), writes).await {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict => panic!("a transaction without conditions cannot conflict"),
    }
}

/// Keys and values below a prefix.
fn shown(snapshot: &Snapshot) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    snapshot.entries.iter().map(|entry| (entry.key.clone(), text(&entry.value))).collect()
}

async fn next(watch: &mut Box<dyn Watch>) -> Event {
    tokio::time::timeout(LIMIT, watch.next()).await.expect("an event comes").unwrap()
}

fn event(revision: Revision, changes: &[(&str, Option<&str>)]) -> Event {
    let changes = changes
        .iter()
        .map(|(key, value)| Change { key: (*key).to_owned(), value: value.map(|value| value.as_bytes().into()) });
    Event { revision, changes: changes.collect() }
}

/// All of it, each below a prefix of its own.
pub(crate) async fn whole(store: Arc<dyn Store>) {
    transactions(store.as_ref()).await;
    bounds(store.as_ref()).await;
    watches(store.as_ref()).await;
    pages(store.as_ref()).await;
    races(store.clone()).await;
    model(store.as_ref()).await;
    compaction(store.as_ref()).await;
}

async fn transactions(store: &dyn Store) {
    let start = store.read("t/").await.unwrap();
    assert_eq!(start.entries, []);
    let first = committed(store, vec![put("t/a", "1"), put("t/b", "1")]).await;
    assert!(first > start.revision);
    let now = store.read("t/").await.unwrap();
    assert_eq!(shown(&now), [("t/a".to_owned(), "1".to_owned()), ("t/b".to_owned(), "1".to_owned())]);
    assert_eq!(now.revision, first);
    assert!(now.entries.iter().all(|entry| entry.modified == first));
    // A condition on each kind of entry, holding and not.
    let wrong = [compare("t/a", None), compare("t/a", Some(start.revision)), compare("t/none", Some(first))];
    for condition in wrong {
        let outcome = commit(store, vec![compare("t/b", Some(first)), condition.clone()], vec![put("t/a", "2")]).await;
        assert_eq!(outcome, Outcome::Conflict, "{condition:?}");
    }
    assert_eq!(store.read("t/").await.unwrap(), now, "a conflict changes nothing");
    let right = vec![compare("t/a", Some(first)), compare("t/none", None)];
    let Outcome::Committed(second) = commit(store, right, vec![put("t/a", "2"), delete("t/b")]).await else {
        panic!("every condition holds");
    };
    assert!(second > first);
    let now = store.read("t/").await.unwrap();
    assert_eq!(shown(&now), [("t/a".to_owned(), "2".to_owned())]);
    // Deleting nothing changes nothing.
    assert_eq!(commit(store, Vec::new(), vec![delete("t/none")]).await, Outcome::Committed(second));
    assert_eq!(store.read("t/").await.unwrap().revision, second);
    // A key that comes back is another one than before: its old revision does not fit.
    let third = committed(store, vec![put("t/b", "3")]).await;
    assert_eq!(commit(store, vec![compare("t/b", Some(first))], vec![put("t/b", "4")]).await, Outcome::Conflict);
    assert!(third > second);
    // Any octets.
    let odd = Write { key: "t/ä é".to_owned(), value: Some(vec![0, 255, 10].into()) };
    committed(store, vec![odd.clone(), delete("t/a"), delete("t/b")]).await;
    let now = store.read("t/").await.unwrap();
    assert_eq!((now.entries[0].key.as_str(), &*now.entries[0].value), ("t/ä é", [0, 255, 10].as_slice()));
}

async fn bounds(store: &dyn Store) {
    let many = |count: usize| (0..count).map(|at| put(&format!("b/{at:04}"), "x")).collect::<Vec<_>>();
    committed(store, many(WRITES_MAX)).await;
    assert_eq!(store.read("b/").await.unwrap().entries.len(), WRITES_MAX);
    let large = |bytes: usize| Write { key: "b/large".to_owned(), value: Some(vec![7; bytes].into()) };
    committed(store, vec![large(TRANSACTION_BYTES_MAX - 7)]).await;
    for writes in [
        many(WRITES_MAX + 1),
        vec![large(TRANSACTION_BYTES_MAX)],
        vec![put("b/x", "1"), put("b/x", "2")],
        vec![put("", "1")],
        vec![put(&"k".repeat(513), "1")],
    ] {
        let refused = store.commit(Transaction { compares: Vec::new(), writes }).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
    }
}

async fn watches(store: &dyn Store) {
    let start = store.read("").await.unwrap().revision;
    let first = committed(store, vec![put("w/a", "1"), put("other", "1"), put("w/b", "1")]).await;
    let second = committed(store, vec![put("other", "2")]).await;
    let third = committed(store, vec![delete("w/a"), put("w/c", "3")]).await;
    // From the past: whole transactions, only what is below, in order.
    let mut early = store.watch("w/", start).await.unwrap();
    let mut late = store.watch("w/", second).await.unwrap();
    assert_eq!(next(&mut early).await, event(first, &[("w/a", Some("1")), ("w/b", Some("1"))]));
    for watch in [&mut early, &mut late] {
        assert_eq!(next(watch).await, event(third, &[("w/a", None), ("w/c", Some("3"))]));
    }
    // Live, and nothing in between.
    committed(store, vec![put("other", "3")]).await;
    let fifth = committed(store, vec![put("w/d", "5")]).await;
    for watch in [&mut early, &mut late] {
        assert_eq!(next(watch).await, event(fifth, &[("w/d", Some("5"))]));
    }
    // A wait that is given up loses nothing.
    assert!(tokio::time::timeout(Duration::from_millis(50), late.next()).await.is_err());
    let sixth = committed(store, vec![put("w/e", "6")]).await;
    assert_eq!(next(&mut late).await, event(sixth, &[("w/e", Some("6"))]));
}

/// More entries than one answer of etcd holds, all of one revision.
async fn pages(store: &dyn Store) {
    for batch in 0..12 {
        let writes = (0..100).map(|at| put(&format!("p/{batch:02}{at:02}"), "x")).collect();
        committed(store, writes).await;
    }
    let all = store.read("p/").await.unwrap();
    assert_eq!(all.entries.len(), 1_200);
    assert!(all.entries.is_sorted_by(|a, b| a.key < b.key));
    for (backwards, limit) in [(false, 0), (true, 0), (false, 700), (true, 700), (true, 3)] {
        let span = Span { from: "p/0050".to_owned(), to: "p/1100".to_owned(), limit, backwards };
        let mut wanted: Vec<_> = all.entries.iter().filter(|entry| span.holds(&entry.key)).cloned().collect();
        assert_eq!(wanted.len(), 1_050);
        if backwards {
            wanted.reverse();
        }
        wanted.truncate(if limit == 0 { usize::MAX } else { limit });
        assert_eq!(store.range(span.clone()).await.unwrap().entries, wanted, "{span:?}");
    }
}

/// Sixteen clients add to one number: every acknowledged addition is in it, and a watcher sees each value once, in order.
async fn races(store: Arc<dyn Store>) {
    committed(store.as_ref(), vec![put("r/n", "0")]).await;
    let start = store.read("r/").await.unwrap().revision;
    let mut watch = store.watch("r/", start).await.unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        clients.spawn(async move {
            for _ in 0..10 {
                loop {
                    let now = store.read("r/n").await.unwrap();
                    let number: u64 = shown(&now)[0].1.parse().unwrap();
                    let condition = compare("r/n", Some(now.entries[0].modified));
                    let write = put("r/n", &(number + 1).to_string());
                    if let Outcome::Committed(_) = commit(store.as_ref(), vec![condition], vec![write]).await {
                        break;
                    }
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(shown(&store.read("r/n").await.unwrap())[0].1, "160");
    for wanted in 1..=160 {
        let seen = next(&mut watch).await;
        assert_eq!(seen.changes[0].value.as_deref(), Some(wanted.to_string().as_bytes()));
    }
}

/// The same transactions as in the model in memory come to the same: outcomes, entries, and what was changed when.
async fn model(store: &dyn Store) {
    let mut memory = Memory::default();
    // Revisions of the model and of the store.
    let mut pairs: BTreeMap<Revision, Revision> = BTreeMap::new();
    let begin = store.read("m/").await.unwrap().revision;
    let mut random = 77_u64;
    let mut chance = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for turn in 0..300 {
        let (mut ours, mut theirs) = (Transaction::default(), Transaction::default());
        for _ in 0..chance(3) {
            let key = format!("m/{}", chance(6));
            let held = memory.read(&key).entries.first().map(|entry| entry.modified);
            let wanted = if chance(4) == 0 { pairs.keys().next().copied() } else { held };
            ours.compares.push(compare(&key, wanted));
            theirs.compares.push(compare(&key, wanted.map(|revision| pairs[&revision])));
        }
        for key in 0..6 {
            if chance(3) == 0 {
                let key = format!("m/{key}");
                let write = if chance(3) == 0 { delete(&key) } else { put(&key, &turn.to_string()) };
                ours.writes.push(write.clone());
                theirs.writes.push(write);
            }
        }
        let (wanted, found) = (memory.commit(&ours).unwrap(), store.commit(theirs).await.unwrap());
        match (wanted, found) {
            (Outcome::Committed(model), Outcome::Committed(real)) => {
                pairs.entry(model).or_insert(real);
            }
            (wanted, found) => assert_eq!(wanted, found, "turn {turn}"),
        }
    }
    assert!(pairs.len() > 100, "most of it changes something");
    let (wanted, found) = (memory.read("m/"), store.read("m/").await.unwrap());
    assert_eq!(shown(&wanted), shown(&found));
    for (model, real) in wanted.entries.iter().zip(&found.entries) {
        assert_eq!(pairs[&model.modified], real.modified, "{}", model.key);
    }
    let mut watch = store.watch("m/", begin).await.unwrap();
    for model in memory.events("m/", Revision(0)).unwrap() {
        assert_eq!(next(&mut watch).await, Event { revision: pairs[&model.revision], ..model });
    }
}

async fn compaction(store: &dyn Store) {
    let start = store.read("").await.unwrap().revision;
    let mut last = start;
    for value in 0..10 {
        last = committed(store, vec![put("c/a", &value.to_string())]).await;
    }
    let mut watch = store.watch("c/", last).await.unwrap();
    store.compact(last).await.unwrap();
    store.compact(last).await.unwrap();
    let gone = match store.watch("c/", start).await {
        Ok(mut watch) => tokio::time::timeout(LIMIT, watch.next()).await.expect("an answer comes").map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(gone, Err(StoreError::Compacted(_))), "{gone:?}");
    // Entries stay, and who was up to date hears on.
    assert_eq!(shown(&store.read("c/").await.unwrap()), [("c/a".to_owned(), "9".to_owned())]);
    let after = committed(store, vec![put("c/b", "1")]).await;
    assert_eq!(next(&mut watch).await, event(after, &[("c/b", Some("1"))]));
}
