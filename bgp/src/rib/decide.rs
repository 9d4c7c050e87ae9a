//! Which path is best, and which are equal enough for ECMP (RFC 4271 §9.1.2.2, RFC 4456 §9).
//!
//! Rules eliminate over the whole set, one after another. MED is compared only within a neighbour AS and so is not transitive:
//! a comparator of two routes would make the result depend on the order. There is no "oldest wins": the same paths always give
//! the same answer, whatever their history.

mod words;

pub use words::{explain_best, runner_up};

use crate::types::{Asn, RouterId};
use crate::wire::attrs::{Attrs, community};
use std::net::IpAddr;

/// What the decision needs to know of a path.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its attributes after import policy.
    pub attrs: Attrs<'a>,
    /// Originated by this speaker.
    pub local: bool,
    /// Learnt over eBGP.
    pub ebgp: bool,
    /// The next hop is resolved; others are not eligible (RFC 4271 §9.1.2.1).
    pub resolved: bool,
    /// Cost of reaching the next hop: 0 when directly connected.
    pub metric: u32,
    /// Identifier of the peer it came from.
    pub router_id: RouterId,
    /// Address of that peer.
    pub peer_address: IpAddr,
    /// The identifier that the peer gave the path, 0 without (RFC 7911 §3).
    pub path_id: u32,
}

/// The rule that decided, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The next hop cannot be reached (RFC 4271 §9.1.2.1).
    Unresolved,
    /// Long-lived stale routes are the last choice (RFC 9494 §4.3).
    LongLivedStale,
    /// Highest LOCAL_PREF (RFC 4271 §9.1.1).
    LocalPref,
    /// Originated here before learnt.
    Local,
    /// Shortest AS_PATH (RFC 4271 §9.1.2.2 a).
    AsPathLength,
    /// Lowest ORIGIN (RFC 4271 §9.1.2.2 b).
    Origin,
    /// Lowest MED among routes of one neighbour AS (RFC 4271 §9.1.2.2 c).
    Med,
    /// External before internal (RFC 4271 §9.1.2.2 d).
    Ebgp,
    /// Nearest next hop (RFC 4271 §9.1.2.2 e).
    Metric,
    /// Equal in everything that matters: multipath.
    Equal,
}

/// Default LOCAL_PREF where none was given.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// The rules from LLGR_STALE to ORIGIN as one number, the least preferred: kept with each attribute block, so that only paths which
/// share it are looked at closely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference(u64);

impl Preference {
    const LONG_LIVED_STALE: u64 = 1 << 63;
    const LOCAL_PREF: u32 = 31;
    const LEARNT: u64 = 1 << 30;

    /// Of a path with these attributes.
    #[must_use]
    pub fn of(attrs: Attrs<'_>) -> Self {
        let stale = if attrs.has_community(community::LLGR_STALE) { Self::LONG_LIVED_STALE } else { 0 };
        let local_pref = u64::from(u32::MAX - attrs.local_pref().unwrap_or(DEFAULT_LOCAL_PREF));
        let hop_count = u64::try_from(attrs.as_path().hop_count()).unwrap_or(u64::MAX);
        let path_length = hop_count.min((Self::LEARNT >> 8) - 1);
        Self(stale | local_pref << Self::LOCAL_PREF | Self::LEARNT | path_length << 8 | u64::from(attrs.origin()))
    }

    /// Of the same path, originated by this speaker.
    #[must_use]
    pub const fn originated(self) -> Self {
        Self(self.0 & !Self::LEARNT)
    }
}

/// The outcome for one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Index of the best path.
    pub best: usize,
    /// For each candidate the rule that ended it; `Equal` = it is in the multipath set, the best one included.
    pub ended_by: Vec<Rule>,
}

