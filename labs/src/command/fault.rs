//! `fault`: breaks things in a running lab, shows what is broken, and mends it; `tools netem` does the same with containerlab's words.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;

use super::inspect::Format;
use super::{STRANGE, ask, lab_and_node, print, say};
use crate::fault::units::{percent_text, rate_text};
use crate::fault::{End, Fault, Way, Words, units};
use crate::lab::control::{Answer, Request};
use crate::lab::faults::Shown;

/// What to do with faults.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Make a fault: at a link (NODE:INTERFACE), at a node (NODE), or between nodes and all others (NODE,NODE,… --do partition)
    ///
    /// Several may be there at once. Without --for it stays until it is cleared.
    Set(Box<Set>),
    /// Show what is wrong in a lab, and what relays did to frames
    Show {
        /// The lab's name
        lab: String,
        /// A table, or a JSON document
        #[arg(long, short, value_enum, default_value = "table", hide_default_value = true)]
        format: Format,
    },
    /// Undo faults: those at a place, or all
    Clear {
        /// The lab's name
        lab: String,
        /// NODE:INTERFACE, NODE, or NODE,NODE,… [default: everywhere]
        place: Option<String>,
    },
}

/// A fault.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// The lab's name
    lab: String,
    /// NODE:INTERFACE, NODE, or NODE,NODE,…
    place: String,
    /// At a link: unplug, deafen. At a node: kill, pause, restart. Of nodes: partition
    #[arg(long = "do", value_name = "DEED")]
    deed: Option<String>,
    /// Frames lost, as 10%
    #[arg(long, value_name = "PERCENT")]
    loss: Option<String>,
    /// How long a frame is under way, as 10ms
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
    /// By how much that differs, as 2ms; frames keep their order
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
    /// Frames that do not wait for the delay
    #[arg(long, value_name = "PERCENT")]
    reorder: Option<String>,
    /// Frames that arrive twice
    #[arg(long, value_name = "PERCENT")]
    duplicate: Option<String>,
    /// Frames with a flipped bit
    #[arg(long, value_name = "PERCENT")]
    corrupt: Option<String>,
    /// Bits per second, as 10mbit
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// Clocks (monotonic, since boot) of the node's daemons, as 1h or -90s; they start again for it
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    clock: Option<String>,
    /// Only what this end sends (out), or is sent (in) [default: both]
    #[arg(long, value_parser = way)]
    way: Option<Way>,
    /// What chance begins with [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Undo it after this time, as 3s
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,
}

fn way(text: &str) -> Result<Way, String> {
    match text {
        "both" => Ok(Way::Both),
        "out" => Ok(Way::Out),
        "in" => Ok(Way::In),
        other => Err(format!("`{other}`: both, out or in")),
    }
}

impl Set {
    fn fault(self) -> Result<Fault, String> {
        let words = Words {
            deed: self.deed,
            loss: self.loss,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            reorder: self.reorder,
            delay: self.delay,
            jitter: self.jitter,
            rate: self.rate,
            clock: self.clock,
            way: self.way,
            seed: self.seed,
        };
        if words.deed.as_deref() == Some("partition") {
            if words != (Words { deed: words.deed.clone(), ..Words::default() }) {
                return Err("a partition has nodes and nothing else".to_owned());
            }
            return Ok(Fault::Partition { nodes: self.place.split(',').map(str::to_owned).collect() });
        }
        if self.place.contains(':') { words.at_link(self.place.parse()?) } else { words.at_node(self.place) }
    }
}

/// Makes, shows or undoes faults.
///
/// # Errors
/// When there is no such lab or place, the words make no fault, or the lab refuses it.
pub fn fault(verb: Verb) -> Result<()> {
    match verb {
        Verb::Set(set) => {
            let time = set.lasts.as_deref().map(units::duration).transpose();
            let time = time.map_err(|error| anyhow!("--for: {error}"))?;
            let lab = set.lab.clone();
            let fault = set.fault().map_err(|error| anyhow!("{error}"))?;
            make(&lab, fault, time)
        }
        Verb::Show { lab, format } => {
            let faults = shown(&lab)?;
            match format {
                Format::Json => say(&json!(faults).to_string()),
                Format::Table => print(&table(&faults)),
            }
            Ok(())
        }
        Verb::Clear { lab, place } => clear(&lab, place),
    }
}

fn make(lab: &str, fault: Fault, time: Option<Duration>) -> Result<()> {
    let lasts_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    ask(lab, &Request::Fault { fault, lasts_ms }).map(drop)
}

fn clear(lab: &str, place: Option<String>) -> Result<()> {
    ask(lab, &Request::Mend { place }).map(drop)
}

fn shown(lab: &str) -> Result<Vec<Shown>> {
    let Answer::Faults(faults) = ask(lab, &Request::Faults)? else { bail!("{STRANGE}") };
    Ok(faults)
}

fn table(faults: &[Shown]) -> String {
    if faults.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["place", "fault", "frames sent", "lost", "frames received", "lost"]);
    for shown in faults {
        let frames = shown.frames.map(|frames| frames.map(|one| (one.taken, one.lost + one.overflowed)));
        let columns =
            frames.map_or_else(Vec::new, |both| both.into_iter().flat_map(|(all, lost)| [all, lost]).collect());
        let mut row = vec![shown.fault.place(), shown.fault.what()];
        row.extend(columns.iter().map(u64::to_string));
        table.add_row(row);
    }
    format!("{table}\n")
}

