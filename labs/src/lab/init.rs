//! A node's first process: makes the namespaces and the file system, says so, and then only holds them.
//!
//! It talks to the runner over its standard input, a socket: one line with the blueprint in, one line `ready` or an
//! error out. When the runner's end closes, however that came about, it ends, and with a process namespace's first
//! process the kernel kills everything in it. It reaps orphans by ignoring SIGCHLD, and does nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};

use super::plan::{Blueprint, Need};
use super::{namespace, root};

/// Answer of a node that is ready.
pub(super) const READY: &str = "ready";

/// Runs the hidden verb.
///
/// # Errors
/// When standard input is no socket of a runner.
pub fn run() -> Result<()> {
    let socket = std::io::stdin();
    let mut socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(&socket, 3)?);
    let mut line = String::new();
    BufReader::new(socket.try_clone()?).read_line(&mut line).context("read the blueprint")?;
    let answer = match serde_json::from_str(&line).context("the blueprint").and_then(|blueprint| make(&blueprint)) {
        Ok(missing) => format!("{READY} {}\n", missing.join(" ")),
        Err(error) => format!("{error:#}\n"),
    };
    socket.write_all(answer.as_bytes())?;
    // nothing more is ever sent: this returns when the runner is gone
    let _ = socket.read(&mut [0]);
    Ok(())
}

/// Makes the node; answers settings that this kernel does not have.
fn make(blueprint: &Blueprint) -> Result<Vec<String>> {
    namespace::ignore_children();
    if let Some(network) = &blueprint.network {
        namespace::join_network(network).context("use another node's network")?;
    }
    namespace::unshare_node(blueprint.network.is_none()).context("new namespaces")?;
    rustix::system::sethostname(blueprint.hostname.as_bytes()).context("set the host name")?;
    let mut missing = Vec::new();
    for (key, value, need) in &blueprint.sysctls {
        match set_sysctl(key, value) {
            Ok(()) => {}
            Err(_) if *need == Need::May => missing.push(key.clone()),
            Err(error) => return Err(error).with_context(|| format!("set {key}={value}")),
        }
    }
    root::build(blueprint)?;
    Ok(missing)
}

/// Writes one setting of the caller's network namespace.
pub(super) fn set_sysctl(key: &str, value: &str) -> std::io::Result<()> {
    std::fs::write(format!("/proc/sys/{}", key.replace('.', "/")), value)
}
