//! The store of files: each has the name of its digest, and is there whole or not at all. What is written is read back from nobody: it is
//! digested while it comes, and gets its name when that is right.

use crate::boot::{Blob, Digest};
use anyhow::Context as _;
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// Octets of a file: an initial file system with all that a machine runs.
pub const BLOB_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Files that come at a time; more wait.
const INCOMING_MAX: usize = 4;
/// Younger than this, a file that no image has may be of one that is about to be added.
const YOUNG: Duration = Duration::from_secs(3_600);
/// Octets that are read at a time.
pub(in crate::io) const PART: usize = 512 * 1024;
/// Below it are files that come from people and are not whole; they come again from their beginning.
const INCOMING: &str = "incoming";
/// Below it are files that come from other servers and are not whole, by digest: at most those that images have, each no longer than it is.
const HALVES: &str = "halves";

/// The folder.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    incoming: Semaphore,
    /// Makes names of files that come different.
    turn: AtomicU64,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is another one than was said.
    #[error("its SHA-256 is {0}")]
    Other(Digest),
    /// It is larger than [`BLOB_MAX`].
    #[error("it is larger than {BLOB_MAX} octets")]
    TooLarge,
    /// It did not come to its end.
    #[error("it did not come whole: {0}")]
    Broken(String),
    /// The disk is full, or wrong.
    #[error("it cannot be written: {0}")]
    Disk(#[from] std::io::Error),
}

impl Blobs {
    /// Opens a folder, makes it when it is not there, and forgets what was not whole when a server ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(folder: &Path) -> anyhow::Result<Arc<Self>> {
        let shown = || format!("boot.images: {}", folder.display());
        let incoming = folder.join(INCOMING);
        std::fs::create_dir_all(&incoming).with_context(shown)?;
        std::fs::create_dir_all(folder.join(HALVES)).with_context(shown)?;
        for entry in std::fs::read_dir(&incoming).with_context(shown)? {
            std::fs::remove_file(entry.with_context(shown)?.path()).with_context(shown)?;
        }
        let (incoming, turn) = (Semaphore::new(INCOMING_MAX), AtomicU64::new(0));
        Ok(Arc::new(Self { folder: folder.to_owned(), incoming, turn }))
    }

    /// A file and its length.
    ///
    /// # Errors
    /// Not found, when it is not there.
    pub fn file(&self, digest: &Digest) -> std::io::Result<(File, u64)> {
        let file = File::open(self.folder.join(digest.as_str()))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// The same; waits for the disk where that delays nobody, and not at all when the kernel knows the file.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub(super) async fn open_file(self: &Arc<Self>, digest: &Digest) -> std::io::Result<(File, u64)> {
        let path = self.folder.join(digest.as_str());
        let at_once = openat2(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED);
        if let Ok(file) = at_once {
            let file = File::from(file);
            let length = file.metadata()?.len();
            return Ok((file, length));
        }
        let (blobs, wanted) = (self.clone(), digest.clone());
        blocking(move || blobs.file(&wanted)).await
    }

    /// Takes a file that comes in parts; its length.
    ///
    /// # Errors
    /// When it does not come, is another one, or cannot be written; nothing is left of it.
    pub async fn take(&self, digest: &Digest, parts: &mut (dyn Parts + Send)) -> Result<u64, NotTaken> {
        let _turn = self.incoming.acquire().await.map_err(|error| NotTaken::Broken(error.to_string()))?;
        let name = self.turn.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.folder.join(INCOMING).join(name);
        let taken = self.write(&path, digest, parts).await;
        if taken.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        taken
    }

    async fn write(&self, path: &Path, digest: &Digest, parts: &mut (dyn Parts + Send)) -> Result<u64, NotTaken> {
        let mut incoming = (File::create(path)?, Context::new(&SHA256), 0_u64);
        while let Some(octets) = parts.next().await? {
            incoming.2 += u64::try_from(octets.len()).unwrap_or(u64::MAX);
            if incoming.2 > BLOB_MAX {
                return Err(NotTaken::TooLarge);
            }
            // A slow disk delays nobody else.
            incoming = blocking(move || {
                let (mut file, mut sum, length) = incoming;
                sum.update(&octets);
                file.write_all(&octets)?;
                Ok((file, sum, length))
            })
            .await?;
        }
        let (file, sum, length) = incoming;
        let found = Digest::of(sum.finish().as_ref());
        if found != *digest {
            return Err(NotTaken::Other(found));
        }
        let (from, folder, digest) = (path.to_owned(), self.folder.clone(), digest.clone());
        blocking(move || give_name(&file, &from, &folder, &digest)).await?;
        Ok(length)
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.folder.join(digest.as_str()).exists()
    }

    /// What is here of a file that is not whole, of which `most` octets can be right. Nobody else may have it open.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn half(&self, digest: &Digest, most: u64) -> std::io::Result<Half> {
        let path = self.folder.join(HALVES).join(digest.as_str());
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let octets = file.metadata()?.len();
        if octets > most {
            file.set_len(0)?;
        }
        let (sum, octets) = sum(&mut file, Context::new(&SHA256))?;
        Ok(Half { file, sum, octets })
    }

    /// A file that is whole and right gets its name.
    pub(super) fn keep(&self, half: Half, digest: &Digest) -> std::io::Result<()> {
        give_name(&half.file, &self.folder.join(HALVES).join(digest.as_str()), &self.folder, digest)
    }

    /// Forgets what is here of a file that is not whole.
    pub(super) fn forget(&self, digest: &Digest) -> std::io::Result<()> {
        match std::fs::remove_file(self.folder.join(HALVES).join(digest.as_str())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Forgets what is here of files that are not wanted any more.
    pub(super) fn forget_halves(&self, wanted: &BTreeSet<Digest>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.folder.join(HALVES))? {
            let entry = entry?;
            let name = entry.file_name().to_str().and_then(|name| Digest::try_from(name.to_owned()).ok());
            if !name.is_some_and(|digest| wanted.contains(&digest)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// All files, by digest, each with its octets and whether it is young.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> std::io::Result<BTreeMap<Digest, (Blob, bool)>> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_str().map(str::to_owned);
            let Some(sha256) = name.and_then(|name| Digest::try_from(name).ok()) else { continue };
            let metadata = entry.metadata()?;
            let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
            all.insert(sha256.clone(), (Blob { sha256, bytes: metadata.len() }, age < YOUNG));
        }
        Ok(all)
    }

    /// Deletes a file; who is reading it reads on.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn remove(&self, digest: &Digest) -> std::io::Result<()> {
        std::fs::remove_file(self.folder.join(digest.as_str()))
    }
}

