//! The kernel: file systems, modules, settings, the name, the end.

use super::say;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;
use std::path::Path;
use std::process::Command;
use weft_machine::orders::MODULES;

/// What is mounted where, in this order.
const MOUNTS: [(&str, &str); 4] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")];
/// Settings of the kernel that routing needs, before links are up: link-local addresses at once (duplicate address detection takes more than
/// a second, and a cable has two ends), and equal paths by ports too.
const SETTINGS: [(&str, &str); 5] = [
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv4/fib_multipath_hash_policy", "1"),
    ("net/ipv6/fib_multipath_hash_policy", "1"),
];

/// Seconds since the kernel started, as it writes them.
pub(super) fn uptime() -> String {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Mounts what every process needs, and takes the console.
pub(super) fn mounts() -> Result<(), String> {
    for (kind, at) in MOUNTS {
        let _ = std::fs::create_dir_all(at);
        mount(kind, at, kind, MountFlags::empty(), None::<&CStr>).map_err(|error| format!("{at}: {error}"))?;
    }
    std::fs::create_dir_all("/run/weft").map_err(|error| format!("/run/weft: {error}"))?;
    // The kernel opened one before `/dev` was there, if the archive had it.
    if let Ok(console) = open("/dev/console", OFlags::RDWR | OFlags::NOCTTY, Mode::empty()) {
        let taken = rustix::stdio::dup2_stdin(&console).and_then(|()| rustix::stdio::dup2_stdout(&console));
        taken.and_then(|()| rustix::stdio::dup2_stderr(&console)).map_err(|error| format!("/dev/console: {error}"))?;
    }
    Ok(())
}

/// Loads the modules of the list. One that does not load is said: it may be the driver of a card that is not there.
pub(super) fn modules() {
    let list = std::fs::read_to_string(MODULES).unwrap_or_default();
    let folder = Path::new(MODULES).parent().unwrap_or_else(|| Path::new("/"));
    let mut loaded = 0_u32;
    for name in list.lines().filter(|name| !name.is_empty()) {
        let file = open(folder.join(name), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        match file.and_then(|file| rustix::system::finit_module(&file, c"", 0)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => loaded += 1,
            Err(error) => say(&format!("module {name}: {error}")),
        }
    }
    say(&format!("{loaded} modules are loaded"));
}

/// Sets what routing needs.
pub(super) fn settings() {
    for (name, value) in SETTINGS {
        if let Err(error) = std::fs::write(Path::new("/proc/sys").join(name), value) {
            say(&format!("{name}: {error}"));
        }
    }
}

/// Names the machine.
pub(super) fn hostname(name: &str) {
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        say(&format!("its name {name}: {error}"));
    }
}

/// Starts the machine over.
pub(super) fn reboot() {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::Restart) {
        say(&format!("it does not start over: {error}"));
    }
}

/// The routing daemon, as a command.
pub(super) fn daemon() -> Command {
    let mut command = Command::new("/usr/bin/weft");
    command.args(["daemon", "--config", weft_machine::orders::CONFIG]).env("NO_COLOR", "1");
    command
}
