//! What BFD means to a session that is not there yet: a strict one waits for it (draft-ietf-idr-bgp-bfd-strict-mode §8), and for some seconds
//! every one after a restart of ours, because the peer's BFD may be one with our life before (RFC 5882 §4.3). What its failure means is in
//! [`super::ending`].

use super::PeerOutput;
use super::arbiter::{Context, Peer};
use super::trail::{FsmEvent, FsmState};
use crate::time::{Duration, Instant};

/// BFD that was waited for is Up: others dial as soon as they see that (FRR does), and of two connections that meet FRR gives up both where
/// graceful restart was agreed on.
const DIAL_AFTER_BFD: Duration = Duration::from_millis(300);

impl Peer {
    pub(super) fn await_bfd(&mut self, until: Instant) {
        self.bfd_awaited = Some(until);
        if let Some((conn, _)) = self.dialling.take() {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            self.retry_at = Some(until);
        }
    }

    /// Until when BFD is waited for.
    pub(super) fn awaits_bfd(&self, now: Instant) -> Option<Instant> {
        self.bfd_awaited.filter(|until| !self.bfd_is_up && *until > now)
    }

    /// Connections whose answer waits for BFD have it now (draft-ietf-idr-bgp-bfd-strict-mode §8).
    pub(super) fn on_bfd_state(&mut self, is_up: bool, context: &mut Context<'_>) {
        self.bfd_is_up = is_up;
        if !is_up {
            return;
        }
        for conn in self.conns.iter().map(|own| own.id).collect::<Vec<_>>() {
            let own = self.conns.iter_mut().find(|own| own.id == conn);
            if own.and_then(|own| own.bfd_is_up(context.now, context.rng)).is_some() {
                self.note(context.now, conn, FsmState::OpenConfirm, FsmEvent::Keepalive);
                self.on_established(conn, context);
            }
        }
        if self.bfd_awaited.take().is_some() && self.conns.is_empty() {
            self.retry_at = Some(context.now + DIAL_AFTER_BFD);
        }
    }
}
