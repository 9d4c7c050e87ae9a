//! Compares weft with other BGP daemons: `cargo bench -p weft-benches --bench peers -- --case a1 --dut bird,weft --runs 3`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use weft_benches::bed::{Bed, LINKS};
use weft_benches::case::{run_a1, run_b1, run_d1};
use weft_benches::dut::Kind;
use weft_benches::report::{Runs, json, svg, text};
use weft_benches::table::Table;

/// Prefixes in b1.
const HOSTS: u32 = 100_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// a1 (bulk table through the daemon), b1 (100,000 /32 into the kernel) or d1 (start and idle memory).
    #[arg(long, default_value = "a1")]
    case: String,
    /// Daemons, the first is the base of the ratios: bird, weft, null.
    #[arg(long, value_delimiter = ',', default_value = "bird")]
    dut: Vec<String>,
    /// Runs of each, interleaved.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Prefixes in a1.
    #[arg(long, default_value_t = 1_000_000)]
    prefixes: usize,
    /// The weft binary.
    #[arg(long, default_value = "target/release/weft")]
    weft: PathBuf,
    /// Writes every run to this JSON file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws the medians into this SVG file.
    #[arg(long)]
    svg: Option<PathBuf>,
    #[arg(long, hide = true)]
    null_router: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.null_router {
        return weft_benches::null::run();
    }
    let mut kinds = Vec::new();
    for name in &arguments.dut {
        kinds.push(match name.as_str() {
            "bird" => Kind::Bird,
            "weft" => Kind::Weft(arguments.weft.canonicalize().context("no weft binary: give --weft PATH")?),
            "null" => Kind::Null,
            other => bail!("--dut {other}: not one of bird, weft, null"),
        });
    }
    let bed = Bed::new()?;
    let table = Table::full(arguments.prefixes, 4_200_000_001, Ipv4Addr::from(LINKS[0].1));
    println!(
        "{} prefixes, {} attribute sets, {} octets",
        table.prefixes.len(),
        table.attribute_sets,
        table.stream.len()
    );
    let mut all: Vec<Runs> = kinds.iter().map(|kind| Runs { name: kind.name(), runs: Vec::new() }).collect();
    let dir = std::env::temp_dir().join(format!("weft-bench-{}", std::process::id()));
    for run in 0..arguments.runs {
        for (kind, runs) in kinds.iter().zip(&mut all) {
            std::fs::create_dir_all(&dir)?;
            let figures = match arguments.case.as_str() {
                "a1" => run_a1(&bed, kind, &dir, &table),
                "b1" => run_b1(&bed, kind, &dir, HOSTS),
                "d1" => run_d1(&bed, kind, &dir),
                other => bail!("--case {other}: not one of a1, b1, d1"),
            }
            .with_context(|| format!("{} run {run}; its log is in {}", kind.name(), dir.display()))?;
            println!("{} run {run}: {figures:?}", kind.name());
            runs.runs.push(figures);
            std::fs::remove_dir_all(&dir)?;
        }
    }
    println!("\n{}", text(&all));
    if let Some(path) = arguments.json {
        std::fs::write(path, json(&arguments.case, &all))?;
    }
    if let Some(path) = arguments.svg {
        std::fs::write(path, svg(&arguments.case, &all))?;
    }
    Ok(())
}
