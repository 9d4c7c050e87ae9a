//! In lab `inventory`: a machine that nobody registered has said that it is there, is accepted, gets its address by formula, and lives by
//! its route; then all machines go to another address plan while they live.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use serde_json::Value;

use super::{ask, nobody, state, until};
use crate::count::Outcome;
use crate::vip::Lab;

const SWITCHES: [&str; 4] = ["tor1", "tor2", "tor3", "tor4"];
/// Nodes with their serial numbers.
const NODES: [(&str, &str); 5] = [("node1", "N1"), ("node2", "N2"), ("node3", "N3"), ("node4", "N4"), ("node5", "N5")];
const BOOT_SERVERS: [(&str, &str); 3] = [("boot1", "B1"), ("boot2", "B2"), ("boot3", "B3")];

/// The machine reported itself when the lab came up (`expect` of its file), to one boot server; it is accepted at another one.
pub(super) fn enrolment(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let waiting = ask(lab, "boot1", "enrol list")?;
    let one = &waiting["candidates"][0];
    let said = (one["said"]["serial"].as_str(), one["source"].as_str(), one["rack"].as_u64());
    outcome.add(&Outcome::check(
        said == (Some("N5"), Some("10.69.0.230"), Some(1)) && one["vouched"] == false,
        format!("who waits is not N5 of rack 1: {waiting}"),
    ));
    outcome.add(&Outcome::check(ask(lab, "boot1", "machines show N5").is_err(), "a candidate is a machine already"));
    let began = Instant::now();
    let machine = ask(lab, "boot3", "enrol accept N5 --name node5")?;
    outcome.add(&Outcome::check(
        machine["ipv4"][0] == "10.69.0.198" && machine["index"] == 6 && machine["labels"]["zone"] == "x",
        format!("N5 has not the place and the label that follow: {machine}"),
    ));
    until(outcome, "who is accepted does not wait any more", || {
        Ok(ask(lab, "boot1", "enrol list")?["candidates"].as_array().is_some_and(Vec::is_empty))
    })?;
    // Its switches expect it on their ports, with its AS: the session of the machine that booted there ends.
    for tor in ["tor3", "tor4"] {
        configure(lab, "boot2", tor, tor)?;
        lab.shell(tor, "weft reload --allow-reset")?;
    }
    lab.node("kill", "node5")?;
    configure(lab, "boot1", "node5", "N5")?;
    lab.node("start", "node5")?;
    for node in ["boot1", "boot2", "boot3"] {
        until(outcome, &format!("an accepted machine becomes healthy by its route, as {node} knows it"), || {
            Ok(state(lab, node, "N5")?.0 == "healthy")
        })?;
    }
    let took = began.elapsed();
    outcome.notes.push(format!("a machine is accepted, and healthy by its route after {} ms", took.as_millis()));
    until(outcome, "it is seen through both switches, and not by the address with which it booted", || {
        let seen = ask(lab, "boot1", "machines list serial=N5")?["evidence"]["N5"].clone();
        let gone = lab.ask("boot1", &["show", "routes", "10.69.0.230/32"])?;
        Ok(seen["from"].as_array().is_some_and(|from| from.len() == 2)
            && seen["addresses"] == serde_json::json!(["10.69.0.198"])
            && gone["routes"].as_array().is_none_or(Vec::is_empty))
    })
}

/// Writes what a boot server says into a node's file.
fn configure(lab: &Lab<'_>, server: &str, node: &str, name: &str) -> io::Result<()> {
    let text = lab.shell(server, &format!("weft-netboot fabric config {name}"))?;
    std::fs::write(lab.folder.join(format!("topologies/inventory/{node}.yaml")), text)
}

/// The same, and the daemon takes it, without the end of any session: it refuses what would end one.
fn reconfigure(lab: &Lab<'_>, server: &str, node: &str, name: &str) -> io::Result<()> {
    configure(lab, server, node, name)?;
    lab.shell(node, "weft reload").map(drop)
}

