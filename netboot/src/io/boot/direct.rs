//! Answers plain requests without hyper, so that the kernel sends files by itself (sendfile): nothing of them is copied.
//!
//! Plain is a GET or HEAD of HTTP/1.1 without content, whose head came at once: what firmware, iPXE, `weft-init` and other servers send. A head
//! is looked at before it is taken, and the first one that is anything else goes to hyper untouched, with all that follow on its connection.

use super::content::{Chunk, Content};
use super::{Answer, Booter, HEAD_MAX, HEAD_WITHIN, READ_WITHIN, blocking};
use axum::http::{Method, Request, Response, header};
use rustix::io::ReadWriteFlags;
use rustix::net::SendFlags;
use std::fs::File;
use std::io::{self, IoSliceMut, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Fields of a head; with more of them it is not plain.
const FIELDS_MAX: usize = 32;
/// Octets of a file that are sent before others have their turn: a quarter of a millisecond in memory.
const TURN: u64 = 1024 * 1024;
/// How long the kernel may take to say that a socket has room which took a part of what it was offered.
const SOON: Duration = Duration::from_millis(5);
/// Why who reads nothing is cut off.
const SILENT: &str = "the other side reads nothing";
/// How far apart octets are whose presence shows that those between them are in memory: what the kernel reads ahead.
const STEP: usize = 128 * 1024;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The next head is not plain, and not taken yet.
    Rest,
    /// Nobody asks any more.
    Over,
}

/// A request and what it says of its connection.
#[derive(Debug)]
struct Plain {
    request: Request<()>,
    /// Octets of its head.
    length: usize,
    /// It is the last one.
    is_last: bool,
}

impl Booter {
    /// Answers plain requests, until one is not or there are no more.
    ///
    /// # Errors
    /// When the connection breaks, or the other side is silent, or reads nothing, for too long.
    pub(super) async fn direct(&self, stream: &mut TcpStream, from: IpAddr) -> io::Result<End> {
        let mut octets = vec![0; HEAD_MAX];
        loop {
            let count = in_time(timeout(HEAD_WITHIN, stream.peek(&mut octets)).await, "it asks for nothing")?;
            if count == 0 {
                return Ok(End::Over);
            }
            let Some(plain) = octets.get(..count).and_then(plain) else { return Ok(End::Rest) };
            stream.read_exact(octets.get_mut(..plain.length).unwrap_or_default()).await?;
            let answer = self.answer(&plain.request, from).await;
            send(stream, &plain, answer).await?;
            if plain.is_last {
                return Ok(End::Over);
            }
        }
    }
}

/// A plain request, if the octets begin with a whole one.
fn plain(octets: &[u8]) -> Option<Plain> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(octets) else { return None };
    let (Some(method), Some(path), Some(1)) = (head.method, head.path, head.version) else { return None };
    if !["GET", "HEAD"].contains(&method) {
        return None;
    }
    let mut request = Request::builder().method(method).uri(path);
    let mut is_last = false;
    for field in head.headers {
        // What speaks of content, of another protocol or of a promise.
        let is_plain = ["content-length", "transfer-encoding", "expect", "upgrade"]
            .iter()
            .all(|name| !field.name.eq_ignore_ascii_case(name));
        if field.name.eq_ignore_ascii_case("connection") {
            is_last = field.value.eq_ignore_ascii_case(b"close");
            if !is_last && !field.value.eq_ignore_ascii_case(b"keep-alive") {
                return None;
            }
        }
        if !is_plain {
            return None;
        }
        request = request.header(field.name, field.value);
    }
    Some(Plain { request: request.body(()).ok()?, length, is_last })
}

