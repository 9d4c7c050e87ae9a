//! The stage `faults`: what each kind of fault does to real packets, measured, and what routers make of them in the lab `faults`.

use std::io;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::run::Context;
use crate::stages;

/// Measures, then plays the lab's timeline.
pub(crate) fn faults(context: &Context) -> io::Result<Outcome> {
    let mut outcome = stages::test(context, "faults", &["--test", "faults"])?;
    let log = context.more_log("faults");
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    outcome.add(&stage.verify(context, &log, "faults", &[], false)?);
    Ok(outcome)
}
