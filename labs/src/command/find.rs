//! Finds topology files by name, and the programs of weft's own nodes, which it builds when a checkout's sources are newer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, bail};

use crate::lab::progress::Progress;

/// Started when no file is named.
const DEFAULT: &str = "two-racks";

/// A program of weft's.
#[derive(Debug)]
pub(super) struct Program {
    /// Its file, and what cargo calls it.
    name: &'static str,
    package: &'static str,
    /// Files and folders that it is built from.
    sources: &'static [&'static str],
}

/// The routing daemon.
pub(super) const WEFT: Program = Program {
    name: "weft",
    package: "weft-fabric",
    sources: &["bgp/src", "fabric/src", "bgp/Cargo.toml", "fabric/Cargo.toml"],
};

/// The inventory of a boot server.
pub(super) const NETBOOT: Program =
    Program { name: "weft-netboot", package: "weft-netboot", sources: &["netboot/src", "netboot/Cargo.toml"] };

/// Standard input in the place of a topology file.
pub(super) const STDIN: &str = "-";

/// A topology file: a path, `-`, or the name of one of ours.
pub(super) fn topology(file: Option<&str>) -> Result<PathBuf> {
    let name = file.unwrap_or(DEFAULT);
    if name == STDIN || Path::new(name).is_file() {
        return Ok(name.into());
    }
    let mut folders = vec![PathBuf::from("labs/topologies"), PathBuf::from("topologies")];
    folders.extend(checkout().map(|root| root.join("labs/topologies")));
    folders.extend(beside("topologies"));
    for folder in &folders {
        let path = folder.join(format!("{name}.clab.yml"));
        if path.is_file() {
            return Ok(path);
        }
    }
    let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    bail!("there is no file `{name}`, and no `{name}.clab.yml` in {}", looked.join(", "))
}

/// A program for the nodes: beside the `weft` that was given, or beside this program and no older than its sources.
pub(super) fn program(wanted: &Program, given: Option<&Path>, progress: &Progress) -> Result<PathBuf> {
    if let Some(weft) = given {
        let path = if wanted.name == WEFT.name { weft.to_owned() } else { weft.with_file_name(wanted.name) };
        return fs::canonicalize(&path).with_context(|| format!("--weft {}: {}", weft.display(), path.display()));
    }
    let program = beside(wanted.name).context("where is this program?")?;
    let root = checkout();
    let built = modified(&program);
    let newest = root.as_deref().and_then(|root| newest_source(root, wanted.sources));
    match (built, newest, root) {
        (Some(built), Some(newest), Some(root)) if newest > built => {
            // old is better than none, where nothing can be built
            build(wanted, &root, &program, progress).or_else(|error| {
                progress.say(&format!("using a `{}` older than its sources: {error:#}", wanted.name));
                Ok(program)
            })
        }
        (Some(_), _, _) => Ok(program),
        (None, _, Some(root)) => build(wanted, &root, &program, progress),
        (None, _, None) => {
            bail!("there is no `{}` beside {}: name `weft` with --weft PATH", wanted.name, program.display())
        }
    }
}

/// A file in the folder of this program.
fn beside(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(name))
}

/// The checkout this program was built in.
fn checkout() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let is_root =
        |folder: &&Path| folder.join("labs/Cargo.toml").is_file() && folder.join("fabric/Cargo.toml").is_file();
    let found = program.ancestors().find(is_root).map(Path::to_owned);
    found.or_else(|| manifest.as_deref()?.ancestors().find(is_root).map(Path::to_owned))
}

/// Modification time in nanoseconds since 1970.
fn modified(path: &Path) -> Option<u128> {
    let time = fs::metadata(path).ok()?.modified().ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_nanos())
}

fn newest_source(root: &Path, sources: &[&str]) -> Option<u128> {
    let mut queue: Vec<PathBuf> = sources.iter().map(|name| root.join(name)).collect();
    queue.push(root.join("Cargo.lock"));
    let mut newest = None;
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(fs::read_dir(&path).ok()?.flatten().map(|entry| entry.path()));
        } else {
            newest = newest.max(modified(&path));
        }
    }
    newest
}

fn build(wanted: &Program, root: &Path, program: &Path, progress: &Progress) -> Result<PathBuf> {
    progress.say(&format!("building {}", wanted.name));
    // cargo names the folder after the profile, but for `dev`
    let folder = program.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("release");
    let profile = if folder == "debug" { "dev" } else { folder };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "-p", wanted.package, "--bin", wanted.name, "--profile", profile]);
    command.current_dir(root).stdin(Stdio::null());
    if let Some(target) = program.parent().and_then(Path::parent) {
        command.env("CARGO_TARGET_DIR", target);
    }
    // set by `cargo run` for this program's own package
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    let status = command.status().context("cannot run cargo; build weft yourself and name it with --weft PATH")?;
    if !status.success() || !program.is_file() {
        bail!("`cargo build -p {}` fails ({status})", wanted.package);
    }
    // cargo leaves a program alone whose inputs did not change; its age must not ask for a build again
    let _ = fs::File::options().append(true).open(program).and_then(|file| file.set_modified(now()));
    Ok(program.to_owned())
}

#[expect(clippy::disallowed_types, reason = "compares ages of files")]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
