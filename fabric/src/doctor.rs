//! What in a system's settings keeps a routed host from working as it should: each finding says what is there, what should be, why it
//! matters, and the remedy. Pure: settings come through [`System`], from /proc and /sys or from a test's stand-in.

mod rules;
#[cfg(test)]
mod tests;

use crate::api::Certificate;
use crate::config::{NodeConfig, RemoteConfig};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where settings come from.
pub trait System {
    /// A kernel setting by its name in sysctl(8): `net.ipv4.ip_forward`. `None` if this kernel, or this namespace, has none.
    fn setting(&self, name: &str) -> Option<String>;
    /// The names of all interfaces.
    fn interfaces(&self) -> Vec<String>;
    /// The largest packet of an interface.
    fn mtu(&self, interface: &str) -> Option<u32>;
    /// Sockets of services that listen at an address of their own.
    fn listeners(&self) -> Vec<Listener>;
    /// Whether this kernel can restrict which files a daemon opens (Landlock). `None` where it cannot be asked.
    fn has_landlock(&self) -> Option<bool>;
    /// How the certificates of `api.remote` are, or why they cannot be used. `None` where they cannot be looked at.
    fn certificate(&self, remote: &RemoteConfig) -> Option<Result<Certificate, String>>;
}

/// A service's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// UDP, not TCP.
    pub is_udp: bool,
    /// It may bind to an address that is not there (IP_FREEBIND, IP_TRANSPARENT).
    pub is_free: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Packets are lost, or will be when something fails.
    Fault,
    /// It works, but worse than it could.
    Advice,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The setting, as in sysctl(8), or what else it is about.
    pub subject: String,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub wanted: String,
    /// What goes wrong otherwise.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
    /// The value that `--fix` sets; absent where people must decide.
    pub fix: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Faults first.
    pub findings: Vec<Finding>,
    /// Settings that cannot be seen here: this kernel has none of them, or shows them in its first namespace only.
    pub unseen: Vec<String>,
    /// How many settings were looked at and are right.
    pub right: u32,
}

impl Report {
    /// Whether something loses packets.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Fault)
    }

    /// Lines for /etc/sysctl.d that keep what `--fix` would set.
    #[must_use]
    pub fn sysctl_lines(&self) -> String {
        let fixable = self.findings.iter().filter_map(|finding| Some((&finding.subject, finding.fix.as_ref()?)));
        fixable.map(|(name, value)| format!("{name} = {value}\n")).collect()
    }
}

/// Looks at everything that matters to a configuration.
#[must_use]
pub fn examine(config: &NodeConfig, system: &dyn System) -> Report {
    let mut visit = rules::Visit::new(config, system);
    visit.forwarding();
    visit.uplinks();
    visit.hashing();
    visit.neighbour_tables();
    visit.mtus();
    visit.addresses();
    visit.services();
    visit.sandbox();
    visit.certificate();
    let mut report = visit.report;
    report.findings.sort_by(|a, b| (a.severity, &a.subject).cmp(&(b.severity, &b.subject)));
    report.unseen.sort();
    report.unseen.dedup();
    report
}
