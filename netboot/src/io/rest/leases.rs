//! Leases, as the store has them: those of all servers.

use super::Api;
use super::answer::{Pairs, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::dhcp::v4::lease::{LEASES, Lease};
use crate::error::NetbootError;
use crate::inventory::access::Access;
use crate::io::service::now;
use crate::store::Span;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use schemars::JsonSchema;
use serde::Serialize;
use std::net::Ipv4Addr;
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
    address: Ipv4Addr,
    #[serde(flatten)]
    lease: Lease,
    /// The machine with this network card, if one is registered.
    machine: Option<String>,
}

pub(super) async fn leases(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let all = pairs.take::<bool>("all", "true or false")?.unwrap_or(false);
    let after = pairs.take::<Ipv4Addr>("after", "an address")?;
    pairs.empty("all or after")?;
    let from = after.map_or_else(|| LEASES.to_owned(), |after| format!("{LEASES}{after}\0"));
    let span = Span { from, limit: PAGE, ..Span::below(LEASES) };
    let read = api.service.store().range(span).await.map_err(|error| NetbootError::Store(error.to_string()))?;
    let next = read.entries.last().filter(|_| read.entries.len() == PAGE);
    let next = next.and_then(|entry| entry.key.strip_prefix(LEASES)).map(str::to_owned);
    let inventory = api.service.inventory();
    let now = now();
    let leases = read.entries.iter().filter_map(|entry| {
        // One that a newer version wrote hides nothing else.
        let lease: Lease = serde_json::from_slice(&entry.value).ok()?;
        let address = entry.key.strip_prefix(LEASES)?.parse().ok()?;
        let machine = inventory.owner(&format!("ids.macs {}", lease.mac)).map(|machine| machine.serial.clone());
        (all || lease.until > now).then_some(Shown { address, lease, machine })
    });
    Ok(json(StatusCode::OK, &Page { leases: leases.collect(), next }))
}
