//! The port: metrics for whoever asks, the web page for whoever is here, and orders from nobody.

use super::*;

/// What the port says to a line, from a program that calls it `host`.
async fn ask(server: &Server, host: &str, line: &str) -> String {
    let stream = TcpStream::connect(server.metrics_address().unwrap()).await.unwrap();
    talk(stream, format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn the_port_serves_readers_only() {
    let folder = Folder::new("port");
    let server = start(&folder);
    let ask = async |line: &str| ask(&server, "localhost", line).await;
    let metrics = ask("GET /metrics").await;
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.ends_with("weft_converged 1\n"), "{metrics}");
    let health = ask("GET /healthz").await;
    assert!(health.contains(" 503 ") && health.ends_with("waiting for End-of-RIB of tor1\n"), "{health}");
    let answer = ask("GET /v1/health").await;
    assert!(answer.contains(" 200 ") && answer.contains(r#""healthy":false"#), "{answer}");
    let question = ask("GET /v1/routes?within=10.0.0.1/8&limit=7").await;
    assert!(question.contains("RoutesWithin { net: 10.0.0.0/8, after: None, limit: 7 }"), "{question}");
    assert_eq!(status(&ask("GET /v1/routes?limit=201").await), "400");
    for line in ["POST /v1/stop", "POST /v1/reload", "GET /v1/plan", "GET /v1/dump", "GET /v1/watch/routes?within=::/0"]
    {
        assert_eq!(status(&ask(line).await), "404", "{line}");
    }
    for line in
        ["POST /metrics", "POST /v1/routes?prefix=10.0.0.0/8&owner=x&lease_s=9", "DELETE /v1/routes?owner=x", "PUT /"]
    {
        let refused = ask(line).await;
        assert!(refused.contains(" 405 ") && refused.contains("allow: GET, HEAD"), "{line}: {refused}");
    }
}

#[tokio::test]
async fn the_page_comes_in_pieces_with_what_a_browser_must_not_do() {
    let folder = Folder::new("page");
    let server = start(&folder);
    for (path, kind, text) in [
        ("/", "text/html", "<!doctype html>"),
        ("/page.js", "text/javascript", "import {"),
        ("/page.css", "text/css", ":root"),
    ] {
        let said = ask(&server, "localhost:9179", &format!("GET {path}")).await;
        assert!(
            said.contains(" 200 ") && said.contains(&format!("content-type: {kind}")) && said.contains(text),
            "{said}"
        );
        assert!(said.contains("content-security-policy: default-src 'none'") && said.contains("nosniff"), "{said}");
        let head = ask(&server, "localhost:9179", &format!("HEAD {path}")).await;
        assert_eq!((status(&head), head.split_once("\r\n\r\n").unwrap().1), ("200", ""), "{path}");
    }
    let json = ask(&server, "localhost", "GET /v1/health").await;
    assert!(json.contains("cross-origin-resource-policy: same-origin") && !json.contains("access-control"), "{json}");
}

#[tokio::test]
async fn another_name_of_this_machine_is_none() {
    let folder = Folder::new("rebound");
    let server = start(&folder);
    for line in ["GET /", "GET /v1/neighbors", "GET /v1/watch/events", "POST /v1/stop"] {
        assert_eq!(status(&ask(&server, "weft.evil.example", line).await), "421", "{line}");
    }
    assert_eq!(status(&ask(&server, "weft.evil.example", "GET /metrics").await), "200", "as ever");
}

#[tokio::test]
async fn without_a_page_there_are_metrics_alone() {
    let folder = Folder::new("no-page");
    let (asked, mut asks) = mpsc::channel::<Ask>(4);
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let _ = ask.reply.send(Answer::new("tor1", Body::Metrics { text: String::new() }));
        }
    });
    let server = serve(&ApiConfig { web: false, ..folder.config() }, (None, None), asked).unwrap();
    for line in ["GET /", "GET /page.js", "GET /v1/neighbors", "POST /v1/stop"] {
        assert_eq!(status(&ask(&server, "localhost", line).await), "404", "{line}");
    }
    assert_eq!(status(&ask(&server, "localhost", "GET /metrics").await), "200");
}

/// Browsers have places of their own: `weft monitor` finds one however many tabs are open, and the page is told when there is none.
#[tokio::test]
async fn the_ninth_page_is_refused_its_stream_and_others_keep_their_places() {
    let folder = Folder::new("tabs");
    let server = start_with_events(&folder);
    let mut held = Vec::new();
    for _ in 0..FOLLOWERS_MAX {
        let mut stream = TcpStream::connect(server.metrics_address().unwrap()).await.unwrap();
        stream.write_all(b"GET /v1/watch/events?kinds=peers HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        held.push(stream);
    }
    let ninth = ask(&server, "localhost", "GET /v1/watch/events").await;
    assert!(ninth.contains(" 503 ") && ninth.contains("8 watchers are there already"), "{ninth}");
    let mut monitor = UnixStream::connect(folder.config().socket).await.unwrap();
    monitor.write_all(b"GET /v1/watch/events HTTP/1.1\r\nhost: weft\r\n\r\n").await.unwrap();
    hear(&mut monitor, r#""watch":"events""#).await;
    // A tab that is closed gives its place away.
    held.pop();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = TcpStream::connect(server.metrics_address().unwrap()).await.unwrap();
        stream.write_all(b"GET /v1/watch/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut some = [0; 12];
        stream.read_exact(&mut some).await.unwrap();
        if some.ends_with(b"200") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the place of a closed tab is free");
    }
}
