//! The stage `bfd`: sessions with BIRD and FRR over one hop, over several and unnumbered; then everything that can go wrong with them is
//! done to them, and what the daemon and its kernel make of it is looked at.
#![expect(clippy::disallowed_methods, reason = "polls daemons and kernels with a deadline")]

use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, Log, find_program};

/// Many times what all of them take where nothing else runs (four seconds), and a hold time.
const UP_LIMIT: Duration = Duration::from_secs(90);
/// Far more than the detection times, for a busy machine; but less than the hold time, which would find most of this too.
const FAIL_LIMIT: Duration = Duration::from_secs(5);
/// How long a session that broke may need to be back, once its peer is there again.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// A machine that is busy may hold up a peer for longer than was meant, which is a failure in its own right: what must be true of one
/// that was meant is tried again then, so many times.
const TRIES: usize = 5;
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
/// A neighbour, and the prefix that it announces.
const NEIGHBORS: [(&str, &str); 8] = [
    ("bird", "10.69.1.1"),
    ("frr", "10.69.1.2"),
    ("farbird", "10.69.1.3"),
    ("farfrr", "10.69.1.4"),
    ("link", "10.69.1.5"),
    ("linkfrr", "10.69.1.6"),
    ("calm", "10.69.1.7"),
    ("quick", "10.69.1.8"),
];

/// Brings the lab up, breaks it, and takes it down.
pub(crate) fn bfd(context: &Context) -> io::Result<Outcome> {
    let log = context.log("bfd")?;
    let missing = || ["bird", "bfdd", "nft"].iter().any(|program| find_program(program).is_none());
    if missing() && rustix::process::geteuid().is_root() && find_program("apt-get").is_some() {
        packages::install_each(context, &log, &["bird2", "frr", "nftables", "iproute2"])?;
    }
    if missing() {
        return Ok(Outcome::skipped("`bird`, FRR's `bfdd` or `nft` is not installed and could not be"));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let lab = Lab { context, log: &log, stage: &stage, name: format!("bfd-{}", std::process::id()) };
    let mut outcome = Outcome::default();
    if !lab.up()? {
        return Ok(Outcome::failed("the lab does not come up"));
    }
    for (what, check) in CHECKS {
        let held = check(&lab).unwrap_or_else(|error| Err(error.to_string()));
        outcome.add(&Outcome::check(held.is_ok(), format!("{what}: {}", held.err().unwrap_or_default())));
    }
    Ok(outcome)
}

/// What was there instead.
type Held = Result<(), String>;
type Check = fn(&Lab<'_>) -> io::Result<Held>;

/// Each leaves the lab as it found it.
const CHECKS: [(&str, Check); 10] = [
    ("every session comes up, at the interval that was agreed on", come_up),
    ("a second without the daemon breaks no session of 400 ms × 5", calm),
    ("it breaks one of 100 ms × 5, which is back within two seconds", quick),
    ("a peer that hangs is out of the kernel", hang),
    ("a link that carries nothing any more, with its carrier up, is out of the kernel", black_hole),
    ("a path over several hops that breaks ends the sessions", far_away),
    ("what a peer takes down on purpose has not failed", on_purpose),
    ("a neighbour of an unnumbered link is followed to another link-local address", moved),
    ("a peer that is restarted keeps its routes", restart),
    ("strict: without BFD no session", strict),
];

struct Lab<'a> {
    context: &'a Context,
    log: &'a Log,
    stage: &'a Stage,
    name: String,
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        // What is left is shown by the next `weft-lab`.
        let _ = self.log.run(&mut self.lab(&["down", &self.name]));
    }
}

