//! What the daemon says in its log beside the events of sessions: service addresses, addresses that somebody else has, settings.

use crate::config::NodeConfig;
use crate::doctor::{self, Finding, Severity};
use crate::io::doctor::Root;
use crate::io::http::Server;
use crate::link::LinkInfo;
use crate::vip::{self, State};
use std::path::Path;
use weft_bgp::types::IpNet;

/// What begins.
pub(super) fn log_start(config: &NodeConfig) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        asn = %config.speaker.asn,
        router_id = %config.speaker.router_id,
        peers = config.peers.len(),
        restarting = config.speaker.restarting,
        "weft starts"
    );
}

/// Where other machines may ask.
pub(super) fn log_remote(server: &Server) {
    for address in server.remote_addresses() {
        tracing::info!(%address, "answers other machines with certificates");
    }
}

/// Says once of each address that somebody else on its link has it (RFC 4862 §5.4.5).
pub(super) fn warn_of_duplicates(before: &[LinkInfo], now: &[LinkInfo]) {
    let all = |links: &[LinkInfo]| -> Vec<(String, IpNet)> {
        let each = links.iter().flat_map(|link| link.addrs.iter().map(|addr| (link.name.clone(), addr)));
        each.filter(|(_, addr)| addr.duplicate).map(|(link, addr)| (link, addr.net)).collect()
    };
    let known = all(before);
    for (link, address) in all(now).into_iter().filter(|found| !known.contains(found)) {
        tracing::error!(link, %address, "somebody else on the link has this address: it is not used, and nobody is found there by it");
    }
}

/// Says at the start what `weft doctor` would say of faults.
pub(super) fn warn_of_faults(config: &NodeConfig) {
    let report = doctor::examine(config, &Root::new(Path::new("/")));
    for finding in report.findings.iter().filter(|finding| finding.severity == Severity::Fault) {
        let Finding { subject, found, why, remedy, .. } = finding;
        tracing::warn!(setting = subject, found, remedy, "{why}");
    }
}

/// One line per change.
pub(super) fn log_vip(vip::Event::Vip { name, state, reason }: &vip::Event) {
    match state {
        State::Up => tracing::info!(vip = name, "service address announced: {reason}"),
        State::Kept => tracing::error!(vip = name, "service failed, but its address stays announced: {reason}"),
        State::Shedding | State::Draining => tracing::warn!(vip = name, %state, "service address goes: {reason}"),
        State::Adding | State::Down => tracing::info!(vip = name, %state, "service address: {reason}"),
    }
}
