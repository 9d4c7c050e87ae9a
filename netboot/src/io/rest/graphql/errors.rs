//! Errors of GraphQL: each says in its `extensions` what it would say over REST (kind, field, rule), and the `type` that Sabakan's
//! clients look at.

use super::{COMPLEXITY_MAX, DEPTH_MAX, too_much};
use crate::error::{Kind, NetbootError, Refusal};
use async_graphql::{Error, ErrorExtensionValues, ErrorExtensions as _, Response, ServerError, Value};

/// Characters of a message that quotes the request.
const MESSAGE_MAX: usize = 300;

/// Sabakan's words for what may be wrong, and ours for what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    InvalidStateName,
    InvalidStateTransition,
    EncryptionKeyExists,
    MachineNotFound,
    InternalServerError,
    Forbidden,
    BadRequest,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidStateName => "INVALID_STATE_NAME",
            Self::InvalidStateTransition => "INVALID_STATE_TRANSITION",
            Self::EncryptionKeyExists => "ENCRYPTION_KEY_EXISTS",
            Self::MachineNotFound => "MACHINE_NOT_FOUND",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
            Self::Forbidden => "FORBIDDEN",
            Self::BadRequest => "BAD_REQUEST",
        }
    }

    /// What a refusal is; `keys`: the machine still has disk keys and is to be retired.
    const fn of(kind: Kind, keys: bool) -> Self {
        match kind {
            Kind::NotFound => Self::MachineNotFound,
            Kind::Transition if keys => Self::EncryptionKeyExists,
            Kind::Transition => Self::InvalidStateTransition,
            Kind::Forbidden => Self::Forbidden,
            Kind::Invalid | Kind::Conflict | Kind::TooMuch => Self::BadRequest,
        }
    }
}

/// Why a field has no value.
pub(super) fn failed(error: &NetbootError, serial: Option<&str>, keys: bool) -> Error {
    let said = |kind, refusal: Option<&Refusal>, name: &'static str| {
        let shown = refusal.map_or_else(|| error.to_string(), |refusal| refusal.message.clone());
        Error::new(shown).extend_with(|_, values| {
            values.set("type", Type::name(kind));
            if let Some(serial) = serial {
                values.set("serial", serial);
            }
            values.set("kind", name);
            values.set("field", refusal.map(|refusal| refusal.field.as_str()).unwrap_or_default());
            values.set("rule", refusal.map(|refusal| refusal.rule.as_str()).unwrap_or_default());
        })
    };
    match error {
        NetbootError::Refused(refusal) => said(Type::of(refusal.kind, keys), Some(refusal), refusal.kind.name()),
        NetbootError::Store(_) => said(Type::InternalServerError, None, "store-unavailable"),
        NetbootError::Busy(_) => said(Type::InternalServerError, None, "busy"),
        NetbootError::Unknown(_) => said(Type::InternalServerError, None, "unknown-outcome"),
        NetbootError::Bmc(_) => said(Type::InternalServerError, None, "bmc"),
    }
}

/// The same for what the schema itself refused.
pub(super) fn explained(mut answer: Response) -> Response {
    for error in &mut answer.errors {
        let known = error.extensions.as_ref().is_some_and(|values| values.get("kind").is_some());
        if !known {
            error.message = shortened(&error.message);
            explain(error);
        }
    }
    answer
}

/// What is wrong, without the whole document around it; `locations` says where.
fn shortened(message: &str) -> String {
    let what = message.rsplit_once("\n  = ").map_or(message, |(_, what)| what);
    what.chars().take(MESSAGE_MAX).collect()
}

fn explain(error: &mut ServerError) {
    let message = error.message.as_str();
    let (kind, refusal) = if message.contains("too complex") {
        let rule =
            format!("at most {COMPLEXITY_MAX} fields, of which a search counts as {}", super::roots::SEARCH_COST);
        (Type::BadRequest, too_much("query", message, rule))
    } else if ["too deep", "recursion depth", "stack limit"].iter().any(|why| message.contains(why)) {
        (Type::BadRequest, too_much("query", message, format!("at most {DEPTH_MAX} levels")))
    } else if message.contains("MachineState") {
        let states: Vec<String> =
            crate::inventory::state::State::ALL.iter().map(|state| state.name().to_ascii_uppercase()).collect();
        let rule = format!("write one of {}", states.join(", "));
        (Type::InvalidStateName, Refusal::invalid("state", message, rule))
    } else {
        let rule = "write what the schema knows: `{ __schema { types { name fields { name } } } }` shows it";
        (Type::BadRequest, Refusal::invalid("query", message, rule))
    };
    let mut values = ErrorExtensionValues::default();
    values.set("type", Value::from(kind.name()));
    values.set("kind", refusal.kind.name());
    values.set("field", refusal.field);
    values.set("rule", refusal.rule);
    error.extensions = Some(values);
}
