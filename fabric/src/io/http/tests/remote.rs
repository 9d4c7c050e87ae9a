//! The API for other machines, with certificates that are as they should be, and as they should not; asked by the client of the command line.

use super::*;
use crate::api::Version;
use crate::config::RemoteConfig;
use crate::io::client::{Client, ClientError, Remote, Target};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use std::io::{Read as _, Write as _};
use tokio::time::Instant;

/// For whatever must come true: longer than a test has ever taken.
const SOON: Duration = Duration::from_secs(30);

/// An authority, and files of what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Folder, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = folder.0.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn sign(&self, name: &str, sans: Vec<SanType>, usage: ExtendedKeyUsagePurpose, year: i32) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.extended_key_usages = vec![usage];
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        let file = self.folder.join(format!("{name}.key"));
        std::fs::write(&file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn server(&self, year: i32) {
        let here = SanType::IpAddress("127.0.0.1".parse().unwrap());
        self.sign("server", vec![here], ExtendedKeyUsagePurpose::ServerAuth, year);
    }

    fn client(&self, name: &str, uris: &[&str], year: i32) {
        let sans = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        self.sign(name, sans, ExtendedKeyUsagePurpose::ClientAuth, year);
    }

    /// A client with a certificate of ours that believes the server's authority.
    fn target(&self, name: &str, port: u16, server: &Self) -> Target {
        let file = |name: String| self.folder.join(name);
        let (cert, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
        Target::Remote(Remote::new(&format!("127.0.0.1:{port}"), server.folder.join("ca.pem"), cert, key).unwrap())
    }

    fn config(&self) -> RemoteConfig {
        let file = |name: &str| self.folder.join(name);
        RemoteConfig {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            cert: file("server.pem"),
            key: file("server.key"),
            client_ca: file("ca.pem"),
            trust_domain: "weft".to_owned(),
        }
    }
}

/// What ends the loops of a daemon, and their thread.
type Loops = (oneshot::Sender<()>, std::thread::JoinHandle<()>);

/// A daemon that other machines may ask, on a runtime of its own: clients wait for it in the test's thread.
struct Daemon {
    server: Option<Server>,
    port: u16,
    /// Of the runtime; it ends when this is told.
    loops: Option<Loops>,
    ours: Authority,
    folder: Folder,
}

impl Daemon {
    fn start(test: &str) -> Self {
        let folder = Folder::new(test);
        let ours = Authority::new(&folder, "ours");
        ours.server(2_099);
        let (server, loops) = Self::begin(&folder, ours.config());
        let port = server.remote_addresses()[0].port();
        Self { server: Some(server), port, loops: Some(loops), ours, folder }
    }

    fn begin(folder: &Folder, remote: RemoteConfig) -> (Server, Loops) {
        let certificates = Certificates::load(&remote).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = ApiConfig { http: None, remote: Some(remote), ..folder.config() };
        let server = runtime.block_on(async { serve(&config, (None, Some(certificates)), answering()).unwrap() });
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(ended);
        });
        (server, (end, thread))
    }

    /// Another one, on the same port.
    fn restart(&mut self) {
        self.end();
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], self.port))];
        let (server, loops) = Self::begin(&self.folder, RemoteConfig { listen, ..self.ours.config() });
        (self.server, self.loops) = (Some(server), Some(loops));
    }

    fn end(&mut self) {
        if let Some(server) = self.server.take() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server.finish());
        }
        if let Some((end, thread)) = self.loops.take() {
            let _ = end.send(());
            let _ = thread.join();
        }
    }

    fn ours(&self, name: &str) -> Target {
        self.ours.target(name, self.port, &self.ours)
    }

    fn report(&self) -> api::Doors {
        self.server.as_ref().unwrap().report()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn client(target: &Target) -> Client {
    Client::new(target).unwrap()
}

fn get(target: &Target) -> Result<String, ClientError> {
    client(target).text("/v1/version")
}

fn drain(target: &Target) -> Result<(), ClientError> {
    client(target).post("/v1/drain?state=soft").map(drop)
}

#[test]
fn a_certificate_says_what_its_holder_may() {
    let daemon = Daemon::start("roles");
    for role in ["read", "operator", "admin"] {
        daemon.ours.client(role, &[&format!("spiffe://weft/weft/{role}/somebody")], 2_099);
        let text = get(&daemon.ours(role)).unwrap();
        assert!(text.contains("Show(Version)"), "{role}: {text}");
    }
    let ClientError::Refused(refusal) = drain(&daemon.ours("read")).unwrap_err() else { panic!() };
    assert_eq!((refusal.status, refusal.remedy.as_deref()), (403, Some("use a certificate with the role operator")));
    drain(&daemon.ours("operator")).unwrap();
    let stop = |role| Client::new(&daemon.ours(role)).unwrap().post("/v1/stop").map(drop);
    assert!(matches!(stop("operator"), Err(ClientError::Refused(_))));
    stop("admin").unwrap();
    let remote = daemon.report().remote;
    assert_eq!((remote.answered, remote.refused, remote.failed), (5, 2, 0));
}

#[test]
fn all_pages_of_a_listing_come_over_one_connection_and_over_another_when_that_is_closed() {
    let mut daemon = Daemon::start("pages");
    daemon.ours.client("reader", &["spiffe://weft/weft/read/somebody"], 2_099);
    let target = daemon.ours("reader");
    let reader = client(&target);
    for page in 0..20 {
        assert!(reader.page(&format!("/v1/routes?limit={}", page + 1)).unwrap().contains("Routes"));
    }
    assert_eq!(daemon.report().handshakes.known, 1);
    daemon.restart();
    assert!(reader.page("/v1/routes?limit=1").unwrap().contains("Routes"), "over another connection");
    assert_eq!(daemon.report().handshakes.known, 1);
    drop(daemon);
    assert!(
        matches!(reader.page("/v1/routes?limit=1"), Err(ClientError::Absent { .. })),
        "asked twice, and not for ever"
    );
}

#[test]
fn a_watch_follows_from_elsewhere_too() {
    let daemon = Daemon::start("watched");
    daemon.ours.client("read", &["spiffe://weft/weft/read/somebody"], 2_099);
    let mut lines = 0;
    let followed: Result<(), ClientError> =
        Client::new(&daemon.ours("read")).unwrap().follow("/v1/watch/events", |line| {
            lines += 1;
            assert!(line.contains("weft/v1"), "{line}");
            // Enough was seen.
            Err(ClientError::Refused(Refusal::new(200, "", "")))
        });
    assert!(matches!(followed, Err(ClientError::Refused(Refusal { status: 200, .. }))), "{followed:?}");
    assert_eq!(lines, 1);
}

#[test]
fn nobody_without_a_certificate_that_counts_is_heard() {
    let daemon = Daemon::start("strangers");
    let (ours, others) = (&daemon.ours, Authority::new(&daemon.folder, "others"));
    let admin = "spiffe://weft/weft/admin/somebody";
    others.client("admin", &[admin], 2_099);
    ours.client("old", &[admin], 2_020);
    ours.sign("usage", vec![SanType::URI(admin.try_into().unwrap())], ExtendedKeyUsagePurpose::ServerAuth, 2_099);
    for stranger in [others.target("admin", daemon.port, ours), daemon.ours("old"), daemon.ours("usage")] {
        let error = get(&stranger).unwrap_err();
        assert!(matches!(error, ClientError::Unknown { .. }), "{stranger:?}: {error}");
        assert!(error.to_string().contains("remedy: --ca names"), "{error}");
    }
    // Ours, but of nobody that is known: he is told why.
    ours.client("none", &["https://somewhere"], 2_099);
    ours.client("two", &[admin, "spiffe://weft/weft/read/a"], 2_099);
    ours.client("elsewhere", &["spiffe://other/weft/admin/a"], 2_099);
    ours.client("machine", &["spiffe://weft/weft/machine/m0"], 2_099);
    for nobody in ["none", "two", "elsewhere", "machine"] {
        let ClientError::Refused(refusal) = get(&daemon.ours(nobody)).unwrap_err() else { panic!("{nobody}") };
        assert_eq!(refusal.status, 403, "{nobody}: {refusal:?}");
    }
    // A server of another authority is not believed.
    let mistaken = ours.target("none", daemon.port, &others);
    let error = get(&mistaken).unwrap_err();
    assert!(error.to_string().contains("TLS: invalid peer certificate"), "{error}");
    // Without TLS, from the very machine: not heard either.
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(b"GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let report = daemon.report();
    assert_eq!((report.remote.answered, report.remote.refused), (0, 4));
    assert!(report.handshakes.refused >= 4 && report.handshakes.known == 4, "{report:?}");
}

#[test]
fn two_hundred_strangers_and_some_who_say_nothing_keep_nobody_out() {
    let daemon = Daemon::start("crowd");
    let others = Authority::new(&daemon.folder, "others");
    others.client("admin", &["spiffe://weft/weft/admin/somebody"], 2_099);
    daemon.ours.client("read", &["spiffe://weft/weft/read/somebody"], 2_099);
    let connect = || std::net::TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    let silent: Vec<_> = (0..100).map(|_| connect()).collect();
    let stranger = others.target("admin", daemon.port, &daemon.ours);
    let known = daemon.ours("read");
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let stranger = stranger.clone();
            std::thread::spawn(move || (0..50).filter(|_| get(&stranger).is_ok()).count())
        })
        .collect();
    let mut answers = 0;
    while answers == 0 || crowd.iter().any(|thread| !thread.is_finished()) {
        get(&known).unwrap();
        answers += 1;
    }
    assert_eq!(crowd.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 0);
    // Who says nothing is gone after a while, and was in nobody's way.
    for mut one in silent {
        one.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(one.read(&mut [0]).unwrap_or(0), 0);
    }
    // A connection may be closed a moment before that is counted.
    let end = Instant::now() + SOON;
    let ended = |handshakes: api::Handshakes| handshakes.late + handshakes.displaced;
    while ended(daemon.report().handshakes) < 100 {
        assert!(Instant::now() < end, "{:?}", daemon.report());
        std::thread::yield_now();
    }
    let handshakes = daemon.report().handshakes;
    assert_eq!((handshakes.known, handshakes.refused, ended(handshakes)), (answers, 200, 100));
}

