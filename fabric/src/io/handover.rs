//! How a handover travels: its text in a file in memory, descriptors as messages of a unix socket, which the next program has as its
//! standard input. So nothing is inherited by number, and what is not asked for is closed by the system.
//!
//! ```text
//! old ── rehearse: starts the new program as a child, which reads all but the sockets, and says by its exit code whether it could
//!     └─ replace: the same process becomes the new program (execve), with the sockets; its process id stays
//! new ── takes the sockets; if its start fails, the same process becomes the old program again, with all it had
//! ```

use super::bfd::{Detector, Thread};
use crate::handover::Handover;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncReadExt as _;
use weft_bgp::time::Duration;

/// Descriptors of one message (unix(7): SCM_MAX_FD is 253).
const BATCH: usize = 128;
/// Room for messages that nobody reads before the new program does: thousands of sockets.
const BUFFER_BYTES: usize = 4 << 20;
/// Longest text.
const TEXT_BYTES: u64 = 256 << 20;
/// For a rehearsal: less than who asked for it waits for an answer, and reading a configuration of a thousand peers takes a second at most.
const REHEARSAL: Duration = Duration::from_secs(4);
/// Whoever has no name in a user namespace (/proc/sys/kernel/overflowuid).
const OVERFLOW_UID: u32 = 65_534;
/// What is kept of what a rehearsal says.
const WORDS_BYTES: u64 = 4 << 10;

/// How a daemon begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By itself.
    Fresh,
    /// In the place of the one before, in the same process.
    New,
    /// Again, because that could not.
    Back,
    /// To say whether it could.
    Rehearsal,
}

/// What the daemon before left.
#[derive(Debug)]
pub struct Taken {
    /// What it said.
    pub handover: Handover,
    /// Its sockets, in the order of [`Handover`].
    pub sockets: Vec<OwnedFd>,
    /// What RPKI caches said, if it left that: one of the sockets until it was found.
    pub data: Option<OwnedFd>,
    /// It is what this program had handed to one that could not start.
    pub is_back: bool,
    /// All of it once more, and its program, until this one is ready. Whoever takes it out ends that way back, or goes it.
    pub spare: Arc<Mutex<Option<Spare>>>,
}

/// A way back.
#[derive(Debug)]
pub struct Spare {
    socket: OwnedFd,
    program: OwnedFd,
    config: PathBuf,
}

/// Puts text and descriptors into a socket: the text's file and the program first.
fn pack(text: &File, program: &File, sockets: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // As much as is granted: what does not fit is an error below.
    let _ = sockopt::set_socket_send_buffer_size(&near, BUFFER_BYTES);
    rustix::io::ioctl_fionbio(&near, true)?;
    let all: Vec<BorrowedFd<'_>> = [text.as_fd(), program.as_fd()].into_iter().chain(sockets.iter().copied()).collect();
    for some in all.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        attached.push(SendAncillaryMessage::ScmRights(some));
        sendmsg(&near, &[IoSlice::new(b"weft")], &mut attached, SendFlags::NOSIGNAL)?;
    }
    // Without the near end, the far one ends where its messages do.
    Ok(far)
}

fn unpack(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    loop {
        let mut word = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let read = recvmsg(socket, &mut [IoSliceMut::new(&mut word)], &mut attached, RecvFlags::CMSG_CLOEXEC)?.bytes;
        if read == 0 {
            return Ok(all);
        }
        for message in attached.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                all.extend(descriptors);
            }
        }
    }
}

fn write(handover: &Handover) -> io::Result<File> {
    file("weft-handover", &serde_json::to_vec(handover).map_err(io::Error::other)?)
}

/// A file in memory.
///
/// # Errors
/// When there is not enough of it.
pub fn file(name: &str, octets: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(octets)?;
    file.rewind()?;
    Ok(file)
}

/// What is in it, so many octets at most.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(most);
    let mut octets = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut octets, 0)?;
    Ok(octets)
}

fn this_program() -> io::Result<File> {
    File::open("/proc/self/exe")
}

/// What was handed to this process, on its standard input.
///
/// # Errors
/// When that is no handover, or not one that this program can read.
pub fn receive(start: Start) -> io::Result<Taken> {
    let mut all = unpack(io::stdin().as_fd())?.into_iter();
    let (Some(text), Some(program)) = (all.next(), all.next()) else {
        return Err(io::Error::other("standard input holds no handover: this is for a running daemon to start"));
    };
    let sockets: Vec<OwnedFd> = all.collect();
    // Nothing else is to be found there.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let text = File::from(text);
    let handover: Handover = serde_json::from_slice(&read(&text, TEXT_BYTES)?).map_err(io::Error::other)?;
    handover.check().map_err(io::Error::other)?;
    let spare = match start {
        Start::New => {
            let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            let socket = pack(&text, &File::from(program.try_clone()?), &borrowed)?;
            Some(Spare { socket, program, config: handover.config.clone() })
        }
        Start::Fresh | Start::Back | Start::Rehearsal => None,
    };
    Ok(Taken { handover, sockets, data: None, is_back: false, spare: Arc::new(Mutex::new(spare)) })
}

