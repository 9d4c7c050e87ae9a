//! The embedded store: the promises of every store, and that its file holds what was acknowledged.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test helper fails by panicking, and waits with a deadline"
)]

mod clients;
mod contract;
mod history;
mod linear;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_netboot::io::embedded::Embedded;
use weft_netboot::store::{Outcome, Revision, Store, StoreError, Transaction, Write};

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weft-store-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("inventory.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(key: &str, value: &[u8]) -> Transaction {
    Transaction { compares: Vec::new(), writes: vec![Write { key: key.to_owned(), value: Some(value.into()) }] }
}

/// The writer's thread ends soon after the last handle is gone.
async fn reopened(path: &std::path::Path) -> Embedded {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Embedded::open(path) {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_every_store() {
    let folder = Folder::new("contract");
    contract::whole(Arc::new(Embedded::open(&folder.file()).unwrap())).await;
}

#[tokio::test]
async fn a_file_belongs_to_one_server() {
    let folder = Folder::new("twice");
    let _first = Embedded::open(&folder.file()).unwrap();
    let second = Embedded::open(&folder.file()).unwrap_err();
    assert!(second.to_string().contains("another process has it open"), "{second}");
    std::fs::write(folder.0.join("other"), [1; 10_000]).unwrap();
    assert!(Embedded::open(&folder.0.join("other")).is_err(), "no store at all");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let (before, revision) = {
        let store = Embedded::open(&folder.file()).unwrap();
        for at in 0..50 {
            store.commit(put(&format!("k{at}"), &[at])).await.unwrap();
        }
        let before = store.read("").await.unwrap();
        (before.clone(), before.revision)
    };
    let store = reopened(&folder.file()).await;
    assert_eq!(store.read("").await.unwrap(), before);
    let mut watch = store.watch("k4", Revision(0)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, Revision(5), "k4, k40 to k49");
    assert_eq!(store.commit(put("more", b"1")).await.unwrap(), Outcome::Committed(Revision(revision.0 + 1)));
}

/// A watcher that lags beyond the live channel reads the rest from the file; one beyond the log is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_misses_nothing() {
    let folder = Folder::new("slow");
    let store = Arc::new(Embedded::open(&folder.file()).unwrap());
    let mut slow = store.watch("k", Revision(0)).await.unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..64_u64 {
        let store = store.clone();
        clients.spawn(async move {
            for turn in 0..170_u64 {
                store.commit(put("k", &(client * 1_000 + turn).to_be_bytes())).await.unwrap();
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    // 10,880 changes: more than the live channel holds, and more than the log keeps.
    let lost = loop {
        match slow.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, StoreError::Compacted(_)), "{lost}");
    let mut slow = store.watch("k", Revision(5_000)).await.unwrap();
    for wanted in 5_001..=10_880 {
        assert_eq!(slow.next().await.unwrap().revision, Revision(wanted));
    }
}

/// The log of what happened is bounded in octets too: large transactions push old ones out.
#[tokio::test]
async fn large_changes_do_not_fill_the_disk() {
    let folder = Folder::new("large");
    let store = Embedded::open(&folder.file()).unwrap();
    for turn in 0..80 {
        store.commit(put("large", &vec![turn; 900_000])).await.unwrap();
    }
    let gone = store.watch("large", Revision(1)).await.map(drop);
    assert!(matches!(gone, Err(StoreError::Compacted(_))), "{gone:?}");
    let mut watch = store.watch("large", Revision(30)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, Revision(31));
    let size = std::fs::metadata(folder.file()).unwrap().len();
    assert!(size < 300_000_000, "{size} octets");
}
