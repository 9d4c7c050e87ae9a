//! kill -9, and a disk without room.

use super::{LIMIT, Server, ask};
use hyper::Method;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Machines that are changed at the same time.
const MACHINES: usize = 8;
/// How often the server is killed.
const KILLS: u64 = 5;

/// What each machine was told last, and what was acknowledged of it.
#[derive(Default)]
struct Told {
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let mut server = Server::with_plan("kill").await;
    server.register(MACHINES).await;
    let all: Arc<Vec<Told>> = Arc::new((0..MACHINES).map(|_| Told::default()).collect());
    let mut acknowledged = 0;
    for round in 1..=KILLS {
        let mut clients = tokio::task::JoinSet::new();
        for at in 0..MACHINES {
            let (target, all) = (server.target(), all.clone());
            clients.spawn(async move {
                let told = &all[at];
                loop {
                    let number = told.sent.fetch_add(1, Ordering::SeqCst) + 1;
                    let state = if number % 2 == 0 { "healthy" } else { "unhealthy" };
                    let body = json!({ "state": state, "reason": number.to_string() });
                    let said = target.ask(Method::PUT, &format!("/v1/machines/m{at}/state"), Some(&body)).await;
                    let Ok(said) = said else { return };
                    assert_eq!(said.status, 200, "{}", String::from_utf8_lossy(&said.body));
                    told.acknowledged.store(number, Ordering::SeqCst);
                }
            });
        }
        // A different moment each time: after so many more acknowledged changes.
        let wanted = acknowledged + 40 * round;
        let deadline = Instant::now() + LIMIT;
        let count = || all.iter().map(|told| told.acknowledged.load(Ordering::SeqCst)).sum::<u64>();
        while count() < wanted {
            assert!(Instant::now() < deadline, "{} of {wanted} acknowledged; {}", count(), server.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        server.start().await;
        for (at, told) in all.iter().enumerate() {
            let (_, machine) = server.get(&format!("/v1/machines/m{at}")).await;
            let held: u64 = machine["state"]["reason"].as_str().unwrap().parse().unwrap_or(0);
            let (least, most) = (told.acknowledged.load(Ordering::SeqCst), told.sent.load(Ordering::SeqCst));
            assert!((least..=most).contains(&held), "m{at}: {held} is stored, {least} were acknowledged, {most} sent");
            // No half change: the record and its audit entry are of one transaction.
            let (_, audit) = server.get(&format!("/v1/audit?subject=m{at}&limit=1")).await;
            assert_eq!(audit["entries"][0]["after"]["state"], machine["state"], "m{at}");
            // The next change is another state than the one that is stored.
            told.sent.store(held, Ordering::SeqCst);
            told.acknowledged.store(held, Ordering::SeqCst);
        }
        acknowledged = count();
    }
    println!("{acknowledged} changes acknowledged, {KILLS} times killed, none lost");
}

/// The file may not grow: changes fail with words, questions are answered, and when there is room again, so are changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_changes_and_nothing_else() {
    let mut server = Server::new("full");
    // In blocks of 512 octets; the signal that comes with the error is ignored, as a full disk sends none.
    server.limits = "trap '' XFSZ; ulimit -S -f 16384;";
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(20).await;
    let report = |size: usize| {
        let disk = |at: usize| json!({ "name": format!("sd{at}"), "bytes": 1, "model": "x".repeat(200), "serial": at.to_string() });
        json!({ "hardware": { "disks": (0..size).map(disk).collect::<Vec<_>>() } })
    };
    let deadline = Instant::now() + LIMIT;
    let mut stored = 0;
    let refused = loop {
        let at = stored % 20;
        // Different each time, or there is nothing to store.
        let (status, answer) =
            server.ask(Method::PUT, &format!("/v1/machines/m{at}/report"), &report(200 + stored / 20 % 2)).await;
        if status != 200 {
            break (status, answer);
        }
        stored += 1;
        assert!(Instant::now() < deadline, "the disk is not full after {stored} changes");
    };
    assert_eq!(refused.0, 503, "{refused:?}");
    assert_eq!(refused.1["error"]["kind"], "store-unavailable", "{refused:?}");
    println!("full after {stored} changes: {}", refused.1["error"]["message"]);
    let (status, machines) = server.get("/v1/machines").await;
    assert_eq!((status, machines["machines"].as_array().map(Vec::len)), (200, Some(20)));
    let unlimited = ["--pid", &server.id().to_string(), "--fsize=unlimited"];
    assert!(Command::new("prlimit").args(unlimited).status().unwrap().success());
    let works = async {
        while ask(&server.target(), Method::PUT, "/v1/machines/m0/report", &report(250)).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, works).await.expect("changes work again");
    server.kill();
    server.limits = "";
    server.start().await;
    let (_, machine) = server.get("/v1/machines/m0").await;
    assert_eq!(machine["hardware"]["disks"].as_array().map(Vec::len), Some(250));
    let (_, machine) = server.get("/v1/machines/m1").await;
    assert_ne!(machine["hardware"]["disks"], Value::Null);
}
