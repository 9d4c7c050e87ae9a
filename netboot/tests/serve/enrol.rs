//! Machines that nobody registered: over the open address, with certificates, and by the command line; ten thousand strangers.

use super::handshakes::figure;
use super::roles::{Authority, with_tls};
use super::{LIMIT, Server, ask};
use hyper::Method;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_netboot::io::client::Target;

const RULES: &str = "
- {name: ours, match: {vendor: weft*, vouched: true}, then: {accept: {role: cs, rack: 0, labels: {zone: x}}}}
- {name: rest, then: {hold: {role: cs, rack: 0}}}
";

/// A port for the open address, written into the configuration.
pub(super) fn open_door(server: &Server) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["enrol"] = format!("127.0.0.1:{port}").into();
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    port
}

fn ok(server: &Server, words: &[&str]) -> String {
    let (code, out, error) = server.run(words);
    assert_eq!(code, 0, "{words:?}: {error}");
    out
}

fn file(server: &Server, name: &str, text: &str) -> String {
    std::fs::write(server.path(name), text).unwrap();
    server.path(name).display().to_string()
}

/// As somebody does it who unpacks machines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_unknown_machine_to_one_with_addresses() {
    let mut server = Server::new("enrol");
    let open = format!("127.0.0.1:{}", open_door(&server));
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    assert_eq!(ok(&server, &["enrol", "list"]), "no machine waits\n");
    ok(&server, &["enrol", "rules", "set", &file(&server, "rules.yaml", RULES)]);
    assert!(ok(&server, &["enrol", "rules", "get"]).contains("name: ours"));
    let facts = "{serial: NEW1, ids: {macs: ['52-54-00-00-00-01']}, hardware: {vendor: weft, product: virtual}}";
    let new = file(&server, "new.yaml", facts);
    assert_eq!(
        ok(&server, &["enrol", "report", &new, "--open", &open]),
        "NEW1 is waiting\n",
        "strangers are told little"
    );
    let table = ok(&server, &["enrol", "list"]);
    let line = table.lines().nth(1).unwrap();
    assert!(line.starts_with("NEW1    -     weft virtual  127.0.0.1 (open)"), "{table}");
    assert!(line.ends_with("rest  cs    rule `rest` holds it until somebody accepts it"), "{table}");
    let listed: Value = serde_json::from_str(&ok(&server, &["-o", "json", "enrol", "list"])).unwrap();
    assert_eq!(listed["candidates"][0]["said"]["ids"]["macs"][0], "52:54:00:00:00:01");
    let query = "/graphql?query=%7Bcandidates%7Bserial%20vendor%20why%20rejected%7D%7D";
    let (_, answer) = server.get(query).await;
    assert_eq!(answer["data"]["candidates"][0]["vendor"], "weft", "{answer}");
    let shown = ok(&server, &["enrol", "accept", "NEW1", "--label", "zone=y"]);
    assert!(shown.contains("rack 0, index 4, role cs") && shown.contains("zone=y"), "{shown}");
    assert_eq!(ok(&server, &["enrol", "report", &new, "--open", &open]), "NEW1 is registered\n");
    // An operator vouches: here over the local socket.
    let second = file(&server, "second.yaml", "{serial: NEW2, hardware: {vendor: Weft Ltd}}");
    assert_eq!(ok(&server, &["enrol", "report", &second]), "NEW2 is accepted\n");
    // The same network card twice: it waits, and says why.
    let third = file(&server, "third.yaml", &facts.replace("NEW1", "NEW3"));
    assert!(ok(&server, &["enrol", "report", &third]).contains("is waiting: ids.macs: 52:54:00:00:00:01 is of NEW1"));
    let (code, _, error) = server.run(&["enrol", "accept", "NEW3"]);
    assert!(code == 1 && error.contains("ids.macs: 52:54:00:00:00:01 is of NEW1"), "{error}");
    ok(&server, &["enrol", "reject", "NEW3", "--reason", "cloned card"]);
    assert!(ok(&server, &["enrol", "list"]).contains("rejected by"));
    assert!(ok(&server, &["audit", "--subject", "NEW3"]).contains("reject candidate"));
    assert!(ok(&server, &["audit", "--subject", "NEW2"]).contains("enrol by rule ours"));
    ok(&server, &["enrol", "forget", "NEW3"]);
    assert_eq!(ok(&server, &["enrol", "list"]), "no machine waits\n");
    assert_eq!(figure(&server, "weft_netboot_enrol_reports_total{result=\"accepted\"}").await, 1);
    // At the open address there is nothing else.
    let stranger = Target::Open(open);
    for (method, path) in
        [(Method::GET, "/v1/machines"), (Method::GET, "/"), (Method::GET, "/v1/enrol"), (Method::POST, "/graphql")]
    {
        let (status, answer) = ask(&stranger, method, path, &Value::Null).await;
        assert_eq!((status, answer["error"]["kind"].as_str()), (403, Some("forbidden")), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_reports_itself_and_no_other() {
    let (server, ours, port) = with_tls("enrol-roles").await;
    for role in ["machine", "read", "operator"] {
        ours.client(role, &[&format!("spiffe://weft/weft/{role}/NEW1")]);
    }
    // The role of those without a certificate is none that one can have.
    ours.client("stranger", &["spiffe://weft/weft/stranger/NEW1"]);
    assert!(ours.target("stranger", port, &ours).ask(Method::GET, "/health", None).await.is_err());
    for (role, serial, status, is) in [
        ("machine", "NEW1", 200, "waiting"),
        ("machine", "NEW2", 403, ""),
        ("read", "NEW1", 403, ""),
        ("operator", "NEW2", 200, "waiting"),
        ("machine", "m0", 403, ""),
        ("operator", "m0", 200, "registered"),
    ] {
        let target = ours.target(role, port, &ours);
        let (found, answer) = ask(&target, Method::POST, "/v1/enrol", &json!({ "serial": serial })).await;
        assert_eq!((found, answer["is"].as_str().unwrap_or_default()), (status, is), "{role} {serial}: {answer}");
    }
    let rules = json!([{ "name": "a", "then": { "hold": { "role": "cs" } } }]);
    let (status, answer) = ask(&ours.target("operator", port, &ours), Method::PUT, "/v1/enrol/rules", &rules).await;
    assert_eq!(status, 403, "{answer}");
    let (status, answer) =
        ask(&ours.target("machine", port, &ours), Method::GET, "/v1/enrol/candidates", &Value::Null).await;
    assert_eq!(status, 403, "{answer}");
    drop(server);
}

/// One report from an address of this machine; the status, or 0 when the connection was ended.
async fn stranger(source: Ipv4Addr, port: u16, serial: String) -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    let Ok(mut stream) = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await else { return 0 };
    let body = json!({ "serial": serial, "hardware": { "cpu": "x".repeat(200) } }).to_string();
    let head =
        format!("POST /v1/enrol HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut answer = Vec::new();
    let _ = stream.write_all((head + &body).as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// Ten thousand reports from 250 addresses beside one client that is known, and beside his changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_strangers_cost_nobody_else_anything() {
    let (mut server, ours, port): (Server, Authority, u16) = with_tls("enrol-strangers").await;
    server.kill();
    let open = open_door(&server);
    server.start().await;
    ours.client("operator", &["spiffe://weft/weft/operator/somebody"]);
    let known = ours.target("operator", port, &ours);
    let audited = || async { server.get("/v1/audit?limit=1000").await.1["entries"].as_array().unwrap().len() };
    let before = audited().await;
    let (begin, mut times, mut statuses) =
        (Instant::now(), Vec::new(), std::collections::BTreeMap::<u16, usize>::new());
    let mut strangers = tokio::task::JoinSet::new();
    let (mut sent, mut changes) = (0_u32, 0);
    while sent < 10_000 || !strangers.is_empty() {
        while sent < 10_000 && strangers.len() < 64 {
            let source = Ipv4Addr::from(0x7f00_0102 + sent % 250);
            strangers.spawn(stranger(source, open, format!("S{sent}")));
            sent += 1;
        }
        while let Some(ended) = strangers.try_join_next() {
            *statuses.entry(ended.unwrap()).or_default() += 1;
        }
        let asked = Instant::now();
        let (status, answer) =
            ask(&known, Method::PATCH, "/v1/machines/m0/labels", &json!({ "set": { "turn": changes.to_string() } }))
                .await;
        assert_eq!(status, 200, "{answer}");
        times.push(asked.elapsed());
        changes += 1;
        assert!(begin.elapsed() < 3 * LIMIT, "{sent} sent, {changes} changes, {statuses:?}");
    }
    times.sort();
    println!(
        "10,000 reports of strangers from 250 addresses in {:?}: {statuses:?}; {changes} changes of a known client meanwhile, each with a handshake: median {:?}, p99 {:?}",
        begin.elapsed(),
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    assert_eq!(statuses.values().sum::<usize>(), 10_000);
    assert!(statuses.contains_key(&200) && statuses.contains_key(&429), "{statuses:?}");
    let listed = server.get("/v1/enrol/candidates").await.1["candidates"].as_array().unwrap().len();
    assert!((1..=512).contains(&listed), "{listed}");
    assert_eq!(audited().await, (before + changes).min(1_000), "strangers write nothing into the audit log");
    // And who comes to work with a machine finds it heard.
    let deadline = Instant::now() + LIMIT;
    while stranger(Ipv4Addr::LOCALHOST, open, "HONEST".to_owned()).await != 200 {
        assert!(Instant::now() < deadline, "an honest machine is never heard");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
