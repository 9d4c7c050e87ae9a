//! What is kept of a peer's routes when its session ends, for how long, and what becomes of it when the peer is back (RFC 4724 §4.2,
//! RFC 8538 §4, RFC 9494 §4.2); and what a refresh leaves unsaid (RFC 7313 §4.2). By family; knows time and sessions, no routes.
//!
//! ```text
//!                session ends          restart time over          long-lived stale time over
//! (nothing kept) ────────────▶ Restarting ───────────▶ LongLived ──────────────────▶ dropped
//!                                  │ peer is back, F bit  │ likewise
//!                                  ▼                      ▼ (its time goes on)
//!                              Returned ──── End-of-RIB ──┴──▶ dropped, what was not announced again
//! ```

use super::{PeerRestart, Session};
use crate::fsm::End;
use crate::time::{Duration, Instant};
use crate::types::Family;
use crate::wire::capability::LongLived;

/// Stale routes of a peer that is back, or that refreshes, are dropped after this even without its End-of-RIB or EoRR (RFC 4724 §4.2
/// and RFC 7313 §4.2 ask for a bound; a million prefixes take seconds).
const STALE_LIMIT: Duration = Duration::from_secs(120);

/// What is to be kept of a peer whose session ended, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// What came in that session (RFC 4724 §4.2); nothing of others.
    pub session: Vec<Family>,
    /// Among these: also what was long-lived stale before (RFC 9494 §4.2).
    pub earlier: Vec<Family>,
}

/// Why routes are stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The session ended, and the restart time runs.
    Restarting,
    /// That is over, and the long-lived stale time runs (RFC 9494 §4.2).
    LongLived,
    /// The peer is back and has not said End-of-RIB.
    Returned,
    /// It refreshes, and has not said EoRR.
    Refreshing,
}

/// A family with stale routes.
#[derive(Clone, Copy, Debug)]
struct Kept {
    family: Family,
    phase: Phase,
    until: Instant,
    /// What follows `Restarting`: the long-lived stale time in seconds.
    long_lived_s: u32,
    /// The end of a long-lived stale time that began in an earlier restart: it runs on until the peer has said End-of-RIB.
    long_lived_until: Option<Instant>,
}

/// What is stale of one peer's.
#[derive(Clone, Debug, Default)]
pub(super) struct Stale {
    kept: Vec<Kept>,
    /// Families whose long-lived stale time ran out while the peer was back and had not said End-of-RIB.
    expired: Vec<Family>,
}

/// What is to be done about stale routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Drop those of these families.
    pub(super) drop: Vec<Family>,
    /// Those of these are long-lived stale from now on.
    pub(super) long_lived: Vec<Family>,
}

/// Whether graceful restart follows this end of a session.
fn is_graceful(end: &End, graceful: &PeerRestart) -> bool {
    match end {
        End::Lost => true,
        // RFC 8538 §4: with the N bit from both sides a NOTIFICATION is no farewell, unless it is a hard reset. §4.1: so does the
        // hold timer, whose NOTIFICATION is one that we sent.
        End::Sent(sent) | End::Received(sent) => graceful.notification && !sent.is_hard(),
        End::Dropped(_) => false,
    }
}

impl Kept {
    /// When its long-lived stale time ends, if that has begun.
    fn long_lived_end(&self) -> Option<Instant> {
        if self.phase == Phase::LongLived { Some(self.until) } else { self.long_lived_until }
    }
}

impl Stale {
    /// An Established session ended: what to keep. What was stale before is not among it (RFC 4724 §4.2), but for what is long-lived stale:
    /// its time runs on, whatever the peer does (RFC 9494 §4.2).
    pub(super) fn session_ended(&mut self, now: Instant, end: &End, session: &Session) -> Retain {
        let before = std::mem::take(&mut self.kept);
        let expired = std::mem::take(&mut self.expired);
        let Some(graceful) = session.graceful.as_ref().filter(|graceful| is_graceful(end, graceful)) else {
            return Retain::default();
        };
        let mut retain = Retain::default();
        for family in Family::ALL {
            let restart_s =
                if graceful.families.iter().any(|(listed, _)| *listed == family) { graceful.time_s } else { 0 };
            let entry = session.long_lived.iter().find(|entry| entry.family == family);
            let long_lived_s = entry.map_or(0, |entry| entry.time_s);
            let long_lived_until = before.iter().filter(|kept| kept.family == family).find_map(Kept::long_lived_end);
            // RFC 9494 §4.2: it ran out before the peer was synchronized, so nothing remains.
            if expired.contains(&family) || long_lived_until.is_some_and(|until| until <= now) {
                continue;
            }
            // RFC 9494 §4.2: without a restart time the long-lived one begins at once; `due` says so.
            if restart_s > 0 || long_lived_s > 0 || long_lived_until.is_some() {
                let until = now + Duration::from_secs(u64::from(restart_s));
                let until = long_lived_until.map_or(until, |end| until.min(end));
                self.kept.push(Kept { family, phase: Phase::Restarting, until, long_lived_s, long_lived_until });
                retain.session.push(family);
                retain.earlier.extend(long_lived_until.map(|_| family));
            }
        }
        retain
    }

