//! `up` and `verify`: make a lab, wait until everything expected of it is true, and keep it or take it down.
#![expect(clippy::disallowed_types, reason = "measures from the start of the command")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use weft_fabric::io::files::lab_root;

use super::session::Session;
use super::{find, print, reading, say};
use crate::expect::{Expectation, What};
use crate::lab::home::{self, Home};
use crate::lab::progress::Progress;
use crate::lab::{Lab, Options, server, userns};
use crate::personality::{self, Personality};
use crate::probe::plot;
use crate::topology::data;
use crate::verify::{self, Check, Outcome, Report, verify_watched};

/// Enough for 1,000 nodes, few enough for daemons that walk through all numbers.
const DESCRIPTORS: u64 = 16_384;

/// Expectations that are told one by one; more of them nobody reads.
const STAGES_SHOWN: usize = 16;

/// How the last line of a background half begins that stays.
const IS_UP: &str = "  take it down:";

/// What to start.
#[derive(Debug, Clone, Args)]
pub struct Choice {
    /// Topology file, `-` for standard input, or the name of one of those that come with weft [default: two-racks]
    file: Option<String>,
    /// Run another daemon in a node: bird, frr, gobgp, openbgpd or plain (may be given several times)
    #[arg(long = "node", value_name = "NODE=DAEMON", value_parser = personality::parse_override)]
    nodes: Vec<(String, Personality)>,
    /// The weft program for the nodes [default: the one beside this program, built if need be]
    #[arg(long, value_name = "PATH")]
    weft: Option<PathBuf>,
    #[command(flatten)]
    reading: reading::Arguments,
}

/// Options of `up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    choice: Choice,
    /// Return when the lab is up; `down` ends it
    #[arg(long)]
    detach: bool,
    /// This is the background half of `--detach`
    #[arg(long, hide = true)]
    detached: bool,
}

impl Up {
    /// In the background, with the file's own daemons.
    pub(super) fn background(file: Option<String>, reading: reading::Arguments, weft: Option<PathBuf>) -> Self {
        Self { choice: Choice { file, nodes: Vec::new(), weft, reading }, detach: true, detached: false }
    }
}

/// Options of `verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    #[command(flatten)]
    choice: Choice,
    /// Also break a switch and daemons under load, and measure what is lost
    #[arg(long)]
    failover: bool,
    /// Also delete routes and next hops behind daemons' backs, let a link flap, and measure how soon all is back
    #[arg(long)]
    heal: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Draw what flows lost, and when, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// A lab that was just made.
struct Started {
    lab: Arc<Lab>,
    session: Arc<Session>,
    progress: Progress,
    begin: Instant,
}

/// Starts a lab, shows it, and stays until it is taken down.
///
/// # Errors
/// When it cannot be started.
pub fn up(options: &Up) -> Result<ExitCode> {
    let begin = Instant::now();
    if options.detach {
        return detach(&options.choice);
    }
    if options.detached {
        rustix::process::setsid()?;
    }
    let started = start(&options.choice, begin)?;
    let report = started.check(&verify::Options::default())?;
    started.progress.clear();
    let topology = started.lab.topology();
    print(&report.drawing);
    for check in report.checks.iter().filter(|check| check.outcome != Outcome::Passed) {
        say(&format!(
            "{} {}: {}",
            if check.outcome == Outcome::Failed { "FAIL" } else { "skip" },
            check.name,
            check.detail
        ));
    }
    say(&format!(
        "{}: {} nodes, {} links; {}",
        topology.name,
        topology.nodes.len(),
        topology.links.len(),
        summary(&report)
    ));
    let node = topology.nodes.keys().find(|name| name.starts_with("node")).or_else(|| topology.nodes.keys().next());
    let place = format!("{}/{}", topology.name, node.map_or("NODE", String::as_str));
    say(&format!("  a command in a node:  weft-lab exec {place} -- COMMAND"));
    say(&format!("  ask a daemon:         weft --lab {place} show routes"));
    started.session.set_code(u8::from(!report.is_good()));
    if options.detached {
        say(&format!("{IS_UP}         weft-lab down {}", topology.name));
        // closes the pipes that the foreground half reads
        let null = fs::File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
    } else {
        say("  Ctrl-C takes it down");
    }
    started.session.stay()
}

