//! The boot service with TLS: as firmware of 2022 asks for it, octet by octet; and as OpenSSL sees it, which that firmware has in itself.

use super::boot::{Answer, answer, ok, with_image};
use super::handshakes::{figure, until};
use super::{LIMIT, Server};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const KEY: &str = include_str!("../fixtures/sign/key.pem");
const CERTIFICATE: &str = include_str!("../fixtures/sign/certificate.pem");
/// What OVMF of 2022.11 offers, in its order: DHE and the plain exchange of RSA, with AES in GCM and in CBC.
const OVMF: [u16; 12] =
    [0x009f, 0x009e, 0x006b, 0x0067, 0x0039, 0x0033, 0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f];

/// A server whose boot service has TLS too, which was not started; the ports without and with.
fn with_https(name: &str, certificate: &str, key: &str) -> (Server, u16, u16) {
    let server = Server::new(name);
    let [plain, port] = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [plain, port] = [plain, port].map(|listener| listener.local_addr().unwrap().port());
    std::fs::write(server.path("boot.pem"), certificate).unwrap();
    std::fs::write(server.path("boot.key"), key).unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["boot"] = json!({
        "listen": [format!("127.0.0.1:{plain}")], "images": server.path("images"),
        "https": {
            "listen": [format!("127.0.0.1:{port}")],
            "certificate": server.path("boot.pem"), "key": server.path("boot.key")
        }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    (server, plain, port)
}

/// RFC 5246 §7.4.1.2, in its record (§6.2.1), with signature algorithms of RSA alone, and without groups (RFC 7919 §4: any may be taken).
fn client_hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let length = |octets: &[u8]| u16::try_from(octets.len()).unwrap().to_be_bytes();
    // RSA-PSS and PKCS #1 with SHA-256.
    let algorithms: &[u8] = &[0, 13, 0, 6, 0, 4, 0x08, 0x04, 0x04, 0x01];
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &length(&suites),
        &suites,
        &[1, 0],
        &length(algorithms),
        algorithms,
    ]
    .concat();
    let hello = [&[1, 0][..], &length(&body), &body].concat();
    [&[22, 3, 1][..], &length(&hello), &hello].concat()
}

/// The first record of the answer: its type, and what it has.
async fn first_record(port: u16, hello: &[u8]) -> (u8, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let read = async {
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut record).await.unwrap();
        (head[0], record)
    };
    tokio::time::timeout(LIMIT, read).await.expect("an answer comes")
}

