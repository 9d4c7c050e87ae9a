//! etcd as a store: the promises of every store against a real etcd, which this test starts, and what happens when it dies. Needs the
//! program `etcd` (Debian: `etcd-server`): a stage of its own, which installs it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a test helper fails by panicking, and waits with a deadline"
)]

#[path = "../store/contract.rs"]
mod contract;
mod history;
mod power;
mod servers;
mod tls;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use weft_netboot::io::etcd::{Etcd, Settings};
use weft_netboot::store::{Outcome, Store, StoreError, Transaction, Write};

/// Longest wait for a member or a cluster to come up, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// One cluster at a time: a member that waits for a busy disk is given up by the others.
static TURN: Mutex<()> = Mutex::new(());

/// Members of a cluster on this machine.
struct Cluster {
    _turn: MutexGuard<'static, ()>,
    folder: PathBuf,
    ports: Vec<(u16, u16)>,
    members: Vec<Option<Child>>,
    /// Further options of each member.
    more: Vec<String>,
    /// How clients speak to them.
    scheme: &'static str,
}

impl Cluster {
    fn start(name: &str, count: usize) -> Self {
        let mut cluster = Self::new(name, count);
        for member in 0..count {
            cluster.run(member);
        }
        cluster
    }

    /// One whose members do not run yet.
    fn new(name: &str, count: usize) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("weft-etcd-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // Held together, so that no port is given twice.
        let held: Vec<TcpListener> = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let all: Vec<u16> = held.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        drop(held);
        let ports = all.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let members = (0..count).map(|_| None).collect();
        Self { _turn: turn, folder, ports, members, more: Vec::new(), scheme: "http" }
    }

    fn run(&mut self, member: usize) {
        let (client, peer) = self.ports[member];
        let peers: Vec<String> =
            self.ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://127.0.0.1:{peer}")).collect();
        let log = std::fs::File::create(self.folder.join(format!("m{member}.log"))).unwrap();
        let started = Command::new("etcd")
            .args(["--name", &format!("m{member}")])
            .args(["--data-dir", &self.folder.join(format!("m{member}")).display().to_string()])
            .args(["--listen-client-urls", &format!("{}://127.0.0.1:{client}", self.scheme)])
            .args(["--advertise-client-urls", &format!("{}://127.0.0.1:{client}", self.scheme)])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-cluster", &peers.join(",")])
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.members[member] = Some(started.expect("the program `etcd` runs: apt-get install etcd-server"));
    }

    fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.client())
    }

    fn client(&self) -> Etcd {
        let endpoints = self.ports.iter().map(|(client, _)| format!("http://127.0.0.1:{client}")).collect();
        Etcd::new(&Settings { endpoints, prefix: "/weft".to_owned(), ..Settings::default() }).unwrap()
    }

    /// The store, once a transaction works.
    async fn ready(&self) -> Arc<dyn Store> {
        let store = self.store();
        until("the cluster answers", || {
            let store = store.clone();
            async move { store.commit(put("ready", b"1")).await.is_ok() }
        })
        .await;
        store
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {} s", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn put(key: &str, value: &[u8]) -> Transaction {
    Transaction { compares: Vec::new(), writes: vec![Write { key: key.to_owned(), value: Some(value.into()) }] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_every_store() {
    let cluster = Cluster::start("contract", 1);
    contract::whole(cluster.ready().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_in_the_same_etcd_are_not_seen() {
    let cluster = Cluster::start("prefix", 1);
    let ours = cluster.ready().await;
    let endpoints = vec![format!("http://127.0.0.1:{}", cluster.ports[0].0)];
    let others = Etcd::new(&Settings { endpoints, prefix: "/weft0".to_owned(), ..Settings::default() }).unwrap();
    others.commit(put("a", b"1")).await.unwrap();
    let keys: Vec<String> = ours.read("").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["ready"]);
    assert_eq!(others.read("").await.unwrap().entries.len(), 1);
}

/// kill -9 of the member that is being written to: what was acknowledged is there, and the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_members_die() {
    let mut cluster = Cluster::start("dies", 3);
    let store = cluster.ready().await;
    let mut acknowledged = Vec::new();
    for turn in 0..60_u32 {
        if turn % 20 == 10 {
            cluster.kill(usize::try_from(turn / 20).unwrap());
        }
        if turn % 20 == 19 {
            cluster.run(usize::try_from(turn / 20).unwrap());
        }
        let key = format!("n{turn:03}");
        // Writes of the same value: it does not matter when an unknown one is done as well.
        until("a write is acknowledged", || {
            let (store, key) = (store.clone(), key.clone());
            async move { matches!(store.commit(put(&key, b"1")).await, Ok(Outcome::Committed(_))) }
        })
        .await;
        acknowledged.push(key);
    }
    let held = store.read("n").await.unwrap();
    let keys: Vec<String> = held.entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, acknowledged);
}

/// Two of three are gone: writes fail with words, and nothing hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_writes_fail_clearly() {
    let mut cluster = Cluster::start("quorum", 3);
    let store = cluster.ready().await;
    cluster.kill(1);
    cluster.kill(2);
    until("a write fails", || {
        let store = store.clone();
        async move {
            let answer = tokio::time::timeout(LIMIT, store.commit(put("x", b"1"))).await.expect("an answer comes");
            matches!(answer, Err(StoreError::Unknown(_) | StoreError::Unavailable(_)))
        }
    })
    .await;
    cluster.run(1);
    until("and works again", || {
        let store = store.clone();
        async move { store.commit(put("x", b"2")).await.is_ok() }
    })
    .await;
}

/// Every member dies at once, as when the power goes: a watcher hears the end, and begins anew where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_etcd_and_goes_on_where_it_was() {
    let mut cluster = Cluster::start("watch", 3);
    let store = cluster.ready().await;
    let start = store.read("").await.unwrap().revision;
    let mut watch = store.watch("w/", start).await.unwrap();
    store.commit(put("w/a", b"1")).await.unwrap();
    let first = tokio::time::timeout(LIMIT, watch.next()).await.unwrap().unwrap();
    (0..3).for_each(|member| cluster.kill(member));
    let ended = tokio::time::timeout(LIMIT, watch.next()).await.expect("the end is heard");
    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    (0..3).for_each(|member| cluster.run(member));
    until("a write works", || {
        let store = store.clone();
        async move { store.commit(put("w/b", b"1")).await.is_ok() }
    })
    .await;
    let mut again = store.watch("w/", first.revision).await.unwrap();
    let second = tokio::time::timeout(LIMIT, again.next()).await.unwrap().unwrap();
    assert_eq!(second.changes[0].key, "w/b");
}
