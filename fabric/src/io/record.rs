//! `weft record`: the daemon's recording, page by page, into a file. A page is an answer like any other, so that the daemon waits for nobody.

use super::client::{Client, ClientError, Target};
use super::clock::Clock;
use crate::record::{self, Entry};
use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use weft_bgp::time::{Duration, Instant};

/// How often it is looked whether there is more.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Lines.
    pub lines: u64,
    /// Octets of them.
    pub octets: u64,
    /// Why nothing will ever follow them: the recording itself says so, or the daemon is gone.
    pub over: Option<String>,
}

/// Writes what there is, and what comes within `time`.
///
/// # Errors
/// When the daemon has none or the file cannot be written.
pub fn take(target: &Target, file: &Path, time: Option<Duration>) -> Result<Taken> {
    let client = Client::new(target)?;
    let clock = Clock::start();
    let mut page = client.lines("/v1/record")?;
    let name = || file.display().to_string();
    let plain = BufWriter::new(File::create(file).with_context(name)?);
    let is_compressed = file.extension().is_some_and(|extension| extension == "gz");
    let mut out: Box<dyn Write> =
        if is_compressed { Box::new(GzEncoder::new(plain, Compression::default())) } else { Box::new(plain) };
    let mut taken = Taken::default();
    loop {
        let (text, next) = page;
        out.write_all(text.as_bytes()).with_context(name)?;
        taken.octets += u64::try_from(text.len()).unwrap_or(u64::MAX);
        taken.lines += u64::try_from(text.lines().count()).unwrap_or(u64::MAX);
        let Some(next) = next else {
            taken.over = text.lines().next_back().and_then(why);
            break;
        };
        if text.is_empty() {
            out.flush().with_context(name)?;
            if time.is_none_or(|time| clock.now().since(Instant::ZERO) >= time) {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        match client.lines(&format!("/v1/record?from={next}")) {
            Ok(next) => page = next,
            Err(error) => {
                taken.over = Some(over(&error));
                break;
            }
        }
    }
    out.flush().with_context(name)?;
    Ok(taken)
}

/// What the last line of a recording says.
fn why(line: &str) -> Option<String> {
    match record::read(line) {
        Ok(Entry::End { why, .. }) => Some(why),
        Ok(Entry::Begin(_) | Entry::Did(..)) | Err(_) => None,
    }
}

/// What there was is in the file.
fn over(error: &ClientError) -> String {
    if let ClientError::Refused(refusal) = error {
        return refusal.error.clone();
    }
    format!("the daemon does not answer any more: {error}")
}
