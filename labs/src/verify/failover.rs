//! Breaks things in a running lab and measures, with flows of a packet per millisecond, what the servers lose; and looks
//! how 1,000 flows spread over equal links.
#![expect(clippy::disallowed_types, reason = "measures real time")]
#![expect(clippy::disallowed_methods, reason = "lets flows run for a while before and after each event")]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::Table;
use serde::Serialize;

use crate::expect::{Expectation, What};
use crate::probe::{self, Flows, PERIOD, plot};
use crate::verify::check::Site;
use crate::verify::{Check, Outcome, Report, cut, kernel, poll_expectations, udp};

/// Flows measured at once, so that some of them use the part that is broken.
const FLOWS: usize = 4;
/// Traffic before an event.
const BEFORE: Duration = Duration::from_millis(500);
/// Traffic after a loss: longer than any timer that could hide in it (hold time 9 s).
const AFTER_LOSS: Duration = Duration::from_secs(11);
/// Traffic after a recovery: longer than a restarted switch leaves its kernel alone, so that the end of that wait is seen too.
const AFTER_RETURN: Duration = Duration::from_secs(6);
/// How long a daemon stays dead.
const DEAD: Duration = Duration::from_secs(1);
/// Flows and packets of a burst.
const BURST: (u16, u32) = (1_000, 10);
/// Most outage of any flow when a switch dies, ms. What is under way is lost, and the kernel sets links one by one; the aim is
/// 20 (printed as a figure), and a busy machine gets some more before it is called a fault.
pub(super) const SWITCH_LIMIT_MS: u64 = 100;
/// Most outage when it returns or when only a daemon dies, ms: nothing that forwards has changed.
const DAEMON_LIMIT_MS: u64 = 0;
/// A link's share of a burst may differ from the fair share by this much of it, in percent.
const SHARE_TOLERANCE: u64 = 40;

/// Who talks to whom, and which switch between them is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// One server.
    pub from: String,
    /// Another, in another rack.
    pub to: String,
    /// A switch that `from` uses together with others.
    pub victim: String,
}

/// Takes the first ping whose sender has a route over several nodes.
#[must_use]
pub fn path(expectations: &[Expectation]) -> Option<Path> {
    expectations.iter().find_map(|expectation| {
        let What::Ping { from, ping, .. } = &expectation.what else {
            return None;
        };
        let victim = first_of_several(expectations, from)?;
        Some(Path { from: from.clone(), to: ping.clone(), victim })
    })
}

/// The first next hop of a route that a node has by several.
pub(super) fn first_of_several(expectations: &[Expectation], node: &str) -> Option<String> {
    expectations.iter().find_map(|expectation| {
        let What::Route { at, via, .. } = &expectation.what else { return None };
        if at == node && via.len() > 1 { via.first().cloned() } else { None }
    })
}

/// What one event cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was done.
    pub event: String,
    /// Packets sent, all flows, both directions.
    pub sent: u64,
    /// Of them lost.
    pub lost: u64,
    /// Longest outage of a single flow, milliseconds.
    pub outage_ms: u64,
    /// The same of those from the server that is nearer to what was broken (upstream), and of those towards it (downstream).
    pub upstream_ms: u64,
    /// Downstream.
    pub downstream_ms: u64,
    /// Flows (each direction counts) that lost anything, of how many.
    pub hit: (usize, usize),
    /// What a picture shows of it.
    #[serde(skip)]
    pub plot: plot::Group,
}

/// The figures as a table.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["event", "sent", "lost", "longest outage", "upstream", "downstream", "flows hit"]);
    for figure in figures {
        table.add_row([
            figure.event.clone(),
            figure.sent.to_string(),
            figure.lost.to_string(),
            format!("{} ms", figure.outage_ms),
            format!("{} ms", figure.upstream_ms),
            format!("{} ms", figure.downstream_ms),
            format!("{} of {}", figure.hit.0, figure.hit.1),
        ]);
    }
    format!("{table}\n")
}

/// The scenario: a switch dies and returns, the daemon of a host and that of the switch are killed and restarted, then single links are cut.
///
/// # Errors
/// When the lab cannot be asked or changed.
pub fn run(site: &Site<'_>, path: &Path, expectations: &[Expectation], report: &mut Report) -> io::Result<()> {
    let plant = site.plant();
    let victim = &path.victim;
    let far_ends: Vec<(String, String)> = plant
        .links()
        .into_iter()
        .filter_map(|[a, b]| if a.0 == *victim { Some(b) } else { (b.0 == *victim).then_some(a) })
        .collect();
    measure(site, path, report, (&format!("{victim} dies"), SWITCH_LIMIT_MS), || {
        plant.set_links(&far_ends, false)?;
        plant.kill_daemon(victim)?;
        thread::sleep(AFTER_LOSS);
        Ok(())
    })?;
    let settle = || settle(site, expectations, AFTER_RETURN);
    measure(site, path, report, (&format!("{victim} returns"), DAEMON_LIMIT_MS), || {
        plant.set_links(&far_ends, true)?;
        plant.start_daemon(victim)?;
        settle()
    })?;
    for node in [&path.from, victim] {
        measure(site, path, report, (&format!("daemon of {node} killed and restarted"), DAEMON_LIMIT_MS), || {
            plant.kill_daemon(node)?;
            thread::sleep(DEAD);
            plant.start_daemon(node)?;
            settle()
        })?;
    }
    cut::run(site, path, expectations, report)
}

