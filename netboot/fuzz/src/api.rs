//! A whole server without sockets: requests go to its router, as they come from a connection whose client is known.

use super::memory::InMemory;
use super::{actor, admin, ipam};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt as _;
use weft_netboot::inventory::access::Actor;
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::machine::Spec;
use weft_netboot::inventory::{AUDIT, Inventory};
use weft_netboot::io::rest;
use weft_netboot::io::service::Service;
use weft_netboot::store::Store as _;

/// Requests of one input.
const REQUESTS_MAX: usize = 16;

struct Server {
    store: InMemory,
    service: Arc<Service>,
    router: Router,
}

impl Server {
    async fn start() -> Self {
        let store = InMemory::default();
        let service = Service::start(Arc::new(store.clone())).await.unwrap();
        service.run(&Command::SetIpam { ipam: ipam() }, &admin()).await.unwrap();
        let machine = |serial: &str, rack, role: &str| Spec {
            serial: serial.to_owned(),
            rack,
            role: role.to_owned(),
            ..Spec::default()
        };
        let machines = vec![machine("m0", 0, "cs"), machine("m1", 1, "ss")];
        service.run(&Command::Register { machines }, &admin()).await.unwrap();
        let router = rest::router(service.clone(), Arc::default(), rest::Parts::default());
        Self { store, service, router }
    }

    /// Status and body; `None` when it is no request, or has no end.
    async fn ask(&self, actor: Actor, method: &[u8], path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        // A watch stream lasts.
        if path.contains("/watch/") {
            return None;
        }
        let method = Method::from_bytes(method).ok()?;
        let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_vec())).ok()?;
        request.extensions_mut().insert(actor);
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        Some((status, answer.into_body().collect().await.unwrap().to_bytes().to_vec()))
    }

    /// The copy that answers is what the store holds; how many audit entries that has.
    async fn is_whole(&self) -> usize {
        let snapshot = self.store.read("").await.unwrap();
        let read = Inventory::load(&snapshot).unwrap();
        assert!(read.machines().eq(self.service.inventory().machines()));
        snapshot.entries.iter().filter(|entry| entry.key.starts_with(AUDIT)).count()
    }
}

fn alone<F: Future>(work: F) -> F::Output {
    // A runtime for each input: nothing of one goes on in the next.
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// Requests, each an octet for the role, method and path in a line, the body in the next; lines of `---` between them.
pub fn rest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    alone(async {
        let server = Server::start().await;
        for request in text.split("\n---\n").take(REQUESTS_MAX) {
            let (head, body) = request.split_once('\n').unwrap_or((request, ""));
            let mut words = head.split(' ');
            let (Some(role), Some(method), Some(path)) = (words.next(), words.next(), words.next()) else { continue };
            let actor = actor(role.bytes().next().unwrap_or_default());
            let before = server.service.inventory().revision();
            let audited = server.is_whole().await;
            let Some((status, answer)) = server.ask(actor, method.as_bytes(), path, body.as_bytes()).await else {
                continue;
            };
            let audited = server.is_whole().await - audited;
            let changed = server.service.inventory().revision() > before;
            // A machine that reports itself is a candidate at most, which is in no log.
            let reports = method == "POST" && path == "/v1/enrol";
            assert!(audited == 0 || changed, "{head}: {status}");
            assert!(audited > 0 || !changed || reports, "{head}: {status}");
            if status >= 400 {
                assert!(!changed, "{head}: {status}, but something has changed");
                let error: Value = serde_json::from_slice(&answer).unwrap_or_default();
                let said = |key: &str| error["error"][key].as_str().is_some_and(|text| !text.is_empty());
                assert!(
                    said("kind") && said("message") && said("rule"),
                    "{head}: {status} {}",
                    String::from_utf8_lossy(&answer)
                );
                // Sabakan's status for a forbidden transition, and nothing else's.
                assert!(status < 500 || path.starts_with("/api/v1/"), "{head}: {status}");
            }
        }
    });
}

/// First octet: the role. The rest: the document, and after a NUL its variables.
pub fn graphql(data: &[u8]) {
    let Some((role, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (query, variables) = text.split_once('\0').unwrap_or((text, "null"));
    let variables: Value = serde_json::from_str(variables).unwrap_or_default();
    alone(async {
        let server = Server::start().await;
        let before = server.service.inventory().revision();
        let body = json!({ "query": query, "variables": variables }).to_string();
        let answered = server.ask(actor(*role), b"POST", "/graphql", body.as_bytes()).await;
        let (status, answer) = answered.unwrap();
        let audited = server.is_whole().await;
        let changed = server.service.inventory().revision() > before;
        assert!(!changed || (query.contains("mutation") && audited > 3), "{query}");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        if status != 200 {
            assert!((400..500).contains(&status) && !answer["error"]["rule"].is_null(), "{status} {answer}");
            return;
        }
        let errors = answer["errors"].as_array();
        // The schema's library says null, not {}, where directives leave nothing of what was asked.
        assert!(errors.is_some() || !answer["data"].is_null() || query.contains('@'), "{answer}");
        for error in errors.into_iter().flatten() {
            let rule = error["extensions"]["rule"].as_str();
            assert!(rule.is_some() && error["extensions"]["type"].is_string(), "{error}");
        }
    });
}
