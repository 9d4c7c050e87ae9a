//! The HTTP API: what can be asked and changed, as JSON. Routes of weft's own are below `/v1`; Sabakan's below `/api/v1`.
//!
//! Who asks is decided before a request comes here (`server`): every request carries its actor.

mod answer;
mod attempts;
mod bmc;
mod boot;
mod enrol;
mod graphql;
mod keys;
mod leases;
mod liveness;
mod machines;
mod migration;
mod openapi;
mod page;
mod plans;
mod rollouts;
mod sabakan;
mod templates;
mod watch;

pub(in crate::io) use enrol::REPORT;
pub use keys::Keyring;

use super::bmc::Bmcs;
use super::boot::Booter;
use super::dhcp::Dhcp;
use super::dhcp6::Dhcp6;
use super::liveness::Watcher;
use super::server::counts::Counts;
use super::service::Service;
use crate::inventory::enrol::Rate;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Watchers at a time: each holds a connection and a place in the store's log.
const WATCHERS_MAX: usize = 1_024;

/// What handlers share.
#[derive(Debug)]
struct Api {
    service: Arc<Service>,
    counts: Arc<Counts>,
    watchers: Arc<Semaphore>,
    graphql: graphql::GraphQl,
    /// The document that says what can be asked.
    openapi: serde_json::Value,
    /// Who reports itself, and how often.
    rate: Mutex<Rate>,
    /// Reports of machines are stored one at a time: two at once would each find the last place.
    report: Semaphore,
    /// What the times of `rate` count from.
    started: Instant,
    /// Renders templates apart, if somebody is to.
    renders: Option<std::path::PathBuf>,
    /// Judges machines by their routes, if somebody is to.
    liveness: Option<Arc<Watcher>>,
    /// Gives addresses, if this server is to.
    dhcp: Option<Arc<Dhcp>>,
    dhcp6: Option<Arc<Dhcp6>>,
    /// Serves images, if this server is to.
    boot: Option<Arc<Booter>>,
    /// Speaks to management controllers, if this server is to.
    bmcs: Option<Arc<Bmcs>>,
    /// Gives disk keys out, if this server is to.
    keyring: Option<Arc<Keyring>>,
}

/// What a server does beside the inventory, each only if its configuration says so.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Judges machines by their routes.
    pub liveness: Option<Arc<Watcher>>,
    /// Gives addresses.
    pub dhcp: Option<Arc<Dhcp>>,
    /// The same by DHCPv6.
    pub dhcp6: Option<Arc<Dhcp6>>,
    /// Serves images.
    pub boot: Option<Arc<Booter>>,
    /// Speaks to management controllers.
    pub bmcs: Option<Arc<Bmcs>>,
    /// Gives disk keys out.
    pub keyring: Option<Arc<Keyring>>,
    /// The program that renders templates apart; nobody: they are rendered here.
    pub renders: Option<std::path::PathBuf>,
}

/// All routes.
pub fn router(service: Arc<Service>, counts: Arc<Counts>, parts: Parts) -> Router {
    let Parts { liveness, dhcp, dhcp6, boot, bmcs, keyring, renders } = parts;
    let about = "This document";
    let mut all = vec![openapi::on(Method::GET, "/v1/openapi.json", get(document), about).gives::<serde_json::Value>()];
    all.extend(page::operations());
    all.extend(machines::operations());
    all.extend(enrol::operations());
    all.extend(liveness::operations());
    all.extend(leases::operations());
    all.extend(keys::operations());
    all.extend(boot::operations());
    all.extend(rollouts::operations());
    all.extend(bmc::operations());
    all.extend(attempts::operations());
    all.extend(templates::operations());
    all.extend(watch::operations());
    all.extend(plans::operations());
    all.extend(migration::operations());
    all.extend(graphql::operations());
    all.extend(sabakan::operations());
    let api = Api {
        graphql: graphql::GraphQl::new(service.clone()),
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        openapi: openapi::document(&all),
        service,
        counts,
        rate: Mutex::default(),
        report: Semaphore::new(1),
        started: Instant::now(),
        liveness,
        dhcp,
        dhcp6,
        boot,
        bmcs,
        renders,
        keyring,
    };
    openapi::router(&all)
        .method_not_allowed_fallback(openapi::wrong_method)
        .fallback(answer::nothing_here)
        .with_state(Arc::new(api))
}

async fn document(Shared(api): Shared<Arc<Api>>) -> answer::Reply {
    Ok(answer::json(StatusCode::OK, &api.openapi))
}
