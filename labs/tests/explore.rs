//! Random incidents in random networks on virtual time: a few hundred scenarios, always the same ones. `weft-lab explore` does more.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use weft_labs::sim::explore::{Choices, explore};

/// What a debug build does in two minutes; the variable `WEFT_SCENARIOS` names another number.
const SCENARIOS: u64 = 200;

#[test]
fn whatever_goes_wrong_in_whatever_network_everything_holds_afterwards() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let choices =
        Choices { files: ["two-racks", "unnumbered"].map(|name| folder.join(format!("{name}.clab.yml"))).into() };
    let count = std::env::var("WEFT_SCENARIOS").ok().and_then(|count| count.parse().ok()).unwrap_or(SCENARIOS);
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count || !found.lock().unwrap().is_empty() {
                        return;
                    }
                    if let Err(one) = explore(&choices, seed).unwrap() {
                        found.lock().unwrap().push(one);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    if let Some(one) = found.first() {
        panic!("seed {}: {}\nreplay this:\n{}", one.seed, one.failure, one.scenario.to_text());
    }
}
