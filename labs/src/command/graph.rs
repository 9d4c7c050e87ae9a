//! `graph`: draws a topology file, or a running lab as it is at the moment.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a load is a difference over real time")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use weft_fabric::api::Neighbors;
use weft_fabric::io::files::lab_root;

use super::{STRANGE, ask, find, inspection, print, reading, running};
use crate::graph::seen::{EndSeen, NodeSeen, Port, Seen, Session};
use crate::graph::{Language, Picture};
use crate::lab::control::{Answer, Interface, Request};
use crate::topology::{Topology, data};
use crate::verify::api;

/// Longest time over which a load is measured.
const MAX_INTERVAL_MS: u64 = 60_000;

/// Options of `graph`.
#[derive(Debug, Clone, Args)]
pub struct Graph {
    /// A running lab, a topology file, or the name of one of those that come with weft [default: two-racks]
    lab: Option<String>,
    /// The language of the drawing
    #[arg(long, short, value_enum, default_value = "html")]
    format: Language,
    /// The same as --format dot
    #[arg(long, conflicts_with_all = ["format", "mermaid"])]
    dot: bool,
    /// The same as --format mermaid
    #[arg(long, conflicts_with = "format")]
    mermaid: bool,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A topology file, as containerlab names it
    #[arg(long, short, value_name = "FILE", conflicts_with = "lab")]
    topo: Option<String>,
    /// Draw the file alone, although a lab of its name runs
    #[arg(long)]
    offline: bool,
    /// Over how many milliseconds the load of a running lab is measured
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=MAX_INTERVAL_MS))]
    interval: u64,
    #[command(flatten)]
    reading: reading::Arguments,
}

/// Draws.
///
/// # Errors
/// When there is no such lab or file, or the drawing cannot be written.
pub fn graph(options: &Graph) -> Result<()> {
    let language = match (options.dot, options.mermaid) {
        (true, _) => Language::Dot,
        (_, true) => Language::Mermaid,
        (false, false) => options.format,
    };
    let named = options.topo.as_deref().or(options.lab.as_deref());
    let lab = if options.offline { None } else { live(named)? };
    let drawn = match lab {
        Some(lab) => {
            let outline = data::outline(&super::data::read(&lab)?);
            let mut topology = outline.ok_or_else(|| anyhow!("lab `{lab}` wrote a {} of another form", data::FILE))?;
            let seen = look(&mut topology, Duration::from_millis(options.interval))?;
            Picture::new(&topology, Some(&seen)).draw(language)
        }
        None => Picture::new(&options.reading.load(&find::topology(named)?)?, None).draw(language),
    };
    match &options.output {
        Some(file) => std::fs::write(file, drawn).with_context(|| format!("write {}", file.display()))?,
        None => print(&drawn),
    }
    Ok(())
}

/// The running lab that is meant, if one is.
fn live(named: Option<&str>) -> Result<Option<String>> {
    match named.filter(|name| running().iter().any(|lab| lab == name)) {
        Some(lab) => Ok(Some(lab.to_owned())),
        None if named == Some(find::STDIN) => Ok(None),
        None => super::data::of_file(&find::topology(named)?.display().to_string()),
    }
}

/// Looks at a running lab twice, and notes what runs in its nodes.
fn look(topology: &mut Topology, interval: Duration) -> Result<Seen> {
    let lab = inspection(&topology.name)?;
    let mut seen = Seen::default();
    let (mut sessions, mut owners) = (BTreeMap::new(), BTreeMap::<IpAddr, Port>::new());
    let mut before = BTreeMap::new();
    for node in &lab.nodes {
        if let (Some(spec), Ok(personality)) = (topology.nodes.get_mut(&node.name), node.personality.parse()) {
            spec.personality = personality;
        }
        let interfaces = interfaces(&lab.name, &node.name)?;
        for interface in &interfaces {
            let port = (node.name.clone(), interface.name.clone());
            owners.extend(interface.addresses.iter().map(|address| (*address, port.clone())));
        }
        before.insert(node.name.as_str(), (Instant::now(), interfaces));
        let own = neighbors(&lab.name, &node.name);
        let count = own.as_ref().map(|own| (own.iter().filter(|session| session.established).count(), own.len()));
        seen.nodes.insert(node.name.clone(), NodeSeen { state: node.state.clone(), sessions: count });
        sessions.insert(node.name.clone(), own.unwrap_or_default());
    }
    thread::sleep(interval);
    for (node, (begin, earlier)) in before {
        let later = interfaces(&lab.name, node)?;
        let elapsed_us = begin.elapsed().as_micros().max(1);
        for interface in later {
            let was = earlier.iter().find(|one| one.name == interface.name).map_or(0, |one| one.link.tx_bytes);
            let bits = u128::from(interface.link.tx_bytes.saturating_sub(was)) * 8;
            let bits_per_s = u64::try_from(bits * 1_000_000 / elapsed_us).unwrap_or(u64::MAX);
            let end = EndSeen { up: interface.link.state == "up", bits_per_s, sessions: (0, 0) };
            seen.ends.insert((node.to_owned(), interface.name), end);
        }
    }
    seen.add_sessions(topology, &sessions, &owners);
    Ok(seen)
}

pub(super) fn interfaces(lab: &str, node: &str) -> Result<Vec<Interface>> {
    let Answer::Interfaces(interfaces) = ask(lab, &Request::Interfaces { node: node.to_owned() })? else {
        bail!("{STRANGE}")
    };
    Ok(interfaces)
}

/// Sessions of a node that runs weft; `None` when there is nobody to ask.
fn neighbors(lab: &str, node: &str) -> Option<Vec<Session>> {
    let answer = api::request(&lab_root().join(lab).join(node).join("weft.sock"), "/v1/neighbors").ok()?;
    let neighbors: Neighbors = serde_json::from_value(answer).ok()?;
    let own = neighbors.neighbors.into_iter().map(|neighbor| Session {
        established: neighbor.state.eq_ignore_ascii_case("established"),
        interface: neighbor.interface,
        address: neighbor.address,
    });
    Some(own.collect())
}