/// The suite of a `ServerHello` (RFC 5246 §7.4.1.3).
fn suite(record: &[u8]) -> u16 {
    let session = usize::from(record[4 + 2 + 32]);
    u16::from_be_bytes([record[39 + session], record[40 + session]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firmware_without_curves_gets_a_handshake() {
    let (mut server, _, port) = with_https("https-hello", CERTIFICATE, KEY);
    server.start().await;
    let (kind, hello) = first_record(port, &client_hello(0x0303, &OVMF)).await;
    assert_eq!((kind, hello[0], [hello[4], hello[5]], suite(&hello)), (22, 2, [3, 3], 0x009f));
    let (kind, hello) = first_record(port, &client_hello(0x0303, &OVMF[1..])).await;
    assert_eq!((kind, suite(&hello)), (22, 0x009e));
    // RFC 5246 §7.2.2, fatal: what has no secret of its own, or CBC, is refused (40), and so is what is older (70).
    let alerts = [(0x0303, &OVMF[2..], 40), (0x0302, &OVMF[..], 70), (0x0301, &OVMF[..], 70)];
    for (version, suites, alert) in alerts {
        let (kind, said) = first_record(port, &client_hello(version, suites)).await;
        assert_eq!((kind, said), (21, vec![2, alert]), "{version:04x} {suites:04x?}");
    }
    let refused = "weft_netboot_boot_tls_handshakes_total{result=\"refused\"}";
    until("they are counted", || async { figure(&server, refused).await >= 3 }).await;
}

#[test]
fn what_cannot_be_served_is_said() {
    let of_curve = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&of_curve).unwrap().pem();
    for (certificate, key, why) in [
        (CERTIFICATE, of_curve.serialize_pem().as_str(), "boot.key: not of RSA"),
        (certificate.as_str(), KEY, "boot.https.certificate and boot.https.key"),
        ("nothing", KEY, "boot.pem: no certificate in it"),
    ] {
        let (server, ..) = with_https("https-wrong", certificate, key);
        let config = server.path("netboot.yaml");
        let output = Command::new(super::BINARY).arg("serve").arg("--config").arg(config).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(why), "{why}: {error}");
    }
}

/// A program that reads a request, to its end.
fn told(command: &mut Command, request: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    // It may have ended already.
    let _ = child.stdin.as_mut().unwrap().write_all(head.as_bytes());
    child.wait_with_output().unwrap()
}

/// An authority and what it signs, made with OpenSSL; `None` where there is none.
struct Authority(PathBuf);

impl Authority {
    fn new(server: &Server, name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: no `openssl` (Debian: openssl): nothing is known of TLS beside OpenSSL");
            return None;
        }
        let ours = Self(server.path(name));
        std::fs::create_dir_all(&ours.0).unwrap();
        ours.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca");
        Some(ours)
    }

    fn openssl(&self, words: &str) {
        let output = Command::new("openssl").args(words.split(' ')).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where the server looks for them: certificate, then key, as tools do it.
    fn sign(&self, server: &Server) {
        std::fs::write(self.0.join("san"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
        self.openssl("req -newkey rsa:2048 -nodes -keyout boot.key -out boot.csr -subj /CN=boot");
        self.openssl(
            "x509 -req -in boot.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile san -out boot.pem",
        );
        for name in ["boot.pem", "boot.key"] {
            std::fs::copy(self.0.join(name), server.path(name)).unwrap();
        }
    }

    /// One request by a client that knows this authority alone; what OpenSSL said when nothing came of it.
    fn ask(&self, port: u16, options: &str, request: &str) -> Result<Answer, String> {
        let line = format!(
            "s_client -connect 127.0.0.1:{port} -CAfile ca.pem -verify_return_error -verify_ip 127.0.0.1 -quiet"
        );
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).args(options.split_whitespace()).current_dir(&self.0);
        let output = told(&mut command, request);
        match output.stdout.is_empty() {
            true => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            false => Ok(answer(&output.stdout)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_is_served_with_tls_and_renewed_without_a_restart() {
    let (mut server, plain, port) = with_https("https", CERTIFICATE, KEY);
    let Some(ours) = Authority::new(&server, "ours") else { return };
    ours.sign(&server);
    server.start().await;
    let digest = with_image(&server);
    let firmware = "-tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384:AES256-GCM-SHA384";
    for options in [firmware, "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", "-tls1_2 -cipher ECDHE", "-tls1_3"] {
        let whole = ours.ask(port, options, &format!("GET /blobs/{digest}/any")).unwrap();
        assert!(whole.status == 200 && whole.body == super::boot::kernel(), "{options}: {}", whole.status);
    }
    for (path, status) in [("/boot.ipxe", 200), ("/boot/script?serial=m0", 200), ("/v1/machines", 404), ("/", 404)] {
        let get = format!("GET {path}");
        let with = ours.ask(port, firmware, &get).unwrap();
        let without = super::boot::http(plain, &get, "").await;
        assert_eq!((with.status, &with.body), (status, &without.body), "{path}");
    }
    let head = ours.ask(port, firmware, &format!("HEAD /blobs/{digest}")).unwrap();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "1300000", 0));
    assert_eq!(ours.ask(port, firmware, "PUT /boot.ipxe").unwrap().status, 405);
    for options in [
        "-tls1_1 -cipher DEFAULT@SECLEVEL=0",
        "-tls1_2 -cipher AES256-GCM-SHA384",
        "-tls1_2 -cipher DHE-RSA-AES256-SHA256",
    ] {
        let error = ours.ask(port, options, "GET /boot.ipxe").map(|answer| answer.status).unwrap_err();
        assert!(error.contains("alert"), "{options}: {error}");
    }
    // Whoever knows another authority ends it, and the server says so.
    let others = Authority::new(&server, "others").unwrap();
    let error = others.ask(port, firmware, "GET /boot.ipxe").map(|answer| answer.status).unwrap_err();
    assert!(error.contains("certificate verify failed"), "{error}");
    until("it is said", || async { server.log().contains("no TLS with a machine that boots") }).await;
    others.sign(&server);
    until("the new one serves", || async { others.ask(port, firmware, "GET /boot.ipxe").is_ok() }).await;
    assert!(ours.ask(port, firmware, "GET /boot.ipxe").is_err());
    let known = figure(&server, "weft_netboot_boot_tls_handshakes_total{result=\"known\"}").await;
    assert!(known >= 10, "{known}");
    assert_eq!(figure(&server, "weft_netboot_boot_certificates_broken").await, 0);
    ok(&server, &["image", "list"]);
}
