//! What a path takes of memory, measured: the resident set of this process before and after a table is filled.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::fs;
use std::net::Ipv4Addr;

use weft_benches::alone::{address, conn, session, speaker};
use weft_benches::table::hosts;
use weft_bgp::speaker::{Input, Speaker};
use weft_bgp::time::Instant;

/// Host routes: enough that what else the process does is small beside them.
const ROUTES: u32 = 400_000;
/// The budget: a slot of 32 octets, the index, and room to grow for both.
const OCTETS_PER_PREFIX: u64 = 96;
/// What a second path of the same prefix may take.
const OCTETS_PER_PATH: u64 = 160;

fn give(speaker: &mut Speaker, input: Input) {
    speaker.handle(Instant::ZERO, input);
    while speaker.poll().is_some() {}
    // As the driver does: the kernel and the peers read what changed, so that the log is forgotten.
    let changes = speaker.poll_fib(usize::MAX);
    if let Some(last) = changes.last() {
        speaker.handle(Instant::ZERO, Input::FibAck { seq: last.seq, failed: Vec::new() });
    }
    for at in 0..2 {
        let mut buf = bytes::BytesMut::new();
        while speaker.poll_transmit(Instant::ZERO, conn(at), &mut buf, 1 << 15) {
            buf.clear();
        }
    }
}

/// Pages of this process that are in memory (proc_pid_statm(5)), in octets.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[test]
fn a_prefix_and_a_second_path_stay_within_their_octets() {
    let mut speaker = speaker();
    let streams = [0, 1].map(|at| {
        session(at).into_iter().for_each(|input| give(&mut speaker, input));
        hosts(ROUTES, Ipv4Addr::new(100, 0, 0, 0), 4_200_000_001 + u32::try_from(at).unwrap(), address(at))
    });
    let mut taken = [0; 2];
    for (at, stream) in streams.iter().enumerate() {
        let before = resident();
        for piece in stream.chunks(1 << 16) {
            give(&mut speaker, Input::Received { conn: conn(at), data: bytes::Bytes::copy_from_slice(piece) });
        }
        taken[at] = resident().saturating_sub(before) / u64::from(ROUTES);
    }
    assert_eq!(speaker.summary().prefixes, u64::from(ROUTES));
    println!("{} octets for a prefix with one path, {} for a second path", taken[0], taken[1]);
    assert!(taken[0] <= OCTETS_PER_PREFIX && taken[1] <= OCTETS_PER_PATH, "{taken:?}");
}
