//! Long-lived stale routes (RFC 9494 §4.2): what is kept of a peer beyond its restart time is marked with LLGR_STALE, which makes it
//! the last choice ([`crate::rib::decide`]) and keeps it from peers that do not know such routes. And what a refresh makes stale
//! (RFC 7313 §4.2).

use super::machine::Speaker;
use super::sweep::{Sweep, What};
use crate::peer::{RouteOptions, Session};
use crate::rib::attrs::AttrsId;
use crate::rib::table::{Path, SlotId};
use crate::time::Instant;
use crate::types::{Family, PeerId};
use crate::wire::attrs::{Attrs, community, flag, kind, with};

/// The block with LLGR_STALE behind its other communities.
fn marked(block: &[u8]) -> Vec<u8> {
    let communities = Attrs(block).value(kind::COMMUNITIES).unwrap_or_default();
    let value = [communities, &community::LLGR_STALE.to_be_bytes()].concat();
    with(block, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, Some(&value))
}

/// Whether a peer may be told of long-lived stale routes: it knows them (RFC 9494 §4.3), or is an internal one that is to hear of them
/// nevertheless (§4.6).
pub(super) const fn may_be_told_stale(session: &Session, options: &RouteOptions) -> bool {
    session.knows_long_lived || (options.long_lived_partial && !session.codec.ebgp)
}

/// How such a route is told. RFC 9494 §4.3: whatever a policy removes, LLGR_STALE stays. §4.6: who does not know it is told that this is
/// the last choice, and for the AS alone.
pub(super) fn as_long_lived(session: &Session, mut block: Vec<u8>) -> Vec<u8> {
    let mut needs = vec![community::LLGR_STALE];
    if !session.knows_long_lived {
        needs.push(community::NO_EXPORT);
        block = with(&block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&[0; 4]));
    }
    let mut value = Attrs(&block).value(kind::COMMUNITIES).unwrap_or_default().to_vec();
    let missing = needs.into_iter().filter(|word| !Attrs(&block).has_community(*word));
    value.extend(missing.flat_map(u32::to_be_bytes));
    with(&block, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, Some(&value))
}

impl Speaker {
    /// A peer stayed away beyond its restart time: a walk over what is kept of it.
    pub(super) fn begin_long_lived(&mut self, id: PeerId, families: &[Family]) {
        let past = self.table.lives.past(id);
        let sessions = Family::ALL.map(|family| if families.contains(&family) { past[family.index()] } else { 0 });
        self.sweeps.push_back(Sweep::new(id, sessions, What::MarkLongLived));
    }

    /// One prefix of that walk.
    pub(super) fn mark_long_lived(&mut self, slot: SlotId, sweep: &Sweep) {
        let Some(entry) = self.table.entry(slot) else {
            return;
        };
        let (prefix, family) = (entry.prefix, Family::of(&entry.prefix));
        let paths: Vec<Path> = entry.paths.iter().filter(|path| sweep.hits(path, family)).copied().collect();
        for path in paths {
            let attrs = Attrs(self.table.attrs.block(path.attrs));
            if attrs.has_community(community::NO_LLGR) {
                // RFC 9494 §4.2: not retained.
                if let Some(came) = self.table.remove_at(slot, path.key()) {
                    self.went(sweep.peer, family, came);
                }
            } else if !attrs.has_community(community::LLGR_STALE) {
                let attrs: AttrsId = {
                    let block = marked(attrs.0);
                    self.table.attrs.intern(&block)
                };
                self.table.hops.hold(path.hop);
                let _ = self.table.insert(prefix, Path { attrs, ..path });
            }
        }
    }

    /// A BoRR came: what the peer told of this family is old until it tells it again.
    pub(super) fn begin_refresh(&mut self, now: Instant, id: PeerId, family: Family) {
        if !self.table.lives.refresh(id, family) {
            // After fifteen within one walk.
            self.drop_stale(id, &[family]);
            self.finish_sweeps(now, id);
            let _ = self.table.lives.refresh(id, family);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.held.end(family);
        }
    }
}
