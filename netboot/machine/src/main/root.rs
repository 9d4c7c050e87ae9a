//! From the initial file system to the system: a root file system that is loaded into memory, or one that is installed on a disk.

use super::services::Services;
use super::{AGAIN_MAX, disk, say};
use flate2::read::GzDecoder;
use rustix::fs::{FileType, Mode, mknodat};
use rustix::mount::{MountFlags, mount, mount_move};
use std::convert::Infallible;
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use weft_machine::fetch::Fetch;
use weft_machine::io::ask;
use weft_machine::orders::{BLOBS, CARD, CONFIG, Card, Disk, Root};
use weft_machine::unpack::{Archive, Entry, Kind};

/// Where the next root is.
const ROOT: &str = "/newroot";
/// Where the file is while it comes.
const FILE: &str = "/run/root.img";
/// Tries in a row that bring nothing; then the machine starts over, and is told anew what it boots.
const TRIES_MAX: u32 = 20;
/// What a system may call its first process.
const INITS: [&str; 3] = ["sbin/init", "init", "bin/init"];
/// What goes over into the system.
const KEPT: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Loads a root file system, whatever breaks meanwhile, and runs what is in it.
pub(super) fn load(card: &Card, root: &Root, services: &Services) -> Result<Infallible, String> {
    fetch(card, root)?;
    mount("root", ROOT, "tmpfs", MountFlags::empty(), None::<&CStr>).map_err(|error| format!("{ROOT}: {error}"))?;
    let began = Instant::now();
    unpack(Path::new(FILE)).map_err(|error| format!("the root file system: {error}"))?;
    let _ = fs::remove_file(FILE);
    say(&format!("root: unpacked in {} ms", began.elapsed().as_millis()));
    switch(services)
}

