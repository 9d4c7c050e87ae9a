//! What people see of the program before, after an upgrade: its events, under the names that its peers have now.

use super::*;
use crate::node::{Happened, KeptEntry};
use serde_json::json;
use weft_bgp::event::Event;
use weft_bgp::types::PeerId;

fn texts(plant: &Plant, at: usize) -> Vec<String> {
    let Body::History(history) = plant.ask(at, &Question::History).body else { panic!("no history") };
    history.history.into_iter().map(|line| line.text).collect()
}

#[test]
fn events_of_before_are_told_with_the_names_of_their_peers() {
    let mut plant = converged();
    let own = texts(&plant, HOST_AT);
    let kept = plant.nodes[HOST_AT].keep_history();
    assert_eq!(kept.len(), own.len());
    let text = serde_json::to_string(&kept).unwrap();

    // Another program: its ids are others, and it has events of its own.
    let mut fresh = converged();
    let read: Vec<KeptEntry> = serde_json::from_str(&text).unwrap();
    let moved = |entry: KeptEntry| {
        let mut entry = entry;
        if let Some(id) = entry.event.get_mut("peer") {
            *id = json!(id.as_u64().unwrap() + 1_000);
        }
        entry
    };
    fresh.nodes[HOST_AT].resume_history(read.into_iter().map(moved).collect());
    let all = texts(&fresh, HOST_AT);
    assert_eq!(all[..own.len()], own, "those of before come first");
    assert_eq!(all.len(), 2 * own.len());
    assert!(own.iter().any(|text| text.starts_with("tor2: End-of-RIB")), "one with no name but by its id: {own:?}");

    plant.nodes[HOST_AT].resume_history(vec![
        KeptEntry { peer: None, event: json!({"event": "of a later version"}), ..kept[0].clone() },
        KeptEntry { peer: Some("long gone".to_owned()), ..kept[0].clone() },
    ]);
    assert_eq!(texts(&plant, HOST_AT).len(), own.len() + 1, "what is not understood is left out");
}

#[test]
fn no_more_events_are_taken_over_than_are_kept() {
    let mut plant = converged();
    let newest = plant.nodes[HOST_AT].keep_history().pop().unwrap();
    plant.nodes[HOST_AT].resume_history(vec![newest; 2_000]);
    assert_eq!(texts(&plant, HOST_AT).len(), 512);
    let event = Event::Converged { cause: "again".to_owned() };
    let now = plant.now;
    plant.nodes[HOST_AT].note_happened(now, Happened::Bgp(event.clone()));
    plant.nodes[HOST_AT].note_happened(now, Happened::Bgp(event));
    assert_eq!(plant.nodes[HOST_AT].history().next_back().unwrap().times, 2, "a run, though no peer's");
    assert_eq!(plant.nodes[HOST_AT].peer_name(PeerId(u32::MAX)), None, "nobody has that id");
}