/// The octets of an answer before its content (RFC 9112 §4 and §5).
fn head(answer: &Response<Content>, is_last: bool) -> io::Result<Vec<u8>> {
    let status = answer.status();
    let mut octets = Vec::with_capacity(512);
    write!(octets, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default())?;
    for (name, value) in answer.headers() {
        octets.extend_from_slice(name.as_str().as_bytes());
        octets.extend_from_slice(b": ");
        octets.extend_from_slice(value.as_bytes());
        octets.extend_from_slice(b"\r\n");
    }
    if is_last {
        write!(octets, "{}: close\r\n", header::CONNECTION)?;
    }
    // RFC 9110 §6.6.1: who has a clock says when it was.
    write!(octets, "{}: {}\r\n\r\n", header::DATE, httpdate::fmt_http_date(SystemTime::now()))?;
    Ok(octets)
}

async fn send(stream: &TcpStream, plain: &Plain, answer: Answer) -> io::Result<()> {
    let head = head(&answer, plain.is_last)?;
    let mut content = answer.into_body();
    // RFC 9110 §9.3.2: the fields of a GET, and no content.
    if plain.request.method() == Method::HEAD {
        content = Content::default();
    }
    // Packets are full until the last one: a turn of a file has no end of its own on the wire.
    rustix::net::sockopt::set_tcp_cork(stream, true)?;
    send_octets(stream, &head).await?;
    for chunk in &content.chunks {
        let sent = match chunk {
            Chunk::Octets(octets) => {
                send_octets(stream, octets).await?;
                u64::try_from(octets.len()).unwrap_or(u64::MAX)
            }
            Chunk::File { file, from, to } => {
                send_file(stream, file, *from, *to).await?;
                to - from
            }
        };
        if let Some(whole) = &mut content.whole {
            whole.took(sent);
        }
    }
    Ok(rustix::net::sockopt::set_tcp_cork(stream, false)?)
}

async fn send_octets(stream: &TcpStream, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        let sent = when_writable(stream, || rustix::net::send(stream, octets, SendFlags::NOSIGNAL)).await?;
        octets = octets.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Has the kernel send octets of a file. Those that are not in memory are read first where waiting for a disk delays nobody.
async fn send_file(stream: &TcpStream, file: &Arc<File>, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let end = to.min(at + TURN);
        if !is_in_memory(file, at, end) {
            let file = file.clone();
            blocking(move || warm(&file, at, end)).await?;
        }
        send_turn(stream, file, &mut at, end).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Sends one turn. A socket that took less than it was offered is full: who tries again at once sends packet by packet what its reader takes,
/// so the kernel is to say when there is room for more (as it does after a refusal). If it was something else, `SOON` is soon enough.
async fn send_turn(stream: &TcpStream, file: &File, at: &mut u64, end: u64) -> io::Result<()> {
    let mut is_late = false;
    loop {
        let from = *at;
        let count = usize::try_from(end - from).unwrap_or(usize::MAX);
        let mut offer = || match rustix::fs::sendfile(stream, file, Some(&mut *at), count) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is shorter than it was")),
            Ok(sent) if sent < count => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let sent = if is_late { offer() } else { stream.try_io(Interest::WRITABLE, offer) };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            done => return done,
        }
        let took_some = *at > from;
        let patience = if took_some { SOON } else { READ_WITHIN };
        let room = timeout(patience, stream.writable()).await;
        is_late = took_some && room.is_err();
        if !is_late {
            in_time(room, SILENT)?;
        }
    }
}

/// Whether octets of a file can be had at once, by samples.
fn is_in_memory(file: &File, from: u64, to: u64) -> bool {
    (from..to).step_by(STEP).chain([to - 1]).all(|at| {
        let mut octet = [0];
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut octet)], at, ReadWriteFlags::NOWAIT);
        read == Ok(1)
    })
}

