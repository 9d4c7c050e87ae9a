//! Another address plan under live machines: what it would change, and its steps.

use super::Api;
use super::answer::{Input, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::error::Refusal;
use crate::inventory::Inventory;
use crate::inventory::access::Access;
use crate::inventory::command::Command;
use crate::ipam::{Ipam, Migration, Step};
use crate::plan::{Preview, STEPS_MAX, preview};
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) fn operations() -> Vec<Operation> {
    let place = "/v1/ipam/migration";
    vec![
        on(Method::POST, "/v1/ipam/plan", post(what_if), "What another address plan would change; nothing is done")
            .needs(Access::Read)
            .takes::<Ipam>()
            .gives::<Preview>(),
        on(Method::GET, place, get(show), "The change that is under way, and who has not confirmed")
            .needs(Access::Read)
            .gives::<Progress>(),
        on(Method::POST, place, post(begin), "Change it: machines keep their addresses beside the new ones")
            .needs(Access::Admin)
            .takes::<Ipam>()
            .created()
            .gives::<Progress>(),
        on(
            Method::POST,
            "/v1/ipam/migration/confirm",
            post(confirm),
            "Machines need the old addresses no more; a machine says it itself",
        )
        .takes::<Confirmed>()
        .gives::<Done>(),
        on(Method::POST, "/v1/ipam/migration/abort", post(abort), "The way back")
            .needs(Access::Admin)
            .gives::<Progress>(),
        on(Method::POST, "/v1/ipam/migration/finish", post(finish), "All have confirmed: one plan again")
            .needs(Access::Admin)
            .gives::<Progress>(),
    ]
}

/// How far it is.
#[derive(Serialize, JsonSchema)]
struct Progress {
    /// Null when none is under way.
    migration: Option<Migration>,
    /// How many machines there are.
    machines: usize,
    /// How many have the addresses of where it goes, and them alone.
    through: usize,
    /// The first 1,000 of those that have both.
    waiting: Vec<Step>,
}

fn progress(inventory: &Inventory) -> Progress {
    let migration = inventory.migration();
    let plan = inventory.plan();
    let machines = inventory.machines().len();
    let waiting = inventory.machines().filter_map(|machine| {
        let asn = plan.and_then(|plan| plan.asn.machine(machine.rack, machine.index).ok());
        Some(Step::of(machine, asn, &migration?.beside(machine)?))
    });
    let mut waiting: Vec<Step> = waiting.collect();
    let through = if migration.is_some() { machines - waiting.len() } else { 0 };
    waiting.truncate(STEPS_MAX);
    Progress { migration: migration.map(|migration| migration.as_ref().clone()), machines, through, waiting }
}

async fn what_if(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(to): Input<Ipam>) -> Reply {
    actor.may_read(None)?;
    let (plan, from, machines) = {
        let inventory = api.service.inventory();
        let machines: Vec<_> = inventory.machines().cloned().collect();
        (inventory.plan().cloned(), inventory.ipam().cloned(), machines)
    };
    let from = from.ok_or_else(|| Refusal::not_found("setting", "ipam"))?;
    let answer = preview(plan.as_deref(), &from, &to, machines.iter().map(Arc::as_ref));
    Ok(json(StatusCode::OK, &answer))
}

async fn show(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let answer = progress(&api.service.inventory());
    Ok(json(StatusCode::OK, &answer))
}

async fn begin(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(to): Input<Ipam>) -> Reply {
    api.service.run(&Command::BeginMigration { to: Box::new(to) }, &actor).await?;
    let answer = progress(&api.service.inventory());
    Ok(json(StatusCode::CREATED, &answer))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    /// At most 60.
    serials: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Done {
    /// How many of them have one plan's addresses now.
    confirmed: usize,
}

async fn confirm(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Input(Confirmed { serials }): Input<Confirmed>,
) -> Reply {
    let confirmed = api.service.run(&Command::Confirm { serials }, &actor).await?.len();
    Ok(json(StatusCode::OK, &Done { confirmed }))
}

async fn abort(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    api.service.run(&Command::AbortMigration, &actor).await?;
    let answer = progress(&api.service.inventory());
    Ok(json(StatusCode::OK, &answer))
}

async fn finish(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    api.service.run(&Command::FinishMigration, &actor).await?;
    let answer = progress(&api.service.inventory());
    Ok(json(StatusCode::OK, &answer))
}