/// containerlab's tools.
#[derive(Debug, Clone, Subcommand)]
pub enum Tools {
    /// Delay, jitter, loss, rate and corruption of what an interface sends
    #[command(subcommand)]
    Netem(Netem),
}

/// containerlab's words for faults of a link; as there, they are about what the interface sends.
#[derive(Debug, Clone, Subcommand)]
pub enum Netem {
    /// Set all of them at once; what is not named is not there any more
    Set {
        /// LAB/NODE, NODE when one lab is running, or containerlab's long name of a node of prefix clab
        #[arg(long, short)]
        node: String,
        /// Interface
        #[arg(long, short)]
        interface: String,
        /// As 10ms
        #[arg(long)]
        delay: Option<String>,
        /// As 2ms
        #[arg(long)]
        jitter: Option<String>,
        /// Percent
        #[arg(long)]
        loss: Option<String>,
        /// Kilobits per second
        #[arg(long)]
        rate: Option<String>,
        /// Percent
        #[arg(long)]
        corruption: Option<String>,
    },
    /// Show them
    Show {
        /// As for set
        #[arg(long, short)]
        node: String,
        /// A table, or containerlab's JSON document
        #[arg(long, short, value_enum, default_value = "table", hide_default_value = true)]
        format: Format,
    },
    /// Take them away
    Reset {
        /// As for set
        #[arg(long, short)]
        node: String,
        /// Interface
        #[arg(long, short)]
        interface: String,
    },
}

/// Does what containerlab's command of that name does.
///
/// # Errors
/// As [`fault`].
pub fn tools(Tools::Netem(netem): &Tools) -> Result<()> {
    match netem {
        Netem::Set { node, interface, delay, jitter, loss, rate, corruption } => {
            let (lab, node) = lab_and_node(node)?;
            let words = Words {
                delay: nonzero(delay),
                jitter: nonzero(jitter),
                loss: nonzero(loss),
                rate: nonzero(rate),
                corrupt: nonzero(corruption),
                way: Some(Way::Out),
                ..Words::default()
            };
            let end = End { node, interface: interface.clone() };
            let fault = words.at_link(end.clone()).map_err(|error| anyhow!("{error}"))?;
            clear(&lab, Some(end.to_string()))?;
            make(&lab, fault, None)
        }
        Netem::Reset { node, interface } => {
            let (lab, node) = lab_and_node(node)?;
            clear(&lab, Some(End { node, interface: interface.clone() }.to_string()))
        }
        Netem::Show { node, format } => {
            let (lab, node) = lab_and_node(node)?;
            let faults = shown(&lab)?;
            let rows: Vec<[String; 6]> = faults.iter().filter_map(|shown| impairment(&shown.fault, &node)).collect();
            show_netem(&node, &rows, *format);
            Ok(())
        }
    }
}

/// containerlab's defaults are zeroes.
fn nonzero(text: &Option<String>) -> Option<String> {
    let is_zero =
        |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).bytes().all(|b| b == b'0' || b == b'.');
    text.clone().filter(|text| !is_zero(text))
}

/// Interface, delay, jitter, loss, rate, corruption, if the fault is one of those of that node's interfaces.
fn impairment(fault: &Fault, node: &str) -> Option<[String; 6]> {
    let Fault::Cable { end, harm, .. } = fault else { return None };
    (end.node == node).then(|| {
        let time = |time: Duration| if time.is_zero() { String::new() } else { format!("{time:?}") };
        let loss = if harm.deaf { units::WHOLE } else { harm.loss };
        let rate = harm.rate.map_or_else(String::new, rate_text);
        let parts = [loss, harm.corrupt].map(percent_text);
        let [loss, corruption] = parts;
        [end.interface.clone(), time(harm.delay), time(harm.jitter), loss, rate, corruption]
    })
}

fn show_netem(node: &str, rows: &[[String; 6]], format: Format) {
    match format {
        Format::Json => {
            let number = |text: &str| text.trim_end_matches('%').parse::<f64>().unwrap_or(0.0);
            let rows: Vec<_> = rows
                .iter()
                .map(|[interface, delay, jitter, loss, rate, corruption]| {
                    let kilobits = units::rate(rate).map_or(0, |rate| rate / 1_000);
                    json!({ "interface": interface, "delay": delay, "jitter": jitter, "packet_loss": number(loss),
                            "rate": kilobits, "corruption": number(corruption) })
                })
                .collect();
            say(&json!({ node: rows }).to_string());
        }
        Format::Table => {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING);
            table.set_header(["interface", "delay", "jitter", "packet loss", "rate", "corruption"]);
            for row in rows {
                table.add_row(row);
            }
            print(&format!("{table}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_of_containerlab_are_nothing() {
        let words = ["0", "0s", "0ms", "0.00"].map(|text| nonzero(&Some(text.to_owned())));
        assert!(words.iter().all(Option::is_none));
        assert_eq!(nonzero(&Some("10ms".to_owned())).as_deref(), Some("10ms"));
        assert_eq!(nonzero(&None), None);
    }
}
