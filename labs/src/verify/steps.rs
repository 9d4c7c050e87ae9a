//! Does what a topology's `steps:` say, one after the other, and looks after each whether what it expects holds.
#![expect(clippy::disallowed_types, reason = "deadlines are of real time")]
#![expect(clippy::disallowed_methods, reason = "lets flows run for a while before and after a deed")]

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::probe::{Flows, Loss};
use crate::step::{Deed, Pair, Step};
use crate::verify::check::Site;
use crate::verify::{Check, Outcome, Report, failover, poll_expectations, udp};

/// Flows before a deed.
const BEFORE: Duration = Duration::from_millis(300);
/// Flows after what it led to: longer than any timer that begins with a change of routes.
const AFTER: Duration = Duration::from_secs(3);

/// Runs the steps up to the first that fails; each deed and each expectation is a check of the report.
pub(super) fn run(site: &Site<'_>, steps: &[Step], report: &mut Report) {
    for step in steps {
        let begin = Instant::now();
        let flows = start(site, step);
        let done = match &flows {
            Ok(_) => deed(site, &step.deed),
            Err(error) => Err(io::Error::other(format!("no flows: {error}"))),
        };
        let (outcome, detail) = match &done {
            Ok(()) => (Outcome::Passed, String::new()),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        report.checks.push(Check { name: step.name.clone(), outcome, detail, seconds: begin.elapsed().as_secs_f64() });
        if done.is_ok() {
            let mut checks = poll_expectations(site, &step.expect, Instant::now(), &|_| true);
            for check in &mut checks {
                check.name = format!("{}: {}", step.name, check.name);
            }
            report.checks.extend(checks);
        }
        if let Ok(Some(flows)) = flows {
            stop(step, flows, report);
        }
        if !report.is_good() {
            // what follows builds on this
            return;
        }
    }
}

/// Flows of all pairs of a step, if it names some.
fn start(site: &Site<'_>, step: &Step) -> io::Result<Option<Flows>> {
    if step.flows.is_empty() {
        return Ok(None);
    }
    let open = |node: &str, address: SocketAddr| udp(site.plant(), node, address);
    let mut pairs = Vec::new();
    for Pair { from, to, count } in &step.flows {
        pairs.extend(vec![(site.end(from)?, site.end(to)?); *count]);
    }
    let flows = Flows::start_all(&open, &pairs, period(step))?;
    thread::sleep(BEFORE);
    Ok(Some(flows))
}

/// From one packet of a flow to the next.
fn period(step: &Step) -> Duration {
    Duration::from_secs(1) / step.rate
}

/// A packet that is lost is one too many.
fn stop(step: &Step, flows: Flows, report: &mut Report) {
    let begin = Instant::now();
    thread::sleep(AFTER);
    let losses = flows.stop();
    let (mut up, mut down) = losses.split_at(losses.len() / 2);
    let lost = |some: &[Loss]| some.iter().map(Loss::lost).sum::<u64>();
    for Pair { from, to, count } in &step.flows {
        let name = format!("{}: {from} ▸ {to}", step.name);
        let (there, back);
        ((there, up), (back, down)) = (up.split_at(*count), down.split_at(*count));
        let figure = failover::figure(&name, &[there, back].concat(), (period(step), BEFORE));
        let outcome = if figure.lost == 0 && figure.sent > 0 { Outcome::Passed } else { Outcome::Failed };
        let detail =
            format!("of {} packets {} upstream and {} downstream were lost", figure.sent, lost(there), lost(back));
        report.checks.push(Check { name, outcome, detail, seconds: begin.elapsed().as_secs_f64() });
        report.figures.push(figure);
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
