//! Certificates are read again when their files change, or on SIGHUP. Files are replaced one after the other: what does not fit
//! together is tried again at each look, and said once. Until then the old ones serve.

use super::counts::Counts;
use super::tls::Acceptor;
use crate::config::Https;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::signal::unix::Signal;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells one version of a file from another: its inode, length, and time of change to the nanosecond.
pub(super) type Stamp = Option<(u64, u64, i64, i64)>;

/// The files as they are.
pub(super) fn stamps(https: &Https) -> [Stamp; 3] {
    [&https.cert, &https.key, &https.client_ca].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    })
}

/// Follows the files for ever. `known`: as they were when they were read first.
pub(super) async fn follow(acceptor: Acceptor, mut known: [Stamp; 3], counts: Arc<Counts>, mut hangup: Signal) {
    let mut broken = false;
    loop {
        let asked = tokio::select! {
            heard = hangup.recv() => heard.is_some(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let of = acceptor.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || stamps(of.https())).await else { return };
        let changed = found != known;
        if !asked && !changed && !broken {
            continue;
        }
        known = found;
        let of = acceptor.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || of.reload()).await else { return };
        let failed = read.is_err();
        match read {
            Ok(()) => {
                counts.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!("certificates are read again");
            }
            Err(error) if asked || changed || !broken => {
                counts.reload_failures.fetch_add(1, Ordering::Relaxed);
                let error = format!("{error:#}");
                tracing::warn!(error, "the new certificates are wrong: those before stay in use");
            }
            Err(_) => {}
        }
        broken = failed;
        counts.reload_broken.store(u64::from(broken), Ordering::Relaxed);
    }
}
