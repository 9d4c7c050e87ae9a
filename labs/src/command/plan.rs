//! `plan`: what a change of a topology or of configurations does to every flow, before it is made.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::Table;

use super::{find, print, say};
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
    /// The topology as it is: a file whose nodes all run weft, or the name of one of those that come with weft
    old: String,
    /// The topology as it is to be [default: the same, for --config]
    #[arg(required_unless_present = "config")]
    new: Option<String>,
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

/// Compares two networks: 0 nothing is lost, 1 something is lost or broken, 2 the input is wrong.
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
            Ok(ExitCode::from(u8::from(!plan.is_good())))
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            Ok(ExitCode::from(UNFIT))
        }
    }
}

fn made(options: &Options) -> Result<Plan, String> {
    let read = |file: &str| {
        let path = find::topology(Some(file)).map_err(|error| format!("{error:#}"))?;
        let world = World::load(&Source::File(path)).map_err(|error| format!("{file}: {error}"))?;
        if world.topology.nodes.len() > MAX_NODES {
            return Err(format!(
                "{file}: {} nodes; flows of {MAX_NODES} are compared at most",
                world.topology.nodes.len()
            ));
        }
        Ok(world)
    };
    let (old, mut new) = (read(&options.old)?, read(options.new.as_ref().unwrap_or(&options.old))?);
    for (node, file) in &options.config {
        new.configure(node, file)?;
    }
    let allowed: BTreeSet<String> = options.allow.iter().cloned().collect();
    let is_known = |node: &&String| old.topology.nodes.contains_key(*node) || new.topology.nodes.contains_key(*node);
    if let Some(stranger) = allowed.iter().find(|node| !is_known(node)) {
        return Err(format!("--allow {stranger}: neither topology has that node"));
    }
    let (before, _) = picture(&old, options.seed).map_err(|error| format!("{}: {error}", options.old))?;
    let (after, broken) = match picture(&new, options.seed) {
        Ok(found) => found,
        Err(Failure::Unfit(what)) => return Err(what),
        Err(wrong @ Failure::Wrong { .. }) => (Picture::default(), vec![wrong.to_string()]),
    };
    let mut plan = compare(&before, &after, &allowed);
    plan.broken = broken;
    Ok(plan)
}

/// A network at rest, and what does not hold of it.
fn picture(world: &World, seed: u64) -> Result<(Picture, Vec<String>), Failure> {
    let mut sim = world.cold(seed, 0)?;
    world.rest(&mut sim, 0)?;
    let broken = match world.check(&sim, 0) {
        Err(Failure::Wrong { what, .. } | Failure::Unfit(what)) => what.lines().map(str::to_owned).collect(),
        Ok(()) => Vec::new(),
    };
    Ok((Picture::of(&sim), broken))
}

fn show(plan: &Plan, lines: usize) {
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
