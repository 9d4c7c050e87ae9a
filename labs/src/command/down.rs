//! `down`: ends labs, also one whose runner hangs, and removes what a killed one left.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "waits for another process with a deadline")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use weft_fabric::io::files::lab_root;

use super::{find, load, say};
use crate::lab::control::{self, Request};
use crate::lab::home::{self, Home};

/// One that does not even answer hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// A runner that is asked ends well within this: goodbyes are bounded by 4 s.
const ASKED_LIMIT: Duration = Duration::from_secs(20);
/// A killed one is gone by then.
const KILLED_LIMIT: Duration = Duration::from_secs(10);
/// How often its lock is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Options of `down`.
#[derive(Debug, Clone, Args)]
pub struct Down {
    /// A lab's name or topology file [default: the only one there is]
    lab: Option<String>,
    /// All labs of this user
    #[arg(long, conflicts_with = "lab")]
    all: bool,
}

impl Down {
    /// One lab, or all.
    pub(super) fn of(lab: Option<String>, all: bool) -> Self {
        Self { lab, all }
    }
}

/// Takes labs down.
///
/// # Errors
/// When there is no such lab, or it cannot be ended.
pub fn down(options: &Down) -> Result<()> {
    let root = lab_root();
    let labs = home::labs(&root);
    let chosen = match (&options.lab, options.all) {
        (Some(lab), _) => vec![name_of(lab, &labs)?],
        (None, true) => labs,
        (None, false) if labs.len() > 1 => bail!("several labs are there: name one, or --all: {}", labs.join(", ")),
        (None, false) => labs,
    };
    if chosen.is_empty() {
        say("no lab is running");
    }
    for name in chosen {
        end(&root, &name)?;
    }
    Ok(())
}

fn name_of(text: &str, labs: &[String]) -> Result<String> {
    if labs.iter().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let name = find::topology(Some(text)).and_then(|path| Ok(load(&path)?)).map(|topology| topology.name);
    match name {
        Ok(name) if labs.contains(&name) => Ok(name),
        Ok(name) => bail!("lab `{name}` is not running"),
        Err(_) if labs.is_empty() => bail!("lab `{text}` is not running, and no other is"),
        Err(_) => bail!("lab `{text}` is not running; there are: {}", labs.join(", ")),
    }
}

fn end(root: &Path, name: &str) -> Result<()> {
    if !home::is_running(root, name) {
        Home::claim(root, name)?.remove()?;
        say(&format!("{name}: was not running any more; removed what it left"));
        return Ok(());
    }
    let record = home::record(root, name);
    let asked = control::ask(&home::control(root, name), &Request::Down, &[]).and_then(|connection| {
        connection.set_read_timeout(Some(ANSWER_LIMIT))?;
        control::answer(&connection)
    });
    if asked.is_ok() && ended(root, name, ASKED_LIMIT) {
        say(&format!("{name}: down"));
        return Ok(());
    }
    let Some(record) = record else {
        bail!("{name}: it is still starting; stop it where it was started, or try again");
    };
    record.runner.kill();
    if !ended(root, name, KILLED_LIMIT) {
        bail!("{name}: its runner, process {}, cannot be killed", record.runner.pid);
    }
    if root.join(name).exists() {
        Home::claim(root, name)?.remove()?;
    }
    say(&format!("{name}: its runner did not answer and was killed; down"));
    Ok(())
}

fn ended(root: &Path, name: &str, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while home::is_running(root, name) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}
