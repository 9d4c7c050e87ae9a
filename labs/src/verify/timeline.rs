//! Plays a topology's `faults:`: makes each at its time, looks whether what it expects holds in time, and undoes it.
//!
//! Faults may overlap. They are made and undone here, on time; what one expects is looked at by a thread of its own, with sockets of its own.
#![expect(clippy::disallowed_types, reason = "a timeline of real time")]
#![expect(clippy::disallowed_methods, reason = "waits for the next moment of the timeline")]

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::fault::Incident;
use crate::verify::check::Site;
use crate::verify::{Check, Outcome, Plant, Report, poll_expectations};

/// What is to be done at a moment; ends come before beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Undo,
    Make,
}

/// Every moment of a timeline in its order: when, what, and the incident's place in the file.
fn moments(incidents: &[Incident]) -> Vec<(Duration, Turn, usize)> {
    let mut moments = Vec::new();
    for (number, incident) in incidents.iter().enumerate() {
        moments.push((incident.at, Turn::Make, number));
        if let Some(lasts) = incident.lasts {
            moments.push((incident.at + lasts, Turn::Undo, number));
        }
    }
    moments.sort();
    moments
}

/// Plays the whole timeline; each fault and each expectation is a check of the report, in the file's order.
///
/// # Errors
/// When the lab cannot be asked.
pub(super) fn run(plant: &dyn Plant, incidents: &[Incident], report: &mut Report) -> io::Result<()> {
    // before time begins: a large lab has many sockets
    let mut sites = BTreeMap::new();
    for (number, incident) in incidents.iter().enumerate().filter(|(_, incident)| !incident.expect.is_empty()) {
        sites.insert(number, (incident, Site::new(plant)?));
    }
    let mut checks: Vec<Vec<Check>> = vec![Vec::new(); incidents.len()];
    let mut made: BTreeMap<usize, u64> = BTreeMap::new();
    let begin = Instant::now();
    thread::scope(|scope| {
        let mut looking = Vec::new();
        for (at, turn, number) in moments(incidents) {
            thread::sleep(at.saturating_sub(begin.elapsed()));
            let Some(incident) = incidents.get(number) else { continue };
            match turn {
                Turn::Make => {
                    let moment = Instant::now();
                    let done = plant.make_fault(&incident.fault);
                    checks[number].push(check(incident, moment, done.as_ref().map(drop)));
                    let Ok(fault) = done else { continue };
                    made.insert(number, fault);
                    if let Some((incident, site)) = sites.remove(&number) {
                        looking.push((number, scope.spawn(move || look(&site, incident, moment))));
                    }
                }
                Turn::Undo => undo(plant, incident, made.remove(&number), &mut checks[number]),
            }
        }
        for (number, thread) in looking {
            checks[number].extend(thread.join().unwrap_or_default());
        }
    });
    for (number, fault) in made {
        undo(plant, &incidents[number], Some(fault), &mut checks[number]);
    }
    plant.settle_faults();
    report.checks.extend(checks.into_iter().flatten());
    Ok(())
}

fn check(incident: &Incident, moment: Instant, done: Result<(), &io::Error>) -> Check {
    let (outcome, detail) = match done {
        Ok(()) => (Outcome::Passed, String::new()),
        Err(error) => (Outcome::Failed, error.to_string()),
    };
    Check { name: incident.to_string(), outcome, detail, seconds: moment.elapsed().as_secs_f64() }
}

/// One that cannot be undone fails the check of its fault.
fn undo(plant: &dyn Plant, incident: &Incident, fault: Option<u64>, checks: &mut Vec<Check>) {
    let moment = Instant::now();
    if let Some(Err(error)) = fault.map(|fault| plant.undo_fault(fault)) {
        checks.push(check(incident, moment, Err(&error)));
    }
}

/// What a fault expects, from its moment on. What held too late does not hold.
fn look(site: &Site<'_>, incident: &Incident, moment: Instant) -> Vec<Check> {
    let mut checks = poll_expectations(site, &incident.expect, moment, &|_| true);
    for (check, expectation) in checks.iter_mut().zip(&incident.expect) {
        check.name = format!("{incident}: {}", check.name);
        let late = check.seconds - expectation.within.as_secs_f64();
        if check.outcome == Outcome::Passed && late > 0.0 {
            check.outcome = Outcome::Failed;
            check.detail = format!("seen {:.0} ms late", late * 1_000.0);
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_at_a_moment_ends_before_others_begin() {
        let text =
            "[{at: 1, node: a, do: pause, for: 1s}, {at: 2, node: b, do: kill}, {at: 0.5, node: c, do: restart}]";
        let incidents: Vec<Incident> = serde_saphyr::from_str(text).unwrap();
        let order: Vec<(u128, Turn, usize)> =
            moments(&incidents).into_iter().map(|(at, turn, number)| (at.as_millis(), turn, number)).collect();
        assert_eq!(
            order,
            [(500, Turn::Make, 2), (1_000, Turn::Make, 0), (2_000, Turn::Undo, 0), (2_000, Turn::Make, 1)]
        );
    }
}