/// Ranks the paths of a prefix; `None` if no path is eligible. AS_PATHs of multipath members may differ in content but not in
/// length ("multipath relax").
#[must_use]
pub fn decide(paths: &[Candidate<'_>]) -> Option<Ranking> {
    let mut ended_by = vec![Rule::Equal; paths.len()];
    let mut alive: Vec<usize> = (0..paths.len()).collect();
    keep(&mut alive, &mut ended_by, Rule::Unresolved, |at| !paths[at].resolved, Some(false));
    let long_lived = |at: usize| paths[at].attrs.has_community(community::LLGR_STALE);
    keep(&mut alive, &mut ended_by, Rule::LongLivedStale, long_lived, None);
    keep(&mut alive, &mut ended_by, Rule::LocalPref, |at| u32::MAX - local_pref(&paths[at]), None);
    keep(&mut alive, &mut ended_by, Rule::Local, |at| !paths[at].local, None);
    keep(&mut alive, &mut ended_by, Rule::AsPathLength, |at| paths[at].attrs.as_path().hop_count(), None);
    keep(&mut alive, &mut ended_by, Rule::Origin, |at| paths[at].attrs.origin(), None);
    eliminate_by_med(paths, &mut alive, &mut ended_by);
    keep(&mut alive, &mut ended_by, Rule::Ebgp, |at| !paths[at].ebgp, None);
    keep(&mut alive, &mut ended_by, Rule::Metric, |at| paths[at].metric, None);
    let best = alive.into_iter().min_by_key(|&at| paths[at].order())?;
    Some(Ranking { best, ended_by })
}

impl Candidate<'_> {
    /// Among equals the least is the best. RFC 4271 §9.1.2.2 f, g with RFC 4456 §9: originator instead of peer, then the shorter
    /// CLUSTER_LIST, then the address. The paths of one peer (RFC 7911) are equal in all of these: there its identifier decides, so
    /// that the order of arrival does not.
    pub(super) fn order(&self) -> (RouterId, usize, IpAddr, u32) {
        let originator = self.attrs.originator_id().unwrap_or(self.router_id);
        (originator, self.attrs.cluster_list().count(), self.peer_address, self.path_id)
    }
}

fn local_pref(path: &Candidate<'_>) -> u32 {
    path.attrs.local_pref().unwrap_or(DEFAULT_LOCAL_PREF)
}

/// Keeps those with the least key (or only those with the `required` one).
fn keep<K: Ord>(
    alive: &mut Vec<usize>,
    ended_by: &mut [Rule],
    rule: Rule,
    key: impl Fn(usize) -> K,
    required: Option<K>,
) {
    if alive.len() < 2 && required.is_none() {
        return;
    }
    let Some(least) = required.or_else(|| alive.iter().map(|&at| key(at)).min()) else {
        return;
    };
    alive.retain(|&at| {
        let stays = key(at) == least;
        if !stays {
            ended_by[at] = rule;
        }
        stays
    });
}

/// RFC 4271 §9.1.2.2 c: a route falls to one of the same neighbour AS with a lower MED; a missing MED counts as 0.
fn eliminate_by_med(paths: &[Candidate<'_>], alive: &mut Vec<usize>, ended_by: &mut [Rule]) {
    if alive.len() < 2 {
        return;
    }
    let facts: Vec<(Option<Asn>, u32)> =
        paths.iter().map(|path| (path.attrs.as_path().first_as(), path.attrs.med().unwrap_or(0))).collect();
    let before = alive.clone();
    alive.retain(|&at| {
        let beaten = before.iter().any(|&other| facts[other].0 == facts[at].0 && facts[other].1 < facts[at].1);
        if beaten {
            ended_by[at] = Rule::Med;
        }
        !beaten
    });
}

/// Why `loser` is not used, as a sentence with both values.
#[must_use]
pub fn explain(rule: Rule, loser: &Candidate<'_>, best: &Candidate<'_>) -> String {
    match rule {
        Rule::Unresolved => "next hop unreachable (RFC 4271 §9.1.2.1)".to_owned(),
        Rule::LongLivedStale => "long-lived stale: the last choice (RFC 9494 §4.3)".to_owned(),
        Rule::LocalPref => {
            format!("lower LOCAL_PREF, {} < {} (RFC 4271 §9.1.1)", local_pref(loser), local_pref(best))
        }
        Rule::Local => "learnt, and the best path is originated here".to_owned(),
        Rule::AsPathLength => format!(
            "longer AS path, {} > {} (RFC 4271 §9.1.2.2 a)",
            loser.attrs.as_path().hop_count(),
            best.attrs.as_path().hop_count()
        ),
        Rule::Origin => {
            format!("higher ORIGIN, {} > {} (RFC 4271 §9.1.2.2 b)", loser.attrs.origin(), best.attrs.origin())
        }
        Rule::Med => {
            format!("higher MED {} of the same neighbour AS (RFC 4271 §9.1.2.2 c)", loser.attrs.med().unwrap_or(0))
        }
        Rule::Ebgp => "internal, and the best path is external (RFC 4271 §9.1.2.2 d)".to_owned(),
        Rule::Metric => {
            format!("farther next hop, metric {} > {} (RFC 4271 §9.1.2.2 e)", loser.metric, best.metric)
        }
        Rule::Equal => "equal in every rule".to_owned(),
    }
}

#[cfg(test)]
mod tests;