/// The digest and length of a file of this machine.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> std::io::Result<Blob> {
    let (sum, bytes) = sum(&mut File::open(path)?, Context::new(&SHA256))?;
    Ok(Blob { sha256: Digest::of(sum.finish().as_ref()), bytes })
}

/// Reads a file from where it is to its end.
fn sum(file: &mut File, mut sum: Context) -> std::io::Result<(Context, u64)> {
    let (mut buffer, mut bytes) = (vec![0; PART], 0);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((sum, bytes));
        }
        sum.update(buffer.get(..count).unwrap_or_default());
        bytes += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

/// It is on the disk before it has its name, and the name is before this returns.
fn give_name(file: &File, from: &Path, folder: &Path, digest: &Digest) -> std::io::Result<()> {
    file.sync_all()?;
    std::fs::rename(from, folder.join(digest.as_str()))?;
    File::open(folder)?.sync_all()
}

/// A file that is not whole, open at its end.
pub(super) struct Half {
    file: File,
    sum: Context,
    /// What is here of it.
    pub(super) octets: u64,
}

impl Half {
    /// Further octets.
    pub(super) fn add(mut self, octets: &[u8]) -> std::io::Result<Self> {
        self.file.write_all(octets)?;
        self.sum.update(octets);
        self.octets += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        Ok(self)
    }

    /// Without what is behind so many octets.
    pub(super) fn cut(mut self, octets: u64) -> std::io::Result<Self> {
        self.file.set_len(octets)?;
        self.file.rewind()?;
        (self.sum, self.octets) = sum(&mut self.file, Context::new(&SHA256))?;
        Ok(self)
    }

    /// Whether it is this file.
    pub(super) fn is(&self, digest: &Digest) -> bool {
        Digest::of(self.sum.clone().finish().as_ref()) == *digest
    }
}

/// Where the parts of a file come from.
pub trait Parts {
    /// The next one; `None` at the end.
    fn next(&mut self) -> crate::store::Answer<'_, Result<Option<Bytes>, NotTaken>>;
}

/// Work with files, away from those who wait for sockets.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[tokio::test]
    async fn a_file_is_opened_whether_the_kernel_knows_it_or_not() {
        let folder = std::env::temp_dir().join(format!("weft-blobs-{}", std::process::id()));
        let blobs = Blobs::open(&folder).unwrap();
        let digest = Digest::of(&[7; 32]);
        assert_eq!(blobs.open_file(&digest).await.unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(folder.join(digest.as_str()), b"octets").unwrap();
        for _ in 0..2 {
            let (mut file, length) = blobs.open_file(&digest).await.unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), length), ("octets", 6));
        }
        blobs.remove(&digest).unwrap();
        assert_eq!(blobs.open_file(&digest).await.unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
