//! A file on its way from other servers: whom to ask next, from which octet on, and what becomes of what came. Pure: times come as arguments.
//!
//! ```text
//!   ask peer, from the octet where it stopped ──▶ octets … ──▶ whole? ── right ──▶ has its name
//!        ▲      breaks: the next peer goes on      │                └── wrong ──▶ from the beginning
//!        └─────────────────────────────────────────┘
//! ```
//!
//! The digest is known from the store, so nobody is believed. What is wrong and came from one peer alone is that peer's fault, and he rests.
//! What came from several is nobody's: from then on no two are mixed, so that one peer that is wrong cannot spoil what others give.

use super::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Other servers of one configuration.
pub const PEERS_MAX: usize = 16;
/// Longest rest of a peer that did not give what it was asked; the first one is a second, each further one twice as long.
pub const WAIT_MAX: Duration = Duration::from_secs(32);
/// Rest of a peer that gave wrong octets: somebody has to look at it.
pub const WRONG_REST: Duration = Duration::from_secs(600);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask a peer for everything from this octet on; what is here beyond it is worth nothing.
    Ask {
        /// Its place in the list.
        peer: usize,
        /// The first octet.
        from: u64,
    },
    /// All rest; nothing before then.
    Wait(Duration),
    /// All octets are here: look whether they are right.
    Check,
}

/// Of whom that is what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Givers {
    Nobody,
    One(usize),
    /// Also what was here before this server started.
    Several,
}

/// How often in a row a peer did not give what it was asked, and when it may be asked again.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    failures: u32,
    rests_until: Duration,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Pull {
    bytes: u64,
    here: u64,
    givers: Givers,
    /// No two peers are mixed.
    is_strict: bool,
    peers: Vec<Peer>,
    /// Who is asked next, if he does not rest.
    turn: usize,
}

impl Pull {
    /// A file of so many octets, of which some are here. Different files begin with different peers.
    #[must_use]
    pub fn new(digest: &Digest, bytes: u64, here: u64, peers: usize) -> Self {
        let spread =
            digest.as_str().bytes().fold(0, |sum: usize, octet| sum.wrapping_mul(31).wrapping_add(octet.into()));
        let givers = if here == 0 { Givers::Nobody } else { Givers::Several };
        let turn = spread.checked_rem(peers).unwrap_or(0);
        Self { bytes, here: here.min(bytes), givers, is_strict: false, peers: vec![Peer::default(); peers], turn }
    }

    /// Octets that are here.
    #[must_use]
    pub const fn here(&self) -> u64 {
        self.here
    }

    /// What to do now.
    pub fn next(&mut self, now: Duration) -> Step {
        if self.here == self.bytes {
            return Step::Check;
        }
        let mut order = (self.turn..self.peers.len()).chain(0..self.turn);
        let ready = order.find(|at| self.peers.get(*at).is_some_and(|peer| peer.rests_until <= now));
        let Some(peer) = ready else {
            let until = self.peers.iter().map(|peer| peer.rests_until).min();
            return Step::Wait(until.unwrap_or(now + WAIT_MAX));
        };
        if self.is_strict && self.givers != Givers::One(peer) {
            self.begin_anew();
        }
        Step::Ask { peer, from: self.here }
    }

    /// Octets came from a peer; those that are too many are not counted.
    pub fn got(&mut self, peer: usize, octets: u64) {
        self.here = self.here.saturating_add(octets).min(self.bytes);
        self.givers = match self.givers {
            Givers::Nobody => Givers::One(peer),
            Givers::One(before) if before == peer => self.givers,
            Givers::One(_) | Givers::Several => Givers::Several,
        };
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.failures = 0;
        }
    }

    /// A peer has not got the file, does not answer, or ended before its end: he rests, and another one goes on.
    pub fn broke(&mut self, now: Duration, peer: usize) {
        self.turn = (peer + 1).checked_rem(self.peers.len()).unwrap_or(0);
        if let Some(peer) = self.peers.get_mut(peer) {
            let wait = Duration::from_secs(1).saturating_mul(1_u32.checked_shl(peer.failures).unwrap_or(u32::MAX));
            peer.failures = peer.failures.saturating_add(1);
            peer.rests_until = now + wait.min(WAIT_MAX);
        }
    }

    /// All octets were here and were wrong: it begins anew. The peer whose fault it is, if it is one's alone.
    pub fn was_wrong(&mut self, now: Duration) -> Option<usize> {
        let givers = self.givers;
        self.begin_anew();
        let Givers::One(wrong) = givers else {
            self.is_strict = true;
            return None;
        };
        self.broke(now, wrong);
        if let Some(peer) = self.peers.get_mut(wrong) {
            peer.rests_until = now + WRONG_REST;
        }
        Some(wrong)
    }

    const fn begin_anew(&mut self) {
        (self.here, self.givers) = (0, Givers::Nobody);
    }
}

/// How fast octets may come, all files together.
#[derive(Clone, Debug)]
pub struct Pace {
    octets_s: u64,
    /// When what came so far would have come at this pace.
    until: Duration,
}

