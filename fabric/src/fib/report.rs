//! What [`Fib`] tells people: counts, failures, and the kernel's side of one prefix.

use super::objects::Shape;
use super::routes::Wanted;
use super::{Fib, NhId, Refusal, Subject, Target};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use weft_bgp::types::{IfIndex, IpNet};

/// Most failures listed in a report; the count is of all.
const LISTED: usize = 100;

/// The kernel's side, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibReport {
    /// False: the kernel is left alone.
    pub install: bool,
    /// Routes of ours in the kernel.
    pub routes: usize,
    /// Nexthop objects in the kernel.
    pub nexthops: usize,
    /// Nexthop groups in the kernel.
    pub groups: usize,
    /// Routes of an earlier run that nobody has asked for yet.
    pub leftovers: usize,
    /// Operations not yet sent.
    pub pending: usize,
    /// Routes that wait for a live neighbour.
    pub waiting: usize,
    /// How many things failed and are tried again.
    pub failed: usize,
    /// The first hundred of them.
    pub failures: Vec<FailureReport>,
    /// Prefixes (of those listed) where a route that is not ours stands in the way.
    pub conflicts: Vec<IpNet>,
    /// How often a dump showed what no notification had told.
    pub drift: u64,
    /// How it is known.
    pub health: FibHealth,
}

/// How the truth is known, and who disturbed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibHealth {
    /// Whole dumps compared.
    pub dumps: u64,
    /// Since the last one, seconds.
    pub dump_age_s: u64,
    /// What the last one showed that was not as believed; it is mended since.
    pub last_drift: u64,
    /// Dumps that changes disturbed and that were begun again (NLM_F_DUMP_INTR).
    pub interrupted: u64,
    /// Dumps that failed altogether.
    pub failed_dumps: u64,
    /// Times that notifications were lost (ENOBUFS).
    pub overruns: u64,
    /// Routes and nexthop objects of ours that somebody else deleted.
    pub foreign_deletions: u64,
    /// Who that was, the latest last.
    pub deleters: Vec<Deleter>,
    /// `net.ipv4.nexthop_compat_mode` is 0 because of us.
    pub nexthop_compat_fast: bool,
}

/// Somebody who deleted what is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleter {
    /// `systemd-networkd (process 312)`, as far as the kernel tells.
    pub who: String,
    /// How many routes and objects, in one go.
    pub count: u64,
    /// When it began, seconds ago.
    pub ago_s: u64,
}

/// One thing that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// The prefix, or `nexthop 4026531840 (10.0.0.1 dev 3)`.
    pub what: String,
    /// What the kernel said.
    pub reason: Refusal,
    /// How often it was tried.
    pub tries: u32,
}

/// What the kernel holds for one prefix, as last told by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// The nexthop object or group it names.
    pub nhid: Option<NhId>,
    /// Where packets go; empty for a route that drops them, or if there is no route.
    pub members: Vec<KernelMember>,
    /// There is a route.
    pub installed: bool,
    /// It is what was wanted, with all its members alive.
    pub as_wanted: bool,
    /// Why it is not.
    pub failure: Option<Refusal>,
    /// How often that was tried.
    pub tries: u32,
    /// How many neighbours it should have.
    pub width: usize,
}

/// One neighbour of a kernel route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelMember {
    /// Through which interface.
    pub link: IfIndex,
    /// To whom.
    pub gateway: IpAddr,
    /// Relative weight.
    pub weight: u8,
}

impl Fib {
    /// The kernel's side, in numbers.
    #[must_use]
    pub fn report(&self) -> FibReport {
        let (nexthops, groups) = self.objects.held();
        let failures: Vec<_> = self
            .troubles
            .iter()
            .take(LISTED)
            .map(|(subject, trouble)| FailureReport {
                what: self.name(subject),
                reason: trouble.refusal,
                tries: trouble.tries,
            })
            .collect();
        let conflict = |subject: &Subject| match subject {
            Subject::Route(key) => Some(key.prefix),
            Subject::Nexthop(_) => None,
        };
        let in_the_way = self.troubles.iter().filter(|(_, trouble)| trouble.refusal == Refusal::Exists);
        FibReport {
            install: self.config.install,
            routes: self.routes.held(),
            nexthops,
            groups,
            leftovers: self.routes.leftovers(),
            pending: self.routes.due(),
            waiting: self.routes.starved(),
            failed: self.troubles.len(),
            failures,
            conflicts: in_the_way.filter_map(|(subject, _)| conflict(subject)).take(LISTED).collect(),
            drift: self.drift,
            health: FibHealth::default(),
        }
    }

    fn name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Route(key) => key.prefix.to_string(),
            Subject::Nexthop(id) => match self.objects.get(*id).map(|object| &object.shape) {
                Some(Shape::Member(member)) => {
                    format!("nexthop {} ({} dev {})", id.0, member.gateway, member.link.0)
                }
                Some(Shape::Group(_, set)) => format!("nexthop {} (group of {})", id.0, set.len()),
                Some(Shape::Orphan(_)) | None => format!("nexthop {}", id.0),
            },
        }
    }

    /// What the kernel holds for a prefix; `None`: nothing is wanted and nothing is there.
    #[must_use]
    pub fn route(&self, prefix: IpNet) -> Option<KernelRoute> {
        let key = self.key(prefix);
        let entry = self.routes.entry(&key);
        let trouble = self.troubles.get(&Subject::Route(key));
        let target = entry.and_then(|entry| entry.have).map(|held| held.target);
        let nhid = match target {
            Some(Target::Nexthop(id)) => Some(id),
            Some(Target::Blackhole | Target::Unreachable | Target::Other) | None => None,
        };
        let members = nhid.map(|id| self.members(id)).unwrap_or_default();
        let wanted = entry.and_then(|entry| match entry.want {
            Wanted::To(target) => target.nexthop(),
            Wanted::Leftover | Wanted::Nothing => None,
        });
        let width = wanted.map_or(0, |id| self.width(id));
        let exact = entry.is_some_and(|entry| matches!(entry.want, Wanted::To(_)) && self.routes.is_as_wanted(&entry));
        entry.map(|_| KernelRoute {
            prefix,
            nhid,
            installed: target.is_some(),
            as_wanted: exact && width == members.len(),
            members,
            failure: trouble.map(|trouble| trouble.refusal),
            tries: trouble.map_or(0, |trouble| trouble.tries),
            width,
        })
    }

    /// How many neighbours an object should have.
    fn width(&self, id: NhId) -> usize {
        match self.objects.get(id).map(|object| &object.shape) {
            Some(Shape::Group(_, set)) => set.len(),
            Some(Shape::Member(_) | Shape::Orphan(_)) | None => 1,
        }
    }

    fn members(&self, id: NhId) -> Vec<KernelMember> {
        let one = |id: &NhId, weight: u8| match self.objects.get(*id).map(|object| &object.shape) {
            Some(Shape::Member(member)) => Some(KernelMember { link: member.link, gateway: member.gateway, weight }),
            Some(Shape::Group(..) | Shape::Orphan(_)) | None => None,
        };
        match self.objects.get(id).map(|object| &object.held) {
            Some(super::HeldObject::Member) => one(&id, 1).into_iter().collect(),
            Some(super::HeldObject::Group(members)) => {
                members.iter().filter_map(|(id, weight)| one(id, *weight)).collect()
            }
            Some(super::HeldObject::No | super::HeldObject::Orphan) | None => Vec::new(),
        }
    }
}
