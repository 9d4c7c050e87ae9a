//! The listener for machines that have no certificate yet: they may say that they are there, and prove by their TPM
//! what they booted, and nothing else. What they cost is bounded
//! before it is read: few connections, fewer of one source, none for long; the API bounds how often they report (`Rate`).

use super::counts::Counts;
use super::places::Places;
use super::{REFUSED_WAIT, serve};
use crate::inventory::access::{Access, Actor, source};
use crate::io::rest::REPORT;
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use weft_machine::keys::{CHALLENGE, RELEASE};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Of these from one source.
const OF_SOURCE_MAX: usize = 8;
/// Longest connection: a report takes milliseconds.
const WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn listen(listener: TcpListener, router: Router, counts: Arc<Counts>) {
    let router = router.layer(from_fn(only_reports));
    let places = Places::new(CONNECTIONS_MAX, OF_SOURCE_MAX);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a machine without a certificate");
                tokio::time::sleep(REFUSED_WAIT).await;
                continue;
            }
        };
        // Without a place the connection ends at once: nobody waits for who came before.
        let Some(place) = places.enter(source(peer.ip())) else { continue };
        let via = peer.ip().to_canonical().to_string();
        let actor = Actor { name: "stranger".to_owned(), access: Access::Stranger, via };
        let (router, counts) = (router.clone(), counts.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(WITHIN, serve(stream, router, counts, actor)).await;
            drop(place);
        });
    }
}

async fn only_reports(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && matches!(request.uri().path(), REPORT | CHALLENGE | RELEASE) {
        return next.run(request).await;
    }
    let rule = "here is only `POST` to /v1/enrol, /v1/keys/challenge and /v1/keys/release; everything else needs a certificate";
    let error = serde_json::json!({ "kind": "forbidden", "field": "", "message": "nobody knows you", "rule": rule });
    let body = serde_json::json!({ "error": error }).to_string();
    (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
