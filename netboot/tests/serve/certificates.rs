//! What certificates of a configuration come to: before a server is started, and while one runs.

use super::handshakes::{figure, until};
use super::{BINARY, Server};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const KEY: &str = include_str!("../fixtures/sign/key.pem");

/// From the beginning of one day to that of another, counted from today (UTC).
fn lasts(params: &mut CertificateParams, from: i64, to: i64) {
    let midnight = |days: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (midnight(from), midnight(to));
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()).unwrap())
    }

    /// One of 127.0.0.1 for a key, that ends after so many days, which may be over.
    fn sign(&self, key: &KeyPair, days: i64) -> String {
        let mut params = CertificateParams::new(vec!["boot1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "boot1");
        params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        lasts(&mut params, -90, if days < 0 { days } else { days + 1 });
        params.signed_by(key, &self.0).unwrap().pem()
    }
}

/// A file that nobody else may read.
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Exit code, and what is said.
fn check(server: &Server, more: &[&str]) -> (i32, String) {
    let config = server.path("netboot.yaml").display().to_string();
    let output = Command::new(BINARY).args(["tls", "check", "--config", &config]).args(more).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

/// A server with `boot.https`, and firmware that is told to ask it.
fn configured(name: &str) -> (Server, Authority, KeyPair) {
    let server = Server::new(name);
    let (ours, key) = (Authority::new("dc1"), KeyPair::from_pem(KEY).unwrap());
    write(&server.path("boot.key"), KEY);
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let (certificate, file) = (server.path("boot.pem"), server.path("boot.key"));
    config["boot"] = json!({
        "listen": ["127.0.0.1:0"], "images": server.path("images"),
        "https": { "listen": ["127.0.0.1:0"], "certificate": certificate, "key": file }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    (server, ours, key)
}

#[test]
fn what_is_wrong_with_certificates_is_said_before_anybody_starts() {
    let (server, ours, key) = configured("tls-check");
    let place = server.path("boot.pem");
    std::fs::write(&place, ours.sign(&key, 90) + &ours.0.pem()).unwrap();
    let (code, said) = check(&server, &[]);
    assert!(code == 0 && said.contains("boot1 127.0.0.1") && said.contains("CN=dc1") && said.contains("90d"), "{said}");
    let (_, document) = check(&server, &["--output", "json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document[0]["certificates"][0]["names"], json!(["boot1", "127.0.0.1"]), "{document}");
    let others = KeyPair::generate().unwrap();
    let cases = [
        (ours.sign(&key, 13), "ends in 13 days: renew it"),
        (ours.sign(&key, -2), "ended 2 days ago: renew it"),
        (ours.sign(&others, 90), "is not its key: renew both together"),
        (ours.sign(&key, 90) + &Authority::new("dc2").0.pem(), "the chain does not hold"),
        ("nothing".to_owned(), "no certificate in it"),
    ];
    for (text, wanted) in cases {
        std::fs::write(&place, text).unwrap();
        let (code, said) = check(&server, &[]);
        assert!(code == 1 && said.contains("boot.https.certificate: ") && said.contains(wanted), "{wanted}: {said}");
    }
    std::fs::write(&place, ours.sign(&key, 90)).unwrap();
    std::fs::set_permissions(server.path("boot.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let (code, said) = check(&server, &[]);
    assert!(code == 1 && said.contains("everybody on this machine may open"), "{said}");
}

#[test]
fn what_firmware_is_told_to_ask_is_among_the_names() {
    let (server, ours, key) = configured("tls-names");
    std::fs::write(server.path("boot.pem"), ours.sign(&key, 90)).unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    for (host, code) in [("127.0.0.1", 0), ("127.0.0.2", 1), ("boot1", 0), ("boot2", 1)] {
        let mut config: Value = serde_json::from_str(&config).unwrap();
        let urls = json!({ "x64": format!("https://{host}:8443/boot/uki.efi") });
        config["dhcp"] = json!({ "address": "127.0.0.1", "boot": { "https": { "roles": ["cs"], "urls": urls } } });
        std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
        let (found, said) = check(&server, &[]);
        let named =
            said.contains(&format!("`dhcp.boot` tells firmware to ask https://{host}, which is none of its names"));
        assert!(found == code && named == (code == 1), "{host}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_that_its_certificate_ends() {
    let (mut server, ours, key) = configured("tls-ends");
    std::fs::write(server.path("boot.pem"), ours.sign(&key, 3)).unwrap();
    server.start().await;
    let left = || async { figure(&server, "weft_netboot_boot_certificate_expires_seconds").await };
    assert!((3 * 86_400 - 60..4 * 86_400).contains(&left().await));
    until("it is said", || async { server.log().contains("a certificate ends soon") }).await;
    assert!(server.log().contains("days=3"), "{}", server.log());
    std::fs::write(server.path("boot.pem"), ours.sign(&key, 90)).unwrap();
    until("the new one is in use", || async { left().await > 80 * 86_400 }).await;
    std::fs::write(server.path("boot.pem"), ours.sign(&key, -1)).unwrap();
    until("the end is said", || async { server.log().contains("a certificate has ended") }).await;
    assert_eq!(left().await, 0);
}
