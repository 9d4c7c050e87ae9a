//! Asks a policy about a route, and makes the changes that its rules order.
//!
//! Asking and changing are apart: an [`Outcome`] only names the rules whose changes apply, so that a caller with many prefixes of
//! equal attributes makes equal changes once. Where a later rule could see what an earlier one changed, asking works on a copy.

use super::change::{Changes, SetNextHop};
use super::members::{Forms, Members, joined};
use super::sets::PrefixSet;
use super::{Chosen, Policies, RuleId, Verdict};
use crate::rpki::{self, Validity, Vrps};
use crate::types::{Asn, Family, IpNet};
use crate::wire::attrs::{AsPath, Attrs, Segment};
use crate::wire::community::{Bandwidth, ExtCommunity};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How a route came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Originated here.
    Local,
    /// Originated here because a more specific route exists.
    Aggregate,
    /// Learnt from an external peer.
    Ebgp,
    /// Learnt from an internal peer.
    Ibgp,
}

/// What a policy is asked about: a route, and the peer that told it (import) or would be told (export).
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The prefix.
    pub prefix: &'a IpNet,
    /// Its attributes before the policy.
    pub attrs: Attrs<'a>,
    /// Its next hop.
    pub next_hop: IpAddr,
    /// How it came to be known.
    pub source: Source,
    /// Configured name of the peer; of a dynamic one, its address.
    pub peer_name: &'a str,
    /// Address of the session with the peer.
    pub peer_address: IpAddr,
    /// AS of the peer.
    pub peer_asn: Asn,
    /// Our AS, which `prepend: 2` repeats.
    pub own_asn: Asn,
    /// How many next hops the prefix is sent to; 1 on import.
    pub next_hops: u32,
    /// What these carry together, if every one says (RFC 10005 §3.4); on import, what the route says.
    pub bandwidth: Option<Bandwidth>,
    /// What its origin is validated against (RFC 6811); `None`: nothing is known.
    pub vrps: Option<&'a Vrps>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Taken or not.
    pub verdict: Verdict,
    /// The rule that decided; `None` where no rule was asked.
    pub rule: Option<RuleId>,
    /// The rules whose changes apply to an accepted route, in order.
    pub changes: Vec<RuleId>,
}

/// One test. Lists mean: any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Family(Family),
    Source(Vec<Source>),
    Peer(Vec<PeerIs>),
    NeighborAsn(Members<Asn>),
    Prefix(Vec<Arc<PrefixSet>>),
    NextHop(Vec<IpNet>),
    Origin(Vec<u8>),
    Med(RangeInclusive<u32>),
    LocalPref(RangeInclusive<u32>),
    Community(Forms<u32>),
    LargeCommunity(Forms<u128>),
    ExtCommunity(Forms<u64>),
    /// Bits per second.
    LinkBandwidth(RangeInclusive<u64>),
    NextHops(RangeInclusive<u32>),
    Rpki(Vec<Validity>),
    PathContains(Members<Asn>),
    PathStarts(Members<Asn>),
    PathEnds(Members<Asn>),
    PathLength(RangeInclusive<u32>),
    PathLike(Vec<Token>),
}

/// Which peer is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerIs {
    Named(String),
    Within(IpNet),
}

/// A community whose parts may be `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern<const N: usize>(pub(super) [Option<u32>; N]);

impl<const N: usize> Pattern<N> {
    pub(super) fn fits(&self, parts: [u32; N]) -> bool {
        self.0.iter().zip(parts).all(|(wanted, part)| wanted.is_none_or(|wanted| wanted == part))
    }
}

/// Extended communities that agree in some of their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExtPattern {
    pub(super) mask: u64,
    pub(super) value: u64,
}

impl ExtPattern {
    pub(super) const fn fits(self, community: ExtCommunity) -> bool {
        u64::from_be_bytes(community.0) & self.mask == self.value
    }
}

/// One word of an AS path pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This AS.
    Is(Asn),
    /// `?`: any one AS.
    One,
    /// `*`: any run of them, also none.
    Run,
}

/// A walk under way.
struct Walk<'r> {
    route: Route<'r>,
    /// The block as earlier rules left it, where they changed it.
    changed: Option<Vec<u8>>,
    changes: Vec<RuleId>,
}

impl Walk<'_> {
    fn attrs(&self) -> Attrs<'_> {
        self.changed.as_deref().map_or(self.route.attrs, Attrs)
    }
}

