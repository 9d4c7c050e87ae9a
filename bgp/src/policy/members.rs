//! Sets of AS numbers and of communities: exact values in order, so that a question is one binary search whatever the size of the
//! set; those with a `*` one by one.

use super::eval::{ExtPattern, Pattern};
use crate::wire::community::ExtCommunity;

/// Values in ascending order, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members<T>(Vec<T>);

impl<T: Ord> Members<T> {
    pub(super) fn new(mut all: Vec<T>) -> Self {
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    pub(super) fn has(&self, one: &T) -> bool {
        self.0.binary_search(one).is_ok()
    }
}

/// Communities of N numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words<const N: usize> {
    exact: Members<[u32; N]>,
    wild: Vec<Pattern<N>>,
}

impl<const N: usize> Words<N> {
    pub(super) fn new(all: Vec<Pattern<N>>) -> Self {
        let whole = |pattern: &Pattern<N>| pattern.0.iter().all(Option::is_some);
        let (exact, wild): (Vec<_>, Vec<_>) = all.into_iter().partition(whole);
        let exact = exact.into_iter().map(|pattern| pattern.0.map(Option::unwrap_or_default)).collect();
        Self { exact: Members::new(exact), wild }
    }

    pub(super) fn fits(&self, parts: [u32; N]) -> bool {
        self.exact.has(&parts) || self.wild.iter().any(|pattern| pattern.fits(parts))
    }
}

/// Extended communities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtWords {
    exact: Members<u64>,
    wild: Vec<ExtPattern>,
}

impl ExtWords {
    pub(super) fn new(all: Vec<ExtPattern>) -> Self {
        let (exact, wild): (Vec<_>, Vec<_>) = all.into_iter().partition(|pattern| pattern.mask == u64::MAX);
        Self { exact: Members::new(exact.into_iter().map(|pattern| pattern.value).collect()), wild }
    }

    pub(super) fn fits(&self, community: ExtCommunity) -> bool {
        self.exact.has(&u64::from_be_bytes(community.0)) || self.wild.iter().any(|pattern| pattern.fits(community))
    }
}
