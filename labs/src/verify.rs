//! Checks what must be true in a running lab: kernel tables, RIBs and real packets, each polled until it holds or its
//! time is up.
//!
//! The lab is seen through [`Plant`], which is all that a lab has to offer to be verified: open a socket inside a node,
//! kill and start its daemon, move a link. [`check`] decides one expectation, [`failover`] breaks things and measures.
#![expect(clippy::disallowed_types, reason = "deadlines are of real time")]
#![expect(clippy::disallowed_methods, reason = "polls kernels and daemons with a deadline")]

pub mod api;
pub mod check;
mod cut;
pub mod failover;
pub mod heal;
pub mod kernel;
pub mod nexthop;
mod steps;
mod timeline;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::draw::{self, NodeState};
use crate::expect::{Expectation, What};
use crate::fault::{Fault, Incident};
use crate::step::Step;
use crate::verify::check::Site;

/// How often unmet expectations are looked at again.
const POLL: Duration = Duration::from_millis(50);
/// Between two looks is at least this much of the time that a look takes.
const POLL_SHARE: u32 = 3;
/// How often a command is run again: each is a process, and a client that asks its daemon.
const COMMAND_POLL: Duration = Duration::from_millis(400);

/// Work to be done inside a node's namespaces: opens one socket.
pub type OpenSocket = Box<dyn FnOnce() -> io::Result<OwnedFd> + Send>;

/// One end of a link: node and interface.
pub type LinkEnd = (String, String);

/// A running lab, as far as verification needs it.
pub trait Plant: Sync {
    /// Every node's name.
    fn nodes(&self) -> Vec<String>;
    /// Which daemon a node runs: `weft`, `bird`, `frr`, `gobgp`, `openbgpd`, or nothing.
    fn personality(&self, node: &str) -> String;
    /// Every link.
    fn links(&self) -> Vec<[LinkEnd; 2]>;
    /// Runs `open` on a thread inside the node's network namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `open` answers.
    fn open(&self, node: &str, open: OpenSocket) -> io::Result<OwnedFd>;
    /// The daemon's API socket, as a path on the host.
    fn api_socket(&self, node: &str) -> PathBuf;
    /// Kills the node's daemon with SIGKILL.
    ///
    /// # Errors
    /// When there is no such daemon.
    fn kill_daemon(&self, node: &str) -> io::Result<()>;
    /// Starts the node's daemon again.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start_daemon(&self, node: &str) -> io::Result<()>;
    /// Runs a command in a node to its end: whether it succeeded, and both of its outputs.
    ///
    /// # Errors
    /// When it cannot be started.
    fn run(&self, node: &str, words: &[String]) -> io::Result<(bool, String)>;
    /// Sets interfaces up or down, as close to at once as the kernel can.
    ///
    /// # Errors
    /// When one of them does not exist; the others are set all the same.
    fn set_links(&self, ends: &[LinkEnd], up: bool) -> io::Result<()>;
    /// Makes a fault; its number.
    ///
    /// # Errors
    /// When there is no such place, or it cannot be made; then all is as before.
    fn make_fault(&self, fault: &Fault) -> io::Result<u64>;
    /// Undoes a fault.
    ///
    /// # Errors
    /// When it cannot be undone.
    fn undo_fault(&self, number: u64) -> io::Result<()>;
    /// Waits until faults that were undone have left nothing behind.
    fn settle_faults(&self);
}

/// What to do beside the expectations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Break a switch and daemons, and measure the loss.
    pub failover: bool,
    /// Take from kernels what is the daemons', and let a link flap, and measure how soon all is back.
    pub heal: bool,
    /// Send 1,000 flows and look at their spread.
    pub spread: bool,
    /// What is done once everything expected holds.
    pub steps: Vec<Step>,
    /// What goes wrong after that.
    pub faults: Vec<Incident>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It held in time.
    Passed,
    /// It did not.
    Failed,
    /// It cannot be asked here.
    Skipped,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What was asked.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was there instead, or why it was skipped.
    pub detail: String,
    /// Seconds until it held, or until we gave up.
    pub seconds: f64,
}

