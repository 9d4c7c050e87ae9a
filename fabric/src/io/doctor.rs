//! The doctor's hands: reads settings below a root folder, and sets them.

use crate::api::Certificate;
use crate::config::{NodeConfig, RemoteConfig};
use crate::doctor::{self, Listener, Report, System};
use std::path::{Path, PathBuf};

/// A system below a folder: `/`, or a stand-in of the same shape.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// A system.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The file of a setting; an interface's name may have dots, which sysctl(8) writes as slashes.
    fn file(&self, name: &str) -> PathBuf {
        let parts: Vec<&str> = name.split('.').collect();
        let mut path = self.0.join("proc/sys");
        match parts[..] {
            // net.ipv4.conf.INTERFACE.setting
            ["net", family, "conf", ref link @ .., last] => {
                path.extend(["net", family, "conf"]);
                path.push(link.join("."));
                path.push(last);
            }
            _ => path.extend(parts),
        }
        path
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, name: &str, value: &str) -> std::io::Result<()> {
        // Never made: a file that is not there is a setting that this kernel does not have.
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).truncate(true).open(self.file(name))?;
        std::io::Write::write_all(&mut file, format!("{value}\n").as_bytes())
    }
}

impl System for Root {
    fn setting(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.file(name)).ok()
    }

    fn interfaces(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join("sys/class/net")) else {
            return Vec::new();
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn mtu(&self, interface: &str) -> Option<u32> {
        let path = self.0.join("sys/class/net").join(interface).join("mtu");
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    fn listeners(&self) -> Vec<Listener> {
        // The kernel is asked, which is that of no other root.
        if self.0 != Path::new("/") {
            return Vec::new();
        }
        super::netlink::listeners().unwrap_or_else(|error| {
            tracing::debug!(%error, "what listens cannot be seen");
            Vec::new()
        })
    }

    fn has_landlock(&self) -> Option<bool> {
        // Of this kernel alone.
        (self.0 == Path::new("/")).then(super::sandbox::has_landlock)
    }

    fn certificate(&self, remote: &RemoteConfig) -> Option<Result<Certificate, String>> {
        // The configuration names files of this system.
        (self.0 == Path::new("/")).then(|| super::http::remote::examine(remote))
    }
}

/// Examines, and with `fix` sets what can be set: what is left afterwards, and what was done or refused, a line each.
#[must_use]
pub fn run(config: &NodeConfig, root: &Root, fix: bool) -> (Report, Vec<String>) {
    let report = doctor::examine(config, root);
    if !fix {
        return (report, Vec::new());
    }
    let set = report.findings.iter().filter_map(|finding| Some((finding, finding.fix.as_ref()?)));
    let done = set.map(|(finding, value)| match root.set(&finding.subject, value) {
        Ok(()) => format!("set {} = {value} (was {})", finding.subject, finding.found),
        Err(error) => format!("cannot set {} = {value}: {}", finding.subject, super::sockopt::plain(&error)),
    });
    let done = done.collect();
    (doctor::examine(config, root), done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the shape of /, with a host's settings after installation.
    struct Stand(PathBuf);

    impl Drop for Stand {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Stand {
        fn new(test: &str) -> Self {
            let stand = Self(std::env::temp_dir().join(format!("weft-doctor-{test}-{}", std::process::id())));
            for (name, value) in [
                ("proc/sys/net/ipv4/ip_forward", "0"),
                ("proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024"),
                ("proc/sys/net/ipv4/conf/all/rp_filter", "1"),
                ("proc/sys/net/ipv4/conf/eth0.7/rp_filter", "1"),
                ("proc/sys/net/ipv6/conf/eth0.7/disable_ipv6", "1"),
                ("sys/class/net/eth0.7/mtu", "1500"),
            ] {
                let path = stand.0.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, format!("{value}\n")).unwrap();
            }
            stand
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap().trim().to_owned()
        }
    }

    #[test]
    fn what_a_namespace_cannot_set_is_set_below_another_root() {
        let stand = Stand::new("set");
        let text = "role: tor\nasn: 4200000010\naddresses: [10.69.255.1/32]\nuplinks: [eth0.7]\n";
        let config = crate::config::parse("t", text).unwrap().node().unwrap();
        let root = Root::new(&stand.0);
        let (before, done) = run(&config, &root, false);
        assert!(before.has_faults() && done.is_empty());
        let (after, done) = run(&config, &root, true);
        assert_eq!(after.findings, []);
        assert!(done.contains(&"set net.ipv4.ip_forward = 1 (was 0)".to_owned()), "{done:?}");
        assert_eq!(stand.read("proc/sys/net/ipv4/neigh/default/gc_thresh3"), "8192");
        assert_eq!(stand.read("proc/sys/net/ipv4/conf/eth0.7/rp_filter"), "2", "a name with a dot");
        assert_eq!(stand.read("proc/sys/net/ipv6/conf/eth0.7/disable_ipv6"), "0");
        assert!(!stand.0.join("proc/sys/net/ipv4/fib_multipath_hash_policy").exists(), "nothing new is made");
    }

    #[test]
    fn what_cannot_be_set_is_said_and_stays_found() {
        let stand = Stand::new("refused");
        let config = crate::config::parse("t", "role: tor\nasn: 7\naddresses: [10.69.255.1/32]\n").unwrap();
        let file = stand.0.join("proc/sys/net/ipv4/ip_forward");
        std::fs::remove_file(&file).unwrap();
        // Reading gives what is in the other file, writing goes nowhere: a folder cannot be written.
        std::fs::create_dir(&file).unwrap();
        assert!(Root::new(&stand.0).set("net.ipv4.ip_forward", "1").is_err());
        let (report, _) = run(&config.node().unwrap(), &Root::new(&stand.0), true);
        assert!(report.unseen.contains(&"net.ipv4.ip_forward".to_owned()));
    }
}
