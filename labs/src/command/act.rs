//! `link` and `node`: breaks and mends single parts of a running lab; `flow`: counts what packets are lost meanwhile.

use std::fs;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::inspect::Format;
use super::{STRANGE, ask, connect, lab_and_node, say, willing};
use crate::lab::control::{self, Answer, Request};
use crate::probe::{Loss, PERIOD, plot};

/// What to do with a link.
#[derive(Debug, Clone, Subcommand)]
pub enum Link {
    /// Set an interface down; its far end loses carrier
    Down {
        /// The lab's name
        lab: String,
        /// The interface, NODE:INTERFACE
        end: String,
    },
    /// Set it up again
    Up {
        /// The lab's name
        lab: String,
        /// The interface, NODE:INTERFACE
        end: String,
    },
}

/// What to do with a node's daemon.
#[derive(Debug, Clone, Subcommand)]
pub enum Node {
    /// Kill its daemons with SIGKILL; links and addresses stay
    Kill {
        /// LAB/NODE, or NODE when one lab is running
        node: String,
    },
    /// Start them again
    Start {
        /// LAB/NODE, or NODE when one lab is running
        node: String,
    },
}

/// Sets a link up or down.
///
/// # Errors
/// When there is no such lab, node or interface.
pub fn link(what: &Link) -> Result<()> {
    let (lab, end, up) = match what {
        Link::Down { lab, end } => (lab, end, false),
        Link::Up { lab, end } => (lab, end, true),
    };
    let (node, interface) =
        end.split_once(':').ok_or_else(|| anyhow!("`{end}`: write NODE:INTERFACE, as tor1:eth1"))?;
    ask(lab, &Request::Link { node: node.to_owned(), interface: interface.to_owned(), up }).map(drop)
}

/// Kills or starts a node's daemons.
///
/// # Errors
/// When there is no such lab or node, or nothing runs there.
pub fn node(what: &Node) -> Result<()> {
    let (text, kill) = match what {
        Node::Kill { node } => (node, true),
        Node::Start { node } => (node, false),
    };
    let (lab, node) = lab_and_node(text)?;
    ask(&lab, &if kill { Request::Kill { node } } else { Request::Start { node } }).map(drop)
}

/// Between which nodes packets flow.
#[derive(Debug, Clone, Args)]
pub struct Flow {
    /// LAB/NODE, or NODE when one lab is running
    from: String,
    /// The other node of that lab
    to: String,
    /// Flows, each of a packet per millisecond and direction, that differ in their ports
    #[arg(long, default_value_t = 10)]
    flows: usize,
    /// A line, or a JSON document
    #[arg(long, short, value_enum, default_value = "table", hide_default_value = true)]
    format: Format,
    /// Draw what was lost, and when, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Lets packets flow until standard input ends, and says what was lost.
///
/// # Errors
/// When there is no such lab or node, or it has no address.
pub fn flow(options: &Flow) -> Result<()> {
    let (lab, from) = lab_and_node(&options.from)?;
    let to = options.to.clone();
    let connection = connect(&lab, &Request::Flow { from, to, flows: options.flows }, &[])?;
    let Answer::Done = willing(control::answer(&connection)?)? else { bail!("{STRANGE}") };
    say("flowing");
    // what is read is of no interest, only its end
    io::stdin().read_to_end(&mut Vec::new())?;
    connection.shutdown(Shutdown::Write)?;
    let Answer::Losses(losses) = willing(control::answer(&connection)?)? else { bail!("{STRANGE}") };
    let (there, back) = losses.split_at(losses.len() / 2);
    if let Some(path) = &options.plot {
        let names = [format!("{} ▸ {}", options.from, options.to), format!("{} ▸ {}", options.to, options.from)];
        let [upstream, downstream] = names;
        let directions = [(upstream, there.to_vec()), (downstream, back.to_vec())];
        let group = plot::Group { title: format!("lab {lab}"), directions, period: PERIOD, deed: None };
        fs::write(path, plot::svg(&[group])).with_context(|| format!("write {}", path.display()))?;
    }
    match options.format {
        Format::Json => say(&json!({ "there": there, "back": back }).to_string()),
        Format::Table => {
            say(&format!("{} to {}: {}", options.from, options.to, total(there)));
            say(&format!("{} to {}: {}", options.to, options.from, total(back)));
        }
    }
    Ok(())
}

fn total(losses: &[Loss]) -> String {
    let sent: u64 = losses.iter().map(|loss| loss.sent).sum();
    let lost: u64 = losses.iter().map(Loss::lost).sum();
    let longest = losses.iter().map(|loss| loss.longest_run).max().unwrap_or(0);
    format!("{sent} packets sent, {lost} lost, {longest} of one flow in a row")
}
