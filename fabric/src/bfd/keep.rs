//! Sessions that outlive the process which held them: what it hands to the next one, so that the other end sees the same session go on
//! (RFC 5880 §6.8.1: the same discriminator, RFC 5881 §4: the same source port). Until the node asks for them they run on by themselves.

use super::session::{Session, Variables};
use super::{Bfd, Endpoint, Entry, Notice, OnFailure, Output, Path, SessionId, State, Wanted};
use crate::bfd::Cause;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::PeerId;

/// How long a session goes on that the node does not ask for: its peers are known by then.
const CLAIM: Duration = Duration::from_secs(15);

/// A session that is Up, on its way to another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where it sends to.
    pub endpoint: Endpoint,
    /// Its variables.
    pub inner: Variables,
    /// From which port, 0 while it has sent nothing.
    pub port: u16,
}

/// Sessions of the process before that nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_place: BTreeMap<(Path, IpAddr), SessionId>,
    until: Option<Instant>,
}

impl Orphans {
    /// When those that are left are to go.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.until.filter(|_| !self.by_place.is_empty())
    }
}

impl Bfd {
    /// The sessions that another process could go on with, with their ids.
    pub fn kept(&self) -> impl Iterator<Item = (SessionId, Kept)> + '_ {
        self.entries.iter().filter(|(_, entry)| entry.session.state == State::Up).map(|(id, entry)| {
            let kept = Kept { endpoint: entry.endpoint(), inner: entry.session.inner(), port: 0 };
            (*id, kept)
        })
    }

    /// Goes on with sessions of the process before.
    pub fn resume(&mut self, now: Instant, all: Vec<Kept>) {
        self.orphans.until = Some(now + CLAIM);
        for Kept { endpoint, inner, .. } in all.into_iter().take(super::MAX_SESSIONS) {
            let id = SessionId(self.next_id);
            self.next_id += 1;
            let session = Session::resume(now, inner);
            let wanted = Wanted {
                peer: PeerId(u32::MAX),
                remote: endpoint.remote,
                local: endpoint.local,
                path: endpoint.path,
                timers: session.timers(),
                on_failure: OnFailure::FailOver,
                is_established: true,
                known_failure: 0,
            };
            let (discriminator, place) = (session.discriminator, (endpoint.path, endpoint.remote));
            self.output.push_back(Output::Open(id, endpoint));
            self.entries.insert(id, Entry::new(wanted, session));
            self.by_discriminator.insert(discriminator, id);
            self.by_place.insert(place, id);
            self.orphans.by_place.insert(place, id);
            self.follow(now, id);
        }
    }

    /// The node asks for a session: whether one of the process before is it.
    pub(super) fn claim(&mut self, now: Instant, wanted: &Wanted) -> bool {
        let place = (wanted.path, wanted.remote);
        let Some(id) = self.orphans.by_place.get(&place).copied() else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.wanted.local == wanted.local) else {
            return false;
        };
        self.orphans.by_place.remove(&place);
        if entry.wanted.timers != wanted.timers {
            entry.session.set_timers(now, wanted.timers, &mut self.rng);
        }
        let failure = entry.failure;
        entry.wanted = wanted.clone();
        let notice =
            Notice { peer: wanted.peer, state: entry.session.state, cause: Cause::Heard, failure, keeps: entry.keeps };
        self.by_peer.insert(wanted.peer, id);
        self.output.push_back(Output::Changed(notice));
        self.follow(now, id);
        true
    }

    /// Nobody asked for these in time.
    pub(super) fn end_orphans(&mut self, now: Instant) {
        if self.orphans.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        for (_, id) in std::mem::take(&mut self.orphans.by_place) {
            self.say_goodbye(now, id);
        }
    }
}
