//! Three boot servers with a member of etcd each, in the fabric of two racks: machines are what their routes say, whoever dies, comes, or
//! changes its address. Lab `inventory`, asked as a person would ask it, with the times that it takes.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "polls a lab with a deadline, and compares its clock with what the lab wrote down; the suite has no event loop"
)]

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

#[path = "enrolment.rs"]
mod enrolment;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::run::{Context, Log};
use crate::vip::Lab;

/// For everything that is waited for.
const LIMIT: Duration = Duration::from_secs(90);
/// How often something is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Longer than the grace time of the lab's servers: whatever was going to be marked is marked by then.
const LONG: Duration = Duration::from_secs(10);
/// Longest interruption by the death of a boot server that an optimised build may have on a machine of its own.
const INTERRUPTED_MUST: Duration = Duration::from_secs(1);
/// And what is let pass here: each try is a program of its own, which takes 0.1 s to start and to be answered, unoptimised, while others
/// compile. What it was is printed beside what it must be.
const INTERRUPTED_MAX: Duration = Duration::from_secs(2);
/// Reads and writes that must get through after it.
const AFTERWARDS: usize = 20;

/// Runs the lab and everything that can die in it.
pub(crate) fn lab(context: &Context, log: &Log) -> io::Result<Outcome> {
    let Some(stage) = Stage::prepare(context, log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let mut outcome = Outcome::default();
    let lab = Lab { context, log, folder: stage.folder.clone(), name: format!("inventory-{}", std::process::id()) };
    if lab.up("inventory")? {
        outcome.add(&Outcome::passed());
        if let Err(error) = scenario(&lab, &mut outcome) {
            outcome.add(&Outcome::failed(format!("lab inventory: {error}")));
        }
    } else {
        outcome.add(&Outcome::failed("lab inventory does not come up: not every machine is healthy by its routes"));
    }
    lab.down()?;
    Ok(outcome)
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    enrolment::enrolment(lab, outcome)?;
    own_daemon(lab, outcome)?;
    node(lab, outcome)?;
    switch(lab, outcome)?;
    boot_server(lab, outcome)?;
    cut_off(lab, outcome)?;
    enrolment::migration(lab, outcome)
}

/// What a boot server answers, as JSON.
fn ask(lab: &Lab<'_>, node: &str, words: &str) -> io::Result<Value> {
    let text = lab.shell(node, &format!("weft-netboot --output json {words}"))?;
    serde_json::from_str(&text).map_err(|error| io::Error::other(format!("{node}: {words}: {error}: {text}")))
}

/// State of a machine, and when it came about.
fn state(lab: &Lab<'_>, node: &str, serial: &str) -> io::Result<(String, String)> {
    let machine = ask(lab, node, &format!("machines show {serial}"))?;
    let text = |key: &str| machine["state"][key].as_str().unwrap_or_default().to_owned();
    Ok((text("name"), text("since")))
}

/// Machines that are not healthy, as a boot server knows them.
fn marked(lab: &Lab<'_>, node: &str) -> io::Result<Vec<String>> {
    let answer = ask(lab, node, "machines list without-state=healthy")?;
    let all = answer["machines"].as_array().cloned().unwrap_or_default();
    Ok(all.iter().map(|one| format!("{} {}", one["serial"], one["state"]["reason"])).collect())
}

/// For longer than any grace nobody is marked; one check.
fn nobody(lab: &Lab<'_>, outcome: &mut Outcome, node: &str, what: &str) -> io::Result<()> {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        let marked = marked(lab, node)?;
        if !marked.is_empty() {
            outcome.add(&Outcome::failed(format!("{what} marks {}", marked.join(", "))));
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    outcome.add(&Outcome::passed());
    Ok(())
}

fn link(lab: &Lab<'_>, verb: &str, node: &str, interfaces: &[&str]) -> io::Result<()> {
    for interface in interfaces {
        let place = format!("{node}:{interface}");
        if !lab.log.run(&mut lab.lab_command(&["link", verb, &lab.name, &place]))? {
            return Err(io::Error::other(format!("`weft-lab link {verb} {place}` failed")));
        }
    }
    Ok(())
}

/// The power goes: processes end, and no link has a far end any more.
fn dies(lab: &Lab<'_>, node: &str, interfaces: &[&str]) -> io::Result<()> {
    link(lab, "down", node, interfaces)?;
    lab.node("kill", node)
}

fn comes_back(lab: &Lab<'_>, node: &str, interfaces: &[&str]) -> io::Result<()> {
    link(lab, "up", node, interfaces)?;
    lab.node("start", node)
}

fn all_well(lab: &Lab<'_>, outcome: &mut Outcome, node: &str, what: &str) -> io::Result<()> {
    until(outcome, what, || Ok(marked(lab, node)?.is_empty()))
}

fn until(outcome: &mut Outcome, what: &str, mut holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    // A server that is just starting answers nobody.
    while !holds().unwrap_or(false) {
        if Instant::now() > deadline {
            outcome.add(&Outcome::failed(format!("lab inventory: {what}")));
            return Err(io::Error::other("what follows would fail for the same reason"));
        }
        std::thread::sleep(POLL);
    }
    outcome.add(&Outcome::passed());
    Ok(())
}

/// The routing daemon of the server that changes states dies: it sees nothing, marks nobody, and leaves it to another one.
fn own_daemon(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut leader = None;
    until(outcome, "one of the servers changes states", || {
        let all = ["boot1", "boot2", "boot3"];
        leader =
            all.into_iter().find(|node| ask(lab, node, "liveness show").is_ok_and(|answer| answer["leads"] == true));
        Ok(leader.is_some())
    })?;
    let leader = leader.unwrap_or("boot1");
    let other = if leader == "boot1" { "boot2" } else { "boot1" };
    lab.shell(leader, "kill -9 $(weft --output json show version | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p')")?;
    until(outcome, "a server without its routing daemon sees nothing", || {
        Ok(ask(lab, leader, "liveness show")?["view"] == "blind")
    })?;
    nobody(lab, outcome, other, "the death of a server's own routing daemon")?;
    until(outcome, "another server changes states", || {
        let others = ["boot1", "boot2", "boot3"].into_iter().filter(|node| *node != leader);
        Ok(others.filter(|node| ask(lab, node, "liveness show").is_ok_and(|answer| answer["leads"] == true)).count()
            == 1)
    })?;
    lab.node("start", leader)?;
    until(
        outcome,
        "its daemon is back, and it sees again",
        || Ok(ask(lab, leader, "liveness show")?["view"] == "clear"),
    )
}

/// A node dies: suspect at once, unreachable after the grace time, healthy when it is back.
fn node(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let died = SystemTime::now();
    dies(lab, "node2", &["eth0", "eth1"])?;
    let mut times = Vec::new();
    for wanted in ["unhealthy", "unreachable"] {
        let mut since = String::new();
        until(outcome, &format!("a dead node becomes {wanted}"), || {
            let found = state(lab, "boot1", "N2")?;
            since.clone_from(&found.1);
            Ok(found.0 == wanted)
        })?;
        times.push(since);
    }
    let marked = marked(lab, "boot3")?;
    outcome
        .add(&Outcome::check(marked.len() == 1, format!("beside a dead node there is marked: {}", marked.join(", "))));
    let began = lab.shell("boot1", &format!("date -u -d @{} +%T.%3N", seconds(died)))?;
    outcome.notes.push(format!(
        "a node's links go down from {}: suspect at {}, unreachable at {} (grace 6 s)",
        began.trim(),
        times[0],
        times[1]
    ));
    comes_back(lab, "node2", &["eth0", "eth1"])?;
    all_well(lab, outcome, "boot2", "a node that is back becomes healthy")
}

fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}

/// A switch dies: everybody has another one.
fn switch(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    // One that came back a moment ago is healthy by its first path.
    until(outcome, "the machines of the rack are seen through both switches", || {
        let answer = ask(lab, "boot1", "machines list serial=N1,N2")?;
        let both = |serial: &&str| answer["evidence"][*serial]["from"].as_array().is_some_and(|from| from.len() == 2);
        Ok(["N1", "N2"].iter().all(both))
    })?;
    let all = ["eth1", "eth2", "eth3", "eth4", "eth5"];
    dies(lab, "tor1", &all)?;
    nobody(lab, outcome, "boot1", "the death of a switch")?;
    nobody(lab, outcome, "boot2", "the death of a switch of the other rack")?;
    comes_back(lab, "tor1", &all)?;
    until(outcome, "machines are seen through both switches again", || {
        let answer = ask(lab, "boot1", "machines list serial=N3")?;
        Ok(answer["evidence"]["N3"]["from"].as_array().is_some_and(|from| from.len() == 2))
    })
}

/// A boot server dies, with the member of etcd that leads: at the others reads go on, and writes after a short while.
fn boot_server(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let leads = "exec 3<>/dev/tcp/127.0.0.1/2379; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; grep '^etcd_server_is_leader' <&3";
    let mut victim = None;
    until(outcome, "etcd has a leader", || {
        victim = ["boot1", "boot2", "boot3"].into_iter().find(|node| {
            lab.shell(node, &format!("bash -c \"{leads}\"")).is_ok_and(|said| said.trim().ends_with(" 1"))
        });
        Ok(victim.is_some())
    })?;
    let victim = victim.unwrap_or("boot3");
    let other = if victim == "boot1" { "boot2" } else { "boot1" };
    let line = |file: &str, what: &str| {
        format!(
            "i=0; while [ ! -e /run/over ]; do i=$((i + 1)); weft-netboot {what} > /dev/null 2>&1 && date +%s%3N >> /run/{file}; done"
        )
    };
    let mut clients = Vec::new();
    for (file, what) in [("writes", "machines label N1 turn=$i"), ("reads", "machines show N1")] {
        let place = format!("{}/{other}", lab.name);
        let mut command = lab.lab_command(&["exec", &place, "--", "sh", "-c", &line(file, what)]);
        clients.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    }
    let count = |file: &str| -> io::Result<usize> {
        lab.shell(other, &format!("cat /run/{file} | wc -l"))?.trim().parse().map_err(io::Error::other)
    };
    let flows = |least: usize| Ok(count("writes")? >= least && count("reads")? >= least);
    let ended = (|| {
        until(outcome, "reads and writes get through", || flows(AFTERWARDS))?;
        let links = ["eth0", "eth1"];
        dies(lab, victim, &links)?;
        let died = count("writes")?.max(count("reads")?);
        until(outcome, "reads and writes get through without it", || flows(died + AFTERWARDS))
    })();
    lab.shell(other, "touch /run/over")?;
    for mut client in clients {
        client.wait()?;
    }
    ended?;
    for file in ["reads", "writes"] {
        let gap = longest_gap(&lab.shell(other, &format!("cat /run/{file}"))?);
        outcome.notes.push(format!(
            "one of three boot servers dies with the leader of etcd: {file} elsewhere interrupted for {} ms (must be at most {}, up to {} passes here)",
            gap.as_millis(),
            INTERRUPTED_MUST.as_millis(),
            INTERRUPTED_MAX.as_millis()
        ));
        outcome.add(&Outcome::check(
            gap <= INTERRUPTED_MAX,
            format!("{file} were interrupted for {} ms", gap.as_millis()),
        ));
    }
    let serial = victim.replace("boot", "B");
    until(outcome, "the dead boot server becomes unreachable", || Ok(state(lab, other, &serial)?.0 == "unreachable"))?;
    comes_back(lab, victim, &["eth0", "eth1"])?;
    all_well(lab, outcome, other, "a boot server that is back becomes healthy")
}

/// A boot server is cut off, and everything on it runs on: it answers questions, says that it can change nothing, and marks nobody; the
/// others go on, and what they did it knows when it is back.
fn cut_off(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let links = ["eth0", "eth1"];
    until(outcome, "the server to be cut off is there", || Ok(ask(lab, "boot3", "liveness show")?["view"] == "clear"))?;
    link(lab, "down", "boot3", &links)?;
    until(outcome, "a server that is cut off sees nothing", || {
        Ok(ask(lab, "boot3", "liveness show")?["view"] == "blind")
    })?;
    let began = Instant::now();
    let said = lab.shell("boot3", "weft-netboot machines label N1 there=alone 2>&1; echo \"exit $?\"")?;
    let words = ["the store does not answer", "whether it was stored is unknown"];
    outcome.add(&Outcome::check(
        said.contains("exit 1") && words.iter().any(|words| said.contains(words)),
        format!("a server that is cut off says of a change: {said}"),
    ));
    outcome.notes.push(format!(
        "a server that is cut off says after {} ms that it can change nothing",
        began.elapsed().as_millis()
    ));
    let marked = marked(lab, "boot3")?;
    outcome
        .add(&Outcome::check(marked.is_empty(), format!("a server that is cut off has marked {}", marked.join(", "))));
    lab.shell("boot1", "weft-netboot machines label N1 there=many")?;
    until(outcome, "who is cut off becomes unreachable", || Ok(state(lab, "boot1", "B3")?.0 == "unreachable"))?;
    link(lab, "up", "boot3", &links)?;
    all_well(lab, outcome, "boot1", "a boot server that is connected again becomes healthy")?;
    until(outcome, "it knows what the others did meanwhile", || {
        Ok(ask(lab, "boot3", "machines show N1")?["labels"]["there"] == "many")
    })
}

/// The longest time between two lines, each a time in milliseconds.
fn longest_gap(times: &str) -> Duration {
    let times: Vec<u64> = times.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let longest = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max();
    Duration::from_millis(longest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found() {
        assert_eq!(longest_gap("100\n150\n1250\n1300\n"), Duration::from_millis(1_100));
        assert_eq!(longest_gap(""), Duration::ZERO);
    }
}
