//! The stage of changed configurations: lab `reload`, in which two BIRDs write down what they hear while the router between them is
//! reloaded in every way, good and bad.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::run::{Context, find_program};
use crate::vip::Lab;

/// For whatever is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How often something is looked at.
const POLL: Duration = Duration::from_millis(50);
/// The time to confirm in this lab.
const CONFIRM: &str = "4s";

/// Runs the lab.
pub(crate) fn reload(context: &Context) -> io::Result<Outcome> {
    let log = context.log("reload")?;
    let may_install = rustix::process::geteuid().is_root() && find_program("apt-get").is_some();
    if find_program("bird").is_none() && may_install {
        packages::install_each(context, &log, &["bird2", "iproute2"])?;
    }
    if find_program("bird").is_none() {
        return Ok(Outcome::skipped("reload: `bird` is not installed: `apt-get install bird2`"));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let name = format!("reload-{}", std::process::id());
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name };
    let mut outcome = Outcome::default();
    if !lab.up("reload")? {
        outcome.add(&Outcome::failed("lab reload does not come up as expected"));
    } else if let Err(error) = scenario(&lab, &mut outcome) {
        outcome.add(&Outcome::failed(format!("lab reload: {error}")));
    }
    lab.down()?;
    Ok(outcome)
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("tor", "cp /etc/lab/tor.yaml /run/weft/now.yaml && mount --bind /run/weft/now.yaml /etc/weft/weft.yaml")?;
    lab.shell("tor", "weft monitor configuration > /run/weft/monitored 2>&1 & echo $! > /run/weft/monitor")?;
    let monitored = || lab.shell("tor", "cat /run/weft/monitored || true");
    lab.until(outcome, "somebody watches", || Ok(monitored()?.contains("from now on")))?;
    nothing(lab, outcome)?;
    planned_and_done(lab, outcome)?;
    refused(lab, outcome)?;
    broken(lab, outcome)?;
    on_probation(lab, outcome)?;
    allowed(lab, outcome)?;
    lab.shell("tor", "kill $(cat /run/weft/monitor)")?;
    watched(outcome, &monitored()?);
    Ok(())
}

/// Who watches hears of every reload, and what became of it, in the order of the above; one that changes nothing is none.
fn watched(outcome: &mut Outcome, text: &str) {
    let mut lines = text.lines().skip(1);
    let events = [
        "configuration reloaded: ",
        "configuration reloaded: ",
        "configuration not reloaded: ",
        "configuration not reloaded: ",
        "there is no policy `nowhere`",
        "to be confirmed within",
        "waits for its confirmation",
        "configuration not confirmed in time, the earlier one is back: ",
        "to be confirmed within",
        "configuration confirmed",
        "configuration reloaded: ",
    ];
    let lacks = events.iter().find(|words| !lines.next().is_some_and(|line| line.contains(**words)));
    check(outcome, lacks.is_none(), format!("`weft monitor` lacks {lacks:?}: {text}"));
    check(outcome, lines.next().is_none(), format!("`weft monitor` says more: {text}"));
}

/// Writes the file as the lab began with it, changed by an expression of sed.
fn write(lab: &Lab<'_>, change: &str) -> io::Result<()> {
    lab.shell("tor", &format!("sed '{change}' /etc/lab/tor.yaml > /run/weft/now.yaml")).map(drop)
}

/// What `weft reload …` says, and its exit code.
fn weft_reload(lab: &Lab<'_>, options: &str) -> io::Result<(String, bool)> {
    let text = lab.shell("tor", &format!("weft reload {options} 2>&1; echo \"exit $?\""))?;
    let (said, code) = text.rsplit_once("exit ").ok_or_else(|| io::Error::other("the shell says no exit code"))?;
    Ok((said.to_owned(), code.trim() == "0"))
}

/// Messages that a BIRD got so far: keepalives, and all others.
fn heard(lab: &Lab<'_>, node: &str) -> io::Result<(u64, u64)> {
    let count = |filter: &str| -> io::Result<u64> {
        let text = lab.shell(node, &format!("grep 'tor: Got ' /run/weft/daemon.log | {filter} || true"))?;
        text.trim().parse().map_err(io::Error::other)
    };
    Ok((count("grep -c KEEPALIVE")?, count("grep -cv KEEPALIVE")?))
}

