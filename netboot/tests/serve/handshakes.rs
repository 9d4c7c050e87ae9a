//! Handshakes: who never finishes his keeps nobody out; and certificates that are replaced while the server runs.

use super::roles::{Authority, with_tls};
use super::{LIMIT, Server, ask};
use hyper::Method;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};

/// More than there are places for handshakes, and as many as one source may have from each of some sources.
const SILENT: usize = 1_500;

/// A figure of `/metrics`, whole line but the number.
pub(super) async fn figure(server: &Server, name: &str) -> u64 {
    let (status, text) = server.get("/metrics").await;
    let text = text.as_str().unwrap_or_else(|| panic!("{status}"));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Handshakes that were ended by the server.
async fn ended(server: &Server) -> u64 {
    let gone = |result: &str| format!("weft_netboot_tls_handshakes_total{{result=\"{result}\"}}");
    figure(server, &gone("displaced")).await + figure(server, &gone("late")).await
}

pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {} s", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection that says nothing, from an address of this machine.
async fn silent(from: IpAddr, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    tokio::time::timeout(LIMIT, socket.connect(to)).await.expect("the kernel takes it").unwrap()
}

/// From many addresses, and from the very address of the known client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_handshakes_keep_nobody_out() {
    rustix::process::setrlimit(rustix::process::Resource::Nofile, {
        let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        rustix::process::Rlimit { current: now.maximum, ..now }
    })
    .unwrap();
    let (server, ours, port) = with_tls("silent").await;
    ours.client("read", &["spiffe://weft/weft/read/somebody"]);
    let known = ours.target("read", port, &ours);
    for sources in [8_u8, 1] {
        let before = ended(&server).await;
        let begin = Instant::now();
        let mut held = Vec::new();
        let mut times = Vec::new();
        for at in 0..SILENT {
            let last = u8::try_from(at % usize::from(sources)).unwrap();
            held.push(silent(IpAddr::from([127, 0, 0, if sources == 1 { 1 } else { 2 + last }]), port).await);
            if at % 15 == 0 {
                let asked = Instant::now();
                let (status, answer) = ask(&known, Method::GET, "/health", &Value::Null).await;
                assert_eq!(status, 200, "{answer}");
                times.push(asked.elapsed());
            }
        }
        times.sort();
        println!(
            "{SILENT} silent connections from {sources} addresses in {:?}, {} requests of a known client meanwhile, each with a handshake: median {:?}, p99 {:?}",
            begin.elapsed(),
            times.len(),
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
        // Nobody waits for who says nothing: they make room, or their time is over.
        let wanted = before + u64::try_from(SILENT).unwrap();
        until("those who say nothing are gone", || async { ended(&server).await >= wanted }).await;
        drop(held);
    }
}

/// What is wrong is said, in the log and in figures, and what was there before serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_read_again_without_a_restart() {
    let (server, ours, port) = with_tls("renewed").await;
    ours.client("read", &["spiffe://weft/weft/read/somebody"]);
    let renewed = Authority::new(&server, "new");
    renewed.client("read", &["spiffe://weft/weft/read/somebody"]);
    let works = |target: weft_netboot::io::client::Target| async move {
        tokio::time::timeout(LIMIT, target.ask(Method::GET, "/health", None)).await.expect("an end comes").is_ok()
    };
    // Known to the old authority, trusting the old one; and the same with the new one.
    let (old, new) = (ours.target("read", port, &ours), renewed.target("read", port, &renewed));
    assert!(works(old.clone()).await && !works(new.clone()).await);
    let place = |name: &str| ours.folder.join(name);
    std::fs::write(place("server.pem"), "no certificate").unwrap();
    until("the fault is counted", || async { figure(&server, "weft_netboot_certificates_broken").await == 1 }).await;
    assert!(figure(&server, "weft_netboot_certificate_reloads_total{result=\"failed\"}").await >= 1);
    assert!(server.log().contains("those before stay in use"), "{}", server.log());
    assert!(works(old.clone()).await, "those before serve");
    renewed.sign("server", vec![SanType::IpAddress("127.0.0.1".parse().unwrap())], ExtendedKeyUsagePurpose::ServerAuth);
    // One after the other, as tools do it.
    for name in ["server.pem", "server.key", "ca.pem"] {
        std::fs::copy(renewed.folder.join(name), place(name)).unwrap();
    }
    until("the new ones serve", || works(new.clone())).await;
    assert!(!works(old.clone()).await, "the old authority counts no more");
    until("all is well again", || async { figure(&server, "weft_netboot_certificates_broken").await == 0 }).await;
    let done = "weft_netboot_certificate_reloads_total{result=\"done\"}";
    let before = figure(&server, done).await;
    assert!(std::process::Command::new("kill").args(["-HUP", &server.id().to_string()]).status().unwrap().success());
    until("SIGHUP reads them again", || async { figure(&server, done).await > before }).await;
    assert!(works(new).await);
}
