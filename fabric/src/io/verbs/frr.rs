//! `--output frr`: what is asked for each of FRR's documents, printed page by page as `show::frr` has it.
#![expect(clippy::disallowed_types, reason = "FRR says when something happened: the time of the wall clock")]

use super::VerbError;
use super::listing::PAGE;
use crate::api::{self, Bgp, Explanation, Neighbors, Routes};
use crate::io::client::Client;
use crate::show::frr;
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use weft_bgp::types::{Family, IpNet};

/// Behind every IPv4 prefix, and before every IPv6 one.
const END_OF_IPV4: &str = "255.255.255.255/32";

/// One of FRR's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frr {
    /// `show bgp summary json`.
    Summary,
    /// `show bgp neighbors [NAME] json`.
    Neighbors(Option<String>),
    /// `show bgp ipv4|ipv6 unicast json`.
    Bgp(Family),
    /// `show bgp … PREFIX json`.
    Path(String),
    /// `show ip|ipv6 route json`.
    Routes(Family),
    /// `show ip|ipv6 route PREFIX json`.
    Route(String),
}

/// Prints it.
pub(super) fn run(client: &Client, wanted: &Frr, out: &mut impl Write) -> Result<(), VerbError> {
    match wanted {
        Frr::Summary => {
            let found = client.get::<Neighbors>("/v1/neighbors")?.body;
            let prefixes = client.get::<Bgp>("/v1/bgp?limit=1")?.body.prefixes;
            print(&frr::summary(&found, prefixes, epoch()), out)
        }
        Frr::Neighbors(name) => neighbors(client, name.as_deref(), out),
        Frr::Bgp(family) => bgp(client, *family, out),
        Frr::Path(prefix) => path(client, prefix, out),
        Frr::Routes(family) => routes(client, *family, out),
        Frr::Route(prefix) => {
            let found = client.get::<Routes>(&format!("/v1/routes?prefix={}", api::query(prefix)))?.body;
            let all = found.routes.iter().filter_map(|route| Some((route.prefix.to_string(), frr::route(route)?)));
            print(&Value::Object(all.collect::<Map<_, _>>()), out)
        }
    }
}

/// Seconds since 1970: FRR says when something happened, not only how long ago.
fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn print(document: &Value, out: &mut impl Write) -> Result<(), VerbError> {
    Ok(writeln!(out, "{document:#}")?)
}

fn neighbors(client: &Client, name: Option<&str>, out: &mut impl Write) -> Result<(), VerbError> {
    let reply = client.get::<Neighbors>("/v1/neighbors")?;
    let mut found = reply.body;
    if let Some(name) = name {
        let address = name.parse().ok();
        found.neighbors.retain(|peer| peer.name == name || (address.is_some() && peer.address == address));
        if found.neighbors.is_empty() {
            return Err(VerbError::Unknown(format!("{} has no neighbor `{name}`", reply.node)));
        }
    }
    print(&frr::neighbors(&found, epoch()), out)
}

const fn is_of(family: Family, prefix: &IpNet) -> bool {
    matches!((family, prefix), (Family::Ipv4Unicast, IpNet::V4(_)) | (Family::Ipv6Unicast, IpNet::V6(_)))
}

/// Where the pages of a family begin: the table has IPv4 first.
fn first_page(path: &str, family: Family) -> String {
    match family {
        Family::Ipv4Unicast => format!("{path}?limit={PAGE}"),
        Family::Ipv6Unicast => format!("{path}?limit={PAGE}&after={END_OF_IPV4}"),
    }
}

fn next_page(path: &str, family: Family, next: Option<IpNet>) -> Option<String> {
    let next = next.filter(|next| is_of(family, next))?;
    Some(format!("{path}?limit={PAGE}&after={}", api::query(&next.to_string())))
}

fn bgp(client: &Client, family: Family, out: &mut impl Write) -> Result<(), VerbError> {
    let known = client.get::<Neighbors>("/v1/neighbors")?.body;
    let peers = frr::peers(&known);
    let mut target = Some(first_page("/v1/bgp", family));
    let mut entries = Entries::default();
    while let Some(wanted) = target {
        let page = client.read::<Bgp>(&client.page(&wanted)?)?.body;
        if entries.is_first() {
            let head = frr::bgp_head(&page).to_string();
            write!(out, "{},\"routes\":{{", head.strip_suffix('}').unwrap_or(&head))?;
        }
        for route in page.routes.iter().filter(|route| is_of(family, &route.prefix)) {
            entries.write(&route.prefix, &frr::bgp_route(route, &peers), out)?;
        }
        target = next_page("/v1/bgp", family, page.next);
        entries.begun = true;
    }
    Ok(out.write_all(b"\n}}\n")?)
}

fn routes(client: &Client, family: Family, out: &mut impl Write) -> Result<(), VerbError> {
    let mut target = Some(first_page("/v1/routes", family));
    let mut entries = Entries::default();
    out.write_all(b"{")?;
    while let Some(wanted) = target {
        let page = client.read::<Routes>(&client.page(&wanted)?)?.body;
        for route in page.routes.iter().filter(|route| is_of(family, &route.prefix)) {
            if let Some(document) = frr::route(route) {
                entries.write(&route.prefix, &document, out)?;
            }
        }
        target = next_page("/v1/routes", family, page.next);
    }
    Ok(out.write_all(b"\n}\n")?)
}

fn path(client: &Client, prefix: &str, out: &mut impl Write) -> Result<(), VerbError> {
    let known = client.get::<Neighbors>("/v1/neighbors")?.body;
    let found = client.get::<Bgp>(&format!("/v1/bgp?prefix={}", api::query(prefix)))?.body;
    let Some(route) = found.routes.first() else {
        return Err(VerbError::Unknown(format!("{prefix} is not in the table\n  `weft explain` shows what covers it")));
    };
    let target = api::query(&route.prefix.to_string());
    let told = client.get::<Explanation>(&format!("/v1/explain?target={target}"))?.body.told;
    let told: Vec<String> = told.into_iter().filter(|peer| peer.told).map(|peer| peer.peer).collect();
    print(&frr::bgp_prefix(route, &told, &frr::peers(&known), epoch()), out)
}

/// The entries of an object, written one by one: a million of them need no memory here.
#[derive(Debug, Default)]
struct Entries {
    begun: bool,
    written: bool,
}

impl Entries {
    const fn is_first(&self) -> bool {
        !self.begun
    }

    fn write(&mut self, prefix: &IpNet, document: &Value, out: &mut impl Write) -> io::Result<()> {
        let comma = if std::mem::replace(&mut self.written, true) { "," } else { "" };
        write!(out, "{comma}\n\"{prefix}\":{document}")
    }
}
