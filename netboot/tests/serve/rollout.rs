//! Canaries: some machines first, then all, or the way back; by people, and by the server itself.

use super::boot::{http, ok, with_boot, with_image};
use super::handshakes::figure;
use super::{LIMIT, Server};
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Six healthy machines that boot `a`, and an image `b`.
async fn with_machines(name: &str) -> (Server, u16) {
    let (server, port) = with_boot(name).await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(6).await;
    for at in 0..6 {
        state(&server, at, "healthy").await;
    }
    with_image(&server);
    let file = server.path("vmlinuz").display().to_string();
    ok(&server, &["image", "add", "b", "--kernel", &file]);
    ok(&server, &["image", "pin", "a", "--role", "cs"]);
    (server, port)
}

async fn state(server: &Server, at: usize, state: &str) {
    let body = json!({ "state": state, "reason": "the test says so" });
    let (status, answer) = server.ask(Method::PUT, &format!("/v1/machines/m{at}/state"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn boots(port: u16, at: usize) -> String {
    let script = http(port, &format!("GET /boot/script?serial=m{at}"), "").await.text();
    let line = script.lines().find_map(|line| line.strip_prefix("echo weft: ")).unwrap();
    line.rsplit_once("boots ").unwrap().1.to_owned()
}

async fn all_boot(port: u16) -> Vec<String> {
    let mut all = Vec::new();
    for at in 0..6 {
        all.push(boots(port, at).await);
    }
    all
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_try_an_image_and_one_that_fails_holds_it() {
    let (server, port) = with_machines("canary").await;
    let shown = ok(&server, &["image", "pin", "b", "--role", "cs", "--canary", "50%", "--within", "1"]);
    let some = all_boot(port).await;
    let tries: Vec<usize> = (0..6).filter(|at| some[*at] == "b").collect();
    assert!(!tries.is_empty() && tries.len() < 6, "{some:?}");
    for at in 0..6 {
        assert_eq!(shown.contains(&format!("m{at}  ")), tries.contains(&at), "{shown}");
    }
    // More of them: who tries goes on.
    ok(&server, &["image", "pin", "b", "--role", "cs", "--canary", "80", "--within", "1"]);
    let more = all_boot(port).await;
    assert!(tries.iter().all(|at| more[*at] == "b"), "{some:?} {more:?}");
    // One goes and comes back, the other one does not.
    state(&server, tries[0], "unhealthy").await;
    until("it is held", async || {
        ok(&server, &["image", "list"]).contains("HELD: the canary b of cs is held: 1 did not")
    })
    .await;
    let (code, _, error) = server.run(&["image", "promote", "--role", "cs"]);
    assert!(code == 1 && error.contains(&format!("within 1 s: m{}", tries[0])), "{error}");
    let (code, _, error) = server.run(&["image", "pin", "b", "--role", "cs", "--canary", "90%", "--within", "1"]);
    assert!(code == 1 && error.contains("--force"), "{error}");
    let (_, health) = server.get("/health").await;
    assert!(health["health"] == "healthy" && health["warnings"][0].as_str().unwrap().contains("canary b"), "{health}");
    assert_eq!(figure(&server, "weft_netboot_canary_machines{trial=\"failed\"}").await, 1);
    // It comes back, and is well with the new image.
    state(&server, tries[0], "healthy").await;
    let pins = ok(&server, &["image", "pins"]);
    assert!(pins.contains("1 well, 0 failed") && !pins.contains("HELD"), "{pins}");
    assert_eq!(ok(&server, &["image", "promote", "--role", "cs"]), "role cs: all boot b, which some tried\n");
    assert_eq!(all_boot(port).await, ["b"; 6]);
    assert_eq!(ok(&server, &["image", "rollback", "--role", "cs"]), "role cs: b ▸ a\n");
    assert_eq!(all_boot(port).await, ["a"; 6]);
    let audit = ok(&server, &["audit"]);
    for action in ["canary b for 50 % of cs", "promote canary of cs", "roll back cs"] {
        assert!(audit.contains(action), "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_so_ends_a_canary_itself() {
    let (mut server, port) = with_machines("back").await;
    ok(&server, &["image", "pin", "b", "--role", "cs", "--canary", "100%", "--within", "1"]);
    state(&server, 3, "unhealthy").await;
    server.kill();
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(server.path("netboot.yaml")).unwrap()).unwrap();
    config["boot"]["auto_rollback"] = json!(true);
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    until("it goes back", async || boots(port, 0).await == "a").await;
    let audit = ok(&server, &["audit"]);
    assert!(audit.contains("roll back cs") && audit.contains("canary"), "{audit}");
}
