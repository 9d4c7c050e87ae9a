//! `plan`: what a change of a topology or of configurations does to every flow, before it is made.

#[path = "live.rs"]
mod live;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::Table;

use super::{find, print, say};
use crate::sim::Sim;
use crate::sim::live::{Fabric, differences, dress_all, world};
use crate::sim::plan::picture::MAX_NODES;
use crate::sim::plan::{Picture, Plan, Row, compare};
use crate::sim::scenario::{Failure, Source, World};

/// Exit code for what cannot be compared.
const UNFIT: u8 = 2;
/// Destinations of a row that are named.
const NAMED: usize = 3;

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct Options {
    /// The topology as it is: a file whose nodes all run weft, or the name of one of those that come with weft; with --live there is none,
    /// and only NEW
    #[arg(required_unless_present = "live")]
    old: Option<String>,
    /// The topology as it is to be [default: the same, for --config]
    #[arg(required_unless_present_any = ["config", "live"])]
    new: Option<String>,
    /// Instead of OLD what daemons that run say: those of a lab on this machine, or those that a file lists (its name ends with .yml)
    #[arg(long, value_name = "LAB|FILE")]
    live: Option<String>,
    /// Another configuration of a node after the change (may be given several times)
    #[arg(long, value_name = "NODE=FILE", value_parser = parse_config)]
    config: Vec<(String, PathBuf)>,
    /// Flows from and to this node may be lost: it is to be taken away (may be given several times)
    #[arg(long, value_name = "NODE")]
    allow: Vec<String>,
    /// Of latencies, pieces of streams, timers and the order of starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A table for people, or JSON with everything
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Lines of each kind in the table
    #[arg(long, default_value_t = 20)]
    lines: usize,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

fn parse_config(text: &str) -> Result<(String, PathBuf), String> {
    let (node, file) = text.split_once('=').ok_or_else(|| "write NODE=FILE".to_owned())?;
    Ok((node.to_owned(), PathBuf::from(file)))
}

/// Compares two networks: 0 nothing is lost, 1 something is lost or broken, 2 the input is wrong, or a live fabric is not as its model.
///
/// # Errors
/// None: what is wrong with the input goes to standard error, so that the exit code tells it from a loss.
pub fn plan(options: &Options) -> anyhow::Result<ExitCode> {
    match made(options) {
        Ok(plan) => {
            match options.output {
                Format::Table => show(&plan, options.lines),
                Format::Json => say(&serde_json::to_string_pretty(&plan)?),
            }
            let unlike = !plan.differences.is_empty();
            Ok(ExitCode::from(if unlike { UNFIT } else { u8::from(!plan.is_good()) }))
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            Ok(ExitCode::from(UNFIT))
        }
    }
}

/// Both networks, and what the daemons of a live one say.
struct Networks {
    old: (String, World),
    new: World,
    fabric: Fabric,
}

fn networks(options: &Options) -> Result<Networks, String> {
    let Some(of) = &options.live else {
        // The command line has it.
        let old = options.old.clone().unwrap_or_default();
        let new = read(options.new.as_ref().unwrap_or(&old))?;
        return Ok(Networks { new, old: (old.clone(), read(&old)?), fabric: Fabric::new() });
    };
    if options.new.is_some() {
        return Err("with --live one topology is enough: that of the network as it is to be".to_owned());
    }
    if options.old.is_none() && options.config.is_empty() {
        return Err("nothing is to change: name a topology, or --config NODE=FILE".to_owned());
    }
    let fabric = live::ask(of)?;
    let (old, notes) = world(&fabric)?;
    for note in notes {
        let _ = writeln!(io::stderr(), "{note}");
    }
    let new = match &options.old {
        Some(file) => read(file)?,
        None => world(&fabric)?.0,
    };
    Ok(Networks { old: (of.clone(), old), new, fabric })
}

fn read(file: &str) -> Result<World, String> {
    let path = find::topology(Some(file)).map_err(|error| format!("{error:#}"))?;
    let world = World::load(&Source::File(path)).map_err(|error| format!("{file}: {error}"))?;
    let nodes = world.topology.nodes.len();
    if nodes > MAX_NODES {
        return Err(format!("{file}: {nodes} nodes; flows of {MAX_NODES} are compared at most"));
    }
    Ok(world)
}

fn made(options: &Options) -> Result<Plan, String> {
    let Networks { old: (name, old), mut new, fabric } = networks(options)?;
    for (node, file) in &options.config {
        new.configure(node, file)?;
    }
    dress_all(&mut new, &fabric);
    let allowed: BTreeSet<String> = options.allow.iter().cloned().collect();
    let is_known = |node: &&String| old.topology.nodes.contains_key(*node) || new.topology.nodes.contains_key(*node);
    if let Some(stranger) = allowed.iter().find(|node| !is_known(node)) {
        return Err(format!("--allow {stranger}: neither topology has that node"));
    }
    let sim = rest(&old, options.seed).map_err(|error| format!("{name}: {error}"))?;
    let (before, differences) = (Picture::of(&sim), differences(&sim, &fabric));
    drop(sim);
    let (after, broken) = match picture(&new, options.seed) {
        Ok(found) => found,
        Err(Failure::Unfit(what)) => return Err(what),
        Err(wrong @ Failure::Wrong { .. }) => (Picture::default(), vec![wrong.to_string()]),
    };
    let mut plan = compare(&before, &after, &allowed);
    (plan.broken, plan.differences) = (broken, differences);
    Ok(plan)
}

/// A network at rest.
fn rest(world: &World, seed: u64) -> Result<Sim, Failure> {
    let mut sim = world.cold(seed, 0)?;
    world.rest(&mut sim, 0)?;
    Ok(sim)
}

/// A network at rest, and what does not hold of it.
fn picture(world: &World, seed: u64) -> Result<(Picture, Vec<String>), Failure> {
    let sim = rest(world, seed)?;
    let broken = match world.check(&sim, 0) {
        Err(Failure::Wrong { what, .. } | Failure::Unfit(what)) => what.lines().map(str::to_owned).collect(),
        Ok(()) => Vec::new(),
    };
    Ok((Picture::of(&sim), broken))
}

fn show(plan: &Plan, lines: usize) {
    if !plan.differences.is_empty() {
        say("the model is not the live fabric, and what follows is of the model:");
        plan.differences.iter().take(lines).for_each(|line| say(&format!("  {line}")));
    }
    rows("lost", plan.flows_lost, &plan.lost, lines);
    rows("new", plan.flows_new, &plan.new, lines);
    rows("moved", plan.flows_moved, &plan.moved, lines);
    if !plan.unbalanced.is_empty() {
        say(&format!("unbalanced: {} groups of links", plan.unbalanced.len()));
        let mut table = table(["AT", "SHARES", "LARGEST OVER MEAN"]);
        for uneven in plan.unbalanced.iter().take(lines) {
            let shares = uneven.shares.iter().map(|(link, share)| format!("{link} {:.1} %", share * 100.0));
            let shares = shares.collect::<Vec<_>>().join(", ");
            table.add_row([uneven.at.clone(), shares, format!("{:.2}, was {:.2}", uneven.after, uneven.before)]);
        }
        end(&table, plan.unbalanced.len(), lines);
    }
    if !plan.broken.is_empty() {
        say(&format!("broken: {}", plan.broken.len()));
        plan.broken.iter().take(lines).for_each(|line| say(&format!("  {line}")));
    }
    let given_up =
        if plan.flows_given_up > 0 { format!(" ({} more allowed)", plan.flows_given_up) } else { String::new() };
    say(&format!(
        "{} flows: {} lost{given_up}, {} new, {} moved; {} groups of links unbalanced",
        plan.flows,
        plan.flows_lost,
        plan.flows_new,
        plan.flows_moved,
        plan.unbalanced.len()
    ));
}

fn rows(what: &str, flows: u64, rows: &[Row], lines: usize) {
    if flows == 0 {
        return;
    }
    say(&format!("{what}: {flows} flows"));
    let mut table = table(["FROM", "TO", "BEFORE", "AFTER"]);
    for row in rows.iter().take(lines) {
        let mut to = row.to.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if row.to.len() > NAMED {
            to = format!("{to} and {} more", row.to.len() - NAMED);
        }
        table.add_row([&row.from, &to, &row.before, &row.after]);
    }
    end(&table, rows.len(), lines);
}

fn table<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(head);
    table
}

fn end(table: &Table, all: usize, lines: usize) {
    print(&format!("{table}\n"));
    if all > lines {
        say(&format!("  … and {} more lines: --lines {all}, or --output json", all - lines));
    }
}
