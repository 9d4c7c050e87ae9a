//! Installs distribution packages for the interop stage, without letting them start services.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use crate::run::{Context, Log};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages with apt: all at once, and when that does not work each for itself, because one that this distribution does not have
/// is no reason to go without the others. The log says which failed. Stages that run beside each other wait here for each other.
pub(crate) fn install_each(context: &Context, log: &Log, packages: &[&str]) -> io::Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().map_err(|_| io::Error::other("another stage died while it installed packages"))?;
    if packages.is_empty() || install(context, log, packages)? || packages.len() == 1 {
        return Ok(());
    }
    packages.iter().try_for_each(|package| install(context, log, &[package]).map(drop))
}

/// Installs packages with apt; false when that did not work (the log says why).
fn install(context: &Context, log: &Log, packages: &[&str]) -> io::Result<bool> {
    let _policy = NoServices::new()?;
    let apt = Path::new("apt-get");
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"];
    arguments.extend(packages);
    let mut command = context.command(apt, &arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    if log.run(&mut command)? {
        return Ok(true);
    }
    log.run(&mut context.command(apt, &["update"]))?;
    log.run(&mut command)
}

/// While it lives, `policy-rc.d` forbids service starts (exit code 101); what was there before comes back afterwards.
struct NoServices {
    before: Option<(Vec<u8>, u32)>,
}

impl NoServices {
    fn new() -> io::Result<Self> {
        let before = match std::fs::read(POLICY) {
            Ok(content) => Some((content, std::fs::metadata(POLICY)?.permissions().mode())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let guard = Self { before };
        write(b"#!/bin/sh\nexit 101\n", 0o755)?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let _ = match &self.before {
            Some((content, mode)) => write(content, *mode),
            None => std::fs::remove_file(POLICY),
        };
    }
}

fn write(content: &[u8], mode: u32) -> io::Result<()> {
    std::fs::write(POLICY, content)?;
    std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(mode))
}
