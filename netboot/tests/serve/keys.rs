//! Disk keys, with a software TPM for the machine's: from a machine that nobody accepted to the key, and all that must not give one.

#[path = "../keys/software.rs"]
mod software;

use super::boot::{http, stub, with_image};
use super::enrol::open_door;
use super::handshakes::figure;
use super::roles::{Authority, with_tls};
use super::{LIMIT, Server, ask};
use hyper::Method;
use serde_json::{Value, json};
use software::Software;
use std::io::{Read, Write};
use std::net::TcpStream;
use weft_machine::claim::{Claim, Failed, Key, claim, claim_by_certificate};
use weft_machine::io::tls::{self, Identity};
use weft_machine::keys::{CERTIFICATE, RELEASE, recovery_text};
use weft_machine::tpm::key::Kind;

/// A connection that remembers what was said on it.
struct Heard(TcpStream, Vec<u8>);

impl Read for Heard {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Heard {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.1.extend(octets);
        self.0.write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The local socket of a server is there before its ports.
fn connected(port: u16) -> TcpStream {
    let began = std::time::Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
        }
    }
}

/// What a machine gets, and what it said.
fn asks(door: u16, software: &Software, serial: &str, format: bool) -> (Result<Key, Failed>, Vec<u8>) {
    tokio::task::block_in_place(|| {
        let stream = connected(door);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut heard = Heard(stream, Vec::new());
        let wanted = Claim { host: "127.0.0.1", serial, disk: "data", format };
        let got = claim(&wanted, &mut software.tpm(), &mut heard);
        (got, heard.1)
    })
}

fn key(door: u16, software: &Software, format: bool) -> Key {
    asks(door, software, "m0", format).0.unwrap()
}

