//! Sessions that outlive the process which held them: what it hands to the next, and how that goes on with them. The peer notices nothing but a
//! request to tell its routes again (RFC 2918), and that it is told ours again, in the marks of RFC 7313.

use super::PeerOutput;
use super::arbiter::{Context, Peer};
use super::trail::{FsmEvent, FsmState};
use crate::fsm::Connection;
use crate::time::Instant;
use crate::types::ConnId;
use crate::wire::open::Open;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// An Established session on its way to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// Our end.
    pub local: SocketAddr,
    /// Their end (scope id set for link-local addresses).
    pub remote: SocketAddr,
    /// We dialled.
    pub dialled: bool,
    /// Our OPEN as it was on the wire: what both agreed on follows from the two.
    pub our_open: Vec<u8>,
    /// Theirs.
    pub their_open: Vec<u8>,
    /// What was read from the socket and is not a whole message yet.
    pub unread: Vec<u8>,
    /// What the socket has had no room for.
    pub unsent: Vec<u8>,
    /// Since when it is Established.
    pub since: Instant,
    /// Times Established was reached by this peer.
    pub established: u64,
    /// Times it was left.
    pub dropped: u64,
}

impl Peer {
    /// What the next process needs to go on with the session on this connection. `None` where it could not: not Established, or without the
    /// marks of RFC 7313, by which each end knows when it has heard everything again.
    #[must_use]
    pub fn hand_over(&self, conn: ConnId) -> Option<Handed> {
        let own = self.conns.iter().find(|own| own.id == conn)?;
        own.session().filter(|session| session.enhanced_refresh)?;
        let (since, established, dropped) = (self.since, self.established, self.dropped);
        Some(Handed { since, established, dropped, ..own.hand_over()? })
    }

    /// Goes on with a session of the process before this one. Where it does not fit what is configured now it is closed without a word: the
    /// peer takes it for a restart.
    pub(super) fn on_handed(&mut self, conn: ConnId, handed: &Handed, context: &mut Context<'_>) {
        let fits = Open::decode(&handed.our_open).is_ok_and(|said| self.says_the_same(&said));
        let taken = Connection::take_over(context.now, conn, handed, (&self.config, &self.local), context.rng);
        let Some(own) = taken.ok().filter(|_| fits && self.started && self.config.shutdown.is_none()) else {
            self.output.push_back(PeerOutput::Close { conn, flush: false });
            self.refused(
                "the session of the process before cannot be gone on with: it is configured otherwise".to_owned(),
            );
            return;
        };
        (self.established, self.dropped) = (handed.established.saturating_sub(1), handed.dropped);
        self.conns.push(own);
        self.forget_at = None;
        self.note(context.now, conn, FsmState::Idle, FsmEvent::HandedOver);
        self.on_established(conn, context);
        self.since = handed.since;
        self.output.push_back(PeerOutput::TakenOver);
        let families: Vec<_> = self.session().map(|session| session.codec.spoken().collect()).unwrap_or_default();
        for family in families {
            self.request_refresh(family);
        }
        // What was read already may be whole messages.
        self.drain(conn, context);
    }

    /// Whether an OPEN said what ours would say now, of what a configuration changes.
    fn says_the_same(&self, said: &Open) -> bool {
        let ours = self.our_open();
        let restart = |open: &Open| open.can.graceful.as_ref().map(|graceful| (graceful.time_s, graceful.notification));
        (said.asn, said.router_id, said.hold_time_s) == (ours.asn, ours.router_id, ours.hold_time_s)
            && said.can.families == ours.can.families
            && said.can.add_path == ours.can.add_path
            && said.can.roles == ours.can.roles
            && restart(said) == restart(&ours)
    }
}