fn fetch(card: &Card, root: &Root) -> Result<(), String> {
    let path = format!("{BLOBS}{}/root", root.sha256);
    let (began, mut wait, mut tries) = (Instant::now(), Duration::from_secs(1), 0);
    let mut fetch = Fetch::new(root.clone());
    let mut out = File::create(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let source = card.address.map_or_else(String::new, |address| format!(" from {address}"));
    say(&format!("root: loads {} octets of {}{source}", root.bytes, card.server));
    loop {
        let (before, mut said) = (fetch.done(), fetch.percent() / 10);
        let mut progress = |fetch: &Fetch| {
            if fetch.percent() / 10 > said {
                said = fetch.percent() / 10;
                say(&format!("root: {} % after {} ms", said * 10, began.elapsed().as_millis()));
            }
        };
        let came = ask::part(card.server, card.address, &path, (&mut fetch, &mut out), &mut progress);
        let why = match came.and_then(|()| fetch.verify()) {
            Ok(()) => {
                say(&format!("root: all is there after {} ms, and is what was ordered", began.elapsed().as_millis()));
                return Ok(());
            }
            Err(why) => why,
        };
        if fetch.done() > before {
            (wait, tries) = (Duration::from_secs(1), 0);
        }
        tries += 1;
        if fetch.is_whole() {
            // Another file: nothing of it is of use.
            out = File::create(FILE).map_err(|error| format!("{FILE}: {error}"))?;
            fetch = Fetch::new(root.clone());
        }
        if tries > TRIES_MAX {
            return Err(format!("root: {why}; nothing came for {TRIES_MAX} tries"));
        }
        say(&format!("root: {why}; goes on at octet {} in {} s", fetch.done(), wait.as_secs()));
        std::thread::sleep(wait);
        wait = (wait * 2).min(AGAIN_MAX);
    }
}

/// Unpacks an archive, in gzip or without.
fn unpack(file: &Path) -> io::Result<()> {
    let mut magic = [0; 2];
    File::open(file)?.read_exact(&mut magic)?;
    let octets = BufReader::new(File::open(file)?);
    match magic {
        [0x1f, 0x8b] => unpack_from(GzDecoder::new(octets)),
        _ => unpack_from(octets),
    }
}

fn unpack_from(octets: impl Read) -> io::Result<()> {
    let mut archive = Archive::new(octets);
    while let Some(entry) = archive.entry()? {
        if entry.path.is_empty() {
            continue;
        }
        let at = Path::new(ROOT).join(&entry.path);
        put(&mut archive, &entry, &at)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", entry.path)))?;
    }
    Ok(())
}

fn put(archive: &mut Archive<impl Read>, entry: &Entry, at: &Path) -> io::Result<()> {
    // What is already there under a name of the archive was put by it: never through a link of it, out of the folder.
    within(at)?;
    match entry.kind {
        Kind::Folder => fs::create_dir_all(at)?,
        Kind::File => {
            let mut file = OpenOptions::new().write(true).create_new(true).open(at)?;
            archive.octets(entry, &mut file)?;
        }
        Kind::Link => {
            let mut to = Vec::new();
            archive.octets(entry, &mut to)?;
            let to = String::from_utf8(to).map_err(io::Error::other)?;
            return symlink(to.trim_end_matches('\0'), at);
        }
        Kind::Device => {
            let device = rustix::fs::makedev(entry.device.0, entry.device.1);
            mknodat(rustix::fs::CWD, at, FileType::CharacterDevice, Mode::from_raw_mode(entry.mode), device)?;
        }
        Kind::Other => return archive.octets(entry, &mut io::sink()),
    }
    chown(at, Some(entry.owner.0), Some(entry.owner.1))?;
    fs::set_permissions(at, Permissions::from_mode(entry.mode))
}

/// Makes the folders above, none of which may be a link.
fn within(at: &Path) -> io::Result<()> {
    let above = at.parent().unwrap_or(at);
    fs::create_dir_all(above)?;
    match fs::canonicalize(above)?.starts_with(ROOT) {
        true => Ok(()),
        false => Err(io::Error::other("it leads out of the archive")),
    }
}

/// Runs the system that is installed on a disk.
pub(super) fn disk(disk: &Disk, services: &Services) -> Result<Infallible, String> {
    let (device, about) = disk::find(&disk.device)?;
    disk::mounted(&device, &about, ROOT)?;
    switch(services).map_err(|why| format!("{device}: {why}"))
}

/// Hands over: the routing daemon ends and leaves its routes, the system starts another one with the configuration in `/run/weft`.
fn switch(services: &Services) -> Result<Infallible, String> {
    let init = INITS.iter().find(|init| fs::symlink_metadata(Path::new(ROOT).join(init)).is_ok());
    let init = init.ok_or_else(|| format!("the system has no first process: none of {}", INITS.join(", ")))?;
    for file in [CARD, CONFIG] {
        let name = Path::new(file).file_name().unwrap_or_default();
        fs::copy(file, Path::new("/run/weft").join(name)).map_err(|error| format!("{file}: {error}"))?;
    }
    say(&format!("hands over to {init}"));
    services.end();
    clear().map_err(|error| format!("the initial file system: {error}"))?;
    for at in KEPT {
        let to = format!("{ROOT}{at}");
        fs::create_dir_all(&to)
            .and_then(|()| Ok(mount_move(at, to.as_str())?))
            .map_err(|error| format!("{to}: {error}"))?;
    }
    let moved =
        rustix::process::chdir(ROOT).and_then(|()| mount_move(".", "/")).and_then(|()| rustix::process::chroot("."));
    moved.and_then(|()| rustix::process::chdir("/")).map_err(|error| format!("the root: {error}"))?;
    let error = Command::new(format!("/{init}")).exec();
    Err(format!("/{init}: {error}"))
}

/// Frees the memory of the initial file system: all of it that is on the same device as its root.
fn clear() -> io::Result<()> {
    let device = fs::symlink_metadata("/")?.dev();
    let mut folders = vec![PathBuf::from("/")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)?.filter_map(Result::ok) {
            let about = entry.metadata()?;
            if about.dev() != device {
                continue;
            }
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}
