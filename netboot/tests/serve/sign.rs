//! What the server signs, as firmware would check it; and keys that it does not take. That another program takes the signatures, and real
//! firmware, is in stage `boot`.

use super::boot::{http, ok, stub, with_image};
use super::{BINARY, Server};
use ring::digest::{SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use weft_netboot::boot::authenticode::{Certificate, to_be_signed};

const KEY: &str = include_str!("../fixtures/sign/key.pem");
const CERTIFICATE: &str = include_str!("../fixtures/sign/certificate.pem");
const OTHER: &str = include_str!("../fixtures/sign/other.pem");

/// A server that signs, which was not started, and its port.
fn signing(name: &str) -> (Server, u16) {
    let server = Server::new(name);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut for_x64 = stub();
    for_x64[0x84..0x86].copy_from_slice(&0x8664_u16.to_le_bytes());
    std::fs::write(server.path("stub"), for_x64).unwrap();
    std::fs::write(server.path("loader"), stub()).unwrap();
    std::fs::write(server.path("script"), b"no program").unwrap();
    let key = write_key(&server, KEY, 0o600);
    std::fs::write(server.path("certificate.pem"), CERTIFICATE).unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["boot"] = json!({
        "listen": [format!("127.0.0.1:{port}")], "images": server.path("images"),
        "loaders": { "snponly.efi": server.path("loader"), "script": server.path("script") },
        "uki": {
            "stub": server.path("stub"), "otherwise": "snponly.efi",
            "sign": { "key": key, "certificate": server.path("certificate.pem") }
        }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    (server, port)
}

fn write_key(server: &Server, pem: &str, mode: u32) -> std::path::PathBuf {
    let path = server.path("key.pem");
    std::fs::write(&path, pem).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The octets of the certificate in PEM.
fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn u32_at(octets: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_le_bytes(octets[at..at + 4].try_into().unwrap())).unwrap()
}

/// Checks the signature of a program whose headers are those of `stub`, as the format says it.
fn check(program: &[u8]) -> Result<(), String> {
    const OPTIONAL: usize = 0x98;
    let (at, size) = (u32_at(program, OPTIONAL + 144), u32_at(program, OPTIONAL + 148));
    if at % 8 != 0 || size % 8 != 0 || size == 0 || at + size != program.len() {
        return Err(format!("a table of {size} octets at {at} of {}", program.len()));
    }
    let table = &program[at..];
    let length = u32_at(table, 0);
    assert!(length <= size && length + 8 > size && table[4..8] == [0, 2, 2, 0], "WIN_CERTIFICATE");
    let digested = [&program[..OPTIONAL + 64], &program[OPTIONAL + 68..OPTIONAL + 144], &program[OPTIONAL + 152..at]];
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, &digested.concat()).as_ref());
    let content = &table[8..length];
    // SpcIndirectDataContent ends with the digest: SHA-256 by its name, and 32 octets.
    let named = [&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32][..], &sum].concat();
    if !content.windows(named.len()).any(|part| part == named) {
        return Err("it is of another program".to_owned());
    }
    assert!(content.windows(der(CERTIFICATE).len()).any(|part| part == der(CERTIFICATE)), "the certificate is in it");
    let certificate = Certificate::read(&[&der(CERTIFICATE)])?;
    // The signature is the last element of all.
    let signature = &content[content.len() - 256..];
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &certificate.key);
    key.verify(&to_be_signed(&sum), signature).map_err(|_| "its signature is wrong".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_uefi_starts_is_signed() {
    let (mut server, port) = signing("sign");
    server.start().await;
    let loader = http(port, "GET /snponly.efi", "").await.body;
    check(&loader).unwrap();
    assert_eq!(http(port, "GET /script", "").await.body, b"no program");
    with_image(&server);
    // A script gets the image or nothing: with a loader it would begin anew, within itself.
    let none = http(port, "GET /boot/signed.efi", "").await;
    assert!(none.status == 503 && http(port, "GET /boot/uki.efi", "").await.body == loader, "{}", none.status);
    ok(&server, &["image", "pin", "a", "--rest"]);
    let script = String::from_utf8(http(port, "GET /boot/script", "").await.body).unwrap();
    assert!(script.contains("iseq ${platform} efi && iseq ${buildarch} x86_64 && goto signed ||\n"), "{script}");
    let head = http(port, "HEAD /boot/uki.efi", "").await;
    let whole = http(port, "GET /boot/uki.efi", "").await;
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    assert_eq!((head.header("etag"), whole.status), (whole.header("etag"), 200));
    check(&whole.body).unwrap();
    assert!(http(port, "GET /boot/signed.efi", "").await.body == whole.body);
    // The same again, and any part of it: over the border of the table too.
    let border = u32_at(&whole.body, 0x98 + 144);
    for (from, to) in [(0, 1_000), (border - 3, border + 5), (border + 9, whole.body.len())] {
        let part = http(port, "GET /boot/uki.efi", &format!("Range: bytes={from}-{}\r\n", to - 1)).await;
        assert!(part.status == 206 && part.body == whole.body[from..to], "{from} to {to}");
    }
    for at in [0x90, 0x98 + 60, 0x300, 0x700, border - 1] {
        let mut changed = whole.body.clone();
        changed[at] ^= 1;
        assert_eq!(check(&changed), Err("it is of another program".to_owned()), "{at}");
    }
    let mut changed = whole.body.clone();
    let last = changed.len() - 20;
    changed[last] ^= 1;
    assert_eq!(check(&changed), Err("its signature is wrong".to_owned()));
    // The stub has no kernel that is a program: what firmware measures of it is not known, what the stub does is.
    let predicted = ok(&server, &["image", "pcrs", "a"]);
    let rows: Vec<_> = predicted.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert!(rows.len() == 1 && rows[0][0] == "11" && rows[0][1].len() == 64, "{predicted}");
    let add = ["image", "add", "a", "--kernel", &server.path("vmlinuz").display().to_string(), "--cmdline", "single"];
    ok(&server, &add);
    assert_ne!(ok(&server, &["image", "pcrs", "a"]), predicted);
    for (words, why) in [
        (&["image", "pcrs", "b"][..], "no image `b`"),
        (&["image", "pcrs", "--machine", "N9"], "no machine `N9`"),
        (&["image", "pcrs"], "<NAME>"),
    ] {
        let (code, _, error) = server.run(words);
        assert!(code != 0 && error.contains(why), "{words:?}: {error}");
    }
    assert!(!server.log().contains("PRIVATE"), "{}", server.log());
}

#[test]
fn keys_that_cannot_sign_are_refused_at_the_start() {
    let refused = |server: &Server| {
        let config = server.path("netboot.yaml");
        let output = Command::new(BINARY).arg("serve").arg("--config").arg(config).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let (server, _) = signing("sign-wrong");
    for (mode, is_open) in [(0o604, true), (0o644, true), (0o620, true), (0o640, false)] {
        write_key(&server, "no key", mode);
        let said = refused(&server);
        let named = said.contains("boot.uki.sign.key") && said.contains("key.pem");
        assert_eq!((named, said.contains("chmod 600")), (true, is_open), "{mode:o}: {said}");
    }
    write_key(&server, &KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), 0o600);
    assert!(refused(&server).contains("without a passphrase"));
    let other = rcgen::KeyPair::generate().unwrap();
    write_key(&server, &other.serialize_pem(), 0o600);
    let said = refused(&server);
    assert!(said.contains("write a key of RSA") && !said.contains("PRIVATE"), "{said}");
    write_key(&server, KEY, 0o600);
    std::fs::write(server.path("certificate.pem"), OTHER).unwrap();
    let said = refused(&server);
    assert!(said.contains("boot.uki.sign.certificate") && said.contains("not the certificate of the key"), "{said}");
    let of_curve = rcgen::CertificateParams::default().self_signed(&other).unwrap();
    std::fs::write(server.path("certificate.pem"), of_curve.pem()).unwrap();
    assert!(refused(&server).contains("its key is not of RSA"));
    std::fs::write(server.path("certificate.pem"), "").unwrap();
    assert!(refused(&server).contains("there is no certificate"));
}
