//! Why the best path is the best, and whom it was told: one answer for each neighbour, and for each path where several are told.

use super::leading::finds_itself;
use super::machine::{Member, Speaker};
use super::paths::limit;
use crate::peer::Session;
use crate::rib::decide::{Candidate, Ranking, explain_best, runner_up};
use crate::rib::table::{Entry, Path, SlotId};
use crate::types::{Family, IpNet};
use crate::wire::attrs::Attrs;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Why a path is the best where nothing stands beside it.
const ONLY: &str = "the only path";

/// Whether an Established neighbour was told of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldInfo {
    /// Its name.
    pub neighbor: String,
    /// Why it was not; `None`: it was.
    pub reason: Option<String>,
    /// Where several paths are told (RFC 7911): each that could be, the best first.
    pub paths: Vec<ToldPath>,
}

/// Whether a path was told to a neighbour that is told of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldPath {
    /// Name of the peer whose path it is, or `local`.
    pub from: String,
    /// That peer's path identifier, on a session with them.
    pub from_path_id: Option<u32>,
    /// The identifier under which it is told.
    pub path_id: u32,
    /// Why it was not; `None`: it was.
    pub reason: Option<String>,
}

impl Speaker {
    /// Why the best path is the best: the rule, and the value of the path that it beat last.
    pub(super) fn why_best(&self, entry: &Entry<'_>, ranking: Option<&Ranking>) -> Cow<'static, str> {
        if entry.paths.len() == 1 {
            return ONLY.into();
        }
        let candidates: Vec<Candidate<'_>> = entry.paths.iter().filter_map(|path| self.table.candidate(path)).collect();
        let beaten = ranking.and_then(|ranking| {
            let (place, rule) = runner_up(&candidates, ranking)?;
            let name = self.source(entry.paths.get(place)?.peer);
            Some(explain_best(rule, candidates.get(ranking.best)?, candidates.get(place)?, &name))
        });
        beaten.map_or(Cow::Borrowed(ONLY), Cow::Owned)
    }

    /// For each Established neighbour: whether it is told of `prefix`, and why not.
    #[must_use]
    pub fn told(&self, prefix: &IpNet) -> Vec<ToldInfo> {
        let (Some(entry), Some(slot)) = (self.table.get(prefix), self.table.slot(prefix)) else {
            return Vec::new();
        };
        let held_back = self.table.why_held_back(&entry).map(|why| why.to_string());
        let answer = |member: &Member| {
            let session = member.peer.session()?;
            let neighbor = member.peer.config().name.clone();
            if held_back.is_some() {
                return Some(ToldInfo { neighbor, reason: held_back.clone(), paths: Vec::new() });
            }
            if session.codec.add_path_tx[Family::of(prefix).index()] {
                let paths = self.told_paths((member, session), (slot, &entry));
                let told = paths.iter().any(|path| path.reason.is_none());
                let first = paths.first().and_then(|path| path.reason.clone());
                let reason = first.unwrap_or_else(|| "there is no usable path".to_owned());
                return Some(ToldInfo { neighbor, reason: (!told).then_some(reason), paths });
            }
            let reason = match self.exportable(
                (member.peer.id(), member.peer.config()),
                session,
                &entry,
                self.export_policy(member, session),
            ) {
                Err(why) => Some(self.refusal(why)),
                Ok(_) if member.out.was_told(slot) => None,
                Ok(_) => Some(self.not_yet(&entry).to_owned()),
            };
            Some(ToldInfo { neighbor, reason, paths: Vec::new() })
        };
        self.members.values().filter_map(answer).collect()
    }

    fn told_paths(&self, (member, session): (&Member, &Session), (slot, entry): (SlotId, &Entry<'_>)) -> Vec<ToldPath> {
        let most = limit(member);
        let mut count = 0;
        let answer = |sendable: crate::rib::table::Sendable| {
            let path = &sendable.path;
            let reason = match self.path_refusal((member, session), entry, path) {
                Some(reason) => Some(reason),
                None if count == most => Some(format!("{most} paths that are better are told")),
                None => {
                    count += 1;
                    (!member.out.paths.has(slot, sendable.id)).then(|| self.not_yet(entry).to_owned())
                }
            };
            ToldPath {
                from: self.source(path.peer),
                from_path_id: self.has_path_ids(path.peer, Family::of(&entry.prefix)).then_some(path.id),
                path_id: sendable.id,
                reason,
            }
        };
        self.table.ranked(slot).map(answer).collect()
    }

    /// Why a neighbour that is told of several paths is not told of this one, whatever the others are.
    fn path_refusal(&self, (member, session): (&Member, &Session), entry: &Entry<'_>, path: &Path) -> Option<String> {
        if path.peer == member.peer.id() {
            return Some("it was learnt from this peer".to_owned());
        }
        if finds_itself(session, &member.peer.config().routes, Attrs(self.table.attrs.block(path.attrs))) {
            return Some("the peer's AS is in the path: it would have to drop it".to_owned());
        }
        if let Err(why) = self.tellable(member.peer.config(), session, entry, path) {
            return Some(why.to_owned());
        }
        let policy = self.export_policy(member, session);
        self.offered((member.peer.config(), session), (entry, path), policy).err().map(|why| self.refusal(why))
    }

    /// Why a route that may be told was not told so far.
    fn not_yet(&self, entry: &Entry<'_>) -> &'static str {
        if !self.converged {
            "not yet: held back until every peer sent End-of-RIB"
        } else if entry.changed > self.readable() {
            "not yet: the kernel has not acknowledged it"
        } else {
            "not yet: it waits for room in the peer's socket"
        }
    }
}