/// Reads octets of a file, so that the kernel has them.
fn warm(file: &File, mut from: u64, to: u64) -> io::Result<()> {
    let mut octets = vec![0; STEP];
    while from < to {
        let count = usize::try_from(to - from).map_or(STEP, |left| left.min(STEP));
        file.read_exact_at(octets.get_mut(..count).unwrap_or_default(), from)?;
        from += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok(())
}

/// Tries until the socket takes something; who reads nothing ends.
async fn when_writable<T>(stream: &TcpStream, mut work: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match stream.try_io(Interest::WRITABLE, || work().map_err(io::Error::from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                in_time(timeout(READ_WITHIN, stream.writable()).await, SILENT)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn in_time<T, E>(done: Result<io::Result<T>, E>, why: &'static str) -> io::Result<T> {
    done.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<(String, usize, bool)> {
        let plain = plain(text.as_bytes())?;
        Some((format!("{} {}", plain.request.method(), plain.request.uri()), plain.length, plain.is_last))
    }

    #[test]
    fn what_firmware_and_tools_send_is_plain() {
        let ipxe = "GET /boot/script?serial=N1 HTTP/1.1\r\nConnection: keep-alive\r\nUser-Agent: iPXE/1.0.0\r\nHost: 10.72.0.1:8080\r\n\r\n";
        assert_eq!(said(ipxe), Some(("GET /boot/script?serial=N1".to_owned(), ipxe.len(), false)));
        let edk2 =
            "HEAD /boot/uki.efi HTTP/1.1\r\nHost: 10.72.0.1\r\nAccept: */*\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\n";
        assert_eq!(said(edk2), Some(("HEAD /boot/uki.efi".to_owned(), edk2.len(), false)));
        let last = "GET / HTTP/1.1\r\nconnection: Close\r\n\r\n";
        assert_eq!(said(&format!("{last}GET /more")), Some(("GET /".to_owned(), last.len(), true)));
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "GET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
            "GET /\u{7f} HTTP/1.1\r\n\r\n",
            "\x16\x03\x01",
            "",
        ] {
            assert_eq!(said(text), None, "{text:?}");
        }
        let many = "x: y\r\n".repeat(FIELDS_MAX + 1);
        assert_eq!(said(&format!("GET / HTTP/1.1\r\n{many}\r\n")), None);
    }

    /// More than the sockets of both sides hold.
    const LARGE: u64 = 64 << 20;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, other)
    }

    /// A file of so many zeros, which is nowhere any more.
    fn zeros(name: &str, count: u64) -> Arc<File> {
        let path = std::env::temp_dir().join(format!("weft-direct-{}-{name}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(count).unwrap();
        Arc::new(file)
    }

    /// Time is virtual: it passes when nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_cut_off() {
        let octets = vec![0; usize::try_from(LARGE).unwrap()];
        let file = zeros("silent", LARGE);
        for is_file in [false, true] {
            let (stream, other) = pair().await;
            let begin = tokio::time::Instant::now();
            let sent = match is_file {
                true => send_file(&stream, &file, 0, LARGE).await,
                false => send_octets(&stream, &octets).await,
            };
            assert_eq!(sent.unwrap_err().to_string(), SILENT);
            assert!(begin.elapsed() >= READ_WITHIN);
            drop(other);
        }
    }

    #[tokio::test]
    async fn a_file_comes_whole_and_one_that_became_shorter_is_an_error() {
        let (stream, mut other) = pair().await;
        let sending = tokio::spawn(async move { send_file(&stream, &zeros("whole", LARGE), 5, LARGE).await });
        let mut octets = Vec::new();
        other.read_to_end(&mut octets).await.unwrap();
        sending.await.unwrap().unwrap();
        assert_eq!(u64::try_from(octets.len()).unwrap(), LARGE - 5);
        let (stream, _other) = pair().await;
        let error = send_turn(&stream, &zeros("shorter", 100), &mut 10, 200).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest::proptest! {
        #[test]
        fn no_octets_are_too_much(octets: Vec<u8>) {
            let _ = plain(&octets);
            let _ = plain(&[b"GET / HTTP/1.1\r\n", &octets[..]].concat());
        }
    }
}
