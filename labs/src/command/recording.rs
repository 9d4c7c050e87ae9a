//! `replay` of a recording of a running daemon.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use flate2::read::MultiGzDecoder;
use weft_bgp::time::Instant;

use super::super::say;
use super::Replay;
use crate::sim::recording::{Wanted, print, replay};

/// What a compressed file begins with (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What a recording begins with.
const BEGIN: &[u8] = b"{\"begin\":";

/// The lines of a file if it is a recording, which it says itself.
///
/// # Errors
/// When it cannot be read.
pub(super) fn open(path: &Path) -> Result<Option<Box<dyn BufRead>>> {
    let name = || path.display().to_string();
    let mut file = File::open(path).with_context(name)?;
    let mut head = Vec::new();
    std::io::Read::by_ref(&mut file).take(u64::try_from(BEGIN.len())?).read_to_end(&mut head).with_context(name)?;
    file.rewind().with_context(name)?;
    Ok(if head.starts_with(&GZIP) {
        Some(Box::new(BufReader::new(MultiGzDecoder::new(file))))
    } else if head == BEGIN {
        Some(Box::new(BufReader::new(file)))
    } else {
        None
    })
}

/// Does it again, or prints it; a difference is the exit code 1.
///
/// # Errors
/// What is wrong with the recording.
pub(super) fn run(recording: Box<dyn BufRead>, options: &Replay) -> Result<ExitCode> {
    let name = options.file.display();
    let wrong = |error| anyhow!("{name}: {error}");
    let wanted = Wanted { until: options.until.map(|time| Instant::ZERO + time), trace: options.trace };
    if options.print {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut closed = false;
        let printed = print(recording, &wanted, |line| {
            closed = writeln!(out, "{line}").is_err();
            if closed { Err("nobody reads any more".to_owned()) } else { Ok(()) }
        });
        // As in `… --print | head`.
        return if closed { Ok(ExitCode::SUCCESS) } else { printed.map(|()| ExitCode::SUCCESS).map_err(wrong) };
    }
    let outcome = replay(recording, &wanted).map_err(wrong)?;
    say(&outcome.to_string());
    Ok(ExitCode::from(u8::from(outcome.difference.is_some())))
}
