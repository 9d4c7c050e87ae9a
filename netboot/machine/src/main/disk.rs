//! The disks of the machine: where the one is that is meant, what is on it, and how it becomes the next root.

use super::facts::{NO_DISKS, names, word};
use super::{POLL, say};
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use weft_machine::disk::{About, ENTRY, HEAD, LUKS, Place, Table, Tag};

/// Longest wait for a disk.
const DISK_WITHIN: Duration = Duration::from_secs(60);
/// How often all disks are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The device, when it is there, and what is on it.
///
/// # Errors
/// Which disks there are instead.
pub(super) fn find(wanted: &str) -> Result<(String, About), String> {
    let place = Place::read(wanted)
        .ok_or_else(|| format!("{wanted}: neither /dev/… nor UUID=, LABEL=, PARTUUID= or PARTLABEL="))?;
    let (began, mut said) = (Instant::now(), false);
    loop {
        let found = match place {
            Place::Device(device) if Path::new(device).exists() => Some((device.to_owned(), about(device))),
            Place::Device(_) => None,
            Place::By(tag, value) => named(wanted, tag, value)?,
        };
        if let Some((device, about)) = found {
            say(&format!("root: {device} is {}", about.shown()));
            return Ok((device, about));
        }
        if began.elapsed() > DISK_WITHIN {
            return Err(format!("{wanted}: it is not there after {} s; {}", DISK_WITHIN.as_secs(), others()));
        }
        if !said {
            said = true;
            say(&format!("root: waits for {wanted}; {}", others()));
        }
        std::thread::sleep(if matches!(place, Place::Device(_)) { POLL } else { LOOK_EVERY });
    }
}

/// The only one that has this name.
fn named(wanted: &str, tag: Tag, value: &str) -> Result<Option<(String, About)>, String> {
    let mut found: Vec<_> = all().into_iter().filter(|(_, about)| about.is(tag, value)).collect();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => {
            let devices: Vec<_> = found.iter().map(|(device, _)| device.as_str()).collect();
            Err(format!("{wanted}: {} are called so: name one in another way", devices.join(" and ")))
        }
    }
}

/// What there is, for who looks for something else.
fn others() -> String {
    let all: Vec<_> = all().into_iter().map(|(device, about)| format!("{device} ({})", about.shown())).collect();
    match all.is_empty() {
        true => "there is no disk: its driver is not among the modules of this image (`image build --module NAME`)"
            .to_owned(),
        false => format!("there are {}", all.join(", ")),
    }
}

/// Disks and partitions, by name.
fn all() -> Vec<(String, About)> {
    let mut names = names("/sys/class/block");
    names.retain(|name| !NO_DISKS.iter().any(|other| name.starts_with(other)));
    names.sort();
    names.iter().map(|name| partition(name)).collect()
}

/// One of them, with what the table of its disk says of it.
fn partition(name: &str) -> (String, About) {
    let folder = format!("/sys/class/block/{name}");
    let event = word(&format!("{folder}/uevent"));
    let said = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
    let device = format!("/dev/{}", said("DEVNAME").unwrap_or_else(|| name.to_owned()));
    let mut about = about(&device);
    if let Ok(number) = word(&format!("{folder}/partition")).parse() {
        about.part_label = said("PARTNAME");
        about.part_uuid = part_uuid(&folder, number);
    }
    (device, about)
}

/// From the table of the disk that the partition is of.
fn part_uuid(folder: &str, number: u32) -> Option<String> {
    // A partition is a folder in that of its disk.
    let disk = fs::canonicalize(folder).ok()?.parent()?.to_owned();
    let sector = word(&disk.join("queue/logical_block_size").display().to_string()).parse().ok()?;
    let event = word(&disk.join("uevent").display().to_string());
    let device = event.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    let disk = File::open(Path::new("/dev").join(device)).ok()?;
    let mut head = Vec::new();
    (&disk).take(u64::try_from(HEAD).ok()?).read_to_end(&mut head).ok()?;
    let table = Table::read(&head, sector)?;
    let mut entry = [0; ENTRY];
    if let Some(at) = table.entry(number) {
        disk.read_exact_at(&mut entry, at).ok()?;
    }
    table.part_uuid(number, &entry)
}

/// What is on a device, as far as it can be read.
fn about(device: &str) -> About {
    let mut head = Vec::new();
    let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
    // A drive without a medium is read as an empty disk.
    let _ = File::open(device).and_then(|disk| disk.take(limit).read_to_end(&mut head));
    About::read(&head)
}

/// Mounts what is on a device read-only: by what it is, or by all that the kernel has when nobody here knows it.
///
/// # Errors
/// What is on it instead of a file system, or what the kernel says, with the remedy.
pub(super) fn mounted(device: &str, about: &About, at: &str) -> Result<(), String> {
    let has = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has: Vec<&str> = has.lines().filter(|line| !line.starts_with("nodev")).map(str::trim).collect();
    let try_one = |kind: &str| mount(device, at, kind, MountFlags::RDONLY, None::<&CStr>);
    match about.kind {
        Some(LUKS) => Err(format!("{device}: it is encrypted, and the orders name no key")),
        Some(kind) if has.contains(&kind) => try_one(kind).map_err(|error| format!("{device}: {kind}: {error}")),
        Some(kind) => Err(format!(
            "{device}: it is {kind}, which this kernel has not: build the image with `--module {kind}`; it has {}",
            has.join(", ")
        )),
        None if has.iter().any(|kind| try_one(kind).is_ok()) => Ok(()),
        None => Err(format!("{device}: nothing on it is a file system of this kernel: {}", has.join(", "))),
    }
}
