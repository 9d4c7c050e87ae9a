//! A lab's folder on the host: `ROOT/LAB`, with one folder per node, and who holds it.
//!
//! The runner holds a lock on `.lock` for as long as it lives, however it ends, so "is it running" needs no guess about
//! process numbers. What a killed runner left is taken over by whoever gets the lock next. Processes named in the record
//! are only ever killed when their start time still matches: a number that was given away again is not ours.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

const LOCK: &str = ".lock";
const RECORD: &str = ".lab.json";
const CONTROL: &str = ".control";
/// Tries to take a lock, and the pause between them: looking at a lock takes microseconds.
const LOCK_TRIES: usize = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A process that cannot be mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Number in the host's process namespace.
    pub pid: u32,
    /// Ticks since boot when it began.
    pub began: u64,
}

impl Process {
    /// Notes a process that runs now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, began: began(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)? })
    }

    /// Kills it, if it is still the same.
    pub fn kill(self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        // the descriptor first: from then on the number cannot change its owner
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && Self::of(self.pid) == Some(self)
        {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may hold anything, even `)`.
fn began(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// What is known of a lab without asking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The runner.
    pub runner: Process,
    /// Each node's first process.
    pub nodes: Vec<Process>,
    /// The topology file.
    pub topology: PathBuf,
}

/// A lab's folder, held by this process.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    _lock: File,
}

impl Home {
    /// Takes a lab's name for this process.
    ///
    /// # Errors
    /// When the lab runs, or the folder cannot be made or is somebody else's.
    pub fn claim(root: &Path, name: &str) -> Result<Self> {
        let folder = root.join(name);
        // between making the folder and locking it, somebody's `down` may have removed it: again, then
        for _ in 0..10 {
            make_root(root)?;
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("make {}", folder.display()));
                }
                Ok(()) | Err(_) => {}
            }
            let Some(lock) = open_lock(&folder) else {
                continue;
            };
            if !take(&lock) {
                let who =
                    record(root, name).map_or_else(String::new, |record| format!(" (process {})", record.runner.pid));
                bail!("lab `{name}` is already running{who}: take it down with `weft-lab down {name}`");
            }
            let same = fs::metadata(folder.join(LOCK))
                .is_ok_and(|now| lock.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino())));
            if same {
                let home = Self { folder, _lock: lock };
                home.sweep()?;
                return Ok(home);
            }
        }
        bail!("{} comes and goes: is another run starting and stopping the same lab?", folder.display())
    }

    /// The lab's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a node's folder.
    ///
    /// # Errors
    /// The system's.
    pub fn add_node(&self, node: &str) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(self.folder.join(node))
    }

    /// Writes down what runs.
    ///
    /// # Errors
    /// The system's.
    pub fn note(&self, record: &Record) -> io::Result<()> {
        let new = self.folder.join(".lab.new");
        fs::write(&new, serde_json::to_vec(record).map_err(io::Error::other)?)?;
        fs::rename(new, self.folder.join(RECORD))
    }

    /// Ends and removes what an earlier run of this name left behind.
    fn sweep(&self) -> io::Result<()> {
        if let Some(record) = read_record(&self.folder) {
            record.nodes.into_iter().for_each(Process::kill);
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.ends_with(LOCK) {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    /// Removes the folder, and the root when this was the last lab in it.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self) -> io::Result<()> {
        self.sweep()?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if let Some(root) = self.folder.parent() {
            let _ = fs::remove_dir(root); // refused while another lab is in it
        }
        Ok(())
    }
}

/// Takes the lock. Others who only look whether it is held hold it for a moment themselves: hence several tries.
#[expect(clippy::disallowed_methods, reason = "a bounded wait between tries")]
fn take(lock: &File) -> bool {
    (0..LOCK_TRIES).any(|number| {
        if number > 0 {
            thread::sleep(LOCK_PAUSE);
        }
        flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

/// Makes the folder of all labs; one that is not ours alone is refused, since it may lie in `/tmp`.
fn make_root(root: &Path) -> Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(root) {
        Ok(()) => {}
        Err(error) => bail!("{}: {error}; set XDG_RUNTIME_DIR to a folder of your own", root.display()),
    }
    let found = fs::symlink_metadata(root).with_context(|| format!("look at {}", root.display()))?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        bail!("{} is not a folder of yours alone: remove it, or set XDG_RUNTIME_DIR", root.display());
    }
    Ok(())
}

fn open_lock(folder: &Path) -> Option<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK)).ok()
}

/// The socket of a lab's runner.
#[must_use]
pub fn control(root: &Path, name: &str) -> PathBuf {
    root.join(name).join(CONTROL)
}

/// Names of all labs that have a folder, running or not.
#[must_use]
pub fn labs(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// What a lab's runner wrote down.
#[must_use]
pub fn record(root: &Path, name: &str) -> Option<Record> {
    read_record(&root.join(name))
}

fn read_record(folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

/// Whether a runner holds the lab.
#[must_use]
pub fn is_running(root: &Path, name: &str) -> bool {
    let lock = OpenOptions::new().write(true).open(root.join(name).join(LOCK));
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(test: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("weft-home-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        root
    }

    #[test]
    fn a_name_is_held_once_and_free_again_after() {
        let root = root("held");
        let home = Home::claim(&root, "a").unwrap();
        assert!(is_running(&root, "a"));
        assert!(Home::claim(&root, "a").unwrap_err().to_string().contains("already running"));
        let other = Home::claim(&root, "b").unwrap();
        home.remove().unwrap();
        drop(home);
        assert_eq!(labs(&root), ["b"]);
        other.remove().unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn the_next_claim_takes_over_what_a_crash_left() {
        let root = root("crash");
        let home = Home::claim(&root, "a").unwrap();
        home.add_node("n").unwrap();
        fs::write(root.join("a/n/weft.sock"), "").unwrap();
        drop(home); // as a kill would: nothing removed
        assert!(!is_running(&root, "a"));
        let home = Home::claim(&root, "a").unwrap();
        assert!(!root.join("a/n").exists());
        home.remove().unwrap();
    }

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let ours = Process::of(std::process::id()).unwrap();
        // would end the test if it were believed
        Process { began: ours.began + 1, ..ours }.kill();
        assert_eq!(began("7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"), Some(4711));
    }

    #[test]
    fn a_root_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = root("open");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Home::claim(&root, "a").unwrap_err().to_string().contains("XDG_RUNTIME_DIR"));
        fs::remove_dir(&root).unwrap();
    }
}
