//! The listener for machines that have no certificate yet: they may say that they are there, and nothing else. What they cost is bounded
//! before it is read: few connections, fewer of one source, none for long; the API bounds how often they report (`Rate`).

use super::counts::Counts;
use super::{REFUSED_WAIT, serve};
use crate::inventory::access::{Access, Actor, source};
use crate::io::rest::REPORT;
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Of these from one source.
const OF_SOURCE_MAX: usize = 8;
/// Longest connection: a report takes milliseconds.
const WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn listen(listener: TcpListener, router: Router, counts: Arc<Counts>) {
    let router = router.layer(from_fn(only_reports));
    let places = Places::default();
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
    if request.method() == Method::POST && request.uri().path() == REPORT {
        return next.run(request).await;
    }
    let rule = "here is only `POST /v1/enrol`; everything else needs a certificate";
    let error = serde_json::json!({ "kind": "forbidden", "field": "", "message": "nobody knows you", "rule": rule });
    let body = serde_json::json!({ "error": error }).to_string();
    (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Who is connected.
#[derive(Clone, Debug, Default)]
struct Places(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A connection's place, until it is dropped.
struct Place(Places, IpAddr);

impl Places {
    fn table(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        // Nothing in it can be half done: it has no code that panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, source: IpAddr) -> Option<Place> {
        let mut table = self.table();
        let all: usize = table.values().sum();
        let own = table.get(&source).copied().unwrap_or_default();
        if all >= CONNECTIONS_MAX || own >= OF_SOURCE_MAX {
            return None;
        }
        table.insert(source, own + 1);
        Some(Place(self.clone(), source))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.0.table();
        match table.get_mut(&self.1) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(table.remove(&self.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_few_places_and_all_have_not_many() {
        let places = Places::default();
        let address = |last: u32| IpAddr::from(last.to_be_bytes());
        let mut own: Vec<_> = (0..20).filter_map(|_| places.enter(address(1))).collect();
        assert_eq!(own.len(), OF_SOURCE_MAX);
        own.pop();
        assert!(places.enter(address(1)).is_some(), "who leaves makes room");
        let others: Vec<_> = (0..10_000).filter_map(|at| places.enter(address(100 + at))).collect();
        assert_eq!(own.len() + others.len(), CONNECTIONS_MAX);
        drop((own, others));
        assert!(places.table().is_empty());
    }
}
