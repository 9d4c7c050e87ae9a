//! Service addresses as the API and the tables show them.

use crate::config::{CheckConfig, OnLast};
use crate::node::Node;
use crate::vip::{Info, State};
use serde::{Deserialize, Serialize};
use weft_bgp::time::Instant;
use weft_bgp::types::IpNet;

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vips {
    /// By name.
    pub vips: Vec<Vip>,
}

/// One service with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Where it is in its life.
    pub state: State,
    /// Whether others hear of it.
    pub announced: bool,
    /// The check of the last origin failed: it stays announced, with GRACEFUL_SHUTDOWN.
    pub alarm: bool,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
    /// What is tried: `http://127.0.0.1:80/health`, `api`, or nothing.
    pub check: Option<String>,
    /// What the check says; absent before its first result, and without a check.
    pub good: Option<bool>,
    /// Milliseconds since the last result.
    pub checked_ms_ago: Option<u64>,
    /// Why the last result was bad.
    pub last_error: Option<String>,
    /// `weft vip set NAME down` is in force.
    pub set_down: bool,
    /// Milliseconds that a service that flaps has to wait though its check passes.
    pub held_down_ms: Option<u64>,
    /// What the last origin does.
    pub on_last: OnLast,
    /// Somebody else announces it too.
    pub other_origin: bool,
    /// Share beside other origins.
    pub weight: Option<u16>,
    /// Results of checks so far.
    pub checks: u64,
    /// How many of them were bad.
    pub checks_failed: u64,
    /// Times it went up.
    pub announced_times: u64,
    /// Times it was withdrawn.
    pub withdrawn_times: u64,
}

/// All services of a node.
pub(super) fn vips(node: &Node, now: Instant) -> Vips {
    Vips { vips: node.vips(now).into_iter().map(|info| vip(node, now, info)).collect() }
}

fn vip(node: &Node, now: Instant, info: Info) -> Vip {
    let millis = |from: Instant, to: Instant| to.0.saturating_sub(from.0) / 1_000_000;
    let config = info.config;
    Vip {
        state: info.state,
        announced: info.state.is_announced(),
        alarm: info.state == State::Kept,
        since_ms: millis(info.since, now),
        reason: info.reason,
        check: match &config.check {
            CheckConfig::None => None,
            CheckConfig::Api { .. } => Some("api".to_owned()),
            CheckConfig::Probe(probe) => Some(probe.probe.to_string()),
        },
        good: info.good,
        checked_ms_ago: info.last.as_ref().map(|(at, _)| millis(*at, now)),
        last_error: info.last.and_then(|(_, outcome)| outcome.err()),
        set_down: info.set_down,
        held_down_ms: info.held_until.map(|until| millis(now, until)),
        on_last: config.on_last,
        other_origin: config.addresses.iter().all(|net| node.speaker().has_other_origin(net)),
        weight: config.weight,
        checks: info.results,
        checks_failed: info.failures,
        announced_times: info.ups,
        withdrawn_times: info.downs,
        name: config.name,
        addresses: config.addresses,
    }
}
