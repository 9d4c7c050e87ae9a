//! The stages of the boot servers' inventory: `weft-netboot` as its users ask it, and its two kinds of store, with a real etcd.

use std::io;

use crate::count::{Outcome, libtest};
use crate::inventory;
use crate::packages;
use crate::run::{Context, Log, find_program};
use crate::stages::test;

/// Program and Debian's package of it; its service is not started.
const ETCD: (&str, &str) = ("etcd", "etcd-server");
/// A management controller and a client of IPMI that are not ours.
const IPMI: [(&str, &str); 2] = [("ipmi_sim", "openipmi"), ("ipmitool", "ipmitool")];

/// The real server: over its socket and with certificates, killed, without room on its disk; and three of them in a fabric.
pub(crate) fn inventory(context: &Context) -> io::Result<Outcome> {
    // A test says what it skips for want of these.
    install_missing(context, &context.log("inventory")?, &IPMI)?;
    let mut outcome = test(context, "inventory", &["--test", "serve"])?;
    let log = context.more_log("inventory");
    if has_etcd(context, &log)? {
        outcome.add(&inventory::lab(context, &log)?);
    } else {
        outcome.add(&Outcome::skipped(format!("three boot servers: {NO_ETCD}")));
    }
    Ok(outcome)
}

/// Said where it is needed and not there.
const NO_ETCD: &str = "no program `etcd` (Debian: etcd-server), and it could not be installed";

/// Whether there is an etcd; installs it where that is possible.
fn has_etcd(context: &Context, log: &Log) -> io::Result<bool> {
    install_missing(context, log, &[ETCD])?;
    Ok(find_program(ETCD.0).is_some())
}

/// Installs the packages of programs that are not there, where that is possible.
fn install_missing(context: &Context, log: &Log, programs: &[(&str, &str)]) -> io::Result<()> {
    let lacks = programs.iter().filter(|(program, _)| find_program(program).is_none());
    let packages: Vec<&str> = lacks.map(|(_, package)| *package).collect();
    if packages.is_empty() || !rustix::process::geteuid().is_root() || find_program("apt-get").is_none() {
        return Ok(());
    }
    packages::install_each(context, log, &packages)
}

/// One contract on both stores.
pub(crate) fn store(context: &Context) -> io::Result<Outcome> {
    let log = context.log("store")?;
    let mut words = vec!["test", "--workspace", "--locked", "--no-fail-fast", "--test", "store"];
    let etcd = has_etcd(context, &log)?;
    if etcd {
        words.extend(["--test", "etcd"]);
    }
    words.extend(["--", "--show-output"]);
    let ended_well = log.run(&mut context.cargo(&words))?;
    let mut outcome = libtest(&log.text(), ended_well);
    if !etcd {
        outcome.add(&Outcome::skipped(format!("the store in etcd: {NO_ETCD}")));
    }
    Ok(outcome)
}
