//! Machines that nobody registered: their reports, the rules, and what people say of those that wait.

use super::Api;
use super::answer::{Failure, Input, Path, Reply, Who, document, json};
use super::openapi::{Operation, on};
use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::access::Access;
use crate::inventory::command::Command;
use crate::inventory::enrol::{Acceptance, Origin, Rules, SAID_BYTES_MAX, Sighting, Waiting};
use crate::inventory::machine::Machine;
use crate::io::server::counts::Reported;
use crate::io::service::now;
use axum::extract::{Request, State as Shared};
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post, put};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError};

/// Where machines report themselves: the only route of the open listener.
pub(in crate::io) const REPORT: &str = "/v1/enrol";

pub(super) fn operations() -> Vec<Operation> {
    let one = "/v1/enrol/candidates/{serial}";
    vec![
        on(Method::POST, REPORT, post(report), "Say that a machine is there; a machine reports itself")
            .takes::<Sighting>()
            .gives::<Became>(),
        on(Method::GET, "/v1/enrol/candidates", get(list), "Machines that wait, each with the reason")
            .needs(Access::Read)
            .gives::<Candidates>(),
        on(Method::DELETE, one, delete(forget), "Forget one: it may report itself again").needs(Access::Operator),
        on(Method::POST, "/v1/enrol/candidates/{serial}/accept", post(accept), "Register one, as its rule or you say")
            .needs(Access::Operator)
            .takes::<Acceptance>()
            .created()
            .gives::<Machine>(),
        on(Method::POST, "/v1/enrol/candidates/{serial}/reject", post(reject), "Say that one is not wanted")
            .needs(Access::Operator)
            .takes::<Reason>()
            .gives::<Waiting>(),
        on(Method::GET, "/v1/enrol/rules", get(rules), "The rules, in their order")
            .needs(Access::Read)
            .gives::<Rules>(),
        on(Method::PUT, "/v1/enrol/rules", put(set_rules), "Change them; who waits is judged when it reports again")
            .needs(Access::Admin)
            .takes::<Rules>()
            .gives::<Rules>(),
    ]
}

/// What became of a report.
#[derive(Serialize, JsonSchema)]
struct Became {
    /// `registered` before, `accepted` by a rule just now, `waiting`, or `rejected` by a person.
    is: &'static str,
    /// Why it waits; only for who is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Candidates {
    /// What the answer knows.
    revision: u64,
    candidates: Vec<Waiting>,
}

/// All that wait, in the order of serial numbers; there are few ([`crate::inventory::enrol::CANDIDATES_MAX`]).
pub(super) fn waiting(inventory: &crate::inventory::Inventory) -> Vec<Waiting> {
    let now = now();
    inventory.candidates().map(|candidate| inventory.waiting(candidate, now)).collect()
}

async fn report(Shared(api): Shared<Arc<Api>>, Who(actor): Who, request: Request) -> Reply {
    let counted = |what: Reported| api.counts.reported(what);
    // Before anything is read of it: who asks too often costs as little as that.
    if actor.access <= Access::Machine {
        let now = api.started.elapsed();
        let taken = api.rate.lock().unwrap_or_else(PoisonError::into_inner).take(now, &Origin::of(&actor).source);
        if let Err(wait_s) = taken {
            counted(Reported::Limited);
            let refusal =
                Refusal::invalid("", "too many reports", format!("try again after {wait_s} s")).of(Kind::TooMuch);
            return Err(Failure(StatusCode::TOO_MANY_REQUESTS, refusal.into()));
        }
    }
    let said = document::<Sighting>(request.into_body(), SAID_BYTES_MAX).await;
    let said = said.inspect_err(|_| counted(Reported::Refused))?;
    let serial = said.serial.clone();
    // Never closed; if it were, reports would go on without turns.
    let turn = api.report.acquire().await.ok();
    let accepted = api.service.run(&Command::Sight { said: Box::new(said) }, &actor).await.inspect_err(|error| {
        let is_rule = matches!(error, NetbootError::Refused(refusal) if refusal.kind == Kind::Forbidden);
        counted(if is_rule { Reported::Rejected } else { Reported::Refused });
    })?;
    drop(turn);
    let inventory = api.service.inventory();
    let candidate = inventory.candidate(&serial);
    let (what, is) = match candidate {
        _ if !accepted.is_empty() => (Reported::Accepted, "accepted"),
        Some(candidate) if candidate.rejected.is_some() => (Reported::Rejected, "rejected"),
        Some(_) => (Reported::Waiting, "waiting"),
        None => (Reported::Registered, "registered"),
    };
    counted(what);
    let why = candidate.filter(|_| actor.access > Access::Stranger);
    let why = why.map(|candidate| inventory.waiting(candidate, now()).why);
    Ok(json(StatusCode::OK, &Became { is, why }))
}

async fn list(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let inventory = api.service.inventory();
    let answer = Candidates { revision: inventory.revision().0, candidates: waiting(&inventory) };
    drop(inventory);
    Ok(json(StatusCode::OK, &answer))
}

async fn accept(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(wish): Input<Acceptance>,
) -> Reply {
    let machines = api.service.run(&Command::Accept { serial, wish }, &actor).await?;
    Ok(json(StatusCode::CREATED, &machines.first()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[serde(default)]
    reason: String,
}

async fn reject(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(serial): Path<String>,
    Input(Reason { reason }): Input<Reason>,
) -> Reply {
    api.service.run(&Command::Reject { serial: serial.clone(), reason }, &actor).await?;
    let inventory = api.service.inventory();
    let missing = || Refusal::not_found("candidate", &serial);
    let candidate = inventory.candidate(&serial).ok_or_else(missing)?;
    Ok(json(StatusCode::OK, &inventory.waiting(candidate, now())))
}

async fn forget(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    api.service.run(&Command::Forget { serial }, &actor).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({})))
}

async fn rules(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().rules().cloned().unwrap_or_default();
    Ok(json(StatusCode::OK, &*found))
}

async fn set_rules(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(rules): Input<Rules>) -> Reply {
    api.service.run(&Command::SetRules { rules: rules.clone() }, &actor).await?;
    Ok(json(StatusCode::OK, &rules))
}
