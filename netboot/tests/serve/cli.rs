//! The command line, from an empty store to configurations of the fabric.

use super::{LIMIT, Server, run};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

const MACHINES: &str = "
- {serial: B0, name: boot1, rack: 0, role: boot}
- {serial: N1, name: node1, rack: 0, role: cs, labels: {zone: x}, ids: {macs: ['52-54-00-00-00-01']}}
- {serial: N2, name: node2, rack: 0, role: cs}
";

const PLAN: &str = "
asn: {per_rack: {base: 64600}}
switches:
  tor1:
    rack: 0
    network: 1
    addresses: [10.69.255.1/32]
    uplinks: {spine1: {asn: 64599, address: 10.72.1.0}, spine2: {asn: 64599, address: 10.72.1.8}}
announce: {boot: [10.72.48.0/24 ge 32], cs: [10.72.32.0/20 ge 32]}
";

fn ok(server: &Server, words: &[&str]) -> String {
    let (code, out, error) = server.run(words);
    assert_eq!(code, 0, "{words:?}: {error}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_configurations() {
    let server = Server::with_plan("cli").await;
    let write = |name: &str, text: &str| {
        std::fs::write(server.path(name), text).unwrap();
        server.path(name).display().to_string()
    };
    let table = ok(&server, &["machines", "register", &write("machines.yaml", MACHINES)]);
    assert!(table.lines().nth(2).unwrap().starts_with("N1      node1  0     4      cs    uninitialized"), "{table}");
    ok(&server, &["plan", "set", &write("plan.yaml", PLAN)]);
    assert_eq!(
        ok(&server, &["machines", "set-state", "N1", "healthy", "--reason", "seen"]).matches("▸ healthy").count(),
        1
    );
    let queried = ok(&server, &["machines", "list", "rack=0", "without-state=uninitialized", "labels=zone=x"]);
    assert_eq!(queried.lines().count(), 2, "{queried}");
    assert!(queried.contains("10.69.0.4  10.72.17.4  seen"), "{queried}");
    // The switch of the lab `two-racks`, from the inventory, read by the daemon.
    let text = ok(&server, &["fabric", "config", "tor1"]);
    let generated = weft_fabric::config::parse("tor1", &text).unwrap();
    generated.node().unwrap();
    assert!(text.contains("{match: {peer: 10.69.0.68, prefix: node1}, then: accept}"), "{text}");
    let host = ok(&server, &["fabric", "config", "node1"]);
    weft_fabric::config::parse("node1", &host).and_then(|config| config.node()).unwrap();
    let explained = ok(&server, &["ipam", "explain", "10.69.0.68"]);
    assert_eq!(explained, "10.69.0.68 is network 1 of rack 0, index 4: node1 (N1), healthy\n");
    let audit = ok(&server, &["audit", "--subject", "N1"]);
    assert!(audit.contains("set state healthy  N1       state: uninitialized ▸ healthy"), "{audit}");
    // The same in the forms of programs.
    let json: serde_json::Value =
        serde_json::from_str(&ok(&server, &["-o", "json", "machines", "show", "N1"])).unwrap();
    assert_eq!(json["ids"]["macs"][0], "52:54:00:00:00:01");
    assert!(ok(&server, &["-o", "yaml", "machines", "show", "N1"]).contains("serial: N1"));
    assert!(ok(&server, &["ipam", "get"]).contains("prefix: 10.69.0.0/16"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_says_what_to_do() {
    let server = Server::with_plan("wrong").await;
    server.register(1).await;
    for (words, code, says) in [
        (vec!["machines", "show", "nobody"], 1, "there is no machine `nobody`"),
        (
            vec!["machines", "set-state", "m0", "retired"],
            1,
            "from uninitialized a machine can become healthy, unhealthy, unreachable, retiring",
        ),
        (vec!["machines", "set-state", "m0", "broken"], 2, "write one of uninitialized, healthy"),
        (vec!["machines", "list", "rak=0"], 1, "did you mean `rack`?"),
        (vec!["machines", "list", "rack"], 1, "write KEY=VALUE"),
        (vec!["machines", "remove", "m0"], 1, "only a retired machine can be removed"),
        (vec!["machines", "label", "m0", "zone=a b"], 1, "labels.zone: `a b` is no word"),
        (vec!["plan", "get"], 1, "`weft-netboot plan set FILE`"),
        (vec!["fabric", "config", "tor1"], 1, "`weft-netboot plan set FILE`"),
        (vec!["--server", "localhost:1", "machines", "list"], 1, "--server needs --ca, --cert and --key"),
    ] {
        let (found, _, error) = server.run(&words);
        assert_eq!(found, code, "{words:?}: {error}");
        assert!(error.contains(says), "{words:?}: {error}");
    }
    let (code, _, error) = run(&server.path("none"), &["machines", "list"]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("is `weft-netboot serve` running?"), "{error}");
    let (code, script, _) = server.run(&["completions", "bash"]);
    assert!(code == 0 && script.contains("weft-netboot"));
    std::fs::write(server.path("bad.yaml"), "store: {embedded: x}\nsocker: y\n").unwrap();
    let (code, _, error) = server.run(&["check", "--config", &server.path("bad.yaml").display().to_string()]);
    assert!(code == 1 && error.contains("bad.yaml:2:1: socker"), "{error}");
}

/// What one store holds another takes, and nothing is different afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_into_another() {
    let mut server = Server::with_plan("export").await;
    server.register(28).await;
    let before = server.get("/v1/machines").await.1;
    let (config, file) =
        (server.path("netboot.yaml").display().to_string(), server.path("all.jsonl").display().to_string());
    let (code, _, error) = server.run(&["store", "export", "--config", &config, &file]);
    assert!(code == 1 && error.contains("another process has it open"), "{error}");
    server.kill();
    ok(&server, &["store", "export", "--config", &config, &file]);
    let (code, _, error) = server.run(&["store", "import", "--config", &config, &file]);
    assert!(code == 1 && error.contains("is not empty"), "{error}");
    std::fs::remove_file(server.path("inventory.redb")).unwrap();
    ok(&server, &["store", "import", "--config", &config, &file]);
    server.start().await;
    assert_eq!(server.get("/v1/machines").await.1["machines"], before["machines"]);
    // Once more, from store to store.
    server.kill();
    let to = server.path("to.yaml").display().to_string();
    let new = serde_json::json!({ "store": { "embedded": server.path("new.redb") } });
    std::fs::write(&to, new.to_string()).unwrap();
    let said = ok(&server, &["store", "migrate", "--config", &config, "--to", &to]);
    assert!(said.contains("read back and compared"), "{said}");
    let (code, _, error) = server.run(&["store", "migrate", "--config", &config, "--to", &to]);
    assert!(code == 1 && error.contains("is not empty"), "{error}");
    let (code, _, error) = server.run(&["store", "migrate", "--config", &config, "--to", &config]);
    assert!(code == 1 && error.contains("name the same store"), "{error}");
    std::fs::rename(server.path("new.redb"), server.path("inventory.redb")).unwrap();
    server.start().await;
    assert_eq!(server.get("/v1/machines").await.1["machines"], before["machines"]);
    // And goes on: places and audit entries are as they were.
    let more = serde_json::json!([{ "serial": "more", "rack": 0, "role": "cs" }]);
    let (status, answer) = server.ask(hyper::Method::POST, "/v1/machines", &more).await;
    assert!(status == 409 && answer["error"]["message"] == "rack 0 is full", "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_prints_a_line_for_each_change() {
    let server = Server::with_plan("watch").await;
    server.register(1).await;
    let since = server.get("/v1/machines").await.1["revision"].to_string();
    let mut child = Command::new(super::BINARY)
        .arg("--socket")
        .arg(server.path("s"))
        .args(["machines", "watch", "--since", &since])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ok(&server, &["machines", "set-state", "m0", "healthy"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = Instant::now();
    let first = lines.map_while(Result::ok).next().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(started.elapsed() < LIMIT);
    let line: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((line["serial"].as_str(), line["machine"]["state"]["name"].as_str()), (Some("m0"), Some("healthy")));
}
