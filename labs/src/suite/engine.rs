//! The image in a real container engine: built by Docker from its Dockerfile, and run as two routers that find each other.

use std::path::Path;
use std::{fs, io};

use crate::count::Outcome;
use crate::packages;
use crate::run::{Context, Log, find_program};

/// Debian's package of the engine; its service is not started.
const ENGINE: &str = "docker.io";
/// What is done with it.
const SCRIPT: &str = include_str!("engine.sh");
/// Seconds that all of it may take; on an idle machine it takes 13.
const LIMIT: &str = "300";

/// Builds the image from `built`, where the static program is, and runs it.
pub(crate) fn image(context: &Context, log: &Log, built: &Path) -> io::Result<Outcome> {
    let skipped = |why: &str| Ok(Outcome::skipped(format!("the image in a container engine: {why}")));
    if !rustix::process::geteuid().is_root() {
        return skipped("it needs root");
    }
    if find_program("dockerd").is_none() && find_program("apt-get").is_some() {
        packages::install_each(context, log, &[ENGINE])?;
    }
    if find_program("dockerd").is_none() {
        return skipped("no program `dockerd` (Debian: docker.io), and it could not be installed");
    }
    let name = format!("weft-suite-{}", std::process::id());
    // not below the build folder: a path of a socket has at most 107 bytes
    let folder = std::env::temp_dir().join(&name);
    fs::create_dir_all(&folder)?;
    let script = folder.join("engine.sh");
    fs::write(&script, SCRIPT)?;
    let mut command = context.command(
        Path::new("timeout"),
        &[
            "--kill-after=10",
            LIMIT,
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
        ],
    );
    command.arg(&script).arg(context.root.join("fabric/deploy/Dockerfile")).arg(built).arg(&folder).arg(&name);
    let held = log.run(&mut command)?;
    fs::remove_dir_all(&folder)?;
    Ok(Outcome::check(held, "two routers from the image do not find each other in a container engine"))
}
