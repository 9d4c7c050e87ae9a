//! Disks, what is on them, and files: what of it goes together.

use super::{At, Spec, source, unique};
use std::collections::BTreeSet;

/// Labels of file systems, in octets.
const LABELS: [(&str, usize); 6] =
    [("ext4", 16), ("btrfs", 256), ("xfs", 12), ("vfat", 11), ("swap", 15), ("none", 256)];
const LEVELS: [&str; 15] = [
    "linear", "raid0", "0", "stripe", "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6", "raid10", "10",
];

pub(super) fn rules(storage: &At<'_>, spec: Spec) -> Result<(), String> {
    for disk in storage.each("disks") {
        disk.get("device").is_path()?;
        partitions(&disk)?;
    }
    for raid in storage.each("raid") {
        array(&raid)?;
    }
    for filesystem in storage.each("filesystems") {
        if spec == Spec::Old { old_filesystem(&filesystem)? } else { format(&filesystem, spec)? }
    }
    for luks in storage.each("luks") {
        encrypted(&luks, spec)?;
    }
    if spec != Spec::Old {
        unique(storage.each("disks").map(|disk| disk.get("device")))?;
        unique(storage.each("raid").map(|raid| raid.get("name")))?;
        unique(storage.each("filesystems").map(|filesystem| filesystem.get("device")))?;
        unique(storage.each("luks").map(|luks| luks.get("name")))?;
    }
    nodes(storage, spec)
}

