//! The first convergence: what a speaker that just started waits for before it acts on what it heard (RFC 4724 §4.1).
//!
//! A fresh one advertises nothing until every configured peer has said all it has, or `hold_back_ms` passed. One whose forwarding
//! state was kept over the restart also leaves the kernel as it is until then: a partial view could lead packets in circles between
//! us and peers that still forward to us. One without `hold_back_ms` advertises at once, and only reports when everybody was heard.

use super::machine::{Member, Speaker};
use crate::event::Event;
use crate::time::{Duration, Instant};
use crate::types::Family;

/// Longest wait of a speaker that kept its forwarding state (the Selection_Deferral_Timer of RFC 4724 §4.1): peers dial again within
/// two seconds and give a dial up after three; who is not there after this is not coming back soon. Also what is waited for the
/// report where nothing is held back.
const DEFERRAL: Duration = Duration::from_secs(15);
/// A peer that says that it restarts too, and so may wait for us, is waited for no longer than this.
const RESTARTING_WAIT: Duration = Duration::from_secs(5);
/// Peers of a listen range are not known one by one: after a restart they get this long to dial.
const DYNAMIC_WAIT: Duration = Duration::from_secs(5);

impl Speaker {
    /// Our forwarding state was kept over a restart, and the first convergence is waited for: the kernel is not to be touched yet.
    #[must_use]
    pub const fn is_deferring(&self) -> bool {
        self.config.restarting && !self.converged
    }

    /// When to look again.
    pub(super) fn settle_timeout(&self) -> Option<(Instant, &'static str)> {
        let begun = self.begun.filter(|_| !self.settled)?;
        let least = begun + self.least_wait();
        if self.settle_seen < least {
            return Some((least, "listen ranges after a restart"));
        }
        if self.waits_for_restarting() {
            return Some((begun + RESTARTING_WAIT, "peers that restart too"));
        }
        Some((begun + self.longest_wait(), "hold back"))
    }

    /// Ends the wait when there is nothing left to wait for, or when it took too long.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(begun) = self.begun.filter(|_| !self.settled) else {
            return;
        };
        self.settle_seen = now;
        // Peers are named after the first look at the interfaces: before that, nobody is missing because nobody is known.
        let known = self.named || !self.members.is_empty();
        if now >= begun + self.longest_wait() {
            self.converge("timer");
        } else if now >= begun + self.least_wait() && known && !self.is_waiting() {
            self.converge("end of rib");
        }
    }

    /// Whether peers that restart too are still waited for, as of the last look.
    fn waits_for_restarting(&self) -> bool {
        self.is_deferring() && self.begun.is_some_and(|begun| self.settle_seen < begun + RESTARTING_WAIT)
    }

    fn least_wait(&self) -> Duration {
        if self.is_deferring() && !self.ranges.is_empty() { DYNAMIC_WAIT } else { Duration::ZERO }
    }

    fn longest_wait(&self) -> Duration {
        let hold_back = Duration::from_millis(u64::from(self.config.hold_back_ms));
        if self.is_deferring() || hold_back.is_zero() { hold_back.max(DEFERRAL) } else { hold_back }
    }

    /// Peers that the first convergence waits for, by name.
    pub(super) fn unfinished(&self) -> Vec<String> {
        if self.settled {
            return Vec::new();
        }
        self.waited_for().map(|member| member.peer.config().name.clone()).collect()
    }

    fn is_waiting(&self) -> bool {
        self.waited_for().next().is_some()
    }

    /// Configured peers, and after a restart dynamic ones that are back.
    fn waited_for(&self) -> impl Iterator<Item = &Member> {
        let counts = move |member: &&Member| {
            let wanted = member.peer.config().shutdown.is_none();
            let dynamic = self.is_deferring() && member.peer.session().is_some();
            wanted && (!member.dynamic || dynamic)
        };
        let patient = self.waits_for_restarting();
        self.members.values().filter(counts).filter(move |member| !has_finished(member, patient))
    }

    fn converge(&mut self, cause: &str) {
        self.converged = true;
        self.settled = true;
        self.has_news = true;
        let whole = self.table.log_end();
        for member in self.members.values_mut() {
            member.peer.restarted();
            member.out.whole = whole;
        }
        self.event(Event::Converged { cause: cause.to_owned() });
    }
}

/// Established, and said all it has or cannot say so; `patient`: also if it restarts too.
fn has_finished(member: &Member, patient: bool) -> bool {
    member.peer.session().is_some_and(|session| {
        // RFC 4724 §4.1: a peer that restarts too is not waited for; one without the capability sends no End-of-RIB.
        // Differs from RFC 4724 §4.1: for some seconds it is, where our kernel forwards by routes of before, because FRR says so of itself
        // for two minutes after its start and then tells its routes a second later than others.
        let waits =
            session.graceful.as_ref().is_some_and(|graceful| patient || !graceful.restarted) || member.taken_over;
        let ended = |family: &Family| !session.codec.families[family.index()] || member.ended.contains(family);
        !waits || Family::ALL.iter().all(ended)
    })
}