/// Waits until every route is as before, then lets traffic run on.
pub(super) fn settle(site: &Site<'_>, expectations: &[Expectation], then: Duration) -> io::Result<()> {
    let is_route = |expectation: &&Expectation| matches!(expectation.what, What::Route { .. });
    let routes: Vec<Expectation> = expectations.iter().filter(is_route).cloned().collect();
    for check in poll_expectations(site, &routes, Instant::now(), &|_| true) {
        if check.outcome == Outcome::Failed {
            return Err(io::Error::other(format!("not as before: {}: {}", check.name, check.detail)));
        }
    }
    thread::sleep(then);
    Ok(())
}

/// Runs flows around an event; adds a figure and a check against the limit.
pub(super) fn measure(
    site: &Site<'_>,
    path: &Path,
    report: &mut Report,
    (event, limit_ms): (&str, u64),
    act: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let open = |node: &str, address: SocketAddr| udp(site.plant(), node, address);
    let begin = Instant::now();
    let flows = Flows::start(&open, &site.end(&path.from)?, &site.end(&path.to)?, FLOWS)?;
    thread::sleep(BEFORE);
    let acted = act();
    let figure = figure(event, &flows.stop(), (PERIOD, BEFORE));
    let (outcome, detail) = match acted {
        Err(error) => (Outcome::Failed, error.to_string()),
        Ok(()) if figure.outage_ms > limit_ms => {
            (Outcome::Failed, format!("a flow was out for {} ms, at most {limit_ms} is allowed", figure.outage_ms))
        }
        Ok(()) => (Outcome::Passed, format!("longest outage {} ms, {} packets lost", figure.outage_ms, figure.lost)),
    };
    let seconds = begin.elapsed().as_secs_f64();
    report.checks.push(Check { name: event.to_owned(), outcome, detail, seconds });
    report.figures.push(figure);
    Ok(())
}

/// What flows between two nodes lost around an event: a packet each `period`, and so long before it.
pub(super) fn figure(event: &str, losses: &[probe::Loss], (period, before): (Duration, Duration)) -> Figure {
    let longest = |losses: &[probe::Loss]| losses.iter().map(|loss| loss.longest_run).max().unwrap_or(0);
    let (upstream, downstream) = losses.split_at(losses.len() / 2);
    Figure {
        event: event.to_owned(),
        sent: losses.iter().map(|loss| loss.sent).sum(),
        lost: losses.iter().map(probe::Loss::lost).sum(),
        outage_ms: longest(losses),
        upstream_ms: longest(upstream),
        downstream_ms: longest(downstream),
        hit: (losses.iter().filter(|loss| loss.lost() > 0).count(), losses.len()),
        plot: plot::Group {
            title: event.to_owned(),
            directions: [("upstream", upstream), ("downstream", downstream)]
                .map(|(name, flows)| (name.to_owned(), flows.to_vec())),
            period,
            deed: Some(before),
        },
    }
}

/// A link's part of the packets that its node sent towards the burst's destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The sending node.
    pub node: String,
    /// Its interface.
    pub interface: String,
    /// Packets of the burst on it.
    pub packets: u64,
    /// Of the node's packets, in percent.
    pub percent: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spread {:<8} {:<6} {:>7} packets {:>3} %", self.node, self.interface, self.packets, self.percent)
    }
}

/// Sends many flows and compares interface counters on every node that has several next hops.
///
/// # Errors
/// When the lab cannot be asked.
pub fn spread(site: &Site<'_>, path: &Path, report: &mut Report) -> io::Result<()> {
    let open = |node: &str, address: SocketAddr| udp(site.plant(), node, address);
    let (from, to) = (site.end(&path.from)?, site.end(&path.to)?);
    let nodes = site.plant().nodes();
    let mut before = Vec::new();
    for node in &nodes {
        before.push(kernel::links(site.netlink(node)?)?);
    }
    let begin = Instant::now();
    probe::burst(&open, &from, &to, BURST.0, BURST.1)?;
    let mut uneven = Vec::new();
    for (node, before) in nodes.iter().zip(&before) {
        let after = kernel::links(site.netlink(node)?)?;
        let routes = site.learnt(node)?;
        let Some(route) = routes.iter().find(|route| route.prefix.addr() == to.address) else {
            continue;
        };
        let mut counts = Vec::new();
        for (name, link) in &after {
            if route.hops.iter().any(|hop| hop.link == link.index) {
                let sent_before = before.get(name).map_or(0, |link| link.tx_packets);
                counts.push((name.clone(), link.tx_packets.saturating_sub(sent_before)));
            }
        }
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        if counts.len() < 2 || total < u64::from(BURST.0) {
            continue;
        }
        let fair = 100 / u64::try_from(counts.len()).unwrap_or(1);
        for (interface, packets) in counts {
            let percent = packets * 100 / total;
            if percent.abs_diff(fair) * 100 > fair * SHARE_TOLERANCE {
                uneven.push(format!("{node} {interface} has {percent} %"));
            }
            report.spread.push(Share { node: node.clone(), interface, packets, percent });
        }
    }
    let good = uneven.is_empty() && !report.spread.is_empty();
    report.checks.push(Check {
        name: format!("{} flows from {} to {} spread over equal links", BURST.0, path.from, path.to),
        outcome: if good { Outcome::Passed } else { Outcome::Failed },
        detail: if report.spread.is_empty() { "no node used several links".to_owned() } else { uneven.join(", ") },
        seconds: begin.elapsed().as_secs_f64(),
    });
    Ok(())
}
