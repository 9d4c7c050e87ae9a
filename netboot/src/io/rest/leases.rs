//! Leases, as the store has them: those of all servers.

use super::Api;
use super::answer::{Pairs, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::dhcp::lease::{Address as _, Lease};
use crate::error::NetbootError;
use crate::inventory::access::Access;
use crate::io::service::now;
use crate::store::Span;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use schemars::JsonSchema;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Leases of one answer.
const PAGE: usize = 1_000;

/// What can be asked about leases.
pub(super) fn operations() -> Vec<Operation> {
    let asked: &[(&str, &str)] = &[
        ("all", "`true`: those that are over too"),
        ("after", "Behind this address, in the order of their texts: `next` of the answer before"),
    ];
    vec![
        on(Method::GET, "/v1/leases", get(leases), "Addresses that DHCP lent, and those that rest")
            .needs(Access::Read)
            .asks(asked)
            .gives::<Page>(),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Page {
    leases: Vec<Shown>,
    /// Where to go on.
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Shown {
    address: IpAddr,
    #[serde(flatten)]
    lease: Lease,
    /// The machine with this network card, if one is registered.
    machine: Option<String>,
}

pub(super) async fn leases(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let all = pairs.take::<bool>("all", "true or false")?.unwrap_or(false);
    let after = pairs.take::<IpAddr>("after", "an address")?;
    pairs.empty("all or after")?;
    let from = match after {
        None => Ipv4Addr::LEASES.to_owned(),
        Some(IpAddr::V4(after)) => format!("{}{after}\0", Ipv4Addr::LEASES),
        Some(IpAddr::V6(after)) => format!("{}{after}\0", Ipv6Addr::LEASES),
    };
    // Those of IPv6 are behind those of IPv4, and nothing is between.
    let span = Span { from, limit: PAGE, ..Span::below(Ipv6Addr::LEASES) };
    let read = api.service.store().range(span).await.map_err(|error| NetbootError::Store(error.to_string()))?;
    let name = |key: &str| {
        [Ipv4Addr::LEASES, Ipv6Addr::LEASES].iter().find_map(|begin| key.strip_prefix(begin)).map(str::to_owned)
    };
    let next = read.entries.last().filter(|_| read.entries.len() == PAGE).and_then(|entry| name(&entry.key));
    let inventory = api.service.inventory();
    let now = now();
    let leases = read.entries.iter().filter_map(|entry| {
        // One that a newer version wrote hides nothing else.
        let lease: Lease = serde_json::from_slice(&entry.value).ok()?;
        let address = name(&entry.key)?.parse().ok()?;
        let machine = inventory.owner(&format!("ids.macs {}", lease.mac)).map(|machine| machine.serial.clone());
        (all || lease.until > now).then_some(Shown { address, lease, machine })
    });
    Ok(json(StatusCode::OK, &Page { leases: leases.collect(), next }))
}
