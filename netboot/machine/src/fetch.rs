//! A file that comes in parts, from whichever boot server answers: what was got stays, what is missing is asked for, and the digest is
//! taken while it comes. A file is known by its digest, so the part of another server is the same.

use crate::http::Head;
use crate::orders::Root;
use ring::digest::{Context, SHA256};
use std::fmt;

/// A file under way.
pub struct Fetch {
    want: Root,
    done: u64,
    sum: Context,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("want", &self.want).field("done", &self.done).finish_non_exhaustive()
    }
}

impl Fetch {
    /// Nothing is there yet.
    #[must_use]
    pub fn new(want: Root) -> Self {
        Self { want, done: 0, sum: Context::new(&SHA256) }
    }

    /// Octets that are there: the first one to ask for.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// Whether all is there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.done >= self.want.bytes
    }

    /// In percent.
    #[must_use]
    pub const fn percent(&self) -> u64 {
        match (self.done.saturating_mul(100)).checked_div(self.want.bytes) {
            Some(percent) => percent,
            None => 100,
        }
    }

    /// Whether the body behind this head goes on where we are.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&self, head: &Head) -> Result<(), String> {
        let left = self.want.bytes - self.done;
        match (head.status, head.from) {
            (200, None) if self.done == 0 => {}
            (206, Some(from)) if from == self.done => {}
            (status, from) => {
                let from = from.map_or_else(String::new, |from| format!(" from octet {from}"));
                return Err(format!("it was asked for octet {} on and answers {status}{from}", self.done));
            }
        }
        match head.length {
            Some(length) if length != left => Err(format!("{length} octets are said to come, and {left} are missing")),
            Some(_) | None => Ok(()),
        }
    }

    /// The next octets.
    ///
    /// # Errors
    /// When there are more than the file has.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), String> {
        let done = self.done + u64::try_from(octets.len()).unwrap_or(u64::MAX);
        if done > self.want.bytes {
            return Err(format!("more than {} octets come", self.want.bytes));
        }
        self.sum.update(octets);
        self.done = done;
        Ok(())
    }

    /// Whether the whole file is what was wanted.
    ///
    /// # Errors
    /// When it is another one.
    pub fn verify(&self) -> Result<(), String> {
        let found = hexadecimal(self.sum.clone().finish().as_ref());
        match found == self.want.sha256 {
            true => Ok(()),
            false => Err(format!("its SHA-256 is {found}, and that of the orders {}", self.want.sha256)),
        }
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    use fmt::Write as _;
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (Vec<u8>, Root) {
        let octets: Vec<u8> = (0..10_000_u32).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        let sha256 = hexadecimal(ring::digest::digest(&SHA256, &octets).as_ref());
        let bytes = u64::try_from(octets.len()).unwrap();
        (octets, Root { sha256, bytes })
    }

    fn head(status: u16, length: u64, from: Option<u64>) -> Head {
        Head { status, length: Some(length), from }
    }

    #[test]
    fn a_file_goes_on_where_it_broke() {
        let (octets, want) = file();
        let mut fetch = Fetch::new(want);
        assert_eq!(fetch.judge(&head(200, 10_000, None)), Ok(()));
        fetch.take(&octets[..4_000]).unwrap();
        assert_eq!((fetch.done(), fetch.percent(), fetch.is_whole()), (4_000, 40, false));
        assert!(fetch.verify().is_err());
        // Another server, which does not know ranges, or has another file.
        for wrong in
            [head(200, 10_000, None), head(206, 10_000, Some(0)), head(206, 6_001, Some(4_000)), head(503, 6_000, None)]
        {
            assert!(fetch.judge(&wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(fetch.judge(&head(206, 6_000, Some(4_000))), Ok(()));
        fetch.take(&octets[4_000..]).unwrap();
        assert!(fetch.is_whole());
        assert_eq!(fetch.verify(), Ok(()));
        assert!(fetch.take(&[0]).is_err());
    }

    #[test]
    fn another_file_is_not_taken() {
        let (mut octets, want) = file();
        octets[5_000] ^= 1;
        let mut fetch = Fetch::new(want);
        fetch.take(&octets).unwrap();
        assert!(fetch.verify().unwrap_err().contains("SHA-256"));
    }
}
