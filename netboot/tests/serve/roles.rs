//! Certificates: what each role may, and what clients cost that have none that counts.

use super::{LIMIT, Server, ask};
use hyper::Method;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, KeyPair, SanType};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use weft_netboot::io::client::Target;

/// An authority, and files of what it signs.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) folder: std::path::PathBuf,
}

impl Authority {
    pub(super) fn new(server: &Server, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = server.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub(super) fn sign(&self, name: &str, sans: Vec<SanType>, usage: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(super) fn client(&self, name: &str, uris: &[&str]) {
        let sans = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        self.sign(name, sans, ExtendedKeyUsagePurpose::ClientAuth);
    }

    /// A client with a certificate of ours, that believes the server's authority.
    pub(super) fn target(&self, name: &str, port: u16, server: &Self) -> Target {
        Target::Https {
            authority: format!("127.0.0.1:{port}"),
            ca: server.folder.join("ca.pem"),
            cert: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        }
    }
}

pub(super) async fn with_tls(name: &str) -> (Server, Authority, u16) {
    let mut server = Server::new(name);
    let authority = Authority::new(&server, "ours");
    authority.sign(
        "server",
        vec![SanType::IpAddress("127.0.0.1".parse().unwrap())],
        ExtendedKeyUsagePurpose::ServerAuth,
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    server.configure(&json!({
        "listen": [format!("127.0.0.1:{port}")], "cert": authority.folder.join("server.pem"),
        "key": authority.folder.join("server.key"), "client_ca": authority.folder.join("ca.pem")
    }));
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(2).await;
    (server, authority, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_says_what_its_holder_may() {
    let (_server, ours, port) = with_tls("roles").await;
    for role in ["admin", "operator", "read"] {
        ours.client(role, &[&format!("spiffe://weft/weft/{role}/somebody")]);
    }
    ours.client("machine", &["spiffe://weft/weft/machine/m0"]);
    let state = |state: &str| json!({ "state": state });
    let report = json!({ "hardware": { "threads": 8 } });
    let ipam = super::ipam();
    for (method, path, body, statuses) in [
        // For machine, read, operator, admin.
        (Method::GET, "/v1/machines", Value::Null, [403, 200, 200, 200]),
        (Method::GET, "/v1/machines/m0", Value::Null, [200, 200, 200, 200]),
        (Method::GET, "/v1/machines/m1", Value::Null, [403, 200, 200, 200]),
        (Method::GET, "/v1/audit", Value::Null, [403, 200, 200, 200]),
        (Method::GET, "/v1/watch/machines?since=x", Value::Null, [403, 400, 400, 400]),
        (Method::GET, "/api/v1/machines", Value::Null, [403, 200, 200, 200]),
        (Method::PUT, "/v1/machines/m0/report", report.clone(), [200, 403, 200, 200]),
        (Method::PUT, "/v1/machines/m1/report", report, [403, 403, 200, 200]),
        (Method::PUT, "/v1/machines/m0/state", state("healthy"), [403, 403, 200, 200]),
        (Method::PUT, "/v1/ipam", ipam, [403, 403, 403, 200]),
        (Method::PUT, "/v1/machines/m1/state", state("retiring"), [403, 403, 403, 200]),
    ] {
        for (role, status) in ["machine", "read", "operator", "admin"].into_iter().zip(statuses) {
            let (found, answer) = ask(&ours.target(role, port, &ours), method.clone(), path, &body).await;
            assert_eq!(found, status, "{role}: {method} {path}: {answer}");
        }
    }
    let (_, audit) =
        ask(&ours.target("read", port, &ours), Method::GET, "/v1/audit?subject=m0&limit=1", &Value::Null).await;
    let entry = &audit["entries"][0];
    assert_eq!(
        (entry["who"].as_str(), entry["role"].as_str(), entry["via"].as_str()),
        (Some("somebody"), Some("operator"), Some("127.0.0.1"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_an_identity_is_heard() {
    let (server, ours, port) = with_tls("strangers").await;
    let others = Authority::new(&server, "others");
    others.client("admin", &["spiffe://weft/weft/admin/somebody"]);
    ours.client("none", &["https://somewhere"]);
    ours.client("two", &["spiffe://weft/weft/admin/a", "spiffe://weft/weft/read/a"]);
    ours.client("elsewhere", &["spiffe://other/weft/admin/a"]);
    ours.client("unknown", &["spiffe://weft/weft/root/a"]);
    // A server's certificate is no client's.
    ours.sign(
        "usage",
        vec![SanType::URI("spiffe://weft/weft/admin/a".try_into().unwrap())],
        ExtendedKeyUsagePurpose::ServerAuth,
    );
    let strangers = [
        others.target("admin", port, &ours),
        ours.target("none", port, &ours),
        ours.target("two", port, &ours),
        ours.target("elsewhere", port, &ours),
        ours.target("unknown", port, &ours),
        ours.target("usage", port, &ours),
    ];
    for stranger in &strangers {
        let answer =
            tokio::time::timeout(LIMIT, stranger.ask(Method::GET, "/health", None)).await.expect("an end comes");
        assert!(answer.is_err(), "{stranger:?}: {answer:?}");
    }
    // From the very machine, without TLS: not heard either.
    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer);
    let _ = tokio::time::timeout(LIMIT, read).await.expect("the end comes");
    assert!(!answer.starts_with(b"HTTP"));
}

/// A thousand connections with certificates of a foreign authority, and some that say nothing at all, beside one client that is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_cost_nobody_else_anything() {
    let (server, ours, port) = with_tls("thousand").await;
    let others = Authority::new(&server, "others");
    others.client("admin", &["spiffe://weft/weft/admin/somebody"]);
    ours.client("read", &["spiffe://weft/weft/read/somebody"]);
    let known = ours.target("read", port, &ours);
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let mut strangers = tokio::task::JoinSet::new();
    let mut left = 1_000;
    let mut times = Vec::new();
    let deadline = Instant::now() + 3 * LIMIT;
    while left > 0 || !strangers.is_empty() {
        while left > 0 && strangers.len() < 50 {
            let stranger = others.target("admin", port, &ours);
            strangers.spawn(async move { stranger.ask(Method::GET, "/health", None).await.is_err() });
            left -= 1;
        }
        let before = Instant::now();
        let (status, answer) = ask(&known, Method::GET, "/v1/machines", &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        times.push(before.elapsed());
        while let Some(ended) = strangers.try_join_next() {
            assert!(ended.unwrap(), "a stranger is heard");
        }
        assert!(Instant::now() < deadline, "{left} and {} strangers left", strangers.len());
    }
    times.sort();
    let p99: Duration = times[times.len() * 99 / 100];
    println!(
        "{} requests of a known client among 1,000 strangers: median {:?}, p99 {p99:?}",
        times.len(),
        times[times.len() / 2]
    );
}
