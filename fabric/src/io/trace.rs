//! `weft trace`: asks the daemons of a lab by their sockets; elsewhere the one that was named.

use super::client::{Client, Target};
use super::files;
use super::verbs::{Form, VerbError};
use crate::api::{self, Explanation, Interfaces, Neighbors, SCHEMA, Version};
use crate::show;
use crate::trace::{Directory, Seen, Trace, walk};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

/// Most daemons of a lab that are asked who they are.
const NODES_MAX: usize = 1_024;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One daemon.
    One(Target),
    /// A node of a lab, from where all others can be asked.
    Lab(String, String),
}

/// Follows an address and prints its way.
///
/// # Errors
/// When the first daemon gives no answer; when packets are lost, go round, or a kernel does otherwise.
pub fn run(target: IpAddr, place: &Place, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let mut daemons = BTreeMap::new();
    let mut directory = Directory::default();
    let start = match place {
        Place::One(daemon) => {
            let client = Client::new(daemon).map_err(VerbError::Unusable)?;
            let node = client.get::<Version>("/v1/version")?.node;
            daemons.insert(node.clone(), daemon.clone());
            node
        }
        Place::Lab(lab, node) => {
            for (name, socket) in lab_sockets(lab) {
                let daemon = Target::Socket(socket);
                // Who runs another daemon, or none, cannot be asked.
                if let Ok((version, interfaces)) = who(&daemon) {
                    directory.add(&name, version.router_id, &interfaces.interfaces);
                }
                daemons.insert(name, daemon);
            }
            daemons.entry(node.clone()).or_insert_with(|| Target::Socket(files::lab_socket(lab, node)));
            node.clone()
        }
    };
    // If the first cannot be asked there is nothing to be told.
    let first = daemons.get(&start).map(|daemon| look(daemon, target));
    first.transpose()?;
    let trace = walk(target, &start, &directory, |node| match daemons.get(node) {
        Some(daemon) => look(daemon, target).map_err(|error| first_line(&error)),
        None => Err("it has no socket here".to_owned()),
    });
    print(&trace, matches!(place, Place::One(_)), form, out)
}

fn print(trace: &Trace, alone: bool, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    match form {
        Form::Json => writeln!(out, "{:#}", serde_json::json!({ "schema": SCHEMA, "trace": trace }))?,
        Form::Table => {
            out.write_all(show::trace::text(trace).as_bytes())?;
            if alone && trace.hops.iter().any(|hop| !hop.ways.is_empty()) {
                let line = "one daemon was asked; go on at the next one with the same command, there or with --remote";
                writeln!(out, "{line}")?;
            }
        }
    }
    if trace.is_bad() {
        out.flush()?;
        return Err(VerbError::Unknown(format!("{} is not reached by every way", trace.target)));
    }
    Ok(())
}

fn first_line(error: &VerbError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The nodes of a lab that have a socket, by their names.
fn lab_sockets(lab: &str) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(files::lab_root().join(lab)) else {
        return Vec::new();
    };
    let named = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let sockets = named.map(|name| (files::lab_socket(lab, &name), name)).map(|(socket, name)| (name, socket));
    sockets.filter(|(_, socket)| socket.exists()).take(NODES_MAX).collect()
}

fn who(daemon: &Target) -> Result<(Version, Interfaces), VerbError> {
    let client = Client::new(daemon).map_err(VerbError::Unusable)?;
    Ok((client.get("/v1/version")?.body, client.get("/v1/interfaces")?.body))
}

fn look(daemon: &Target, target: IpAddr) -> Result<Seen, VerbError> {
    let client = Client::new(daemon).map_err(VerbError::Unusable)?;
    let target = api::query(&target.to_string());
    let explanation = client.get::<Explanation>(&format!("/v1/explain?target={target}"))?.body;
    let neighbors = client.get::<Neighbors>("/v1/neighbors")?.body.neighbors;
    let interfaces = client.get::<Interfaces>("/v1/interfaces")?.body.interfaces;
    Ok(Seen { explanation, neighbors, interfaces })
}
