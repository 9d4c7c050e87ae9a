//! The lives of peers: which of a peer's sessions is now, and which earlier ones may still have paths in the table.
//!
//! A path carries the number of its session, so that the end of a session makes all its paths stale at once, whatever their number;
//! a walk in slices removes them when their time is over (RFC 4724 §4.2).

use super::slots::{Came, Path};
use crate::types::{Family, PeerId};
use std::collections::BTreeMap;

/// Numbers of sessions, one bit each, by family.
pub type Sessions = [u16; 2];

#[derive(Debug, Default)]
struct Life {
    /// By family: a refresh begins a new number in one of them alone (RFC 7313 §4.2).
    now: [u8; 2],
    past: Sessions,
}

impl Life {
    /// The next number of a family that has no paths.
    fn next(&self, family: Family) -> Option<u8> {
        let used = self.past[family.index()] | 1 << self.now[family.index()];
        (0..Came::SESSIONS).find(|number| used & 1 << number == 0)
    }

    fn begin(&mut self, family: Family, number: u8) {
        self.past[family.index()] |= 1 << self.now[family.index()];
        self.now[family.index()] = number;
    }
}

/// All peers that have, or had, paths.
#[derive(Debug, Default)]
pub struct Lives(BTreeMap<PeerId, Life>);

impl Lives {
    /// The number of a peer's session; what it announces carries it.
    #[must_use]
    pub fn now(&self, peer: PeerId, family: Family) -> u8 {
        self.0.get(&peer).map_or(0, |life| life.now[family.index()])
    }

    /// Earlier sessions that may still have paths.
    #[must_use]
    pub fn past(&self, peer: PeerId) -> Sessions {
        self.0.get(&peer).map_or([0; 2], |life| life.past)
    }

    /// Whether a path is of an earlier session.
    #[must_use]
    pub fn is_stale(&self, path: &Path, family: Family) -> bool {
        self.now(path.peer, family) != path.came.session()
    }

    /// A peer's session ended: its paths are of the past. False, and nothing is done, while every number has paths.
    #[must_use]
    pub fn end(&mut self, peer: PeerId) -> bool {
        let life = self.0.entry(peer).or_default();
        let [Some(v4), Some(v6)] = Family::ALL.map(|family| life.next(family)) else {
            return false;
        };
        life.begin(Family::Ipv4Unicast, v4);
        life.begin(Family::Ipv6Unicast, v6);
        true
    }

    /// Likewise for one family, whose paths the peer tells again.
    #[must_use]
    pub fn refresh(&mut self, peer: PeerId, family: Family) -> bool {
        let life = self.0.entry(peer).or_default();
        life.next(family).is_some_and(|number| {
            life.begin(family, number);
            true
        })
    }

    /// These sessions have no path any more.
    pub fn swept(&mut self, peer: PeerId, sessions: Sessions) {
        if let Some(life) = self.0.get_mut(&peer) {
            for family in Family::ALL {
                life.past[family.index()] &= !sessions[family.index()];
            }
        }
    }

    /// The peer is no more, and has no paths.
    pub fn forget(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_only_when_its_paths_are_swept() {
        let (mut lives, peer) = (Lives::default(), PeerId(1));
        for _ in 1..Came::SESSIONS {
            assert!(lives.end(peer));
        }
        assert_eq!((lives.now(peer, Family::Ipv4Unicast), lives.past(peer)), (15, [0x7fff; 2]));
        assert!(!lives.end(peer), "every number has paths");
        lives.swept(peer, [0b100, 0]);
        assert!(!lives.end(peer), "in one family still");
        assert!(!lives.refresh(peer, Family::Ipv6Unicast) && lives.past(peer)[1] == 0x7fff);
        lives.swept(peer, [0, 0b1000]);
        assert!(lives.end(peer));
        assert_eq!(Family::ALL.map(|family| lives.now(peer, family)), [2, 3]);
    }
}