impl<'p> Chosen<'p> {
    /// What becomes of a route.
    #[must_use]
    pub fn evaluate(self, route: Route<'_>) -> Outcome {
        match self {
            Self::Always(verdict) => Outcome { verdict, rule: None, changes: Vec::new() },
            Self::Rules(policies, at) => {
                let mut walk = Walk { route, changed: None, changes: Vec::new() };
                let decided = policies.walk(at, &mut walk);
                let (verdict, rule) = decided.unwrap_or_else(|| (Verdict::Reject, policies.end_of(at)));
                Outcome { verdict, rule: Some(rule), changes: walk.changes }
            }
        }
    }

    /// The block with the changes of these rules. `bandwidth`: what a rule that sets the cumulative one writes.
    #[must_use]
    pub fn changed(self, block: &[u8], changes: &[RuleId], own_asn: Asn, bandwidth: Option<Bandwidth>) -> Vec<u8> {
        let mut out = block.to_vec();
        for changes in self.rules(changes) {
            out = changes.apply(&out, own_asn, bandwidth);
        }
        out
    }

    /// Whether one of these rules writes what the next hops carry together.
    #[must_use]
    pub fn writes_cumulative(self, changes: &[RuleId]) -> bool {
        self.rules(changes).any(Changes::writes_cumulative)
    }

    /// The next hop that these rules set.
    #[must_use]
    pub fn next_hop(self, changes: &[RuleId]) -> Option<SetNextHop> {
        self.rules(changes).filter_map(|changes| changes.next_hop).last()
    }

    /// Whether the verdict depends on the peer.
    #[must_use]
    pub fn asks_of_peer(self) -> bool {
        match self {
            Self::Always(_) => false,
            Self::Rules(policies, at) => policies.asks_of_peer(at),
        }
    }

    /// Whether the verdict, or a change, depends on the validation state (RFC 6811).
    #[must_use]
    pub fn asks_of_validity(self) -> bool {
        match self {
            Self::Always(_) => false,
            Self::Rules(policies, at) => policies.asks_of_validity(at),
        }
    }

    fn rules<'c>(self, changes: &'c [RuleId]) -> impl Iterator<Item = &'p Changes> + use<'p, 'c> {
        changes.iter().filter_map(move |id| match self {
            Self::Always(_) => None,
            Self::Rules(policies, _) => Some(&policies.rule(*id)?.changes),
        })
    }
}

impl Policies {
    fn end_of(&self, at: usize) -> RuleId {
        let policy = &self.all[at];
        RuleId(policy.first + u32::try_from(policy.rules.len()).unwrap_or_default())
    }

    /// The first verdict from top to bottom. Calls cannot go round in a circle: the compiler refuses that.
    fn walk(&self, at: usize, walk: &mut Walk<'_>) -> Option<(Verdict, RuleId)> {
        let policy = self.all.get(at)?;
        for (number, rule) in (policy.first..).zip(&policy.rules) {
            let holds = |condition: &Condition| condition.holds(walk);
            if !rule.when.iter().all(holds) || (!rule.unless.is_empty() && rule.unless.iter().all(holds)) {
                continue;
            }
            let id = RuleId(number);
            if rule.changes != Changes::default() {
                walk.changes.push(id);
                if rule.then.is_none() || rule.call.is_some() {
                    walk.changed = Some(rule.changes.apply(walk.attrs().0, walk.route.own_asn, walk.route.bandwidth));
                    if rule.changes.link_bandwidth.is_some() {
                        walk.route.bandwidth = walk.attrs().link_bandwidth();
                    }
                    if let Some(SetNextHop::Address(address)) = rule.changes.next_hop {
                        walk.route.next_hop = address;
                    }
                }
            }
            if let Some(decided) = rule.call.and_then(|called| self.walk(called, walk)) {
                return Some(decided);
            }
            if let Some(verdict) = rule.then {
                return Some((verdict, id));
            }
        }
        None
    }
}

fn validity(route: &Route<'_>) -> Validity {
    let origin = rpki::origin(route.attrs, route.own_asn);
    route.vrps.map_or(Validity::NotFound, |vrps| vrps.validity(route.prefix, origin))
}

impl Condition {
    pub(super) const fn asks_of_validity(&self) -> bool {
        matches!(self, Self::Rpki(_))
    }

    /// Whether the answer depends on the peer that is told.
    pub(super) const fn asks_of_peer(&self) -> bool {
        matches!(self, Self::Peer(_) | Self::NeighborAsn(_))
    }

