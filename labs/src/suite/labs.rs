//! The stage of containerlab's files: every one of `topologies/clab` is brought up as it is, checked and taken down, some of them again
//! as an ordinary user, and broken ones leave nothing behind.

use std::io;

use crate::count::Outcome;
use crate::interop::{Stage, unusable};
use crate::run::{Context, find_program};

/// The files, and the programs that they need beside weft.
const FILES: [(&str, &[&str]); 13] = [
    ("clos2", &[]),
    ("clos3", &[]),
    ("clos5", &[]),
    ("ring", &[]),
    ("hosts", &["ip"]),
    ("start", &[]),
    ("lan", &["bird", "ip"]),
    ("unnumbered-frr", &["zebra"]),
    ("route-reflector", &["bird", "zebra"]),
    ("dual-stack", &["bird", "zebra", "ip"]),
    ("cilium", &["zebra", "gobgpd", "ip"]),
    ("metallb", &["zebra", "ip"]),
    ("vendors", &["bird", "zebra", "gobgpd", "exabgp"]),
];

/// Those that an ordinary user runs too: other mounts, other rights.
const ORDINARY: [&str; 3] = ["clos2", "start", "lan"];

/// Runs them all.
pub(crate) fn labs(context: &Context) -> io::Result<Outcome> {
    let log = context.log("labs")?;
    let is_root = rustix::process::geteuid().is_root();
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let mut outcome = Outcome::default();
    for (name, programs) in FILES {
        if let Some(why) = programs.iter().find_map(|program| unusable(program, is_root)) {
            outcome.add(&Outcome::skipped(format!("{name}: {why}")));
            continue;
        }
        outcome.add(&stage.verify(context, &log, &format!("clab/{name}"), &[], false)?);
        if is_root && ORDINARY.contains(&name) {
            outcome.add(&if find_program("setpriv").is_some() {
                stage.verify(context, &log, &format!("clab/{name}"), &[], true)?
            } else {
                Outcome::skipped(format!("{name} as an ordinary user: `setpriv` (util-linux) is not here"))
            });
        }
    }
    outcome.add(&refused(context, &stage)?);
    Ok(outcome)
}

/// A file that cannot run says so for every node, and leaves nothing behind.
fn refused(context: &Context, stage: &Stage) -> io::Result<Outcome> {
    let file = stage.folder.join("refused.clab.yml");
    let name = format!("refused-{}", std::process::id());
    std::fs::write(
        &file,
        format!(
            "name: {name}\ntopology:\n  nodes:\n    a: {{kind: linux, image: alpine, binds: ['no-such-file:/etc/x']}}\n    \
             b: {{kind: linux, image: ./no-such-image.tar}}\n"
        ),
    )?;
    let program = stage.folder.join("weft-lab");
    let mut command = context.command(&program, &["up", "--detach", &file.display().to_string()]);
    let output = command.current_dir(&stage.folder).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let listed = ["a: there is no", "b: there is no", "docker save"].iter().all(|part| said.contains(part));
    let mut outcome =
        Outcome::check(!output.status.success() && listed, format!("two nodes that cannot run are not listed: {said}"));
    let shown = context.command(&program, &["down", &name]).output()?;
    let gone = String::from_utf8_lossy(&shown.stderr).contains("not running");
    outcome.add(&Outcome::check(gone, "a refused lab left something behind"));
    Ok(outcome)
}
