//! The speaker alone, without sockets: real byte streams in, real byte streams out, in one process.
//! `cargo bench -p weft-benches --bench speaker -- --case a1`. What the sink hears is counted and summed, prefix by prefix.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    reason = "a program for people"
)]

use std::net::Ipv4Addr;
use std::time::Instant as Clock;

use anyhow::{Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::Parser;
use weft_benches::alone::{address, conn, session, speaker};
use weft_benches::table::{HEADER_BYTES, Prefix, PrefixSet, Table, hosts, walk_nlri};
use weft_bgp::speaker::{Input, Output, Speaker};
use weft_bgp::time::Instant;
use weft_bgp::types::ConnId;

/// Octets of one read of the driver.
const READ: usize = 1 << 16;
/// Octets asked for at once.
const WRITE: usize = 1 << 15;
/// Changes that the kernel side takes at once.
const FIB: usize = 4_096;

#[derive(Debug, Parser)]
struct Arguments {
    /// a1 (1 feeder, 1 monitor), a3 (10 feeders with the same tenth), a4 (64 peers × 1k /32), a5 (1,000 peers × 10 /32).
    #[arg(long, default_value = "a1")]
    case: String,
    /// Prefixes of a1.
    #[arg(long, default_value_t = 1_000_000)]
    prefixes: usize,
    /// Reads before anybody is told, as of a driver that hears everybody first.
    #[arg(long, default_value_t = 1)]
    reads: usize,
    /// Say how long the longest call takes; asking the clock of every call takes time too.
    #[arg(long)]
    longest: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one peer offers, and what it has heard.
#[derive(Default)]
struct Remote {
    stream: Bytes,
    announced: u64,
    withdrawn: u64,
    updates: u64,
    octets: u64,
    /// Sum of a number per prefix held: equal sets have equal sums.
    sum: u64,
    /// What is held, where prefixes may be announced again.
    held: Option<PrefixSet>,
    writable: bool,
}

struct Bench {
    speaker: Speaker,
    remotes: Vec<Remote>,
    fib: bool,
    routes: u64,
    buf: BytesMut,
    longest: Option<Longest>,
}

/// CPU seconds of the longest call of each kind: nobody else is heard meanwhile.
#[derive(Default)]
struct Longest {
    handle: f64,
    transmit: f64,
    fib: f64,
}

/// Notes how long a call took, if that is the longest so far and somebody wants to know.
fn timed<T>(longest: Option<&mut f64>, call: impl FnOnce() -> T) -> T {
    let Some(longest) = longest else {
        return call();
    };
    let start = cpu_s();
    let result = call();
    *longest = longest.max(cpu_s() - start);
    result
}

const fn number((address, length): Prefix) -> u64 {
    (((address as u64) << 6) | length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Bench {
    fn new(streams: Vec<Vec<u8>>) -> Self {
        let speaker = speaker();
        let remotes = streams.into_iter().map(|stream| Remote { stream: stream.into(), ..Remote::default() }).collect();
        let mut bench = Self { speaker, remotes, fib: false, routes: 0, buf: BytesMut::new(), longest: None };
        for at in 0..bench.remotes.len() {
            bench.establish(at);
        }
        bench.serve();
        bench
    }

    fn establish(&mut self, at: usize) {
        session(at).into_iter().for_each(|input| self.give(input));
    }

    fn give(&mut self, input: Input) {
        timed(self.longest.as_mut().map(|longest| &mut longest.handle), || self.speaker.handle(Instant::ZERO, input));
        while let Some(output) = self.speaker.poll() {
            match output {
                Output::Writable(conn) => self.remotes[(conn.0 & !ConnId::ACCEPTED) as usize].writable = true,
                Output::FibReady => self.fib = true,
                Output::Connect { .. } | Output::Close { .. } | Output::Event(_) | Output::HoldBack { .. } => {}
            }
        }
    }

    /// What a driver does when it has no input: the kernel's changes, the sockets' room, slices of work.
    fn serve(&mut self) {
        loop {
            let mut idle = true;
            if std::mem::take(&mut self.fib) {
                let changes =
                    timed(self.longest.as_mut().map(|longest| &mut longest.fib), || self.speaker.poll_fib(FIB));
                self.fib = changes.len() == FIB;
                self.routes += changes.len() as u64;
                if let Some(last) = changes.last() {
                    self.give(Input::FibAck { seq: last.seq, failed: Vec::new() });
                    idle = false;
                }
            }
            for at in 0..self.remotes.len() {
                if std::mem::take(&mut self.remotes[at].writable) {
                    self.buf.clear();
                    let more = timed(self.longest.as_mut().map(|longest| &mut longest.transmit), || {
                        self.speaker.poll_transmit(Instant::ZERO, conn(at), &mut self.buf, WRITE)
                    });
                    let remote = &mut self.remotes[at];
                    remote.writable = more;
                    remote.hear(&self.buf);
                    idle = false;
                }
            }
            if self.speaker.next_timeout().is_some_and(|(at, _)| at == Instant::ZERO) {
                self.give(Input::Tick);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    /// Every peer offers its stream, in turns of one read.
    fn offer(&mut self, reads: usize) {
        let mut left = true;
        while left {
            left = false;
            for at in (0..self.remotes.len()).flat_map(|at| std::iter::repeat_n(at, reads)) {
                let stream = &mut self.remotes[at].stream;
                if !stream.is_empty() {
                    // The driver's reads are copies out of the kernel.
                    let data = Bytes::copy_from_slice(&stream.split_to(stream.len().min(READ)));
                    left |= !stream.is_empty();
                    self.give(Input::Received { conn: conn(at), data });
                }
            }
            self.serve();
        }
    }
}

impl Remote {
    fn hear(&mut self, mut bytes: &[u8]) {
        self.octets += bytes.len() as u64;
        let field = |at: &[u8]| usize::from(u16::from_be_bytes([at[0], at[1]]));
        while bytes.len() >= HEADER_BYTES {
            let (message, rest) = bytes.split_at(field(&bytes[16..]));
            bytes = rest;
            if message[18] != 2 {
                continue;
            }
            self.updates += 1;
            let body = &message[HEADER_BYTES..];
            let (withdrawn, rest) = body[2..].split_at(field(body));
            let announced = &rest[2 + field(rest)..];
            walk_nlri(withdrawn, |prefix| {
                self.withdrawn += 1;
                self.sum = self.sum.wrapping_sub(number(prefix));
            });
            walk_nlri(announced, |prefix| {
                self.announced += 1;
                if self.held.as_mut().is_none_or(|held| held.insert(prefix)) {
                    self.sum = self.sum.wrapping_add(number(prefix));
                }
            });
        }
    }
}

/// CPU time of this process so far (s): the machine may be shared.
fn cpu_s() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)).as_secs_f64()
}

/// A `kB` field of /proc/self/status, in MB.
fn memory_mb(field: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    Ok(line.split_whitespace().nth(1).unwrap_or("0").parse::<f64>()? / 1_024.0)
}

/// The sum that a peer holds which was told all of `streams`.
fn sum_of<'a>(streams: impl Iterator<Item = &'a Vec<u8>>) -> u64 {
    let mut all = Remote::default();
    streams.for_each(|stream| all.hear(stream));
    all.sum
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let full = |count, at: usize| Table::full(count, 4_200_000_001 + at as u32, address(at)).stream;
    let tors = |peers: usize, count: usize| -> Vec<_> {
        let first = |at: usize| Ipv4Addr::from(0x0b00_0000 + (at * count) as u32);
        (0..peers).map(|at| hosts(count as u32, first(at), 4_200_000_001 + at as u32, address(at))).collect()
    };
    // Prefixes that the last peer hears, and the sum over them.
    let (streams, expected) = match arguments.case.as_str() {
        "a1" => (vec![full(arguments.prefixes, 0), Vec::new()], arguments.prefixes),
        "a3" => {
            let mut streams: Vec<_> = (0..10).map(|at| full(arguments.prefixes / 10, at)).collect();
            streams.push(Vec::new());
            (streams, arguments.prefixes / 10)
        }
        "a4" => (tors(64, 1_000), 63_000),
        "a5" => (tors(1_000, 10), 9_990),
        other => bail!("--case {other}: not one of a1, a3, a4, a5"),
    };
    let last = streams.len() - 1;
    let shared = arguments.case == "a3";
    let sum = sum_of(streams[..if shared { 1 } else { last }].iter());
    let clock = Clock::now();
    let mut bench = Bench::new(streams);
    bench.remotes[last].held = shared.then(PrefixSet::default);
    println!("{} peers Established after {:.3} s", last + 1, clock.elapsed().as_secs_f64());
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = memory_mb("VmRSS")?;
    let (clock, cpu) = (Clock::now(), cpu_s());
    bench.longest = arguments.longest.then(Longest::default);
    bench.offer(arguments.reads);
    let (told_s, told_cpu_s) = (clock.elapsed().as_secs_f64(), cpu_s() - cpu);
    let (peak, after) = (memory_mb("VmHWM")?, memory_mb("VmRSS")?);
    let heard = &bench.remotes[last];
    let nlri: u64 = bench.remotes.iter().map(|remote| remote.announced + remote.withdrawn).sum();
    let octets: u64 = bench.remotes.iter().map(|remote| remote.octets).sum();
    let updates: u64 = bench.remotes.iter().map(|remote| remote.updates).sum();
    println!(
        "told after {told_s:.3} s, CPU {told_cpu_s:.3} s: {nlri} NLRI in {updates} UPDATEs, {octets} octets; {} kernel routes",
        bench.routes
    );
    if let Some(Longest { handle, transmit, fib }) = bench.longest.take() {
        let [handle, transmit, fib] = [handle, transmit, fib].map(|seconds| seconds * 1e3);
        println!(
            "longest call: {handle:.2} ms to hear {READ} octets, {transmit:.2} ms to tell, {fib:.2} ms for the kernel"
        );
    }
    println!("memory: peak {:.1} MB over the {before:.1} MB before, {:.1} MB after", peak - before, after - before);
    let count = heard.held.as_ref().map_or(heard.announced - heard.withdrawn, |held| held.len() as u64);
    let is_held = count == expected as u64 && heard.sum == sum;
    ensure!(is_held, "the last peer holds {} - {} of {expected} prefixes", heard.announced, heard.withdrawn);
    let (clock, cpu) = (Clock::now(), cpu_s());
    for at in 0..last {
        bench.give(Input::Closed { conn: conn(at) });
    }
    bench.serve();
    println!("withdrawn after {:.3} s, CPU {:.3} s", clock.elapsed().as_secs_f64(), cpu_s() - cpu);
    let heard = &bench.remotes[last];
    ensure!(heard.withdrawn >= expected as u64 && heard.sum == 0, "{} of {expected} withdrawn", heard.withdrawn);
    println!("peak {:.1} MB over all", memory_mb("VmHWM")? - before);
    Ok(())
}
