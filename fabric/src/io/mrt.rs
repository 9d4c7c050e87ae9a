//! MRT dumps in files: plain, gzip or bzip2, told apart by how they begin.

pub mod replay;
pub mod verbs;

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use weft_bgp::mrt::{Damage, Framer, Raw};

/// Octets taken from a file at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A dump that is read from its beginning to its end, holding one record at a time.
pub struct Dump {
    source: Box<dyn Read + Send>,
    framer: Framer,
    piece: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump").field("framer", &self.framer).finish_non_exhaustive()
    }
}

impl Dump {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
        Self::new(BufReader::with_capacity(PIECE_BYTES, file)).with_context(|| path.display().to_string())
    }

    /// Reads from anything.
    ///
    /// # Errors
    /// When its first octets cannot be read.
    pub fn new(mut source: impl BufRead + Send + 'static) -> Result<Self> {
        let start = source.fill_buf()?;
        let source: Box<dyn Read + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::bufread::MultiGzDecoder::new(source))
        } else if start.starts_with(b"BZh") {
            Box::new(bzip2::bufread::MultiBzDecoder::new(source))
        } else {
            Box::new(source)
        };
        Ok(Self { source, framer: Framer::default(), piece: vec![0; PIECE_BYTES], ended: false })
    }

    /// The next record, or what is wrong with it; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read on, or not be decompressed.
    pub fn next_record(&mut self) -> Result<Option<Result<Raw, Damage>>> {
        loop {
            if let Some(next) = self.framer.next_record() {
                return Ok(Some(next));
            }
            if self.ended {
                return Ok(None);
            }
            let read = self.source.read(&mut self.piece);
            let read = read.with_context(|| format!("cannot be read on after {} records", self.framer.records()))?;
            if read == 0 {
                self.ended = true;
                return Ok(self.framer.finish().err().map(Err));
            }
            self.framer.push(&self.piece[..read]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_bgp::mrt::{self, Record};

    /// Every record of a real dump: how many, prefixes, paths that make a route, peers, messages, state changes, damaged ones.
    fn counts(name: &str) -> [usize; 7] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/data").join(name);
        let mut file = Dump::open(&path).unwrap();
        let mut dump = mrt::Dump::default();
        let mut counts = [0; 7];
        while let Some(next) = file.next_record().unwrap() {
            counts[0] += 1;
            let raw = next.unwrap();
            match dump.record(&raw) {
                Ok(Record::Rib(rib)) => {
                    counts[1] += 1;
                    // One in a hundred is made a route: the rest of them is the bench's.
                    if counts[1] % 100 == 0 {
                        counts[2] += rib.entries().filter(|entry| entry.attributes.route(&rib.prefix).is_ok()).count();
                    }
                }
                Ok(Record::Message(_)) => counts[4] += 1,
                Ok(Record::StateChange(_)) => counts[5] += 1,
                Ok(Record::Peers { .. } | Record::Other) => {}
                Err(_) => counts[6] += 1,
            }
        }
        counts[3] = dump.peers().len();
        counts
    }

    #[test]
    fn a_bzip2_table_dump_v2_is_read() {
        assert_eq!(counts("routeviews.jinx.ribs.20140530.2200.bz2"), [497_408, 497_407, 5_035, 14, 0, 0, 0]);
    }

    #[test]
    fn a_gzip_table_dump_is_read() {
        assert_eq!(counts("bview.20020722.2337.head.gz"), [6_000, 6_000, 60, 19, 0, 0, 0]);
    }

    #[test]
    fn a_gzip_update_dump_is_read() {
        assert_eq!(counts("updates.20160811.1600.gz"), [17_406, 0, 0, 0, 17_384, 22, 0]);
    }

    #[test]
    fn a_cut_file_is_read_to_the_cut_and_then_says_so() {
        let mut file = Dump::new(&[0, 0, 0, 1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0][..]).unwrap();
        assert!(file.next_record().unwrap().unwrap().is_ok());
        let damage = file.next_record().unwrap().unwrap().unwrap_err();
        assert_eq!((damage.record, damage.offset), (1, 12));
        assert!(file.next_record().unwrap().is_none());
    }
}
