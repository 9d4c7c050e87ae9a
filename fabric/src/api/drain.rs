//! What is taken out of service, as the API and the tables show it, and the query that asks for more of it.

use super::target::{Query, flag};
use super::{Command, Refusal};
use crate::drain::traffic::Traffic;
use crate::drain::{By, Info, Scope, State};
use crate::node::Node;
use serde::{Deserialize, Serialize};
use weft_bgp::time::Instant;

/// Everything that is out of service, and whether packets still come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    /// The node first, always; then links, then service addresses that are not live.
    pub drains: Vec<Drain>,
    /// What the kernel counted until now.
    pub traffic: Traffic,
    /// Where it is kept over a restart.
    pub file: String,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// `scope`, and `name` but for the node.
    #[serde(flatten)]
    pub scope: Scope,
    /// Its state.
    pub state: State,
    /// Where it is to get.
    pub target: State,
    /// It is there, everybody was told, and the settling time is over.
    pub settled: bool,
    /// Who wants it.
    pub by: By,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// Who has not acknowledged yet what was told.
    pub waiting_for: Vec<String>,
    /// Who did not within the limit.
    pub late: Vec<String>,
}

/// What the daemon's loop says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// See [`Drains::traffic`].
    pub traffic: Traffic,
    /// See [`Drains::file`].
    pub file: String,
    /// See [`Drains::not_kept`].
    pub not_kept: Option<String>,
}

pub(super) fn drains(node: &Node, now: Instant, around: &Around) -> Drains {
    let mut all: Vec<Drain> = node.drains().map(|info| drain(now, info)).collect();
    if all.first().is_none_or(|first| first.scope != Scope::Node) {
        let live = Drain {
            scope: Scope::Node,
            state: State::Live,
            target: State::Live,
            settled: true,
            by: By::Boot,
            since_ms: now.0 / 1_000_000,
            waiting_for: Vec::new(),
            late: Vec::new(),
        };
        all.insert(0, live);
    }
    let Around { traffic, file, not_kept } = around.clone();
    Drains { drains: all, traffic, file, not_kept }
}

fn drain(now: Instant, info: Info) -> Drain {
    let Info { scope, state, target, by, since, is_settled, waiting_for, late } = info;
    let since_ms = now.since(since).as_millis().try_into().unwrap_or(u64::MAX);
    Drain { scope, state, target, settled: is_settled, by, since_ms, waiting_for, late }
}

/// `POST /v1/drain?interface=NAME&state=STATE&force=true`.
pub(super) fn order(query: &mut Query) -> Result<Command, Refusal> {
    let scope = match (query.take("interface"), query.take("vip")) {
        (None, None) => Scope::Node,
        (Some(name), None) => Scope::Interface(name),
        (None, Some(name)) => Scope::Vip(name),
        (Some(_), Some(_)) => {
            return Err(Refusal::new(400, "an interface and a vip at once", "drain one after the other"));
        }
    };
    let text = query.needed("state")?;
    let state =
        text.parse().map_err(|remedy: String| Refusal::new(400, format!("state={text} is not possible"), remedy))?;
    Ok(Command::Drain { scope, state, force: flag(query, "force")? })
}

/// Why something cannot be drained, or must not without a word more.
///
/// # Errors
/// 404 for what is not there; 409 for the last way to this node, and for too many at once.
pub fn objection(node: &Node, now: Instant, scope: &Scope, state: State, force: bool) -> Result<(), Refusal> {
    match scope {
        Scope::Interface(name) if !node.knows_interface(name) && state != State::Live => {
            return Err(Refusal::new(
                404,
                format!("there is no interface `{name}`"),
                "`weft show interfaces` lists them",
            ));
        }
        Scope::Vip(name) if !node.knows_vip(name) && state != State::Live => {
            return Err(Refusal::new(404, format!("there is no vip `{name}`"), "`weft show vips` lists them"));
        }
        Scope::Interface(name) if state >= State::Warm && !force => {
            let (left, gone) = node.sessions_beside(now, name);
            if left == 0 && gone > 0 {
                let error = format!("{name} is the last way to this node: every session that stands is on it");
                return Err(Refusal::new(409, error, "drain it to `soft`, or say --force"));
            }
        }
        Scope::Node | Scope::Interface(_) | Scope::Vip(_) => {}
    }
    if !node.has_room_to_drain(scope) {
        let error = format!("{} are drained already", crate::drain::SCOPES_MAX);
        return Err(Refusal::new(409, error, "undrain one, or drain the node"));
    }
    Ok(())
}

/// Services that nobody else announces, of those that this takes out of service.
#[must_use]
pub fn alone(node: &Node, now: Instant, scope: &Scope, state: State) -> Vec<String> {
    let vips = node.vips(now).into_iter().filter(|vip| match scope {
        Scope::Node => state != State::Live,
        Scope::Vip(name) => state != State::Live && vip.config.name == *name,
        Scope::Interface(_) => false,
    });
    let lonely = vips.filter(|vip| {
        vip.state.is_announced() && !vip.config.addresses.iter().all(|net| node.speaker().has_other_origin(net))
    });
    lonely.map(|vip| vip.config.name).collect()
}
