//! Ten thousand machines: how long questions and changes take, and what the server weighs. Printed; what is asserted is that all of it is
//! right. `cargo test --release -p weft-netboot --test serve figures -- --nocapture` gives the figures of `docs/figures.md`.

use super::{LIMIT, Server, ask};
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Racks of 28 machines.
const RACKS: usize = 340;
/// 9,520 and a boot server for each rack: 9,860.
const MACHINES: usize = RACKS * 29;
/// Clients that change states at the same time.
const CLIENTS: usize = 64;
/// Changes of each.
const CHANGES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_machines() {
    let server = Server::with_plan("figures").await;
    let all: Vec<Value> = (0..RACKS)
        .flat_map(|rack| (0..29).map(move |at| (rack, at)))
        .map(|(rack, at)| {
            let role = if at == 0 { "boot" } else { "cs" };
            json!({ "serial": format!("s{rack:03}{at:02}"), "rack": rack, "role": role, "labels": { "zone": format!("z{}", rack % 7) } })
        })
        .collect();
    let begin = Instant::now();
    for part in all.chunks(58) {
        let (status, answer) = server.ask(Method::POST, "/v1/machines", &json!(part)).await;
        assert_eq!(status, 201, "{answer}");
    }
    println!("{MACHINES} machines registered in {:?}", begin.elapsed());
    let mut times = Vec::new();
    for turn in 0..200 {
        let rack = turn % RACKS;
        let begin = Instant::now();
        let (status, answer) = server.get(&format!("/v1/machines?rack={rack}&labels=zone%3Dz{}", rack % 7)).await;
        times.push(begin.elapsed());
        assert_eq!((status, answer["machines"].as_array().map(Vec::len)), (200, Some(29)));
    }
    times.sort();
    println!("query by label and rack: median {:?}, p99 {:?}", times[100], times[197]);
    graphql(&server).await;
    changes(&server).await;
    println!("resident: {} MB", resident(server.id()) / 1_000);
    let begin = Instant::now();
    let query = "{ searchMachines { spec { serial labels { name value } rack ipv4 } status { state } } }";
    let (_, answer) = server.ask(Method::POST, "/graphql", &json!({ "query": query })).await;
    assert_eq!(answer["data"]["searchMachines"].as_array().map(Vec::len), Some(MACHINES));
    println!(
        "every machine in one answer of GraphQL: {:?}, resident then: {} MB",
        begin.elapsed(),
        resident(server.id()) / 1_000
    );
}

async fn graphql(server: &Server) {
    let query = "query s($rack: Int!, $zone: String!) {
        searchMachines(having: { racks: [$rack], labels: [{ name: \"zone\", value: $zone }] }) {
            spec { serial labels { name value } rack indexInRack role ipv4 bmc { bmcType ipv4 } } status { state timestamp duration }
        }
    }";
    let mut times = Vec::new();
    for turn in 0..200 {
        let body =
            json!({ "query": query, "variables": { "rack": turn % RACKS, "zone": format!("z{}", turn % RACKS % 7) } });
        let begin = Instant::now();
        let (status, answer) = server.ask(Method::POST, "/graphql", &body).await;
        times.push(begin.elapsed());
        assert_eq!((status, answer["data"]["searchMachines"].as_array().map(Vec::len)), (200, Some(29)), "{answer}");
    }
    times.sort();
    println!("the same over GraphQL: median {:?}, p99 {:?}", times[100], times[197]);
}

async fn changes(server: &Server) {
    let mut clients = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for client in 0..CLIENTS {
        let target = server.target();
        clients.spawn(async move {
            for turn in 0..CHANGES {
                let state = if turn % 2 == 0 { "healthy" } else { "unhealthy" };
                let path = format!("/v1/machines/s{client:03}05/state");
                let (status, answer) = ask(&target, Method::PUT, &path, &json!({ "state": state })).await;
                assert_eq!(status, 200, "{answer}");
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let took = begin.elapsed();
    assert!(took < LIMIT);
    let rate = f64::from(u32::try_from(CLIENTS * CHANGES).unwrap()) / took.max(Duration::from_millis(1)).as_secs_f64();
    println!("{} state changes by {CLIENTS} clients in {took:?}: {rate:.0} per second", CLIENTS * CHANGES);
}

/// Kilobytes of a process in memory.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
