//! Looks for what goes wrong: random incidents in random networks, one scenario for each seed, and of one that fails the smallest that
//! still does.

use super::clos::Clos;
use super::scenario::{Bfd, Deed, Failure, Incident, Scenario, Source, World};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use weft_bgp::rng::Rng;

/// Most incidents of a random scenario.
const MAX_INCIDENTS: u64 = 16;
/// Longest pause between two, milliseconds.
const MAX_PAUSE_MS: u64 = 8_000;
/// Most scenarios at a time.
const MAX_JOBS: usize = 64;
/// Runs that may be spent on making one scenario smaller.
const MAX_TRIES: u32 = 400;

/// What is chosen from.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Topology files, beside random networks.
    pub files: Vec<PathBuf>,
}

/// A scenario that fails, made small.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed it came from.
    pub seed: u64,
    /// The smallest scenario that was found to fail.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
}

/// What came of a scenario: how many events were handled, or how it fails.
pub type Explored = Result<u64, Box<Found>>;

/// Runs the scenarios of many seeds, so many at a time, until `enough` of them failed; what was found, in order. `seen` hears of each.
///
/// # Errors
/// As [`explore`].
pub fn explore_all(
    choices: &Choices,
    seeds: Range<u64>,
    (jobs, enough): (usize, usize),
    seen: &(dyn Fn(&Explored) + Sync),
) -> Result<Vec<Found>, String> {
    let next = AtomicU64::new(0);
    let found: Mutex<Result<Vec<Found>, String>> = Mutex::new(Ok(Vec::new()));
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    let goes_on = || lock().as_ref().is_ok_and(|found| found.len() < enough);
    let work = || {
        while goes_on() {
            let Some(seed) =
                seeds.start.checked_add(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end)
            else {
                return;
            };
            match explore(choices, seed) {
                Ok(one) => {
                    seen(&one);
                    if let (Err(one), Ok(found)) = (one, lock().as_mut()) {
                        found.push(*one);
                    }
                }
                Err(error) => *lock() = Err(error),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, MAX_JOBS) {
            scope.spawn(work);
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    found.sort_by_key(|one| one.seed);
    Ok(found)
}

/// Draws the scenario of a seed and runs it; what was found, or how many events were handled.
///
/// # Errors
/// When a file of the choices cannot be read, as a text for a person.
pub fn explore(choices: &Choices, seed: u64) -> Result<Explored, String> {
    let (scenario, world) = draw(choices, seed)?;
    match world.run(&scenario, 0) {
        Ok(outcome) => Ok(Ok(outcome.counters.events)),
        Err(failure) => {
            let (scenario, failure) =
                shrink(scenario, failure, &|candidate| match World::of(candidate).ok()?.run(candidate, 0) {
                    Err(failure @ Failure::Wrong { .. }) => Some(failure),
                    Err(Failure::Unfit(_)) | Ok(_) => None,
                });
            Ok(Err(Box::new(Found { seed, scenario, failure })))
        }
    }
}

/// The scenario of a seed, and its network.
///
/// # Errors
/// As [`explore`].
pub fn draw(choices: &Choices, seed: u64) -> Result<(Scenario, World), String> {
    let mut rng = Rng::new(seed);
    let files = choices.files.len() as u64;
    // A file every second time, if there are any.
    let source = if files > 0 && rng.next_u64().is_multiple_of(2) {
        let at = usize::try_from(rng.next_u64() % files).unwrap_or(0);
        Source::File(choices.files[at].clone())
    } else {
        Source::Clos(clos(&mut rng))
    };
    let mut scenario = Scenario { network: source, seed: 0, bfd: bfd(&mut rng), incidents: Vec::new() };
    let world = World::of(&scenario)?;
    scenario.incidents = incidents(&world, &mut rng);
    scenario.seed = rng.next_u64() >> 32;
    Ok((scenario, world))
}

fn clos(rng: &mut Rng) -> Clos {
    let mut up_to = |most: u64| u32::try_from(1 + rng.next_u64() % most).unwrap_or(1);
    let (spines, leaves, servers) = (up_to(3), up_to(4) + 1, up_to(5) - 1);
    Clos { spines, leaves, servers, cables: if up_to(4) == 1 { 2 } else { 1 }, stubs: false }
}

/// BFD in two of three networks: on every cable or on every second or third one.
fn bfd(rng: &mut Rng) -> Option<Bfd> {
    let interval_ms = [0, 100, 300][usize::try_from(rng.next_u64() % 3).unwrap_or(0)];
    let every = usize::try_from(1 + rng.next_u64() % 3).unwrap_or(1);
    (interval_ms > 0).then_some(Bfd { interval_ms, every })
}

fn incidents(world: &World, rng: &mut Rng) -> Vec<Incident> {
    let nodes: Vec<&String> = world.topology.nodes.keys().collect();
    let links = &world.topology.links;
    let mut pick = |count: usize| usize::try_from(rng.next_u64()).unwrap_or(0) % count.max(1);
    let mut all = Vec::new();
    let mut ms = 0;
    for _ in 0..=pick(usize::try_from(MAX_INCIDENTS).unwrap_or(1) - 1) {
        ms += pick(usize::try_from(MAX_PAUSE_MS).unwrap_or(1)) as u64;
        let node = nodes[pick(nodes.len())];
        let Some(link) = links.get(pick(links.len())) else {
            continue;
        };
        let cable = format!("{}:{}", link.a.node, link.a.interface);
        let mut add = |ms: u64, what: Deed, at: &str| all.push(Incident { ms, what, at: at.to_owned() });
        // What is broken is mended some time in half of the cases.
        let later = (pick(2) == 0).then(|| ms + pick(5_000) as u64);
        let (breaks, mends, at) = match pick(8) {
            0 => (Deed::Crash, Some(Deed::Boot), node.as_str()),
            1 => (Deed::Kill, Some(Deed::Start), node.as_str()),
            2 => (Deed::Leave, Some(Deed::Start), node.as_str()),
            3 => (Deed::Stop, Some(Deed::Start), node.as_str()),
            4 => (Deed::Drain, Some(Deed::Undrain), node.as_str()),
            5 => (Deed::Deafen, Some(Deed::Hearken), cable.as_str()),
            _ => (Deed::Unplug, Some(Deed::Plug), cable.as_str()),
        };
        add(ms, breaks, at);
        if let (Some(later), Some(mends)) = (later, mends) {
            add(later, mends, at);
        }
    }
    all.sort_by_key(|incident| incident.ms);
    all
}

/// Leaves out what is not needed to fail: incidents, halves of them first, then tiers of a Clos.
fn shrink(
    mut scenario: Scenario,
    mut failure: Failure,
    run: &dyn Fn(&Scenario) -> Option<Failure>,
) -> (Scenario, Failure) {
    let mut tries = 0;
    let mut fails = |candidate: &Scenario| {
        tries += 1;
        if tries > MAX_TRIES { None } else { run(candidate) }
    };
    let mut part = scenario.incidents.len();
    while part > 0 {
        let mut at = 0;
        while at < scenario.incidents.len() {
            let mut candidate = scenario.clone();
            candidate.incidents.drain(at..(at + part).min(scenario.incidents.len()));
            match fails(&candidate) {
                Some(how) => (scenario, failure) = (candidate, how),
                None => at += part,
            }
        }
        part /= 2;
    }
    let without = Scenario { bfd: None, ..scenario.clone() };
    if scenario.bfd.is_some()
        && let Some(how) = fails(&without)
    {
        (scenario, failure) = (without, how);
    }
    while let Source::Clos(clos) = scenario.network {
        let smaller = [
            Clos { servers: clos.servers.saturating_sub(1), ..clos },
            Clos { spines: clos.spines.saturating_sub(1), ..clos },
            Clos { leaves: clos.leaves.saturating_sub(1), ..clos },
            Clos { cables: clos.cables.saturating_sub(1), ..clos },
        ];
        let smaller = smaller.into_iter().filter(|smaller| *smaller != clos);
        let mut candidates = smaller.map(|clos| Scenario { network: Source::Clos(clos), ..scenario.clone() });
        let Some(found) = candidates.find_map(|candidate| fails(&candidate).map(|how| (candidate, how))) else {
            break;
        };
        (scenario, failure) = found;
    }
    (scenario, failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn choices() -> Choices {
        Choices { files: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/two-racks.clab.yml")] }
    }

    #[test]
    fn a_seed_draws_the_same_scenario_and_another_seed_another_one() {
        let draw = |seed| draw(&choices(), seed).unwrap().0;
        let all: Vec<Scenario> = (0..20).map(draw).collect();
        assert_eq!(all, (0..20).map(draw).collect::<Vec<_>>());
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(all.iter().any(|one| matches!(one.network, Source::File(_))));
        assert!(all.iter().any(|one| matches!(one.network, Source::Clos(_))));
        for one in all {
            assert_eq!(Scenario::read(&one.to_text()), Ok(one));
        }
    }

    #[test]
    fn what_is_not_needed_to_fail_is_left_out() {
        let needed = [(Deed::Crash, "leaf2"), (Deed::Unplug, "leaf1:up1")];
        let mut incidents: Vec<Incident> =
            (0..30).map(|ms| Incident { ms, what: Deed::Kill, at: "spine1".to_owned() }).collect();
        for (at, (what, whom)) in [(4, needed[0]), (21, needed[1])] {
            incidents[at] = Incident { ms: at as u64, what, at: whom.to_owned() };
        }
        let clos = Clos { spines: 3, leaves: 5, servers: 4, cables: 2, stubs: false };
        let bfd = Some(Bfd { interval_ms: 100, every: 1 });
        let scenario = Scenario { network: Source::Clos(clos), seed: 1, bfd, incidents };
        let wrong = Failure::Wrong { what: "it".to_owned(), at_ms: 0, trace: Vec::new() };
        let (small, _) = shrink(scenario, wrong.clone(), &|candidate| {
            let has =
                |(what, at): &(Deed, &str)| candidate.incidents.iter().any(|one| one.what == *what && one.at == *at);
            let Source::Clos(clos) = candidate.network else { return None };
            (needed.iter().all(has) && clos.leaves >= 2 && clos.spines >= 1 && clos.cables >= 1).then(|| wrong.clone())
        });
        assert_eq!(small.bfd, None);
        assert_eq!(small.network, Source::Clos(Clos { spines: 1, leaves: 2, servers: 0, cables: 1, stubs: false }));
        assert_eq!(small.incidents.iter().map(|one| (one.what, one.at.as_str())).collect::<Vec<_>>(), needed);
    }
}
