//! The stage of service addresses and of those who announce what is not theirs: labs `anycast` and `rogue`, asked as a person would ask
//! them, with the times that it takes.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::run::{Context, Log};

/// From a failing check, or a change of a kernel table, to the route in the neighbour's kernel. Tried several times: on a busy machine
/// one try says more of the machine.
const MOVED_WITHIN: Duration = Duration::from_millis(50);
/// Tries of everything that is timed; the best counts, and while none was good there are more of them.
const TRIES: usize = 5;
/// See there.
const TRIES_MAX: usize = 30;
/// For everything else.
const LIMIT: Duration = Duration::from_secs(60);
/// How often something is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Runs both labs.
pub(crate) fn vip(context: &Context) -> io::Result<Outcome> {
    let log = context.log("vip")?;
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let mut outcome = Outcome::default();
    for (name, scenario) in [("anycast", anycast as fn(&Lab<'_>, &mut Outcome) -> io::Result<()>), ("rogue", rogue)] {
        let lab =
            Lab { context, log: &log, folder: stage.folder.clone(), name: format!("{name}-{}", std::process::id()) };
        if !lab.up(name)? {
            outcome.add(&Outcome::failed(format!("lab {name} does not come up as expected")));
        } else if let Err(error) = scenario(&lab, &mut outcome) {
            outcome.add(&Outcome::failed(format!("lab {name}: {error}")));
        }
        lab.down()?;
    }
    Ok(outcome)
}

/// A lab that runs.
pub(crate) struct Lab<'a> {
    pub(crate) context: &'a Context,
    pub(crate) log: &'a Log,
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
}

impl Lab<'_> {
    pub(crate) fn lab_command(&self, words: &[&str]) -> Command {
        let mut command = self.context.command(&self.folder.join("weft-lab"), words);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Starts it; whether every expectation of its file came true.
    pub(crate) fn up(&self, topology: &str) -> io::Result<bool> {
        let file = format!("topologies/{topology}.clab.yml");
        let weft = self.folder.join("weft").display().to_string();
        self.log.run(&mut self.lab_command(&["up", "--detach", "--weft", &weft, &file]))
    }

    pub(crate) fn down(&self) -> io::Result<()> {
        self.log.run(&mut self.lab_command(&["down", &self.name])).map(drop)
    }

    /// What a shell line in a node prints.
    pub(crate) fn shell(&self, node: &str, line: &str) -> io::Result<String> {
        let place = format!("{}/{node}", self.name);
        let output = self.lab_command(&["exec", &place, "--", "sh", "-c", line]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(io::Error::other(format!("{node}: `{line}`: {text}{}", String::from_utf8_lossy(&output.stderr))))
    }

    /// What a daemon answers to a verb, as JSON.
    pub(crate) fn ask(&self, node: &str, words: &[&str]) -> io::Result<Value> {
        let place = format!("{}/{node}", self.name);
        let mut command = self.context.command(&self.folder.join("weft"), &["--lab", &place, "--output", "json"]);
        let output = command.args(words).stdin(Stdio::null()).output()?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            io::Error::other(format!("{node}: weft {}: {error}: {said}", words.join(" ")))
        })
    }

    /// Field `key` of a service address.
    fn vip(&self, node: &str, name: &str, key: &str) -> io::Result<String> {
        let answer = self.ask(node, &["show", "vips"])?;
        let all = answer["vips"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|vip| vip["name"] == name).unwrap_or_default();
        Ok(found[key].as_str().map_or_else(|| found[key].to_string(), str::to_owned))
    }

    /// The links that a node's kernel uses for a prefix.
    fn links(&self, node: &str, prefix: &str) -> io::Result<Vec<String>> {
        let answer = self.ask(node, &["show", "routes", prefix])?;
        let via = answer["routes"][0]["via"].as_array().cloned().unwrap_or_default();
        let mut links: Vec<String> = via.iter().filter_map(|hop| Some(hop["interface"].as_str()?.to_owned())).collect();
        links.sort();
        Ok(links)
    }

    /// Kills a node's daemon, or starts it again.
    pub(crate) fn node(&self, verb: &str, node: &str) -> io::Result<()> {
        let place = format!("{}/{node}", self.name);
        if self.log.run(&mut self.lab_command(&["node", verb, &place]))? {
            return Ok(());
        }
        Err(io::Error::other(format!("`weft-lab node {verb} {place}` failed")))
    }

    /// Waits until it holds; one check.
    pub(crate) fn until(
        &self,
        outcome: &mut Outcome,
        what: &str,
        mut holds: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !holds()? {
            if Instant::now() > deadline {
                outcome.add(&Outcome::failed(format!("{}: {what}", self.name)));
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        outcome.add(&Outcome::passed());
        Ok(())
    }

    /// How long after `line` ran in `node` the kernel of `at` showed it: `shown` is a test of the shell there.
    fn delay(&self, (node, line): (&str, &str), (at, shown): (&str, &str)) -> io::Result<Duration> {
        // Both clocks are the machine's. The test runs before the line does, so that nothing has to start in between.
        let place = format!("{}/{at}", self.name);
        let watch = format!("echo ready; for i in $(seq 3000); do {shown} && break; done; date +%s%N");
        let mut watcher = self.lab_command(&["exec", &place, "--", "sh", "-c", &watch]);
        let mut watcher = watcher.stdout(Stdio::piped()).spawn()?;
        let mut said = io::BufReader::new(watcher.stdout.take().ok_or_else(|| io::Error::other("no output"))?);
        let mut words = String::new();
        io::BufRead::read_line(&mut said, &mut words)?;
        let begun = self.shell(node, &format!("date +%s%N; {line}"))?;
        words.clear();
        io::BufRead::read_line(&mut said, &mut words)?;
        watcher.wait()?;
        let nanos = |text: &str| text.trim().parse::<u64>().map_err(io::Error::other);
        Ok(Duration::from_nanos(nanos(&words)?.saturating_sub(nanos(&begun)?)))
    }

    /// The best of several delays, each followed by its undoing; one check.
    fn timed(
        &self,
        outcome: &mut Outcome,
        what: &str,
        delay: impl Fn() -> io::Result<Duration>,
        mut undo: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut all = Vec::new();
        while all.len() < TRIES || (all[0] > MOVED_WITHIN && all.len() < TRIES_MAX) {
            all.push(delay()?);
            undo()?;
            all.sort();
        }
        let (best, median, tries) = (all[0], all[all.len() / 2], all.len());
        outcome.notes.push(format!(
            "{what}: {} ms at best, {} ms in the middle of {tries}",
            best.as_millis(),
            median.as_millis()
        ));
        outcome
            .add(&Outcome::check(best <= MOVED_WITHIN, format!("{what}: longer than {} ms", MOVED_WITHIN.as_millis())));
        Ok(())
    }
}

const WEB: &str = "10.71.0.80/32";

fn anycast(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let both = || Ok(lab.links("tor", WEB)? == ["eth1", "eth2"]);
    // Every 10 ms a check, one bad result decides. A switch's kernel names the id of a next hop and no more: it is the one behind the
    // other origin, not a group of both.
    let moved = "set -- $(ip -o route show 10.71.0.80/32) \
                 && ip -o nexthop show id ${3:-0} 2>/dev/null | grep -q 'dev eth2'";
    let fails = || lab.delay(("a", "rm /run/ready"), ("tor", moved));
    lab.timed(outcome, "a service fails ▸ no traffic goes there", fails, || {
        lab.shell("a", "touch /run/ready")?;
        let deadline = Instant::now() + LIMIT;
        while !both()? && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        Ok(())
    })?;
    lab.until(outcome, "both origins are back", both)?;
    failover(lab, outcome)?;
    doctor(lab, outcome)?;
    told(lab, outcome)?;
    table_119(lab, outcome)
}

/// One origin fails, then the other: the last one stays, and says so.
fn failover(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let state = |node: &str| lab.vip(node, "web", "state");
    lab.shell("a", "rm /run/ready")?;
    lab.until(outcome, "a withdraws, drains and takes the address away", || Ok(state("a")? == "down"))?;
    lab.until(outcome, "the address leaves a's lo", || {
        Ok(lab.shell("a", "ip -o addr show dev lo | grep -c 10.71.0.80 || true")?.trim() == "0")
    })?;
    lab.until(outcome, "the client's kernel keeps its route", || Ok(!lab.links("client", WEB)?.is_empty()))?;
    let withdrawn = lab.ask("a", &["show", "history"])?;
    let order = order(&withdrawn);
    outcome.add(&Outcome::check(order.is_ok(), order.err().unwrap_or_default()));
    lab.shell("b", "rm /run/ready")?;
    lab.until(outcome, "b stays as the last origin", || Ok(state("b")? == "kept"))?;
    outcome.add(&Outcome::check(lab.vip("b", "web", "alarm")? == "true", "b raises no alarm"));
    lab.until(outcome, "the last origin is marked with GRACEFUL_SHUTDOWN", || {
        Ok(lab.ask("tor", &["show", "bgp", WEB])?.to_string().contains("65535:0"))
    })?;
    outcome.add(&Outcome::check(lab.links("tor", WEB)? == ["eth2"], "the switch has lost the last origin"));
    again(lab, outcome)?;
    lab.shell("a", "touch /run/ready")?;
    lab.until(outcome, "with another origin b goes", || Ok(["draining", "down"].contains(&state("b")?.as_str())))?;
    lab.until(outcome, "and all traffic is a's", || Ok(lab.links("tor", WEB)? == ["eth1"]))?;
    lab.shell("b", "touch /run/ready")?;
    lab.until(outcome, "both share again", || Ok(lab.links("tor", WEB)? == ["eth1", "eth2"]))
}

/// The daemon of the last origin dies and comes back while its check fails: the switch never loses the route.
fn again(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let place = format!("{}/tor", lab.name);
    let watch = "rm -f /run/over; echo ready; n=0; while [ ! -e /run/over ]; do \
                 ip -o route show 10.71.0.80/32 | grep -q . || n=$((n + 1)); done; echo $n";
    let mut watcher = lab.lab_command(&["exec", &place, "--", "sh", "-c", watch]);
    let mut watcher = watcher.stdout(Stdio::piped()).spawn()?;
    let mut said = io::BufReader::new(watcher.stdout.take().ok_or_else(|| io::Error::other("no output"))?);
    let mut words = String::new();
    io::BufRead::read_line(&mut said, &mut words)?;
    let ups = |node: &str| -> io::Result<u64> {
        let answer = lab.ask("tor", &["show", "neighbors", node])?;
        Ok(answer["neighbors"][0]["established"].as_u64().unwrap_or_default())
    };
    let before = ups("b")?;
    lab.node("kill", "b")?;
    lab.node("start", "b")?;
    lab.until(outcome, "b takes up what it kept before its daemon died", || {
        // There is nobody to answer at first.
        Ok(lab.vip("b", "web", "state").is_ok_and(|state| state == "kept"))
    })?;
    lab.until(outcome, "the switch has it from the new daemon", || {
        let paths = lab.ask("tor", &["show", "bgp", WEB])?.to_string();
        Ok(ups("b")? > before && paths.contains("65535:0") && !paths.contains("\"stale\":true"))
    })?;
    lab.shell("tor", "touch /run/over")?;
    words.clear();
    io::BufRead::read_line(&mut said, &mut words)?;
    watcher.wait()?;
    outcome.add(&Outcome::check(
        words.trim() == "0",
        format!("the switch was without the last origin's route, {} looks long", words.trim()),
    ));
    Ok(())
}

/// What a withdrawal of `web` must look like in a history, of which the checks above made several: told to peers, withdrawn, then a
/// second until the address goes. Withdrawn within 50 ms: the best of them, for a busy machine may take longer to let the daemon run.
fn order(history: &Value) -> Result<(), String> {
    let all = history["history"].as_array().cloned().unwrap_or_default();
    let states: Vec<_> = all
        .iter()
        .filter(|event| event["name"] == "web")
        .filter_map(|event| Some((event["state"].as_str()?, event["at_ms"].as_u64()?)))
        .collect();
    let mut delays = Vec::new();
    for three in states.windows(3) {
        let [("shedding", shed), ("draining", withdrawn), (next, ended)] = *three else {
            continue;
        };
        let is_early = next == "down" && ended < withdrawn + 900;
        if is_early || !["down", "up"].contains(&next) {
            return Err(format!("a's history shows another order than community, route, address: {three:?}"));
        }
        delays.push(withdrawn - shed);
    }
    match delays.iter().min() {
        Some(best) if *best <= 50 => Ok(()),
        Some(best) => Err(format!("a was never withdrawn within 50 ms of the failed check, but {best} ms at best")),
        None => Err("a's history shows no withdrawal".to_owned()),
    }
}

/// Settings that lose packets are found, explained and mended where the daemon runs.
fn doctor(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    const WRONG: [(&str, &str, &str); 2] =
        [("net.ipv4.ip_forward", "0", "1"), ("net.ipv4.conf.eth1.rp_filter", "1", "2")];
    let file = |name: &str| format!("/proc/sys/{}", name.replace('.', "/"));
    for (name, wrong, _) in WRONG {
        lab.shell("tor", &format!("echo {wrong} > {}", file(name)))?;
    }
    let ask = |fix: &str| -> io::Result<(Vec<String>, bool)> {
        let line = format!("weft --output json doctor --config /etc/weft/weft.yaml {fix}; echo \"exit $?\"");
        let text = lab.shell("tor", &line)?;
        let (report, code) =
            text.rsplit_once("exit ").ok_or_else(|| io::Error::other("the shell says no exit code"))?;
        let report: Value = serde_json::from_str(report).map_err(io::Error::other)?;
        let findings = report["report"]["findings"].as_array().cloned().unwrap_or_default();
        let faults = findings.iter().filter(|finding| finding["severity"] == "fault");
        let complete = |finding: &Value| ["why", "remedy", "found"].iter().all(|key| finding[*key].as_str().is_some());
        let whole = faults.clone().all(complete) && (code.trim() == "1") == (faults.clone().count() > 0);
        Ok((faults.filter_map(|finding| Some(finding["subject"].as_str()?.to_owned())).collect(), whole))
    };
    let (found, whole) = ask("")?;
    let named = WRONG.iter().all(|(name, ..)| found.iter().any(|subject| subject == name));
    outcome.add(&Outcome::check(named && whole, format!("`weft doctor` names {found:?}")));
    let (left, _) = ask("--fix")?;
    let gone = WRONG.iter().all(|(name, ..)| left.iter().all(|subject| subject != name));
    outcome.add(&Outcome::check(gone, format!("`weft doctor --fix` leaves {left:?}")));
    for (name, _, right) in WRONG {
        let value = lab.shell("tor", &format!("cat {}", file(name)))?;
        outcome.add(&Outcome::check(value.trim() == right, format!("{name} is {} after --fix", value.trim())));
    }
    Ok(())
}

/// People and programs say what is announced.
fn told(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let has = |prefix: &'static str| move || Ok(!lab.links("tor", prefix)?.is_empty());
    let lacks = |prefix: &'static str| move || Ok(lab.links("tor", prefix)?.is_empty());
    let hold = |name: &str, state: &str| lab.ask("a", &["vip", "set", name, state]).map(drop);
    hold("told", "up")?;
    lab.until(outcome, "`weft vip set told up` announces", has("10.71.0.85/32"))?;
    hold("told", "down")?;
    lab.until(outcome, "`weft vip set told down` withdraws", lacks("10.71.0.85/32"))?;
    hold("http", "down")?;
    lab.until(outcome, "a service that is well is held down", lacks("10.71.0.81/32"))?;
    hold("http", "up")?;
    lab.until(outcome, "and follows its check again", has("10.71.0.81/32"))?;
    let reason = lab.vip("a", "broken", "reason")?;
    outcome.add(&Outcome::check(reason.contains("404"), format!("the reason of the broken service is `{reason}`")));
    lab.ask("a", &["route", "add", "10.64.9.0/27", "--owner", "cni", "--lease", "10"])?;
    lab.until(outcome, "a program's route is announced", has("10.64.9.0/27"))?;
    lab.until(outcome, "and goes when nobody renews its lease", lacks("10.64.9.0/27"))
}

/// What Coil does: a block of addresses in table 119.
fn table_119(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let change = |verb: &str| format!("ip route {verb} 10.64.4.0/27 dev lo table 119 proto 30");
    let (add, delete) = (change("add"), change("del"));
    let shown = "ip route show 10.64.4.0/27 | grep -q .";
    let gone = "! ip route show 10.64.4.0/27 | grep -q .";
    let came = || lab.delay(("a", &add), ("tor", shown));
    let undo = || lab.delay(("a", &delete), ("tor", gone)).map(drop);
    lab.timed(outcome, "a route comes to table 119 ▸ it is at the neighbour", came, undo)?;
    lab.shell("a", &add)?;
    lab.until(outcome, "the route is there again", || Ok(!lab.links("tor", "10.64.4.0/27")?.is_empty()))?;
    let went = || lab.delay(("a", &delete), ("tor", gone));
    let again = || lab.delay(("a", &add), ("tor", shown)).map(drop);
    lab.timed(outcome, "a route goes from table 119 ▸ the neighbour has it no more", went, again)
}

/// What the rogue announced, and the rule that refused it.
const LIES: [(&str, &str); 4] =
    [("0.0.0.0/0", "plan[3]"), ("10.71.0.80/32", "plan[4]"), ("10.69.0.1/32", "plan[5]"), ("10.69.0.67/32", "plan[0]")];

fn rogue(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for (prefix, rule) in LIES {
        let answer = lab.ask("tor", &["explain", prefix])?;
        let all = answer["refused"].as_array().cloned().unwrap_or_default();
        let named = all.iter().any(|refused| {
            refused["from"] == "rogue"
                && refused["prefix"] == prefix
                && refused["reason"].as_str().is_some_and(|reason| reason.contains(rule))
        });
        outcome.add(&Outcome::check(named, format!("{prefix}: not named as refused by {rule}: {}", answer["refused"])));
        let policy = lab.ask("tor", &["show", "policy"])?;
        let rules = policy["rules"].as_array().cloned().unwrap_or_default();
        let hits = rules.iter().find(|line| line["rule"] == rule).and_then(|line| line["hits"].as_u64());
        outcome.add(&Outcome::check(hits.is_some_and(|hits| hits > 0), format!("{rule} counts {hits:?}")));
    }
    let answer = lab.ask("tor", &["show", "neighbors", "rogue"])?;
    let refused = answer["neighbors"][0]["prefixes_rejected"].as_u64();
    // Four, and four more for each time that the session had to come up again.
    let counts = refused.is_some_and(|refused| refused >= 4 && refused % 4 == 0);
    outcome.add(&Outcome::check(counts, format!("the switch counts {refused:?} refused prefixes, not 4")));
    let taken = answer["neighbors"][0]["prefixes_received"]["ipv4"].as_u64();
    outcome.add(&Outcome::check(taken == Some(1), format!("the switch took {taken:?} prefixes, not 1")));
    Ok(())
}
