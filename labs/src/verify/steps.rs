//! Does what a topology's `steps:` say, one after the other, and looks after each whether what it expects holds.
#![expect(clippy::disallowed_types, reason = "deadlines are of real time")]

use std::io;
use std::time::Instant;

use crate::step::{Deed, Step};
use crate::verify::check::Site;
use crate::verify::{Check, Outcome, Report, poll_expectations};

/// Runs the steps up to the first that fails; each deed and each expectation is a check of the report.
pub(super) fn run(site: &Site<'_>, steps: &[Step], report: &mut Report) {
    for step in steps {
        let begin = Instant::now();
        let done = deed(site, &step.deed);
        let (outcome, detail) = match &done {
            Ok(()) => (Outcome::Passed, String::new()),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        report.checks.push(Check { name: step.name.clone(), outcome, detail, seconds: begin.elapsed().as_secs_f64() });
        if done.is_ok() {
            let mut checks = poll_expectations(site, &step.expect, Instant::now(), &|_, _| true);
            for check in &mut checks {
                check.name = format!("{}: {}", step.name, check.name);
            }
            report.checks.extend(checks);
        }
        if !report.is_good() {
            // what follows builds on this
            return;
        }
    }
}

fn deed(site: &Site<'_>, deed: &Deed) -> io::Result<()> {
    match deed {
        Deed::Kill(node) => site.plant().kill_daemon(node),
        Deed::Start(node) => site.plant().start_daemon(node),
        Deed::Run { at, run } => {
            let (succeeded, output) = site.plant().run(at, run)?;
            if succeeded { Ok(()) } else { Err(io::Error::other(format!("`{}`: {}", run.join(" "), output.trim()))) }
        }
    }
}