#[test]
fn certificates_are_taken_when_they_change_and_bad_ones_are_not() {
    let daemon = Daemon::start("renewed");
    daemon.ours.client("read", &["spiffe://weft/weft/read/somebody"], 2_099);
    let server = daemon.server.as_ref().unwrap();
    let days = || daemon.report().certificate.unwrap().expires_in_s.unwrap() / 86_400;
    assert!(days() > 20_000, "2099 is far away");
    assert!(!server.renew().unwrap(), "the same as before");
    // A certificate without its key.
    let key = std::fs::read(daemon.ours.folder.join("server.key")).unwrap();
    daemon.ours.server(2_098);
    std::fs::write(daemon.ours.folder.join("server.key"), &key).unwrap();
    let error = server.renew().unwrap_err();
    assert!(error.starts_with("api.remote.cert: ") && error.contains("must be its key"), "{error}");
    assert!(daemon.report().certificate.unwrap().broken.is_some());
    get(&daemon.ours("read")).unwrap();
    // Both: seen without being told.
    daemon.ours.server(2_098);
    let end = Instant::now() + SOON;
    while daemon.report().certificate.unwrap().broken.is_some() {
        assert!(Instant::now() < end, "a change is not seen");
        std::thread::yield_now();
    }
    assert!(days() < 28_100 && daemon.report().certificate.unwrap().renewed >= 2);
    get(&daemon.ours("read")).unwrap();
}

