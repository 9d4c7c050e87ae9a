//! Why the best path is the best: against the path that held out longest, with both values.

use super::{Candidate, Ranking, Rule, local_pref};
use crate::types::RouterId;
use std::net::IpAddr;

/// The last rules, between paths that are equal in all others, in their order (RFC 4271 §9.1.2.2 f, g; RFC 4456 §9; RFC 7911).
type TieBreak = (RouterId, usize, IpAddr, u32);

fn tie_break(path: &Candidate<'_>) -> TieBreak {
    let originator = path.attrs.originator_id().unwrap_or(path.router_id);
    (originator, path.attrs.cluster_list().count(), path.peer_address, path.path_id)
}

/// The place of the path that the best one had to beat last, and by which rule it did; `None` if there is no other.
#[must_use]
pub fn runner_up(paths: &[Candidate<'_>], ranking: &Ranking) -> Option<(usize, Rule)> {
    let others = (0..paths.len()).filter(|&at| at != ranking.best);
    // The rule that ended a path last; of those equal in all rules the next one.
    let key = |at: usize| (std::cmp::Reverse(ranking.ended_by.get(at).copied()), tie_break(&paths[at]));
    let place = others.min_by_key(|&at| key(at))?;
    Some((place, *ranking.ended_by.get(place)?))
}

/// How `best` beat `other`, as a sentence with both values; `name` is who sent the other.
#[must_use]
pub fn explain_best(rule: Rule, best: &Candidate<'_>, other: &Candidate<'_>, name: &str) -> String {
    match rule {
        Rule::Unresolved => format!("the only path that can be used: the next hop of {name} is unreachable"),
        Rule::LongLivedStale => format!("not long-lived stale, and the path of {name} is (RFC 9494 §4.3)"),
        Rule::LocalPref => {
            format!("higher LOCAL_PREF than {name}, {} > {} (RFC 4271 §9.1.1)", local_pref(best), local_pref(other))
        }
        Rule::Local => format!("originated here, and {name} is learnt"),
        Rule::AsPathLength => format!(
            "shorter AS path than {name}, {} < {} (RFC 4271 §9.1.2.2 a)",
            best.attrs.as_path().hop_count(),
            other.attrs.as_path().hop_count()
        ),
        Rule::Origin => format!(
            "lower ORIGIN than {name}, {} < {} (RFC 4271 §9.1.2.2 b)",
            best.attrs.origin(),
            other.attrs.origin()
        ),
        Rule::Med => format!(
            "lower MED than {name} of the same neighbour AS, {} < {} (RFC 4271 §9.1.2.2 c)",
            best.attrs.med().unwrap_or(0),
            other.attrs.med().unwrap_or(0)
        ),
        Rule::Ebgp => format!("external, and {name} is internal (RFC 4271 §9.1.2.2 d)"),
        Rule::Metric => {
            format!("nearer next hop than {name}, metric {} < {} (RFC 4271 §9.1.2.2 e)", best.metric, other.metric)
        }
        Rule::Equal => explain_tie(tie_break(best), tie_break(other), name),
    }
}

fn explain_tie(best: TieBreak, other: TieBreak, name: &str) -> String {
    if best.0 != other.0 {
        return format!("lower identifier than {name}, {} < {} (RFC 4271 §9.1.2.2 f)", best.0, other.0);
    }
    if best.1 != other.1 {
        return format!("shorter CLUSTER_LIST than {name}, {} < {} (RFC 4456 §9)", best.1, other.1);
    }
    if best.2 != other.2 {
        return format!("lower address than {name}, {} < {} (RFC 4271 §9.1.2.2 g)", best.2, other.2);
    }
    format!("lower path identifier of {name}, {} < {} (RFC 7911 §3)", best.3, other.3)
}
