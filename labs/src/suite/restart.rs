//! The stage of daemons that go and come back: lab `upgrade`, in which weft's daemons are killed and started again while packets flow between
//! weft, BIRD and FRR. Nothing may be lost, and no kernel may be told anything of routes that did not change.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "carried.rs"]
mod carried;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, find_program};
use crate::vip::Lab;

/// For whatever is waited for: many times what it takes where nothing else runs.
const LIMIT: Duration = Duration::from_secs(120);
/// How often something is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a killed daemon stays away: longer than the detection time of BFD, so that its neighbours miss it.
const AWAY: Duration = Duration::from_secs(3);
/// Packets flow on for so long when everything is as before: longer than whatever a daemon does a moment later.
const AFTER: Duration = Duration::from_secs(2);
/// Routes that the far router announces beside its own; the environment may ask for others, to measure.
const ROUTES: (&str, u32) = ("WEFT_RESTART_ROUTES", 5_000);
/// A thousand packets a second for each, in both directions.
const FLOWS: &str = "10";
/// The nodes, and whether weft runs there.
const NODES: [(&str, bool); 7] =
    [("host", true), ("far", true), ("tor", true), ("torb", false), ("torf", false), ("hb", false), ("hf", false)];
/// Ends a node's daemon by a signal, and waits until its process and each of its threads is gone: one that still ends counts as running.
const ENDED: &str = "p=$(pidof weft); kill -TERM $p; \
    while [ -e /proc/$p ] && ! { grep -q '^State:.Z' /proc/$p/status && [ $(ls /proc/$p/task | wc -l) = 1 ]; }; do :; done";
/// A route of nobody's, by which a watcher shows that it watches.
const MARK: &str = "198.51.100.1";

/// Runs the lab.
pub(crate) fn restart(context: &Context) -> io::Result<Outcome> {
    let log = context.log("restart")?;
    let missing = || ["bird", "bfdd", "ip"].iter().any(|program| find_program(program).is_none());
    if missing() && rustix::process::geteuid().is_root() && find_program("apt-get").is_some() {
        packages::install_each(context, &log, &["bird2", "frr", "iproute2"])?;
    }
    if missing() {
        return Ok(Outcome::skipped("restart: `bird`, FRR's `bfdd` or `ip` is not installed and could not be"));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let name = format!("upgrade-{}", std::process::id());
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name };
    let mut outcome = Outcome::default();
    if !lab.up("upgrade")? {
        outcome.add(&Outcome::failed("lab upgrade does not come up as expected"));
    } else if let Err(error) = scenario(&lab, &mut outcome) {
        outcome.add(&Outcome::failed(format!("lab upgrade: {error}")));
    }
    lab.down()?;
    Ok(outcome)
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    announce(lab, outcome)?;
    for node in ["tor", "host"] {
        undisturbed(lab, outcome, &format!("kill -9 of the daemon of {node}"), || {
            lab.node("kill", node)?;
            std::thread::sleep(AWAY);
            lab.node("start", node)
        })?;
        undisturbed(lab, outcome, &format!("SIGTERM to the daemon of {node}"), || {
            lab.shell(node, ENDED)?;
            lab.node("start", node)
        })?;
    }
    carried::begin(lab, outcome)?;
    for node in ["tor", "host"] {
        let before = losses(lab)?;
        undisturbed(lab, outcome, &format!("upgrade of the daemon of {node}"), || {
            lab.shell(node, "weft upgrade").map(drop)
        })?;
        let version = lab.ask(node, &["show", "version"])?;
        let sessions = &version["upgrade_sessions"];
        let kept = version["upgrades"] == 1 && sessions[0] == sessions[1] && sessions[0].as_u64() >= Some(3);
        outcome.add(&Outcome::check(kept, format!("{node}: not every session went on: {version}")));
        let after = losses(lab)?;
        outcome.add(&Outcome::check(before == after, format!("{node}: sessions were lost: {before:?}, {after:?}")));
    }
    carried::over_the_upgrade(lab, outcome)?;
    in_vain(lab, outcome)?;
    carried::over_the_way_back(lab, outcome)
}