#[test]
fn files_that_cannot_be_used_are_named_with_field_and_remedy() {
    let folder = Folder::new("files");
    let ours = Authority::new(&folder, "ours");
    ours.server(2_099);
    let config = ours.config();
    let wrong = |config: &RemoteConfig| Certificates::load(config).unwrap_err();
    std::fs::set_permissions(&config.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = wrong(&config);
    let key = config.key.display();
    assert_eq!(
        error,
        format!("api.remote.key: {key}: everybody on this machine may open it (mode 0644)\n  remedy: chmod 600 {key}")
    );
    std::fs::set_permissions(&config.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    Certificates::load(&config).unwrap();
    let missing = wrong(&RemoteConfig { cert: ours.folder.join("nothing.pem"), ..config.clone() });
    assert!(missing.contains("api.remote.cert: ") && missing.contains("nothing.pem: No such file"), "{missing}");
    let mixed = wrong(&RemoteConfig { client_ca: config.key.clone(), ..config.clone() });
    assert!(mixed.contains("api.remote.client_ca: ") && mixed.contains("no certificate is in it"), "{mixed}");
    let swapped = wrong(&RemoteConfig { key: config.cert.clone(), ..config });
    assert!(swapped.contains("may open it") || swapped.contains("no private key is in it"), "{swapped}");
}

#[test]
fn an_answer_is_data_as_on_the_socket() {
    let daemon = Daemon::start("data");
    daemon.ours.client("read", &["spiffe://weft/weft/read/somebody"], 2_099);
    // The stand-in answers with words: that they are no version is found by the reader of types.
    let error = Client::new(&daemon.ours("read")).unwrap().get::<Version>("/v1/version").unwrap_err();
    assert!(error.to_string().contains("missing field"), "{error}");
}
