//! Which prefix lengths are meant at an address: the address space cut into runs, and an index over their starts.
//!
//! ```text
//! entries   10.0.0.0/8 ge 16 le 24, 10.1.0.0/16
//! runs      0.0.0.0 ─ none │ 10.0.0.0 ─ 16..=24 │ 10.1.0.0/16 ─ 16..=24, behind it likewise │ 11.0.0.0 ─ none
//! index     stretches of equal length, about one for each run ▶ which runs begin there
//! ```
//! Most sets are lists of prefixes far apart: each is a block of addresses with nothing behind it. So a run may be a block and what
//! is behind it, and a list of 100,000 is 100,000 runs. A stretch where many runs begin (hosts of one rack in a set with others far
//! away) has an index of its own, and so on: every step costs one cache line, and two steps are enough for nearly every set.

use std::collections::BTreeMap;
use std::ops::BitOr;

/// Most entries of a set: so that the number of a run fits beside a count. Eight times the routes of the Internet.
pub(in crate::policy) const MAX_ENTRIES: usize = 1 << 23;
/// Runs that begin in one stretch are looked at one by one up to this many, two cache lines or a few; behind, it is indexed itself.
const MANY: u32 = 15;
/// Bits of a word of the index that hold the count.
const COUNT_BITS: u32 = MANY.count_ones();

/// An address of 32 or of 128 bits, or prefix lengths: bit `n` is length `n + 1`.
pub(super) trait Bits: Copy + Ord + Default + BitOr<Output = Self> + Into<u128> {}

impl Bits for u32 {}
impl Bits for u128 {}

/// An entry: the first and the last address of its network, and the lengths of the prefixes meant in there.
pub(super) type Span<A> = (A, A, A);

/// Addresses from `start` to the next run. Packed: of the larger family twenty octets, not 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
struct Run<A> {
    start: A,
    /// Place among the kinds.
    kind: u32,
}

impl<A: Copy> Run<A> {
    const fn start(&self) -> A {
        self.start
    }
}

/// What a run has: within the first 2^`bits` addresses, and behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind<A> {
    bits: u32,
    block: A,
    behind: A,
}

/// The index over the runs that begin in one stretch, or over all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part<A> {
    /// Where its first run starts. Addresses before it are of the run before that.
    start: A,
    /// Stretches of 2^`shift` addresses.
    shift: u32,
    /// The word of the first stretch, and how many others follow. Addresses behind the last one are of its last run.
    word: u32,
    others: u32,
    /// Number of the first run.
    first: u32,
}

/// All runs, by start; the first one starts at the first address there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runs<A: Copy> {
    runs: Vec<Run<A>>,
    kinds: Vec<Kind<A>>,
    parts: Vec<Part<A>>,
    /// For each stretch the number of the first run that begins in it or behind, and how many begin in it; or, with [`MANY`], the
    /// number of its part.
    words: Vec<u32>,
}

impl<A: Bits> Runs<A> {
    /// From entries in any order; `next` is the address behind another.
    pub(super) fn new(mut entries: Vec<Span<A>>, next: impl Fn(A) -> Option<A>) -> Self {
        assert!(entries.len() <= MAX_ENTRIES, "refused by the compiler");
        // Wider ones first where several begin.
        entries.sort_unstable_by(|one, two| one.0.cmp(&two.0).then(two.1.cmp(&one.1)));
        let mut runs = Self { runs: Vec::new(), kinds: Vec::new(), parts: Vec::new(), words: Vec::new() };
        runs.join(&cut(&entries, next));
        runs.index(0, runs.runs.len());
        runs
    }

    /// Makes one run of a block and what is behind it.
    fn join(&mut self, cuts: &[(A, A)]) {
        let mut known = BTreeMap::new();
        let mut rest = cuts;
        while let Some((&(start, block), others)) = rest.split_first() {
            rest = others;
            let mut kind = Kind { bits: 0, block, behind: block };
            if let Some((&(end, behind), others)) = rest.split_first() {
                let size: u128 = end.into() - start.into();
                if size.is_power_of_two() {
                    kind = Kind { bits: size.trailing_zeros(), block, behind };
                    rest = others;
                }
            }
            let at = *known.entry(kind).or_insert_with(|| {
                self.kinds.push(kind);
                number(self.kinds.len() - 1)
            });
            self.runs.push(Run { start, kind: at });
        }
    }

