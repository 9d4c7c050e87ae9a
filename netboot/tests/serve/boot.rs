//! Images and the boot service, as firmware asks it: octets of HTTP as they are on the wire.

use super::handshakes::figure;
use super::{LIMIT, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More than is read at a time.
pub(super) const KERNEL: usize = 1_300_000;

/// A server with a boot service.
pub(super) async fn with_boot(name: &str) -> (Server, u16) {
    let mut server = Server::new(name);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["boot"] = serde_json::json!({ "listen": [format!("127.0.0.1:{port}")], "images": server.path("images") });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    (server, port)
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own, whose answer is everything until its end.
pub(super) async fn http(port: u16, request: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // Without a port in `Host`, as EDK2 has it.
    let head = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("an answer comes").unwrap();
    answer(&all)
}

/// A whole answer, as it came.
pub(super) fn answer(all: &[u8]) -> Answer {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: all[end + 4..].to_vec() }
}

pub(super) fn ok(server: &Server, words: &[&str]) -> String {
    let (code, out, error) = server.run(words);
    assert_eq!(code, 0, "{words:?}: {error}");
    out
}

pub(super) fn kernel() -> Vec<u8> {
    (0..KERNEL).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// An image `a`; its kernel's digest.
pub(super) fn with_image(server: &Server) -> String {
    std::fs::write(server.path("vmlinuz"), kernel()).unwrap();
    std::fs::write(server.path("initrd"), b"initrd").unwrap();
    let path = |name: &str| server.path(name).display().to_string();
    let add = ["--kernel", &path("vmlinuz"), "--initrd", &path("initrd"), "--cmdline", "quiet panic=5"];
    let shown = ok(server, &[&["image", "add", "a"], &add[..]].concat());
    assert!(shown.contains("kernel") && shown.contains("command line: quiet panic=5"), "{shown}");
    let boots: Value = serde_json::from_str(&ok(server, &["--output", "json", "image", "show", "a"])).unwrap();
    boots["image"]["kernel"]["sha256"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_file_to_the_script_of_a_machine() {
    let (server, port) = with_boot("boot").await;
    assert_eq!(server.ask(hyper::Method::PUT, "/v1/ipam", &super::ipam()).await.0, 200);
    server.register(2).await;
    assert_eq!(ok(&server, &["image", "list"]), "there is no image\n");
    // Known or not, and whatever it says: a script, never an error.
    let waits = http(port, "GET /boot/script?serial=m0&mac=%00%0a&uuid", "").await;
    assert_eq!((waits.status, waits.text().contains("nobody said yet what m0 (")), (200, true), "{}", waits.text());
    let digest = with_image(&server);
    // The image is its own: as often as it is added, its files are there once.
    assert_eq!(with_image(&server), digest);
    ok(&server, &["image", "pin", "a", "--role", "cs"]);
    ok(&server, &["image", "pin", "disk", "--machine", "m1"]);
    let entry = http(port, "GET /boot.ipxe", "").await;
    assert!(
        entry.text().starts_with("#!ipxe\n") && entry.text().contains("chain --timeout 10000 --replace"),
        "{}",
        entry.text()
    );
    let script = http(port, "GET /boot/script?serial=m0", "").await.text();
    let line = format!("kernel --timeout 10000 /blobs/{digest}/vmlinuz initrd=initrd0 quiet panic=5 || goto failed\n");
    assert!(script.contains(&line), "{script}");
    let disk = http(port, "GET /boot/script?serial=m1", "").await.text();
    assert!(disk.ends_with("boots from its disk\nexit\n"), "{disk}");
    let loaded = http(port, &format!("GET /blobs/{digest}/vmlinuz"), "").await;
    assert!(loaded.body == kernel(), "{} octets", loaded.body.len());
    let (code, _, error) = server.run(&["image", "remove", "a"]);
    assert_eq!((code, error.contains("the role cs boots `a`")), (1, true), "{error}");
    ok(&server, &["image", "pin", "none", "--role", "cs"]);
    ok(&server, &["image", "remove", "a"]);
    // The files are young: another image may be about to need them.
    assert_eq!(ok(&server, &["image", "gc"]), "0 files are deleted, 0 octets\n");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    std::fs::File::options().write(true).open(server.path("images").join(&digest)).unwrap().set_modified(old).unwrap();
    assert_eq!(ok(&server, &["image", "gc"]), format!("1 files are deleted, {KERNEL} octets\n"));
    assert_eq!(http(port, &format!("GET /blobs/{digest}"), "").await.status, 404);
    let audit = ok(&server, &["audit"]);
    assert!(audit.contains("add image a") && audit.contains("remove image a"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_served_as_rfc_9110_says() {
    let (server, port) = with_boot("ranges").await;
    let digest = with_image(&server);
    let path = format!("/blobs/{digest}/any-name");
    let get = format!("GET {path}");
    let tag = format!("\"{digest}\"");
    // §9.3.2: a HEAD has the fields of a GET, and no content.
    let head = http(port, &format!("HEAD {path}"), "Range: bytes=0-9\r\n").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "1300000", 0));
    assert_eq!((head.header("etag"), head.header("accept-ranges")), (tag.as_str(), "bytes"));
    assert_eq!(
        http(port, "HEAD /boot.ipxe", "").await.header("content-length").parse(),
        Ok(http(port, "GET /boot.ipxe", "").await.body.len())
    );
    let whole = http(port, &get, "").await;
    assert!(whole.status == 200 && whole.header("content-length") == "1300000" && whole.body == kernel());
    assert!(!whole.headers.contains_key("transfer-encoding"), "firmware reads no chunks");
    // §14: over the border of what is read at a time, the end, and one octet.
    for (range, from, to) in [
        ("524280-524300", 524_280, 524_301),
        ("-5", KERNEL - 5, KERNEL),
        ("1299999-", KERNEL - 1, KERNEL),
        ("0-0", 0, 1),
    ] {
        let part = http(port, &get, &format!("Range: bytes={range}\r\n")).await;
        let said = format!("bytes {from}-{}/{KERNEL}", to - 1);
        assert_eq!((part.status, part.header("content-range")), (206, said.as_str()), "{range}");
        assert!(part.body == kernel()[from..to] && part.header("content-length") == (to - from).to_string(), "{range}");
    }
    let behind = http(port, &get, "Range: bytes=1300000-\r\n").await;
    assert_eq!((behind.status, behind.header("content-range"), behind.body.len()), (416, "bytes */1300000", 0));
    // §13.1.2 and §13.1.5.
    assert_eq!(http(port, &get, &format!("If-None-Match: {tag}\r\n")).await.status, 304);
    assert_eq!(http(port, &get, "If-None-Match: \"other\"\r\n").await.status, 200);
    assert_eq!(http(port, &get, &format!("If-Range: {tag}\r\nRange: bytes=0-9\r\n")).await.body.len(), 10);
    assert_eq!(http(port, &get, "If-Range: \"other\"\r\nRange: bytes=0-9\r\n").await.body.len(), KERNEL);
    for (request, status) in
        [("POST /boot.ipxe", 405), ("GET /", 404), ("GET /blobs/..%2f..%2fetc%2fpasswd", 404), ("GET /blobs/", 404)]
    {
        assert_eq!(http(port, request, "").await.status, status, "{request}");
    }
    // A file that an image has and that is not here will come: who asks tries again.
    std::fs::remove_file(server.path("images").join(&digest)).unwrap();
    let missing = http(port, &get, "").await;
    assert_eq!((missing.status, missing.header("retry-after")), (503, "2"));
    let (files, missing) = (figure_of(&server, "file").await, figure_of(&server, "missing").await);
    assert!(
        files == 11 && missing == 1 && figure_of(&server, "refused").await == 4,
        "{files} files, {missing} missing"
    );
}

async fn figure_of(server: &Server, what: &str) -> u64 {
    figure(server, &format!("weft_netboot_boot_requests_total{{what=\"{what}\"}}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_taken_whole_and_true_or_not_at_all() {
    let (mut server, port) = with_boot("upload").await;
    let digest = with_image(&server);
    let wrong = format!("/v1/boot/files/{}", "ab".repeat(32));
    let (status, answer) = server.ask(hyper::Method::PUT, &wrong, &serde_json::json!("other")).await;
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().starts_with("its SHA-256 is "), "{answer}");
    let none = serde_json::json!({ "kernel": { "sha256": "ab".repeat(32), "bytes": 7 } });
    let (status, answer) = server.ask(hyper::Method::PUT, "/v1/boot/images/b", &none).await;
    assert_eq!(status, 409, "{answer}");
    // What had not come whole when a server was killed is gone with the next one, and what had is there.
    std::fs::write(server.path("images/incoming/7"), b"half").unwrap();
    server.kill();
    server.start().await;
    assert!(!server.path("images/incoming/7").exists());
    assert_eq!(http(port, &format!("HEAD /blobs/{digest}"), "").await.status, 200);
}

/// One source has few connections, and who stops reading goes: others load meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_connections_keeps_nobody_out() {
    let (server, port) = with_boot("held").await;
    let digest = with_image(&server);
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = stream.write_all(b"GET /boot.ipxe HTTP/1.1\r\n").await;
        held.push(stream);
    }
    let deadline = Instant::now() + LIMIT;
    while figure_of(&server, "full").await < 24 {
        assert!(Instant::now() < deadline, "{} connections had no place", figure_of(&server, "full").await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
    let mut other = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let request = format!("GET /blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    other.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(LIMIT, other.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.ends_with(&kernel()));
}

/// A loader as a client of TFTP takes it: options agreed, four blocks at a time; and what it is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_comes_by_tftp_and_by_http() {
    let mut server = Server::new("tftp");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tftp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let loader = kernel()[..10_000].to_vec();
    std::fs::write(server.path("loader"), &loader).unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let (images, file) = (server.path("images"), server.path("loader"));
    config["boot"] = serde_json::json!({
        "listen": [format!("127.0.0.1:{port}")], "images": images, "tftp": tftp, "loaders": { "snponly.efi": file }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    let part = http(port, "GET /snponly.efi", "Range: bytes=-10\r\n").await;
    assert!(part.status == 206 && part.body == loader[9_990..], "{}", part.status);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ask = |request: &'static [u8]| async { socket.send_to(request, tftp).await.unwrap() };
    let mut buffer = [0; 2_000];
    ask(b"\x00\x01/etc/passwd\x00octet\x00").await;
    let (count, _) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer[..count], *b"\x00\x05\x00\x01no such file\x00");
    ask(b"\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00tsize\x000\x00windowsize\x004\x00").await;
    let (count, from) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer[..count], *b"\x00\x06blksize\x001468\x00tsize\x0010000\x00windowsize\x004\x00");
    assert!(from.ip() == tftp.ip() && from.port() != tftp.port(), "{from}");
    socket.send_to(b"\x00\x04\x00\x00", from).await.unwrap();
    let mut got = Vec::new();
    for block in 1_u16..=7 {
        let (count, _) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..4], [[0, 3], block.to_be_bytes()].concat());
        got.extend_from_slice(&buffer[4..count]);
        if block % 4 == 0 || block == 7 {
            socket.send_to(&[[0, 4], block.to_be_bytes()].concat(), from).await.unwrap();
        }
    }
    assert!(got == loader);
    let deadline = Instant::now() + LIMIT;
    while figure(&server, "weft_netboot_tftp_transfers_total{end=\"done\"}").await != 1 {
        assert!(Instant::now() < deadline, "the transfer does not end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The least that is a program of UEFI: headers without a section.
pub(super) fn stub() -> Vec<u8> {
    let mut stub = vec![0; 0x400];
    for (at, octets) in [
        (0, &b"MZ"[..]),
        (0x3c, &[0x80]),
        (0x80, b"PE\0\0"),
        (0x84, &[0x64, 0x86]),
        (0x94, &[240]),
        (0x98, &[0x0b, 2]),
        (0xb9, &[0x10]),
        (0xbd, &[2]),
        (0xd5, &[4]),
        (0x104, &[16]),
    ] {
        stub[at..at + octets.len()].copy_from_slice(octets);
    }
    stub
}

/// The stub is the least that is a program of UEFI; real ones are in stage `boot`, where real firmware starts what comes of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_comes_as_one_file_and_who_has_none_gets_a_loader() {
    let mut server = Server::new("uki");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(server.path("stub"), stub()).unwrap();
    std::fs::write(server.path("loader"), b"loader").unwrap();
    let config = std::fs::read_to_string(server.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["boot"] = serde_json::json!({
        "listen": [format!("127.0.0.1:{port}")], "images": server.path("images"), "loaders": { "snponly.efi": server.path("loader") },
        "uki": { "stub": server.path("stub"), "otherwise": "snponly.efi" }
    });
    std::fs::write(server.path("netboot.yaml"), config.to_string()).unwrap();
    server.start().await;
    let get = "GET /boot/uki.efi?serial=m0";
    assert_eq!(http(port, get, "").await.text(), "loader", "nobody said yet what it boots");
    let digest = with_image(&server);
    ok(&server, &["image", "pin", "a", "--rest"]);
    let whole = http(port, get, "").await;
    let head = http(port, "HEAD /boot/uki.efi", "").await;
    assert_eq!(
        (head.header("content-length"), head.header("etag")),
        (whole.body.len().to_string().as_str(), whole.header("etag"))
    );
    let sections: Vec<_> = whole.body[0x188..0x188 + 160].chunks(40).map(|header| header[..8].to_vec()).collect();
    assert_eq!(sections, [b".osrel\0\0", b".cmdline", b".initrd\0", b".linux\0\0"]);
    // The kernel is the last section, behind it are zeros up to the file's alignment.
    let end = whole.body.len() - (512 - KERNEL % 512);
    assert!(whole.body[end - KERNEL..end] == kernel() && whole.body.windows(14).any(|part| part == b"quiet panic=5\0"));
    let range = format!("Range: bytes={}-{}\r\n", end - KERNEL - 700, end - 5);
    assert!(http(port, get, &range).await.body == whole.body[end - KERNEL - 700..end - 4]);
    // Its disk, or a file that is not here: the loader, whose script says so, and asks again.
    std::fs::remove_file(server.path("images").join(&digest)).unwrap();
    assert_eq!(http(port, get, "").await.text(), "loader");
}
