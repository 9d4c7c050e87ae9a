//! The plans, the configurations that follow from them, and the audit log.

use super::Api;
use super::answer::{Input, Pairs, Reply, Who, json};
use crate::error::Refusal;
use crate::inventory::audit::AuditQuery;
use crate::inventory::command::{Command, Dhcp};
use crate::ipam::{Ipam, Meaning};
use crate::plan::{Plan, generate};
use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// Audit entries of one answer.
const AUDIT_MAX: usize = 1_000;

/// Whether this server knows the store; no question to it, so that a slow disk does not take the service away.
pub(super) async fn health(Shared(api): Shared<Arc<Api>>) -> Reply {
    let inventory = api.service.inventory();
    let (revision, machines) = (inventory.revision().0, inventory.machines().len());
    Ok(json(StatusCode::OK, &serde_json::json!({ "health": "healthy", "revision": revision, "machines": machines })))
}

pub(super) async fn version(Shared(api): Shared<Arc<Api>>) -> Reply {
    let document = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "store": api.service.store().describe() });
    Ok(json(StatusCode::OK, &document))
}

fn or_missing<T: serde::Serialize>(what: &str, found: Option<Arc<T>>) -> Reply {
    let rule = || format!("set one first: `weft-netboot {what} set FILE`");
    let missing = || Refusal::not_found("setting", what);
    let found = found.ok_or_else(|| Refusal { rule: rule(), ..missing() })?;
    Ok(json(StatusCode::OK, &*found))
}

pub(super) async fn ipam(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().ipam().cloned();
    or_missing("ipam", found)
}

pub(super) async fn set_ipam(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(ipam): Input<Ipam>) -> Reply {
    api.service.run(&Command::SetIpam { ipam: ipam.clone() }, &actor).await?;
    Ok(json(StatusCode::OK, &ipam))
}

pub(super) async fn plan(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().plan().cloned();
    or_missing("plan", found)
}

pub(super) async fn set_plan(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(plan): Input<Plan>) -> Reply {
    api.service.run(&Command::SetPlan { plan: plan.clone() }, &actor).await?;
    Ok(json(StatusCode::OK, &plan))
}

pub(super) async fn dhcp(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().dhcp().cloned();
    or_missing("dhcp", found)
}

pub(super) async fn set_dhcp(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(dhcp): Input<Dhcp>) -> Reply {
    api.service.run(&Command::SetDhcp { dhcp: dhcp.clone() }, &actor).await?;
    Ok(json(StatusCode::OK, &dhcp))
}

/// What an address is, and whose.
pub(super) async fn explain(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(text): Path<String>) -> Reply {
    actor.may_read(None)?;
    let read: Result<IpAddr, _> = text.parse();
    let address =
        read.map_err(|_| Refusal::invalid("address", format!("`{text}` is no address"), "write 10.69.0.4 or fd00::4"))?;
    let inventory = api.service.inventory();
    let meaning = inventory.ipam().and_then(|ipam| ipam.meaning(address));
    let owner = match meaning {
        Some(Meaning::Node { rack, index, .. } | Meaning::Bmc { rack, index }) => {
            inventory.machines().find(|machine| machine.rack == rack && machine.index == index)
        }
        Some(Meaning::Gateway { .. } | Meaning::Lease { .. } | Meaning::Unused { .. }) | None => None,
    };
    let document = serde_json::json!({
        "address": address,
        "meaning": meaning,
        "machine": owner.map(|machine| serde_json::json!({ "serial": machine.serial, "name": machine.name, "state": machine.state.name })),
    });
    Ok(json(StatusCode::OK, &document))
}

/// The configuration of a switch or machine; a machine may read its own.
pub(super) async fn fabric_config(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(name): Path<String>) -> Reply {
    actor.may_read(Some(&name))?;
    let inventory = api.service.inventory();
    let missing = |what: &str| {
        let rule = format!("set one first: `weft-netboot {what} set FILE`");
        Refusal { rule, ..Refusal::not_found("setting", what) }
    };
    let plan = inventory.plan().ok_or_else(|| missing("plan"))?;
    let ipam = inventory.ipam().ok_or_else(|| missing("ipam"))?;
    let document = generate(&name, plan, ipam, inventory.machines().map(Arc::as_ref))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], document.to_string()).into_response())
}

pub(super) async fn audit(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    actor.may_read(None)?;
    let time = "a time, as 2026-01-31T12:00:00Z";
    let asked = AuditQuery {
        since: pairs.take::<Timestamp>("since", time)?,
        until: pairs.take::<Timestamp>("until", time)?,
        subject: pairs.take::<String>("subject", "a serial number, or ipam, plan, dhcp")?,
        limit: pairs.take::<usize>("limit", "a number")?.unwrap_or(100).clamp(1, AUDIT_MAX),
    };
    pairs.empty("since, until, subject or limit")?;
    let entries = api.service.audit(&asked).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "entries": entries })))
}
