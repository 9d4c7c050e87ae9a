//! Machines judged by routes: a server beside a daemon that this test plays, which says what a real one says.

use super::{LIMIT, Server};
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use weft_netboot::liveness::SETTLE;

/// Machines of the rack; one of them is less than a fifth.
const MACHINES: usize = 8;
/// Losses that are timed.
const TIMED: usize = 3;

/// The local daemon, as its API answers `/v1/watch/routes`.
struct Daemon {
    path: PathBuf,
    listener: UnixListener,
    watch: Option<UnixStream>,
}

impl Daemon {
    fn new(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        Self { path: path.to_owned(), listener: UnixListener::bind(path).unwrap(), watch: None }
    }

    /// Takes the next watcher, and tells it what is there.
    async fn begin(&mut self, there: impl IntoIterator<Item = usize>) {
        let (mut stream, _) = tokio::time::timeout(LIMIT, self.listener.accept()).await.unwrap().unwrap();
        let mut asked = [0; 1_024];
        let read = stream.read(&mut asked).await.unwrap();
        let head = String::from_utf8_lossy(&asked[..read]).into_owned();
        assert!(head.starts_with("GET /v1/watch/routes?within=10.69.0.0/16 "), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/jsonl\r\n\r\n").await.unwrap();
        self.watch = Some(stream);
        self.say(&json!({ "schema": "weft/v1", "node": "boot1", "watch": "routes" })).await;
        self.say(&json!({ "peers": { "configured": 2, "established": 2 } })).await;
        for at in there {
            self.path(at, true).await;
        }
        self.say(&json!({ "synced": true })).await;
    }

    async fn say(&mut self, line: &Value) {
        self.watch.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn path(&mut self, at: usize, there: bool) {
        let from: &[&str] = if there { &["tor1", "tor2"] } else { &[] };
        self.say(&json!({ "prefix": format!("10.69.0.{}/32", 4 + at), "from": from, "stale": false })).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn with_daemon(name: &str, rules: &Value) -> (Server, Daemon) {
    let mut server = Server::new(name);
    let daemon = Daemon::new(&server.path("weft.sock"));
    let mut rules = rules.clone();
    rules["daemon"] = json!(server.path("weft.sock"));
    let config = json!({ "store": { "embedded": server.path("inventory.redb") }, "socket": server.path("s"), "liveness": rules });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(MACHINES).await;
    (server, daemon)
}

async fn state(server: &Server, at: usize) -> (String, String, i64) {
    let (_, machine) = server.get(&format!("/v1/machines/m{at}")).await;
    let text = |key: &str| machine["state"][key].as_str().unwrap_or_default().to_owned();
    let since: jiff::Timestamp = text("since").parse().unwrap();
    (text("name"), text("reason"), since.as_millisecond())
}

async fn until_state(server: &Server, at: usize, wanted: &str) -> i64 {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (name, reason, since) = state(server, at).await;
        if name == wanted {
            return since;
        }
        assert!(Instant::now() < deadline, "m{at} is {name} ({reason}), not {wanted}; {}", server.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// When a machine came to a state after a time, by its history.
async fn became(server: &Server, at: usize, wanted: &str, after: i64) -> i64 {
    let (_, machine) = server.get(&format!("/v1/machines/m{at}")).await;
    let history = machine["history"].as_array().unwrap();
    let times = history.iter().filter(|passage| passage["to"] == wanted);
    let mut times =
        times.map(|passage| passage["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond());
    times.find(|time| *time >= after).unwrap_or_else(|| panic!("m{at} was never {wanted}: {machine}"))
}

fn wall() -> i64 {
    weft_netboot::io::service::now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_path_makes_suspect_at_once_and_unreachable_after_the_grace() {
    let (server, mut daemon) =
        with_daemon("paths", &json!({ "grace_s": 5, "mass_loss_window_s": 1, "hold_s": 0 })).await;
    daemon.begin(0..MACHINES).await;
    for at in 0..MACHINES {
        until_state(&server, at, "healthy").await;
    }
    let (mut suspect, mut unreachable) = (Vec::new(), Vec::new());
    for at in 0..TIMED {
        let lost = wall();
        daemon.path(at, false).await;
        unreachable.push(until_state(&server, at, "unreachable").await - lost);
        suspect.push(became(&server, at, "unhealthy", lost).await - lost);
        daemon.path(at, true).await;
        until_state(&server, at, "healthy").await;
    }
    println!(
        "path lost to suspect: {suspect:?} ms (of which {} ms are waited), to unreachable with a grace of 5000 ms: {unreachable:?} ms",
        SETTLE.as_millis()
    );
    assert!(unreachable.iter().all(|took| *took >= 5_000), "not before the grace is over");
    // Every change has its audit entry, of the watcher.
    let (_, audit) = server.get("/v1/audit?subject=m0").await;
    let said: Vec<String> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["who"].as_str().unwrap(), entry["action"].as_str().unwrap()))
        .collect();
    let wanted = [
        "liveness set state healthy",
        "liveness set state unreachable",
        "liveness set state unhealthy",
        "liveness set state healthy",
    ];
    assert_eq!(said[..4], wanted);
    let (code, table, _) = server.run(&["machines", "list", "serial=m0"]);
    assert!(code == 0 && table.contains("Evidence") && table.contains("2 paths"), "{table}");
    let (code, shown, _) = server.run(&["liveness", "show"]);
    assert!(
        code == 0 && shown.contains("this server changes states") && shown.contains("8 of 8 machines are well"),
        "{shown}"
    );
    let (status, metrics) = server.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(status == 200 && metrics.contains("weft_netboot_machines{state=\"healthy\"} 8"), "{metrics}");
    assert!(metrics.contains("weft_netboot_liveness{what=\"leads\"} 1"), "{metrics}");
}

/// A daemon that dies, and one that loses everything, mark nobody: what is missing may be its own fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_marks_nobody_and_a_loss_of_many_freezes() {
    let (server, mut daemon) =
        with_daemon("blind", &json!({ "grace_s": 1, "mass_loss_window_s": 1, "hold_s": 1 })).await;
    daemon.begin(0..MACHINES).await;
    for at in 0..MACHINES {
        until_state(&server, at, "healthy").await;
    }
    let status = async |wanted: &str| {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (_, status) = server.get("/v1/liveness").await;
            if status["view"] == wanted {
                return status;
            }
            assert!(Instant::now() < deadline, "{wanted}: {status}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    daemon.watch = None;
    let blind = status("blind").await;
    assert!(blind["why"].as_str().unwrap().contains("the daemon"), "{blind}");
    // It comes back with nothing at all, for longer than the grace: that is too much to be true.
    daemon.begin(0..0).await;
    status("clear").await;
    let deadline = Instant::now() + LIMIT;
    let frozen = loop {
        let (_, status) = server.get("/v1/liveness").await;
        if status["frozen_s"].as_u64().is_some_and(|seconds| seconds >= 2) {
            break status;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(frozen["lost"].as_array().map(Vec::len), Some(MACHINES), "{frozen}");
    for at in 0..MACHINES {
        let (name, reason, _) = state(&server, at).await;
        assert_eq!(name, "healthy", "m{at}: {reason}");
    }
    let (_, shown, _) = server.run(&["liveness", "show"]);
    assert!(shown.contains("FROZEN"), "{shown}");
    // All but one are back: that one is dead.
    for at in 1..MACHINES {
        daemon.path(at, true).await;
    }
    until_state(&server, 0, "unreachable").await;
    // Half of them go, and a person says that it is so.
    for at in 1..5 {
        daemon.path(at, false).await;
    }
    let deadline = Instant::now() + LIMIT;
    while server.get("/v1/liveness").await.1["frozen_s"].is_null() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (code, said, error) = server.run(&["liveness", "thaw"]);
    assert!(code == 0 && said.contains("states follow the routes again"), "{said}{error}");
    for at in 1..5 {
        until_state(&server, at, "unreachable").await;
    }
}