/// Sessions that each weft has lost so far.
fn losses(lab: &Lab<'_>) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    for (node, _) in NODES.iter().filter(|(_, weft)| *weft) {
        let answer = lab.ask(node, &["show", "neighbors"])?;
        all.extend(answer["neighbors"].as_array().into_iter().flatten().filter_map(|peer| peer["dropped"].as_u64()));
    }
    Ok(all)
}

/// Programs that cannot take over: found before anything is handed over, or afterwards, by the way back.
fn in_vain(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let before = (losses(lab)?, lab.ask("tor", &["show", "version"])?["upgrades"].clone());
    let tried = |program: &str| lab.shell("tor", &format!("weft upgrade {program} 2>&1; echo \"exit $?\""));
    let late = "W=$(readlink /proc/$(pidof weft)/exe); printf '#!/bin/sh\\ncase \"$*\" in *rehearsal*) exec %s \"$@\";; esac\\n\
                exec %s daemon --config /none --resume new\\n' $W $W > /run/weft/late; chmod 755 /run/weft/late";
    lab.shell("tor", late)?;
    undisturbed(lab, outcome, "programs that cannot take over", || {
        for (program, words) in [
            ("/bin/false", "could not take over"),
            ("/none", "/none"),
            ("none", "no absolute path"),
            ("/run/weft/late", "the one before runs again"),
        ] {
            let said = tried(program)?;
            if !said.contains(words) || !said.contains("exit 1") {
                return Err(io::Error::other(format!("`weft upgrade {program}` says: {said}")));
            }
        }
        Ok(())
    })?;
    let after = (losses(lab)?, lab.ask("tor", &["show", "version"])?["upgrades"].clone());
    outcome.add(&Outcome::check(before == after, format!("something has changed: {before:?}, {after:?}")));
    Ok(())
}

/// The far router announces as many routes as are asked for, and everybody has them.
fn announce(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let routes = std::env::var(ROUTES.0).ok().and_then(|text| text.parse().ok()).unwrap_or(ROUTES.1);
    let write = format!(
        "cp /etc/weft/weft.yaml /run/weft/now.yaml; echo originate: >> /run/weft/now.yaml; i=0; \
         while [ $i -lt {routes} ]; do a=$((i / 65536)); b=$((i / 256 % 256)); echo \"- 10.$((128 + a)).$b.$((i % 256))/32\"; \
         i=$((i + 1)); done >> /run/weft/now.yaml; mount --bind /run/weft/now.yaml /etc/weft/weft.yaml; weft reload"
    );
    lab.shell("far", &write)?;
    for (node, _) in NODES.iter().filter(|(node, _)| *node != "far") {
        lab.until(outcome, &format!("{node} has all routes"), || {
            let count = lab.shell(node, "ip -4 route show table main | grep -c '^10\\.1[2-9]' || true")?;
            Ok(count.trim().parse().is_ok_and(|count: u32| count >= routes))
        })?;
    }
    outcome.notes.push(format!("{routes} routes, BFD 400 ms × 5, flows of 10,000 packets a second in both directions"));
    Ok(())
}

/// Packets flow between host and far router, and between each of the hosts behind the ToR and the far router; whatever is done, none may
/// be lost, and no kernel may hear of a change.
fn undisturbed(
    lab: &Lab<'_>,
    outcome: &mut Outcome,
    what: &str,
    act: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    for (node, _) in NODES {
        watch(lab, node)?;
    }
    let flows = [("host", FLOWS), ("hb", "1"), ("hf", "1")];
    let lost = flowing(lab, &flows, || {
        act()?;
        settled(lab)
    })?;
    let mut changes = Vec::new();
    for (node, _) in NODES {
        let told = watched(lab, node)?;
        if !told.is_empty() {
            let first: Vec<&str> = told.lines().take(4).collect();
            changes.push(format!("{node}: {} lines, the first {first:?}", told.lines().count()));
        }
    }
    outcome.notes.push(format!("{what}: {} packets sent, {} lost", lost.sent, lost.lost));
    outcome.add(&Outcome::check(lost.lost == 0, format!("{what}: {}", lost.text)));
    outcome.add(&Outcome::check(
        changes.is_empty(),
        format!("{what}: kernels are told of routes that did not change: {}", changes.join("; ")),
    ));
    Ok(())
}

