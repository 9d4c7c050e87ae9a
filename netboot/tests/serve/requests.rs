//! Requests: refusals name field and rule, bounds hold, many at once come through; and Sabakan's clients get what they know.

use super::{LIMIT, Server};
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_field_and_rule() {
    let server = Server::with_plan("refusals").await;
    server.register(2).await;
    let before = server.get("/v1/machines").await;
    for (method, path, body, status, field) in [
        (Method::POST, "/v1/machines", json!([{ "serial": "a", "rack": 0 }]), 400, "[0]"),
        (Method::POST, "/v1/machines", json!([{ "serial": "a", "rack": "0", "role": "cs" }]), 400, "[0].rack"),
        (Method::POST, "/v1/machines", json!([{ "serial": "a", "rack": 0, "role": "cs", "rak": 1 }]), 400, "[0].rak"),
        (Method::POST, "/v1/machines", json!([{ "serial": "m0", "rack": 0, "role": "cs" }]), 409, "[0].serial"),
        (Method::POST, "/v1/machines", json!({}), 400, ""),
        (Method::PUT, "/v1/machines/m0/state", json!({ "state": "updating" }), 409, "state"),
        (Method::PUT, "/v1/machines/m0/state", json!({ "state": "fine" }), 400, "state"),
        (Method::PUT, "/v1/machines/m0/state", json!({ "state": "healthy", "reason": "x".repeat(300) }), 400, "reason"),
        (Method::PUT, "/v1/machines/x/state", json!({ "state": "healthy" }), 404, ""),
        (Method::DELETE, "/v1/machines/m0", Value::Null, 409, "state"),
        (Method::PUT, "/v1/machines/m0/announces", json!(["10.0.0.1/8"]), 400, "[0]"),
        (
            Method::PUT,
            "/v1/ipam",
            json!({ "max_nodes_in_rack": 0, "node_index_offset": 3, "node_networks": 3, "node": [] }),
            400,
            "max_nodes_in_rack",
        ),
        (Method::GET, "/v1/machines?rack=x", Value::Null, 400, "rack"),
        (Method::GET, "/v1/machines?limit=x", Value::Null, 400, "limit"),
        (Method::GET, "/v1/audit?sins=1", Value::Null, 400, "sins"),
        (Method::GET, "/v1/machines/%ff", Value::Null, 400, ""),
        (Method::PATCH, "/v1/ipam", Value::Null, 405, ""),
        (Method::GET, "/v1/nothing", Value::Null, 404, ""),
    ] {
        let (found, answer) = server.ask(method.clone(), path, &body).await;
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
        assert_eq!(answer["error"]["field"], field, "{method} {path} {body}: {answer}");
        assert!(!answer["error"]["rule"].as_str().unwrap_or_default().is_empty(), "{answer}");
    }
    assert_eq!(server.get("/v1/machines").await, before, "a refusal changes nothing");
}

