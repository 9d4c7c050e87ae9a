//! The inventory as a web page: one file, which brings everything with it and reads the routes that every client reads. It changes
//! nothing.

use super::Api;
use super::answer::{Reply, Who};
use super::openapi::{Operation, on};
use crate::inventory::access::Access;
use axum::extract::State as Shared;
use axum::http::{Method, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use std::sync::Arc;

const PAGE: &str = include_str!("page.html");
/// Nothing from elsewhere, nothing to elsewhere, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        on(Method::GET, "/", get(page), "The inventory as a web page, live")
            .needs(Access::Read)
            .gives_text("text/html"),
    ]
}

async fn page(Shared(_api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let head = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((head, PAGE).into_response())
}