    pub(super) const fn asks_of_next_hops(&self) -> bool {
        matches!(self, Self::NextHops(_))
    }

    fn holds(&self, walk: &Walk<'_>) -> bool {
        let route = &walk.route;
        let attrs = walk.attrs();
        match self {
            Self::Family(family) => Family::of(route.prefix) == *family,
            Self::Source(any) => {
                // An aggregate is originated here too.
                any.contains(&route.source) || route.source == Source::Aggregate && any.contains(&Source::Local)
            }
            Self::Peer(any) => any.iter().any(|peer| match peer {
                PeerIs::Named(name) => name == route.peer_name,
                PeerIs::Within(net) => net.contains(&route.peer_address),
            }),
            Self::NeighborAsn(any) => any.has(&route.peer_asn),
            Self::Prefix(any) => any.iter().any(|set| set.contains(route.prefix)),
            Self::NextHop(any) => any.iter().any(|net| net.contains(&route.next_hop)),
            Self::Origin(any) => any.contains(&attrs.origin()),
            // RFC 4271 §9.1.2.2 c: a missing MED counts as the lowest.
            Self::Med(range) => range.contains(&attrs.med().unwrap_or(0)),
            Self::LocalPref(range) => {
                range.contains(&attrs.local_pref().unwrap_or(crate::rib::decide::DEFAULT_LOCAL_PREF))
            }
            Self::Community(any) => attrs.communities().any(|word| any.fits(word)),
            Self::LargeCommunity(any) => attrs.large_communities().any(|parts| any.fits(joined(parts))),
            Self::ExtCommunity(any) => {
                attrs.ext_communities().any(|community| any.fits(u64::from_be_bytes(community.0)))
            }
            Self::LinkBandwidth(range) => route.bandwidth.is_some_and(|rate| range.contains(&rate.bits_per_s())),
            Self::NextHops(range) => range.contains(&route.next_hops),
            // RFC 6811 §3: of the route as it came, whatever rules did to its path.
            Self::Rpki(any) => any.contains(&validity(route)),
            Self::PathContains(any) => {
                attrs.as_path().segments().any(|segment| segment.asns().any(|asn| any.has(&asn)))
            }
            Self::PathStarts(any) => attrs.as_path().first_as().is_some_and(|asn| any.has(&asn)),
            Self::PathEnds(any) => attrs.as_path().origin_as().is_some_and(|asn| any.has(&asn)),
            Self::PathLength(range) => range.contains(&u32::try_from(attrs.as_path().hop_count()).unwrap_or(u32::MAX)),
            Self::PathLike(tokens) => path_fits(attrs.as_path(), tokens),
        }
    }
}

/// One place of a path: an AS of a sequence, or a whole set.
#[derive(Clone, Copy)]
enum Place<'a> {
    As(Asn),
    Set(Segment<'a>),
}

/// Matches a whole path, in time linear in path times pattern: on a mismatch only the last `*` takes one AS more.
fn path_fits(path: AsPath<'_>, tokens: &[Token]) -> bool {
    let places: Vec<Place<'_>> = path.segments().flat_map(places).collect();
    let (mut at, mut token) = (0, 0);
    let mut run = None;
    while let Some(place) = places.get(at) {
        match tokens.get(token) {
            Some(Token::Run) => {
                run = Some((token, at));
                token += 1;
            }
            Some(wanted) if place_fits(*place, *wanted) => {
                at += 1;
                token += 1;
            }
            _ => {
                let Some((before, taken)) = run else {
                    return false;
                };
                run = Some((before, taken + 1));
                (token, at) = (before + 1, taken + 1);
            }
        }
    }
    tokens.get(token..).unwrap_or_default().iter().all(|rest| *rest == Token::Run)
}

fn places(segment: Segment<'_>) -> Vec<Place<'_>> {
    // RFC 4271 §4.3: type 1 is AS_SET; RFC 5065 §3: 4 is its confederation kin. Where an AS stands in a set means nothing.
    if matches!(segment.kind, 1 | 4) { vec![Place::Set(segment)] } else { segment.asns().map(Place::As).collect() }
}

fn place_fits(place: Place<'_>, token: Token) -> bool {
    match (token, place) {
        (Token::One | Token::Run, _) => true,
        (Token::Is(wanted), Place::As(asn)) => asn == wanted,
        (Token::Is(wanted), Place::Set(set)) => set.asns().any(|asn| asn == wanted),
    }
}
