//! The times and shares by which machines are judged, each with the reason for what it is unless said otherwise.

use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How machines are judged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Socket of the `weft daemon` on this server.
    pub daemon: PathBuf,
    /// A machine is healthy only while its agent reports (`weft-netboot agent`); without, routes alone decide.
    pub agents: bool,
    /// A report holds so long. Agents report every 10 s: two may be lost.
    pub lease_s: u64,
    /// Without path and report for so long, a machine is unreachable. Longer than a switch takes to restart, or a cable to be changed.
    pub grace_s: u64,
    /// The same for a machine that is being updated: it restarts, more than once.
    pub updating_grace_s: u64,
    /// When more than this share of the machines goes within `mass_loss_window_s`, nothing is marked: no fifth of a datacenter dies at
    /// once, but the watcher's view of it does.
    pub mass_loss_percent: u64,
    /// But at least so many: of five machines one is a fifth.
    pub mass_loss_least: usize,
    /// What goes within this goes at once: BGP and BFD take up to 9 s to notice that a switch is gone.
    pub mass_loss_window_s: u64,
    /// So long after the daemon is heard and has a session, what is not there is not believed to be missing: it may be coming still.
    pub hold_s: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            daemon: PathBuf::from("/run/weft/weft.sock"),
            agents: false,
            lease_s: 30,
            grace_s: 60,
            updating_grace_s: 1_800,
            mass_loss_percent: 20,
            mass_loss_least: 3,
            mass_loss_window_s: 10,
            hold_s: 15,
        }
    }
}

impl Rules {
    /// Looks whether they go together.
    ///
    /// # Errors
    /// The field and why.
    pub fn check(&self) -> Result<(), String> {
        if self.grace_s < self.mass_loss_window_s || self.updating_grace_s < self.grace_s {
            return Err(format!(
                "liveness.grace_s: {} s: not shorter than mass_loss_window_s ({} s), nor longer than updating_grace_s ({} s)",
                self.grace_s, self.mass_loss_window_s, self.updating_grace_s
            ));
        }
        if self.lease_s == 0 || !(1..=100).contains(&self.mass_loss_percent) {
            return Err("liveness: lease_s is at least 1, mass_loss_percent 1 to 100".to_owned());
        }
        Ok(())
    }

    pub(super) const fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }

    pub(super) const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_s)
    }

    pub(super) const fn updating_grace(&self) -> Duration {
        Duration::from_secs(self.updating_grace_s)
    }

    pub(super) const fn window(&self) -> Duration {
        Duration::from_secs(self.mass_loss_window_s)
    }

    pub(super) const fn hold(&self) -> Duration {
        Duration::from_secs(self.hold_s)
    }
}
