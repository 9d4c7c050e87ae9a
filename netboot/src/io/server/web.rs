//! The web page for people at this machine (or with a tunnel to it): without certificates, so on a loopback address only, for reading
//! only, and only by names that mean this machine: a page of somebody else's, whose name points here, gets nothing.

use super::counts::Counts;
use super::{REFUSED_WAIT, permits, serve};
use crate::inventory::access::{Access, Actor};
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Connections at a time: browsers of a few people, each with a stream and a few questions.
const CONNECTIONS_MAX: usize = 256;

pub(super) async fn listen(listener: TcpListener, router: Router, counts: Arc<Counts>) {
    let router = router.layer(from_fn(only_read));
    let places = permits(CONNECTIONS_MAX);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of the web page");
                tokio::time::sleep(REFUSED_WAIT).await;
                continue;
            }
        };
        let actor = Actor { name: "web".to_owned(), access: Access::Read, via: peer.ip().to_string() };
        let (router, counts) = (router.clone(), counts.clone());
        tokio::spawn(async move {
            serve(stream, router, counts, actor).await;
            drop(place);
        });
    }
}

async fn only_read(request: Request, next: Next) -> Response {
    let refused = |status: StatusCode, message: &str, rule: &str| {
        let error = serde_json::json!({ "kind": "forbidden", "field": "", "message": message, "rule": rule });
        let body = serde_json::json!({ "error": error }).to_string();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let rule = "change things over the local socket, or with a certificate";
        return refused(StatusCode::FORBIDDEN, "this address is for reading", rule);
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_here) {
        let rule = "open http://localhost, with the port";
        return refused(StatusCode::MISDIRECTED_REQUEST, "this address has other names", rule);
    }
    next.run(request).await
}

/// A name that cannot mean another machine.
fn is_here(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let Some(name) = uri.host() else { return false };
    let address: Result<IpAddr, _> = name.trim_matches(['[', ']']).parse();
    address.map_or_else(|_| name.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_here;

    #[test]
    fn names_of_this_machine() {
        for name in ["localhost", "LOCALHOST:10080", "127.0.0.1", "127.1.2.3:10080", "[::1]:10080", "[::1]"] {
            assert!(is_here(name), "{name}");
        }
        for name in
            ["", "example.com", "localhost.example.com", "10.69.0.3:10080", "[fd00::1]", "user@example.com", "a b"]
        {
            assert!(!is_here(name), "{name}");
        }
    }
}
