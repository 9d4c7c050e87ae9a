//! Canaries: some machines of a role first, then all, or none.

use super::Api;
use super::answer::{Failure, Input, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::boot::rollout::{Canary, Rollout, WITHIN_S, rollouts};
use crate::boot::{Boots, Change, Choice};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::io::service::now;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post, put};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What can be asked about canaries.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        on(Method::GET, "/v1/boot/pins", get(pins), "Who boots what and why; how canaries fare")
            .needs(Access::Read)
            .gives::<Pins>(),
        on(Method::PUT, "/v1/boot/canary", put(canary), "Some machines of a role try something, or more of them do")
            .needs(Access::Admin)
            .takes::<Wish>()
            .gives::<Pins>(),
        on(Method::POST, "/v1/boot/promote", post(promote), "All machines of a role boot what some try")
            .needs(Access::Admin)
            .takes::<Promotion>()
            .gives::<Done>(),
        on(Method::POST, "/v1/boot/rollback", post(roll_back), "Undo the last change of what a role boots")
            .needs(Access::Admin)
            .takes::<Rollback>()
            .gives::<Done>(),
    ]
}

/// Who boots what.
#[derive(Serialize, JsonSchema)]
struct Pins {
    roles: Vec<Rollout>,
    /// Machines with something of their own, by serial number.
    machines: BTreeMap<String, Choice>,
    /// Everybody else.
    rest: Option<Choice>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    role: String,
    /// An image, or `disk`.
    to: Choice,
    /// 1 to 100.
    percent: u8,
    /// How long a machine may be anything but healthy, in seconds.
    #[serde(default = "within")]
    within_s: u32,
    /// Also when a machine failed with it.
    #[serde(default)]
    force: bool,
}

const fn within() -> u32 {
    WITHIN_S
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Promotion {
    role: String,
    /// Also when a machine failed with it.
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rollback {
    role: String,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
struct Done {
    role: String,
    /// What was a canary, or what all booted.
    from: Option<Choice>,
    /// Whether it was a canary.
    was_canary: bool,
    /// What all machines of the role boot now that have nothing of their own; null = as everybody else.
    to: Option<Choice>,
}

fn known(api: &Api) -> Arc<Boots> {
    api.service.inventory().boots().cloned().unwrap_or_default()
}

async fn pins(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let boots = known(&api);
    let roles = rollouts(&boots, api.service.inventory().machines(), now());
    Ok(json(StatusCode::OK, &Pins { roles, machines: boots.machines.clone(), rest: boots.rest.clone() }))
}

async fn run(api: &Api, actor: &Actor, change: Change) -> Result<(), Failure> {
    Ok(api.service.run(&Command::Boot { change }, actor).await.map(drop)?)
}

async fn canary(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(wish): Input<Wish>) -> Reply {
    let Wish { role, to, percent, within_s, force } = wish;
    let canary = Canary { to, percent, within_s, since: now() };
    run(&api, &actor, Change::Canary { role, canary, force }).await?;
    pins(Shared(api), Who(actor)).await
}

async fn promote(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Input(Promotion { role, force }): Input<Promotion>,
) -> Reply {
    let from = known(&api).undone(&role).cloned();
    run(&api, &actor, Change::Promote { role: role.clone(), force }).await?;
    let to = known(&api).roles.get(&role).cloned();
    Ok(json(StatusCode::OK, &Done { role, from, was_canary: true, to }))
}

async fn roll_back(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(Rollback { role }): Input<Rollback>) -> Reply {
    let before = known(&api);
    let (from, was_canary) = (before.undone(&role).cloned(), before.canaries.contains_key(&role));
    run(&api, &actor, Change::Rollback { role: role.clone(), of: from.clone() }).await?;
    let to = known(&api).roles.get(&role).cloned();
    Ok(json(StatusCode::OK, &Done { role, from, was_canary, to }))
}
