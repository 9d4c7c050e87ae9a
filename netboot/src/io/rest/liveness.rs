//! What the fabric shows of machines: reports of their agents, and how the watcher is.

use super::Api;
use super::answer::{Reply, Who, json};
use super::openapi::{Operation, on};
use crate::error::Refusal;
use crate::inventory::access::{Access, Actor};
use crate::io::liveness::Watcher;
use crate::liveness::{Input, Status};
use axum::extract::{Path, State as Shared};
use axum::http::{Method, StatusCode};
use axum::routing::{get, post, put};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// What can be asked about the fabric.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        on(Method::PUT, "/v1/machines/{serial}/alive", put(alive), "Its agent is well; a machine says so of itself"),
        on(
            Method::GET,
            "/v1/liveness",
            get(status),
            "What this server sees of the fabric, by which it judges machines",
        )
        .needs(Access::Read)
        .gives::<Shown>(),
        on(Method::POST, "/v1/liveness/thaw", post(thaw), "A loss of many machines is real: mark them")
            .needs(Access::Operator),
    ]
}

fn watcher(api: &Api) -> Result<&Arc<Watcher>, Refusal> {
    api.liveness.as_ref().ok_or_else(|| {
        let rule = "write `liveness: {}` into the server's configuration, beside a `weft daemon`";
        Refusal::not_found("watcher of the fabric", "liveness").of(crate::error::Kind::Conflict).with_rule(rule)
    })
}

/// A machine's agent is well; or an operator says so for it.
pub(super) async fn alive(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    if actor.access != Access::Operator && actor.access != Access::Admin {
        // A reader that is no machine has a name too, but it is nobody's serial number.
        own(&actor, &serial)?;
    }
    if api.service.inventory().machine(&serial).is_none() {
        return Err(Refusal::not_found("machine", &serial).into());
    }
    watcher(&api)?.hear(Input::Report(serial));
    Ok(json(StatusCode::OK, &serde_json::json!({})))
}

fn own(actor: &Actor, serial: &str) -> Result<(), Refusal> {
    if actor.access == Access::Machine && actor.name == serial {
        return Ok(());
    }
    let message = format!("{} ({}) may not report {serial} alive", actor.name, actor.access);
    Err(Refusal::invalid("", message, "a machine reports itself").of(crate::error::Kind::Forbidden))
}

#[derive(Serialize, JsonSchema)]
struct Shown {
    /// Whether this server stores what it judges.
    leads: bool,
    #[serde(flatten)]
    status: Status,
}

pub(super) async fn status(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let watcher = watcher(&api)?;
    Ok(json(StatusCode::OK, &Shown { leads: watcher.leads(), status: watcher.status() }))
}

/// A loss of many is real: states are changed again.
pub(super) async fn thaw(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    if actor.access < Access::Operator {
        let message = format!("{} ({}) may not end the freeze", actor.name, actor.access);
        return Err(Refusal::invalid("", message, "this needs the role operator")
            .of(crate::error::Kind::Forbidden)
            .into());
    }
    let watcher = watcher(&api)?;
    tracing::warn!(
        who = actor.name,
        lost = watcher.status().lost.len(),
        "the loss of many machines is real, says a person"
    );
    watcher.hear(Input::Thaw);
    Ok(json(StatusCode::OK, &serde_json::json!({ "done": "states follow the routes again" })))
}
