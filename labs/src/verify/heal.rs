//! Takes from kernels what is the daemons', as other software and people do, and lets a link flap: how soon is all back, what do
//! packets notice of it, and does the daemon say so?
#![expect(clippy::disallowed_types, reason = "measures real time")]
#![expect(clippy::disallowed_methods, reason = "waits for a kernel, with a deadline")]

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::verify::check::Site;
use crate::verify::failover::{Path, measure};
use crate::verify::kernel::{self, KernelRoute};
use crate::verify::{Check, LinkEnd, Outcome, Report, api, nexthop};

/// What is deleted is back so soon. The aim is 100 (printed); a busy machine gets some more before it is called a fault.
const HEAL_LIMIT_MS: u64 = 400;
/// Most outage of a flow meanwhile, ms: the kernel has no way for it until the route is back.
const OUTAGE_LIMIT_MS: u64 = 400;
/// Each is tried so often, and the first good one counts: on a busy machine one try says more of the machine.
const TRIES: u32 = 3;
/// All is over by then, or it is a fault.
const DEADLINE: Duration = Duration::from_secs(60);
/// A short loss of carrier.
const FLAP: Duration = Duration::from_millis(100);
/// A link that flaps once a second, so many times: more than are free.
const FLAPS: u32 = 6;
const HALF: Duration = Duration::from_millis(500);
/// How often a kernel is looked at.
const POLL: Duration = Duration::from_millis(1);

/// The scenario, on a server and on the switch above it.
///
/// # Errors
/// When the lab cannot be asked or changed.
pub fn run(site: &Site<'_>, path: &Path, report: &mut Report) -> io::Result<()> {
    for node in [&path.from, &path.victim] {
        let event = format!("all routes of {node} deleted by other software");
        first_good(report, |report| {
            heal(site, path, report, (&event, node), || kernel::delete_routes(site.netlink(node)?))
        })?;
        let event = format!("all next hops of {node} deleted by other software");
        first_good(report, |report| {
            heal(site, path, report, (&event, node), || {
                let socket = site.netlink(node)?;
                nexthop::delete(socket, nexthop::hops(socket)?.into_keys())
            })
        })?;
        says(site, report, node)?;
    }
    if let Some((near, far)) = link(site, path) {
        first_good(report, |report| flap(site, path, report, &far))?;
        damp(site, path, report, (&near, &far))?;
    }
    for node in site.plant().nodes() {
        if site.plant().personality(&node) == "weft" {
            diff(site, report, &node)?;
        }
    }
    Ok(())
}

/// Runs a scenario until nothing of it fails, [`TRIES`] times at most; the last one is reported.
fn first_good(report: &mut Report, mut scenario: impl FnMut(&mut Report) -> io::Result<()>) -> io::Result<()> {
    let mut attempt = Report::default();
    for _ in 0..TRIES {
        attempt = Report::default();
        scenario(&mut attempt)?;
        if attempt.is_good() {
            break;
        }
    }
    report.checks.extend(attempt.checks);
    report.figures.extend(attempt.figures);
    Ok(())
}

/// A link between the server and the switch: the server's end, and the other.
fn link(site: &Site<'_>, path: &Path) -> Option<(LinkEnd, LinkEnd)> {
    site.plant().links().into_iter().find_map(|[a, b]| match (&a.0, &b.0) {
        (from, victim) if (from, victim) == (&path.from, &path.victim) => Some((a, b)),
        (victim, from) if (from, victim) == (&path.from, &path.victim) => Some((b, a)),
        _ => None,
    })
}

fn sorted(mut routes: Vec<KernelRoute>) -> Vec<KernelRoute> {
    routes.sort_by_key(|route| route.prefix);
    routes
}