impl Pace {
    /// So many octets in a second; 0 is taken for 1.
    #[must_use]
    pub const fn new(octets_s: u64) -> Self {
        Self { octets_s: if octets_s == 0 { 1 } else { octets_s }, until: Duration::ZERO }
    }

    /// Octets came: how long to wait before more are taken.
    pub fn wait(&mut self, now: Duration, octets: u64) -> Duration {
        // What was not taken before is not made up for.
        let took = u128::from(octets) * 1_000_000_000 / u128::from(self.octets_s);
        self.until = self.until.max(now) + Duration::from_nanos(u64::try_from(took).unwrap_or(u64::MAX));
        self.until.saturating_sub(now)
    }
}

/// What a server has of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holds {
    /// Its address and port; `here`: the one that is asked.
    pub server: String,
    /// Octets, all of them when it has the file; null = it does not say.
    pub octets: Option<u64>,
    /// Why it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A file of an image, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its octets.
    pub bytes: u64,
    /// The server that is asked, and those that its configuration names.
    pub servers: Vec<Holds>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pull(here: u64, peers: usize) -> Pull {
        Pull { turn: 0, ..Pull::new(&Digest::of(&[7; 32]), 100, here, peers) }
    }

    #[test]
    fn another_peer_goes_on_where_one_broke() {
        let mut pull = pull(0, 2);
        assert_eq!(pull.next(s(0)), Step::Ask { peer: 0, from: 0 });
        pull.got(0, 40);
        pull.broke(s(1), 0);
        assert_eq!(pull.next(s(1)), Step::Ask { peer: 1, from: 40 });
        pull.got(1, 60);
        assert_eq!(pull.next(s(1)), Step::Check);
    }

    #[test]
    fn who_gives_nothing_rests_longer_and_longer() {
        let mut pull = pull(0, 1);
        let mut now = s(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(pull.next(now), Step::Ask { peer: 0, from: 0 });
            pull.broke(now, 0);
            let Step::Wait(until) = pull.next(now) else { panic!("it asks at once") };
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
        // Who gives something is asked again soon.
        pull.got(0, 1);
        pull.broke(now, 0);
        assert_eq!(pull.next(now), Step::Wait(now + s(1)));
    }

    #[test]
    fn who_gives_wrong_octets_rests() {
        let mut pull = pull(0, 2);
        pull.got(0, 100);
        assert_eq!(pull.next(s(5)), Step::Check);
        assert_eq!(pull.was_wrong(s(5)), Some(0));
        assert_eq!(pull.next(s(5)), Step::Ask { peer: 1, from: 0 });
        pull.broke(s(5), 1);
        assert_eq!(pull.next(s(5)), Step::Wait(s(6)), "the other one, although it has nothing");
        assert_eq!(pull.next(s(604)), Step::Ask { peer: 1, from: 0 });
        assert_eq!(pull.next(s(605)), Step::Ask { peer: 0, from: 0 });
    }

    /// One peer is wrong and always breaks before its end: it is not found out, and spoils nothing for long.
    #[test]
    fn after_a_wrong_mixture_no_two_are_mixed() {
        let mut pull = pull(0, 2);
        let give = |pull: &mut Pull, now| {
            for _ in 0..10 {
                match pull.next(now) {
                    Step::Ask { peer: 0, .. } => {
                        pull.got(0, 10);
                        pull.broke(now, 0);
                    }
                    Step::Ask { peer, from } => {
                        pull.got(peer, 100 - from);
                        return from;
                    }
                    Step::Wait(_) | Step::Check => panic!("it has something to ask"),
                }
            }
            panic!("nothing comes of it");
        };
        assert_eq!(give(&mut pull, s(0)), 10, "mixed");
        assert_eq!(pull.next(s(0)), Step::Check);
        assert_eq!(pull.was_wrong(s(0)), None);
        assert_eq!(give(&mut pull, s(3)), 0, "from the right one alone");
        assert_eq!(pull.next(s(3)), Step::Check);
    }

    /// What was here before a restart may be of anybody, and too much of it is as nothing more than all.
    #[test]
    fn what_was_here_before_is_gone_on_with() {
        let mut pull = pull(30, 1);
        assert_eq!(pull.next(s(0)), Step::Ask { peer: 0, from: 30 });
        pull.got(0, 500);
        assert_eq!((pull.here(), pull.next(s(0))), (100, Step::Check));
        assert_eq!(pull.was_wrong(s(0)), None, "it may have been wrong before");
        assert_eq!(pull.next(s(0)), Step::Ask { peer: 0, from: 0 });
        assert_eq!(Pull::new(&Digest::of(&[7; 32]), 100, 0, 0).next(s(3)), Step::Wait(s(35)), "without peers");
    }

    #[test]
    fn a_pace_is_kept_and_not_made_up_for() {
        let mut pace = Pace::new(1_000);
        assert_eq!(pace.wait(s(10), 500), Duration::from_millis(500));
        assert_eq!(pace.wait(s(10), 1_500), s(2));
        assert_eq!(pace.wait(s(20), 1_000), s(1));
    }
}
