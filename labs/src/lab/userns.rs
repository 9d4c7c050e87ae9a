//! The rights a lab needs: root has them, anyone else gets them inside a user namespace of their own.
//!
//! Entering happens once, while the process still has a single thread. Where the system forbids it, the error says
//! which setting forbids it and how to change that.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use rustix::thread::CapabilitySet;

use super::namespace;

/// Settings that can forbid user namespaces, the value that does, and what allows them.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (AppArmor), or a profile that allows `userns`",
    ),
];

/// Makes sure that this process may make namespaces; answers whether it did so as an ordinary user.
///
/// # Errors
/// When the system forbids it; the text says what to enable.
pub fn ensure_rights() -> Result<bool> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_CHROOT;
    if rustix::thread::capabilities(None)?.effective.contains(needed) {
        return Ok(false);
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let forbidden = |error: &io::Error| anyhow!("{}", explain(error, &read_setting));
    namespace::unshare_user().map_err(|error| forbidden(&error))?;
    let map = |file: &str, text: &str| fs::write(Path::new("/proc/self").join(file), text);
    map("setgroups", "deny")
        .and_then(|()| map("uid_map", &format!("0 {uid} 1")))
        .and_then(|()| map("gid_map", &format!("0 {gid} 1")))
        .and_then(|()| namespace::can_unshare())
        .map_err(|error| forbidden(&error))?;
    if !rustix::thread::capabilities(None)?.effective.contains(needed) {
        bail!("{}", explain(&io::Error::from_raw_os_error(libc::EPERM), &read_setting));
    }
    Ok(true)
}

fn read_setting(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok().map(|text| text.trim().to_owned())
}

/// Why an ordinary user gets no namespaces, and what to enable.
fn explain(error: &io::Error, setting: &dyn Fn(&str) -> Option<String>) -> String {
    let mut text = format!("a lab needs namespaces, and the system refuses them to an ordinary user: {error}");
    let mut found = false;
    for (name, bad, remedy) in SETTINGS {
        if setting(name).as_deref() == Some(bad) {
            found = true;
            text.push_str(&format!("\n  {}={bad} forbids them; as root: {remedy}", name.replace('/', ".")));
        }
    }
    if !found {
        text.push_str(
            "\n  look for a container's seccomp profile, a security module or an exhausted user.max_user_namespaces \
             that forbids `unshare`",
        );
    }
    text.push_str("\n  or run the lab as root");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_is_named_with_its_remedy() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        let debian = explain(&denied, &|name| (name == SETTINGS[0].0).then(|| "0".to_owned()));
        assert!(debian.contains("kernel.unprivileged_userns_clone=0"), "{debian}");
        assert!(!debian.contains("AppArmor"), "{debian}");
        let ubuntu = explain(&denied, &|name| (name == SETTINGS[2].0).then(|| "1".to_owned()));
        assert!(ubuntu.contains("AppArmor"), "{ubuntu}");
        assert!(explain(&denied, &|_| None).contains("seccomp"));
    }
}
