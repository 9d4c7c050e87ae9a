//! The stage of what a daemon gives up: lab `confined`, whose `host` is looked at thread by thread, after its start and after an upgrade;
//! what its kernel refuses it, what its commands may, and what it says of all that.

use std::io;

use serde_json::Value;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::run::Context;
use crate::vip::Lab;

/// CAP_NET_BIND_SERVICE and CAP_NET_ADMIN: nothing in the lab needs raw sockets.
const KEPT: &str = "0000000000001400";
/// Of nobody's.
const NONE: &str = "0000000000000000";
/// Each thread's line, and what must stand there.
const THREADS: [(&str, &str); 6] =
    [("CapEff", KEPT), ("CapPrm", KEPT), ("CapBnd", KEPT), ("CapAmb", NONE), ("NoNewPrivs", "1"), ("Seccomp", "2")];
/// Scheduling of a thread in its `stat`, counted from its state (proc_pid_stat(5): fields 40 and 41).
const PRIORITY_AND_POLICY: std::ops::Range<usize> = 37..39;

/// Runs the lab.
pub(crate) fn sandbox(context: &Context) -> io::Result<Outcome> {
    let log = context.log("sandbox")?;
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::skipped("sandbox: who is not root has nothing to give up, and no real time"));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let name = format!("confined-{}", std::process::id());
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name };
    let mut outcome = Outcome::default();
    if !lab.up("confined")? {
        outcome.add(&Outcome::failed("lab confined does not come up as expected"));
    } else if let Err(error) = scenario(&lab, &mut outcome) {
        outcome.add(&Outcome::failed(format!("lab confined: {error}")));
    }
    lab.down()?;
    Ok(outcome)
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell(
        "host",
        "cp /etc/lab/host.yaml /run/weft/now.yaml && mount --bind /run/weft/now.yaml /etc/weft/weft.yaml",
    )?;
    held(lab, outcome, "after its start")?;
    refused(lab, outcome)?;
    let established = sessions(lab)?;
    lab.shell("host", "weft upgrade")?;
    held(lab, outcome, "after an upgrade")?;
    refused(lab, outcome)?;
    outcome.add(&Outcome::check(sessions(lab)? == established, "the session was lost"));
    unreadable_program(lab, outcome)?;
    switched_off(lab, outcome)
}

fn version(lab: &Lab<'_>) -> io::Result<Value> {
    lab.ask("host", &["show", "version"])
}

/// How often the session of `host` was Established and lost.
fn sessions(lab: &Lab<'_>) -> io::Result<[Value; 2]> {
    let neighbors = lab.ask("tor", &["show", "neighbors"])?;
    Ok(["established", "dropped"].map(|key| neighbors["neighbors"][0][key].clone()))
}

/// Each thread has what is needed and no more, BFD's is scheduled in real time, the socket is its group's, and checks run.
fn held(lab: &Lab<'_>, outcome: &mut Outcome, when: &str) -> io::Result<()> {
    let mut check = |holds: bool, what: String| outcome.add(&Outcome::check(holds, format!("{when}: {what}")));
    let version = version(lab)?;
    let pid = &version["pid"];
    let statuses = lab.shell("host", &format!("cat /proc/{pid}/task/*/status"))?;
    let threads: Vec<&str> = statuses.split("Name:").skip(1).collect();
    check(threads.len() >= 3, format!("{} threads are too few to be all", threads.len()));
    for (field, wanted) in THREADS {
        let has = |thread: &&str| {
            let line = thread.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.is_some_and(|value| value.trim() == wanted)
        };
        let other: Vec<&str> = threads.iter().filter(|thread| !has(thread)).map(|thread| thread.trim()).collect();
        check(other.is_empty(), format!("{field} is not {wanted} in {other:?}"));
    }
    let stats = lab.shell("host", &format!("cat /proc/{pid}/task/*/stat"))?;
    for stat in stats.lines() {
        let (name, rest) = stat.rsplit_once(") ").unwrap_or_default();
        let fields: Vec<&str> = rest.split(' ').collect();
        let wanted = if name.ends_with("(bfd") { ["10", "1"] } else { ["0", "0"] };
        let found = fields.get(PRIORITY_AND_POLICY).unwrap_or_default();
        check(found == wanted, format!("a thread is scheduled otherwise than {wanted:?}: {stat}"));
    }
    check(stats.contains("(bfd)"), "BFD has no thread".to_owned());
    let mode = lab.shell("host", "stat -c '%a %U %G' /run/weft/weft.sock")?;
    check(mode.trim() == "660 root daemon", format!("the API socket has mode, owner and group {mode}"));
    let asked = |group: &str| {
        let words =
            format!("setpriv --reuid nobody --regid {group} --clear-groups weft show version 2>&1; echo \"exit $?\"");
        lab.shell("host", &words)
    };
    let (one_of_them, stranger) = (asked("daemon")?, asked("nogroup")?);
    check(one_of_them.ends_with("exit 0\n"), format!("one of the group cannot use it: {one_of_them}"));
    check(stranger.ends_with("exit 3\n"), format!("somebody else may use it: {stranger}"));
    let sandbox = &version["sandbox"];
    let says = sandbox["landlock"] == true && sandbox["seccomp"] == true && sandbox["no_new_privs"] == true;
    check(says && sandbox["missing"].is_null(), format!("it says of itself: {sandbox}"));
    let health = lab.ask("host", &["show", "health"])?;
    let line = health["checks"].as_array().into_iter().flatten().find(|check| check["name"] == "sandbox");
    check(line.is_some_and(|line| line["state"] == "ok"), format!("health says: {line:?}"));
    lab.shell("host", "rm -f /tmp/checked")?;
    lab.until(outcome, "a command of `nobody` runs, without capabilities, and writes a file of its own", || {
        Ok(lab.shell("host", "cat /tmp/checked 2>/dev/null || true")?.trim() == "done")
    })?;
    lab.until(outcome, "a command of `root` runs, without capabilities", || {
        let vips = lab.ask("host", &["show", "vips"])?;
        Ok(vips["vips"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|vip| vip["state"] == "up")))
    })
}

