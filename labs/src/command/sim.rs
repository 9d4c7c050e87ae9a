//! `sim`, `explore` and `replay`: the datacenter on virtual time.
#![expect(clippy::disallowed_types, reason = "the person who waits is told how long it took")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;

use super::{find, say};
use crate::lab::progress::Progress;
use crate::sim::clos::Clos;
use crate::sim::explore::{Choices, Found, explore_all};
use crate::sim::scenario::{Failure, Scenario, Source, World};

/// Lines of a failing run that are shown.
const TRACE: usize = 60;
/// Topologies that `explore` takes beside random networks.
const PLANTS: [&str; 2] = ["two-racks", "unnumbered"];
/// Scenarios that fail after which it is enough.
const ENOUGH: usize = 10;

/// Options of `sim`.
#[derive(Debug, Args)]
pub struct Run {
    /// Topology file whose nodes all run weft, or the name of one of those that come with weft [default: two-racks]
    #[arg(conflicts_with = "clos")]
    file: Option<String>,
    /// A Clos instead: spines, leaves, servers, and cables between a leaf and a spine
    #[arg(long, value_name = "SPINES,LEAVES,SERVERS[,CABLES]", value_parser = parse_clos)]
    clos: Option<Clos>,
    /// Of latencies, pieces of streams, timers and the order of starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Lines of the trace that come with a fault
    #[arg(long, default_value_t = TRACE)]
    trace: usize,
}

/// Options of `explore`.
#[derive(Debug, Args)]
pub struct Explore {
    /// How many scenarios
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Topologies whose nodes all run weft, beside random networks [default: two-racks, unnumbered]
    #[arg(long, value_name = "FILE")]
    file: Vec<String>,
    /// Where scenarios that fail are written, one file each
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How many at a time [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Options of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// A scenario, as `explore` writes it
    file: PathBuf,
    /// Lines of the trace that come with a fault
    #[arg(long, default_value_t = TRACE)]
    trace: usize,
}

fn parse_clos(text: &str) -> Result<Clos, String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([spines, leaves, servers]) => Ok(Clos { spines: *spines, leaves: *leaves, servers: *servers, cables: 1 }),
        Ok([spines, leaves, servers, cables]) => {
            Ok(Clos { spines: *spines, leaves: *leaves, servers: *servers, cables: *cables })
        }
        Ok(_) | Err(_) => Err("write three or four numbers, as 2,4,8".to_owned()),
    }
}

/// Runs a network from a cold start to rest, checks everything, and says what it took.
///
/// # Errors
/// What is wrong with the file.
pub fn sim(options: &Run) -> Result<ExitCode> {
    let source = match options.clos {
        Some(clos) => Source::Clos(clos),
        None => Source::File(find::topology(options.file.as_deref())?),
    };
    run(&Scenario { network: source, seed: options.seed, incidents: Vec::new() }, options.trace)
}

/// Runs a scenario of a file.
///
/// # Errors
/// What is wrong with the file.
pub fn replay(options: &Replay) -> Result<ExitCode> {
    let name = options.file.display();
    let text = std::fs::read_to_string(&options.file).with_context(|| name.to_string())?;
    let scenario = Scenario::read(&text).map_err(|error| anyhow!("{name}: {error}"))?;
    run(&scenario, options.trace)
}

fn run(scenario: &Scenario, traced: usize) -> Result<ExitCode> {
    let begin = Instant::now();
    let world = World::load(&scenario.network).map_err(|error| anyhow!("{error}"))?;
    match world.run(scenario, traced) {
        Ok(outcome) => {
            let messages: u64 = outcome.counters.messages.iter().sum();
            say(&format!(
                "everything holds: {} nodes, {} cables, {} incidents, seed {}",
                world.topology.nodes.len(),
                world.topology.links.len(),
                scenario.incidents.len(),
                scenario.seed
            ));
            say(&format!("  at rest after          {:.3} s of virtual time", seconds(outcome.cold)));
            say(&format!("  events, messages       {}, {messages}", outcome.counters.events));
            say(&format!("  changes of kernels     {}", outcome.counters.fib_changes));
            say(&format!("  took                   {:.2} s", begin.elapsed().as_secs_f64()));
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Unfit(what)) => bail!("{what}"),
        Err(failure @ Failure::Wrong { .. }) => {
            say(&failure.to_string());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn seconds(duration: weft_bgp::time::Duration) -> f64 {
    std::time::Duration::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).as_secs_f64()
}

/// Runs the scenarios of many seeds; those that fail are made small, shown and written.
///
/// # Errors
/// When a topology cannot be read or a file not written.
pub fn explore(options: &Explore) -> Result<ExitCode> {
    let names: Vec<&str> =
        if options.file.is_empty() { PLANTS.to_vec() } else { options.file.iter().map(String::as_str).collect() };
    let mut choices = Choices::default();
    for name in names {
        choices.files.push(find::topology(Some(name))?);
    }
    let begin = Instant::now();
    let progress = Progress::new();
    let (events, done) = (AtomicU64::new(0), AtomicUsize::new(0));
    let jobs = options.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let total = usize::try_from(options.seeds).unwrap_or(usize::MAX);
    let seeds = options.from..options.from.saturating_add(options.seeds);
    let found = explore_all(&choices, seeds, (jobs, ENOUGH), &|one| {
        match one {
            Ok(count) => drop(events.fetch_add(*count, Ordering::Relaxed)),
            Err(one) => progress.say(&format!("seed {}: {}", one.seed, one.failure)),
        }
        progress.step("scenarios", done.fetch_add(1, Ordering::Relaxed) + 1, total);
    });
    progress.clear();
    let found = found.map_err(|error| anyhow!("{error}"))?;
    for one in &found {
        let path = write(&options.out, one)?;
        say(&format!(
            "seed {}: {} incidents; `weft-lab replay {}` does it again",
            one.seed,
            one.scenario.incidents.len(),
            path.display()
        ));
    }
    say(&format!(
        "{} scenarios, {} events, {} failed; {:.1} s",
        done.load(Ordering::Relaxed),
        events.load(Ordering::Relaxed),
        found.len(),
        begin.elapsed().as_secs_f64()
    ));
    Ok(ExitCode::from(u8::from(!found.is_empty())))
}

fn write(folder: &Path, found: &Found) -> Result<PathBuf> {
    let path = folder.join(format!("explore-{}.json", found.seed));
    std::fs::write(&path, found.scenario.to_text()).with_context(|| path.display().to_string())?;
    Ok(path)
}
