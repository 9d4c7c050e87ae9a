//! `weft mrt show` and `weft mrt dump`: a dump in a file as lines, and the table of a running daemon as a dump.

use super::Dump;
use crate::api::{self, TableDump, TablePeer};
use crate::io::client::{Client, Target};
use crate::io::clock;
use crate::io::verbs::Form;
use crate::show::mrt::lines;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use weft_bgp::mrt::{self, PEERS_MAX, Peer, RibWriter, Stamp};
use weft_bgp::types::Asn;

/// Prefixes asked for at a time: a slice of the daemon's work.
const PAGE: usize = 1_000;

/// What was found wrong, and what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prefixes written, or lines printed.
    pub done: u64,
    /// Records that could not be read, or paths of peers that came after the dump began.
    pub left_out: u64,
}

/// Prints the lines of a file, at most `limit`; damage is told to `complain`.
///
/// # Errors
/// When the file cannot be read, or `out` not be written.
pub fn show(
    file: &Path,
    form: Form,
    limit: Option<u64>,
    out: &mut impl Write,
    mut complain: impl FnMut(String),
) -> Result<Counts> {
    let mut source = Dump::open(file)?;
    let mut dump = mrt::Dump::default();
    let mut counts = Counts::default();
    while let Some(next) = source.next_record().with_context(|| file.display().to_string())? {
        let read = next.map_err(|damage| damage.to_string()).and_then(|raw| lines(&mut dump, &raw));
        for line in read.unwrap_or_else(|damage| {
            counts.left_out += 1;
            complain(format!("{}: {damage}", file.display()));
            Vec::new()
        }) {
            if limit.is_some_and(|limit| counts.done >= limit) {
                return Ok(counts);
            }
            match form {
                Form::Table => writeln!(out, "{line}")?,
                Form::Json => writeln!(out, "{}", serde_json::to_string(&line)?)?,
            }
            counts.done += 1;
        }
    }
    Ok(counts)
}

/// Writes the table of a daemon to `file` as TABLE_DUMP_V2 (RFC 6396 §4.3). It is written beside and put into place
/// whole.
///
/// # Errors
/// When the daemon cannot be asked, or the file not be written.
pub fn dump(target: &Target, file: &Path) -> Result<Counts> {
    let client = Client::new(target)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let named = || format!("{}: cannot be written", file.display());
    let mut out = BufWriter::new(File::create(beside).with_context(named)?);
    let counts = pages(&client, &mut out).inspect_err(|_| {
        // What is incomplete is of no use; that it stays would be no worse than the error.
        let _ = std::fs::remove_file(beside);
    })?;
    out.flush().with_context(named)?;
    std::fs::rename(beside, file).with_context(named)?;
    Ok(counts)
}

fn pages(client: &Client, out: &mut impl Write) -> Result<Counts> {
    let seconds = clock::wall().as_secs();
    let stamp = Stamp { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), micros: 0 };
    let (mut counts, mut buf, mut sequence) = (Counts::default(), Vec::new(), 0);
    let mut indices = BTreeMap::new();
    let mut target = format!("/v1/dump?limit={PAGE}");
    loop {
        let reply = client.read::<TableDump>(&client.page(&target)?)?;
        let page = reply.body;
        if sequence == 0 && indices.is_empty() {
            let peers: Vec<Peer> = page.peers.iter().take(PEERS_MAX).map(peer).collect();
            indices = (0..).zip(page.peers.iter().take(PEERS_MAX)).map(|(index, peer)| (peer.peer, index)).collect();
            mrt::put_peers(&mut buf, stamp, page.router_id, &reply.node, &peers);
        }
        for route in &page.routes {
            // RFC 8050 §4
            let add_path = route.paths.iter().any(|path| path.path_id != 0);
            let mut writer = RibWriter::new(&mut buf, stamp, sequence, &route.prefix, add_path);
            for path in &route.paths {
                let age = u32::try_from(path.age_s).unwrap_or(u32::MAX);
                let originated = stamp.seconds.saturating_sub(age);
                let known = indices.get(&path.peer).zip(path.block());
                let written = known
                    .is_some_and(|(&peer, block)| writer.entry(peer, originated, path.path_id, &block, &path.hop()));
                counts.left_out += u64::from(!written);
            }
            if writer.finish() {
                sequence += 1;
                counts.done += 1;
            }
        }
        out.write_all(&buf)?;
        buf.clear();
        match page.next {
            Some(next) => target = format!("/v1/dump?limit={PAGE}&after={}", api::query(&next.to_string())),
            None => return Ok(counts),
        }
    }
}

const fn peer(peer: &TablePeer) -> Peer {
    Peer { router_id: peer.router_id, address: peer.address, asn: Asn(peer.asn) }
}
