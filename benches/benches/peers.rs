//! Compares weft with other BGP daemons: `cargo bench -p weft-benches --bench peers -- --case a1,a4 --dut bird,weft --runs 3`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program for people"
)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use weft_benches::bed::Bed;
use weft_benches::case::{
    Carrier, Figures, Stage, record, run_carrier, run_d1, run_e, run_f1, run_install, run_path, run_spread,
};
use weft_benches::dut::{Kind, Variant};
use weft_benches::plan::{Plan, seat};
use weft_benches::report::{self, Outcome, Runs, json, svg};
use weft_benches::table::{Table, hosts};

/// Prefixes in b1, c1 and c2; in b2 and those that end in m.
const HOSTS: u32 = 100_000;
const MILLION: u32 = 1_000_000;
/// The first of them.
const FIRST: Ipv4Addr = Ipv4Addr::new(100, 0, 0, 0);
/// Sessions in e2 and e3.
const SESSIONS: (u16, u16) = (1_000, 200);
/// A daemon may fail as often in a run: some close connections while a thousand of them come up.
const TRIES: u32 = 3;
/// Every case, in the order of the table.
const ALL: [&str; 23] = [
    "a1", "a3", "a4", "a5", "a6", "a7", "k1", "k2", "f1", "b1", "b2", "c1", "c1b", "c1m", "c2", "c2m", "c3", "c3m",
    "c4", "c4m", "d1", "e2", "e3",
];

#[derive(Debug, Parser)]
struct Arguments {
    /// Cases: a1, a3, a4, a5, a6, a7, b1, b2, c1, c1b, c1m, c2, c2m, c3, c3m, c4, c4m, d1, e2, e3, f1, k1, k2, or all.
    #[arg(long, value_delimiter = ',', default_value = "a1")]
    case: Vec<String>,
    /// Daemons, the first is the base of the ratios: bird, weft, weft-keep, weft-import, weft-keep-import, frr, frr-tuned, gobgp,
    /// openbgpd, null, ceiling. Those that cannot take part in a case are left out of it.
    #[arg(long, value_delimiter = ',', default_value = "bird,weft")]
    dut: Vec<String>,
    /// Runs of each, interleaved.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Prefixes of each feeder, where not the usual number.
    #[arg(long)]
    prefixes: Option<usize>,
    /// A run is given up after so many seconds, and not tried again.
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// The weft binary.
    #[arg(long, default_value = "../target/release/weft")]
    weft: PathBuf,
    /// Writes every run to this JSON file, in place of what it has of the same cases; its other cases stay.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws the medians into this SVG file, with the other cases of the JSON file.
    #[arg(long)]
    svg: Option<PathBuf>,
    #[arg(long, hide = true)]
    null_router: bool,
    #[arg(long, hide = true)]
    ceiling: Option<PathBuf>,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.null_router {
        return weft_benches::null::run();
    }
    if let Some(recording) = &arguments.ceiling {
        return weft_benches::ceiling::run(recording);
    }
    let kinds: Vec<Kind> =
        arguments.dut.iter().map(|name| Kind::named(name, &arguments.weft)).collect::<Result<_>>()?;
    let cases: Vec<&str> =
        if arguments.case == ["all"] { ALL.to_vec() } else { arguments.case.iter().map(String::as_str).collect() };
    let bed = Bed::new()?;
    let dir = std::env::temp_dir().join(format!("weft-bench-{}", std::process::id()));
    let start = Instant::now();
    let mut all = match &arguments.json {
        Some(path) if path.exists() => {
            report::read(&std::fs::read_to_string(path)?).with_context(|| path.display().to_string())?
        }
        _ => Vec::new(),
    };
    for case in cases {
        let outcome = run_case(&arguments, &kinds, &bed, &dir, case)?;
        println!("\n{}", outcome.text());
        all.retain(|other| other.case != case);
        all.push(outcome);
        all.sort_by_key(|outcome| ALL.iter().position(|case| *case == outcome.case));
        // after each, since an hour of them can end badly
        if let Some(path) = &arguments.json {
            std::fs::write(path, json(&all))?;
        }
    }
    println!("{:.0} s in all", start.elapsed().as_secs_f64());
    if let Some(path) = arguments.svg {
        std::fs::write(path, svg(&all))?;
    }
    Ok(())
}

