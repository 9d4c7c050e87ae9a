//! What the stages with a machine in QEMU have in common: what they need and can have, their lab from its start to its end, and what the
//! machine's console says.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, Log, find_program};
use crate::vip::Lab;

/// How often the machine's console is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What is not there and cannot be had, of programs and files, each with the Debian package that has it.
pub(crate) fn missing(
    context: &Context,
    log: &Log,
    programs: &[(&str, &str)],
    files: &[(&str, &str)],
) -> io::Result<Option<String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Some("only root gives a machine its card (TAP)".to_owned()));
    }
    let lacking = || {
        let programs = programs.iter().filter(|(program, _)| find_program(program).is_none());
        programs.chain(files.iter().filter(|(file, _)| !Path::new(file).is_file()))
    };
    if find_program("apt-get").is_some() {
        let packages: Vec<&str> = lacking().map(|(_, package)| *package).collect();
        packages::install_each(context, log, &packages)?;
    }
    let what = lacking().next();
    Ok(what.map(|(what, package)| format!("no `{what}` (Debian: {package}), and it could not be installed")))
}

/// Starts a lab, goes through a scenario in it, and ends it. What fails is shown with what the machine's console said.
pub(crate) fn in_lab(
    context: &Context,
    log: &Log,
    topology: &str,
    scenario: fn(&Lab<'_>, &mut Outcome) -> io::Result<()>,
) -> io::Result<Outcome> {
    let Some(stage) = Stage::prepare(context, log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let mut outcome = Outcome::default();
    let lab = Lab { context, log, folder: stage.folder.clone(), name: format!("{topology}-{}", std::process::id()) };
    if lab.up(topology)? {
        outcome.add(&Outcome::passed());
        if let Err(error) = scenario(&lab, &mut outcome) {
            let console = console(&lab).unwrap_or_default();
            outcome.add(&Outcome::failed(format!("lab {topology}: {error}; the console of the machine:\n{console}")));
        }
    } else {
        outcome.add(&Outcome::failed(format!("lab {topology} does not come up as expected")));
    }
    lab.down()?;
    Ok(outcome)
}

/// All that the machine wrote since it was powered on.
pub(crate) fn console(lab: &Lab<'_>) -> io::Result<String> {
    lab.shell("machine", "sh /etc/lab/power.sh console")
}

/// Waits until the console says something.
pub(crate) fn says(lab: &Lab<'_>, what: &str, began: Instant, limit: Duration) -> io::Result<()> {
    while !console(lab).is_ok_and(|console| console.contains(what)) {
        if began.elapsed() > limit {
            return Err(io::Error::other(format!("the console does not say `{what}` within {} s", limit.as_secs())));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Cuts the power and gives it back, in this way; when that was.
pub(crate) fn power_cycle(lab: &Lab<'_>, way: &str) -> io::Result<Instant> {
    lab.shell("machine", "sh /etc/lab/power.sh off")?;
    let began = Instant::now();
    lab.shell("machine", &format!("sh /etc/lab/power.sh {way}"))?;
    Ok(began)
}
