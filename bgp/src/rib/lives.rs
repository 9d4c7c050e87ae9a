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
    now: u8,
    past: Sessions,
}

/// All peers that have, or had, paths.
#[derive(Debug, Default)]
pub struct Lives(BTreeMap<PeerId, Life>);

impl Lives {
    /// The number of a peer's session; what it announces carries it.
    #[must_use]
    pub fn now(&self, peer: PeerId) -> u8 {
        self.0.get(&peer).map_or(0, |life| life.now)
    }

    /// Earlier sessions that may still have paths.
    #[must_use]
    pub fn past(&self, peer: PeerId) -> Sessions {
        self.0.get(&peer).map_or([0; 2], |life| life.past)
    }

    /// Whether a path is of an earlier session.
    #[must_use]
    pub fn is_stale(&self, path: &Path) -> bool {
        self.now(path.peer) != path.came.session()
    }

    /// A peer's session ended: its paths are of the past. False, and nothing is done, while every number has paths.
    #[must_use]
    pub fn end(&mut self, peer: PeerId) -> bool {
        let life = self.0.entry(peer).or_default();
        let used = life.past[0] | life.past[1] | 1 << life.now;
        let Some(next) = (0..Came::SESSIONS).find(|number| used & 1 << number == 0) else {
            return false;
        };
        life.past = life.past.map(|past| past | 1 << life.now);
        life.now = next;
        true
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
        assert_eq!((lives.now(peer), lives.past(peer)), (15, [0x7fff; 2]));
        assert!(!lives.end(peer), "every number has paths");
        lives.swept(peer, [0b100, 0b1000]);
        assert!(!lives.end(peer), "in one family still");
        lives.swept(peer, [0b1000, 0]);
        assert!(lives.end(peer));
        assert_eq!(lives.now(peer), 3);
    }
}