impl Lab<'_> {
    fn lab(&self, words: &[&str]) -> Command {
        let mut command = self.context.command(&self.stage.folder.join("weft-lab"), words);
        command.current_dir(&self.stage.folder);
        command
    }

    fn up(&self) -> io::Result<bool> {
        let weft = self.stage.folder.join("weft").display().to_string();
        self.log.run(&mut self.lab(&["up", "topologies/bfd.clab.yml", "--weft", &weft, "--detach"]))
    }

    /// Runs a command in a node.
    fn exec(&self, node: &str, script: &str) -> io::Result<()> {
        let place = format!("{}/{node}", self.name);
        if self.log.run(&mut self.lab(&["exec", &place, "--", "sh", "-c", script]))? {
            return Ok(());
        }
        Err(io::Error::other(format!("{node}: `{script}` failed")))
    }

    /// What the daemon of `tor` answers.
    fn ask(&self, words: &[&str]) -> io::Result<Value> {
        let place = format!("{}/tor", self.name);
        let words = [&["--lab", &place, "--output", "json"], words].concat();
        let answer = self.context.command(&self.stage.folder.join("weft"), &words).output()?;
        serde_json::from_slice(&answer.stdout).map_err(io::Error::other)
    }

    /// The BFD session of a neighbour.
    fn session(&self, neighbor: &str) -> io::Result<Value> {
        Ok(named(&self.ask(&["show", "bfd"])?["sessions"], "neighbor", neighbor))
    }

    fn bgp_state(&self, neighbor: &str) -> io::Result<String> {
        let all = self.ask(&["show", "neighbors"])?;
        Ok(named(&all["neighbors"], "name", neighbor)["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether the kernel of `tor` has a route to a neighbour's prefix.
    fn routes(&self, neighbor: &str) -> io::Result<bool> {
        let prefix = NEIGHBORS.iter().find(|(name, _)| *name == neighbor).map_or("", |(_, prefix)| prefix);
        let place = format!("{}/tor", self.name);
        let words = ["exec", &place, "--", "ip", "-o", "route", "show", prefix, "proto", "77"];
        Ok(!self.lab(&words).output()?.stdout.is_empty())
    }

    /// What the history of a neighbour says of BFD, from a time of the daemon on (milliseconds).
    fn bfd_events(&self, neighbor: &str, from_ms: u64) -> io::Result<Vec<Value>> {
        let answer = self.ask(&["show", "neighbors", neighbor, "--history"])?;
        let all = answer["bfd"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|event| event["at_ms"].as_u64().is_some_and(|at| at >= from_ms)).collect())
    }

    /// Milliseconds since the daemon of `tor` began.
    fn now_ms(&self) -> io::Result<u64> {
        let answer = self.ask(&["show", "neighbors", "calm", "--history"])?;
        answer["now"].as_u64().map(|nanoseconds| nanoseconds / 1_000_000).ok_or_else(|| io::Error::other("no time"))
    }

    /// Until something holds, at most so long; else what was seen last.
    fn until(&self, limit: Duration, mut look: impl FnMut(&Self) -> io::Result<Held>) -> io::Result<Held> {
        let end = Instant::now() + limit;
        loop {
            let held = look(self)?;
            if held.is_ok() || Instant::now() > end {
                return Ok(held);
            }
            thread::sleep(POLL);
        }
    }

    fn until_up(&self, neighbor: &str, limit: Duration) -> io::Result<Held> {
        self.until(limit, |lab| {
            let (bfd, bgp) = (lab.session(neighbor)?, lab.bgp_state(neighbor)?);
            let is_up = bfd["state"] == "Up" && bgp == "Established";
            Ok(is_up.then_some(()).ok_or_else(|| format!("{neighbor}: BFD {}, BGP {bgp}", bfd["state"])))
        })
    }

    fn until_down(&self, neighbor: &str, limit: Duration) -> io::Result<Held> {
        self.until(limit, |lab| {
            let (bfd, routed) = (lab.session(neighbor)?, lab.routes(neighbor)?);
            let is_down = bfd["state"] != "Up" && !routed;
            Ok(is_down.then_some(()).ok_or_else(|| format!("{neighbor}: BFD {}, routed: {routed}", bfd["state"])))
        })
    }
}

fn named(all: &Value, key: &str, name: &str) -> Value {
    all.as_array().into_iter().flatten().find(|one| one[key] == name).cloned().unwrap_or_default()
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Held {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}

fn come_up(lab: &Lab<'_>) -> io::Result<Held> {
    for (neighbor, _) in NEIGHBORS {
        if let Err(instead) = lab.until_up(neighbor, UP_LIMIT)? {
            return Ok(Err(instead));
        }
        let interval_us: u64 = match neighbor {
            "calm" => 400_000,
            "quick" => 100_000,
            _ => 50_000,
        };
        let agreed = lab.until(FAIL_LIMIT, |lab| {
            let session = lab.session(neighbor)?;
            Ok(equal(neighbor, session["transmit_us"].as_u64(), Some(interval_us)))
        })?;
        if agreed.is_err() {
            return Ok(agreed);
        }
    }
    Ok(Ok(()))
}

/// Stops a neighbour's daemon for a second, as a machine does that is busy elsewhere: for how long in truth.
fn stall(lab: &Lab<'_>, neighbor: &str) -> io::Result<Duration> {
    let place = format!("{}/{neighbor}", lab.name);
    let script = "weft=$(pidof weft); begun=$(date +%s%N); kill -STOP $weft; sleep 1; kill -CONT $weft; \
                  echo $(( ($(date +%s%N) - begun) / 1000000 ))";
    let output = lab.lab(&["exec", &place, "--", "sh", "-c", script]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().map(Duration::from_millis).map_err(|_| io::Error::other(format!("{neighbor}: `{text}`")))
}

fn failures(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["failed"] == true).collect()
}

/// Two seconds of silence are what it takes to break the session; on a busy machine a stall may last that long.
fn calm(lab: &Lab<'_>) -> io::Result<Held> {
    let mut seen = Ok(());
    for _ in 0..TRIES {
        let begun = lab.now_ms()?;
        let lasted = stall(lab, "calm")?;
        let back = lab.until_up("calm", UP_LIMIT)?;
        if back.is_err() {
            return Ok(back);
        }
        let events = lab.bfd_events("calm", begun)?;
        if failures(&events).is_empty() {
            return Ok(Ok(()));
        }
        seen = Err(format!("a stall of {lasted:?} broke it: {events:?}"));
        // One that was about as long as it was meant to be must not, whatever else the machine does.
        if lasted < Duration::from_millis(1_200) {
            return Ok(seen);
        }
    }
    Ok(seen)
}

/// By the daemon's own clock, so that the time it takes to ask does not count: from the failure, which falls into the stall, to the
/// return.
fn quick(lab: &Lab<'_>) -> io::Result<Held> {
    let mut seen = Ok(());
    for _ in 0..TRIES {
        let begun = lab.now_ms()?;
        let lasted = stall(lab, "quick")?;
        let back = lab.until_up("quick", UP_LIMIT)?;
        if back.is_err() {
            return Ok(back);
        }
        let events = lab.bfd_events("quick", begun)?;
        let Some(failed) = failures(&events).first().and_then(|event| event["since_ms"].as_u64()) else {
            return Ok(Err(format!("a stall of {lasted:?} did not break it")));
        };
        let up = events.iter().rev().find(|event| event["state"] == "Up").and_then(|event| event["at_ms"].as_u64());
        let away = Duration::from_millis(up.unwrap_or(u64::MAX).saturating_sub(failed));
        if away <= lasted + BACK_WITHIN {
            return Ok(Ok(()));
        }
        seen = Err(format!("away for {away:?}, of which {lasted:?} stalled"));
    }
    Ok(seen)
}

fn hang(lab: &Lab<'_>) -> io::Result<Held> {
    lab.exec("bird", "kill -STOP $(pidof bird)")?;
    let down = lab.until_down("bird", FAIL_LIMIT)?;
    lab.exec("bird", "kill -CONT $(pidof bird)")?;
    let back = lab.until_up("bird", UP_LIMIT)?;
    Ok(down.and(back))
}

fn black_hole(lab: &Lab<'_>) -> io::Result<Held> {
    let rules = "nft add table netdev hole && \
                 nft add chain netdev hole arriving '{ type filter hook ingress device eth1 priority 0; policy drop; }'";
    lab.exec("link", rules)?;
    let down = lab.until_down("link", FAIL_LIMIT)?;
    lab.exec("link", "nft delete table netdev hole")?;
    let back = lab.until_up("link", UP_LIMIT)?;
    Ok(down.and(back))
}

fn far_away(lab: &Lab<'_>) -> io::Result<Held> {
    lab.exec("router", "echo 0 > /proc/sys/net/ipv4/ip_forward")?;
    let mut all = Ok(());
    for neighbor in ["farbird", "farfrr"] {
        all = all.and(lab.until_down(neighbor, FAIL_LIMIT)?);
    }
    lab.exec("router", "echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    for neighbor in ["farbird", "farfrr"] {
        all = all.and(lab.until_up(neighbor, UP_LIMIT)?);
    }
    Ok(all)
}

fn on_purpose(lab: &Lab<'_>) -> io::Result<Held> {
    let peer = "-c 'conf t' -c bfd -c 'peer 10.2.0.0 local-address 10.2.0.1 interface eth1'";
    let mut seen = Ok(());
    for _ in 0..TRIES {
        let begun = lab.now_ms()?;
        lab.exec("frr", &format!("vtysh {peer} -c shutdown"))?;
        let told =
            lab.until(FAIL_LIMIT, |lab| Ok(equal("BFD", lab.session("frr")?["state"].as_str(), Some("Down"))))?;
        let kept = lab.bgp_state("frr")? == "Established" && lab.routes("frr")?;
        let events = lab.bfd_events("frr", begun)?;
        lab.exec("frr", &format!("vtysh {peer} -c 'no shutdown'"))?;
        let back = lab.until_up("frr", UP_LIMIT)?;
        let meant = events.iter().filter(|event| event["cause"] == "neighbor_admin_down").count();
        let is_fault = |event: &&Value| event["cause"] == "neighbor_admin_down";
        let wrong = failures(&events).into_iter().filter(is_fault).count();
        let all = [told, equal("times taken down", meant, 1), equal("failures by that", wrong, 0), back];
        if let Err(instead) = all.into_iter().collect::<Held>() {
            return Ok(Err(format!("{instead}: {events:?}")));
        }
        // A path that failed meanwhile, because its other end was not let run, has ended the session.
        let disturbed = !failures(&events).is_empty();
        seen = equal("the session kept", kept, true).map_err(|instead| format!("{instead}: {events:?}"));
        if seen.is_ok() || !disturbed {
            return Ok(seen);
        }
    }
    Ok(seen)
}

/// The session goes with the address, and is back under the new one without anybody's doing.
fn moved(lab: &Lab<'_>) -> io::Result<Held> {
    let address = |lab: &Lab<'_>| -> io::Result<String> {
        let all = lab.ask(&["show", "neighbors", "link"])?;
        Ok(all["neighbors"][0]["address"].as_str().unwrap_or_default().to_owned())
    };
    lab.exec("link", "ip -6 address flush dev eth1 scope link && ip address add fe80::77/64 dev eth1 nodad")?;
    let found = lab.until(UP_LIMIT, |lab| Ok(equal("its address", address(lab)?.as_str(), "fe80::77")))?;
    let back = lab.until_up("link", UP_LIMIT)?;
    Ok(found.and(back))
}

/// RFC 5882 §4.3.2: the connection closes before BFD misses the peer, so this is a restart.
fn restart(lab: &Lab<'_>) -> io::Result<Held> {
    let node = format!("{}/link", lab.name);
    if !lab.log.run(&mut lab.lab(&["node", "kill", &node]))? {
        return Ok(Err("the daemon cannot be killed".to_owned()));
    }
    let down = lab.until(FAIL_LIMIT, |lab| Ok(equal("BFD", lab.session("link")?["state"].as_str(), Some("Down"))))?;
    let kept = lab.routes("link")?;
    if !lab.log.run(&mut lab.lab(&["node", "start", &node]))? {
        return Ok(Err("the daemon cannot be started".to_owned()));
    }
    let back = lab.until_up("link", UP_LIMIT)?;
    Ok([down, equal("the route kept", kept, true), back].into_iter().collect())
}

fn strict(lab: &Lab<'_>) -> io::Result<Held> {
    lab.exec("bird", "birdc -s /run/bird/bird.ctl disable bfd1")?;
    let down = lab.until_down("bird", FAIL_LIMIT)?;
    let end = Instant::now() + Duration::from_secs(3);
    let mut state = String::new();
    while state != "Established" && Instant::now() < end {
        state = lab.bgp_state("bird")?;
        thread::sleep(POLL);
    }
    let stays = if state == "Established" { Err("a session without BFD".to_owned()) } else { Ok(()) };
    lab.exec("bird", "birdc -s /run/bird/bird.ctl enable bfd1")?;
    let back = lab.until_up("bird", UP_LIMIT)?;
    Ok(down.and(stays).and(back))
}