fn why(door: u16, software: &Software, format: bool) -> String {
    match asks(door, software, "m0", format).0 {
        Err(Failed::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn ok(server: &Server, words: &[&str]) -> String {
    let (code, out, error) = server.run(words);
    assert_eq!(code, 0, "{words:?}: {error}");
    out
}

/// A server that keeps disk keys, with machine `m0`; its open address, and the operators' private key.
async fn keeper(name: &str) -> (Server, u16, String) {
    let mut server = Server::new(name);
    let door = open_door(&server);
    let private = server.path("operators").display().to_string();
    let said = ok(&server, &["-o", "json", "keys", "operator", &private]);
    let public: Value = serde_json::from_str(&said).unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["disk_keys"] = public;
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(2).await;
    (server, door, private)
}

/// The inventory learns which TPM is in a machine.
async fn has_tpm(server: &Server, serial: &str, software: &Software) {
    let mut tpm = software.tpm();
    let (handle, ek) = tpm.primary(Kind::Endorsement).unwrap();
    tpm.flush(handle).unwrap();
    let ids = json!({ "ids": { "tpm_ek": ek.fingerprint() } });
    let (status, answer) = server.ask(Method::PUT, &format!("/v1/machines/{serial}/report"), &ids).await;
    assert_eq!(status, 200, "{answer}");
}

/// Issue: released only after a fresh-nonce quote whose PCRs match; recovery key; deletion at retirement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_for_the_machine_that_booted_what_was_accepted() {
    let Some(mut software) = Software::start("serve-keys") else { return };
    let (mut server, door, private) = keeper("keys").await;
    assert!(why(door, &software, true).contains("the inventory knows none of m0"));
    has_tpm(&server, "m0", &software).await;
    assert!(why(door, &software, true).contains("PCR 4 is 0000000000000000…, and nobody accepted that"));
    assert!(ok(&server, &["keys", "list"]).lines().nth(1).unwrap().ends_with("refused"));
    ok(&server, &["keys", "accept", "m0"]);
    let first = key(door, &software, true);
    let again = key(door, &software, false);
    assert_eq!((first.key, again.recovery), (again.key, None));
    let recovery = recovery_text(first.recovery.as_ref().unwrap());
    assert_eq!(ok(&server, &["keys", "recover", "m0", "data", "--private", &private]).trim(), recovery);
    let line = ok(&server, &["keys", "list"]);
    let line: Vec<&str> = line.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((&line[..3], line[4], line[6]), (&["m0", "data", "TPM"][..], "yes", "released"));
    // Something else was started: the PCR is named, for the machine, for people, and in the audit log.
    software.tpm().extend(11, &[1; 32]).unwrap();
    let refused = why(door, &software, false);
    assert!(refused.starts_with("PCR 11 is ") && refused.contains(", not 0000000000000000…"), "{refused}");
    assert!(ok(&server, &["keys", "show", "m0"]).contains("refused: PCR 11 is "));
    let (_, audit) = server.get("/v1/audit?subject=m0&limit=1").await;
    let entry = &audit["entries"][0];
    assert_eq!((entry["action"].as_str(), entry["who"].as_str()), (Some("refuse disk key"), Some("m0")));
    assert!(entry["after"]["why"].as_str().unwrap().starts_with("PCR 11 is "), "{entry}");
    // Power cycles of both.
    software.power_cycle();
    assert_eq!(key(door, &software, false).key, first.key);
    server.kill();
    server.start().await;
    assert_eq!(key(door, &software, false).key, first.key);
    assert_eq!(figure(&server, "weft_netboot_disk_keys_total{result=\"released\"}").await, 1);
    // It leaves.
    ok(&server, &["machines", "set-state", "m0", "retiring"]);
    assert!(why(door, &software, false).contains("m0 is retiring"));
    assert_eq!(server.run(&["machines", "set-state", "m0", "retired"]).0, 1, "not while its keys are there");
    let recover = ["keys", "recover", "m0", "data", "--private", &private];
    assert_eq!(ok(&server, &recover).trim(), recovery, "operators can still save what is on its disk");
    ok(&server, &["keys", "delete", "m0"]);
    assert_eq!(ok(&server, &["keys", "list"]), "no machine asked for a disk key yet\n");
    assert_eq!(server.run(&recover).0, 1, "its recovery key is gone with it");
    assert!(why(door, &software, false).contains("nobody accepted that"), "what was accepted of it is gone too");
    ok(&server, &["machines", "set-state", "m0", "retired"]);
    ok(&server, &["keys", "accept", "m0"]);
    assert!(why(door, &software, true).contains("m0 is retired"), "no new key either");
    server.kill();
    server.start().await;
    assert_eq!(server.run(&recover).0, 1);
    assert!(!server.log().contains(&weft_machine::keys::Hex(first.key.to_vec()).to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_another_tpm_nor_what_was_heard_gets_a_key() {
    let Some(software) = Software::start("serve-strangers") else { return };
    let (server, door, _) = keeper("strangers").await;
    has_tpm(&server, "m0", &software).await;
    assert!(why(door, &software, true).contains("nobody accepted"));
    ok(&server, &["keys", "accept", "m0"]);
    let (got, heard) = asks(door, &software, "m0", true);
    let first = got.unwrap();
    // What the machine said, once more: a nonce is used once.
    let at = heard.windows(RELEASE.len()).position(|part| part == RELEASE.as_bytes()).unwrap() - "POST ".len();
    let mut stream = connected(door);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(&heard[at..]).unwrap();
    let mut answer = String::new();
    while !answer.contains("there is no such challenge") {
        let mut part = [0; 512];
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    // Another TPM, first as itself, then where somebody changed the inventory: the key stays with the TPM that has the other half.
    let other = Software::start("serve-other").unwrap();
    assert!(why(door, &other, true).contains("and m0 has"));
    has_tpm(&server, "m0", &other).await;
    assert!(why(door, &other, true).contains("and m0 has"));
    assert!(why(door, &software, true).contains("and m0 has"));
    has_tpm(&server, "m0", &software).await;
    assert_eq!(key(door, &software, false).key, first.key);
    let unproven = figure(&server, "weft_netboot_disk_keys_total{result=\"unproven\"}").await;
    assert_eq!(unproven, 3);
    assert!(server.log().contains("proves nothing"));
    // Nothing but these two routes is at the open address.
    let target = weft_netboot::io::client::Target::Open(format!("127.0.0.1:{door}"));
    for path in ["/v1/keys", "/v1/keys/machines/m0", "/v1/keys/certificate"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert_eq!(ask(&target, method, path, &Value::Null).await.0, 403, "{path}");
        }
    }
    // Asks too often.
    let hello = json!({ "serial": "m0", "ek": "00", "ak": "00" });
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(ask(&target, Method::POST, "/v1/keys/challenge", &hello).await.0);
    }
    assert!(statuses.contains(&400) && statuses.contains(&429), "{statuses:?}");
}

/// What a machine without a TPM gets, as `weft-key` asks: with this certificate of `whose`, from a server that `ours` signed for.
fn by_certificate(port: u16, whose: &Authority, name: &str, ours: &Authority, format: bool) -> Result<Key, Failed> {
    tokio::task::block_in_place(|| {
        let host = format!("127.0.0.1:{port}");
        let stream = connected(port);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let file = |end: &str| whose.folder.join(format!("{name}.{end}"));
        let (certificate, key) = (file("pem"), file("key"));
        let identity = Identity { certificate: &certificate, key: &key, ca: &ours.folder.join("ca.pem") };
        let mut server = tls::over(stream, &host, &identity).unwrap();
        claim_by_certificate(&Claim { host: &host, serial: "", disk: "data", format }, &mut server)
    })
}

/// Issue: without TPM an explicit weaker policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_a_tpm_gets_what_the_configuration_says() {
    let (mut server, ours, port) = with_tls("weaker").await;
    ours.client("machine", &["spiffe://weft/weft/machine/m0"]);
    ours.client("operator", &["spiffe://weft/weft/operator/somebody"]);
    let refused = |name, format| match by_certificate(port, &ours, name, &ours, format) {
        Err(Failed::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let private = server.path("operators").display().to_string();
    let said = ok(&server, &["-o", "json", "keys", "operator", &private]);
    let mut weaker: Value = serde_json::from_str(&said).unwrap();
    weaker["without_tpm"] = json!("certificate");
    let text = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    for (keys, why) in [
        (Value::Null, "this server keeps no disk keys"),
        (json!({}), "without a TPM there are no disk keys"),
        (weaker, ""),
    ] {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        if !keys.is_null() {
            config["disk_keys"] = keys;
        }
        std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
        server.kill();
        server.start().await;
        if !why.is_empty() {
            let said = refused("machine", true);
            assert!(said.contains(why), "{said}");
        }
    }
    let first = by_certificate(port, &ours, "machine", &ours, true).unwrap();
    let again = by_certificate(port, &ours, "machine", &ours, false).unwrap();
    assert_eq!((again.key, again.recovery), (first.key, None));
    let recovery = recovery_text(first.recovery.as_ref().unwrap());
    assert_eq!(ok(&server, &["keys", "recover", "m0", "data", "--private", &private]).trim(), recovery);
    assert!(ok(&server, &["keys", "list"]).contains("certificate (weaker)"));
    assert!(ok(&server, &["machines", "show", "m0"]).contains("certificate (weaker)"));
    // Nobody who reads sees the half: this is what the machine itself was told.
    let wanted = json!({ "disk": "data" });
    let (_, told) = ask(&ours.target("machine", port, &ours), Method::POST, CERTIFICATE, &wanted).await;
    let half = told["half"].as_str().unwrap();
    assert_eq!(half.len(), 64);
    for path in ["/v1/audit", "/v1/keys", "/v1/keys/machines/m0", "/v1/machines", "/v1/machines/m0"] {
        let (status, answer) = server.get(path).await;
        assert!(status == 200 && !answer.to_string().contains(half), "{path}: {answer}");
    }
    assert!(!server.log().contains(half));
    // Who is no machine, who is nobody, and a server that is not the machine's.
    assert!(refused("operator", true).contains("somebody is no machine"));
    let foreign = Authority::new(&server, "foreign");
    foreign.client("machine", &["spiffe://weft/weft/machine/m0"]);
    for (whose, believed) in [(&foreign, &ours), (&ours, &foreign)] {
        let got = by_certificate(port, whose, "machine", believed, true);
        assert!(matches!(&got, Err(Failed::Refused(why)) if why.contains("by TLS")), "{got:?}");
    }
    // A machine with a TPM has no way around it.
    let ids = json!({ "ids": { "tpm_ek": "ab".repeat(32) } });
    assert_eq!(server.ask(Method::PUT, "/v1/machines/m0/report", &ids).await.0, 200);
    assert!(refused("machine", false).contains("has a TPM"));
    // Nor has one that was stolen.
    ours.client("other", &["spiffe://weft/weft/machine/m1"]);
    ok(&server, &["machines", "set-state", "m1", "retiring"]);
    assert!(refused("other", true).contains("m1 is retiring"));
}

/// What is in a section of a program (PE format: the table of sections stands after the optional header).
fn section<'a>(program: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let number =
        |at: usize, octets: usize| program[at..at + octets].iter().rfold(0, |sum, one| sum << 8 | usize::from(*one));
    let pe = number(0x3c, 4);
    let table = pe + 24 + number(pe + 20, 2);
    let mut entries = (0..number(pe + 6, 2)).map(|at| table + at * 40);
    let entry = entries.find(|at| program[*at..at + 8].iter().copied().eq(name.bytes().chain([0; 8]).take(8)))?;
    let (size, at) = (number(entry + 8, 4), number(entry + 20, 4));
    Some(&program[at..at + size])
}

/// The machine boots this file: what the stub says to the TPM, by systemd-stub(7).
fn boots(software: &mut Software, program: &[u8]) {
    software.power_cycle();
    for name in [".linux", ".osrel", ".cmdline", ".initrd"] {
        let content = section(program, name).unwrap();
        for event in [&[name.as_bytes(), &[0]].concat()[..], content] {
            let sum = ring::digest::digest(&ring::digest::SHA256, event);
            software.tpm().extend(11, sum.as_ref().try_into().unwrap()).unwrap();
        }
    }
}

/// Issue: PCRs match what the server gave that machine to boot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_needs_nobody_and_another_command_line_is_refused() {
    let Some(mut software) = Software::start("serve-image") else { return };
    let mut server = Server::new("keys-image");
    let door = open_door(&server);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(server.path("stub"), stub()).unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["disk_keys"] = json!({ "pcrs": { "11": "image" } });
    config["boot"] = json!({
        "listen": [format!("127.0.0.1:{port}")], "images": server.path("images"),
        "loaders": { "snponly.efi": server.path("stub") },
        "uki": { "stub": server.path("stub"), "otherwise": "snponly.efi" }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    assert_eq!(server.ask(Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(2).await;
    has_tpm(&server, "m0", &software).await;
    assert!(why(door, &software, true).contains("nobody can say what it should be: it boots no image"));
    with_image(&server);
    ok(&server, &["image", "pin", "a", "--rest"]);
    let given = async || http(port, "GET /boot/uki.efi?serial=m0", "").await.body;
    let file = given().await;
    boots(&mut software, &file);
    let first = key(door, &software, true).key;
    assert!(ok(&server, &["keys", "show", "m0"]).contains("as the configuration says"));
    // Another image: refused until the machine has booted it, and then nobody has to say anything.
    ok(
        &server,
        &[
            "image",
            "add",
            "a",
            "--kernel",
            &server.path("vmlinuz").display().to_string(),
            "--initrd",
            &server.path("initrd").display().to_string(),
            "--cmdline",
            "single",
        ],
    );
    let refused = why(door, &software, false);
    assert!(refused.starts_with("PCR 11 is ") && refused.contains(" of image `a`: boot m0 again, "), "{refused}");
    let mut file = given().await;
    boots(&mut software, &file);
    assert_eq!(key(door, &software, false).key, first);
    let at = file.windows(6).position(|six| six == b"single").unwrap();
    file[at] = b'S';
    boots(&mut software, &file);
    assert!(why(door, &software, false).starts_with("PCR 11 is "));
}
