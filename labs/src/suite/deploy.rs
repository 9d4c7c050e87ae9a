//! What operators take into their own systems: alert rules, tried by Prometheus' own tool.

use std::io;

use crate::count::Outcome;
use crate::packages;
use crate::run::{Context, find_program};

/// Debian's package of `promtool`; its service is not started.
const PROMETHEUS: &str = "prometheus";

/// What is asked of the tool, in `fabric/deploy`, and what it means when it refuses.
const QUESTIONS: [(&[&str], &str); 2] = [
    (&["check", "rules", "alerts.yaml"], "Prometheus does not take the alert rules"),
    (&["test", "rules", "alerts.test.yaml"], "alerts are not raised as their tests say"),
];

pub(crate) fn deploy(context: &Context) -> io::Result<Outcome> {
    let log = context.log("deploy")?;
    let is_root = rustix::process::geteuid().is_root();
    if find_program("promtool").is_none() && is_root && find_program("apt-get").is_some() {
        packages::install_each(context, &log, &[PROMETHEUS])?;
    }
    let Some(promtool) = find_program("promtool") else {
        return Ok(Outcome::skipped(
            "alert rules: no program `promtool` (Debian: prometheus), and it could not be installed",
        ));
    };
    let mut outcome = Outcome::default();
    for (words, why) in QUESTIONS {
        let mut command = context.command(&promtool, words);
        let held = log.run(command.current_dir(context.root.join("fabric/deploy")))?;
        outcome.add(&Outcome::check(held, why));
    }
    Ok(outcome)
}