/// Everything a verification found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// One per expectation and scenario.
    pub checks: Vec<Check>,
    /// Seconds until the last route expectation held; `None` when one never did.
    pub converged_s: Option<f64>,
    /// Seconds from the start of the command that made the lab until every expectation was true.
    pub command_s: Option<f64>,
    /// Loss figures of the scenarios.
    pub figures: Vec<failover::Figure>,
    /// Share of a burst's flows on each link.
    pub spread: Vec<failover::Share>,
    /// The racks, drawn after convergence.
    pub drawing: String,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Failed)
    }

    /// The report as a JUnit file, which most CI systems show test by test.
    #[must_use]
    pub fn junit(&self, suite: &str) -> String {
        let count = |wanted| self.checks.iter().filter(|check| check.outcome == wanted).count();
        let mut xml = format!(
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
            escape(suite),
            self.checks.len(),
            count(Outcome::Failed),
            count(Outcome::Skipped)
        );
        for check in &self.checks {
            let name = escape(&check.name);
            let detail = escape(&check.detail);
            let inner = match check.outcome {
                Outcome::Passed => String::new(),
                Outcome::Failed => format!("<failure message=\"{detail}\"/>"),
                Outcome::Skipped => format!("<skipped message=\"{detail}\"/>"),
            };
            xml.push_str(&format!("  <testcase name=\"{name}\" time=\"{:.3}\">{inner}</testcase>\n", check.seconds));
        }
        xml.push_str("</testsuite>\n");
        xml
    }

    /// The report for a person: drawing, checks that did not pass, figures.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.drawing.clone();
        for check in &self.checks {
            let mark = match check.outcome {
                Outcome::Passed => "ok  ",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "skip",
            };
            text.push_str(&format!("{mark} {:>7.2} s  {}", check.seconds, check.name));
            if !check.detail.is_empty() {
                text.push_str(&format!(": {}", check.detail));
            }
            text.push('\n');
        }
        match self.converged_s {
            Some(seconds) => text.push_str(&format!("converged after {seconds:.2} s\n")),
            None => text.push_str("did not converge\n"),
        }
        if let Some(seconds) = self.command_s {
            text.push_str(&format!("every expectation true {seconds:.2} s after the command\n"));
        }
        text.push_str(&failover::table(&self.figures));
        for share in &self.spread {
            text.push_str(&format!("{share}\n"));
        }
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Verifies a running lab.
///
/// # Errors
/// When the lab itself cannot be asked (a namespace is gone); what is wrong *in* the lab is in the report.
pub fn verify(plant: &dyn Plant, expectations: &[Expectation], options: &Options) -> io::Result<Report> {
    verify_watched(plant, expectations, options, &|_| true)
}

/// The same; `watch` hears of each expectation what came of it, and ends the waiting by answering false.
///
/// # Errors
/// As [`verify`].
pub fn verify_watched(
    plant: &dyn Plant,
    expectations: &[Expectation],
    options: &Options,
    watch: Watch<'_>,
) -> io::Result<Report> {
    let begin = Instant::now();
    let site = Site::new(plant)?;
    let checks = poll_expectations(&site, expectations, begin, watch);
    let mut report = Report { converged_s: converged(&checks, expectations), checks, ..Report::default() };
    report.drawing = draw::draw(&states(&site), &plant.links());
    if report.is_good() {
        steps::run(&site, &options.steps, &mut report);
    }
    if report.is_good() {
        timeline::run(plant, &options.faults, &mut report)?;
    }
    let Some(path) = failover::path(expectations) else {
        return Ok(report);
    };
    if !report.is_good() {
        // what is measured in a lab that is not right says nothing
        return Ok(report);
    }
    if options.spread {
        failover::spread(&site, &path, &mut report)?;
    }
    if options.failover {
        failover::run(&site, &path, expectations, &mut report)?;
    }
    if options.heal {
        heal::run(&site, &path, &mut report)?;
    }
    Ok(report)
}