/// Every session of every weft stands, BFD is Up, no route is stale any more, and nobody waits for anything.
fn settled(lab: &Lab<'_>) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut instead = None;
        for (node, _) in NODES.iter().filter(|(_, weft)| *weft) {
            instead = instead.or_else(|| unsettled(lab, node).unwrap_or_else(|error| Some(error.to_string())));
        }
        match instead {
            None => break,
            Some(instead) if Instant::now() > deadline => return Err(io::Error::other(instead)),
            Some(_) => std::thread::sleep(POLL),
        }
    }
    std::thread::sleep(AFTER);
    Ok(())
}

/// What of it is not so yet.
fn unsettled(lab: &Lab<'_>, node: &str) -> io::Result<Option<String>> {
    let health = lab.ask(node, &["show", "health"])?;
    let checks = health["checks"].as_array().cloned().unwrap_or_default();
    let named = |name: &str| checks.iter().find(|check| check["name"] == name).cloned().unwrap_or_default();
    for name in ["convergence", "sessions", "bfd", "kernel"] {
        let check = named(name);
        if check["state"] != "ok" {
            return Ok(Some(format!("{node}: {name}: {}", check["fact"])));
        }
    }
    let stale = lab.ask(node, &["show", "bgp", "--limit", "100"])?;
    let paths = stale["routes"].as_array().into_iter().flatten().flat_map(|route| route["paths"].as_array());
    let is_stale = paths.flatten().any(|path| path["stale"] == true);
    Ok(is_stale.then(|| format!("{node}: there are stale routes")))
}

/// Begins to write down what a node's kernel tells of routes and next hops.
fn watch(lab: &Lab<'_>, node: &str) -> io::Result<()> {
    let begin = format!(
        "ip monitor route nexthop > /run/weft/told 2>&1 & echo $! > /run/weft/watcher; \
         until grep -q {MARK} /run/weft/told; do ip route add {MARK} dev lo; ip route del {MARK} dev lo; done"
    );
    lab.shell(node, &begin).map(drop)
}

/// Ends that, and says what it told.
fn watched(lab: &Lab<'_>, node: &str) -> io::Result<String> {
    lab.shell(node, &format!("kill $(cat /run/weft/watcher); grep -v {MARK} /run/weft/told || true"))
}

/// What was sent and lost over all flows.
#[derive(Debug, Default)]
struct Lost {
    sent: u64,
    lost: u64,
    text: String,
}

/// A `weft-lab flow` between a node and the far router.
struct Flow {
    node: String,
    child: Child,
    /// It goes on for as long as this is open.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Flow {
    fn start(lab: &Lab<'_>, node: &str, flows: &str) -> io::Result<Self> {
        let place = format!("{}/{node}", lab.name);
        let mut command = lab.lab_command(&["flow", &place, "far", "--flows", flows, "--format", "json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim() != "flowing" {
            return Err(io::Error::other(format!("no packets flow from {node}: {line}")));
        }
        Ok(Self { node: node.to_owned(), child, input, output })
    }

    fn finish(mut self) -> io::Result<Lost> {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        let found: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
        let mut all = Lost::default();
        for way in ["there", "back"] {
            let count = |key: &str| -> u64 {
                found[way].as_array().into_iter().flatten().filter_map(|flow| flow[key].as_u64()).sum()
            };
            let longest =
                found[way].as_array().into_iter().flatten().filter_map(|flow| flow["longest_run"].as_u64()).max();
            let (sent, lost) = (count("sent"), count("sent").saturating_sub(count("received")));
            all.sent += sent;
            all.lost += lost;
            if lost > 0 {
                let longest = longest.unwrap_or_default();
                all.text.push_str(&format!("{} {way}: {lost} of {sent} packets lost, {longest} ms; ", self.node));
            }
        }
        Ok(all)
    }
}

/// Lets packets flow while something is done.
fn flowing(lab: &Lab<'_>, flows: &[(&str, &str)], act: impl FnOnce() -> io::Result<()>) -> io::Result<Lost> {
    let flows: Vec<Flow> =
        flows.iter().map(|(node, count)| Flow::start(lab, node, count)).collect::<io::Result<_>>()?;
    let acted = act();
    let mut all = Lost::default();
    for flow in flows {
        let lost = flow.finish()?;
        all.sent += lost.sent;
        all.lost += lost.lost;
        all.text.push_str(&lost.text);
    }
    acted.map(|()| all)
}
