//! The one test command, `cargo suite`: which stages there are, in which order they run, and what the last line says.
//!
//! A stage is a name, a sentence and a function that answers with an [`Outcome`]. Most run alone, and those that wait more than they
//! compute in two rows beside each other. Stages never stop each other: every
//! one runs, and the closing line `N passed, N failed, N skipped` counts tests and checks over all of them. What a
//! stage printed is in `target/suite/STAGE.log`; its tail is shown when something failed. Nothing is skipped silently.
#![expect(clippy::print_stdout, reason = "a test command talks to a person or a CI log")]
#![expect(clippy::disallowed_types, reason = "stages are timed by the wall clock")]

#[path = "../suite/api.rs"]
mod api;
#[path = "../suite/bfd.rs"]
mod bfd;
#[path = "../suite/boot.rs"]
mod boot;
#[path = "../suite/browser.rs"]
mod browser;
#[path = "../suite/count.rs"]
mod count;
#[path = "../suite/deploy.rs"]
mod deploy;
#[path = "../suite/dhcp.rs"]
mod dhcp;
#[path = "../suite/disk.rs"]
mod disk;
#[path = "../suite/dockerfile.rs"]
mod dockerfile;
#[path = "../suite/drain.rs"]
mod drain;
#[path = "../suite/engine.rs"]
mod engine;
#[path = "../suite/faults.rs"]
mod faults;
#[path = "../suite/flood.rs"]
mod flood;
#[path = "../suite/frr_keys.rs"]
mod frr_keys;
#[path = "../suite/interop.rs"]
mod interop;
#[path = "../suite/inventory.rs"]
mod inventory;
#[path = "../suite/labs.rs"]
mod labs;
#[path = "../suite/machine.rs"]
mod machine;
#[path = "../suite/netboot.rs"]
mod netboot;
#[path = "../suite/packages.rs"]
mod packages;
#[path = "../suite/power.rs"]
mod power;
#[path = "../suite/readers.rs"]
mod readers;
#[path = "../suite/recorded.rs"]
mod recorded;
#[path = "../suite/reload.rs"]
mod reload;
#[path = "../suite/remote.rs"]
mod remote;
#[path = "../suite/restart.rs"]
mod restart;
#[path = "../suite/routed.rs"]
mod routed;
#[path = "../suite/routed_faults.rs"]
mod routed_faults;
#[path = "../suite/run.rs"]
mod run;
#[path = "../suite/sandbox.rs"]
mod sandbox;
#[path = "../suite/sealed.rs"]
mod sealed;
#[path = "../suite/stages.rs"]
mod stages;
#[path = "../suite/vip.rs"]
mod vip;
#[path = "../suite/web.rs"]
mod web;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;

use crate::count::Outcome;
use crate::run::Context;
use crate::stages::{LANES, STAGES, Stage};

/// Runs every check of the project; exit code 0 only when nothing failed.
#[derive(Parser, Debug)]
#[command(name = "cargo suite", version)]
struct Arguments {
    /// List the stages and stop
    #[arg(long)]
    list: bool,
    /// Run only this stage (may be given several times)
    #[arg(long = "stage", value_name = "NAME")]
    stages: Vec<String>,
    /// Leave this stage out (may be given several times); it counts as skipped
    #[arg(long = "skip", value_name = "NAME")]
    skip: Vec<String>,
    /// Let this program be `weft` in the labs, instead of a debug build: to measure an optimised one
    #[arg(long, value_name = "PATH")]
    weft: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for stage in STAGES {
            println!("{:<10} {}", stage.name, stage.about);
        }
        return ExitCode::SUCCESS;
    }
    for name in arguments.stages.iter().chain(&arguments.skip) {
        if !STAGES.iter().any(|stage| stage.name == name) {
            println!("there is no stage `{name}`; `cargo suite --list` names them all");
            return ExitCode::from(2);
        }
    }
    let context = match Context::new(arguments.weft.as_deref()) {
        Ok(context) => context,
        Err(error) => {
            println!("cannot prepare the suite: {error}");
            return ExitCode::from(2);
        }
    };
    report(&run_stages(&arguments, &context))
}

/// A stage that ended: name, result, seconds.
type Ended = (&'static str, Outcome, f64);

/// Runs every stage that was asked for, in the order of the table; those of [`LANES`] beside each other.
fn run_stages(arguments: &Arguments, context: &Context) -> Vec<Ended> {
    let is_wanted =
        |stage: &&Stage| arguments.stages.is_empty() || arguments.stages.iter().any(|name| name == stage.name);
    let wanted: Vec<&Stage> = STAGES.iter().filter(is_wanted).collect();
    let results = Mutex::new(Vec::new());
    let run = |stage: &Stage, is_beside: bool| {
        let ended = run_stage(arguments, context, stage, is_beside);
        results.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
    };
    let has_lane = |stage: &Stage| LANES.iter().any(|lane| lane.contains(&stage.name));
    for group in wanted.chunk_by(|a, b| has_lane(a) && has_lane(b)) {
        if let [stage] = group {
            run(stage, false);
            continue;
        }
        thread::scope(|scope| {
            for lane in LANES {
                let run = &run;
                scope.spawn(move || {
                    group.iter().filter(|stage| lane.contains(&stage.name)).for_each(|stage| run(stage, true))
                });
            }
        });
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(name, ..)| STAGES.iter().position(|stage| stage.name == *name));
    results
}

/// Runs a stage and prints what it has to say, with its name again where another one may have spoken meanwhile.
fn run_stage(arguments: &Arguments, context: &Context, stage: &Stage, is_beside: bool) -> Ended {
    println!("==> {}: {}", stage.name, stage.about);
    let begin = Instant::now();
    let outcome = if arguments.skip.iter().any(|name| name == stage.name) {
        Outcome::skipped("asked for with --skip")
    } else {
        (stage.run)(context).unwrap_or_else(|error| Outcome::failed(error.to_string()))
    };
    let seconds = begin.elapsed().as_secs_f64();
    let mut lines = Vec::new();
    if is_beside {
        lines.push(format!("<== {}", stage.name));
    }
    lines.extend(outcome.notes.iter().map(|note| format!("    {note}")));
    if outcome.failed > 0 {
        lines.push(format!("    --- tail of {} ---", context.log_path(stage.name).display()));
        lines.extend(context.tail(stage.name).iter().map(|line| format!("    {line}")));
    }
    if !lines.is_empty() {
        println!("{}", lines.join("\n"));
    }
    (stage.name, outcome, seconds)
}

/// Prints the table and the closing line.
fn report(results: &[Ended]) -> ExitCode {
    println!();
    println!("{:<10} {:>7} {:>7} {:>8} {:>9}", "stage", "passed", "failed", "skipped", "seconds");
    let mut total = Outcome::default();
    for (name, outcome, seconds) in results {
        println!("{name:<10} {:>7} {:>7} {:>8} {seconds:>9.1}", outcome.passed, outcome.failed, outcome.skipped);
        total.add(outcome);
    }
    println!();
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
