//! The stage of a daemon that is asked from elsewhere, and too much: lab `besieged`, whose `tor` answers another machine with
//! certificates (`remote`), is flooded with questions, held up by watchers that do not
//! read and by clients that never finish, and has a disk that is full, then one that may not be written. Its session and its BFD must not
//! notice, and its memory must not grow.
#![expect(clippy::disallowed_methods, reason = "keeps a daemon busy for a time, and polls it with a deadline")]

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use weft_fabric::io::files::lab_socket;

use crate::count::Outcome;
use crate::flood::flood;
use crate::interop::Stage;
use crate::remote::remote;
use crate::run::Context;
use crate::vip::Lab;

/// Who watches and does not read.
const WATCHERS: usize = 1_000;
/// Connections that never finish their question: as many as there are places.
const SNAILS: usize = 64;
/// The daemon waits ten seconds for a question; then their places are free again.
const SNAIL_LIMIT: Duration = Duration::from_secs(30);
/// A client that is not served must not wait for ever.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
/// Octets by which the daemon may grow meanwhile.
const GROWTH: i64 = 32 << 20;
/// Routes that fill 16 KiB of disk, several times.
const ROUTES: usize = 600;
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Runs the lab.
pub(crate) fn api(context: &Context) -> io::Result<Outcome> {
    let log = context.log("api")?;
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let name = format!("besieged-{}", std::process::id());
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name };
    let mut outcome = Outcome::default();
    if !lab.up("besieged")? {
        outcome.add(&Outcome::failed("lab besieged does not come up as expected"));
    } else if let Err(error) = scenario(&lab, &mut outcome) {
        outcome.add(&Outcome::failed(format!("lab besieged: {error}")));
    }
    lab.down()?;
    Ok(outcome)
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let socket = lab_socket(&lab.name, "tor");
    remote(lab, outcome)?;
    unmoved(lab, outcome, "a flood of questions", || flood(&socket))?;
    unmoved(lab, outcome, "watchers that do not read", || watchers(lab, &socket))?;
    unmoved(lab, outcome, "clients that never finish", || snails(&socket))?;
    unmoved(lab, outcome, "a disk that is full", || full_disk(lab))?;
    unmoved(lab, outcome, "a file system that may only be read", || read_only(lab))
}

/// What must stay: how often the session was lost, and how often BFD failed.
fn losses(lab: &Lab<'_>) -> io::Result<[i64; 2]> {
    let neighbors = lab.ask("tor", &["show", "neighbors"])?;
    let bfd = lab.ask("tor", &["show", "bfd"])?;
    let number = |value: &serde_json::Value, what: &str| {
        value.as_i64().ok_or_else(|| io::Error::other(format!("no number of {what} in {value}")))
    };
    Ok([number(&neighbors["neighbors"][0]["dropped"], "losses")?, number(&bfd["sessions"][0]["failures"], "failures")?])
}

fn resident(lab: &Lab<'_>) -> io::Result<i64> {
    let version = lab.ask("tor", &["show", "version"])?;
    version["resident_bytes"].as_i64().ok_or_else(|| io::Error::other("the daemon does not say its memory"))
}

/// Does something to the daemon; its session, its BFD and its memory are as before.
fn unmoved(
    lab: &Lab<'_>,
    outcome: &mut Outcome,
    what: &str,
    attack: impl FnOnce() -> io::Result<Result<String, String>>,
) -> io::Result<()> {
    let (lost, memory) = (losses(lab)?, resident(lab)?);
    let result = attack()?;
    outcome.add(&Outcome::check(
        result.is_ok(),
        format!("{what}: {}", result.as_ref().err().cloned().unwrap_or_default()),
    ));
    let (now, grown) = (losses(lab)?, resident(lab)? - memory);
    outcome.add(&Outcome::check(now == lost, format!("{what}: sessions lost, BFD failed: {lost:?}, then {now:?}")));
    outcome.add(&Outcome::check(grown < GROWTH, format!("{what}: the daemon grew by {grown} octets")));
    let said = result.unwrap_or_default();
    outcome.notes.push(format!("{what}: {said}; the daemon grew by {} KiB", grown >> 10));
    Ok(())
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CLIENT_LIMIT))?;
    stream.set_write_timeout(Some(CLIENT_LIMIT))?;
    Ok(stream)
}

/// The first line of the answer to a question.
fn ask(socket: &Path, target: &str) -> io::Result<String> {
    say(socket, "GET", target)
}

fn say(socket: &Path, method: &str, target: &str) -> io::Result<String> {
    Ok(say_all(socket, method, target)?.lines().next().unwrap_or_default().to_owned())
}

/// The whole answer.
fn say_all(socket: &Path, method: &str, target: &str) -> io::Result<String> {
    let mut stream = connect(socket)?;
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: weft\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Watchers that never read; others are served beside them, and what happens meanwhile is not kept for them without a bound.
fn watchers(lab: &Lab<'_>, socket: &Path) -> io::Result<Result<String, String>> {
    let mut held = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = connect(socket)?;
        // Who is closed at once is refused: no fault.
        let _ = stream.write_all(b"GET /v1/watch/events HTTP/1.1\r\nhost: weft\r\n\r\n");
        held.push(stream);
    }
    announce(lab, "watched")?;
    let line = ask(socket, "/v1/version")?;
    withdraw(lab, "watched")?;
    drop(held);
    Ok(if line.contains(" 200 ") {
        Ok(format!("{WATCHERS} of them"))
    } else {
        Err(format!("another client hears `{line}`"))
    })
}