    /// The peer is back: the families to drop, because it did not keep its forwarding state or says nothing of them (RFC 4724 §4.2,
    /// RFC 9494 §4.2).
    pub(super) fn session_began(&mut self, now: Instant, session: &Session) -> Vec<Family> {
        let restarts =
            |family| session.graceful.as_ref().is_some_and(|graceful| graceful.families.contains(&(family, true)));
        let lives =
            |family| session.long_lived.iter().any(|entry: &LongLived| entry.family == family && entry.forwarding);
        let mut lost = Vec::new();
        self.kept.retain_mut(|kept| {
            if let Some(end) = kept.long_lived_until.take_if(|_| kept.phase == Phase::Restarting) {
                (kept.phase, kept.until) = (Phase::LongLived, end);
            }
            let stays = match kept.phase {
                Phase::Restarting => {
                    (kept.phase, kept.until) = (Phase::Returned, now + STALE_LIMIT);
                    restarts(kept.family)
                }
                // RFC 9494 §4.2: its timer runs until End-of-RIB.
                Phase::LongLived => lives(kept.family),
                Phase::Returned | Phase::Refreshing => true,
            };
            if !stays {
                lost.push(kept.family);
            }
            stays
        });
        lost
    }

    /// A BoRR came: whether the routes of the family become stale now. A second one before EoRR changes nothing: what was announced
    /// since the first is not old, and the peer withdraws what it no longer has.
    pub(super) fn refresh_began(&mut self, now: Instant, family: Family) -> bool {
        let under_way = self.kept.iter().any(|kept| kept.family == family && kept.phase == Phase::Refreshing);
        if !under_way {
            self.drop_family(family);
            let until = now + STALE_LIMIT;
            let (phase, long_lived_s, long_lived_until) = (Phase::Refreshing, 0, None);
            self.kept.push(Kept { family, phase, until, long_lived_s, long_lived_until });
        }
        !under_way
    }

    /// An EoRR came: whether it ends a refresh. RFC 7313 §4.2: without its BoRR it is ignored.
    pub(super) fn refresh_ended(&mut self, family: Family) -> bool {
        let before = self.kept.len();
        self.kept.retain(|kept| !(kept.family == family && kept.phase == Phase::Refreshing));
        self.kept.len() < before
    }

    /// The peer said End-of-RIB.
    pub(super) fn synchronized(&mut self, family: Family) {
        self.expired.retain(|expired| *expired != family);
        self.drop_family(family);
    }

    /// The stale routes of a family are gone.
    fn drop_family(&mut self, family: Family) {
        self.kept.retain(|kept| kept.family != family);
    }

    /// Everything is to go: the families.
    pub(super) fn clear(&mut self) -> Vec<Family> {
        self.expired.clear();
        std::mem::take(&mut self.kept).into_iter().map(|kept| kept.family).collect()
    }

    /// Times that are over; `is_up`: the peer is back.
    pub(super) fn due(&mut self, now: Instant, is_up: bool) -> Due {
        let mut due = Due::default();
        self.kept.retain_mut(|kept| {
            if kept.until > now {
                return true;
            }
            let whole = Duration::from_secs(u64::from(kept.long_lived_s));
            let end = kept.long_lived_until.unwrap_or_else(|| now + whole);
            if kept.phase == Phase::Restarting && end > now {
                (kept.phase, kept.until) = (Phase::LongLived, end);
                kept.long_lived_until = None;
                due.long_lived.push(kept.family);
                return true;
            }
            if kept.phase == Phase::LongLived && is_up {
                self.expired.push(kept.family);
            }
            due.drop.push(kept.family);
            false
        });
        due
    }

    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let name = |phase| match phase {
            Phase::Restarting => "restart timer",
            Phase::LongLived => "long-lived stale timer",
            Phase::Returned => "stale routes without End-of-RIB",
            Phase::Refreshing => "stale routes without EoRR",
        };
        self.kept.iter().map(|kept| (kept.until, name(kept.phase))).min()
    }
}
