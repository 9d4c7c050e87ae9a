//! The HTTP API: what can be asked and changed, as JSON. Routes of weft's own are below `/v1`; Sabakan's below `/api/v1`.
//!
//! Who asks is decided before a request comes here (`server`): every request carries its actor.

mod answer;
mod machines;
mod plans;
mod sabakan;
mod watch;

use super::service::Service;
use axum::Router;
use axum::routing::{get, patch, put};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Watchers at a time: each holds a connection and a place in the store's log.
const WATCHERS_MAX: usize = 1_024;

/// What handlers share.
#[derive(Debug)]
struct Api {
    service: Arc<Service>,
    watchers: Arc<Semaphore>,
}

/// All routes.
pub fn router(service: Arc<Service>) -> Router {
    let api = Arc::new(Api { service, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) });
    Router::new()
        .route("/health", get(plans::health))
        .route("/v1/version", get(plans::version))
        .route("/v1/machines", get(machines::list).post(machines::register))
        .route("/v1/machines/{serial}", get(machines::one).delete(machines::remove))
        .route("/v1/machines/{serial}/state", put(machines::set_state))
        .route("/v1/machines/{serial}/labels", patch(machines::label))
        .route("/v1/machines/{serial}/retires", put(machines::retire))
        .route("/v1/machines/{serial}/announces", put(machines::announce))
        .route("/v1/machines/{serial}/report", put(machines::report))
        .route("/v1/watch/machines", get(watch::machines))
        .route("/v1/ipam", get(plans::ipam).put(plans::set_ipam))
        .route("/v1/ipam/explain/{address}", get(plans::explain))
        .route("/v1/plan", get(plans::plan).put(plans::set_plan))
        .route("/v1/dhcp", get(plans::dhcp).put(plans::set_dhcp))
        .route("/v1/fabric/config/{name}", get(plans::fabric_config))
        .route("/v1/audit", get(plans::audit))
        .merge(sabakan::routes())
        .fallback(answer::nothing_here)
        .with_state(api)
}