/// A first octet each, and no more: their places are taken for as long as the daemon waits, and then free.
fn snails(socket: &Path) -> io::Result<Result<String, String>> {
    let mut held = Vec::new();
    for _ in 0..SNAILS {
        let mut stream = connect(socket)?;
        stream.write_all(b"G")?;
        held.push(stream);
    }
    let begun = Instant::now();
    while begun.elapsed() < SNAIL_LIMIT {
        if ask(socket, "/v1/version").is_ok_and(|line| line.contains(" 200 ")) {
            return Ok(Ok(format!("others are answered after {:.1} s", begun.elapsed().as_secs_f64())));
        }
        thread::sleep(POLL);
    }
    Ok(Err(format!("nobody else is answered within {} s", SNAIL_LIMIT.as_secs())))
}

/// The dump of messages does not fit; the daemon says so and goes on.
fn full_disk(lab: &Lab<'_>) -> io::Result<Result<String, String>> {
    lab.shell("tor", "mount -t tmpfs -o size=16k small /run/weft/dump")?;
    announce(lab, "disk")?;
    let error = match observer_says(lab, "space")? {
        Ok(error) => error,
        Err(nothing) => return Ok(Err(nothing)),
    };
    let bgp = lab.ask("tor", &["show", "bgp", "--limit", "5000"])?;
    let held = bgp["routes"].as_array().map_or(0, Vec::len);
    withdraw(lab, "disk")?;
    Ok(if held >= ROUTES { Ok(format!("`{error}`, with all {ROUTES} routes")) } else { Err(format!("{held} routes")) })
}

/// Neither the dump of messages nor what is drained can be written; the daemon says so and goes on.
fn read_only(lab: &Lab<'_>) -> io::Result<Result<String, String>> {
    // First it is well again: what is said once is not said a second time.
    lab.shell("tor", "umount -l /run/weft/dump; rm -f /run/weft/dump/*")?;
    let is_written = || Ok(lab.shell("tor", "test -s /run/weft/dump/updates.mrt").is_ok());
    if !until(lab, is_written)? {
        return Ok(Err("nothing is written on a disk that is well again".to_owned()));
    }
    // All that the daemon writes is below; the socket is still there, for whoever comes from outside.
    lab.shell("tor", "mount -t tmpfs -o ro nothing /run/weft")?;
    let tor = lab_socket(&lab.name, "tor");
    let drained = say_all(&tor, "POST", "/v1/drain?state=soft&interface=eth1&force=true")?;
    let live = say_all(&tor, "POST", "/v1/drain?state=live&interface=eth1")?;
    let is_said = |answer: &str| answer.contains("not kept over a restart") && answer.contains("Read-only file system");
    if !is_said(&drained) || !is_said(&live) {
        return Ok(Err(format!("a drain is answered with {drained}, its end with {live}")));
    }
    let error = observer_says(lab, "Read-only")?;
    lab.shell("tor", "umount /run/weft")?;
    Ok(error.map(|error| format!("`{error}`; what is drained is not kept, and says so")))
}

/// The last error of the dump of messages, when it has these words.
fn observer_says(lab: &Lab<'_>, words: &str) -> io::Result<Result<String, String>> {
    let mut said = String::new();
    let is_said = || {
        let observers = lab.ask("tor", &["show", "observers"])?;
        observers["observers"][0]["last_error"].as_str().unwrap_or_default().clone_into(&mut said);
        Ok(said.contains(words))
    };
    Ok(if until(lab, is_said)? { Ok(said) } else { Err(format!("nothing is said of it, but `{said}`")) })
}

/// Whether it comes true. Messages go on meanwhile: a file that is open is written to until the next one is begun.
fn until(lab: &Lab<'_>, mut is_true: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let deadline = Instant::now() + SNAIL_LIMIT;
    while !is_true()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        order(lab, "POST", "/v1/routes?prefix=10.201.0.1/32&owner=until&lease_s=600")?;
        thread::sleep(POLL);
        withdraw(lab, "until")?;
    }
    Ok(true)
}

/// Routes of `host`, each in a message of its own.
fn announce(lab: &Lab<'_>, owner: &str) -> io::Result<()> {
    for number in 0..ROUTES {
        let (high, low) = (number / 256, number % 256);
        order(lab, "POST", &format!("/v1/routes?prefix=10.200.{high}.{low}/32&owner={owner}&lease_s=600"))?;
    }
    Ok(())
}

fn withdraw(lab: &Lab<'_>, owner: &str) -> io::Result<()> {
    order(lab, "DELETE", &format!("/v1/routes?owner={owner}"))
}

fn order(lab: &Lab<'_>, method: &str, target: &str) -> io::Result<()> {
    let line = say(&lab_socket(&lab.name, "host"), method, target)?;
    if line.contains(" 200 ") { Ok(()) } else { Err(io::Error::other(format!("{method} {target}: {line}"))) }
}
