//! Compares weft-netboot with nginx: `cargo bench -p weft-benches --bench images -- --dut nginx,weft --runs 3`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program for people"
)]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};
use weft_benches::bed::Bed;
use weft_benches::boot::cases::prepare;
use weft_benches::boot::fetch::{Web, fetch};
use weft_benches::boot::server::Place;
use weft_benches::report::{Outcome, Runs, json};

/// Name, connections, in ranges, times that each reads the file.
const CASES: [(&str, usize, bool, usize); 4] =
    [("whole-1", 1, false, 8), ("whole-16", 16, false, 1), ("ranges-1", 1, true, 8), ("ranges-16", 16, true, 1)];

#[derive(Debug, Parser)]
struct Arguments {
    /// Servers, the first is the base of the ratios: nginx, nginx-read (without sendfile), weft.
    #[arg(long, value_delimiter = ',', default_value = "nginx,weft")]
    dut: Vec<String>,
    /// Runs of each, interleaved.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The processor of the server, and that of who reads.
    #[arg(long, default_value = "0")]
    cpus: String,
    #[arg(long, default_value_t = 1)]
    own_cpu: usize,
    /// The weft-netboot binary.
    #[arg(long, default_value = "../target/release/weft-netboot")]
    weft_netboot: PathBuf,
    /// Writes every run to this JSON file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let kinds: Vec<Web> = arguments.dut.iter().map(|name| Web::named(name)).collect::<Result<_>>()?;
    let binary = arguments.weft_netboot.canonicalize().context("no weft-netboot: give --weft-netboot PATH")?;
    let bed = Bed::new()?;
    prepare(&bed)?;
    let mut own = CpuSet::new();
    own.set(arguments.own_cpu);
    sched_setaffinity(None, &own).context("--own-cpu")?;
    let dir = std::env::temp_dir().join(format!("weft-bench-{}", std::process::id()));
    let runs = |kind: &Web| Runs { name: kind.name().to_owned(), runs: Vec::new() };
    let outcome =
        |case: &str| Outcome { case: case.to_owned(), limit_s: 60, daemons: kinds.iter().map(runs).collect() };
    let mut all: Vec<Outcome> = CASES.iter().map(|(name, ..)| outcome(name)).collect();
    for run in 0..arguments.runs {
        for (at, kind) in kinds.iter().enumerate() {
            let (server, path) = kind.start(&Place { bed: &bed, dir: &dir, cpus: &arguments.cpus }, &binary)?;
            // Once beside the clock: the file is in the page cache.
            fetch(&server, &path, 1, false, 1)?;
            for (outcome, (name, connections, in_ranges, times)) in all.iter_mut().zip(CASES) {
                let figures = fetch(&server, &path, connections, in_ranges, times)
                    .with_context(|| format!("{name} {}; its log is in {}", kind.name(), dir.display()))?;
                println!("{name} {} {run}: {figures:?}", kind.name());
                outcome.daemons[at].runs.push(figures);
            }
            drop(server);
            std::fs::remove_dir_all(&dir)?;
        }
    }
    for outcome in &all {
        println!("\n{}", outcome.text());
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, json(&all))?;
    }
    Ok(())
}
