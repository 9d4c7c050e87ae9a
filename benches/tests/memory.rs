//! What a path takes of memory, measured: what the allocator has handed out before and after a table is filled, its own headers
//! included. Not the resident set, which also grows and shrinks with what was free before.
// Another C library counts otherwise.
#![cfg(target_env = "gnu")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::net::Ipv4Addr;

use weft_benches::alone::{address, conn, session, speaker};
use weft_benches::table::hosts;
use weft_bgp::speaker::{Input, Speaker};
use weft_bgp::time::Instant;

/// Host routes: enough that what else the process does is small beside them.
const ROUTES: u32 = 400_000;
/// A slot of 32 octets, 6 to 8 of the index, and what their vectors hold in reserve.
const OCTETS_PER_PREFIX: u64 = 48;
/// What a second path of the same prefix takes: a list of 64 octets, and two paths of 20 in 48 of the allocator's.
const OCTETS_PER_PATH: u64 = 116;

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

/// What the allocator has handed out (mallinfo(3)), in octets.
#[expect(unsafe_code, reason = "the C library's own count")]
fn handed_out() -> u64 {
    // SAFETY: it reads counters of the allocator under its locks and has no arguments.
    let counts = unsafe { libc::mallinfo2() };
    u64::try_from(counts.uordblks + counts.hblkhd).unwrap()
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
        let before = handed_out();
        for piece in stream.chunks(1 << 16) {
            give(&mut speaker, Input::Received { conn: conn(at), data: bytes::Bytes::copy_from_slice(piece) });
        }
        taken[at] = handed_out().saturating_sub(before) / u64::from(ROUTES);
    }
    assert_eq!(speaker.summary().prefixes, u64::from(ROUTES));
    println!("{} octets for a prefix with one path, {} for a second path", taken[0], taken[1]);
    assert!(taken[0] <= OCTETS_PER_PREFIX && taken[1] <= OCTETS_PER_PATH, "{taken:?}");
}
