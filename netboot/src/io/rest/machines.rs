//! Machines: asked for, registered, changed.

use super::Api;
use super::answer::{Input, Pairs, Reply, Who, json};
use crate::error::Refusal;
use crate::inventory::Inventory;
use crate::inventory::access::Actor;
use crate::inventory::command::Command;
use crate::inventory::machine::{Hardware, Ids, Machine, Spec};
use crate::inventory::query::Query;
use crate::inventory::state::State;
use crate::plan::Range;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Machines of one answer unless `limit` says less; the rest is asked for with `after`.
pub(super) const PAGE: usize = 1_000;

/// An answer with machines.
#[derive(Debug, Serialize)]
struct Page<'a> {
    /// What the answer knows.
    revision: u64,
    machines: &'a [Arc<Machine>],
    /// The last serial number here, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

/// The machines that a query means, in the order of serial numbers.
pub(super) fn found(inventory: &Inventory, query: &Query, after: &str, limit: usize) -> Vec<Arc<Machine>> {
    if let Some(serials) = query.serials() {
        let unique: BTreeSet<&String> = serials.iter().collect();
        let known = unique.into_iter().filter_map(|serial| inventory.machine(serial)).map(|held| &held.value);
        let meant = known.filter(|machine| machine.serial.as_str() > after && query.matches(machine));
        return meant.take(limit).cloned().collect();
    }
    inventory.machines_after(after).filter(|machine| query.matches(machine)).take(limit).cloned().collect()
}

pub(super) async fn list(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let limit = pairs.take::<usize>("limit", "a number")?.unwrap_or(PAGE).clamp(1, PAGE);
    let after = pairs.take::<String>("after", "a serial number")?.unwrap_or_default();
    let query = Query::read(pairs.iter())?;
    let (mut machines, revision) = {
        let inventory = api.service.inventory();
        (found(&inventory, &query, &after, limit + 1), inventory.revision().0)
    };
    let more = machines.len() > limit;
    machines.truncate(limit);
    let next = machines.last().filter(|_| more).map(|machine| machine.serial.as_str());
    Ok(json(StatusCode::OK, &Page { revision, machines: &machines, next }))
}

pub(super) async fn one(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    actor.may_read(Some(&serial))?;
    let found = api.service.inventory().machine(&serial).map(|held| held.value.clone());
    let machine = found.ok_or_else(|| Refusal::not_found("machine", &serial))?;
    Ok(json(StatusCode::OK, &machine))
}

async fn changed(api: &Api, actor: &Actor, command: &Command) -> Reply {
    let machines = api.service.run(command, actor).await?;
    Ok(match machines.first() {
        Some(machine) => json(StatusCode::OK, machine),
        None => json(StatusCode::OK, &serde_json::json!({})),
    })
}

pub(super) async fn register(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Input(machines): Input<Vec<Spec>>,
) -> Reply {
    let machines = api.service.run(&Command::Register { machines }, &actor).await?;
    let revision = api.service.inventory().revision().0;
    Ok(json(StatusCode::CREATED, &Page { revision, machines: &machines, next: None }))
}

pub(super) async fn remove(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    changed(&api, &actor, &Command::Remove { serial }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateBody {
    state: State,
    #[serde(default)]
    reason: String,
}

pub(super) async fn set_state(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(StateBody { state, reason }): Input<StateBody>,
) -> Reply {
    changed(&api, &actor, &Command::SetState { serial, to: state, reason }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelsBody {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    remove: BTreeSet<String>,
}

pub(super) async fn label(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(LabelsBody { set, remove }): Input<LabelsBody>,
) -> Reply {
    changed(&api, &actor, &Command::Label { serial, set, remove }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetireBody {
    at: Option<Timestamp>,
}

pub(super) async fn retire(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(RetireBody { at }): Input<RetireBody>,
) -> Reply {
    changed(&api, &actor, &Command::Retire { serial, at }).await
}

pub(super) async fn announce(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(ranges): Input<Vec<Range>>,
) -> Reply {
    changed(&api, &actor, &Command::Announce { serial, ranges }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportBody {
    #[serde(default)]
    ids: Option<Ids>,
    #[serde(default)]
    hardware: Option<Hardware>,
}

pub(super) async fn report(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(ReportBody { ids, hardware }): Input<ReportBody>,
) -> Reply {
    changed(&api, &actor, &Command::Report { serial, ids, hardware }).await
}
