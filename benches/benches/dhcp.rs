//! Compares weft-netboot with other DHCP servers: `cargo bench -p weft-benches --bench dhcp -- --dut kea,dnsmasq,weft --runs 3`.
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
use weft_benches::boot::ask;
use weft_benches::boot::cases::{ALL, Session, prepare};
use weft_benches::boot::server::{Kind, Place};
use weft_benches::report::{Outcome, Runs, json};

#[derive(Debug, Parser)]
struct Arguments {
    /// Cases: known, first, offer, bind, renew, known-max, offer-max, or all; `renew` needs `bind` before it.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    case: Vec<String>,
    /// Servers, the first is the base of the ratios: weft, weft-etcd, kea, kea-mt, dnsmasq, mirror.
    #[arg(long, value_delimiter = ',', default_value = "kea,dnsmasq,weft")]
    dut: Vec<String>,
    /// Runs of each, interleaved.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Processors of the server, as `taskset -c` has them.
    #[arg(long, default_value = "0")]
    cpus: String,
    /// The processor of who asks.
    #[arg(long, default_value_t = 1)]
    own_cpu: usize,
    /// The weft-netboot binary.
    #[arg(long, default_value = "../target/release/weft-netboot")]
    weft_netboot: PathBuf,
    /// Writes every run to this JSON file.
    #[arg(long)]
    json: Option<PathBuf>,
    #[arg(long, hide = true)]
    mirror: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.mirror {
        return ask::mirror();
    }
    let kinds: Vec<Kind> =
        arguments.dut.iter().map(|name| Kind::named(name, &arguments.weft_netboot)).collect::<Result<_>>()?;
    let cases: Vec<&str> =
        if arguments.case == ["all"] { ALL.to_vec() } else { arguments.case.iter().map(String::as_str).collect() };
    let bed = Bed::new()?;
    prepare(&bed)?;
    let mut own = CpuSet::new();
    own.set(arguments.own_cpu);
    sched_setaffinity(None, &own).context("--own-cpu")?;
    let dir = std::env::temp_dir().join(format!("weft-bench-{}", std::process::id()));
    let runs = |kind: &Kind| Runs { name: kind.name().to_owned(), runs: Vec::new() };
    let outcome = |case: &&str| Outcome {
        case: (*case).to_owned(),
        limit_s: ask::LOST.as_secs(),
        daemons: kinds.iter().map(runs).collect(),
    };
    let mut all: Vec<Outcome> = cases.iter().map(outcome).collect();
    for run in 0..arguments.runs {
        for (at, kind) in kinds.iter().enumerate() {
            let place = Place { bed: &bed, dir: &dir, cpus: &arguments.cpus };
            let mut session = Session::start(kind, &place)?;
            println!("{} {run}: answers after {:.2} s", kind.name(), session.up_s);
            for outcome in &mut all {
                if *kind == Kind::Mirror && !outcome.case.starts_with("offer") {
                    continue;
                }
                let figures = session.run(&outcome.case);
                let what = format!("{} {} {run}", outcome.case, kind.name());
                let figures = figures.with_context(|| format!("{what}; its log is in {}", dir.display()))?;
                println!("{what}: {figures:?}");
                outcome.daemons[at].runs.push(figures);
            }
            println!("{} {run}: {:.1} MB at most", kind.name(), session.memory_mb()?);
            drop(session);
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
