//! The kernel's side of an answer, in words.

use super::KernelCounts;
use crate::fib::{FibDiff, FibReport, KernelRoute};
use crate::link::LinkInfo;
use serde::{Deserialize, Serialize};
use weft_bgp::types::IfIndex;

/// The kernel's side: counts, failures, who disturbs; and on request a fresh dump beside what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Counts.
    pub fib: FibReport,
    /// What a fresh dump shows.
    pub diff: Option<FibDiff>,
}

impl From<&FibReport> for KernelCounts {
    fn from(report: &FibReport) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            routes: count(report.routes),
            nexthops: count(report.nexthops + report.groups),
            failures: count(report.failed),
            pending: count(report.pending),
            waiting: count(report.waiting),
            conflicts: count(report.conflicts.len()),
            dumps: report.health.dumps,
            dump_age_s: report.health.dump_age_s,
            differences: report.health.last_drift,
            drift: report.drift,
            interrupted: report.health.interrupted,
            overruns: report.health.overruns,
            foreign_deletions: report.health.foreign_deletions,
        }
    }
}

/// What is said of a prefix for which the kernel holds nothing of ours.
pub const NO_ROUTE: &str = "no route of ours";

/// What the kernel holds for a prefix: `nhid 4026531845 = {eth0 ×1, eth1 ×1}, as wanted`.
#[must_use]
pub fn kernel_sentence(held: Option<&KernelRoute>, links: &[LinkInfo]) -> String {
    let Some(held) = held else {
        return NO_ROUTE.to_owned();
    };
    let name = |index: IfIndex| {
        let link = links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("link {}", index.0), |link| link.name.clone())
    };
    let members: Vec<String> =
        held.members.iter().map(|member| format!("{} ×{}", name(member.link), member.weight)).collect();
    let holds = match (held.installed, held.nhid) {
        (false, _) => "no route".to_owned(),
        (true, None) => "drops".to_owned(),
        (true, Some(nhid)) => format!("nhid {} = {{{}}}", nhid.0, members.join(", ")),
    };
    let judged = match (&held.failure, held.as_wanted) {
        (Some(failure), _) if held.tries > 1 => format!("not as wanted: {failure}, tried {} times", held.tries),
        (Some(failure), _) => format!("not as wanted: {failure}, tried again"),
        (None, true) => "as wanted".to_owned(),
        (None, false) if held.width > 0 && held.members.len() < held.width => {
            format!("{} of {} neighbours alive", held.members.len(), held.width)
        }
        (None, false) => "not yet as wanted".to_owned(),
    };
    format!("{holds}, {judged}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::{KernelMember, NhId};

    #[test]
    fn the_kernel_line_names_links_and_says_whether_it_is_as_wanted() {
        let member = |link| KernelMember { link: IfIndex(link), gateway: "10.0.0.1".parse().unwrap(), weight: 1 };
        let held = KernelRoute {
            prefix: "10.0.0.0/8".parse().unwrap(),
            nhid: Some(NhId(7)),
            members: vec![member(2), member(3)],
            installed: true,
            as_wanted: true,
            failure: None,
            tries: 0,
            width: 2,
        };
        assert_eq!(kernel_sentence(Some(&held), &[]), "nhid 7 = {link 2 ×1, link 3 ×1}, as wanted");
        assert_eq!(kernel_sentence(None, &[]), "no route of ours");
        let gone = KernelRoute { members: Vec::new(), nhid: None, installed: false, as_wanted: false, ..held };
        assert_eq!(kernel_sentence(Some(&gone), &[]), "no route, 0 of 2 neighbours alive");
        let refused = KernelRoute { failure: Some(crate::fib::Refusal::Exists), tries: 3, ..gone };
        let said = "no route, not as wanted: something that is not ours is in its place, tried 3 times";
        assert_eq!(kernel_sentence(Some(&refused), &[]), said);
    }
}
