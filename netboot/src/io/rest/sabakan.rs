//! Sabakan's routes of machines and plans, below `/api/v1`, with its status codes; what is served here are its clients `sabactl`, CKE
//! and state setters. Images, ignitions and disk keys are not among them yet.
//!
//! Differs from Sabakan: who may write is decided by roles, not by the address a request comes from.

use super::Api;
use super::answer::{Failure, Input, Pairs, Path, Reply, Text, Who, json};
use super::machines::found;
use super::openapi::{Operation, on};
use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::access::{Access, Actor};
use crate::inventory::audit::AuditQuery;
use crate::inventory::command::Command;
use crate::inventory::query::Query;
use crate::inventory::state::State;
use crate::io::service::now;
use crate::sabakan::{DhcpConfig, IpamConfig, MachineFile, MachineView};
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{delete, get, post, put};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// Entries of one answer of `logs`.
const LOGS_MAX: usize = 10_000;

pub(super) fn operations() -> Vec<Operation> {
    let days: &[(&str, &str)] = &[("since", "A day, as 20260131"), ("until", "The day behind the last one")];
    let (label, machine) = ("/api/v1/labels/{serial}/{label}", "/api/v1/machines/{serial}");
    let on = |method, path, handler, about| on(method, path, handler, about).needs(Access::Read);
    vec![
        on(Method::GET, "/version", get(version), "Sabakan: its version").gives::<Version>(),
        on(Method::GET, "/api/v1/config/ipam", get(ipam), "Sabakan: the address plan").gives::<IpamConfig>(),
        on(Method::PUT, "/api/v1/config/ipam", put(set_ipam), "Sabakan: change it")
            .needs(Access::Admin)
            .takes::<IpamConfig>(),
        on(Method::GET, "/api/v1/config/dhcp", get(dhcp), "Sabakan: what DHCP tells").gives::<DhcpConfig>(),
        on(Method::PUT, "/api/v1/config/dhcp", put(set_dhcp), "Sabakan: change it")
            .needs(Access::Admin)
            .takes::<DhcpConfig>(),
        on(Method::GET, "/api/v1/machines", get(list), "Sabakan: machines that a query means; 404 when there are none")
            .gives::<Vec<MachineView>>(),
        on(Method::POST, "/api/v1/machines", post(register), "Sabakan: register machines")
            .needs(Access::Operator)
            .takes::<Vec<MachineFile>>()
            .created(),
        on(Method::DELETE, machine, delete(remove), "Sabakan: delete a retired machine").needs(Access::Admin),
        on(Method::GET, "/api/v1/state/{serial}", get(state), "Sabakan: the state of a machine")
            .gives_text("text/plain"),
        on(Method::PUT, "/api/v1/state/{serial}", put(set_state), "Sabakan: say what it is fit for")
            .needs(Access::Operator)
            .takes_text(),
        on(Method::PUT, label, put(set_label), "Sabakan: set a label").needs(Access::Operator).takes_text(),
        on(Method::DELETE, label, delete(remove_label), "Sabakan: remove a label").needs(Access::Operator),
        on(Method::PUT, "/api/v1/retire-date/{serial}", put(retire), "Sabakan: say when it is to leave")
            .needs(Access::Operator)
            .takes_text(),
        on(Method::GET, "/api/v1/logs", get(logs), "Sabakan: the audit log, oldest first")
            .asks(days)
            .gives_text("application/json"),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Version {
    version: &'static str,
}

/// neco.md §1.3: 500 for a forbidden transition.
fn as_sabakan(error: NetbootError) -> Failure {
    if let NetbootError::Refused(refusal) = &error
        && refusal.kind == Kind::Transition
    {
        return Failure(StatusCode::INTERNAL_SERVER_ERROR, error);
    }
    error.into()
}

async fn run(api: &Api, actor: &Actor, command: Command, status: StatusCode) -> Reply {
    api.service.run(&command, actor).await.map_err(as_sabakan)?;
    Ok(status.into_response())
}

async fn version() -> Reply {
    Ok(json(StatusCode::OK, &Version { version: env!("CARGO_PKG_VERSION") }))
}

async fn ipam(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().ipam().cloned();
    let ipam = found.ok_or_else(|| Refusal::not_found("setting", "ipam"))?;
    Ok(json(StatusCode::OK, &IpamConfig::of(&ipam)?))
}

async fn set_ipam(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(config): Input<IpamConfig>) -> Reply {
    run(&api, &actor, Command::SetIpam { ipam: config.into_ipam()? }, StatusCode::OK).await
}

async fn dhcp(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().dhcp().cloned();
    let dhcp = found.ok_or_else(|| Refusal::not_found("setting", "dhcp"))?;
    Ok(json(StatusCode::OK, &DhcpConfig::of(&dhcp)))
}

async fn set_dhcp(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(config): Input<DhcpConfig>) -> Reply {
    run(&api, &actor, Command::SetDhcp { dhcp: config.into_dhcp() }, StatusCode::OK).await
}

async fn list(Shared(api): Shared<Arc<Api>>, Who(actor): Who, pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let query = Query::read(pairs.iter())?;
    let machines: Vec<_> = {
        let inventory = api.service.inventory();
        // Its clients know no pages.
        let found = found(&inventory, &query, "", usize::MAX);
        found.into_iter().map(|machine| (inventory.ipam_of(&machine).cloned(), machine)).collect()
    };
    if machines.is_empty() {
        return Err(Refusal::not_found("machine", "of this query").into());
    }
    let now = now();
    let views: Vec<MachineView> =
        machines.iter().map(|(ipam, machine)| MachineView::of(machine, ipam.as_deref(), now)).collect();
    Ok(json(StatusCode::OK, &views))
}

async fn register(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(files): Input<Vec<MachineFile>>) -> Reply {
    let machines = files.into_iter().map(MachineFile::into_spec).collect();
    run(&api, &actor, Command::Register { machines }, StatusCode::CREATED).await
}

async fn remove(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    run(&api, &actor, Command::Remove { serial }, StatusCode::OK).await
}

async fn state(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    actor.may_read(Some(&serial))?;
    let found = api.service.inventory().machine(&serial).map(|held| held.value.state.name);
    let state = found.ok_or_else(|| Refusal::not_found("machine", &serial))?;
    Ok(state.name().into_response())
}

async fn set_state(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Text(text): Text,
) -> Reply {
    let to: State = text.parse()?;
    let reason = "through Sabakan's API".to_owned();
    run(&api, &actor, Command::SetState { serial, to, reason }, StatusCode::OK).await
}

async fn set_label(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path((serial, label)): Path<(String, String)>,
    Text(value): Text,
) -> Reply {
    let set = BTreeMap::from([(label, value)]);
    run(&api, &actor, Command::Label { serial, set, remove: BTreeSet::new() }, StatusCode::OK).await
}

async fn remove_label(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path((serial, label)): Path<(String, String)>,
) -> Reply {
    let known = api.service.inventory().machine(&serial).map(|held| held.value.labels.contains_key(&label));
    if known == Some(false) {
        return Err(Refusal::not_found("label", &label).into());
    }
    let remove = BTreeSet::from([label]);
    run(&api, &actor, Command::Label { serial, set: BTreeMap::new(), remove }, StatusCode::OK).await
}

async fn retire(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>, Text(text): Text) -> Reply {
    let read: Result<Timestamp, _> = text.parse();
    let rule = "write 2030-01-31T00:00:00Z (RFC 3339)";
    let at = read.map_err(|_| Refusal::invalid("retire-date", format!("`{text}` is no date"), rule))?;
    run(&api, &actor, Command::Retire { serial, at: Some(at) }, StatusCode::OK).await
}

/// JSON lines, oldest first.
async fn logs(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let (since, until) = (day(&mut pairs, "since")?, day(&mut pairs, "until")?);
    pairs.empty("since or until")?;
    let mut entries = api.service.audit(&AuditQuery { since, until, subject: None, limit: LOGS_MAX }).await?;
    entries.reverse();
    let mut text = String::new();
    for line in entries {
        let detail = line.entry.after.as_ref().map(ToString::to_string).unwrap_or_default();
        let document = serde_json::json!({
            "ts": line.entry.at, "rev": line.revision.to_string(), "user": line.entry.who, "ip": line.entry.via,
            "host": "", "category": if line.entry.action.contains("ipam") { "ipam" } else { "machines" },
            "instance": line.entry.subject, "action": line.entry.action, "detail": detail,
        });
        let _ = writeln!(text, "{document}");
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Sabakan writes days as `20260131`.
fn day(pairs: &mut Pairs, key: &str) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = pairs.take::<String>(key, "a day")? else {
        return Ok(None);
    };
    let dashed = match (text.get(..4), text.get(4..6), text.get(6..8), text.len()) {
        (Some(year), Some(month), Some(day), 8) => format!("{year}-{month}-{day}T00:00:00Z"),
        _ => text.clone(),
    };
    let read: Result<Timestamp, _> = dashed.parse();
    read.map(Some).map_err(|_| Refusal::invalid(key, format!("`{text}` is no day"), "write 20260131").into())
}
