//! `image build`: weft's initial file system, from a kernel's modules and static programs.

use anyhow::{Context as _, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use weft_machine::orders::MODULES;
use weft_netboot::boot::cpio::{Archive, Entry};
use weft_netboot::boot::modules::{self, USUAL};

/// What a program runs as; a file that is added keeps whether it can be executed.
const PROGRAM: u32 = 0o755;
/// Folders of a tree of modules below each other.
const DEPTH_MAX: usize = 16;
/// Best size: it is made once, and loaded often.
const COMPRESSION: flate2::Compression = flate2::Compression::best();

/// How to get the static programs.
const HOW: &str = "`cargo static` makes it: target/x86_64-unknown-linux-gnu/release";

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Its name
    pub(crate) name: String,
    /// Linux
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: PathBuf,
    /// Modules of this kernel: a folder, as /lib/modules/VERSION
    #[arg(long, value_name = "FOLDER")]
    modules: PathBuf,
    /// A module beside the usual ones, which are those of common network cards, disks and file systems (may be given several times)
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// The routing daemon `weft`, linked statically
    #[arg(long, value_name = "FILE")]
    weft: PathBuf,
    /// The first process `weft-init`, linked statically
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// A static busybox: a shell on the console, for who says `weft.shell` on the command line of the kernel
    #[arg(long, value_name = "FILE")]
    busybox: Option<PathBuf>,
    /// A file more, and where it goes, as ./key.pub:/etc/key.pub (may be given several times)
    #[arg(long, value_name = "FILE:PATH")]
    add: Vec<String>,
    /// A root file system that is loaded once the machine is routed, and runs in memory; without it (and --disk) the initial one is the system
    #[arg(long, value_name = "FILE", conflicts_with = "disk")]
    pub(crate) root: Option<PathBuf>,
    /// Where the installed system is that takes over once the machine is routed: /dev/vda2, or UUID=, LABEL=, PARTUUID=, PARTLABEL=
    #[arg(long, value_name = "DISK")]
    pub(crate) disk: Option<String>,
    /// Command line of the kernel
    #[arg(long, value_name = "TEXT", default_value = "panic=5", allow_hyphen_values = true)]
    pub(crate) cmdline: String,
    /// Write the initial file system here too
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// What was made.
pub(crate) struct Built {
    /// The initial file system.
    pub(crate) octets: Vec<u8>,
    /// Its parts and their octets, before compression.
    pub(crate) parts: Vec<(String, usize)>,
}

/// Makes the initial file system.
pub(crate) fn build(build: &Build) -> anyhow::Result<Built> {
    let mut archive = Archive::default();
    let mut parts = Vec::new();
    for folder in ["dev", "proc", "sys", "run", "tmp", "etc", "root", "newroot"] {
        archive.folder(folder);
    }
    archive.put("dev/console", Entry::Device(5, 1));
    for (what, file, to) in [("weft-init", &build.init, "init"), ("weft", &build.weft, "usr/bin/weft")] {
        let octets = program(what, file)?;
        parts.push((what.to_owned(), octets.len()));
        archive.put(to, Entry::File(octets, PROGRAM));
    }
    if let Some(file) = &build.busybox {
        let octets = program("busybox", file).context("(Debian: busybox-static)")?;
        parts.push(("busybox".to_owned(), octets.len()));
        archive.put("bin/busybox", Entry::File(octets, PROGRAM));
        archive.put("bin/sh", Entry::Link("busybox".to_owned()));
    }
    parts.push(put_modules(build, &mut archive)?);
    for pair in &build.add {
        let said = pair.rsplit_once(':').filter(|(_, to)| to.starts_with('/'));
        let (file, to) = said.with_context(|| format!("--add {pair}: write FILE:/PATH"))?;
        let octets = std::fs::read(file).with_context(|| format!("--add {file}"))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file)?.permissions()) & 0o777;
        parts.push((to.to_owned(), octets.len()));
        archive.put(to, Entry::File(octets, mode));
    }
    Ok(Built { octets: archive.gzip(COMPRESSION)?, parts })
}

/// A program that needs nothing else: it is there before any library is.
fn program(what: &str, file: &Path) -> anyhow::Result<Vec<u8>> {
    let octets = std::fs::read(file).with_context(|| format!("{what}: {}: {HOW}", file.display()))?;
    if !octets.starts_with(b"\x7fELF") {
        bail!("{what}: {}: it is no program of Linux", file.display());
    }
    // The name of the loader stands in the segment PT_INTERP, near the beginning.
    let beginning = octets.get(..octets.len().min(4_096)).unwrap_or_default();
    if beginning.windows(8).any(|eight| eight == b"ld-linux" || eight == b"ld-musl-") {
        bail!(
            "{what}: {}: it needs a loader and libraries, which are not there yet: link it statically ({HOW})",
            file.display()
        );
    }
    Ok(octets)
}

fn put_modules(build: &Build, archive: &mut Archive) -> anyhow::Result<(String, usize)> {
    let shown = || format!("--modules {}", build.modules.display());
    let mut files = BTreeMap::new();
    walk(&build.modules, DEPTH_MAX, &mut files).with_context(shown)?;
    if files.is_empty() {
        bail!(
            "{}: there is no module (*.ko) in it: name the folder of the kernel's version, as /lib/modules/6.1.0-50-cloud-amd64",
            shown()
        );
    }
    let extra = build.module.iter().map(|name| name.replace('-', "_"));
    if let Some(missing) = extra.clone().find(|name| !files.contains_key(name)) {
        bail!(
            "--module {missing}: {} has no such module; it may be in the kernel itself: see modules.builtin",
            build.modules.display()
        );
    }
    let wanted: Vec<String> = USUAL.iter().map(|name| (*name).to_owned()).chain(extra).collect();
    // Only those that are reached are read: a kernel has thousands.
    let (mut needs, mut octets, mut open) = (BTreeMap::new(), BTreeMap::new(), wanted.clone());
    while let Some(name) = open.pop() {
        let Some(file) = files.get(&name).filter(|_| !needs.contains_key(&name)) else { continue };
        let read = std::fs::read(file).with_context(|| file.display().to_string())?;
        let others = modules::depends(&read).map_err(|wrong| anyhow::anyhow!("{}: {wrong}", file.display()))?;
        open.extend(others.iter().cloned());
        needs.insert(name.clone(), others);
        octets.insert(name, read);
    }
    let order = modules::order(&wanted, &needs).map_err(anyhow::Error::msg)?;
    let (mut list, mut size) = (String::new(), 0);
    let folder = Path::new(MODULES).parent().unwrap_or_else(|| Path::new("/")).display().to_string();
    for name in &order {
        list.push_str(&format!("{name}.ko\n"));
        let octets = octets.remove(name).unwrap_or_default();
        size += octets.len();
        archive.put(&format!("{folder}/{name}.ko"), Entry::File(octets, 0o644));
    }
    archive.put(MODULES, Entry::File(list.into_bytes(), 0o644));
    Ok((format!("{} modules", order.len()), size))
}

fn walk(folder: &Path, depth: usize, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && depth > 0 {
            walk(&path, depth - 1, files)?;
        } else if let Some(name) = path.to_str().and_then(modules::name) {
            files.insert(name, path);
        }
    }
    Ok(())
}