fn summary(report: &Report) -> String {
    let all = report.checks.len();
    match (report.command_s, report.converged_s) {
        (Some(seconds), _) => format!("all {all} expectations true {seconds:.2} s after the command"),
        (None, _) if report.is_good() => format!("{all} expectations hold or cannot be asked here"),
        (None, Some(_) | None) => {
            let failed = report.checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
            format!("{failed} of {all} expectations do not hold; the lab stays up for you to look")
        }
    }
}

/// Starts a lab, checks it, takes it down.
///
/// # Errors
/// When it cannot be started or asked; what is wrong in it is in the report and the exit code.
pub fn verify(options: &Verify) -> Result<ExitCode> {
    let begin = Instant::now();
    for path in [&options.json, &options.junit, &options.plot].into_iter().flatten() {
        // now, not after all the work
        fs::File::create(path).with_context(|| format!("write {}", path.display()))?;
    }
    let started = start(&options.choice, begin)?;
    let name = started.lab.topology().name.clone();
    let (steps, faults) = (started.lab.topology().steps.clone(), started.lab.topology().faults.clone());
    let (failover, heal) = (options.failover, options.heal);
    let report = started.check(&verify::Options { failover, heal, spread: true, steps, faults });
    started.progress.clear();
    let report = report.inspect_err(|_| started.lab.down(&started.progress))?;
    print(&report.text());
    started.lab.down(&started.progress);
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &options.junit {
        fs::write(path, report.junit(&name)).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &options.plot {
        let groups: Vec<_> = report.figures.iter().map(|figure| figure.plot.clone()).collect();
        fs::write(path, plot::svg(&groups)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the lab of a choice. Must run while the process has one thread.
fn start(choice: &Choice, begin: Instant) -> Result<Started> {
    let progress = Progress::new();
    raise_descriptor_limit();
    let path = find::topology(choice.file.as_deref())?;
    let topology = choice.reading.load(&path)?;
    for warning in &topology.warnings {
        progress.say(warning);
    }
    let overrides: BTreeMap<String, Personality> = choice.nodes.iter().cloned().collect();
    if let Some(unknown) = overrides.keys().find(|name| !topology.nodes.contains_key(*name)) {
        let names: Vec<&str> = topology.nodes.keys().map(String::as_str).collect();
        bail!("--node {unknown}: there is no such node; there are {}", names.join(", "));
    }
    let runs = |name: &str, own: Personality| overrides.get(name).copied().unwrap_or(own);
    let needs = |wanted: fn(Personality) -> bool| {
        topology.nodes.values().any(|spec| wanted(runs(&spec.name, spec.personality)))
    };
    let found = |program| find::program(program, choice.weft.as_deref(), &progress);
    let weft = needs(Personality::runs_weft).then(|| found(&find::WEFT)).transpose()?;
    let netboot = needs(|one| one == Personality::Netboot).then(|| found(&find::NETBOOT)).transpose()?;
    let root = lab_root();
    let home = Arc::new(Home::claim(&root, &topology.name)?);
    let made = (|| {
        let ordinary = userns::ensure_rights()?;
        let session = Session::new(Arc::clone(&home))?;
        let options = Options { overrides, weft, netboot, program: own_program(), ordinary };
        let lab = Arc::new(Lab::start(topology, Arc::clone(&home), &options, &progress)?);
        let data = data::document(lab.topology(), home.folder());
        fs::write(home.folder().join(data::FILE), serde_json::to_vec_pretty(&data)?).context("write the lab's data")?;
        session.set(Arc::clone(&lab));
        let asked = Arc::clone(&session);
        let socket = home::control(&root, &lab.topology().name);
        server::serve(Arc::clone(&lab), &socket, move || asked.ask())?;
        Ok((lab, session))
    })();
    let (lab, session) = made.inspect_err(|_: &anyhow::Error| drop(home.remove()))?;
    for warning in lab.warnings() {
        progress.say(&warning);
    }
    Ok(Started { lab, session, progress, begin })
}

impl Started {
    /// Waits for the expectations, and says when a daemon ended.
    fn check(&self, options: &verify::Options) -> Result<Report> {
        let offset = self.begin.elapsed().as_secs_f64();
        let expectations = &self.lab.topology().expect;
        let stages = stages(expectations);
        let told = RefCell::new(BTreeSet::new());
        let watch = |checks: &[Option<Check>]| {
            for at in &stages {
                let check = checks.get(*at).and_then(Option::as_ref).filter(|check| check.outcome == Outcome::Passed);
                if let Some(check) = check.filter(|_| told.borrow_mut().insert(*at)) {
                    self.progress.say(&format!("{:7.2} s  {}", offset + check.seconds, check.name));
                }
            }
            let settled = checks.iter().flatten().count();
            self.progress.step("expectations true", settled, checks.len());
            // only while the expectations are waited for: later, daemons are killed on purpose
            settled == checks.len() || self.lab.fallen().is_empty()
        };
        let mut report = verify_watched(&*self.lab, expectations, options, &watch)?;
        let of_file = &report.checks[..expectations.len().min(report.checks.len())];
        if of_file.iter().all(|check| check.outcome == Outcome::Passed) {
            report.command_s = Some(offset + of_file.iter().map(|check| check.seconds).fold(0.0, f64::max));
        }
        for sentence in self.lab.fallen() {
            self.progress.say(&sentence);
        }
        Ok(report)
    }
}

/// Which expectations are told one by one, as they come true: those of commands, in a lab that waits for what a machine does. Of more than
/// anybody reads, none.
fn stages(expectations: &[Expectation]) -> Vec<usize> {
    let is_stage =
        |(at, expectation): (usize, &Expectation)| matches!(expectation.what, What::Command { .. }).then_some(at);
    let stages: Vec<usize> = expectations.iter().enumerate().filter_map(is_stage).collect();
    if stages.len() > STAGES_SHOWN { Vec::new() } else { stages }
}

/// A lab keeps several descriptors open for each node; the usual limit of 1,024 ends at some 100 nodes.
fn raise_descriptor_limit() {
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // with the old limit, small labs still run, and a large one says what it lacks
        let _ = rustix::process::setrlimit(resource, limit);
    }
}

/// This program, under the name that process lists should show; by descriptor when a build has replaced the file.
fn own_program() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.is_file()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// Starts the same command in the background and passes on what it says until the lab is up.
fn detach(choice: &Choice) -> Result<ExitCode> {
    let mut command = Command::new(own_program());
    command.args(["up", "--detached"]);
    command.args(&choice.file);
    for (node, personality) in &choice.nodes {
        command.args(["--node", &format!("{node}={personality}")]);
    }
    if let Some(weft) = &choice.weft {
        command.arg("--weft").arg(weft);
    }
    command.args(choice.reading.words());
    let is_piped = choice.file.as_deref() == Some(find::STDIN);
    let mut child =
        command.stdin(if is_piped { Stdio::inherit() } else { Stdio::null() }).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut said)?;
    }
    print(&said);
    if said.contains(IS_UP) {
        return Ok(ExitCode::from(u8::from(said.contains("expectations do not hold"))));
    }
    // it closed its output because it ends, which it may not have done yet
    let status = child.wait()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectations(commands: usize) -> Vec<Expectation> {
        let route = "{at: tor, route: 10.72.0.1/32}\n";
        let text = format!("- {route}{}", "- {at: machine, run: console, says: up}\n".repeat(commands));
        serde_saphyr::from_str(&text).unwrap()
    }

    #[test]
    fn what_machines_do_is_told_step_by_step_and_routes_are_counted() {
        assert_eq!(stages(&expectations(2)), [1, 2]);
        assert_eq!(stages(&expectations(STAGES_SHOWN)).len(), STAGES_SHOWN);
        assert_eq!(stages(&expectations(STAGES_SHOWN + 1)), [0_usize; 0]);
    }
}