/// Octets on a connection of its own, and what comes back.
async fn raw(server: &Server, octets: &[u8]) -> String {
    let mut stream = tokio::net::UnixStream::connect(server.path("s")).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(octets).await;
    let mut answer = vec![0; 4_096];
    let count = tokio::time::timeout(LIMIT, stream.read(&mut answer)).await.expect("an answer or the end").unwrap_or(0);
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_hold() {
    let server = Server::with_plan("bounds").await;
    let said = server.target().ask(Method::POST, "/v1/machines", Some(&json!("x".repeat(1_500_000)))).await;
    // The answer may be lost with the connection, because the rest of the body is not read.
    if let Ok(said) = said {
        assert_eq!(said.status, 413);
    }
    let many: Vec<Value> = (0..61).map(|at| json!({ "serial": format!("m{at}"), "rack": 0, "role": "cs" })).collect();
    assert_eq!(server.ask(Method::POST, "/v1/machines", &json!(many)).await.0, 413);
    assert!(raw(&server, b"nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000));
    let answer = raw(&server, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    for body in ["", "{", "[1e999]", "\u{0}", "[[[[[[[[[["] {
        let request = format!("POST /v1/machines HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert!(raw(&server, request.as_bytes()).await.starts_with("HTTP/1.1 400"), "{body:?}");
    }
    let deep = "[".repeat(100_000);
    let request = format!("POST /v1/machines HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{deep}", deep.len());
    assert!(raw(&server, request.as_bytes()).await.starts_with("HTTP/1.1 400"));
    assert_eq!(server.get("/health").await.0, 200);
}

/// 64 clients change the same machine: each change is one step of its history, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_change_the_same_machine() {
    let server = Server::with_plan("many").await;
    server.register(1).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..64 {
        let target = server.target();
        clients.spawn(async move {
            let body = json!({ "set": { format!("client{client}"): "x" } });
            super::ask(&target, Method::PATCH, "/v1/machines/m0/labels", &body).await
        });
    }
    while let Some(ended) = clients.join_next().await {
        let (status, answer) = ended.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    let (_, machine) = server.get("/v1/machines/m0").await;
    assert_eq!(machine["labels"].as_object().map(serde_json::Map::len), Some(64));
    let (status, answer) =
        server.ask(Method::PATCH, "/v1/machines/m0/labels", &json!({ "set": { "more": "x" } })).await;
    assert_eq!((status, answer["error"]["rule"].as_str()), (413, Some("at most 64")));
}

/// A hundred watchers see every change, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watchers_see_every_change() {
    const CHANGES: u64 = 20;
    let server = Server::with_plan("watchers").await;
    server.register(1).await;
    let since = server.get("/v1/machines").await.1["revision"].as_u64().unwrap();
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut stream = tokio::net::UnixStream::connect(server.path("s")).await.unwrap();
        let request = format!("GET /v1/watch/machines?since={since} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        watchers.spawn(async move {
            let (mut text, mut part, mut seen) = (String::new(), vec![0; 65_536], Vec::new());
            let deadline = Instant::now() + LIMIT;
            while seen.len() < usize::try_from(CHANGES).unwrap() {
                let left = deadline.saturating_duration_since(Instant::now());
                let count = tokio::time::timeout(left, stream.read(&mut part)).await.expect("changes come").unwrap();
                let now = Instant::now();
                text.push_str(&String::from_utf8_lossy(&part[..count]));
                let known = seen.len();
                for number in known.. {
                    if !text.contains(&format!("\"reason\":\"n{number}\",\"by\"")) {
                        break;
                    }
                    seen.push(now);
                }
            }
            seen
        });
    }
    let mut stored = Vec::new();
    for number in 0..CHANGES {
        let state = if number % 2 == 0 { "healthy" } else { "unhealthy" };
        let before = Instant::now();
        let (status, _) = server
            .ask(Method::PUT, "/v1/machines/m0/state", &json!({ "state": state, "reason": format!("n{number}") }))
            .await;
        assert_eq!(status, 200);
        stored.push(before);
    }
    let mut delays: Vec<Duration> = Vec::new();
    while let Some(ended) = watchers.join_next().await {
        let seen = ended.unwrap();
        delays.extend(seen.iter().zip(&stored).map(|(seen, stored)| seen.saturating_duration_since(*stored)));
    }
    delays.sort();
    println!(
        "request to seen by 100 watchers: median {:?}, p99 {:?}",
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100]
    );
}

/// neco.md §1.3: Sabakan's routes, forms and status codes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_sabakan_find_what_they_know() {
    let mut server = Server::new("sabakan");
    server.start().await;
    let ipam = json!({
        "max-nodes-in-rack": 28, "node-ipv4-pool": "10.69.0.0/16", "node-ipv4-range-size": 6,
        "node-ipv4-range-mask": 26, "node-ip-per-node": 3, "node-index-offset": 3, "node-gateway-offset": 1,
        "bmc-ipv4-pool": "10.72.16.0/20", "bmc-ipv4-offset": "0.0.1.0", "bmc-ipv4-range-size": 5,
        "bmc-ipv4-range-mask": 20, "bmc-ipv4-gateway-offset": 1
    });
    assert_eq!(server.get("/api/v1/config/ipam").await.0, 404);
    assert_eq!(server.ask(Method::PUT, "/api/v1/config/ipam", &ipam).await.0, 200);
    assert_eq!(server.get("/api/v1/config/ipam").await, (200, ipam));
    let dhcp = json!({ "lease-minutes": 30, "dns-servers": ["10.0.0.53"], "gateway-offset": 1 });
    assert_eq!(server.ask(Method::PUT, "/api/v1/config/dhcp", &dhcp).await.0, 200);
    assert_eq!(server.get("/api/v1/config/dhcp").await.1, json!({ "lease-minutes": 30, "dns-servers": ["10.0.0.53"] }));
    let machines = json!([
        { "serial": "boot", "labels": { "machine-type": "boot" }, "rack": 1, "role": "boot", "bmc": { "type": "IPMI-2.0" } },
        { "serial": "node", "labels": { "machine-type": "qemu", "datacenter": "dc1" }, "rack": 1, "role": "cs", "bmc": { "type": "Redfish" } }
    ]);
    assert_eq!(server.ask(Method::POST, "/api/v1/machines", &machines).await.0, 201);
    assert_eq!(server.ask(Method::POST, "/api/v1/machines", &machines).await.0, 409, "a serial number again");
    let second = json!([{ "serial": "boot2", "rack": 1, "role": "boot", "bmc": { "type": "Redfish" } }]);
    assert_eq!(server.ask(Method::POST, "/api/v1/machines", &second).await.0, 409, "a second boot server");
    let role = json!([{ "serial": "x", "rack": 1, "role": "c s", "bmc": { "type": "Redfish" } }]);
    assert_eq!(server.ask(Method::POST, "/api/v1/machines", &role).await.0, 400, "a role that is none");
    for (query, wanted) in [
        ("", vec!["boot", "node"]),
        ("serial=node", vec!["node"]),
        ("labels=machine-type%3Dqemu,datacenter=dc1", vec!["node"]),
        ("rack=1&role=boot", vec!["boot"]),
        ("ipv4=10.69.1.4", vec!["node"]),
        ("bmc-type=IPMI-2.0", vec!["boot"]),
        ("without-role=boot&state=uninitialized", vec!["node"]),
    ] {
        let (status, answer) = server.get(&format!("/api/v1/machines?{query}")).await;
        let found: Vec<&str> =
            answer.as_array().unwrap().iter().map(|machine| machine["spec"]["serial"].as_str().unwrap()).collect();
        assert_eq!((status, found), (200, wanted), "{query}");
    }
    assert_eq!(server.get("/api/v1/machines?rack=7").await.0, 404);
    assert_eq!(server.get("/api/v1/state/node").await.1, "uninitialized");
    for (state, status) in [("healthy", 200), ("fine", 400), ("retired", 500), ("retiring", 200), ("retired", 200)] {
        assert_eq!(server.text(Method::PUT, "/api/v1/state/node", state).await, status, "{state}");
    }
    assert_eq!(server.text(Method::PUT, "/api/v1/state/none", "healthy").await, 404);
    assert_eq!(server.text(Method::PUT, "/api/v1/labels/boot/zone", "x").await, 200);
    assert_eq!(server.text(Method::PUT, "/api/v1/labels/boot/zone", "x y").await, 400);
    assert_eq!(server.text(Method::DELETE, "/api/v1/labels/boot/zone", "").await, 200);
    assert_eq!(server.text(Method::DELETE, "/api/v1/labels/boot/zone", "").await, 404);
    assert_eq!(server.text(Method::PUT, "/api/v1/retire-date/boot", "2030-01-31T00:00:00Z").await, 200);
    assert_eq!(server.text(Method::PUT, "/api/v1/retire-date/boot", "soon").await, 400);
    assert_eq!(server.text(Method::DELETE, "/api/v1/machines/boot", "").await, 500, "not retired");
    assert_eq!(server.text(Method::DELETE, "/api/v1/machines/node", "").await, 200);
    let (status, logs) = server.get("/api/v1/logs?since=20000101").await;
    let logs = logs.as_str().unwrap();
    assert_eq!(status, 200);
    assert!(logs.lines().last().unwrap().contains(r#""action":"remove""#), "{logs}");
    assert!(logs.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["rev"].is_string()));
}

impl Server {
    /// A request whose body is text; its status.
    async fn text(&self, method: Method, path: &str, body: &str) -> u16 {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(self, head.as_bytes()).await;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}
