//! `sim`, `explore` and `replay`: the datacenter on virtual time.
#![expect(clippy::disallowed_types, reason = "the person who waits is told how long it took")]

#[path = "recording.rs"]
mod recording;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use weft_bgp::time::Duration;

use super::{find, print, say};
use crate::lab::progress::Progress;
use crate::sim::clos::Clos;
use crate::sim::explore::{Choices, Found, explore_all};
use crate::sim::report::{Quiet, Report, Times};
use crate::sim::scenario::{Bfd, Failure, Scenario, Source, World};

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
    /// What the servers of that Clos are told
    #[arg(long, requires = "clos", default_value = "all")]
    servers: Servers,
    /// BFD for all sessions that have none, three packets missed at most; on every so manieth cable alone: 100ms,2
    #[arg(long, value_name = "INTERVAL[,EVERY]", value_parser = parse_bfd)]
    bfd: Option<Bfd>,
    /// Of latencies, pieces of streams, timers and the order of starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Virtual time to let pass after that, in which nothing is to happen: 90s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    then: Option<Duration>,
    /// A table for people, or JSON
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Lines of the trace that come with a fault
    #[arg(long, default_value_t = TRACE)]
    trace: usize,
}

/// What servers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Servers {
    /// Every address
    All,
    /// A default route: they share an AS and have IPv4 addresses alone
    Default,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
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
    /// A scenario, as `explore` writes it, or a recording of a running daemon, as `weft record` does
    file: PathBuf,
    /// Lines of the trace that come with a fault
    #[arg(long, default_value_t = TRACE)]
    trace: usize,
    /// Of a recording: nothing after this time of the daemon, as 90s, 10m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Duration>,
    /// Of a recording: say what it holds, and do nothing
    #[arg(long)]
    print: bool,
}

fn parse_clos(text: &str) -> Result<Clos, String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    let (spines, leaves, servers, cables) = match numbers.as_deref() {
        Ok([spines, leaves, servers]) => (*spines, *leaves, *servers, 1),
        Ok([spines, leaves, servers, cables]) => (*spines, *leaves, *servers, *cables),
        Ok(_) | Err(_) => return Err("write three or four numbers, as 2,4,8".to_owned()),
    };
    Ok(Clos { spines, leaves, servers, cables, stubs: false })
}

fn parse_bfd(text: &str) -> Result<Bfd, String> {
    let (interval, every) = text.split_once(',').unwrap_or((text, "1"));
    let interval_ms = interval.strip_suffix("ms").and_then(|interval| interval.parse().ok());
    let bfd = interval_ms.zip(every.parse().ok()).map(|(interval_ms, every)| Bfd { interval_ms, every });
    bfd.ok_or_else(|| "write milliseconds, as 300ms, or 300ms,2 for every second cable".to_owned())
}

/// Most virtual time: a week.
const MAX_TIME_S: u64 = 604_800;

fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("write a whole number and s, m or h, as 90s or 1h".to_owned()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    let seconds = seconds.filter(|seconds| *seconds <= MAX_TIME_S);
    seconds.map(Duration::from_secs).ok_or_else(|| "write a time up to 168h".to_owned())
}

/// Runs a network from a cold start to rest, checks everything, and says what it took.
///
/// # Errors
/// What is wrong with the file.
pub fn sim(options: &Run) -> Result<ExitCode> {
    let source = match options.clos {
        Some(clos) => Source::Clos(Clos { stubs: options.servers == Servers::Default, ..clos }),
        None => Source::File(find::topology(options.file.as_deref())?),
    };
    match measure(&source, options) {
        Ok(report) => {
            match options.output {
                Format::Table => print(&report.to_string()),
                Format::Json => say(&serde_json::to_string_pretty(&report)?),
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Unfit(what)) => bail!("{what}"),
        Err(failure @ Failure::Wrong { .. }) => {
            say(&failure.to_string());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn measure(source: &Source, options: &Run) -> Result<Report, Failure> {
    let begin = Instant::now();
    let mut world = World::load(source).map_err(Failure::Unfit)?;
    options.bfd.map_or(Ok(()), |bfd| world.set_bfd(bfd)).map_err(Failure::Unfit)?;
    let traced = if world.is_large() { 0 } else { options.trace };
    let mut sim = world.cold(options.seed, traced)?;
    let (read_s, empty) = (begin.elapsed().as_secs_f64(), resident().0);
    let (begin, begun_s) = (Instant::now(), processor_s());
    let rest = world.rest(&mut sim, traced)?;
    let (cold_s, full) = (begin.elapsed().as_secs_f64(), resident().0);
    let busy_s = processor_s() - begun_s;
    let begin = Instant::now();
    world.check(&sim, traced)?;
    let check_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let quiet = options.then.map(|time| Ok((time.as_secs(), world.quiet(&mut sim, time, traced)?))).transpose()?;
    let quiet = quiet.map(|(virtual_s, work)| Quiet { virtual_s, wall_s: begin.elapsed().as_secs_f64(), work });
    if quiet.is_some() {
        world.check(&sim, traced)?;
    }
    let times = Times { read_s, wall_s: cold_s, processor_s: busy_s, check_s };
    Ok(Report::new(options.seed, times, (full.saturating_sub(empty), full, resident().1), rest, quiet))
}

/// Processor time of this process so far; 0 where the kernel does not say.
fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have blanks in it: proc(5), fields 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    ticks / f64::from(per_second)
}

/// What of this process is in memory now, and what was at most, bytes; 0 where the kernel does not say.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kilobytes| kilobytes.parse().ok())
    };
    let bytes = |key: &str| of(key).map_or(0, |kilobytes: u64| kilobytes * 1_024);
    (bytes("VmRSS"), bytes("VmHWM"))
}

/// Runs a scenario of a file.
///
/// # Errors
/// What is wrong with the file.
pub fn replay(options: &Replay) -> Result<ExitCode> {
    let name = options.file.display();
    if let Some(recording) = recording::open(&options.file)? {
        return recording::run(recording, options);
    }
    if options.print || options.until.is_some() {
        bail!("{name}: --print and --until are for recordings, and this is a scenario");
    }
    let text = std::fs::read_to_string(&options.file).with_context(|| name.to_string())?;
    let scenario = Scenario::read(&text).map_err(|error| anyhow!("{name}: {error}"))?;
    run(&scenario, options.trace)
}

fn run(scenario: &Scenario, traced: usize) -> Result<ExitCode> {
    let begin = Instant::now();
    let world = World::of(scenario).map_err(|error| anyhow!("{error}"))?;
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
            say(&format!("  at rest after          {:.3} s of virtual time", outcome.cold.as_secs_f64()));
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
