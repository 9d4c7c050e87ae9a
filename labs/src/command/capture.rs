//! `capture`: what passes an interface, as a file that Wireshark and tcpdump read.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;

use super::{STRANGE, connect, lab_and_node, willing};
use crate::fault::units;
use crate::lab::capture::Limits;
use crate::lab::control::{self, Answer, Request};
use crate::lab::progress::Progress;

/// Options of `capture`.
#[derive(Debug, Clone, Args)]
pub struct Capture {
    /// LAB/NODE:INTERFACE, or NODE:INTERFACE when one lab is running
    place: String,
    /// The file [default: standard output, for `… | tcpdump -r -`]
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many frames
    #[arg(long, short, value_name = "FRAMES")]
    count: Option<u64>,
    /// End after this time, as 10s or 500ms [default: at Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    lasts: Option<Duration>,
}

/// Captures until the limits, or until this process ends.
///
/// # Errors
/// When there is no such interface, or the file cannot be written.
pub fn capture(options: &Capture) -> Result<()> {
    let (lab, place) = lab_and_node(&options.place)?;
    let (node, interface) = place.split_once(':').ok_or_else(|| anyhow!("write {place}:INTERFACE, as {place}:eth1"))?;
    let (node, interface) = (node.to_owned(), interface.to_owned());
    let lasts_ms = options.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
    let limits = Limits { frames: options.count, lasts_ms };
    let request = Request::Capture { node, interface, limits };
    let connection = if let Some(path) = &options.write {
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        connect(&lab, &request, &[file.as_fd()])?
    } else if io::stdout().is_terminal() {
        bail!("frames are nothing to look at: add --write FILE, or `| tcpdump -nr -`");
    } else {
        connect(&lab, &request, &[io::stdout().as_fd()])?
    };
    let Answer::Captured(captured) = willing(control::answer(&connection)?)? else { bail!("{STRANGE}") };
    let lost = if captured.lost == 0 { String::new() } else { format!(", {} lost", captured.lost) };
    Progress::new().say(&format!("{} frames{lost}", captured.frames));
    Ok(())
}
