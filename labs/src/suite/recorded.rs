//! The stage `recorded`: the lab of that name, in which a switch and a host are recorded while links break, daemons die, and the switch is
//! reloaded, drained and upgraded; every recording must do the same again. Then what `weft-lab plan --live` says of the same lab.

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use crate::count::Outcome;
use crate::interop::Stage;
use crate::run::Context;
use crate::vip::Lab;

/// Every neighbor of the switch is there.
const WELL: &str = "3 of 3 neighbors Established";

/// Runs the lab.
pub(crate) fn recorded(context: &Context) -> io::Result<Outcome> {
    let log = context.log("recorded")?;
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let name = format!("recorded-{}", std::process::id());
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name };
    let mut outcome = Outcome::default();
    if !lab.up("recorded")? {
        outcome.add(&Outcome::failed("lab recorded does not come up as expected"));
    } else if let Err(error) = scenario(&lab, &mut outcome) {
        outcome.add(&Outcome::failed(format!("lab recorded: {error}")));
    }
    lab.down()?;
    Ok(outcome)
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    again(lab, outcome, "tor", "start", &["\"begin\"", "\"received\""])?;
    broken(lab, outcome)?;
    lab.shell("tor", "cp /etc/lab/tor.yaml /run/weft/now.yaml && mount --bind /run/weft/now.yaml /etc/weft/weft.yaml")?;
    // `unreachable`: what is announced and nobody has would go round between the switch and the spine, and the plan below would say so
    let lines = "originate: [10.99.0.0/24]\\nfib: {unreachable: [10.99.0.0/24]}\\n";
    lab.shell("tor", &format!("printf '{lines}' >> /run/weft/now.yaml && weft reload"))?;
    lab.shell("tor", "weft drain --interface eth3 && weft undrain --interface eth3")?;
    lab.until(outcome, "the host is told of the reload", || shows(lab, "host2", "weft show routes", "10.99.0.0/24"))?;
    again(lab, outcome, "tor", "events", &["LinkDown", "\"reload\"", "\"Drain\"", "\"Bfd\""])?;
    again(lab, outcome, "host2", "host", &["Checked"])?;
    lab.shell("tor", "weft upgrade")?;
    lab.until(outcome, "the upgraded switch has its neighbors", || shows(lab, "tor", "weft show neighbors", WELL))?;
    let file = again(lab, outcome, "tor", "upgrade", &["Handed"])?;
    changed(lab, outcome, file)?;
    let spine = record(lab, "spine", "spine")?.0;
    let said = String::from_utf8_lossy(&spine.stderr).into_owned();
    check(outcome, spine.status.code() == Some(1) && said.contains("`record: {memory_mb: 16}`"), said);
    planned(lab, outcome)
}

/// A link goes and comes, a neighbor dies and comes back, a service becomes well.
fn broken(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let link = |what: &str| lab.log.run(&mut lab.lab_command(&["link", what, &lab.name, "tor:eth1"]));
    link("down")?;
    lab.until(outcome, "the lost link is noticed", || Ok(!shows(lab, "tor", "weft show neighbors", WELL)?))?;
    link("up")?;
    lab.node("kill", "host1")?;
    lab.node("start", "host1")?;
    lab.shell("host2", "touch /run/weft/well")?;
    lab.until(outcome, "everybody is back", || shows(lab, "tor", "weft show neighbors", WELL))?;
    lab.until(outcome, "the service is announced", || shows(lab, "tor", "weft show routes", "10.72.48.2/32"))
}

fn shows(lab: &Lab<'_>, node: &str, line: &str, words: &str) -> io::Result<bool> {
    Ok(lab.shell(node, &format!("{line} || true"))?.contains(words))
}

fn check(outcome: &mut Outcome, held: bool, what: impl Into<String>) {
    outcome.add(&Outcome::check(held, what));
}

/// `weft record`, from outside of the lab.
fn record(lab: &Lab<'_>, node: &str, what: &str) -> io::Result<(Output, PathBuf)> {
    let file = lab.folder.join(format!("{what}.rec"));
    let place = format!("{}/{node}", lab.name);
    let mut command = lab.context.command(&lab.folder.join("weft"), &["--lab", &place, "record"]);
    Ok((command.arg(&file).stdin(Stdio::null()).output()?, file))
}

/// Takes a recording, in which these words stand, and does it again.
fn again(lab: &Lab<'_>, outcome: &mut Outcome, node: &str, what: &str, words: &[&str]) -> io::Result<PathBuf> {
    let (taken, file) = record(lab, node, what)?;
    check(outcome, taken.status.success(), format!("{what}: {}", String::from_utf8_lossy(&taken.stderr)));
    let text = std::fs::read_to_string(&file)?;
    let lacks: Vec<&&str> = words.iter().filter(|words| !text.contains(**words)).collect();
    check(outcome, lacks.is_empty(), format!("{what}: the recording lacks {lacks:?}"));
    let output = lab.lab_command(&["replay", &file.to_string_lossy()]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_same =
        output.status.success() && said.starts_with(&format!("{node}: replayed ")) && said.contains(": the same");
    check(outcome, is_same, format!("{what}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    Ok(file)
}

/// A prefix that the kernel was told, changed in the recording, is found.
fn changed(lab: &Lab<'_>, outcome: &mut Outcome, file: PathBuf) -> io::Result<()> {
    let text = std::fs::read_to_string(&file)?.replace("\"prefix\":\"10.72.0.0/16\"", "\"prefix\":\"10.72.0.0/17\"");
    std::fs::write(&file, text)?;
    let output = lab.lab_command(&["replay", &file.to_string_lossy()]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_found =
        output.status.code() == Some(1) && said.contains("changes for the kernel: not the same\n  recorded  ");
    check(outcome, is_found, format!("a changed recording: {said}"));
    Ok(())
}

/// What a change would do to the lab as it runs.
fn planned(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let now = lab.shell("tor", "cat /etc/weft/weft.yaml")?;
    let file = lab.folder.join("tor-now.yaml");
    let other = lab.folder.join("tor-other.yaml");
    std::fs::write(&file, &now)?;
    let away = "host2: {interface: eth3, remote_asn: external, group: servers";
    std::fs::write(&other, now.replace(away, &format!("{away}, shutdown: true")))?;
    let plan = |file: &PathBuf| -> io::Result<(Option<i32>, String)> {
        let config = format!("tor={}", file.display());
        let output = lab.lab_command(&["plan", "--live", &lab.name, "--config", &config]).output()?;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        Ok((output.status.code(), said))
    };
    let (code, said) = plan(&file)?;
    check(outcome, code == Some(0) && said.contains(" 0 lost, 0 new, 0 moved"), format!("no change: {code:?} {said}"));
    let (code, said) = plan(&other)?;
    check(outcome, code == Some(1) && said.contains("host2 IPv4"), format!("a host is cut off: {code:?} {said}"));
    lab.shell("spine", "weft drain")?;
    lab.until(outcome, "a drained spine is not what its configuration says", || {
        let (code, said) = plan(&file)?;
        Ok(code == Some(2) && said.contains("the model is not the live fabric") && said.contains("tor: 10.72.0.0/16"))
    })
}
