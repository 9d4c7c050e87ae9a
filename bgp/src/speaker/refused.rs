//! What a peer announced and was not taken, so that explain can say who sent a route that the table does not have, and why not.
//! Nothing is asked of it on the way of a route that is taken.

use super::machine::{Member, Speaker};
use crate::policy::RuleId;
use crate::types::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Refused routes remembered of each peer, the newest: 10 KB at most, and more than a person asks about before the next refresh.
const REMEMBERED: usize = 256;

/// Why a route was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The import policy; the rule, if one was asked.
    Policy(Option<RuleId>),
    /// It went round in a circle.
    Loop,
    /// The first AS of its path is not the peer's.
    FirstAs,
    /// RFC 9234 §5: it was to go to customers only.
    Leak,
    /// The peer has sent as many prefixes as are taken.
    MaxPrefixes,
    /// Treat-as-withdraw (RFC 7606 §2): the attribute type, and what is wrong with it.
    Fault(u8, &'static str),
    /// The peer has sent as many paths of this prefix as are taken.
    PathsLimit,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    prefix: IpNet,
    path_id: u32,
    since_s: u64,
    why: Why,
}

/// The newest refusals of one peer in this session, the oldest first.
#[derive(Debug, Default)]
pub(super) struct RefusedRoutes(VecDeque<Refused>);

impl RefusedRoutes {
    pub(super) fn note(&mut self, since_s: u64, (path_id, prefix): (u32, IpNet), why: Why) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Refused { prefix, path_id, since_s, why });
    }

    /// The peer withdrew it.
    pub(super) fn forget(&mut self, (path_id, prefix): (u32, IpNet)) {
        self.0.retain(|refused| (refused.path_id, refused.prefix) != (path_id, prefix));
    }

    /// Whether there is one of these, or may have been one that is forgotten by now.
    pub(super) fn may_have(&self, is_meant: impl Fn(&IpNet) -> bool) -> bool {
        self.0.len() >= REMEMBERED || self.0.iter().any(|refused| is_meant(&refused.prefix))
    }

    /// The rules have other numbers; what names none that is still there is forgotten.
    pub(super) fn renumber(&mut self, numbers: &[Option<RuleId>]) {
        self.0.retain_mut(|refused| {
            if let Why::Policy(Some(rule)) = &mut refused.why {
                let number = rule.place(numbers);
                number.map(|number| *rule = number).is_some()
            } else {
                true
            }
        });
    }

    /// The newest routes that a policy refused, the newest first.
    pub(super) fn by_policy(&self) -> impl Iterator<Item = (u32, IpNet)> + '_ {
        let refused = self.0.iter().rev().filter(|refused| matches!(refused.why, Why::Policy(_)));
        refused.map(|refused| (refused.path_id, refused.prefix))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A route that a peer announced and that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedInfo {
    /// What was announced.
    pub prefix: IpNet,
    /// Name of the peer.
    pub from: String,
    /// The peer's path identifier, on a session with them (RFC 7911).
    pub path_id: Option<u32>,
    /// Seconds since start at which it came.
    pub since_s: u64,
    /// Why it was not taken.
    pub reason: String,
}

impl Speaker {
    /// Who announced a prefix that covers `target` and was refused, as far as is remembered. Only prefixes as long as the one that
    /// decides, and longer ones: with others, nothing would be different.
    #[must_use]
    pub fn refused(&self, target: &IpNet) -> Vec<RefusedInfo> {
        let least = self.table.covering(target).map_or(0, |entry| entry.prefix.prefix_len());
        let of = |member: &Member| self.refused_of(member, target, least);
        self.members.values().flat_map(of).collect()
    }

    fn refused_of(&self, member: &Member, target: &IpNet, least: u8) -> Vec<RefusedInfo> {
        let mut seen = Vec::new();
        let mut infos = Vec::new();
        let covers = |refused: &&Refused| refused.prefix.prefix_len() >= least && refused.prefix.contains(target);
        for refused in member.refused.0.iter().rev().filter(covers) {
            // What was taken later is in the table.
            let paths = self.table.get(&refused.prefix).map_or(&[][..], |entry| entry.paths);
            let taken = paths.iter().any(|path| (path.peer, path.id) == (member.peer.id(), refused.path_id));
            if taken || seen.contains(&(refused.prefix, refused.path_id)) {
                continue;
            }
            seen.push((refused.prefix, refused.path_id));
            let add_path = member.last.as_ref().is_some_and(|session| session.codec.add_path_rx.contains(&true));
            infos.push(RefusedInfo {
                prefix: refused.prefix,
                from: member.peer.config().name.clone(),
                path_id: add_path.then_some(refused.path_id),
                since_s: refused.since_s,
                reason: self.why(refused.why, member),
            });
        }
        infos
    }

    fn why(&self, why: Why, member: &Member) -> String {
        match why {
            Why::Policy(Some(rule)) => format!("rejected by rule {}", self.config.policies.rule_name(rule)),
            Why::Policy(None) => "the import policy rejects everything, or there is none (RFC 8212)".to_owned(),
            Why::Loop => "it has been here before: our AS in its path, or our identifier or cluster (RFC 4271 §9.1.2, \
                          RFC 4456 §8)"
                .to_owned(),
            Why::FirstAs => "its path does not begin with the peer's AS: enforce_first_as (RFC 4271 §6.3)".to_owned(),
            Why::Leak => "a route leak: its OTC says that it was to go to customers only (RFC 9234 §5)".to_owned(),
            Why::MaxPrefixes => {
                let limit = member.peer.config().max_prefixes.unwrap_or_default();
                format!("the peer has sent {limit} other prefixes: max_prefixes")
            }
            Why::Fault(kind, what) => format!("treated as withdrawn: {what} (attribute {kind}, RFC 7606 §2)"),
            Why::PathsLimit => {
                let limit = member.peer.config().add_path.paths_limit;
                format!("the peer has sent {limit} other paths of this prefix: paths_limit")
            }
        }
    }
}
