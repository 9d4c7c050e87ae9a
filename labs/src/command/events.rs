//! `events`: tells what happens in running labs, also in those that start later, until it is ended.
#![expect(clippy::disallowed_methods, reason = "a thread for each lab, and a look for new ones")]

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use super::{STRANGE, connect, data, running, willing};
use crate::lab::control::{Answer, Request};
use crate::lab::events::Event;

/// Events on their way to the screen: a lab waits when they are more.
const WAITING: usize = 1_024;
/// How often new labs are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// A line for a person
    Plain,
    /// A JSON object in each line, as containerlab's
    Json,
}

/// Options of `events`.
#[derive(Debug, Clone, Args)]
pub struct Events {
    /// Only this lab; when it ends, so does the command
    lab: Option<String>,
    /// Only the lab of this topology file
    #[arg(long, short, value_name = "FILE", conflicts_with = "lab")]
    topo: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value = "plain")]
    format: Shape,
}

/// What a lab's thread says; `None` = it has ended.
type Said = (String, Option<Event>);

/// Tells until Ctrl-C, or until nobody reads.
///
/// # Errors
/// When a lab that was named is not running.
pub fn events(options: &Events) -> Result<()> {
    let named = match (&options.lab, &options.topo) {
        (Some(lab), _) => Some(lab.clone()),
        (None, Some(topo)) => Some(data::lab(None, Some(topo))?),
        (None, None) => None,
    };
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let mut watched: BTreeSet<String> = BTreeSet::new();
    if let Some(lab) = &named {
        follow(lab, &sender)?;
        watched.insert(lab.clone());
    }
    let mut is_first = true;
    loop {
        if named.is_none() {
            for lab in running() {
                // one that is still starting is looked for again
                if !watched.contains(&lab) && follow(&lab, &sender).is_ok() {
                    if !is_first && !told(options.format, &Event::of_lab(&lab, "up")) {
                        return Ok(());
                    }
                    watched.insert(lab);
                }
            }
            is_first = false;
        }
        match receiver.recv_timeout(LOOK) {
            Ok((_, Some(event))) if !told(options.format, &event) => return Ok(()),
            Ok((_, Some(_))) | Err(RecvTimeoutError::Timeout) => {}
            Ok((lab, None)) => {
                if !told(options.format, &Event::of_lab(&lab, "down")) || named.is_some() {
                    return Ok(());
                }
                watched.remove(&lab);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Passes on what a lab tells, on a thread, once it has said that it does.
fn follow(lab: &str, sender: &SyncSender<Said>) -> Result<()> {
    let mut lines = BufReader::new(connect(lab, &Request::Events, &[])?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let Answer::Done = willing(serde_json::from_str(&line).context(STRANGE)?)? else { bail!("{STRANGE}") };
    let (lab, sender) = (lab.to_owned(), sender.clone());
    thread::spawn(move || {
        for line in lines.lines().map_while(io::Result::ok) {
            let Ok(event) = serde_json::from_str(&line) else { break };
            if sender.send((lab.clone(), Some(event))).is_err() {
                return;
            }
        }
        let _ = sender.send((lab, None)); // nobody to tell when the command ends
    });
    Ok(())
}

/// Prints one at once; whether somebody reads.
fn told(format: Shape, event: &Event) -> bool {
    let line = match format {
        Shape::Json => serde_json::to_string(event).unwrap_or_default(),
        Shape::Plain => plain(event),
    };
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).is_ok()
}

fn plain(event: &Event) -> String {
    let attributes: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let Event { timestamp, kind, action, actor_name, .. } = event;
    format!("{timestamp} {kind} {action} {actor_name} {}", attributes.join(" ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_event_has_containerlabs_keys() {
        let event = Event {
            timestamp: "2026-01-02T03:04:05Z".into(),
            kind: "interface".into(),
            action: "update".into(),
            actor_id: "7".into(),
            actor_name: "clab-l-a".into(),
            attributes: BTreeMap::from([("ifname".into(), "eth1".into()), ("state".into(), "down".into())]),
        };
        assert_eq!(plain(&event), "2026-01-02T03:04:05Z interface update clab-l-a ifname=eth1 state=down");
        let json = serde_json::to_value(&event).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["action", "actor_id", "actor_name", "attributes", "timestamp", "type"]);
    }
}
