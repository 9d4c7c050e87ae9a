//! Answers, and what a request's body and query say: bounded, and refused with field and rule.

use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::access::Actor;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Octets of a body: what a transaction of the store can hold.
const BODY_MAX: usize = crate::store::TRANSACTION_BYTES_MAX;
/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// A request that was not carried out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) StatusCode, pub(super) NetbootError);

impl From<NetbootError> for Failure {
    fn from(error: NetbootError) -> Self {
        let status = match &error {
            NetbootError::Refused(refusal) => match refusal.kind {
                Kind::Invalid => StatusCode::BAD_REQUEST,
                Kind::NotFound => StatusCode::NOT_FOUND,
                Kind::Conflict | Kind::Transition => StatusCode::CONFLICT,
                Kind::Forbidden => StatusCode::FORBIDDEN,
                Kind::TooMuch => StatusCode::PAYLOAD_TOO_LARGE,
            },
            NetbootError::Store(_) | NetbootError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            NetbootError::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
            NetbootError::Bmc(_) => StatusCode::BAD_GATEWAY,
        };
        Self(status, error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        NetbootError::from(refusal).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = match &self.1 {
            NetbootError::Refused(refusal) => serde_json::json!({ "error": refusal }),
            NetbootError::Store(_) => said("store-unavailable", &self.1),
            NetbootError::Busy(_) => said("busy", &self.1),
            NetbootError::Unknown(_) => said("unknown-outcome", &self.1),
            NetbootError::Bmc(_) => said("bmc", &self.1),
        };
        json(self.0, &body)
    }
}

fn said(kind: &str, error: &NetbootError) -> serde_json::Value {
    serde_json::json!({ "error": { "kind": kind, "field": "", "message": error.to_string(), "rule": "" } })
}

/// What a handler returns.
pub(super) type Reply = Result<Response, Failure>;

/// A JSON document.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A route that is none.
pub(super) async fn nothing_here(request: Request) -> Failure {
    Refusal::not_found("route", request.uri().path()).into()
}

/// Who asks; put there by the server that took the connection.
pub(super) struct Who(pub(super) Actor);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let actor = parts.extensions.get::<Actor>().cloned();
        let missing = || Refusal::invalid("", "nobody asks", "a connection has an identity").of(Kind::Forbidden);
        actor.map(Self).ok_or_else(|| missing().into())
    }
}

/// What stands in the path, decoded.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let axum::extract::Path(value) = read.map_err(|error| {
            Refusal::invalid("", format!("the path cannot be read: {error}"), "write UTF-8, percent-encoded")
        })?;
        Ok(Self(value))
    }
}

/// A body of JSON.
pub(super) struct Input<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        Ok(Self(document(request.into_body(), BODY_MAX).await?))
    }
}

/// A body that is one document of JSON, of so many octets at most.
pub(super) async fn document<T: DeserializeOwned>(body: Body, most: usize) -> Result<T, Failure> {
    let octets = whole(body, most).await?;
    let mut reader = serde_json::Deserializer::from_slice(&octets);
    let read: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
    let value = read.map_err(|error| {
        let path = error.path().to_string();
        let field = path.trim_start_matches('.').to_owned();
        let field = if field == "." || field == "?" { String::new() } else { field };
        Refusal::invalid(
            field,
            error.into_inner().to_string(),
            "the body is one document of JSON in the form of the reference",
        )
    })?;
    let end = reader.end();
    end.map_err(|error| Refusal::invalid("", error.to_string(), "the body is one document of JSON"))?;
    Ok(value)
}

/// A body of text: Sabakan takes a state or a date so.
pub(super) struct Text(pub(super) String);

impl<S: Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let octets = whole(request.into_body(), BODY_MAX).await?;
        let text = String::from_utf8(octets).map_err(|_| Refusal::invalid("", "the body is no text", "write UTF-8"))?;
        Ok(Self(text.trim().to_owned()))
    }
}

async fn whole(body: Body, most: usize) -> Result<Vec<u8>, Failure> {
    let read = tokio::time::timeout(BODY_WITHIN, to_bytes(body, most)).await;
    match read {
        Ok(Ok(octets)) => Ok(octets.to_vec()),
        Ok(Err(_)) => {
            let refusal =
                Refusal::invalid("", "the body is too large, or ended early", format!("at most {most} octets"));
            Err(refusal.of(Kind::TooMuch).into())
        }
        Err(_) => {
            let rule = format!("send it within {} s", BODY_WITHIN.as_secs());
            Err(Failure(StatusCode::REQUEST_TIMEOUT, Refusal::invalid("", "the body did not come", rule).into()))
        }
    }
}

/// Pairs of a query.
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let query = parts.uri.query().unwrap_or_default();
        let text = |word: &str| {
            let octets = word.replace('+', " ");
            percent_encoding::percent_decode_str(&octets).decode_utf8().map(std::borrow::Cow::into_owned)
        };
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Ok(key), Ok(value)) = (text(key), text(value)) else {
                return Err(Refusal::invalid("", format!("`{pair}` is no text"), "write UTF-8, percent-encoded").into());
            };
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }
}

impl Pairs {
    /// Takes the value of a key that is not part of what is searched for.
    pub(super) fn take<T: std::str::FromStr>(&mut self, key: &str, rule: &str) -> Result<Option<T>, Failure> {
        let Some(at) = self.0.iter().position(|(name, _)| name == key) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        let read = value.parse().map_err(|_| Refusal::invalid(key, format!("`{value}` is none"), rule))?;
        Ok(Some(read))
    }

    /// Refuses what is left.
    pub(super) fn empty(&self, known: &str) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => {
                let rule = format!("write {known}");
                Err(Refusal::invalid(key, format!("`{key}` is no key of this query"), rule).into())
            }
        }
    }

    /// As pairs of text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}
