//! Lab `routed`: a machine with two uplinks boots weft's initial file system, is a routed host before it has a root file system, and healthy
//! by its route; timed from power-on.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

use std::io;
use std::time::{Duration, Instant};

use crate::boot::missing;
use crate::count::Outcome;
use crate::machine::{console, in_lab};
use crate::run::Context;
use crate::vip::Lab;

/// For what has no figure of its own.
const LIMIT: Duration = Duration::from_secs(240);
/// Three times the time that `netboot/docs/figures.md` has for it.
const ROUTED: Duration = Duration::from_secs(90);
/// How often something is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Runs the lab.
pub(crate) fn routed(context: &Context) -> io::Result<Outcome> {
    let log = context.log("routed")?;
    // Before `missing`: its script puts the static programs where the lab looks for them.
    if !log.run(&mut context.cargo(&["static", "--locked"]))? {
        return Ok(Outcome::failed("`cargo static` does not build"));
    }
    match missing(context, &log)? {
        Some(missing) => Ok(Outcome::skipped(format!("a machine with two uplinks: {missing}"))),
        None => in_lab(context, &log, "routed", scenario),
    }
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let said = console(lab)?;
    let seconds = |what: &str| seconds(&said, what).ok_or_else(|| io::Error::other(format!("no `{what}`")));
    let (started, routed) = (seconds(": this is N1")?, seconds(": routed: ")?);
    let reported = seconds(": the boot server says")?;
    outcome.notes.push(format!(
        "weft-init begins {started:.1} s after its kernel, is routed by both uplinks at {routed:.1} s, has reported at {reported:.1} s"
    ));
    for (way, name) in [("on", "bios"), ("http", "http, one file")] {
        let took = power_on(lab, way)?.as_secs_f64();
        outcome.add(&Outcome::passed());
        outcome.notes.push(format!("{name}: from power-on to healthy by its route {took:.1} s"));
    }
    crate::disk::installed(lab, outcome)?;
    crate::routed_faults::faults(lab, outcome)?;
    crate::routed_faults::stranger(lab, outcome)?;
    crate::disk::gone(lab, outcome)
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let began = Instant::now();
    while !holds().unwrap_or(false) {
        if began.elapsed() > LIMIT {
            return Err(io::Error::other(format!("not within {} s: {what}", LIMIT.as_secs())));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The seconds in front of a line of `weft-init`.
fn seconds(console: &str, what: &str) -> Option<f64> {
    let line = console.lines().find(|line| line.contains(what))?;
    line.split_once("weft-init: ")?.1.split_once(" s:")?.0.parse().ok()
}

/// Cuts the power until the machine is missed, gives it back, and waits until the machine is healthy: by its address of the formula, told by BGP.
fn power_on(lab: &Lab<'_>, way: &str) -> io::Result<Duration> {
    lab.shell("machine", "sh /etc/lab/power.sh off")?;
    state(lab, "unreachable", LIMIT)?;
    let began = Instant::now();
    lab.shell("machine", &format!("sh /etc/lab/power.sh {way}"))?;
    state(lab, "healthy", ROUTED)?;
    Ok(began.elapsed())
}

/// Waits until boot servers say this of the machine.
fn state(lab: &Lab<'_>, state: &str, limit: Duration) -> io::Result<()> {
    let began = Instant::now();
    let line = format!("weft-netboot machines list serial=N1 state={state}");
    while !lab.shell("boot3", &line).is_ok_and(|said| said.contains("10.69.0.199")) {
        if began.elapsed() > limit {
            return Err(io::Error::other(format!("the machine is not {state} within {} s", limit.as_secs())));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_says_when_it_was() {
        let console = "boot\nweft-init: 2.93 s: this is N1 (node1)\nweft-init: 5.97 s: routed: eth0 to tor1 up\n";
        assert_eq!(seconds(console, ": routed: "), Some(5.97));
        assert_eq!(seconds(console, ": reported"), None);
    }
}