/// Until a kernel holds what it held before; how long that took.
fn until_back(site: &Site<'_>, node: &str, before: &[KernelRoute]) -> io::Result<Duration> {
    let begin = Instant::now();
    loop {
        let now = sorted(site.learnt(node)?);
        if now == before {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > DEADLINE {
            return Err(io::Error::other(format!("{node} has {} of {} routes as before", now.len(), before.len())));
        }
        thread::sleep(POLL);
    }
}

/// Breaks something under load, and notes how soon it is whole.
fn heal(
    site: &Site<'_>,
    path: &Path,
    report: &mut Report,
    (event, node): (&str, &str),
    act: impl FnOnce() -> io::Result<usize>,
) -> io::Result<()> {
    let before = sorted(site.learnt(node)?);
    let mut took = None;
    measure(site, path, report, (event, OUTAGE_LIMIT_MS), || {
        let broken = act()?;
        took = Some((until_back(site, node, &before)?, broken));
        Ok(())
    })?;
    if let Some((took, broken)) = took {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let good = broken > 0 && milliseconds <= HEAL_LIMIT_MS;
        report.checks.push(Check {
            name: format!("{event}: healed"),
            outcome: if good { Outcome::Passed } else { Outcome::Failed },
            detail: format!("{broken} gone, all back after {milliseconds} ms"),
            seconds: took.as_secs_f64(),
        });
    }
    Ok(())
}

/// The daemon says that somebody deleted what is its own.
fn says(site: &Site<'_>, report: &mut Report, node: &str) -> io::Result<()> {
    let answer = api::request(&site.plant().api_socket(node), "/v1/fib")?;
    let health = &answer["fib"]["health"];
    let count = health["foreign_deletions"].as_u64().unwrap_or(0);
    let by = health["deleters"][0]["who"].as_str().unwrap_or("nobody");
    report.checks.push(Check {
        name: format!("{node} says that others deleted its routes"),
        outcome: if count > 0 { Outcome::Passed } else { Outcome::Failed },
        detail: format!("{count}, by {by}"),
        seconds: 0.0,
    });
    Ok(())
}

/// A short loss of carrier.
fn flap(site: &Site<'_>, path: &Path, report: &mut Report, far: &LinkEnd) -> io::Result<()> {
    let before = sorted(site.learnt(&path.from)?);
    let event = format!("the link of {} to {} loses its carrier for {} ms", path.from, path.victim, FLAP.as_millis());
    let mut took = Duration::ZERO;
    measure(site, path, report, (&event, OUTAGE_LIMIT_MS), || {
        site.plant().set_links(std::slice::from_ref(far), false)?;
        thread::sleep(FLAP);
        site.plant().set_links(std::slice::from_ref(far), true)?;
        took = until_back(site, &path.from, &before)?;
        Ok(())
    })?;
    report.checks.push(Check {
        name: format!("{event}: whole"),
        outcome: Outcome::Passed,
        detail: format!("sessions and routes as before {} ms after the carrier", took.as_millis()),
        seconds: took.as_secs_f64(),
    });
    Ok(())
}

/// A link that flaps every second is kept out of use until it stands.
fn damp(site: &Site<'_>, path: &Path, report: &mut Report, (near, far): (&LinkEnd, &LinkEnd)) -> io::Result<()> {
    let before = sorted(site.learnt(&path.from)?);
    let event = format!("the link of {} to {} flaps every second, {FLAPS} times", path.from, path.victim);
    let mut flaps = 0;
    measure(site, path, report, (&event, OUTAGE_LIMIT_MS), || {
        for _ in 0..FLAPS {
            site.plant().set_links(std::slice::from_ref(far), false)?;
            thread::sleep(HALF);
            site.plant().set_links(std::slice::from_ref(far), true)?;
            thread::sleep(HALF);
        }
        flaps = interface(site, &near.0, &near.1)?["damped"].as_u64().unwrap_or(0);
        until_back(site, &path.from, &before).map(drop)
    })?;
    report.checks.push(Check {
        name: format!("{} says that its link is damped", near.0),
        outcome: if flaps > 0 { Outcome::Passed } else { Outcome::Failed },
        detail: format!("{} after {flaps} flaps", near.1),
        seconds: 0.0,
    });
    Ok(())
}

/// What a daemon says of an interface.
fn interface(site: &Site<'_>, node: &str, name: &str) -> io::Result<Value> {
    let answer = api::request(&site.plant().api_socket(node), "/v1/interfaces")?;
    let mut all = answer["interfaces"].as_array().into_iter().flatten();
    let found = all.find(|link| link["name"].as_str() == Some(name)).cloned();
    found.ok_or_else(|| io::Error::other(format!("{node} says nothing of {name}")))
}

/// What the kernel holds is what the daemon wants, by a dump of the moment.
fn diff(site: &Site<'_>, report: &mut Report, node: &str) -> io::Result<()> {
    let begin = Instant::now();
    let found = loop {
        let answer = api::request(&site.plant().api_socket(node), "/v1/fib?diff=true")?;
        let diff = &answer["diff"];
        let wrong: u64 = ["missing", "extra", "different"].iter().map(|kind| diff[kind].as_u64().unwrap_or(1)).sum();
        if wrong == 0 || begin.elapsed() > DEADLINE / 10 {
            break (wrong, diff["routes_found"].as_u64().unwrap_or(0), diff["differences"].to_string());
        }
        thread::sleep(POLL);
    };
    let (wrong, routes, differences) = found;
    report.checks.push(Check {
        name: format!("the kernel of {node} holds what its daemon wants"),
        outcome: if wrong == 0 { Outcome::Passed } else { Outcome::Failed },
        detail: if wrong == 0 { format!("{routes} routes") } else { differences },
        seconds: begin.elapsed().as_secs_f64(),
    });
    Ok(())
}
