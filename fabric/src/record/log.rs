//! Where the lines are kept until somebody takes them: in memory, up to a bound, from the first one on.

use super::Entry;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use weft_bgp::time::Instant;

/// A piece is given away when it has grown to this: as much as the daemon's loop copies for one answer.
const PIECE: usize = 256 << 10;
/// What the last line may take beyond the bound.
const LAST: usize = 512;

/// Lines from some place on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Whole lines.
    pub text: String,
    /// The place behind them; `None`: nothing will ever come there.
    pub next: Option<Place>,
}

/// A place in a recording, written as `1f.262144`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Of which.
    run: u64,
    /// Octets before it.
    octets: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.run, self.octets)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, octets) = text.split_once('.').ok_or(())?;
        let run = u64::from_str_radix(run, 16).map_err(|_| ())?;
        Ok(Self { run, octets: octets.parse().map_err(|_| ())? })
    }
}

/// The lines so far.
#[derive(Debug)]
pub(super) struct Log {
    /// What tells it from that of another daemon, or of another run.
    run: u64,
    /// Each with its place, which is that of the octets before it.
    pieces: Vec<(u64, String)>,
    octets: u64,
    most: u64,
    is_over: bool,
    /// When something was last written.
    at: Instant,
}

impl Log {
    /// For at most so many octets.
    pub(super) const fn new(run: u64, most: u64) -> Self {
        Self { run, pieces: Vec::new(), octets: 0, most, is_over: false, at: Instant::ZERO }
    }

    /// Nothing more is taken.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// One line more, unless it is over, or does not fit, which is the end.
    pub(super) fn write(&mut self, at: Option<Instant>, entry: &Entry) {
        if self.is_over {
            return;
        }
        self.at = at.unwrap_or(self.at);
        match serde_json::to_string(entry) {
            Ok(line) if self.octets + length(&line) + length_of(LAST) <= self.most => self.push(&line),
            Ok(_) => self.end(format!("{} MiB are full (`record.memory_mb`)", self.most >> 20)),
            Err(error) => self.end(format!("something has no form in a recording: {error}")),
        }
    }

    /// The last line.
    pub(super) fn end(&mut self, why: String) {
        self.is_over = true;
        // Our own types always become JSON.
        let line = serde_json::to_string(&Entry::End { at: self.at, why }).unwrap_or_default();
        self.push(&line);
    }

    fn push(&mut self, line: &str) {
        if self.pieces.last().is_none_or(|(_, piece)| piece.len() >= PIECE) {
            self.pieces.push((self.octets, String::new()));
        }
        if let Some((_, piece)) = self.pieces.last_mut() {
            piece.push_str(line);
            piece.push('\n');
            self.octets += length(line);
        }
    }

    /// What there is from a place on that a page ended at, or from the beginning; `None`: it is a place in another recording.
    pub(super) fn page(&self, from: Option<Place>) -> Option<Page> {
        let run = self.run;
        let from =
            from.map_or(Some(0), |from| (from.run == run && from.octets <= self.octets).then_some(from.octets))?;
        let at = self.pieces.partition_point(|(place, _)| *place <= from).checked_sub(1);
        let found = at.and_then(|at| self.pieces.get(at)).and_then(|(place, piece)| {
            let skipped = usize::try_from(from - place).ok()?;
            piece.get(skipped..)
        });
        let text = found.unwrap_or_default().to_owned();
        let octets = from + length_of(text.len());
        let is_over = self.is_over && octets >= self.octets;
        Some(Page { text, next: (!is_over).then_some(Place { run, octets }) })
    }
}

/// Of a line with its end.
fn length(line: &str) -> u64 {
    length_of(line.len() + 1)
}

fn length_of(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(at: u64) -> Entry {
        Entry::End { at: Instant(at), why: "a".repeat(100_000) }
    }

    #[test]
    fn pages_are_everything_in_order() {
        let mut log = Log::new(0x1f, 1 << 30);
        for at in 0..20 {
            log.write(Some(Instant(at)), &end(at));
        }
        let (mut all, mut from, mut pages) = (String::new(), None, 0);
        loop {
            let page = log.page(from).unwrap();
            if page.text.is_empty() {
                break;
            }
            assert!(page.text.ends_with('\n'));
            all.push_str(&page.text);
            // As it travels.
            from = Some(page.next.unwrap().to_string().parse().unwrap());
            pages += 1;
        }
        let expected: String = (0..20).map(|at| serde_json::to_string(&end(at)).unwrap() + "\n").collect();
        assert!(all == expected && pages > 3, "{pages} pages");
        // Behind the end, and in another recording, there is nothing.
        for wrong in ["1f.9000000", "1e.0"] {
            assert_eq!(log.page(Some(wrong.parse().unwrap())), None, "{wrong}");
        }
        for wrong in ["", "1f", "x.1", "1f.", "1f.-1", "1f.1.1"] {
            assert_eq!(wrong.parse::<Place>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_the_end_which_says_so() {
        let mut log = Log::new(0x1f, 1 << 20);
        for at in 0..50 {
            log.write(Some(Instant(at)), &end(at));
        }
        assert!(log.is_over() && log.octets <= 1 << 20, "{}", log.octets);
        let mut page = log.page(None).unwrap();
        while page.next.is_some() {
            page = log.page(page.next).unwrap();
        }
        let last = page.text.lines().last().unwrap();
        let Ok(Entry::End { at, why }) = super::super::read(last) else { panic!("{last}") };
        assert_eq!((at, why.as_str()), (Instant(10), "1 MiB are full (`record.memory_mb`)"));
    }
}
