//! Sets of AS numbers and of communities, hashed: a question is one look whatever the size of the set, or one for each form of its
//! patterns (`65000:1` and `65000:*` are two).

use super::eval::{ExtPattern, Pattern};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::hash::Hash;
use std::ops::BitAnd;

/// Exact values. The seed need not be secret: the operator writes the set, and a question does not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members<T: Eq + Hash>(HashSet<T, FixedState>);

impl<T: Eq + Hash> Members<T> {
    pub(super) fn new(all: impl IntoIterator<Item = T>) -> Self {
        let mut members: HashSet<T, FixedState> = all.into_iter().collect();
        members.shrink_to_fit();
        Self(members)
    }

    pub(super) fn has(&self, one: &T) -> bool {
        self.0.contains(one)
    }
}

/// Values of which some bits are given; by which bits those are. There are few such forms: four of communities, eight of large ones,
/// four of extended ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forms<T: Eq + Hash>(Vec<(T, Members<T>)>);

impl<T: Copy + Ord + Hash + BitAnd<Output = T>> Forms<T> {
    /// From pairs of a mask, which says what bits are given, and a value, whose other bits are 0.
    fn new(all: impl Iterator<Item = (T, T)>) -> Self {
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        let forms = all.chunk_by(|one, two| one.0 == two.0);
        Self(forms.map(|form| (form[0].0, Members::new(form.iter().map(|(_, value)| *value)))).collect())
    }

    pub(super) fn fits(&self, value: T) -> bool {
        self.0.iter().any(|(mask, members)| members.has(&(value & *mask)))
    }
}

impl Forms<u32> {
    pub(super) fn of_communities(all: &[Pattern<2>]) -> Self {
        Self::new(all.iter().map(|pattern| {
            let [high, low] = pattern.0;
            let part = |part: Option<u32>| part.map_or((0, 0), |part| (0xffff, part));
            let (high, low) = (part(high), part(low));
            (high.0 << 16 | low.0, high.1 << 16 | low.1)
        }))
    }
}

impl Forms<u128> {
    pub(super) fn of_large(all: &[Pattern<3>]) -> Self {
        Self::new(all.iter().map(|pattern| {
            let masks = pattern.0.map(|part| part.map_or(0, |_| u32::MAX));
            (joined(masks), joined(pattern.0.map(Option::unwrap_or_default)))
        }))
    }
}

impl Forms<u64> {
    pub(super) fn of_extended(all: impl Iterator<Item = ExtPattern>) -> Self {
        Self::new(all.map(|pattern| (pattern.mask, pattern.value & pattern.mask)))
    }
}

/// A large community as one number (RFC 8092 §3).
pub(super) fn joined(parts: [u32; 3]) -> u128 {
    parts.into_iter().fold(0, |joined, part| joined << 32 | u128::from(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few values, so that patterns and questions meet.
    fn part() -> impl Strategy<Value = Option<u32>> {
        prop_oneof![Just(None), (0_u32..4).prop_map(Some), Just(Some(0xffff))]
    }

    proptest! {
        #[test]
        fn a_set_answers_as_its_patterns_one_by_one(
            patterns in proptest::collection::vec([part(), part(), part()], 0..12),
            asked in proptest::collection::vec([0_u32..4, 0_u32..4, 0_u32..4], 1..30),
        ) {
            let two: Vec<_> = patterns.iter().map(|[high, low, _]| Pattern([*high, *low])).collect();
            let three: Vec<_> = patterns.iter().map(|parts| Pattern(*parts)).collect();
            let ext: Vec<_> = patterns.iter().map(|[mask, value, _]| {
                let mask = mask.map_or(u64::MAX, |shift| !0 << (shift & 3));
                ExtPattern { mask, value: u64::from(value.unwrap_or(7)) & mask }
            }).collect();
            let communities = Forms::of_communities(&two);
            let large = Forms::of_large(&three);
            let extended = Forms::of_extended(ext.iter().copied());
            for parts @ [high, low, _] in asked {
                let is_of_two = two.iter().any(|pattern| pattern.fits([high, low]));
                prop_assert_eq!(communities.fits(high << 16 | low), is_of_two);
                prop_assert_eq!(large.fits(joined(parts)), three.iter().any(|pattern| pattern.fits(parts)));
                let word = u64::from(low);
                prop_assert_eq!(extended.fits(word), ext.iter().any(|pattern| word & pattern.mask == pattern.value));
            }
        }
    }

    #[test]
    fn a_large_set_has_its_members_and_no_others() {
        let members = Members::new((0..100_000_u32).map(|number| number * 7));
        assert!((0..700_000_u32).all(|number| members.has(&number) == (number % 7 == 0)));
    }
}
