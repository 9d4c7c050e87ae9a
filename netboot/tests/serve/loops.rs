//! Machines that boot again and again, and are held until somebody lets go.

use super::boot::{http, ok, stub, with_image};
use super::handshakes::figure;
use super::{LIMIT, Server};
use hyper::Method;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};

async fn with_loops(name: &str) -> (Server, u16) {
    let mut server = Server::new(name);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(server.path("stub"), stub()).unwrap();
    std::fs::write(server.path("loader"), b"loader").unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["boot"] = json!({
        "listen": [format!("127.0.0.1:{port}")], "images": server.path("images"), "loops": { "boots": 3, "within_s": 600 },
        "loaders": { "snponly.efi": server.path("loader") }, "uki": { "stub": server.path("stub"), "otherwise": "snponly.efi" }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(3).await;
    (server, port)
}

async fn script(port: u16, serial: &str) -> String {
    http(port, &format!("GET /boot/script?serial={serial}"), "").await.text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_boots_again_and_again_is_held_until_somebody_lets_go() {
    let (mut server, port) = with_loops("loops").await;
    let digest = with_image(&server);
    ok(&server, &["image", "pin", "a", "--role", "cs"]);
    // What breaks before its end is no boot, however often it is tried; nor is a look at its length.
    for _ in 0..8 {
        assert!(script(port, "m2").await.contains("boots a"));
        assert_eq!(http(port, &format!("GET /blobs/{digest}/vmlinuz"), "Range: bytes=0-1199999\r\n").await.status, 206);
        assert_eq!(http(port, &format!("HEAD /blobs/{digest}/vmlinuz"), "").await.status, 200);
    }
    assert_eq!(figure(&server, "weft_netboot_boots_total{what=\"whole\"}").await, 0);
    // One by iPXE, one by UEFI.
    let deadline = Instant::now() + LIMIT;
    let mut turns = 0;
    while !script(port, "m1").await.contains("m1 is held") || !script(port, "m0").await.contains("m0 is held") {
        assert!(Instant::now() < deadline, "after {turns} boots each: {}", server.log());
        // The script that came last was that of m0: the file is for him.
        script(port, "m0").await;
        http(port, &format!("GET /blobs/{digest}/vmlinuz"), "").await;
        http(port, "GET /boot/uki.efi?serial=m1", "").await;
        turns += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What comes within some seconds is one boot: firmware asks twice.
    assert!(turns > 3, "{turns}");
    let (_, boots) = server.get("/v1/machines/m0/boots").await;
    assert_eq!(
        (boots["boots"].as_array().unwrap().len(), boots["boots"][2]["image"].as_str()),
        (3, Some("a")),
        "{boots}"
    );
    let whats: Vec<&str> =
        boots["events"].as_array().unwrap().iter().filter_map(|event| event["what"].as_str()).collect();
    assert!(whats.contains(&"told") && whats.contains(&"kernel") && whats.ends_with(&["held"]), "{boots}");
    let held = script(port, "m0").await;
    let lines: Vec<&str> = held.lines().collect();
    assert!(
        lines[1].starts_with("echo weft: m0 is held: 3 boots of a within 0 min") && lines[3] == "sleep 60",
        "{held}"
    );
    assert!(held.ends_with("goto again\n") && !held.contains("exit"), "it is never parked: {held}");
    assert_eq!(http(port, "GET /boot/uki.efi?serial=m1", "").await.text(), "loader", "whose script waits");
    assert!(script(port, "m2").await.contains("boots a"), "others boot");
    let shown = ok(&server, &["machines", "show", "m0"]);
    assert!(shown.contains("HELD: 3 boots") && shown.contains("has the kernel of a"), "{shown}");
    let (_, health) = server.get("/health").await;
    assert_eq!(health["warnings"].as_array().unwrap().len(), 2, "{health}");
    assert_eq!(figure(&server, "weft_netboot_boot_held").await, 2);
    // All servers hold it, and after a restart too.
    server.kill();
    server.start().await;
    assert!(script(port, "m0").await.contains("m0 is held"));
    assert_eq!(ok(&server, &["machines", "release", "m1"]), "m1 may boot\n");
    assert!(script(port, "m1").await.contains("boots a"));
    // It became healthy by other means: nobody has to let go.
    ok(&server, &["machines", "set-state", "m0", "healthy"]);
    assert!(script(port, "m0").await.contains("boots a"));
    let (code, _, error) = server.run(&["machines", "release", "m0"]);
    assert!(code == 1 && error.contains("m0 is not held"), "{error}");
    let audit = ok(&server, &["audit"]);
    assert!(audit.contains("hold: it boots again and again") && audit.contains("release"), "{audit}");
}

/// Whoever loads what another machine boots does not hold that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_boots_for_another_machine() {
    let (server, port) = with_loops("other").await;
    // The addresses of this plan are this host's.
    let mut plan = super::ipam();
    plan["node"][0] = json!({ "prefix": "127.64.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1 });
    for serial in ["m0", "m1", "m2"] {
        ok(&server, &["machines", "set-state", serial, "retiring"]);
        ok(&server, &["machines", "set-state", serial, "retired"]);
        ok(&server, &["machines", "remove", serial]);
    }
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &plan).await.0, 200);
    server.register(2).await;
    with_image(&server);
    ok(&server, &["image", "pin", "a", "--role", "cs"]);
    let (_, own) = server.get("/v1/machines/m0").await;
    let own: std::net::IpAddr = own["ipv4"][0].as_str().unwrap().parse().unwrap();
    for (serial, counted) in [("m1", 0), ("m0", 1)] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        let request = format!("GET /boot/uki.efi?serial={serial} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut all).await.unwrap();
        let deadline = Instant::now() + LIMIT;
        while figure(&server, "weft_netboot_boots_total{what=\"whole\"}").await != counted {
            assert!(Instant::now() < deadline, "{serial}: {}", server.log());
        }
    }
    assert!(server.log().contains("another machine loads what this one boots"));
}