    /// Indexes the runs of a range, of which there is one at least; the number of the part.
    fn index(&mut self, from: usize, to: usize) -> u32 {
        let start = |run: &Run<A>| -> u128 { run.start().into() };
        let (first, last) = (start(&self.runs[from]), start(&self.runs[to - 1]));
        let span_bits = u128::BITS - (last - first).leading_zeros();
        let shift = span_bits.saturating_sub((to - from).next_power_of_two().trailing_zeros());
        let stretch = |run: &Run<A>| usize::try_from((start(run) - first) >> shift).unwrap_or(usize::MAX);
        let count = stretch(&self.runs[to - 1]) + 1;
        let (part, word) = (self.parts.len(), self.words.len());
        self.parts.push(Part {
            start: self.runs[from].start(),
            shift,
            word: number(word),
            others: number(count - 1),
            first: number(from),
        });
        self.words.resize(word + count, 0);
        let mut at = from;
        for place in 0..count {
            let begin = at;
            at += self.runs[at..to].iter().take_while(|run| stretch(run) == place).count();
            let (mut value, mut many) = (number(begin), number(at - begin));
            if many >= MANY {
                // The stretch is shorter than what was indexed here, so this comes to an end.
                (value, many) = (self.index(begin, at), MANY);
            }
            self.words[word + place] = value << COUNT_BITS | many;
        }
        number(part)
    }

    /// The lengths that are meant at an address.
    pub(super) fn lengths(&self, address: A) -> Option<A> {
        let run = self.runs.get(self.run(address)?)?;
        let kind = self.kinds.get(run.kind as usize)?;
        let offset: u128 = address.into() - run.start().into();
        Some(if offset >> kind.bits == 0 { kind.block } else { kind.behind })
    }

    /// The number of the run that an address is in.
    fn run(&self, address: A) -> Option<usize> {
        let mut part = self.parts.first()?;
        loop {
            let Some(offset) = address.into().checked_sub(part.start.into()) else {
                return (part.first as usize).checked_sub(1);
            };
            let stretch = u32::try_from(offset >> part.shift).unwrap_or(u32::MAX).min(part.others);
            let word = *self.words.get(part.word as usize + stretch as usize)?;
            let (value, count) = ((word >> COUNT_BITS) as usize, word & MANY);
            if count < MANY {
                let runs = self.runs.get(value..value + count as usize)?;
                let begun = runs.iter().filter(|run| run.start() <= address).count();
                return (value + begun).checked_sub(1);
            }
            part = self.parts.get(value)?;
        }
    }
}

/// Starts of addresses that the same entries cover, with the lengths of all of them.
fn cut<A: Bits>(entries: &[Span<A>], next: impl Fn(A) -> Option<A>) -> Vec<(A, A)> {
    let none = A::default();
    let mut cuts = vec![(none, none)];
    let mut open: Vec<(A, A)> = Vec::new();
    for &(first, last, lengths) in entries {
        close(&mut cuts, &mut open, Some(first), &next);
        let over = open.last().map_or(none, |(_, lengths)| *lengths);
        begin(&mut cuts, first, lengths | over);
        open.push((last, lengths | over));
    }
    close(&mut cuts, &mut open, None, next);
    cuts
}

/// Ends the open entries that end before `until`.
fn close<A: Bits>(cuts: &mut Vec<(A, A)>, open: &mut Vec<(A, A)>, until: Option<A>, next: impl Fn(A) -> Option<A>) {
    while let Some((last, _)) = open.pop_if(|(last, _)| until.is_none_or(|until| *last < until)) {
        if let Some(behind) = next(last) {
            begin(cuts, behind, open.last().map_or_else(A::default, |(_, lengths)| *lengths));
        }
    }
}

fn begin<A: Bits>(cuts: &mut Vec<(A, A)>, start: A, lengths: A) {
    cuts.pop_if(|last| last.0 == start);
    if cuts.last().is_none_or(|last| last.1 != lengths) {
        cuts.push((start, lengths));
    }
}

/// Runs are at most twice the entries, words and parts a few times that, kinds and parts fewer.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