/// All daemons of a case, interleaved.
fn run_case(arguments: &Arguments, kinds: &[Kind], bed: &Bed, dir: &Path, case: &str) -> Result<Outcome> {
    let plan = match case {
        "b1" | "b2" | "c1" | "c1b" | "c1m" | "c2" | "c2m" | "c3" | "c3m" | "c4" | "c4m" | "d1" | "e2" | "e3" | "f1" => {
            None
        }
        _ => Some(Plan::named(case, arguments.prefixes)?),
    };
    if let Some(plan) = &plan {
        let octets: usize = plan.members.iter().map(|member| member.offer.len()).sum();
        let wanted: usize =
            plan.members.iter().filter_map(|member| member.expects.as_ref()).map(|expects| expects.len()).sum();
        println!("{case}: {} members, {octets} octets offered, {wanted} prefixes to be held", plan.members.len());
    }
    let stage = Stage { bed, dir, limit: Duration::from_secs(arguments.limit) };
    let mut kinds: Vec<Kind> = kinds.iter().filter(|kind| takes_part(kind, case)).cloned().collect();
    let recording = std::env::temp_dir().join(format!("weft-recording-{}", std::process::id()));
    for kind in &mut kinds {
        if let (Kind::Ceiling(path), Some(plan)) = (kind, &plan) {
            let weft = Kind::named("weft", &arguments.weft)?;
            std::fs::create_dir_all(dir)?;
            record(&stage, &weft, plan)?.save(&recording)?;
            std::fs::remove_dir_all(dir)?;
            path.clone_from(&recording);
        }
    }
    let mut daemons: Vec<Runs> =
        kinds.iter().map(|kind| Runs { name: kind.name().to_owned(), runs: Vec::new() }).collect();
    for run in 0..arguments.runs {
        for (kind, runs) in kinds.iter().zip(&mut daemons) {
            if runs.runs.iter().flatten().any(|(_, value)| value.is_infinite()) {
                continue;
            }
            let what = format!("{case} {} {run}", kind.name());
            let figures = insist(&what, || {
                std::fs::create_dir_all(dir)?;
                run_one(&stage, kind, case, plan.as_ref())
            })
            .with_context(|| format!("{what}; its log is in {}", dir.display()))?;
            println!("{what}: {figures:?}");
            runs.runs.push(figures);
            std::fs::remove_dir_all(dir)?;
        }
    }
    if recording.exists() {
        std::fs::remove_file(&recording)?;
    }
    Ok(Outcome { case: case.to_owned(), limit_s: arguments.limit, daemons })
}

/// Runs something until it succeeds, at most [`TRIES`] times, and says each failure aloud.
fn insist(what: &str, run: impl Fn() -> Result<Figures>) -> Result<Figures> {
    let mut tries = 1;
    loop {
        match run() {
            Err(error) if tries < TRIES => println!("{what}: FAILED, and tried again: {error:#}"),
            end => return end,
        }
        tries += 1;
    }
}

fn run_one(stage: &Stage<'_>, kind: &Kind, case: &str, plan: Option<&Plan>) -> Result<Figures> {
    match (case, plan) {
        ("b1", _) => {
            let stream = hosts(HOSTS, FIRST, seat(0).asn, seat(0).ours);
            run_install(stage, kind, usize::try_from(HOSTS)?, stream.into())
        }
        ("b2", _) => {
            let count = usize::try_from(MILLION)?;
            let table = Table::full(count, seat(0).asn, seat(0).ours);
            run_install(stage, kind, count, table.stream.into())
        }
        ("c1" | "c1b" | "c1m" | "c2" | "c2m" | "c4" | "c4m", _) => {
            let count = if case.ends_with('m') { MILLION } else { HOSTS };
            let (keeps_sessions, is_kept, is_busy) = (case.starts_with("c2"), case.starts_with("c4"), case == "c1b");
            run_carrier(stage, kind, Carrier { count, keeps_sessions, is_kept, is_busy })
        }
        ("c3" | "c3m", _) => run_path(stage, kind, if case == "c3m" { MILLION } else { HOSTS }),
        ("d1", _) => run_d1(stage, kind),
        ("f1", _) => run_f1(stage, kind),
        ("e2", _) => run_e(stage, kind, SESSIONS.0, false),
        (_, None) => run_e(stage, kind, SESSIONS.1, true),
        (_, Some(plan)) => run_spread(stage, kind, plan),
    }
}

/// Who has a part in a case. GoBGP sends one prefix with each UPDATE and needs minutes for the large ones; it and OpenBGPD do not touch
/// the kernel's routes here, OpenBGPD hangs up on callers, and coalescing matters where a daemon has many peers.
fn takes_part(kind: &Kind, case: &str) -> bool {
    let touches_kernel = case.starts_with(['b', 'c']);
    match kind {
        // Nobody else keeps routes over a lost link.
        _ if case.starts_with("c4") && !matches!(kind, Kind::Weft(..)) => false,
        Kind::Bird | Kind::Weft(_, Variant { keeps: false, imports: false }) => true,
        Kind::Weft(_, Variant { .. }) => touches_kernel,
        Kind::Frr { is_tuned: false } => true,
        Kind::Frr { is_tuned: true } => matches!(case, "a3" | "a4" | "a5"),
        Kind::Gobgp => !matches!(case, "a1" | "a3" | "a6" | "f1" | "k1" | "k2") && !touches_kernel,
        Kind::Openbgpd => !matches!(case, "f1" | "k1" | "k2") && !touches_kernel,
        Kind::Null => matches!(case, "a1" | "a6" | "a7"),
        Kind::Ceiling(_) => matches!(case, "a3" | "a4" | "a5"),
    }
}
