//! Files that come from other servers: real ones, and such as break in the middle or send something else.

use super::boot::{KERNEL, http, kernel, ok, with_boot, with_image};
use super::handshakes::figure;
use super::{LIMIT, Server};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The image `a` on a server that has its files, and the same store on another one that has not and knows these peers; the digest of the
/// kernel.
async fn pair(name: &str, peers: impl Fn(u16) -> Value) -> ((Server, u16), (Server, u16), String) {
    let (mut giver, from) = with_boot(&format!("{name}-giver")).await;
    let digest = with_image(&giver);
    giver.kill();
    let (file, config) = (giver.path("store.json"), |server: &Server| server.path("netboot.yaml"));
    let shown = |path: std::path::PathBuf| path.display().to_string();
    ok(&giver, &["store", "export", "--config", &shown(config(&giver)), &shown(file.clone())]);
    giver.start().await;
    let (mut taker, to) = with_boot(&format!("{name}-taker")).await;
    taker.kill();
    std::fs::remove_file(taker.path("inventory.redb")).unwrap();
    ok(&taker, &["store", "import", "--config", &shown(config(&taker)), &shown(file)]);
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(config(&taker)).unwrap()).unwrap();
    text["boot"]["peers"] = peers(from);
    std::fs::write(config(&taker), text.to_string()).unwrap();
    taker.start().await;
    ((giver, from), (taker, to), digest)
}

async fn pulls(server: &Server, end: &str) -> u64 {
    figure(server, &format!("weft_netboot_boot_pulls_total{{end=\"{end}\"}}")).await
}

async fn until(server: &Server, end: &str, count: u64) {
    let deadline = Instant::now() + LIMIT;
    while pulls(server, end).await < count {
        assert!(Instant::now() < deadline, "{end}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A peer that gives, of the kernel, what `give` makes of the octet from which it is asked; all that it was asked is in the list.
fn peer(kernel: String, give: impl Fn(usize) -> Vec<u8> + Send + 'static) -> (u16, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let lines: Vec<String> = lines.collect();
            let range = lines.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
            let from: usize = range.unwrap_or("0").parse().unwrap();
            let is_kernel = lines.first().is_some_and(|line| line.contains(&kernel));
            let (length, octets) = if is_kernel { (KERNEL, give(from)) } else { (6, b"initrd"[from..].to_vec()) };
            if is_kernel {
                seen.lock().unwrap().push(from);
            }
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}\r\nContent-Length: {}\r\n\r\n",
                length - 1,
                length - from
            );
            // Whoever ends early reads no more: that is the other side's to say.
            let _ = stream.write_all(&[head.into_bytes(), octets].concat());
        }
    });
    (port, asked)
}

fn at(ports: &[u16]) -> Value {
    json!(ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_gets_what_it_lacks_from_another() {
    let ((giver, from), (taker, to), digest) = pair("pull", |from| at(&[from])).await;
    until(&taker, "done", 2).await;
    let loaded = http(to, &format!("GET /blobs/{digest}/vmlinuz"), "").await;
    assert!(loaded.status == 200 && loaded.body == kernel(), "{} octets", loaded.body.len());
    let shown = ok(&taker, &["image", "show", "a"]);
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][3..], ["here", &format!("127.0.0.1:{from}")]);
    assert_eq!(
        (lines[1][0], &lines[1][4..], &lines[2][4..]),
        ("kernel", &["whole", "whole"][..], &["whole", "whole"][..])
    );
    // A file that is deleted comes again.
    std::fs::remove_file(taker.path("images").join(&digest)).unwrap();
    until(&taker, "done", 3).await;
    // Who does not answer is said to.
    drop(giver);
    let shown = ok(&taker, &["image", "show", "a"]);
    assert!(shown.lines().nth(1).unwrap().ends_with("whole  no answer"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_is_gone_on_with_also_after_a_restart() {
    let digest = digest_of(&kernel());
    // Each time a third of it, and then nothing more.
    let (port, asked) = peer(digest.clone(), |from| kernel()[from..(from + KERNEL / 3).min(KERNEL)].to_vec());
    let (giver, (mut taker, to), found) = pair("break", |_| at(&[port])).await;
    drop(giver);
    assert_eq!(found, digest);
    until(&taker, "broken", 1).await;
    // Half a file is none.
    let half = http(to, &format!("GET /blobs/{digest}"), "").await;
    if half.status == 503 {
        assert!(half.header("weft-has-octets").parse::<usize>().unwrap() >= KERNEL / 3, "{:?}", half.headers);
    }
    taker.kill();
    taker.start().await;
    let deadline = Instant::now() + LIMIT;
    while http(to, &format!("HEAD /blobs/{digest}"), "").await.status != 200 {
        assert!(Instant::now() < deadline, "{}", taker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(http(to, &format!("GET /blobs/{digest}"), "").await.body == kernel());
    let asked = asked.lock().unwrap().clone();
    // The rest of each third came, or the server was killed while it did: no octet is asked for twice that was there.
    assert!(asked.len() >= 4 && asked[0] == 0 && asked.is_sorted() && asked[1] > 0, "{asked:?}");
    assert_eq!(std::fs::read_dir(taker.path("images/halves")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_octets_never_get_the_name() {
    let digest = digest_of(&kernel());
    let (port, asked) = peer(digest.clone(), |from| vec![b'x'; KERNEL - from]);
    // Whichever is first: a peer that is wrong is found out when its turn comes, and the right one gives the file.
    let ((giver, from), (mut taker, to), _) = pair("wrong", |_| at(&[port])).await;
    until(&taker, "wrong", 1).await;
    assert_eq!(http(to, &format!("HEAD /blobs/{digest}"), "").await.status, 503);
    assert!(!taker.path("images").join(&digest).exists());
    assert!(taker.log().contains("wrong octets came") && taker.log().contains(&format!("127.0.0.1:{port}")));
    assert_eq!(asked.lock().unwrap().len(), 1, "it rests");
    taker.kill();
    let text = std::fs::read_to_string(taker.path("netboot.yaml")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["boot"]["peers"] = at(&[port, from]);
    std::fs::write(taker.path("netboot.yaml"), config.to_string()).unwrap();
    taker.start().await;
    until(&taker, "done", 1).await;
    assert!(http(to, &format!("GET /blobs/{digest}"), "").await.body == kernel());
    drop(giver);
}

/// What is on a server under its name.
pub(super) fn digest_of(octets: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, octets);
    weft_netboot::boot::Digest::of(digest.as_ref()).to_string()
}
