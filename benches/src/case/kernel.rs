//! b1, b2: routes until the kernel holds them, and until it holds them no more.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Figures, QUIET, Stage, rise};
use crate::dut::{Dut, Kind, Manner};
use crate::plan::{monitor_seat, seat};

/// One feeder offers `count` prefixes in `stream`, and the clock stops when the kernel holds them; then the feeder's session is lost,
/// until the kernel is clean. The monitor is there to take what the daemon tells it.
pub fn run_install(stage: &Stage<'_>, kind: &Kind, count: usize, stream: Arc<Vec<u8>>) -> Result<Figures> {
    let feeder = seat(0);
    let (dut, mut crowd) = rise(stage, kind, Manner::Installing, &[feeder, monitor_seat()])?;
    let before = dut.kernel_prefixes()?;
    let (cpu, start) = (dut.cpu_s()?, Instant::now());
    let target = before + count;
    let mut look = Look::default();
    crowd.offer(0, stream)?;
    while !look.sees(&dut, target) {
        ensure!(start.elapsed() < stage.limit, "the kernel holds {} prefixes", dut.kernel_prefixes()?);
        crowd.turn()?;
    }
    let fib_s = start.elapsed().as_secs_f64();
    crowd.idle(QUIET, stage.limit)?;
    let cpu_s = dut.cpu_s()? - cpu;
    let start = Instant::now();
    crowd.leave(0);
    while !look.sees(&dut, before) {
        ensure!(start.elapsed() < stage.limit, "the kernel still holds {} prefixes", dut.kernel_prefixes()?);
        crowd.turn()?;
    }
    let wd_fib_s = start.elapsed().as_secs_f64();
    Ok(vec![("fib_s", fib_s), ("cpu_s", cpu_s), ("hwm_mb", dut.memory_mb("VmHWM")?), ("wd_fib_s", wd_fib_s)])
}

/// Looks at the kernel's trie, which costs a walk over it: at most a fifth of the time.
#[derive(Debug, Default)]
struct Look {
    not_before: Option<Instant>,
}

impl Look {
    fn sees(&mut self, dut: &Dut, target: usize) -> bool {
        let begun = Instant::now();
        if self.not_before.is_some_and(|at| begun < at) {
            return false;
        }
        let seen = dut.kernel_prefixes().is_ok_and(|held| held == target);
        self.not_before = Some(Instant::now() + begun.elapsed() * 4);
        seen
    }
}