/// Hears of all expectations, those that are waited for without a check; false = do not wait any longer.
pub type Watch<'a> = &'a dyn Fn(&[Option<Check>]) -> bool;

fn converged(checks: &[Check], expectations: &[Expectation]) -> Option<f64> {
    let mut last = 0.0_f64;
    for (check, expectation) in checks.iter().zip(expectations) {
        if matches!(expectation.what, What::Route { .. } | What::Reach { .. }) {
            if check.outcome == Outcome::Failed {
                return None;
            }
            last = last.max(check.seconds);
        }
    }
    Some(last)
}

/// Looks at every expectation until it holds or its own time is up.
pub(crate) fn poll_expectations(
    site: &Site<'_>,
    expectations: &[Expectation],
    begin: Instant,
    watch: Watch<'_>,
) -> Vec<Check> {
    let mut results: Vec<Option<Check>> = vec![None; expectations.len()];
    let mut commands_at = Duration::ZERO;
    while results.iter().any(Option::is_none) {
        let look = Instant::now();
        let patient = watch(&results);
        // packets are sent once the routes stand: a ping that is lost takes long, and others would wait for it
        let open_routes = expectations.iter().zip(&results).any(|(expectation, result)| {
            result.is_none() && matches!(expectation.what, What::Route { .. } | What::Reach { .. })
        });
        let commands_too = begin.elapsed() >= commands_at;
        for (expectation, result) in expectations.iter().zip(&mut results).filter(|(_, result)| result.is_none()) {
            if open_routes && matches!(expectation.what, What::Ping { .. }) {
                continue;
            }
            if !commands_too && matches!(expectation.what, What::Command { .. }) {
                continue;
            }
            let found = site.holds(expectation);
            let elapsed = begin.elapsed();
            let (outcome, detail) = match found {
                check::Answer::Holds => (Outcome::Passed, String::new()),
                check::Answer::CannotAsk(why) => (Outcome::Skipped, why),
                check::Answer::Instead(_) if patient && elapsed < expectation.within => continue,
                check::Answer::Instead(instead) => (Outcome::Failed, instead),
            };
            let name = expectation.to_string();
            *result = Some(Check { name, outcome, detail, seconds: elapsed.as_secs_f64() });
        }
        if commands_too {
            commands_at = begin.elapsed() + COMMAND_POLL;
        }
        if results.iter().any(Option::is_none) {
            // a look at many nodes takes time that they want themselves
            thread::sleep(POLL.max(look.elapsed() * POLL_SHARE));
        }
    }
    watch(&results);
    // An absence that held at once may stop to hold while others converge: it is asked again at the end.
    let mut checks: Vec<Check> = results.into_iter().flatten().collect();
    for (expectation, check) in expectations.iter().zip(&mut checks) {
        let negative = match &expectation.what {
            What::Absent { .. } | What::Only { .. } => true,
            What::Command { lacks, .. } => !lacks.is_empty(),
            What::Route { .. } | What::Reach { .. } | What::Ping { .. } => false,
        };
        if negative
            && check.outcome == Outcome::Passed
            && let check::Answer::Instead(instead) = site.holds(expectation)
        {
            check.outcome = Outcome::Failed;
            check.detail = instead;
        }
    }
    checks
}

/// Session and route counts of every node.
fn states(site: &Site<'_>) -> Vec<NodeState> {
    let plant = site.plant();
    plant
        .nodes()
        .into_iter()
        .map(|name| {
            let sessions = api::sessions(&plant.api_socket(&name)).ok();
            let routes = site.learnt(&name).map_or(0, |routes| routes.len());
            NodeState { sessions, routes, personality: plant.personality(&name), name }
        })
        .collect()
}

/// A UDP socket inside a node.
///
/// # Errors
/// When the address is not the node's, or the namespace cannot be entered.
pub fn udp(plant: &dyn Plant, node: &str, address: SocketAddr) -> io::Result<UdpSocket> {
    let open: OpenSocket = Box::new(move || UdpSocket::bind(address).map(OwnedFd::from));
    plant.open(node, open).map(UdpSocket::from)
}