/// All machines go to another address plan, and nobody is suspect for it.
pub(super) fn migration(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for (server, _) in BOOT_SERVERS {
        // One of them has just been started.
        until(outcome, &format!("{server} sees the fabric before the change"), || seen(lab, server, 1, 1))?;
    }
    let began = Instant::now();
    let before = since(lab)?;
    let plan = "/etc/lab/next-ipam.netboot.yaml";
    let preview = ask(lab, "boot1", &format!("ipam plan {plan}"))?;
    outcome.add(&Outcome::check(
        preview["moved"] == 8 && preview["conflicts"].as_array().is_some_and(Vec::is_empty),
        format!("the other plan moves not 8 machines without a conflict: {preview}"),
    ));
    // The members of etcd know each other by these addresses: they stay, beside the new ones.
    for (node, serial) in BOOT_SERVERS {
        let own = ask(lab, "boot1", &format!("machines show {serial}"))?["ipv4"][0].clone();
        lab.shell(node, &format!("weft-netboot machines announce {serial} {}/32", own.as_str().unwrap_or_default()))?;
    }
    ask(lab, "boot1", &format!("ipam migrate {plan}"))?;
    alone(lab, outcome, "when the change begins")?;
    // Switches take both addresses of each machine, then machines announce both.
    for tor in SWITCHES {
        reconfigure(lab, "boot2", tor, tor)?;
    }
    for (node, serial) in NODES.into_iter().chain(BOOT_SERVERS) {
        reconfigure(lab, "boot3", node, serial)?;
    }
    for (server, _) in BOOT_SERVERS {
        until(outcome, &format!("{server} sees both addresses of every machine"), || seen(lab, server, 2, 2))?;
    }
    // Each confirms, at whichever server; half of them at first.
    ask(lab, "boot2", "ipam migration confirm N1 N3 N5 B2")?;
    alone(lab, outcome, "when half have confirmed")?;
    let early = lab.shell("boot3", "weft-netboot ipam migration finish 2>&1 || true")?;
    outcome.add(&Outcome::check(
        early.contains("4 machines have not confirmed"),
        format!("a change is finished too early: {early}"),
    ));
    ask(lab, "boot3", "ipam migration confirm N2 N4 B1 B3")?;
    // Now the old ones go: machines drop them, then switches take them no more. Boot servers keep theirs.
    for (node, serial) in NODES {
        reconfigure(lab, "boot1", node, serial)?;
    }
    for tor in SWITCHES {
        reconfigure(lab, "boot3", tor, tor)?;
    }
    until(outcome, "machines are seen by their new addresses alone", || seen(lab, "boot1", 1, 1))?;
    ask(lab, "boot3", "ipam migration finish")?;
    alone(lab, outcome, "when the change is finished")?;
    ended(lab, outcome)?;
    nobody(lab, outcome, "boot2", "a change of the address plan")?;
    let after = since(lab)?;
    outcome.add(&Outcome::check(before == after, format!("states have changed: {before:?}, then {after:?}")));
    outcome
        .notes
        .push(format!("8 machines are at the addresses of another plan after {} ms", began.elapsed().as_millis()));
    Ok(())
}

/// Since when each machine is what it is, whoever is asked.
fn since(lab: &Lab<'_>) -> io::Result<BTreeMap<String, (String, String)>> {
    let all = NODES.into_iter().chain(BOOT_SERVERS);
    all.map(|(_, serial)| Ok((serial.to_owned(), state(lab, "boot1", serial)?))).collect()
}

/// Whether a server sees each machine, by so many addresses: nodes by the first number, boot servers by the second.
fn seen(lab: &Lab<'_>, server: &str, of_node: usize, of_boot_server: usize) -> io::Result<bool> {
    let answer = ask(lab, server, "machines list")?;
    let count = |serial: &str| answer["evidence"][serial]["addresses"].as_array().map_or(0, Vec::len);
    Ok(ask(lab, server, "liveness show")?["view"] == "clear"
        && NODES.iter().all(|(_, serial)| count(serial) == of_node)
        && BOOT_SERVERS.iter().all(|(_, serial)| count(serial) == of_boot_server))
}

/// No server knows an address of two machines, those that they are to get among them; one check.
fn alone(lab: &Lab<'_>, outcome: &mut Outcome, when: &str) -> io::Result<()> {
    for (server, _) in BOOT_SERVERS {
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut add = |machine: &Value, addresses: &Value| {
            for address in addresses.as_array().into_iter().flatten() {
                let serial = machine["serial"].as_str().unwrap_or_default().to_owned();
                owners.entry(address.to_string()).or_default().insert(serial);
            }
        };
        for machine in ask(lab, server, "machines list")?["machines"].as_array().into_iter().flatten() {
            add(machine, &machine["ipv4"]);
        }
        for step in ask(lab, server, "ipam migration show")?["waiting"].as_array().into_iter().flatten() {
            add(step, &step["before"]);
            add(step, &step["after"]);
        }
        let shared: Vec<_> = owners.iter().filter(|(_, owners)| owners.len() != 1).collect();
        let whole = shared.is_empty() && owners.len() >= NODES.len() + BOOT_SERVERS.len();
        outcome.add(&Outcome::check(whole, format!("{server}, {when}: {shared:?} of {} addresses", owners.len())));
    }
    Ok(())
}

/// The new plan is the plan, on every server and in the fabric.
fn ended(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for (server, _) in BOOT_SERVERS {
        until(outcome, &format!("{server} has the other plan, and sees machines by it"), || {
            let machine = ask(lab, server, "machines show N5")?;
            Ok(ask(lab, server, "ipam get")?["node"][0]["prefix"] == "10.80.0.0/16"
                && ask(lab, server, "ipam migration show")?["migration"].is_null()
                && machine["ipv4"][0] == "10.80.0.198"
                && seen(lab, server, 1, 1)?)
        })?;
    }
    for (prefix, there) in [("10.69.0.4/32", false), ("10.80.0.4/32", true), ("10.69.0.3/32", true)] {
        until(outcome, &format!("{prefix} is in the fabric: {there}"), || {
            let found = lab.ask("boot3", &["show", "routes", prefix])?;
            Ok(found["routes"].as_array().is_some_and(|routes| !routes.is_empty()) == there)
        })?;
    }
    Ok(())
}
