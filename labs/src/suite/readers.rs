//! The programs that read on machines what templates make for them: Debian's `ignition-validate` and cloud-init, unpacked beside the logs and
//! not installed, because their services would configure this machine.

use std::io;
use std::path::{Path, PathBuf};

use crate::count::{Outcome, libtest};
use crate::run::{Context, Log, find_program};

/// Ignition, cloud-init, and what its schema's reader needs: 7 MB.
const PACKAGES: [&str; 15] = [
    "ignition",
    "cloud-init",
    "python3-attr",
    "python3-certifi",
    "python3-chardet",
    "python3-configobj",
    "python3-idna",
    "python3-json-pointer",
    "python3-jsonpatch",
    "python3-jsonschema",
    "python3-pyrsistent",
    "python3-requests",
    "python3-six",
    "python3-urllib3",
    "python3-yaml",
];

/// What we call right they take, and what they refuse we refuse.
pub(crate) fn run(context: &Context, log: &Log) -> io::Result<Outcome> {
    let folder = context.log_path("readers").with_extension("d");
    let lacks = if fetched(context, log, &folder)? { None } else { Some("packages cannot be fetched here") };
    let mut command = context.cargo(&["test", "--workspace", "--locked", "--test", "readers", "--", "--show-output"]);
    command.env("WEFT_IGNITION_VALIDATE", folder.join("usr/bin/ignition-validate"));
    command.env("WEFT_CLOUD_INIT", folder.join("usr/lib/python3/dist-packages"));
    let before = log.text().len();
    let ended_well = log.run(&mut command)?;
    let mut outcome = libtest(log.text().get(before..).unwrap_or_default(), ended_well);
    if let Some(lacks) = lacks {
        outcome.add(&Outcome::skipped(format!("ignition-validate and cloud-init: {lacks}")));
    }
    Ok(outcome)
}

/// Whether they are in the folder; fetches them where that is possible.
fn fetched(context: &Context, log: &Log, folder: &Path) -> io::Result<bool> {
    let whole = folder.join("whole");
    if whole.is_file() {
        return Ok(true);
    }
    if find_program("apt-get").is_none() || find_program("dpkg").is_none() {
        return Ok(false);
    }
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    let mut download = context.command(Path::new("apt-get"), &[&["download"][..], &PACKAGES].concat());
    if !log.run(download.current_dir(folder))? {
        log.run(&mut context.command(Path::new("apt-get"), &["update"]))?;
        if !log.run(download.current_dir(folder))? {
            return Ok(false);
        }
    }
    let here: io::Result<Vec<PathBuf>> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    for package in here?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        let words = ["-x", &package.display().to_string(), &folder.display().to_string()];
        if !log.run(&mut context.command(Path::new("dpkg"), &words))? {
            return Ok(false);
        }
        std::fs::remove_file(package)?;
    }
    std::fs::write(whole, "")?;
    Ok(true)
}
