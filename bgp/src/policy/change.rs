//! What the rules of a policy change in a route, in the order of the README: removed, set, added, put in front.

use super::eval::{ExtPattern, Pattern};
use crate::types::Asn;
use crate::wire::attrs::{Attrs, flag, kind, with};
use crate::wire::community::{Bandwidth, ExtCommunity, with_bandwidth};
use std::net::IpAddr;

/// What link bandwidth a rule sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetBandwidth {
    /// `None`: what the next hops carry together, where every one says; else the route stays as it is.
    pub(super) rate: Option<Bandwidth>,
    pub(super) transitive: bool,
}

/// What next hop a rule sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetNextHop {
    /// `self`: our address on the session (export).
    Me,
    /// `peer`: the peer's address (import).
    Peer,
    /// This address.
    Address(IpAddr),
}

/// What a rule changes: removed first, then set, then added, then prepended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) remove_communities: Vec<Pattern<2>>,
    pub(super) remove_large: Vec<Pattern<3>>,
    pub(super) remove_ext: Vec<ExtPattern>,
    pub(super) remove_med: bool,
    pub(super) communities: Option<Vec<u32>>,
    pub(super) large_communities: Option<Vec<[u32; 3]>>,
    pub(super) ext_communities: Option<Vec<ExtCommunity>>,
    pub(super) link_bandwidth: Option<SetBandwidth>,
    pub(super) local_pref: Option<u32>,
    pub(super) med: Option<u32>,
    pub(super) origin: Option<u8>,
    pub(super) next_hop: Option<SetNextHop>,
    pub(super) add_communities: Vec<u32>,
    pub(super) add_large: Vec<[u32; 3]>,
    pub(super) add_ext: Vec<ExtCommunity>,
    pub(super) prepend_own: u8,
    pub(super) prepend: Vec<Asn>,
}

impl Changes {
    pub(super) const fn writes_cumulative(&self) -> bool {
        matches!(self.link_bandwidth, Some(SetBandwidth { rate: None, .. }))
    }

    pub(super) fn apply(&self, block: &[u8], own_asn: Asn, bandwidth: Option<Bandwidth>) -> Vec<u8> {
        let mut out = self.communities(block);
        out = self.large_communities(&out);
        out = self.ext_communities(&out);
        if let Some(SetBandwidth { rate, transitive }) = self.link_bandwidth
            && let Some(rate) = rate.or(bandwidth)
        {
            out = with_bandwidth(&out, ExtCommunity::of_bandwidth(own_asn, rate, transitive));
        }
        let number = |value: u32| value.to_be_bytes();
        if let Some(local_pref) = self.local_pref {
            out = with(&out, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&number(local_pref)));
        }
        if self.remove_med {
            out = with(&out, 0, kind::MULTI_EXIT_DISC, None);
        }
        if let Some(med) = self.med {
            out = with(&out, flag::OPTIONAL, kind::MULTI_EXIT_DISC, Some(&number(med)));
        }
        if let Some(origin) = self.origin {
            out = with(&out, flag::TRANSITIVE, kind::ORIGIN, Some(&[origin]));
        }
        for asn in self.prepend.iter().rev() {
            out = prepended(&out, *asn, 1);
        }
        if self.prepend_own > 0 {
            out = prepended(&out, own_asn, self.prepend_own);
        }
        out
    }

    fn communities(&self, block: &[u8]) -> Vec<u8> {
        if self.communities.is_none() && self.add_communities.is_empty() && self.remove_communities.is_empty() {
            return block.to_vec();
        }
        let kept = |word: &u32| {
            let parts = [word >> 16, word & 0xffff];
            !self.remove_communities.iter().any(|pattern| pattern.fits(parts))
        };
        let mut all = self.communities.clone().unwrap_or_else(|| Attrs(block).communities().filter(kept).collect());
        for community in &self.add_communities {
            if !all.contains(community) {
                all.push(*community);
            }
        }
        let value: Vec<u8> = all.iter().flat_map(|word| word.to_be_bytes()).collect();
        put_list(block, kind::COMMUNITIES, &value)
    }

    fn large_communities(&self, block: &[u8]) -> Vec<u8> {
        if self.large_communities.is_none() && self.add_large.is_empty() && self.remove_large.is_empty() {
            return block.to_vec();
        }
        let kept = |parts: &[u32; 3]| !self.remove_large.iter().any(|pattern| pattern.fits(*parts));
        let present = || Attrs(block).large_communities().filter(kept).collect();
        let mut all = self.large_communities.clone().unwrap_or_else(present);
        for community in &self.add_large {
            if !all.contains(community) {
                all.push(*community);
            }
        }
        let value: Vec<u8> = all.iter().flatten().flat_map(|word| word.to_be_bytes()).collect();
        put_list(block, kind::LARGE_COMMUNITIES, &value)
    }

    fn ext_communities(&self, block: &[u8]) -> Vec<u8> {
        if self.ext_communities.is_none() && self.add_ext.is_empty() && self.remove_ext.is_empty() {
            return block.to_vec();
        }
        let kept = |community: &ExtCommunity| !self.remove_ext.iter().any(|pattern| pattern.fits(*community));
        let present = || Attrs(block).ext_communities().filter(kept).collect();
        let mut all: Vec<_> = self.ext_communities.clone().unwrap_or_else(present);
        for community in &self.add_ext {
            if !all.contains(community) {
                all.push(*community);
            }
        }
        let value: Vec<u8> = all.iter().flat_map(|community| community.0).collect();
        put_list(block, kind::EXTENDED_COMMUNITIES, &value)
    }
}

/// Puts a list of communities, or takes the attribute away with the last of them. RFC 4271 §5: a Partial bit once set stays.
fn put_list(block: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    let present = Attrs(block).iter().find(|attr| attr.kind == kind);
    let flags = present.map_or(flag::OPTIONAL | flag::TRANSITIVE, |attr| attr.flags);
    with(block, flags, kind, (!value.is_empty()).then_some(value))
}

fn prepended(block: &[u8], asn: Asn, times: u8) -> Vec<u8> {
    let path = Attrs(block).as_path().prepended(asn, times);
    with(block, flag::TRANSITIVE, kind::AS_PATH, Some(&path))
}
