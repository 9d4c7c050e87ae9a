//! Recordings of nodes that the simulator runs: every one is done again to the same, and whatever is changed in one is found.

use super::*;
use crate::sim::fault::Fault;
use crate::sim::{Settings, Sim};
use crate::topology::Topology;
use std::path::Path;
use weft_fabric::config::{self, NodeConfig};
use weft_fabric::record::Recorder;

/// Memory for each recording: more than any of them needs.
const MEMORY: &str = "\nrecord: {memory_mb: 64}\n";
/// Virtual time within which everything must be at rest.
const LIMIT: Duration = Duration::from_secs(60);

fn node_config(name: &str, text: &str) -> NodeConfig {
    let mut config = config::parse(name, &format!("{text}{MEMORY}")).unwrap();
    config.hostname = Some(name.to_owned());
    config.node().unwrap()
}

/// A plant at rest, in which every daemon is recorded.
fn plant(file: &str, seed: u64) -> Sim {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(file);
    let topology = Topology::load(&path, &|_| None).unwrap();
    let read = Sim::load(&topology).unwrap();
    let configs = read.iter().map(|(name, read)| (name.clone(), node_config(name, &read.source.text))).collect();
    let mut sim = Sim::new(&topology, &configs, Settings::default(), seed).unwrap();
    sim.settle(LIMIT).unwrap();
    sim
}

/// All of it, as `weft record` writes it.
fn taken(daemon: &Recorder) -> String {
    let mut page = daemon.page(None).unwrap();
    let mut all = String::new();
    while !page.text.is_empty() {
        all.push_str(&page.text);
        let Some(next) = page.next else { break };
        page = daemon.page(Some(next)).unwrap();
    }
    all
}

fn again(text: &str) -> Result<Outcome, String> {
    replay(text.as_bytes(), &Wanted { until: None, trace: 3 })
}

/// A recording of a ToR that lost a link and got another configuration.
fn eventful() -> String {
    let mut sim = plant("two-racks.clab.yml", 3);
    let (tor, cable) = (sim.id("tor1"), sim.cable("spine1", "tor1"));
    sim.inject(Fault::Unplug(cable));
    sim.settle(LIMIT).unwrap();
    sim.inject(Fault::Plug(cable));
    sim.settle(LIMIT).unwrap();
    let text = format!("{}\noriginate: [{{prefix: 10.99.0.0/24}}]\n", sim.machine(tor).config.source.text);
    let text = text.replace(MEMORY, "");
    sim.inject(Fault::Reload(tor, Box::new(node_config("tor1", &text))));
    sim.settle(LIMIT).unwrap();
    taken(sim.machine(tor).daemon.as_ref().unwrap())
}

#[test]
fn every_node_of_a_plant_does_the_same_again() {
    for (file, seed) in [("two-racks.clab.yml", 1), ("unnumbered.clab.yml", 2)] {
        let mut sim = plant(file, seed);
        let cable = sim.cable("spine1", "tor1");
        sim.inject(Fault::Unplug(cable));
        sim.run_for(Duration::from_secs(5)).unwrap();
        sim.inject(Fault::Plug(cable));
        // One that keeps its routes and says so, and one that does not.
        let (spine, tor) = (sim.id("spine2"), sim.id("tor2"));
        sim.inject(Fault::Leave(spine));
        sim.inject(Fault::Stop(tor));
        sim.settle(LIMIT).unwrap();
        sim.inject(Fault::Start(spine));
        sim.inject(Fault::Start(tor));
        sim.settle(LIMIT).unwrap();
        for machine in sim.machines() {
            let outcome = again(&taken(machine.daemon.as_ref().unwrap())).unwrap();
            assert!(outcome.difference.is_none(), "{outcome}");
            assert!(outcome.inputs > 20 && outcome.sent > 200 && outcome.changes > 2, "{outcome}");
            assert_eq!((outcome.node.as_str(), outcome.end), (machine.name.as_str(), None));
        }
    }
}

#[test]
fn a_lost_link_and_a_reload_are_done_again() {
    let text = eventful();
    let outcome = again(&text).unwrap();
    assert!(outcome.difference.is_none(), "{outcome}");
    assert!(text.contains("\"reload\"") && text.contains("LinkDown"));
    let until = Wanted { until: Some(Instant::ZERO + outcome.time / 2), trace: 0 };
    let half = replay(text.as_bytes(), &until).unwrap();
    assert!(half.difference.is_none() && half.inputs < outcome.inputs && half.time <= outcome.time / 2, "{half}");
    let mut printed = String::new();
    print(text.as_bytes(), &Wanted::default(), |line| {
        printed.push_str(line);
        printed.push('\n');
        Ok(())
    })
    .unwrap();
    for words in
        ["tor1 starts with weft", "received from 10.72.1.0: ", "Open 04", "reload   tor1", "Keepalive", "180a6300"]
    {
        assert!(printed.contains(words), "{words} is not in\n{printed}");
    }
}

