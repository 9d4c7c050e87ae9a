//! The stages of the boot servers' inventory: `weft-netboot` as its users ask it, and its two kinds of store, with a real etcd.

use std::io;

use crate::count::{Outcome, libtest};
use crate::inventory;
use crate::packages;
use crate::run::{Context, Log, find_program};
use crate::stages::test;

/// Debian's package of etcd; its service is not started.
const ETCD: &str = "etcd-server";

/// The real server: over its socket and with certificates, killed, without room on its disk; and three of them in a fabric.
pub(crate) fn inventory(context: &Context) -> io::Result<Outcome> {
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
    let is_root = rustix::process::geteuid().is_root();
    if find_program("etcd").is_none() && is_root && find_program("apt-get").is_some() {
        packages::install_each(context, log, &[ETCD])?;
    }
    Ok(find_program("etcd").is_some())
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