/// What a BIRD got beside keepalives, once another keepalive came: what was sent before that has arrived by then.
fn heard_since(lab: &Lab<'_>, node: &str) -> io::Result<u64> {
    let (before, _) = heard(lab, node)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let (keepalives, others) = heard(lab, node)?;
        if keepalives > before {
            return Ok(others);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("{node}: no keepalive any more")));
        }
        std::thread::sleep(POLL);
    }
}

fn has(lab: &Lab<'_>, node: &str, prefix: &str) -> io::Result<bool> {
    Ok(lab.shell(node, "birdc show route")?.contains(prefix))
}

fn check(outcome: &mut Outcome, holds: bool, what: impl Into<String>) {
    outcome.add(&Outcome::check(holds, what));
}

/// The file as it is: nobody hears anything.
fn nothing(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let before = [heard_since(lab, "a")?, heard_since(lab, "b")?];
    let (said, done) = weft_reload(lab, "")?;
    check(outcome, done && said.contains("nothing is different"), format!("a reload of the same file says: {said}"));
    let after = [heard_since(lab, "a")?, heard_since(lab, "b")?];
    outcome
        .notes
        .push(format!("a reload that changes nothing: {} messages", after[0] + after[1] - before[0] - before[1]));
    check(
        outcome,
        before == after,
        format!("messages after a reload that changes nothing: {before:?}, then {after:?}"),
    );
    Ok(())
}

/// Another export policy for one of both: said before, and heard by that one alone.
fn planned_and_done(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    write(lab, "s|out_a: .*|out_a: [{match: {prefix: 10.80.0.0/16}, then: reject}, {then: accept}]|")?;
    let before = [heard_since(lab, "a")?, heard_since(lab, "b")?];
    let plan = lab.ask("tor", &["reload", "--plan"])?;
    let of = |name: &str| -> Value {
        let all = plan["peers"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|peer| peer["name"] == name).unwrap_or_default()
    };
    let routes = &of("a")["routes"];
    let as_planned = of("a")["action"] == "refresh"
        && of("a")["tells"] == true
        && of("b")["action"] == "nothing"
        && routes["withdrawn"]["count"] == 1
        && routes["withdrawn"]["first"][0] == "10.80.0.0/16"
        && routes["told"]["count"] == 0;
    check(outcome, as_planned, format!("the plan of another export policy of a: {plan}"));
    check(outcome, [heard_since(lab, "a")?, heard_since(lab, "b")?] == before, "a plan was heard");
    let (text, done) = weft_reload(lab, "--plan")?;
    check(outcome, done && text.contains("no longer told"), format!("the plan as text: {text}"));
    let (said, done) = weft_reload(lab, "")?;
    check(outcome, done, format!("the reload is refused: {said}"));
    lab.until(outcome, "a loses what its new policy rejects", || Ok(!has(lab, "a", "10.80.0.0/16")?))?;
    check(outcome, has(lab, "a", "10.22.0.0/24")?, "a lost more than that");
    check(outcome, heard_since(lab, "b")? == before[1], "b heard of a's policy");
    write(lab, "")?;
    weft_reload(lab, "")?;
    lab.until(outcome, "a has it again", || has(lab, "a", "10.80.0.0/16"))
}

/// What would end a session is refused, by word and by signal, and nothing of it is applied.
fn refused(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let before = [heard_since(lab, "a")?, heard_since(lab, "b")?];
    write(lab, "s|import: in_b|hold_s: 30, import: in_b|; s|10.80.0.0/16|10.81.0.0/16|")?;
    let (said, done) = weft_reload(lab, "")?;
    let names = ["b (hold_s 9 → 30)", "--allow-reset"].iter().all(|word| said.contains(word));
    check(outcome, !done && names, format!("a reload that resets b says: {said}"));
    lab.shell("tor", "kill -HUP $(weft show version --output json | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')")?;
    lab.until(outcome, "the log says that the signal is refused too", || {
        let refusals =
            lab.shell("tor", "grep -c 'not reloaded.*sessions that stand would end' /run/weft/daemon.log || true")?;
        Ok(refusals.trim() == "2")
    })?;
    check(outcome, [heard_since(lab, "a")?, heard_since(lab, "b")?] == before, "a refused reload was heard");
    check(outcome, !has(lab, "a", "10.81.0.0/16")?, "a part of a refused reload is in force");
    Ok(())
}

