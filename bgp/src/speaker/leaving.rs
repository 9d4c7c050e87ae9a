//! Links that are about to go (RFC 8326 §4.2): what their peers told is marked where it lies, in slices, so that it is left at once and
//! without asking anybody; and whether everybody was told of what came of it.

use super::machine::Speaker;
use super::sweep::{Sweep, What};
use crate::peer::Leave;
use crate::rib::table::{Path, SlotId};
use crate::types::{Family, PeerId};
use crate::wire::attrs::{Attrs, community, flag, kind, with};
use std::borrow::Cow;

/// A path of a peer that is to be left. RFC 8326 §4.2: tagged with GRACEFUL_SHUTDOWN, with a low LOCAL_PREF.
pub(super) fn left(block: &[u8], leave: Leave) -> Cow<'_, [u8]> {
    let marks: &[u32] = match leave {
        Leave::No => return Cow::Borrowed(block),
        Leave::LastChoice => &[community::GRACEFUL_SHUTDOWN],
        Leave::Untold => &[community::GRACEFUL_SHUTDOWN, community::NO_ADVERTISE],
    };
    let mut value = Attrs(block).value(kind::COMMUNITIES).unwrap_or_default().to_vec();
    let missing = marks.iter().filter(|mark| !Attrs(block).has_community(**mark));
    value.extend(missing.flat_map(|mark| mark.to_be_bytes()));
    let block = with(block, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, Some(&value));
    Cow::Owned(with(&block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&[0; 4])))
}

impl Speaker {
    /// What a peer told is to be left like this from now on. Less than before: what it tells again replaces what was marked.
    pub(super) fn leave(&mut self, id: PeerId, leave: Leave) {
        self.sweeps.retain(|sweep| !sweep.marks_leaving(id));
        if leave != Leave::No {
            let sessions = Family::ALL.map(|family| 1 << self.table.lives.now(id, family));
            self.sweeps.push_back(Sweep::new(id, sessions, What::MarkLeaving(leave)));
        }
    }

    /// One prefix of the walk.
    pub(super) fn mark_leaving(&mut self, slot: SlotId, sweep: &Sweep, leave: Leave) {
        let Some(entry) = self.table.entry(slot) else {
            return;
        };
        let (prefix, family) = (entry.prefix, Family::of(&entry.prefix));
        let paths: Vec<Path> = entry.paths.iter().filter(|path| sweep.hits(path, family)).copied().collect();
        for path in paths {
            let block = left(self.table.attrs.block(path.attrs), leave).into_owned();
            let attrs = self.table.attrs.intern(&block);
            self.table.hops.hold(path.hop);
            let _ = self.table.insert(prefix, Path { attrs, ..path });
        }
    }

    /// The end of what is to be told by now; `None` while that is still being found out, or nobody may be told.
    #[must_use]
    pub fn told_mark(&self) -> Option<u64> {
        let is_busy = !self.sweeps.is_empty() || self.table.is_reranking();
        (self.converged && !is_busy).then(|| self.table.log_end())
    }

    /// Peers with a session that were not handed all up to a mark, each with its connection, if it is to be told anything more; with
    /// `also`, those whose connection has octets under way too.
    #[must_use]
    pub fn untold(&self, mark: u64, also: &dyn Fn(crate::types::ConnId) -> bool) -> Vec<PeerId> {
        let behind = self.members.values().filter(|member| {
            member.peer.session().is_some_and(|session| !member.out.has_told(mark) || also(session.conn))
        });
        behind.map(|member| member.peer.id()).collect()
    }
}
