//! Certificates are read again when their files change, or on SIGHUP. Files are replaced one after the other: what does not fit
//! together is tried again at each look, and said once. Until then the old ones serve.

use super::counts::Tls;
use crate::io::certificates::ENDS_SOON;
use crate::io::service::now;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it is said that a certificate ends soon.
const SAY_EVERY: Duration = Duration::from_secs(86_400);

/// What tells one version of a file from another: its inode, length, and time of change to the nanosecond.
pub(in crate::io) type Stamp = Option<(u64, u64, i64, i64)>;

/// The files as they are.
pub(in crate::io) fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

/// Follows the files for ever. `known`: as they were when they were read first; `again` reads them, and changes nothing when they are
/// wrong.
pub(in crate::io) async fn follow(
    files: Vec<PathBuf>,
    mut known: Vec<Stamp>,
    again: impl Fn() -> anyhow::Result<()> + Clone + Send + 'static,
    counts: Arc<Tls>,
    mut hangup: Signal,
) {
    let mut broken = false;
    let mut said = None;
    loop {
        said = warned(&counts, &files, said);
        let asked = tokio::select! {
            heard = hangup.recv() => heard.is_some(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let of = files.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || stamps(&of)).await else { return };
        let changed = found != known;
        if !asked && !changed && !broken {
            continue;
        }
        known = found;
        said = None;
        let Ok(read) = tokio::task::spawn_blocking(again.clone()).await else { return };
        let failed = read.is_err();
        match read {
            Ok(()) => {
                counts.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(?files, "certificates are read again");
            }
            Err(error) if asked || changed || !broken => {
                counts.reload_failures.fetch_add(1, Ordering::Relaxed);
                let error = format!("{error:#}");
                tracing::warn!(error, ?files, "the new certificates are wrong: those before stay in use");
            }
            Err(_) => {}
        }
        broken = failed;
        counts.reload_broken.store(u64::from(broken), Ordering::Relaxed);
    }
}

/// Says that what is in use ends soon, once a day; when it was said last.
fn warned(counts: &Tls, files: &[PathBuf], said: Option<Instant>) -> Option<Instant> {
    let left = counts.left_s(now())?;
    let days = left / 86_400;
    if left > i64::try_from(ENDS_SOON.as_secs()).unwrap_or(i64::MAX) {
        return None;
    }
    if said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
        return said;
    }
    let remedy = "renew it: the files are read again by themselves";
    if left < 0 {
        tracing::error!(?files, remedy, "a certificate has ended: who asks by TLS refuses this server");
    } else {
        tracing::warn!(?files, days, remedy, "a certificate ends soon");
    }
    Some(Instant::now())
}