/// A file that is wrong disturbs nobody, and is named with line, field and remedy.
fn broken(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let before = [heard_since(lab, "a")?, heard_since(lab, "b")?];
    write(lab, "s|import: in_b|import: nowhere|")?;
    for options in ["", "--plan"] {
        let (said, done) = weft_reload(lab, options)?;
        let words = ["weft.yaml:6:", "peers.b.import", "there is no policy `nowhere`", "policies of this file"];
        let whole = words.iter().all(|word| said.contains(word));
        check(outcome, !done && whole, format!("`weft reload {options}` of a wrong file says: {said}"));
    }
    check(outcome, [heard_since(lab, "a")?, heard_since(lab, "b")?] == before, "a wrong file was heard");
    Ok(())
}

/// A reload that nobody confirms goes again by itself; one that is confirmed stays.
fn on_probation(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    write(lab, "s|out_b: .*|out_b: [{match: {prefix: 10.80.0.0/16}, then: reject}, {then: accept}]|")?;
    let history = |words: &str| -> io::Result<bool> { Ok(lab.shell("tor", "weft show history")?.contains(words)) };
    let (said, done) = weft_reload(lab, &format!("--confirm-within {CONFIRM}"))?;
    check(outcome, done && said.contains("--confirm"), format!("a reload on probation says: {said}"));
    let (said, done) = weft_reload(lab, "")?;
    check(outcome, !done && said.contains("waits for its confirmation"), format!("a second reload says: {said}"));
    let version = lab.shell("tor", "weft show version")?;
    check(
        outcome,
        version.contains("the earlier configuration comes back in"),
        format!("show version says: {version}"),
    );
    lab.until(outcome, "b loses what the new policy rejects", || Ok(!has(lab, "b", "10.80.0.0/16")?))?;
    lab.until(outcome, "nobody confirms: b has it again", || has(lab, "b", "10.80.0.0/16"))?;
    check(outcome, history("not confirmed in time")?, "the history does not say that it was rolled back");
    let (said, done) = weft_reload(lab, "--confirm")?;
    check(outcome, !done, format!("a confirmation that comes too late says: {said}"));
    let (said, done) = weft_reload(lab, "--confirm-within 60s")?;
    check(outcome, done, format!("the second trial says: {said}"));
    lab.until(outcome, "b loses it again", || Ok(!has(lab, "b", "10.80.0.0/16")?))?;
    let (said, done) = weft_reload(lab, "--confirm")?;
    check(outcome, done && history("configuration confirmed")?, format!("the confirmation says: {said}"));
    let version = lab.ask("tor", &["show", "version"])?;
    check(outcome, version["reload"]["outcome"] == "confirmed", format!("show version says: {version}"));
    Ok(())
}

/// A reset that is allowed is done, to that peer alone.
fn allowed(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let sessions = |node: &str| -> io::Result<u64> {
        let answer = lab.ask("tor", &["show", "neighbors", node])?;
        Ok(answer["neighbors"][0]["established"].as_u64().unwrap_or_default())
    };
    let before = [sessions("a")?, sessions("b")?];
    write(lab, "s|import: in_b|hold_s: 30, import: in_b|")?;
    let (said, done) = weft_reload(lab, "--allow-reset")?;
    check(outcome, done, format!("a reset that is allowed says: {said}"));
    lab.until(outcome, "b has a new session with the new hold time", || {
        let state = lab.shell("b", "birdc show protocols all tor")?;
        Ok(sessions("b")? > before[1] && state.contains("Established"))
    })?;
    check(outcome, sessions("a")? == before[0], "a lost its session too");
    // It may meet the new connection before it reads why the old one ends, as weft dials at once.
    let opens = lab.shell("b", "grep -c 'Got OPEN.*hold=30' /run/weft/daemon.log || true")?;
    check(outcome, opens.trim() == "1", format!("b saw {} OPENs with the new hold time", opens.trim()));
    let history = lab.shell("tor", "weft show history")?;
    check(outcome, history.contains("b: session down: sent Other Configuration Change (6/6)"), history);
    Ok(())
}
