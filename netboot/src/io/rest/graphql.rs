//! GraphQL at `/graphql`, with the names and meanings of Sabakan's schema: what CKE and other clients of its ask, they find here.
//!
//! Questions run beside the threads that serve connections, a few at a time: an answer with every machine takes a while and memory,
//! and neither is taken from others. What one request may ask is bounded before any of it is done.

mod errors;
mod nodes;
mod roots;

use super::Api;
use super::answer::{Failure, Pairs, Reply, Who, document, json};
use super::openapi::{Operation, on};
use crate::error::{Kind, NetbootError, Refusal};
use crate::inventory::access::Actor;
use crate::io::service::Service;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{EmptySubscription, Response as Answer, Schema, Variables};
use axum::extract::{Request, State as Shared};
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing;
use roots::{Mutation, Query};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Octets of a request: the longest question with [`crate::inventory::query::VALUES_MAX`] values is a tenth of it.
const REQUEST_MAX: usize = 256 * 1024;
/// Levels of a question. The schema has five; the usual question about the schema itself has fourteen.
const DEPTH_MAX: usize = 20;
/// Fields of a question, a search counting as [`roots::SEARCH_COST`]: so at most three searches in one request.
const COMPLEXITY_MAX: usize = 400;
/// Questions that are answered at a time: each may hold an answer with every machine.
const AT_ONCE_MAX: usize = 4;

/// The schema, and who may ask it.
pub(super) struct GraphQl {
    schema: Schema<Query, Mutation, EmptySubscription>,
    turns: Arc<Semaphore>,
}

impl GraphQl {
    pub(super) fn new(service: Arc<Service>) -> Self {
        let schema = Schema::build(Query, Mutation, EmptySubscription)
            .limit_depth(DEPTH_MAX)
            .limit_complexity(COMPLEXITY_MAX)
            .data(service)
            .finish();
        Self { schema, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl fmt::Debug for GraphQl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphQl").field("turns", &self.turns).finish_non_exhaustive()
    }
}

/// The body of a request, as everybody's clients send it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Asked {
    query: String,
    #[serde(default)]
    variables: Option<serde_json::Value>,
    #[serde(default)]
    operation_name: Option<String>,
    /// Of clients that measure; nothing here knows any.
    #[serde(default, rename = "extensions")]
    #[schemars(with = "Option<serde_json::Value>")]
    _extensions: Option<IgnoredAny>,
}

pub(super) fn operations() -> Vec<Operation> {
    let asks: &[(&str, &str)] = &[
        ("query", "A document of GraphQL that changes nothing"),
        ("variables", "Its variables, an object of JSON"),
        ("operationName", "Which of its operations"),
    ];
    vec![
        on(Method::POST, "/graphql", routing::post(post), "GraphQL, with the names of Sabakan's schema")
            .takes::<Asked>()
            .gives::<Answered>(),
        on(Method::GET, "/graphql", routing::get(get), "The same for questions").asks(asks).gives::<Answered>(),
    ]
}

/// An answer of GraphQL: `data`, `errors`, or both.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its form is what counts")]
struct Answered {
    /// What was asked for.
    data: Option<serde_json::Value>,
    /// Each with message, locations, path, and extensions: type, kind, field, rule.
    errors: Option<Vec<serde_json::Value>>,
}

pub(super) async fn post(Shared(api): Shared<Arc<Api>>, Who(actor): Who, request: Request) -> Reply {
    let asked = document(request.into_body(), REQUEST_MAX).await?;
    answer(&api, actor, asked, false).await
}

/// `?query=…&variables=…&operationName=…`: questions alone, because a link that is followed must change nothing.
pub(super) async fn get(Shared(api): Shared<Arc<Api>>, Who(actor): Who, mut pairs: Pairs) -> Reply {
    let missing = || Refusal::invalid("query", "is missing", "write ?query=, percent-encoded");
    let query = pairs.take::<String>("query", "a document")?.ok_or_else(missing)?;
    let variables = pairs.take::<serde_json::Value>("variables", "an object of JSON")?;
    let operation_name = pairs.take::<String>("operationName", "a name")?;
    pairs.take::<String>("extensions", "an object of JSON")?;
    pairs.empty("query, variables or operationName")?;
    answer(&api, actor, Asked { query, variables, operation_name, _extensions: None }, true).await
}

async fn answer(api: &Api, actor: Actor, asked: Asked, only_questions: bool) -> Reply {
    let variables = match asked.variables {
        None | Some(serde_json::Value::Null) => Variables::default(),
        Some(object @ serde_json::Value::Object(_)) => Variables::from_json(object),
        Some(other) => {
            let refusal = Refusal::invalid("variables", format!("`{other}` is no object"), "write {\"NAME\": VALUE}");
            return Err(refusal.into());
        }
    };
    let mut request = async_graphql::Request::new(asked.query).variables(variables).data(actor);
    if let Some(name) = asked.operation_name {
        request = request.operation_name(name);
    }
    let changes = match request.parsed_query() {
        Ok(document) => changes(document),
        Err(error) => return Ok(json(StatusCode::OK, &errors::explained(Answer::from_errors(vec![error])))),
    };
    if only_questions && changes != Changes::None {
        let refusal = Refusal::invalid("query", "changes something", "send changes with POST");
        return Err(Failure(StatusCode::METHOD_NOT_ALLOWED, refusal.into()));
    }
    let schema = api.graphql.schema.clone();
    if changes == Changes::Only {
        // Its answer is small, and it waits for the store.
        return Ok(json(StatusCode::OK, &errors::explained(schema.execute(request).await)));
    }
    let stopped = || NetbootError::Busy("the server, which is stopping".to_owned());
    let turn = api.graphql.turns.clone().acquire_owned().await.map_err(|_| stopped())?;
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        let answer = errors::explained(runtime.block_on(schema.execute(request)));
        drop(turn);
        serde_json::to_vec(&answer).unwrap_or_default()
    });
    let octets = work.await.map_err(|_| stopped())?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], octets).into_response())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Changes {
    /// Nothing in the document changes anything.
    None,
    /// Something does.
    Some,
    /// All of it does.
    Only,
}

fn changes(document: &ExecutableDocument) -> Changes {
    let changes = |kind: OperationType| kind == OperationType::Mutation;
    match &document.operations {
        DocumentOperations::Single(one) if changes(one.node.ty) => Changes::Only,
        DocumentOperations::Single(_) => Changes::None,
        DocumentOperations::Multiple(all) => {
            let count = all.values().filter(|one| changes(one.node.ty)).count();
            match count {
                0 => Changes::None,
                _ if count == all.len() => Changes::Only,
                _ => Changes::Some,
            }
        }
    }
}

/// As a client is told that it asks for too much.
fn too_much(field: &str, message: &str, rule: String) -> Refusal {
    Refusal::invalid(field, message, rule).of(Kind::TooMuch)
}
