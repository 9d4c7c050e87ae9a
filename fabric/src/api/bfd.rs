//! `GET /v1/bfd`: the sessions that detect broken paths, as their thread reports them, with the names of peers and links.

use crate::bfd::{Discard, Path, Status};
use crate::io::bfd::Report;
use crate::node::Node;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use weft_bgp::time::Instant;

/// All of BFD.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdSessions {
    /// In the order of the neighbors.
    pub sessions: Vec<BfdSession>,
    /// How the system schedules BFD's thread; absent while there is none.
    pub scheduling: Option<String>,
    /// Times that thread could not run when it had to.
    pub starved: u64,
    /// The longest of those, microseconds.
    pub starved_longest_us: u64,
    /// Sessions refused because there are too many.
    pub refused: u64,
    /// Packets discarded, by reason.
    pub discarded: BTreeMap<String, u64>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdSession {
    /// The neighbor that it is for.
    pub neighbor: String,
    /// Where that is.
    pub address: IpAddr,
    /// On which link; absent behind routers (RFC 5883).
    pub interface: Option<String>,
    /// `AdminDown`, `Down`, `Init` or `Up`.
    pub state: String,
    /// Seconds in that state.
    pub since_s: u64,
    /// Why it last went down.
    pub diagnostic: String,
    /// What the other end says of itself.
    pub remote_state: String,
    /// Likewise.
    pub remote_diagnostic: String,
    /// Ours.
    pub discriminator: u32,
    /// Theirs; 0 while unknown.
    pub remote_discriminator: u32,
    /// BFD there outlives its BGP (C bit).
    pub remote_independent: bool,
    /// How often we send, microseconds, before jitter; 0: only when asked.
    pub transmit_us: u64,
    /// How long silence may last, microseconds; 0 while nothing was heard.
    pub detection_us: u64,
    /// Packets taken.
    pub received: u64,
    /// Packets sent.
    pub transmitted: u64,
    /// Times it came up.
    pub ups: u64,
    /// Times the path failed.
    pub failures: u64,
    /// The kernel does not use this neighbor now, because it failed.
    pub out_of_use: bool,
    /// Why packets cannot be sent.
    pub error: Option<String>,
}

/// The report with names.
pub(super) fn sessions(node: &Node, now: Instant, report: Option<&Report>) -> BfdSessions {
    let Some(report) = report else {
        return BfdSessions::default();
    };
    let names: BTreeMap<_, _> = node.speaker().neighbors(now).into_iter().map(|info| (info.id, info.name)).collect();
    let link = |path: Path| match path {
        Path::SingleHop(index) => {
            let known = node.links().iter().find(|link| link.index == index);
            Some(known.map_or_else(|| format!("interface {}", index.0), |link| link.name.clone()))
        }
        Path::Multihop => None,
    };
    let one = |(status, error): &(Status, Option<String>)| BfdSession {
        neighbor: names.get(&status.peer).cloned().unwrap_or_else(|| status.endpoint.remote.to_string()),
        address: status.endpoint.remote,
        interface: link(status.endpoint.path),
        state: status.state.to_string(),
        since_s: now.since(status.since).as_secs(),
        diagnostic: status.diagnostic.to_string(),
        remote_state: status.remote_state.to_string(),
        remote_diagnostic: status.remote_diagnostic.to_string(),
        discriminator: status.discriminator,
        remote_discriminator: status.remote_discriminator,
        remote_independent: status.remote_independent,
        transmit_us: status.transmit_us,
        detection_us: status.detection_us,
        received: status.received,
        transmitted: status.transmitted,
        ups: status.ups,
        failures: status.failures,
        out_of_use: status.is_dead,
        error: error.clone(),
    };
    let totals = &report.totals;
    let discarded = Discard::ALL.map(|reason| (reason.text().replace(' ', "_"), totals.discarded[reason.index()]));
    BfdSessions {
        sessions: report.sessions.iter().map(one).collect(),
        scheduling: Some(report.scheduling.text().to_owned()),
        starved: totals.starved,
        starved_longest_us: u64::try_from(totals.starved_longest.as_micros()).unwrap_or(u64::MAX),
        refused: totals.refused,
        discarded: discarded.into_iter().filter(|(_, count)| *count > 0).collect(),
    }
}
