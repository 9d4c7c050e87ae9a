//! The cases. One thread: the clock starts with the first UPDATE byte and stops on the last monitor's exact set.

mod carrier;
mod detect;
mod kernel;
mod sessions;
mod spread;
mod watch;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::bed::Bed;
use crate::crowd::Crowd;
use crate::dut::{Dut, Kind, Manner};
use crate::session::Seat;

pub use carrier::{Carrier, run_carrier, run_path};
pub use detect::run_f1;
pub use kernel::run_install;
pub use sessions::{run_d1, run_e};
pub use spread::{record, run_spread};

/// Silence before the clock starts.
const IDLE: Duration = Duration::from_secs(1);
/// Quiet after which the daemon counts as settled.
const QUIET: Duration = Duration::from_millis(700);
/// Connections that are not yet Established while nobody looks at the clock: BIRD's backlog is 8.
const IN_FLIGHT: usize = 4;
/// Sessions that are no part of the measurement come up within this.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// What a run measured: (name with unit, value). Infinite: it took longer than the limit.
pub type Figures = Vec<(&'static str, f64)>;

/// Where and how long a case runs.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The namespaces.
    pub bed: &'a Bed,
    /// The daemon's directory.
    pub dir: &'a Path,
    /// A run is given up after this.
    pub limit: Duration,
}

/// Starts a daemon, takes all seats and lets a second pass.
fn rise(stage: &Stage<'_>, kind: &Kind, manner: Manner, seats: &[Seat]) -> Result<(Dut, Crowd)> {
    // The daemon before was killed, and what it had in the kernel is still there.
    stage.bed.clean()?;
    let dut = kind.start(stage.bed, stage.dir, manner, seats)?;
    let mut crowd = Crowd::new(seats.to_vec())?;
    crowd.wait_for_listener()?;
    let is_up = crowd.establish(IN_FLIGHT, UP_LIMIT)?;
    ensure!(is_up, "{} of {} sessions are Established", crowd.established(), seats.len());
    crowd.idle(IDLE, UP_LIMIT)?;
    Ok((dut, crowd))
}

/// CPU time of this process so far (s).
fn own_cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)).as_secs_f64()
}
