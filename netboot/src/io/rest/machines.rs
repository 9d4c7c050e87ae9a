//! Machines: asked for, registered, changed.

use super::Api;
use super::answer::{Input, Pairs, Path, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::error::Refusal;
use crate::inventory::Inventory;
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::inventory::machine::{Hardware, Ids, Machine, Spec};
use crate::inventory::query::Query;
use crate::inventory::state::State;
use crate::liveness::Evidence;
use crate::plan::Range;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, patch, post, put};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Machines of one answer unless `limit` says less; the rest is asked for with `after`.
pub(super) const PAGE: usize = 1_000;

/// Keys of a query, for people who read the document.
const QUERY: &[(&str, &str)] = &[
    ("serial", "Serial numbers, with commas between them; as each of the following also with `without-` before it"),
    ("name", "Host names"),
    ("labels", "LABEL=VALUE, of several all"),
    ("rack", "Racks"),
    ("role", "Roles"),
    ("ipv4", "Addresses of machines or their BMCs"),
    ("ipv6", "Addresses of machines or their BMCs"),
    ("bmc-type", "Types of BMC"),
    ("state", "States"),
    ("mac", "MAC addresses"),
    ("limit", "Most machines of the answer, up to 1,000"),
    ("after", "The serial number behind which the answer begins"),
];

/// What can be asked about machines.
pub(super) fn operations() -> Vec<Operation> {
    let serial = "/v1/machines/{serial}";
    vec![
        on(Method::GET, "/v1/machines", get(list), "Machines that a query means, a page of them")
            .needs(Access::Read)
            .asks(QUERY)
            .gives::<Page<'static>>(),
        on(Method::POST, "/v1/machines", post(register), "Register machines, at most 60: all of them or none")
            .needs(Access::Operator)
            .takes::<Vec<Spec>>()
            .created()
            .gives::<Page<'static>>(),
        on(Method::GET, serial, get(one), "One machine; a machine may read its own").gives::<Machine>(),
        on(Method::DELETE, serial, delete(remove), "Delete a retired machine").needs(Access::Admin),
        on(Method::PUT, "/v1/machines/{serial}/state", put(set_state), "Say what it is fit for; `admin` retires")
            .needs(Access::Operator)
            .takes::<StateBody>()
            .gives::<Machine>(),
        on(Method::PATCH, "/v1/machines/{serial}/labels", patch(label), "Add, change and remove labels")
            .needs(Access::Operator)
            .takes::<LabelsBody>()
            .gives::<Machine>(),
        on(Method::PUT, "/v1/machines/{serial}/retires", put(retire), "Say when it is to leave")
            .needs(Access::Operator)
            .takes::<RetireBody>()
            .gives::<Machine>(),
        on(Method::PUT, "/v1/machines/{serial}/announces", put(announce), "Say all that it may announce of its own")
            .needs(Access::Operator)
            .takes::<Vec<Range>>()
            .gives::<Machine>(),
        on(Method::PUT, "/v1/machines/{serial}/report", put(report), "Say what is in it; a machine reports itself")
            .takes::<ReportBody>()
            .gives::<Machine>(),
    ]
}

/// An answer with machines.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page<'a> {
    /// What the answer knows.
    revision: u64,
    machines: &'a [Arc<Machine>],
    /// The last serial number here, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
    /// What the fabric shows of each, by serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<BTreeMap<&'a str, Evidence>>,
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
    let serials = machines.iter().map(|machine| machine.serial.as_str());
    let evidence = api.liveness.as_ref().map(|watcher| watcher.evidence(serials));
    Ok(json(StatusCode::OK, &Page { revision, machines: &machines, next, evidence }))
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
    Ok(json(StatusCode::CREATED, &Page { revision, machines: &machines, next: None, evidence: None }))
}

pub(super) async fn remove(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    changed(&api, &actor, &Command::Remove { serial }).await
}

#[derive(Deserialize, JsonSchema)]
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

#[derive(Deserialize, JsonSchema)]
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

#[derive(Deserialize, JsonSchema)]
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

#[derive(Deserialize, JsonSchema)]
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