fn partitions(disk: &At<'_>) -> Result<(), String> {
    let mut taken: Vec<(i64, i64, At<'_>)> = Vec::new();
    let (mut numbers, mut gone, mut free) = (BTreeSet::new(), None, false);
    for partition in disk.each("partitions") {
        let (number, label) = (partition.get("number"), partition.get("label"));
        if number.number() == 0 && label.text().is_empty() {
            return Err(number.wrong("does not say which partition it is", "write a number from 1, or a label"));
        }
        if number.number() != 0 && !numbers.insert(number.number()) {
            return Err(number.wrong("is there twice", "write one entry for it"));
        }
        if label.text().len() > 36 || label.text().contains(':') {
            return Err(label.wrong("is no label of a partition", "write at most 36 octets without :"));
        }
        for guid in ["guid", "typeGuid"].map(|key| partition.get(key)) {
            if !guid.text().is_empty() && !is_guid(guid.text()) {
                return Err(guid.wrong("is no GUID", "write 8-4-4-4-12 digits of hexadecimal"));
            }
        }
        if partition.get("shouldExist").value == &serde_json::Value::Bool(false) {
            let others = ["label", "guid", "typeGuid", "startMiB", "sizeMiB", "start", "size"];
            if let Some(other) = others.map(|key| partition.get(key)).into_iter().find(At::is_set) {
                return Err(other.wrong("is of a partition that is to go", "leave it out, or `shouldExist`"));
            }
            gone = Some(partition.get("shouldExist"));
        }
        free |= number.number() == 0;
        let (start, size) = (partition.get("startMiB").number(), partition.get("sizeMiB").number());
        if start > 0 {
            taken.push((start, size, partition.get("startMiB")));
        }
    }
    if let (Some(gone), true) = (gone, free) {
        return Err(
            gone.wrong("does not go with partitions without number", "give each partition of the disk a number")
        );
    }
    unique(disk.each("partitions").map(|partition| partition.get("label")).filter(At::is_set))?;
    taken.sort_by_key(|(start, _, _)| *start);
    let mut end = 0;
    let mut last = 0;
    for (start, size, at) in &taken {
        if *start < end || *start == last {
            return Err(at.wrong("is within another partition", "begin behind its end"));
        }
        (end, last) = (end.max(start.saturating_add(*size)), *start);
    }
    Ok(())
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn array(raid: &At<'_>) -> Result<(), String> {
    raid.get("name").is_named()?;
    let level = raid.get("level");
    if !LEVELS.contains(&level.text()) {
        return Err(level.wrong("is no level", "write linear, or raid0, 1, 4, 5, 6, 10"));
    }
    let has_no_spare = ["linear", "raid0", "0", "stripe"].contains(&level.text());
    if has_no_spare && raid.get("spares").number() != 0 {
        return Err(raid.get("spares").wrong(&format!("cannot be with {}", level.text()), "leave it out"));
    }
    if raid.each("devices").next().is_none() {
        return Err(raid.get("devices").wrong("has no device", "write one at least"));
    }
    raid.each("devices").try_for_each(|device| device.is_path())?;
    unique(raid.each("devices"))
}

/// How a file system is made; in 3.x all of it, in 2.3 its `mount`.
fn format(filesystem: &At<'_>, spec: Spec) -> Result<(), String> {
    filesystem.get("device").is_path()?;
    let format = filesystem.get("format");
    if !format.text().is_empty() {
        let known = LABELS.iter().find(|(name, _)| *name == format.text() && (*name != "none" || spec.has(3)));
        let Some((_, most)) = known else {
            return Err(format
                .wrong("is no format that Ignition makes", "write ext4, btrfs, xfs, vfat, swap, or from 3.3 none"));
        };
        let label = filesystem.get("label");
        if label.text().len() > *most {
            return Err(label.wrong("is too long", &format!("write at most {most} octets for {}", format.text())));
        }
    } else {
        let others = ["path", "label", "uuid"].map(|key| filesystem.get(key)).into_iter();
        let set = others.filter(|other| !other.text().is_empty()).map(|other| other.path);
        let lists = ["options", "mountOptions"].map(|key| filesystem.get(key)).into_iter();
        let lists = lists.filter(|list| list.value.as_array().is_some_and(|all| !all.is_empty())).map(|list| list.path);
        let wipes = Some(filesystem.get("wipeFilesystem")).filter(At::is_true).map(|at| at.path);
        if let Some(other) = set.chain(lists).chain(wipes).next() {
            return Err(
                format.wrong(&format!("is no format, and {other} needs one"), "write ext4, btrfs, xfs, vfat or swap")
            );
        }
    }
    let path = filesystem.get("path");
    if path.text().is_empty() { Ok(()) } else { path.is_path() }
}

/// Of 2.3: one that is made and mounted, or one that is there.
fn old_filesystem(filesystem: &At<'_>) -> Result<(), String> {
    let (mount, path) = (filesystem.get("mount"), filesystem.get("path"));
    match (mount.is_set(), path.is_set()) {
        (false, false) => Err(mount.wrong("is nothing", "write `mount`, or the `path` where it is mounted")),
        (true, true) => Err(path.wrong("is beside `mount`", "write one of both")),
        (false, true) => path.is_path(),
        (true, false) if mount.get("format").text().is_empty() => {
            Err(mount.get("format").wrong("is no format", "write ext4, btrfs, xfs, vfat or swap"))
        }
        (true, false) => format(&mount, Spec::Old),
    }
}

fn encrypted(luks: &At<'_>, spec: Spec) -> Result<(), String> {
    let (name, label) = (luks.get("name"), luks.get("label"));
    name.is_named()?;
    if name.text().contains('/') {
        return Err(name.wrong("is no name of a device", "write it without /"));
    }
    if label.text().len() > 47 {
        return Err(label.wrong("is too long", "write at most 47 octets"));
    }
    luks.get("device").is_path()?;
    source::may(&luks.get("keyFile"), spec)?;
    let clevis = luks.get("clevis");
    for tang in clevis.each("tang") {
        source::url(&tang.get("url"), &["http", "https"])?;
        if !tang.get("advertisement").is_set() || !tang.get("thumbprint").text().is_empty() {
            tang.get("thumbprint").is_named()?;
        }
    }
    unique(clevis.each("tang").map(|tang| tang.get("url")))?;
    let custom = clevis.get("custom");
    let (pin, config) = (custom.get("pin"), custom.get("config"));
    if !pin.is_set() && !config.is_set() && !custom.get("needsNetwork").is_set() {
        return Ok(());
    }
    if !["tpm2", "tang", "sss"].contains(&pin.text()) {
        return Err(pin.wrong("is no pin of clevis", "write tpm2, tang or sss"));
    }
    config.is_named()?;
    let beside = clevis.get("tpm2").is_true() || clevis.get("threshold").number() != 0;
    if beside || clevis.each("tang").next().is_some() {
        return Err(custom.wrong("is beside tpm2, tang or threshold", "write all of it in `custom.config`"));
    }
    Ok(())
}

/// Files, directories and links.
fn nodes(storage: &At<'_>, spec: Spec) -> Result<(), String> {
    let names: BTreeSet<&str> = storage.each("filesystems").map(|filesystem| filesystem.get("name").text()).collect();
    let paths = |list: &str| storage.each(list).map(|node| node.get("path"));
    for node in ["files", "directories", "links"].iter().flat_map(|list| storage.each(list)) {
        node.get("path").is_path()?;
        for who in ["user", "group"].map(|key| node.get(key)) {
            if who.get("id").is_set() && !who.get("name").text().is_empty() {
                return Err(who.wrong("has `id` and `name`", "write one of both"));
            }
        }
        let mode = node.get("mode");
        if mode.is_set() && !(0..=0o7777).contains(&mode.number()) {
            return Err(mode.wrong("is no mode", "write the decimal number, as 420 for 0644"));
        }
        let filesystem = node.get("filesystem");
        if spec == Spec::Old && filesystem.text() != "root" && !names.contains(filesystem.text()) {
            return Err(
                filesystem.wrong("is the `name` of no file system", "write root, or name one in storage.filesystems")
            );
        }
    }
    for file in storage.each("files") {
        source::may(&file.get("contents"), spec)?;
        file.each("append").try_for_each(|more| source::may(&more, spec))?;
        let overwrite = file.get("overwrite");
        if spec == Spec::Old && overwrite.is_true() && file.get("append").is_true() {
            return Err(overwrite.wrong("does not go with `append`", "write one of both"));
        }
        if spec != Spec::Old && overwrite.is_true() && !file.get("contents").get("source").is_set() {
            return Err(overwrite.wrong("needs `contents.source`", "write it, `data:,` for an empty file"));
        }
    }
    for link in storage.each("links") {
        if (spec.has(3) || spec == Spec::Old) && link.get("target").text().is_empty() {
            return Err(link.get("target").wrong("is no target", "write where it leads"));
        }
    }
    if spec == Spec::Old {
        return Ok(());
    }
    unique(paths("files").chain(paths("directories")).chain(paths("links")))?;
    let links: BTreeSet<&str> = paths("links").map(|path| path.text()).collect();
    for path in paths("files").chain(paths("directories")).chain(paths("links")) {
        let mut above = path.text();
        while let Some((parent, _)) = above.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            if links.contains(parent) {
                let why = format!("is below the link {}", parent.escape_debug());
                return Err(path.wrong(&why, "write the path to which the link leads"));
            }
            above = parent;
        }
    }
    let folders: BTreeSet<&str> = paths("directories").map(|path| path.text()).collect();
    let hard = storage.each("links").filter(|link| link.get("hard").is_true()).map(|link| link.get("target"));
    match hard.into_iter().find(|target| folders.contains(target.text().trim_end_matches('/'))) {
        Some(target) => Err(target.wrong("is a directory", "leave `hard` out: a hard link is to a file")),
        None => Ok(()),
    }
}
