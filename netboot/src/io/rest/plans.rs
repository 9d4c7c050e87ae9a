//! The plans, the configurations that follow from them, and the audit log.

use super::Api;
use super::answer::{Input, Pairs, Path, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::boot::rollout;
use crate::error::Refusal;
use crate::inventory::access::Access;
use crate::inventory::audit::{AuditLine, AuditQuery};
use crate::inventory::command::{Command, Dhcp};
use crate::inventory::state::State;
use crate::io::service::now;
use crate::ipam::{Ipam, Meaning, all};
use crate::metrics::Booted;
use crate::plan::{Plan, generate};
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, put};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// Machines that are held and named in the answer about health.
const WARNINGS_MAX: usize = 32;
/// Audit entries of one answer.
const AUDIT_MAX: usize = 1_000;

/// What can be asked about everything that is no machine.
pub(super) fn operations() -> Vec<Operation> {
    let entries: &[(&str, &str)] = &[
        ("since", "Not older than this time (RFC 3339)"),
        ("until", "Older than this time"),
        ("subject", "About this machine, or ipam, plan, dhcp"),
        ("limit", "Most entries of the answer, up to 1,000; 100 unless given"),
    ];
    vec![
        on(Method::GET, "/health", get(health), "Whether this server knows the store").gives::<Health>(),
        on(Method::GET, "/v1/version", get(version), "What answers").gives::<Version>(),
        on(Method::GET, "/v1/ipam", get(ipam), "The address plan").needs(Access::Read).gives::<Ipam>(),
        on(Method::PUT, "/v1/ipam", put(set_ipam), "Change it; no machine is moved")
            .needs(Access::Admin)
            .takes::<Ipam>()
            .gives::<Ipam>(),
        on(Method::GET, "/v1/ipam/explain/{address}", get(explain), "What an address is, and whose")
            .needs(Access::Read)
            .gives::<Explained<'static>>(),
        on(Method::GET, "/v1/plan", get(plan), "The plan of the fabric").needs(Access::Read).gives::<Plan>(),
        on(Method::PUT, "/v1/plan", put(set_plan), "Change it").needs(Access::Admin).takes::<Plan>().gives::<Plan>(),
        on(Method::GET, "/v1/dhcp", get(dhcp), "What DHCP tells").needs(Access::Read).gives::<Dhcp>(),
        on(Method::PUT, "/v1/dhcp", put(set_dhcp), "Change it").needs(Access::Admin).takes::<Dhcp>().gives::<Dhcp>(),
        on(
            Method::GET,
            "/v1/fabric/config/{name}",
            get(fabric_config),
            "Configuration of a switch or machine, as YAML",
        )
        .gives_text("application/yaml"),
        on(Method::GET, "/v1/audit", get(audit), "Who changed what, newest first")
            .needs(Access::Read)
            .asks(entries)
            .gives::<AuditPage>(),
        on(Method::GET, "/metrics", get(metrics), "Figures for Prometheus")
            .needs(Access::Read)
            .gives_text("text/plain"),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Health {
    /// `healthy`.
    health: &'static str,
    /// The revision of the store that this server knows.
    revision: u64,
    /// How many there are.
    machines: usize,
    /// What somebody should look at: canaries and machines that are held.
    warnings: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Version {
    version: &'static str,
    /// Which store, in words.
    store: String,
}

/// What an address is.
#[derive(Serialize, JsonSchema)]
struct Explained<'a> {
    address: IpAddr,
    /// Its place in the plan; null when it has none.
    meaning: Option<Meaning>,
    /// Who has it; null when nobody does.
    machine: Option<Owner<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Owner<'a> {
    serial: &'a str,
    name: &'a str,
    state: State,
}

#[derive(Serialize, JsonSchema)]
struct AuditPage {
    entries: Vec<AuditLine>,
}

/// Figures, as `metrics` names them.
pub(super) async fn metrics(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let watched = api.liveness.as_ref().map(|watcher| watcher.watched());
    let watchers = super::WATCHERS_MAX - api.watchers.available_permits();
    let dhcp = api.dhcp.as_ref().map(|dhcp| dhcp.shown());
    let dhcp6 = api.dhcp6.as_ref().map(|dhcp6| dhcp6.shown());
    let boot = api.boot.as_ref().map(|booter| Booted {
        counts: &booter.counts,
        pulls: &booter.puller.counts,
        boots: &booter.seen.boots,
    });
    let bmcs = api.bmcs.as_ref().map(|bmcs| bmcs.counts());
    let (watched, dhcp, dhcp6) = (watched.as_ref(), dhcp.as_ref(), dhcp6.as_ref());
    let others = crate::metrics::Others { watched, dhcp, dhcp6, boot, bmcs };
    let text = crate::metrics::text(now(), &api.service.inventory(), watchers, &api.counts, others);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// Whether this server knows the store; no question to it, so that a slow disk does not take the service away.
pub(super) async fn health(Shared(api): Shared<Arc<Api>>) -> Reply {
    let inventory = api.service.inventory();
    let (revision, machines) = (inventory.revision().0, inventory.machines().len());
    let boots = inventory.boots().cloned().unwrap_or_default();
    let mut warnings = rollout::held(&boots, inventory.machines(), now());
    let held = inventory.holds().map(|(machine, hold)| format!("{} is held: {}", machine.serial, hold.why));
    warnings.extend(held.take(WARNINGS_MAX));
    Ok(json(StatusCode::OK, &Health { health: "healthy", revision, machines, warnings }))
}

pub(super) async fn version(Shared(api): Shared<Arc<Api>>) -> Reply {
    let version = Version { version: env!("CARGO_PKG_VERSION"), store: api.service.store().describe() };
    Ok(json(StatusCode::OK, &version))
}

fn or_missing<T: Serialize>(what: &str, found: Option<Arc<T>>) -> Reply {
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
    let addressing = inventory.addressing();
    // Of two plans the one that knows more of it.
    let meanings = addressing.into_iter().flat_map(|plans| plans.plans().filter_map(|plan| plan.meaning(address)));
    let meaning = meanings.min_by_key(|meaning| matches!(meaning, Meaning::Unused { .. }));
    let owner = match (meaning, addressing) {
        (Some(Meaning::Node { rack, index, .. } | Meaning::Bmc { rack, index }), Some(plans)) => {
            let mut there = inventory.machines().filter(|machine| machine.rack == rack && machine.index == index);
            // Who has confirmed has its former address no more.
            there.find(|machine| plans.of(machine).iter().any(|addresses| all(addresses).contains(&address)))
        }
        _ => None,
    };
    let owner = owner.map(|machine| Owner { serial: &machine.serial, name: &machine.name, state: machine.state.name });
    let document = Explained { address, meaning, machine: owner };
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
    let ipam = inventory.addressing().ok_or_else(|| missing("ipam"))?;
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
    Ok(json(StatusCode::OK, &AuditPage { entries }))
}
