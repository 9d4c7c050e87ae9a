//! What can be asked and changed. Every field asks the same questions about who may as REST does.

#![expect(clippy::unused_async, reason = "resolvers are async")]

use super::errors::failed;
use super::nodes::{CandidateNode, MachineNode, MachineParams, MachineState, StatusNode, query};
use crate::error::Refusal;
use crate::inventory::access::Actor;
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use crate::io::rest::machines::found;
use crate::io::service::{Service, now};
use async_graphql::{Context, Error, ID, Object, Result};
use std::sync::Arc;

/// Fields as which a search counts: it looks at every machine.
pub(super) const SEARCH_COST: usize = 100;

/// Who asks; put there by the handler.
fn asking<'a>(context: &Context<'a>) -> Result<(&'a Arc<Service>, &'a Actor)> {
    Ok((context.data::<Arc<Service>>()?, context.data::<Actor>()?))
}

fn refused(refusal: Refusal, serial: Option<&str>) -> Error {
    failed(&refusal.into(), serial, false)
}

#[derive(Debug)]
pub(super) struct Query;

#[Object]
impl Query {
    /// One machine.
    async fn machine(&self, context: &Context<'_>, serial: ID) -> Result<MachineNode> {
        let (service, actor) = asking(context)?;
        actor.may_read(Some(&serial)).map_err(|refusal| refused(refusal, Some(&serial)))?;
        let inventory = service.inventory();
        let known = inventory.machine(&serial).map(|held| held.value.clone());
        let machine = known.ok_or_else(|| refused(Refusal::not_found("machine", &serial), Some(&serial)))?;
        let ipam = inventory.ipam_of(&machine).cloned();
        Ok(MachineNode::new(machine, ipam, now()))
    }

    /// The machines that are as the one says and not as the other, by serial number.
    #[graphql(complexity = "SEARCH_COST + child_complexity")]
    async fn search_machines(
        &self,
        context: &Context<'_>,
        having: Option<MachineParams>,
        not_having: Option<MachineParams>,
    ) -> Result<Vec<MachineNode>> {
        let (service, actor) = asking(context)?;
        actor.may_read(None).map_err(|refusal| refused(refusal, None))?;
        let now = now();
        let query = query(having, not_having, now).map_err(|error| failed(&error, None, false))?;
        let inventory = service.inventory();
        // Its clients know no pages.
        let found = found(&inventory, &query, "", usize::MAX).into_iter();
        let node = |machine: Arc<Machine>| {
            let ipam = inventory.ipam_of(&machine).cloned();
            MachineNode::new(machine, ipam, now)
        };
        Ok(found.map(node).collect())
    }

    /// Machines that nobody registered and that wait, by serial number.
    #[graphql(complexity = "SEARCH_COST + child_complexity")]
    async fn candidates(&self, context: &Context<'_>) -> Result<Vec<CandidateNode>> {
        let (service, actor) = asking(context)?;
        actor.may_read(None).map_err(|refusal| refused(refusal, None))?;
        let all = crate::io::rest::enrol::waiting(&service.inventory());
        Ok(all.into_iter().map(CandidateNode::new).collect())
    }
}

#[derive(Debug)]
pub(super) struct Mutation;

#[Object]
impl Mutation {
    /// Says what a machine is fit for.
    async fn set_machine_state(
        &self,
        context: &Context<'_>,
        serial: ID,
        state: MachineState,
        #[graphql(desc = "Why")] reason: Option<String>,
    ) -> Result<StatusNode> {
        let (service, actor) = asking(context)?;
        let to = State::from(state);
        let reason = reason.unwrap_or_else(|| "through GraphQL".to_owned());
        let command = Command::SetState { serial: serial.0.clone(), to, reason };
        let done = service.run(&command, actor).await;
        let inventory = service.inventory();
        let held = inventory.machine(&serial).map(|held| held.value.clone());
        let machines = done.map_err(|error| {
            let keys = |state: State| state == State::Retiring && to == State::Retired;
            let keys = held.as_ref().is_some_and(|held| keys(held.state.name) && !held.disk_keys.is_empty());
            failed(&error, Some(&serial), keys)
        })?;
        let missing = || refused(Refusal::not_found("machine", &serial), Some(&serial));
        let machine = machines.first().cloned().or(held).ok_or_else(missing)?;
        let ipam = inventory.ipam_of(&machine).cloned();
        Ok(MachineNode::new(machine, ipam, now()).into_status())
    }
}
