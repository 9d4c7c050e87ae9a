//! What an answer carries: octets, and parts of files that are read only while they are sent.

use super::seen::Whole;
use super::{CHUNK, blocking};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A piece of it.
#[derive(Debug)]
pub(super) enum Chunk {
    /// These octets.
    Octets(Bytes),
    /// Octets of a file.
    File {
        /// Which file.
        file: Arc<File>,
        /// The first octet.
        from: u64,
        /// The octet behind the last one.
        to: u64,
    },
}

/// All pieces, in order.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) chunks: Vec<Chunk>,
    /// Who is told when all of it was taken.
    pub(super) whole: Option<Whole>,
}

impl From<Bytes> for Content {
    fn from(octets: Bytes) -> Self {
        Self { chunks: vec![Chunk::Octets(octets)], whole: None }
    }
}

impl Content {
    /// As hyper sends it. The next octets of a file are read while those before them are sent.
    pub(super) fn into_body(self) -> Body {
        let Self { chunks, mut whole } = self;
        let parts = chunks.into_iter().flat_map(small).map(|chunk| async move {
            match chunk {
                Chunk::Octets(octets) => Ok(octets),
                Chunk::File { file, from, to } => read(file, from, to).await,
            }
        });
        Body::from_stream(stream::iter(parts).buffered(2).inspect(move |part| {
            if let (Ok(octets), Some(whole)) = (part, &mut whole) {
                whole.took(u64::try_from(octets.len()).unwrap_or(u64::MAX));
            }
        }))
    }
}

/// The same in pieces that are held in memory one by one.
fn small(chunk: Chunk) -> Vec<Chunk> {
    match chunk {
        Chunk::Octets(octets) => vec![Chunk::Octets(octets)],
        Chunk::File { file, from, to } => {
            let step = u64::try_from(CHUNK).unwrap_or(u64::MAX);
            let part = |at: u64| Chunk::File { file: file.clone(), from: at, to: to.min(at + step) };
            (from..to).step_by(CHUNK).map(part).collect()
        }
    }
}

/// Octets of a file, read away from those who wait for sockets.
async fn read(file: Arc<File>, from: u64, to: u64) -> std::io::Result<Bytes> {
    blocking(move || {
        let mut octets = vec![0; usize::try_from(to - from).map_err(std::io::Error::other)?];
        file.read_exact_at(&mut octets, from)?;
        Ok(Bytes::from(octets))
    })
    .await
}