#[test]
fn whatever_is_changed_is_found() {
    let text = eventful();
    let lines: Vec<&str> = text.lines().collect();
    let find = |words: &str| lines.iter().rposition(|line| line.contains(words)).unwrap();
    // An answer: the first line that differs is that one, with both sides.
    let at = find("{\"fib\":[{");
    let changed = lines[at].replacen("\"seq\":", "\"seq\":1", 1);
    let outcome = again(&with(&lines, at, Some(&changed))).unwrap();
    let difference = outcome.difference.clone().unwrap();
    assert_eq!(difference.line, u64::try_from(at).unwrap() + 1);
    assert!(difference.recorded != difference.replayed && difference.trace.len() == 3, "{outcome}");
    assert!(outcome.to_string().contains("changes for the kernel: not the same\n  recorded  "), "{outcome}");
    // Octets that came, of an UPDATE: what is told to others, or wanted of the kernel, is different from then on.
    let update = |line: &&str| {
        line.contains("received")
            && line.contains("\"octets\":\"ffffffffffffffffffffffffffffffff00")
            && line.contains("02000000")
    };
    let at = lines.iter().position(update).unwrap();
    let outcome = again(&with(&lines, at, None)).unwrap();
    assert!(outcome.difference.clone().unwrap().line > u64::try_from(at).unwrap(), "{outcome}");
    // What was sent.
    let at = find("\"crc\":");
    let changed = lines[at].replacen("\"length\":", "\"length\":1", 1);
    let outcome = again(&with(&lines, at, Some(&changed))).unwrap();
    assert!(outcome.to_string().contains("octets, CRC"), "{outcome}");
    // The seed: timers differ.
    let seed = lines[0].replacen("\"seed\":", "\"seed\":1", 1);
    assert!(again(&with(&lines, 0, Some(&seed))).unwrap().difference.is_some());
}

/// The lines with another one in this place, or without it.
fn with(lines: &[&str], at: usize, other: Option<&str>) -> String {
    let kept = lines.iter().enumerate().filter_map(|(place, line)| if place == at { other } else { Some(*line) });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_recording_that_broke_off_is_done_again_as_far_as_it_goes() {
    let text = eventful();
    let middle = text[..text.len() / 2].rfind('\n').unwrap();
    let cut = &text[..middle + 9];
    let outcome = again(cut).unwrap();
    assert!(outcome.is_cut && outcome.difference.is_none(), "{outcome}");
    assert!(outcome.to_string().ends_with("the recording broke off there"), "{outcome}");
    let whole = &cut[..=cut.rfind('\n').unwrap()];
    assert!(!again(whole).unwrap().is_cut);
}

#[test]
fn what_is_no_recording_is_refused_with_the_line() {
    let text = eventful();
    let first = text.lines().next().unwrap();
    let says = |text: &[u8], words: &str| {
        let error = replay(text, &Wanted::default()).unwrap_err();
        assert!(error.contains(words), "{error}, not {words}");
    };
    says(b"", "line 1: a recording begins");
    says(b"{}\n", "line 1: ");
    says(b"\xff\n", "line 1: no UTF-8");
    says(format!("{first}\n{first}\n").as_bytes(), "line 2: it begins a second time");
    says(format!("{first}\n{{\"did\":[\"poll\"]}}\n").as_bytes(), "line 2: ");
    says(
        format!("{first}\n{{\"did\":[{{\"roll_back\":{{\"at\":1}}}},\"nothing\"]}}\n").as_bytes(),
        "line 2: nothing waits",
    );
    says(first.replacen("\"form\":1", "\"form\":2", 1).replace("}}", "}}\n").as_bytes(), "of form 2");
    says(first.replacen("asn:", "asm:", 1).replace("}}", "}}\n").as_bytes(), "asm");
    let odd = "{\"did\":[{\"received\":{\"at\":1,\"conn\":1,\"octets\":\"fff\"}},\"nothing\"]}\n";
    says(format!("{first}\n{odd}").as_bytes(), "hexadecimal");
    let mut long = vec![b' '; LINE_MAX + 2];
    long.push(b'\n');
    says(&long, "line 1: longer than");
}
