//! Leases of DHCP over a restart: a file, read before links and peers are known, so that no machine is cut off because the daemon began anew.

use super::Daemon;
use crate::io::{clock, dhcp, drain};
use crate::node::Input;
use crate::record::Recorder;
use weft_bgp::time::Instant;

/// What an earlier run has heard.
pub(super) fn restore(node: &mut Recorder, now: Instant) {
    let Some(path) = node.config().relay.as_ref().map(|relay| relay.file.clone()) else {
        return;
    };
    match dhcp::load(&path) {
        Ok(kept) => node.handle(now, Input::DhcpLeases { wall: clock::wall(), kept }),
        Err(error) => tracing::error!(
            file = %path.display(), %error,
            "leases of before are not known: machines without one are reached again when they renew it; remove the file if it is not weft's"
        ),
    }
}

impl Daemon {
    /// Keeps leases as they are now.
    pub(super) fn keep_leases(&self) {
        let Some(relay) = &self.node.config().relay else {
            return;
        };
        let kept = self.node.relay().keep(self.clock.now(), clock::wall());
        if let Err(error) = drain::save(&relay.file, &kept) {
            tracing::error!(file = %relay.file.display(), %error, "leases are not kept over a restart");
        }
    }
}
