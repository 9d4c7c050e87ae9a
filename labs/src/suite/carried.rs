//! What of the ToR goes on over an upgrade beside its sessions: what checks of services have said, events, who watches, and the name of the
//! process. Part of stage `restart`.

use std::io;

use crate::count::Outcome;
use crate::vip::Lab;

/// One that is well, and one whose check passes again: it rises after so many results that it does not within this test.
const SERVICES: &str = "vips:\n  well: {address: 10.71.0.1/32, check: {file: /run/weft/well, every: 200ms}}\n  \
    held: {address: 10.71.0.2/32, check: {file: /run/weft/held, every: 200ms, rise: 100000}}\n";

/// Services, and somebody who watches.
pub(super) fn begin(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let write = format!(
        "cp /etc/weft/weft.yaml /run/weft/now.yaml; printf '{SERVICES}' >> /run/weft/now.yaml; touch /run/weft/well; \
         mount --bind /run/weft/now.yaml /etc/weft/weft.yaml; weft reload"
    );
    lab.shell("tor", &write)?;
    lab.until(outcome, "one service of tor is up and one is down", || {
        Ok(states(lab)? == ["down false".to_owned(), "up true".to_owned()])
    })?;
    lab.shell("tor", "touch /run/weft/held")?;
    lab.until(outcome, "the check of the service that is down passes", || {
        Ok(vip(lab, "held")?["last_error"].is_null())
    })?;
    lab.shell("tor", "weft monitor > /run/weft/monitored 2>&1 & echo $! > /run/weft/monitor").map(drop)?;
    lab.until(outcome, "somebody watches tor", || said(lab, "from now on").or(Ok(false)))
}

/// After the first one.
pub(super) fn over_the_upgrade(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    unmoved(lab, outcome, "an upgrade")?;
    told(lab, outcome, &["session up", "vip well: up", "takes over, with", "has taken over, 4 of 4 sessions went on"])?;
    // The file is mounted: it must stay the same one.
    let wrong = "cd /run/weft; cp now.yaml right; echo 'wrong: 1' >> now.yaml; weft reload; cat right > now.yaml";
    lab.shell("tor", wrong)?;
    lab.until(outcome, "who watches hears of before and after the upgrade", || {
        Ok(said(lab, "takes over, with 4 of 4 sessions")? && said(lab, "configuration not reloaded: ")?)
    })?;
    // From here on the daemon is the only one of its name.
    lab.shell("tor", "kill $(cat /run/weft/monitor)").map(drop)
}

/// After a program that could not start: the one before goes on.
pub(super) fn over_the_way_back(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    unmoved(lab, outcome, "a way back")?;
    told(lab, outcome, &["has taken over, 4 of 4 sessions went on", "the new program did not start"])?;
    let name = lab.shell("tor", "cat /proc/$(pidof weft)/comm; tr '\\0' ' ' < /proc/$(pidof weft)/cmdline")?;
    let is_named = name.starts_with("weft\n") && !name.contains("/proc/self/fd");
    outcome.add(&Outcome::check(is_named, format!("after a way back the process is called {name}")));
    Ok(())
}

/// Services are where they were, and never were anywhere else.
fn unmoved(lab: &Lab<'_>, outcome: &mut Outcome, what: &str) -> io::Result<()> {
    let (held, well) = (vip(lab, "held")?, vip(lab, "well")?);
    let kept = states(lab)? == ["down false".to_owned(), "up true".to_owned()];
    let counted = held["announced_times"] == 0 && well["announced_times"] == 1 && well["withdrawn_times"] == 0;
    outcome.add(&Outcome::check(kept && counted, format!("{what} moves services: {held}, {well}")));
    // Of what the program before said there is one line for each step: down is where a service begins.
    let history = lab.shell("tor", "weft show history")?;
    let moved: Vec<&str> = history.lines().filter(|line| line.contains("vip ")).collect();
    let once = moved.len() == 2 && moved[0].contains("well: adding") && moved[1].contains("well: up");
    outcome.add(&Outcome::check(once, format!("{what} moves services: {moved:?}")));
    Ok(())
}

fn told(lab: &Lab<'_>, outcome: &mut Outcome, words: &[&str]) -> io::Result<()> {
    let history = lab.shell("tor", "weft show history")?;
    let lacking: Vec<&&str> = words.iter().filter(|words| !history.contains(**words)).collect();
    outcome.add(&Outcome::check(lacking.is_empty(), format!("the history lacks {lacking:?}: {history}")));
    Ok(())
}

fn said(lab: &Lab<'_>, words: &str) -> io::Result<bool> {
    Ok(lab.shell("tor", "cat /run/weft/monitored")?.contains(words))
}

fn vip(lab: &Lab<'_>, name: &str) -> io::Result<serde_json::Value> {
    let answer = lab.ask("tor", &["show", "vips"])?;
    let mut all = answer["vips"].as_array().cloned().unwrap_or_default().into_iter();
    all.find(|vip| vip["name"] == name).ok_or_else(|| io::Error::other(format!("no vip {name}: {answer}")))
}

/// State and verdict of both.
fn states(lab: &Lab<'_>) -> io::Result<[String; 2]> {
    let of = |name| {
        let vip = vip(lab, name)?;
        Ok::<_, io::Error>(format!("{} {}", vip["state"].as_str().unwrap_or_default(), vip["good"]))
    };
    Ok([of("held")?, of("well")?])
}
