//! Connections of machines that boot, octet by octet: what is plain the kernel sends by itself, what is not goes through hyper, and nobody can
//! tell which it was.

use super::LIMIT;
use super::boot::{KERNEL, http, kernel, with_boot, with_image};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// All that comes until the other side ends.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("it ends").unwrap();
    all
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// The fields of an answer, without when it was.
fn fields(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).to_lowercase();
    let mut lines: Vec<String> =
        text.split("\r\n").filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect();
    assert_eq!(text.matches("\r\ndate: ").count(), 1, "{text}");
    lines.sort();
    lines
}

fn split(all: &[u8]) -> (&[u8], &[u8]) {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (&all[..end], &all[end + 4..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_are_answered_in_their_order() {
    let (server, port) = with_boot("pipelined").await;
    let digest = with_image(&server);
    let get = |range: &str| format!("GET /blobs/{digest}/x HTTP/1.1\r\nHost: x\r\nRange: bytes={range}\r\n\r\n");
    let last = format!("GET /blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = format!("HEAD /blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = connect(port).await;
    stream.write_all([get("0-9"), head, get("100-1199999"), last].concat().as_bytes()).await.unwrap();
    let all = rest(&mut stream).await;
    let (first, more) = split(&all);
    assert!(first.starts_with(b"HTTP/1.1 206 Partial Content\r\n") && more[..10] == kernel()[..10]);
    let (head, more) = split(&more[10..]);
    assert!(fields(head).contains(&format!("content-length: {KERNEL}")));
    let (_, more) = split(more);
    assert!(more[..1_199_900] == kernel()[100..1_200_000]);
    let (_, more) = split(&more[1_199_900..]);
    assert!(more == kernel(), "{} octets", more.len());
}

/// A head that comes in pieces is hyper's, as is one of HTTP/1.0; the answer is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_way_has_the_same_answers() {
    let (server, port) = with_boot("either").await;
    let digest = with_image(&server);
    let file = format!("/blobs/{digest}/x");
    for (request, more) in [
        (format!("GET {file}"), ""),
        (format!("GET {file}"), "Range: bytes=524280-524300\r\n"),
        (format!("GET {file}"), "Range: bytes=1300000-\r\n"),
        (format!("GET {file}"), "If-None-Match: *\r\n"),
        (format!("HEAD {file}"), ""),
        ("GET /boot.ipxe".to_owned(), ""),
        ("HEAD /boot.ipxe".to_owned(), ""),
        ("GET /nothing".to_owned(), ""),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: x\r\n{more}Connection: close\r\n\r\n");
        let mut stream = connect(port).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        let plain = rest(&mut stream).await;
        let mut stream = connect(port).await;
        stream.set_nodelay(true).unwrap();
        // Whether it comes as two parts or as one, the answer is this; that it does come as two is so nearly always.
        let (first, second) = text.split_at(9);
        stream.write_all(first.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(second.as_bytes()).await.unwrap();
        let pieces = rest(&mut stream).await;
        assert_eq!(fields(split(&plain).0), fields(split(&pieces).0), "{text}");
        assert!(split(&plain).1 == split(&pieces).1, "{text}");
        // No field of content is what hyper takes for certain.
        let mut stream = connect(port).await;
        let other = text.replace("Connection", "Content-Length: 0\r\nConnection");
        stream.write_all(other.as_bytes()).await.unwrap();
        let hyper = rest(&mut stream).await;
        assert_eq!(fields(split(&plain).0), fields(split(&hyper).0), "{text}");
        assert!(split(&plain).1 == split(&hyper).1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_and_costs_nobody_else() {
    let (server, port) = with_boot("garbage").await;
    let digest = with_image(&server);
    for octets in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 20_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(200), b"\r\n".to_vec()].concat(),
    ] {
        let mut stream = connect(port).await;
        let _ = stream.write_all(&octets).await;
        let mut all = Vec::new();
        // A refusal, or the end: who sent more than is read hears of it as a connection that is reset.
        let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("it ends");
        let said = String::from_utf8_lossy(&all).into_owned();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    // Who goes away in the middle of a file.
    let mut stream = connect(port).await;
    stream.write_all(format!("GET /blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stream);
    assert_eq!(http(port, "POST /boot.ipxe", "").await.status, 405);
    assert!(http(port, &format!("GET /blobs/{digest}"), "").await.body == kernel());
}

/// A file that is not in memory is read from the disk, and then sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_in_memory_comes_too() {
    let (server, port) = with_boot("cold").await;
    let digest = with_image(&server);
    let file = std::fs::File::open(server.path("images").join(&digest)).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(http(port, &format!("GET /blobs/{digest}"), "").await.body == kernel());
}
