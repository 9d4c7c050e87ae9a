//! From answers and refusals to HTTP.

use super::MAX_CONNECTIONS;
use crate::api::{self, Answer, Body, Refusal};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub(super) fn render(path: &str, answer: &Answer) -> Response<Full<Bytes>> {
    match &answer.body {
        Body::Metrics { text } => {
            reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.clone().into_bytes())
        }
        Body::Lines { form, text, next } => {
            let mut response = reply(StatusCode::OK, form.media_type(), text.clone().into_bytes());
            if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next.to_string()).ok()) {
                response.headers_mut().insert(api::NEXT_HEADER, next);
            }
            response
        }
        Body::Record(page) => {
            let mut response = reply(StatusCode::OK, "application/jsonl", page.text.clone().into_bytes());
            if let Some(next) = page.next.and_then(|next| HeaderValue::from_str(&next.to_string()).ok()) {
                response.headers_mut().insert(api::NEXT_HEADER, next);
            }
            response
        }
        Body::Health(health) if path == "/healthz" => {
            let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let text = health.reason.as_deref().unwrap_or("ok");
            reply(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
        }
        Body::Refused(refusal) => refused(refusal),
        Body::Version(_)
        | Body::Neighbors(_)
        | Body::NeighborHistory(_)
        | Body::Routes(_)
        | Body::Bgp(_)
        | Body::Interfaces(_)
        | Body::Explain(_)
        | Body::History(_)
        | Body::Policy(_)
        | Body::Configuration(_)
        | Body::Health(_)
        | Body::Dump(_)
        | Body::Vips(_)
        | Body::Dhcp(_)
        | Body::Originated(_)
        | Body::Fib(_)
        | Body::Observers(_)
        | Body::Rpki(_)
        | Body::Bfd(_)
        | Body::Plan(_)
        | Body::Drains(_)
        | Body::Done(_) => reply(StatusCode::OK, "application/json", line(serde_json::to_vec(answer))),
    }
}

pub(super) fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply(status, "application/json", json(refusal));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110 §15.5.6: which method would be right.
        let right = if refusal.remedy.as_deref() == Some("use POST") { "POST" } else { "GET" };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(right));
    }
    response
}

fn json(refusal: &Refusal) -> Vec<u8> {
    let mut value = serde_json::json!({ "schema": api::SCHEMA, "status": refusal.status, "error": refusal.error });
    if let (Some(remedy), Some(fields)) = (&refusal.remedy, value.as_object_mut()) {
        fields.insert("remedy".to_owned(), remedy.as_str().into());
    }
    line(serde_json::to_vec(&value))
}

/// Ends a document with a newline, for people with curl.
fn line(document: serde_json::Result<Vec<u8>>) -> Vec<u8> {
    // Our own types always become JSON.
    let mut text = document.unwrap_or_default();
    text.push(b'\n');
    text
}

fn reply(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A whole answer, for whoever gets no place.
pub(super) fn too_many() -> Vec<u8> {
    let refusal = Refusal::new(503, format!("{MAX_CONNECTIONS} connections are open already"), "try again");
    let body = json(&refusal);
    let length = body.len();
    let mut head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    head.extend_from_slice(&body);
    head
}
