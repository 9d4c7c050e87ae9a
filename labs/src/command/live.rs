//! What running daemons say about themselves, for `plan --live`: those of a lab on this machine, or those that a file lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sim::live::{self, Fabric, Seen};
use crate::sim::plan::picture::MAX_NODES;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use weft_fabric::api::{Bgp, BgpRoute, Interfaces, Neighbors, Originated, Route, Routes, query};
use weft_fabric::io::client::{Client, Remote, Target};
use weft_fabric::io::files::lab_root;
use weft_fabric::record::Written;

/// Prefixes of a page: a slice of the daemon's work.
const PAGE: usize = 1_000;
/// Most prefixes of a daemon that are compared.
const MAX_PREFIXES: usize = 200_000;
/// Name of a daemon's socket in the folder of a lab's node.
const SOCKET: &str = "weft.sock";

/// A file that lists daemons.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inventory {
    /// Who signed the certificates of the daemons; relative to the file's folder.
    ca: Option<PathBuf>,
    /// Our certificate.
    cert: Option<PathBuf>,
    /// Its key.
    key: Option<PathBuf>,
    /// By name.
    nodes: BTreeMap<String, Place>,
}

/// Where a daemon is: one of both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// `HOST` or `HOST:PORT`.
    remote: Option<String>,
    /// A unix socket of this machine.
    socket: Option<PathBuf>,
}

/// Asks them all.
///
/// # Errors
/// Who did not answer, or what is wrong with the list, as a text for a person.
pub(super) fn ask(of: &str) -> Result<Fabric, String> {
    let is_file = [".yml", ".yaml", ".json"].iter().any(|end| of.ends_with(end));
    let targets = if is_file { listed(Path::new(of))? } else { of_lab(of)? };
    if targets.len() > MAX_NODES {
        return Err(format!("{of}: {} daemons; flows of {MAX_NODES} are compared at most", targets.len()));
    }
    let mut fabric = Fabric::new();
    for (name, target) in &targets {
        fabric.insert(name.clone(), one(target).map_err(|error| format!("{name}: {error}"))?);
    }
    for name in live::beside_strangers(&fabric) {
        let (Some(target), Some(seen)) = (targets.get(&name), fabric.get_mut(&name)) else { continue };
        seen.paths = paths(&client(target)?).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(fabric)
}

fn of_lab(name: &str) -> Result<BTreeMap<String, Target>, String> {
    let folder = lab_root().join(name);
    let entries = fs::read_dir(&folder).map_err(|_| {
        format!("no lab `{name}` runs here\n  remedy: `weft-lab inspect` lists those that do; a list of daemons is a file whose name ends with .yml")
    })?;
    let mut found = BTreeMap::new();
    for entry in entries.flatten() {
        let socket = entry.path().join(SOCKET);
        if let Some(node) = entry.file_name().to_str().filter(|_| socket.exists()) {
            found.insert(node.to_owned(), Target::Socket(socket));
        }
    }
    if found.is_empty() { Err(format!("{name}: no node of this lab has a weft daemon that runs")) } else { Ok(found) }
}

fn listed(path: &Path) -> Result<BTreeMap<String, Target>, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let list: Inventory = serde_saphyr::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let file = |what: &str, file: &Option<PathBuf>| {
        let file = file.as_ref().ok_or_else(|| {
            format!("{name}: `{what}: FILE` is missing; a daemon elsewhere knows nobody without a certificate")
        });
        file.map(|file| folder.join(file))
    };
    let mut found = BTreeMap::new();
    for (node, place) in &list.nodes {
        let target = match (&place.remote, &place.socket) {
            (Some(remote), None) => {
                let (ca, cert, key) = (file("ca", &list.ca)?, file("cert", &list.cert)?, file("key", &list.key)?);
                let remote = Remote::new(remote, ca, cert, key);
                Target::Remote(remote.map_err(|error| format!("{name}: nodes.{node}: {error}"))?)
            }
            (None, Some(socket)) => Target::Socket(folder.join(socket)),
            (Some(_), Some(_)) | (None, None) => {
                return Err(format!("{name}: nodes.{node}: write `remote: HOST:PORT` or `socket: PATH`"));
            }
        };
        found.insert(node.clone(), target);
    }
    if found.is_empty() { Err(format!("{name}: `nodes` is empty")) } else { Ok(found) }
}

fn client(target: &Target) -> Result<Client, String> {
    Client::new(target).map_err(|error| error.to_string())
}

/// All but the paths.
fn one(target: &Target) -> Result<Seen, String> {
    let client = client(target)?;
    let config: Written = get(&client, "/v1/config")?;
    let interfaces: Interfaces = get(&client, "/v1/interfaces")?;
    let neighbors: Neighbors = get(&client, "/v1/neighbors")?;
    let originated: Originated = get(&client, "/v1/originated")?;
    Ok(Seen {
        config,
        interfaces: interfaces.interfaces,
        neighbors: neighbors.neighbors,
        routes: routes(&client)?,
        paths: Vec::new(),
        originated: originated.originated,
    })
}

fn get<T: DeserializeOwned>(client: &Client, target: &str) -> Result<T, String> {
    client.get::<T>(target).map(|reply| reply.body).map_err(|error| error.to_string())
}

fn routes(client: &Client) -> Result<Vec<Route>, String> {
    pages(client, "/v1/routes", |page: Routes| (page.routes, page.next.map(|next| next.to_string())))
}

fn paths(client: &Client) -> Result<Vec<BgpRoute>, String> {
    pages(client, "/v1/bgp", |page: Bgp| (page.routes, page.next.map(|next| next.to_string())))
}

fn pages<T: DeserializeOwned, R>(
    client: &Client,
    target: &str,
    take: impl Fn(T) -> (Vec<R>, Option<String>),
) -> Result<Vec<R>, String> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let after_it = after.map(|after| format!("&after={}", query(&after))).unwrap_or_default();
        let text = client.page(&format!("{target}?limit={PAGE}{after_it}")).map_err(|error| error.to_string())?;
        let (rows, next) = take(client.read::<T>(&text).map_err(|error| error.to_string())?.body);
        all.extend(rows);
        if all.len() > MAX_PREFIXES {
            return Err(format!("it has more than {MAX_PREFIXES} prefixes: that is too much to compare"));
        }
        let Some(next) = next else { return Ok(all) };
        after = Some(next);
    }
}
