//! The verbs of `weft-lab`, one file for each group; they talk to a person, the library does the work.

pub mod act;
pub mod bmc;
pub mod capture;
mod data;
pub mod deploy;
pub mod down;
pub mod events;
pub mod exec;
pub mod fault;
mod find;
pub mod generate;
pub mod graph;
pub mod inspect;
pub mod plan;
pub mod reading;
pub mod save;
mod session;
pub mod sim;
pub mod up;
pub mod validate;

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use weft_fabric::io::files::lab_root;

use crate::lab::control::{self, Answer, Inspection, Request};
use crate::lab::home;
use crate::topology::{Topology, TopologyError};

/// Prints an answer. A reader that went away, as `head` does, is no fault.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints one line.
fn say(line: &str) {
    print(&format!("{line}\n"));
}

/// Reads a topology file without options of its own.
fn load(path: &Path) -> Result<Topology, TopologyError> {
    reading::Arguments::default().load(path)
}

/// A runner that takes longer to answer hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Asks a running lab a question that has no streams.
fn ask(lab: &str, request: &Request) -> Result<Answer> {
    let connection = connect(lab, request, &[])?;
    connection.set_read_timeout(Some(ANSWER_LIMIT))?;
    willing(control::answer(&connection).map_err(|error| anyhow!("lab `{lab}` does not answer: {error}"))?)
}

/// An answer that is no refusal.
fn willing(answer: Answer) -> Result<Answer> {
    if let Answer::Refused(why) = answer { Err(anyhow!(why)) } else { Ok(answer) }
}

/// What is said of an answer to another question: runner and command are of different versions.
const STRANGE: &str = "the lab answered something else: is it of this version?";

/// A running lab as it describes itself.
fn inspection(lab: &str) -> Result<Inspection> {
    let Answer::Lab(inspection) = ask(lab, &Request::Inspect)? else { bail!("{STRANGE}") };
    Ok(inspection)
}

fn connect(
    lab: &str,
    request: &Request,
    streams: &[std::os::fd::BorrowedFd<'_>],
) -> Result<std::os::unix::net::UnixStream> {
    let root = lab_root();
    control::ask(&home::control(&root, lab), request, streams).or_else(|error| {
        if home::is_running(&root, lab) {
            bail!("lab `{lab}` does not answer: {error}; it may still be starting");
        }
        let running = running();
        let others = if running.is_empty() { "none is".to_owned() } else { format!("running: {}", running.join(", ")) };
        bail!("lab `{lab}` is not running ({others}); start it with `weft-lab up`")
    })
}

/// Names of this user's running labs.
fn running() -> Vec<String> {
    let root = lab_root();
    home::labs(&root).into_iter().filter(|name| home::is_running(&root, name)).collect()
}

/// Splits `LAB/NODE`; a bare `NODE` is meant in the only running lab.
fn lab_and_node(text: &str) -> Result<(String, String)> {
    if let Some((lab, node)) = text.split_once('/') {
        return Ok((lab.to_owned(), node.to_owned()));
    }
    match &running()[..] {
        [only] => Ok((only.clone(), text.to_owned())),
        [] => bail!("no lab is running; start one with `weft-lab up`"),
        several => bail!("write LAB/{text}: several labs are running: {}", several.join(", ")),
    }
}
