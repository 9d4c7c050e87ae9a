//! The address of the web page: for reading, by names of this machine, and a page that brings everything with it.

use super::{LIMIT, Server, ask};
use hyper::Method;
use serde_json::Value;
use std::net::TcpListener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn plain(port: u16, head: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("{head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an end comes").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_address_reads_and_changes_nothing() {
    let mut server = Server::new("web");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["web"] = format!("127.0.0.1:{port}").into();
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    assert_eq!(ask(&server.target(), Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(1).await;
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nhost: localhost:{port}"), 200),
        (format!("GET /v1/machines HTTP/1.1\r\nhost: 127.0.0.1:{port}"), 200),
        ("GET /v1/machines HTTP/1.1\r\nhost: [::1]".to_owned(), 200),
        ("GET /v1/machines HTTP/1.1\r\nhost: example.com".to_owned(), 421),
        ("GET /v1/machines HTTP/1.1\r\nhost: localhost.example.com".to_owned(), 421),
        ("PUT /v1/machines/m0/state HTTP/1.1\r\nhost: localhost".to_owned(), 403),
        ("POST /graphql HTTP/1.1\r\nhost: localhost".to_owned(), 403),
        ("DELETE /v1/machines/m0 HTTP/1.1\r\nhost: localhost".to_owned(), 403),
        ("PUT /v1/ipam HTTP/1.1\r\nhost: localhost".to_owned(), 403),
    ] {
        let answer = plain(port, &head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {}",
            answer.lines().next().unwrap_or_default()
        );
    }
    let page = plain(port, "GET / HTTP/1.1\r\nhost: localhost").await;
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    for elsewhere in ["http://", "https://", "src=", "@import", "innerHTML"] {
        assert!(!body.contains(elsewhere), "{elsewhere}");
    }
    // An address that others can reach is no address for it.
    config["web"] = "0.0.0.0:0".into();
    std::fs::write(server.path("open.yaml"), config.to_string()).unwrap();
    let (code, _, error) = server.run(&["check", "--config", &server.path("open.yaml").display().to_string()]);
    assert!(code == 1 && error.contains("can be reached from elsewhere"), "{error}");
}

/// A service address is there only while its server is healthy: the server does not wait for it, and does not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_may_come_later() {
    let mut server = Server::new("later");
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    // Of TEST-NET-1 (RFC 5737): nobody has it.
    config["enrol"] = "192.0.2.7:10480".into();
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", server.id())).unwrap();
        if table.contains("070200C0:28F0 00000000:0000 0A") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
