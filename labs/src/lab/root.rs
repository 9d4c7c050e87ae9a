//! Makes a node's file system, from inside: the host's, read through, with everything that a node may change on file
//! systems of its own.
//!
//! ```text
//! /            tmpfs; every folder of the host's / bound into it      new names need no folder on the host
//! /etc         the host's below, a tmpfs above (overlay)              /etc/passwd of its own, binds to missing paths
//! /run /tmp    tmpfs                                                  /run/weft is the node's folder on the host
//! /root        empty                                                  a shell's history is not the host's
//! /proc /sys   new ones, of the node's process and network namespaces
//! ```
//!
//! Sources of binds are opened first, because later mounts hide them; targets are made last, after the root has changed,
//! so that symbolic links in them mean what they mean in the node.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, move_mount, open_tree, unmount,
};

use super::plan::{Blueprint, STATE};

/// Folders of the host's root that a node has its own of.
const OWN: [&str; 6] = ["etc", "proc", "root", "run", "sys", "tmp"];
/// Where upper layers of overlays and given files lie.
const LAYERS: &str = "/.lab";

/// Gives the calling process, alone in its mount namespace, the node's root.
pub(super) fn build(blueprint: &Blueprint) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("private mounts")?;
    let state = tree(&blueprint.state)?;
    let mut binds = Vec::new();
    for (from, to, read_only) in &blueprint.binds {
        let folder = fs::metadata(from).with_context(|| format!("bind {}", from.display()))?.is_dir();
        binds.push(BindSource { tree: tree(from)?, target: to.clone(), folder, read_only: *read_only });
    }
    skeleton(&blueprint.state, blueprint.root.as_deref(), blueprint.ordinary)?;
    enter(&blueprint.state)?;

    let mut root = Root { own: BTreeSet::new(), layers: 0, ordinary: blueprint.ordinary };
    for path in ["/", "/etc", "/run", "/tmp"] {
        root.own.insert(fs::metadata(path)?.dev());
    }
    for folder in &blueprint.folders {
        root.make(folder, true)?;
        tmpfs(folder, "mode=0755")?;
        root.own.insert(fs::metadata(folder)?.dev());
    }
    for (folder, options) in &blueprint.tmpfs {
        root.make(folder, true)?;
        tmpfs(folder, if options.is_empty() { "mode=0755" } else { options })?;
        root.own.insert(fs::metadata(folder)?.dev());
    }
    root.make(Path::new(STATE), true)?;
    attach(&state, Path::new(STATE))?;
    for (path, text) in &blueprint.files {
        root.file(path, text)?;
    }
    for bind in &binds {
        root.make(&bind.target, bind.folder)?;
        attach(&bind.tree, &bind.target)?;
        if bind.read_only {
            read_only(&bind.target)?;
        }
    }
    Ok(())
}

struct BindSource {
    tree: OwnedFd,
    target: PathBuf,
    folder: bool,
    read_only: bool,
}

/// A copy of a mount, with what is mounted below it, attached nowhere yet.
fn tree(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).with_context(|| format!("open {} to bind it", path.display()))
}

fn attach(tree: &OwnedFd, target: &Path) -> Result<()> {
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("bind to {}", target.display()))
}

/// A mount that came from the host keeps the flags it has; an ordinary user may only add to them.
fn read_only(target: &Path) -> Result<()> {
    let now = rustix::fs::statvfs(target)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (bit, flag) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (rustix::fs::StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (rustix::fs::StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (rustix::fs::StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if now.contains(bit) {
            flags |= flag;
        }
    }
    mount_remount(target, flags, c"").with_context(|| format!("{} read only", target.display()))
}

fn tmpfs(target: &Path, options: &str) -> Result<()> {
    let options = CString::new(options)?;
    mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, &*options)
        .with_context(|| format!("tmpfs on {}", target.display()))
}

/// The new root, still below `stage`; of the host's folders, or with a root of its own of that one's.
fn skeleton(stage: &Path, root: Option<&Path>, ordinary: bool) -> Result<()> {
    if let Some(root) = root {
        return own_skeleton(stage, root, ordinary);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir("/").context("read /")? {
        let entry = entry?;
        let name = entry.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            folders.push((name, None));
        } else if kind.is_dir() {
            // what even we may not see, the node does not get
            if let Ok(tree) = tree(&entry.path()) {
                folders.push((name, Some(tree)));
            }
        }
    }
    tmpfs(stage, "mode=0755")?;
    for (name, tree) in folders {
        let to = stage.join(&name);
        match tree {
            None => symlink(fs::read_link(Path::new("/").join(&name))?, to)?,
            Some(tree) => {
                fs::create_dir(&to)?;
                attach(&tree, &to)?;
            }
        }
    }
    for name in OWN {
        fs::create_dir(stage.join(name))?;
    }
    let layers = stage.join(&LAYERS[1..]);
    fs::create_dir(&layers)?;
    overlay(Path::new("/etc"), &stage.join("etc"), &layers.join("etc"), ordinary)?;
    tmpfs(&stage.join("run"), "mode=0755")?;
    tmpfs(&stage.join("tmp"), "mode=1777")?;
    kernel_files("proc", stage)?;
    kernel_files("sysfs", stage)
}

/// The new root of a node that brings its own: each of its folders below, a tmpfs above; only `/dev` is the host's.
fn own_skeleton(stage: &Path, root: &Path, ordinary: bool) -> Result<()> {
    const NEW: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
    // the stage may hide it
    let device = tree(Path::new("/dev"))?;
    let entries = fs::read_dir(root).with_context(|| format!("read {}", root.display()))?;
    let entries = entries.collect::<io::Result<Vec<_>>>()?;
    tmpfs(stage, "mode=0755")?;
    let layers = stage.join(&LAYERS[1..]);
    fs::create_dir(&layers)?;
    for name in NEW {
        fs::create_dir(stage.join(name))?;
    }
    for entry in entries {
        let name = entry.file_name();
        let (from, to) = (entry.path(), stage.join(&name));
        if NEW.iter().any(|new| name == *new) || name == LAYERS[1..] {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, to)?;
        } else if kind.is_dir() {
            fs::create_dir(&to)?;
            overlay(&from, &to, &layers.join(&name), ordinary)?;
        }
    }
    for name in ["etc", "root"] {
        if !stage.join(name).exists() {
            fs::create_dir(stage.join(name))?;
        }
    }
    attach(&device, &stage.join("dev"))?;
    tmpfs(&stage.join("run"), "mode=0755")?;
    tmpfs(&stage.join("tmp"), "mode=1777")?;
    kernel_files("proc", stage)?;
    kernel_files("sysfs", stage)
}

