//! The stage `drain`: the lab `maintenance`, in which a switch, links at either end and services are taken out of service, removed and
//! brought back, with BIRD and FRR around them and flows through all of it that may lose nothing.

use std::io;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, find_program};

/// Verifies the lab with its steps.
pub(crate) fn drain(context: &Context) -> io::Result<Outcome> {
    let log = context.log("drain")?;
    let missing = || ["bird", "zebra"].iter().any(|program| find_program(program).is_none());
    if missing() && rustix::process::geteuid().is_root() && find_program("apt-get").is_some() {
        packages::install_each(context, &log, &["bird2", "frr", "iproute2"])?;
    }
    if missing() {
        return Ok(Outcome::skipped("`bird` or FRR's `zebra` is not installed and could not be"));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    stage.verify(context, &log, "maintenance", &[], false)
}
