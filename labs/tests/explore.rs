//! Random incidents in random networks on virtual time: a few hundred scenarios, always the same ones. `weft-lab explore` does more.

use std::path::Path;
use weft_labs::sim::explore::{Choices, explore_all};

/// What a debug build does in two minutes; the variable `WEFT_SCENARIOS` names another number.
const SCENARIOS: u64 = 200;

#[test]
fn whatever_goes_wrong_in_whatever_network_everything_holds_afterwards() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let choices =
        Choices { files: ["two-racks", "unnumbered"].map(|name| folder.join(format!("{name}.clab.yml"))).into() };
    let count = std::env::var("WEFT_SCENARIOS").ok().and_then(|count| count.parse().ok()).unwrap_or(SCENARIOS);
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let found = explore_all(&choices, 0..count, (jobs, 1), &|_| {}).unwrap();
    if let Some(one) = found.first() {
        panic!("seed {}: {}\nreplay this:\n{}", one.seed, one.failure, one.scenario.to_text());
    }
}