/// What `weft reload` says of the lab's file, changed by an expression of sed; and its exit code.
fn reload(lab: &Lab<'_>, change: &str) -> io::Result<(String, bool)> {
    lab.shell("host", &format!("sed '{change}' /etc/lab/host.yaml > /run/weft/now.yaml"))?;
    let text = lab.shell("host", "weft reload 2>&1; echo \"exit $?\"")?;
    let (said, code) = text.rsplit_once("exit ").ok_or_else(|| io::Error::other("the shell says no exit code"))?;
    Ok((said.to_owned(), code.trim() == "0"))
}

/// A configuration that needs more is refused with the remedy, by us or by the kernel; one that does not is put into force.
fn refused(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let key = |place: &str| format!("s,/etc/weft/keys/key,{place},");
    // What the link leads to is no business of ours: its folder is known, and so only the kernel can refuse it.
    lab.shell(
        "host",
        "echo secret > /tmp/secret; ln -sf /tmp/secret /run/weft/link; cp /etc/weft/keys/key /run/weft/key",
    )?;
    for (change, words) in [
        (key("/tmp/secret"), "/tmp/secret is in none of the folders that were known at the start"),
        (key("/run/weft/link"), "Permission denied"),
        ("s,/run/weft/dump/,/var/log/,".to_owned(), "mrt.updates: /var/log/updates.mrt is in none"),
        ("$auplinks: [eth9]".to_owned(), "the unnumbered peer on eth9 needs CAP_NET_RAW"),
        ("$asandbox: {landlock: false}".to_owned(), "`sandbox` changed"),
    ] {
        let before = version(lab)?["sandbox"]["refused"].as_u64().unwrap_or_default();
        let (said, done) = reload(lab, &change)?;
        outcome.add(&Outcome::check(!done && said.contains(words), format!("`{change}` is answered with: {said}")));
        if words != "Permission denied" {
            outcome.add(&Outcome::check(said.contains("restart the daemon"), format!("no remedy: {said}")));
            let after = version(lab)?["sandbox"]["refused"].as_u64().unwrap_or_default();
            outcome.add(&Outcome::check(after == before + 1, format!("refused {before} times, and then {after}")));
        }
    }
    let (said, done) = reload(lab, "s/group: daemon/group: bin/")?;
    let is_refused = !done && said.contains("`api` changed") && said.contains("restart the daemon");
    outcome.add(&Outcome::check(is_refused, format!("another group is answered with: {said}")));
    // The same key at another place, and another command: there is someone to run it.
    let (said, done) = reload(lab, &format!("{}; s,echo done,echo again,", key("/run/weft/key")))?;
    outcome.add(&Outcome::check(done, format!("what it may do is refused: {said}")));
    lab.until(outcome, "a command that a reload brought runs", || {
        Ok(lab.shell("host", "cat /tmp/checked")?.trim() == "again")
    })?;
    let (said, done) = reload(lab, "")?;
    outcome.add(&Outcome::check(done, format!("going back is refused: {said}")));
    Ok(())
}

/// A program that may not be read cannot take over, and the answer says why.
fn unreadable_program(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("host", "mkdir -p /tmp/other && cp /run/lab/weft /tmp/other/weft")?;
    let said = lab.shell("host", "weft upgrade /tmp/other/weft 2>&1; echo \"exit $?\"")?;
    let is_refused =
        said.contains("exit 1") && said.contains("/tmp/other/weft") && said.contains("reads programs in /usr");
    outcome.add(&Outcome::check(is_refused, format!("`weft upgrade /tmp/other/weft` says: {said}")));
    Ok(())
}

/// With every part switched off the kernel shows it, and so do we.
fn switched_off(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("host", "(cat /etc/lab/host.yaml; echo 'sandbox: {capabilities: false, landlock: false, seccomp: false}') > /run/weft/now.yaml")?;
    lab.node("kill", "host")?;
    lab.node("start", "host")?;
    lab.until(outcome, "the daemon is back", || Ok(version(lab).is_ok()))?;
    let version = version(lab)?;
    let status = lab.shell("host", &format!("cat /proc/{}/status", version["pid"]))?;
    let is_filtered = status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2'));
    let sandbox = &version["sandbox"];
    let says = sandbox["landlock"] == false
        && sandbox["seccomp"] == false
        && sandbox["off"].as_array().is_some_and(|off| off.len() == 3);
    outcome.add(&Outcome::check(!is_filtered && says, format!("switched off, it says: {sandbox}")));
    let (said, done) = reload_as_it_is(lab)?;
    outcome.add(&Outcome::check(done, format!("a key anywhere is refused: {said}")));
    Ok(())
}

/// With a key in a folder that the confined daemon could not open.
fn reload_as_it_is(lab: &Lab<'_>) -> io::Result<(String, bool)> {
    lab.shell("host", "cp /etc/weft/keys/key /tmp/key; sed -i 's,/etc/weft/keys/key,/tmp/key,' /run/weft/now.yaml")?;
    let text = lab.shell("host", "weft reload 2>&1; echo \"exit $?\"")?;
    let (said, code) = text.rsplit_once("exit ").ok_or_else(|| io::Error::other("the shell says no exit code"))?;
    Ok((said.to_owned(), code.trim() == "0"))
}