/// A new `/proc` or `/sys`; where the system forbids it (a container with parts of them masked), the old one.
fn kernel_files(kind: &str, stage: &Path) -> Result<()> {
    let name = if kind == "proc" { "proc" } else { "sys" };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount(kind, stage.join(name), kind, flags, None) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => attach(&tree(&Path::new("/").join(name))?, &stage.join(name)),
        Err(error) => Err(error).with_context(|| format!("mount a new /{name}")),
    }
}

fn overlay(lower: &Path, target: &Path, layers: &Path, ordinary: bool) -> Result<()> {
    if lower.to_string_lossy().contains([',', ':', '\\']) {
        bail!("{}: a folder that a node writes over has no comma, colon or backslash in its path", lower.display());
    }
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}{}",
        lower.display(),
        upper.display(),
        work.display(),
        if ordinary { ",userxattr" } else { "" }
    );
    let options = CString::new(options)?;
    mount("overlay", target, "overlay", MountFlags::empty(), &*options)
        .with_context(|| format!("overlay over {}: the kernel needs overlayfs", lower.display()))
}

/// Changes the root, and drops the old one with everything on it.
fn enter(stage: &Path) -> Result<()> {
    rustix::process::chdir(stage)?;
    rustix::process::pivot_root(".", ".").context("change the root")?;
    unmount(".", UnmountFlags::DETACH).context("leave the old root")?;
    rustix::process::chdir("/").context("enter the new root")
}

/// The root we are in, and which of its file systems are the node's own.
struct Root {
    own: BTreeSet<u64>,
    layers: usize,
    ordinary: bool,
}

impl Root {
    /// Makes a path as a mount point, with its parents, never on the host.
    fn make(&mut self, path: &Path, folder: bool) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let parent =
            path.ancestors().skip(1).find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("/")).to_owned();
        if !self.own.contains(&fs::metadata(&parent)?.dev()) {
            self.layers += 1;
            let layers = Path::new(LAYERS).join(format!("layer{}", self.layers));
            overlay(&parent, &parent, &layers, self.ordinary)?;
            self.own.insert(fs::metadata(&parent)?.dev());
        }
        let made = if folder {
            fs::create_dir_all(path)
        } else {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(path).map(drop))
        };
        made.with_context(|| format!("make {}", path.display()))
    }

    /// Puts a file of our own over whatever is there. (Writing into the overlay would need rights on the host's file.) Where nothing is,
    /// it is a plain file, which a command of the node may replace.
    fn file(&mut self, path: &Path, text: &str) -> Result<()> {
        let is_new = !path.exists();
        self.make(path, false)?;
        if !path.is_file() {
            bail!("{} is no file", path.display());
        }
        if is_new {
            return write(path, text);
        }
        self.layers += 1;
        let own = Path::new(LAYERS).join(format!("file{}", self.layers));
        write(&own, text)?;
        mount_bind(&own, path).with_context(|| format!("put a file at {}", path.display()))
    }
}

/// Writes a file; a script can be run.
fn write(path: &Path, text: &str) -> Result<()> {
    let written: io::Result<()> = fs::write(path, text).and_then(|()| {
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    });
    written.with_context(|| format!("write {}", path.display()))
}