impl Spare {
    /// Takes it out, if it still is there.
    #[must_use]
    pub fn take(place: &Mutex<Option<Self>>) -> Option<Self> {
        place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// This process becomes the program of before, by the thread with BFD's priority. Returns only if that fails.
    pub fn go_back(self, thread: &Thread) -> io::Error {
        let Self { socket, program, config } = self;
        let (path, name) = program_of(&program);
        let error = thread.execute(move || become_program((&path, &name), &config, "back", socket));
        // It may be what names the program: it must be open until then.
        drop(program);
        error
    }
}

/// How to execute the program behind a descriptor, and what it is called: by its path if it still is the file there, otherwise by the
/// descriptor, for which the system would call the process by its number.
fn program_of(program: &OwnedFd) -> (PathBuf, PathBuf) {
    let number = PathBuf::from(format!("/proc/self/fd/{}", program.as_raw_fd()));
    let Ok(link) = std::fs::read_link(&number) else {
        return (number.clone(), number);
    };
    let name = without_mark(&link);
    let same =
        |(one, other): (std::fs::Metadata, std::fs::Metadata)| (one.dev(), one.ino()) == (other.dev(), other.ino());
    let both = || Some((number.metadata().ok()?, name.metadata().ok()?));
    if both().is_some_and(same) { (name.clone(), name) } else { (number, name) }
}

/// A file that was replaced is named like that by the system (proc(5)).
fn without_mark(link: &Path) -> PathBuf {
    let text = link.to_string_lossy();
    PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
}

/// A program, and what its process is called.
fn become_program((program, name): (&Path, &Path), config: &Path, start: &str, socket: OwnedFd) -> io::Error {
    super::sandbox::pass_on();
    let mut command = Command::new(program);
    command.arg0(name).arg("daemon").arg("--config").arg(config);
    command.args(["--resume", start]).stdin(Stdio::from(socket)).exec()
}

/// This process is called as its program is, however that was executed: `pidof weft` is to find it.
pub fn take_name() {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name).and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = name {
        // Refused to nobody (prctl(2), PR_SET_NAME).
        let _ = rustix::thread::set_name(&name);
    }
}

/// This process becomes the new program, by BFD's thread. Returns only if that fails; everything is as before then.
pub fn replace(program: &Path, handover: &Handover, sockets: &[BorrowedFd<'_>], detector: &Detector) -> io::Error {
    let socket = write(handover).and_then(|text| pack(&text, &this_program()?, sockets));
    let (program, config) = (program.to_owned(), handover.config.clone());
    let error = match socket {
        Ok(socket) => detector.execute(move || become_program((&program, &program), &config, "new", socket)),
        Err(error) => return error,
    };
    // Standard input was put in place already.
    let _ = File::open("/dev/null").map(rustix::stdio::dup2_stdin);
    error
}

/// The program that is to be started: the one that is named, else what is now in the place of this one.
///
/// # Errors
/// When it is not there, or somebody else could change it: whoever may speak to the daemon is not to choose what runs with its rights.
pub fn program(named: Option<&Path>) -> Result<PathBuf, String> {
    let program = match named {
        Some(path) => path.to_owned(),
        None => {
            let own = std::fs::read_link("/proc/self/exe").map_err(|error| format!("/proc/self/exe: {error}"))?;
            without_mark(&own)
        }
    };
    let name = program.display();
    if !program.is_absolute() {
        return Err(format!("`{name}` is no absolute path"));
    }
    let whole = program.canonicalize().map_err(|error| format!("{name}: {error}"))?;
    let us = rustix::process::geteuid().as_raw();
    // In a user namespace (user_namespaces(7)) most of the system belongs to users without a name there.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let strange = |uid: u32| ![0, us].contains(&uid) && (is_whole || uid != OVERFLOW_UID);
    for part in whole.ancestors() {
        let file = part.metadata().map_err(|error| format!("{}: {error}", part.display()))?;
        // A folder of everybody's in which nobody may rename what is another's (sticky) is none that they can change this in.
        let is_open = file.mode() & 0o022 != 0 && !(file.is_dir() && file.mode() & 0o1000 != 0);
        if is_open || strange(file.uid()) {
            let part = part.display();
            return Err(format!("others than root and the daemon's user may change {part}, so {name} is not executed"));
        }
    }
    if !whole.is_file() {
        return Err(format!("{name} is no file"));
    }
    if let Err(error) = File::open(&whole) {
        let places = "/usr, /opt and the folder of the running program";
        return Err(format!(
            "{name} cannot be read: {error}; the daemon reads programs in {places} (section `sandbox`)"
        ));
    }
    Ok(whole)
}

/// Lets a new program try all of it but the sockets, as a child of this process, and says why it could not.
///
/// # Errors
/// What it said, or that it took too long.
pub async fn rehearse(program: &Path, config: &Path, handover: &Handover) -> Result<(), String> {
    let packed = write(handover).and_then(|text| pack(&text, &this_program()?, &[]));
    let socket = packed.map_err(|error| format!("nothing can be handed over: {error}"))?;
    let mut command = tokio::process::Command::new(program);
    command.arg("daemon").arg("--config").arg(config).args(["--resume", "rehearsal"]);
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let name = program.display();
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let errors = child.stderr.take();
    let words = async {
        let mut words = Vec::new();
        if let Some(errors) = errors {
            // What cannot be read is not said.
            let _ = errors.take(WORDS_BYTES).read_to_end(&mut words).await;
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    };
    let ended = tokio::time::timeout(REHEARSAL, async { tokio::join!(words, child.wait()) }).await;
    match ended {
        Ok((_, Ok(status))) if status.success() => Ok(()),
        Ok((words, Ok(status))) => Err(format!(
            "{name} could not take over ({status}): {}",
            if words.is_empty() { "it said nothing" } else { &words }
        )),
        Ok((_, Err(error))) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name} did not say within {} s whether it could take over", REHEARSAL.as_secs())),
    }
}

#[cfg(test)]
mod tests;
