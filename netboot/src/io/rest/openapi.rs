//! The routes, each with what it is for. From one list come the router and the OpenAPI document (version 3.1.0, whose schemas are JSON
//! Schema 2020-12), and the schemas come from the types that are read and written: what is not in the document cannot be asked.

use super::Api;
use crate::error::{Kind, Refusal};
use crate::inventory::access::Access;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::MethodRouter;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// One thing that can be asked.
#[derive(Clone)]
pub(super) struct Operation {
    method: Method,
    path: &'static str,
    handler: MethodRouter<Arc<Api>>,
    about: &'static str,
    needs: Option<Access>,
    parameters: &'static [(&'static str, &'static str)],
    body: Option<Content>,
    status: StatusCode,
    answer: Option<Content>,
}

/// A media type, and the form of what is in it.
#[derive(Clone, Copy)]
struct Content {
    media: &'static str,
    form: fn(&mut SchemaGenerator) -> Schema,
}

impl Content {
    fn json<T: JsonSchema>() -> Self {
        Self { media: "application/json", form: SchemaGenerator::subschema_for::<T> }
    }

    fn text(media: &'static str) -> Self {
        Self { media, form: SchemaGenerator::subschema_for::<String> }
    }

    fn document(self, generator: &mut SchemaGenerator) -> Value {
        json!({ self.media: { "schema": (self.form)(generator) } })
    }
}

/// An operation for everybody with an identity, without a body, whose answer is 200 and empty until it is said otherwise.
pub(super) fn on(
    method: Method,
    path: &'static str,
    handler: MethodRouter<Arc<Api>>,
    about: &'static str,
) -> Operation {
    let status = StatusCode::OK;
    Operation { method, path, handler, about, needs: None, parameters: &[], body: None, status, answer: None }
}

impl Operation {
    /// The least role, where no finer rule decides.
    pub(super) fn needs(self, access: Access) -> Self {
        Self { needs: Some(access), ..self }
    }

    /// Names of parameters in the query, each with what it means.
    pub(super) fn asks(self, parameters: &'static [(&'static str, &'static str)]) -> Self {
        Self { parameters, ..self }
    }

    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(Content::json::<T>()), ..self }
    }

    pub(super) fn takes_text(self) -> Self {
        Self { body: Some(Content::text("text/plain")), ..self }
    }

    pub(super) fn gives<T: JsonSchema>(self) -> Self {
        Self { answer: Some(Content::json::<T>()), ..self }
    }

    /// A JSON document in each line.
    pub(super) fn gives_lines<T: JsonSchema>(self) -> Self {
        Self { answer: Some(Content { media: "application/jsonl", ..Content::json::<T>() }), ..self }
    }

    pub(super) fn gives_text(self, media: &'static str) -> Self {
        Self { answer: Some(Content::text(media)), ..self }
    }

    pub(super) fn created(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }
}

/// A refusal, as every operation may answer.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its form is what counts")]
struct Refused {
    error: ErrorBody,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "its form is what counts")]
struct ErrorBody {
    /// What is wrong: one of invalid, not-found, conflict, transition, forbidden, too-much, store-unavailable, busy, unknown-outcome, bmc.
    kind: String,
    /// Path of the field, as the request writes it; empty = the whole request.
    field: String,
    /// What is wrong, with the wrong value.
    message: String,
    /// The rule that it breaks, or what to do instead.
    rule: String,
}

/// The router of a list of operations.
pub(super) fn router(operations: &[Operation]) -> Router<Arc<Api>> {
    operations.iter().fold(Router::new(), |router, one| router.route(one.path, one.handler.clone()))
}

/// Their document.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for one in operations {
        let document = one.document(&mut generator);
        let place = paths.entry(one.path).or_insert_with(|| json!({}));
        place[one.method.as_str().to_ascii_lowercase()] = document;
    }
    let refused = generator.subschema_for::<Refused>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "weft-netboot",
            "description": "The inventory of a boot server. Clients show a certificate with one identity \
                `spiffe://TRUST_DOMAIN/weft/ROLE/NAME`; `x-role` is the least role of an operation.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "certificate": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "certificate": { "type": "mutualTLS" } },
            "responses": { "Refused": {
                "description": "Refused, with field and rule; nothing was done",
                "content": { "application/json": { "schema": refused } },
            } },
        },
    })
}

impl Operation {
    fn document(&self, generator: &mut SchemaGenerator) -> Value {
        let in_path = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path =
            in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let in_query = self.parameters.iter().map(|(name, about)| {
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } })
        });
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let id =
            [self.method.as_str().to_ascii_lowercase().as_str()].into_iter().chain(words).collect::<Vec<_>>().join("_");
        let mut answer = json!({ "description": "Done" });
        if let Some(content) = self.answer {
            answer["content"] = content.document(generator);
        }
        let mut document = json!({
            "operationId": id,
            "summary": self.about,
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            "responses": { self.status.as_str(): answer, "default": { "$ref": "#/components/responses/Refused" } },
        });
        if let Some(content) = self.body {
            document["requestBody"] = json!({ "required": true, "content": content.document(generator) });
        }
        if let Some(access) = self.needs {
            document["x-role"] = json!(access.name());
        }
        document
    }
}

/// A route that is there, asked in another way.
pub(super) async fn wrong_method(method: Method, request: axum::extract::Request) -> super::answer::Failure {
    let path = request.uri().path();
    let refusal =
        Refusal::invalid("", format!("{method} is nothing for {path}"), "see /v1/openapi.json").of(Kind::Invalid);
    super::answer::Failure(StatusCode::METHOD_NOT_ALLOWED, refusal.into())
}

#[cfg(test)]
mod tests {
    /// No route is made beside the list.
    #[test]
    fn every_route_comes_from_the_list() {
        for (name, source) in [
            ("rest.rs", include_str!("../rest.rs")),
            ("machines.rs", include_str!("machines.rs")),
            ("migration.rs", include_str!("migration.rs")),
            ("enrol.rs", include_str!("enrol.rs")),
            ("open.rs", include_str!("../server/open.rs")),
            ("page.rs", include_str!("page.rs")),
            ("web.rs", include_str!("../server/web.rs")),
            ("plans.rs", include_str!("plans.rs")),
            ("sabakan.rs", include_str!("sabakan.rs")),
            ("watch.rs", include_str!("watch.rs")),
            ("graphql.rs", include_str!("graphql.rs")),
            ("server.rs", include_str!("../server.rs")),
        ] {
            for maker in [".route(", ".nest(", ".merge(", ".route_service("] {
                assert!(!source.contains(maker), "{name}: {maker}");
            }
        }
    }
}
