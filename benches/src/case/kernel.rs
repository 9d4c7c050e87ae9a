//! b1, b2: routes until the kernel holds them, and until it holds them no more.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Figures, QUIET, Stage, rise};
use crate::dut::{Dut, Kind, Manner};
use crate::kernel::Kernel;
use crate::plan::{monitor_seat, seat};
use crate::table::{HEADER_BYTES, Prefix};

/// Routes looked at one by one, at a few microseconds each.
const SAMPLES: usize = 64;
/// Prefixes at least so long have none within them.
const LEAF: u8 = 24;
/// Looking takes at most one part in so many of the time, with a pause of this at least.
const SHARE: u32 = 4;
const PAUSE: Duration = Duration::from_millis(2);

/// One feeder offers `count` prefixes in `stream`, and the clock stops when the kernel holds them; then the feeder's session is lost,
/// until the kernel is clean. The monitor is there to take what the daemon tells it.
pub fn run_install(stage: &Stage<'_>, kind: &Kind, count: usize, stream: Arc<Vec<u8>>) -> Result<Figures> {
    let feeder = seat(0);
    let samples = samples(&stream);
    let kernel = stage.bed.in_dut(Kernel::open)?;
    let (dut, mut crowd) = rise(stage, kind, Manner::Installing, &[feeder, monitor_seat()])?;
    let before = dut.kernel_prefixes()?;
    let (cpu, start) = (dut.cpu_s()?, Instant::now());
    let target = before + count;
    let mut look = Look { kernel, samples, not_before: None };
    crowd.offer(0, stream)?;
    while !look.holds_all(&dut, target) {
        ensure!(start.elapsed() < stage.limit, "the kernel holds {} prefixes", dut.kernel_prefixes()?);
        crowd.turn()?;
    }
    let fib_s = start.elapsed().as_secs_f64();
    crowd.idle(QUIET, stage.limit)?;
    let cpu_s = dut.cpu_s()? - cpu;
    let start = Instant::now();
    crowd.leave(0);
    while !look.holds_none(stage, &dut, before) {
        ensure!(start.elapsed() < stage.limit, "the kernel still holds {} prefixes", dut.kernel_prefixes()?);
        crowd.turn()?;
    }
    let wd_fib_s = start.elapsed().as_secs_f64();
    Ok(vec![("fib_s", fib_s), ("cpu_s", cpu_s), ("hwm_mb", dut.memory_mb("VmHWM")?), ("wd_fib_s", wd_fib_s)])
}

/// The leaf that each of so many parts of a stream of UPDATEs ends with, in the order in which they are offered (RFC 4271 §4.3).
fn samples(stream: &[u8]) -> VecDeque<Prefix> {
    let mut leaves = Vec::new();
    let mut rest = stream;
    while rest.len() > HEADER_BYTES + 4 {
        let half = |at: usize| usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
        let (size, attributes) = (half(16), half(HEADER_BYTES + 2));
        let mut nlri = &rest[HEADER_BYTES + 4 + attributes..size];
        while let [length, tail @ ..] = nlri {
            let octets = usize::from(length.div_ceil(8));
            let mut address = [0; 4];
            address[..octets].copy_from_slice(&tail[..octets]);
            if *length >= LEAF {
                leaves.push((u32::from_be_bytes(address), *length));
            }
            nlri = &tail[octets..];
        }
        rest = &rest[size..];
    }
    let part = leaves.len().div_ceil(SAMPLES).max(1);
    leaves.chunks(part).filter_map(|part| part.last().copied()).collect()
}

/// Looks at the kernel's routes without a walk over its trie, but for the last word: the kernel counts in one read-side section, and
/// whoever changes the size of a trie waits until it is over.
struct Look {
    kernel: Kernel,
    /// Those that have not been seen yet.
    samples: VecDeque<Prefix>,
    not_before: Option<Instant>,
}

impl Look {
    /// Asks for single routes, one after another, and lets the kernel count when those are there.
    fn holds_all(&mut self, dut: &Dut, target: usize) -> bool {
        while let Some((address, length)) = self.samples.front() {
            if !self.kernel.holds(Ipv4Addr::from(*address), *length).is_ok_and(|holds| holds) {
                return false;
            }
            self.samples.pop_front();
        }
        self.now_and_then(|| dut.kernel_prefixes().is_ok_and(|prefixes| prefixes == target))
    }

    /// Reads the beginning of a list, and lets the kernel count when that is all of it.
    fn holds_none(&mut self, stage: &Stage<'_>, dut: &Dut, target: usize) -> bool {
        self.now_and_then(|| {
            let has_more = || stage.bed.in_dut(Kernel::open)?.has_more_than(target);
            has_more().is_ok_and(|more| !more) && dut.kernel_prefixes().is_ok_and(|prefixes| prefixes == target)
        })
    }

    fn now_and_then(&mut self, look: impl FnOnce() -> bool) -> bool {
        let begun = Instant::now();
        if self.not_before.is_some_and(|at| begun < at) {
            return false;
        }
        let seen = look();
        self.not_before = Some(Instant::now() + (begun.elapsed() * SHARE).max(PAUSE)).filter(|_| !seen);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Table, hosts};

    #[test]
    fn samples_are_spread_over_the_stream_and_end_with_it() {
        let stream = hosts(1_000, Ipv4Addr::new(100, 0, 0, 0), 65_000, Ipv4Addr::LOCALHOST);
        let found = samples(&stream);
        assert_eq!((found.len(), found[0]), (63, (0x6400_000f, 32)));
        assert_eq!(found.back(), Some(&(0x6400_03e7, 32)));
        let table = Table::full(10_000, 65_000, Ipv4Addr::LOCALHOST);
        let found = samples(&table.stream);
        assert_eq!(found.len(), SAMPLES);
        assert!(found.iter().all(|prefix| prefix.1 >= LEAF && table.prefixes.contains(*prefix)));
    }
}
