//! Checks against real sockets, files and commands, well-behaved and not.

mod secured;

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use weft_bgp::time::Duration;

/// The outcome of one check.
#[expect(clippy::unwrap_in_result, reason = "the result is what is tested")]
fn outcome(probe: Probe, timeout_ms: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (checks, mut results) = Checks::new();
        let timeout = Duration::from_millis(timeout_ms);
        checks.start(Order { name: "service".to_owned(), run: 7, probe, timeout });
        let result = results.recv().await.unwrap();
        let Input::Checked { name, run: 7, outcome } = result else { panic!("{result:?}") };
        assert_eq!(name, "service");
        outcome
    })
}

/// A server that answers every connection with this, and where it is.
fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a server for one test")]
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
        }
    });
    address
}

fn http_probe(answer: &'static [u8]) -> Probe {
    Probe::Http { address: server(answer), host: "service".to_owned(), target: "/health?full".to_owned(), tls: None }
}

fn command(line: &str) -> Probe {
    let command = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    Probe::Exec { command, user: "nobody".to_owned() }
}

#[test]
fn a_connection_that_can_be_made_is_good() {
    assert_eq!(outcome(Probe::Tcp(server(b"")), 5_000), Ok(()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = outcome(Probe::Tcp(nobody), 5_000).unwrap_err();
    assert!(refused.to_lowercase().contains("refused"), "{refused}");
}

#[test]
fn statuses_of_success_are_good_and_no_other() {
    assert_eq!(outcome(http_probe(b"HTTP/1.1 204 No Content\r\n\r\n"), 5_000), Ok(()));
    for answer in [
        &b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 301 Moved\r\nlocation: /\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ] {
        assert!(outcome(http_probe(answer), 5_000).is_err(), "{answer:?}");
    }
    let unavailable = outcome(http_probe(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), 5_000).unwrap_err();
    assert!(unavailable.ends_with("status 503 Service Unavailable"), "{unavailable}");
}

#[test]
fn answers_that_are_none_are_failures() {
    let continued: &'static [u8] = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000).leak().as_bytes();
    let fields: &'static [u8] = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1_000)).leak().as_bytes();
    for answer in [
        &b"HTTP/9.9 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\0: \0\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\r\n",
        continued,
        fields,
    ] {
        let start = String::from_utf8_lossy(&answer[..answer.len().min(60)]);
        assert!(outcome(http_probe(answer), 20_000).is_err(), "{start:?}");
    }
}

/// A good answer with octets changed at random: it ends, one way or the other, and says why in one short line.
#[test]
fn answers_with_changed_octets_come_to_an_end() {
    let good = b"HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for seed in 0..100 {
        let mut rng = weft_bgp::rng::Rng::new(seed);
        let mut changed = good.to_vec();
        for _ in 0..1 + seed % 6 {
            let at = usize::try_from(rng.next_u64()).unwrap() % changed.len();
            changed[at] = rng.next_u64().to_ne_bytes()[0];
        }
        if let Err(why) = outcome(http_probe(changed.leak()), 20_000) {
            assert!(
                why.len() < 400 && !why.contains('\n') && !why.contains("no answer within"),
                "seed {seed}: {why:?}"
            );
        }
    }
}

#[test]
fn a_head_without_end_is_cut_off() {
    let endless: &'static [u8] =
        Box::leak([&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'x'; 1 << 20]].concat().into_boxed_slice());
    assert!(outcome(http_probe(endless), 5_000).is_err());
}

#[test]
fn who_says_nothing_has_failed_when_the_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let probe = Probe::Http { address, host: "service".to_owned(), target: "/".to_owned(), tls: None };
    assert_eq!(outcome(probe, 100), Err("no answer within 100 ms".to_owned()));
}

#[test]
fn a_file_is_there_or_not() {
    assert_eq!(outcome(Probe::File("/proc/self/stat".into()), 5_000), Ok(()));
    let missing = outcome(Probe::File("/nonexistent/ready".into()), 5_000).unwrap_err();
    assert!(missing.starts_with("/nonexistent/ready: "), "{missing}");
}

#[test]
fn a_command_says_why_it_failed_and_runs_without_rights_and_environment() {
    assert_eq!(outcome(command("exit 0"), 10_000), Ok(()));
    let failed = outcome(command("echo disk full >&2; exit 3"), 10_000);
    assert_eq!(failed, Err("/bin/sh: exit code 3: disk full".to_owned()));
    assert_eq!(outcome(command("kill -9 $$"), 10_000), Err("/bin/sh: signal 9".to_owned()));
    if rustix::process::geteuid().is_root() {
        let who = outcome(command("id -u; id -G; exit 1"), 10_000).unwrap_err();
        assert!(who.ends_with(": 65534"), "{who}");
    }
    assert_eq!(outcome(command("test -z \"$HOME$USER$CARGO\""), 10_000), Ok(()));
    let absent = Probe::Exec { command: vec!["/nonexistent/check".to_owned()], user: "nobody".to_owned() };
    assert!(outcome(absent, 10_000).is_err());
}

#[test]
fn a_command_that_talks_without_end_is_ended_with_all_its_children() {
    let marker = std::env::temp_dir().join(format!("weft-check-{}", std::process::id()));
    let _ = std::fs::remove_file(&marker);
    let line = format!("(sleep 1; touch {}) & while :; do echo talk; done", marker.display());
    assert_eq!(outcome(command(&line), 300), Err("no answer within 300 ms".to_owned()));
    let long = outcome(command("head -c 1000000 /dev/zero | tr '\\0' x; exit 1"), 10_000).unwrap_err();
    assert!(long.len() < 5_000 && long.starts_with("/bin/sh: exit code 1: xxx"), "{}", long.len());
    let child = outcome(command("sleep 1; exit 1"), 10_000);
    assert_eq!(child, Err("/bin/sh: exit code 1".to_owned()));
    assert!(!marker.exists(), "the child was ended before its second was over");
}
