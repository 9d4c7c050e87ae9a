//! How machines boot: what this server saw, what is counted, and who is held.

use super::Api;
use super::answer::{Path, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::boot::attempts::{Boot, Event, Hold};
use crate::error::Refusal;
use crate::inventory::access::Access;
use crate::inventory::command::Command;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// What can be asked about it.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        on(Method::GET, "/v1/machines/{serial}/boots", get(boots), "How a machine boots, and whether it is held")
            .gives::<Boots>(),
        on(Method::POST, "/v1/machines/{serial}/release", post(release), "Let a machine boot that is held")
            .needs(Access::Operator)
            .gives::<Boots>(),
    ]
}

/// How a machine boots.
#[derive(Serialize, JsonSchema)]
struct Boots {
    serial: String,
    /// Boots since it was healthy, on all servers.
    boots: Vec<Boot>,
    /// Why it gets nothing to boot.
    held: Option<Hold>,
    /// What this server saw since it started, oldest first.
    events: Vec<Event>,
}

async fn boots(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    actor.may_read(Some(&serial))?;
    let inventory = api.service.inventory();
    let machine = inventory.machine(&serial).ok_or_else(|| Refusal::not_found("machine", &serial))?;
    let boots = inventory.attempts(&serial).map(|attempts| attempts.boots.clone()).unwrap_or_default();
    let events = api.boot.as_ref().map(|booter| booter.seen.events(&serial)).unwrap_or_default();
    let held = inventory.hold(&machine.value).cloned();
    Ok(json(StatusCode::OK, &Boots { serial, boots, held, events }))
}

async fn release(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    api.service.run(&Command::Release { serial: serial.clone() }, &actor).await?;
    boots(Shared(api), Who(actor), Path(serial)).await
}
