//! What a daemon may do once it has started, and what it gave up: which capabilities, folders and commands a configuration needs, whether
//! another one needs more than was kept, and what the system says is in force. Pure: `io/sandbox` asks the system and tells it.
//!
//! ```text
//! configuration ──▶ Needs ──▶ (start) Granted, for good
//!                     └────── another configuration: beyond what was granted? then a restart is the remedy, not a reload
//! /proc/self/task/*/status ──▶ Facts ──▶ Sandbox: what is in force, and what is not although it was wanted
//! ```

use crate::config::{CheckConfig, NodeConfig, Probe, SandboxConfig, Trust};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// CAP_SETGID, CAP_SETUID and CAP_KILL (linux/capability.h): of the process that runs commands as others.
pub const RUNNER: Capabilities = Capabilities(1 << 5 | 1 << 6 | 1 << 7);
/// CAP_NET_BIND_SERVICE: TCP port 179, UDP port 67.
const NET_BIND_SERVICE: u64 = 1 << 10;
/// CAP_NET_ADMIN: routes, next hops, addresses, keys of TCP.
const NET_ADMIN: u64 = 1 << 12;
/// CAP_NET_RAW: router advertisements, LLDP, frames of DHCP clients.
const NET_RAW: u64 = 1 << 13;

/// Where programs and their libraries are, and what the system says of itself: may be read by all that it lets read them.
pub const SYSTEM: [&str; 13] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ssl",
    "/etc/pki",
    "/proc",
    "/sys",
];
/// `net.ipv4.nexthop_compat_mode` is one of these; and what is read and written as nothing.
pub const WRITTEN: [&str; 2] = ["/proc/sys/net", "/dev/null"];

/// The names of capabilities by their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, as the kernel numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Those that are not in the other set.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names: `NET_ADMIN`; a number where a newer kernel has one that we do not know.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let number = |bit: &usize| self.0 >> bit & 1 == 1;
        (0..64).filter(number).map(|bit| NAMES.get(bit).map_or_else(|| bit.to_string(), ToString::to_string)).collect()
    }
}

/// What may be done below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read what is there.
    Read,
    /// And make, change and remove it.
    Write,
}

/// A file that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// By which field.
    pub field: String,
    /// The file.
    pub file: PathBuf,
    /// What for.
    pub access: Access,
}

impl Place {
    fn new(field: impl Into<String>, file: &Path, access: Access) -> Self {
        Self { field: field.into(), file: file.to_owned(), access }
    }

    /// Its folder: editors and rotations put another file in its place.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }
}

/// What a configuration needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// In the kernel.
    pub capabilities: Capabilities,
    /// Of the file system.
    pub places: Vec<Place>,
    /// The field of the first check that runs a command.
    pub command: Option<String>,
    /// The field of the first thing that takes CAP_NET_RAW.
    raw: Option<String>,
}

impl Needs {
    /// Of a configuration, which is in `file`; `drains` is where drained things are remembered.
    #[must_use]
    pub fn of(config: &NodeConfig, file: &Path, drains: &Path) -> Self {
        let mut places = vec![
            Place::new("--config", file, Access::Read),
            Place::new("api.socket", &config.api.socket, Access::Write),
            Place::new("drain.file", drains, Access::Write),
        ];
        if let Some(remote) = &config.api.remote {
            for (field, file) in [("cert", &remote.cert), ("key", &remote.key), ("client_ca", &remote.client_ca)] {
                places.push(Place::new(format!("api.remote.{field}"), file, Access::Read));
            }
        }
        places.extend(config.mrt.iter().map(|dump| Place::new("mrt.updates", &dump.file, Access::Write)));
        places.extend(config.relay.iter().map(|relay| Place::new("dhcp.relay.file", &relay.file, Access::Write)));
        let key = |one: &crate::config::Protection| Place::new(one.field.clone(), one.method.file(), Access::Read);
        places.extend(config.protections.iter().map(key));
        let mut command = None;
        for vip in &config.vips {
            let CheckConfig::Probe(check) = &vip.check else {
                continue;
            };
            match &check.probe {
                Probe::Exec { .. } => {
                    command.get_or_insert_with(|| format!("vips.{}.check.exec", vip.name));
                }
                Probe::Http { tls: Some(tls), .. } => {
                    if let Trust::File(file) = &tls.trust {
                        places.push(Place::new(format!("vips.{}.check.ca_file", vip.name), file, Access::Read));
                    }
                }
                // Whether a file is there is no secret of the sandbox's: looking at its name opens nothing.
                Probe::Http { tls: None, .. } | Probe::Tcp(_) | Probe::File(_) => {}
            }
        }
        let raw = config.unnumbered_links().next().map(|link| format!("the unnumbered peer on {link}"));
        let raw = raw.or_else(|| config.cabling.keys().next().map(|peer| format!("peers.{peer}.expect_lldp")));
        let raw = raw.or_else(|| config.relay.as_ref().map(|_| "dhcp.relay".to_owned()));
        let capabilities = NET_BIND_SERVICE | NET_ADMIN | if raw.is_some() { NET_RAW } else { 0 };
        Self { capabilities: Capabilities(capabilities), places, command, raw }
    }
}

/// What a daemon kept at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The only capabilities that it can have; `None`: none were given up.
    #[serde(default)]
    pub capabilities: Option<Capabilities>,
    /// The only folders; `None`: all.
    #[serde(default)]
    pub folders: Option<Vec<(PathBuf, Access)>>,
    /// A process that runs commands was started.
    #[serde(default)]
    pub runner: bool,
    /// Some part is in force, so commands are not run by the daemon itself.
    #[serde(default)]
    pub is_on: bool,
    /// The group that was entered for the API's socket.
    #[serde(default)]
    pub group: Option<u32>,
}

impl Granted {
    /// Why a configuration cannot be put into force here: the first thing that it needs and that was not kept. `places` are its places
    /// with the folder of each as the system resolves it.
    #[must_use]
    pub fn lacks(&self, needs: &Needs, folder: impl Fn(&Place) -> PathBuf) -> Option<String> {
        let (lost, raw) = (self.capabilities.map(|kept| needs.capabilities.without(kept)), &needs.raw);
        if let (Some(lost), Some(raw)) = (lost.filter(|lost| !lost.is_empty()), raw) {
            return Some(format!("{raw} needs CAP_{}, which was given up at the start", lost.names().join(", CAP_")));
        }
        if let Some(field) = needs.command.as_ref().filter(|_| self.is_on && !self.runner) {
            return Some(format!("{field}: who runs commands is started with the daemon, which had none to run"));
        }
        let folders = self.folders.as_ref()?;
        let is_in = |place: &Place| {
            let folder = folder(place);
            let is_below = |within: &Path| folder.starts_with(within) || place.file == within;
            folders.iter().any(|(within, access)| *access >= place.access && is_below(within))
        };
        let outside = needs.places.iter().find(|place| !is_in(place))?;
        let file = outside.file.display();
        Some(format!("{}: {file} is in none of the folders that were known at the start (Landlock)", outside.field))
    }
}

/// What the system says of all threads of a process (proc_pid_status(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Threads looked at.
    pub threads: usize,
    /// Capabilities that any of them has, or could take again.
    pub capabilities: Capabilities,
    /// That a program could have which any of them executes.
    pub bounding: Capabilities,
    /// None can gain more by executing a program.
    pub no_new_privs: bool,
    /// All are filtered.
    pub seccomp: bool,
}

impl Facts {
    /// From the text of each thread's file.
    pub fn read<'a>(statuses: impl Iterator<Item = &'a str>) -> Self {
        let none = Capabilities::default();
        let start = Self { threads: 0, capabilities: none, bounding: none, no_new_privs: true, seccomp: true };
        statuses.fold(start, |all, status| {
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(str::trim).unwrap_or_default()
            };
            // What cannot be read is not believed to be gone.
            let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
            Self {
                threads: all.threads + 1,
                capabilities: Capabilities(all.capabilities.0 | set("CapEff") | set("CapPrm") | set("CapAmb")),
                bounding: Capabilities(all.bounding.0 | set("CapBnd")),
                no_new_privs: all.no_new_privs && field("NoNewPrivs") == "1",
                seccomp: all.seccomp && field("Seccomp") == "2",
            }
        })
    }
}

/// What is in force, as the API says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Capabilities that some thread has.
    pub capabilities: Vec<String>,
    /// Capabilities that a program could have which it executes.
    pub bounding: Vec<String>,
    /// Executing a program gains nothing.
    pub no_new_privs: bool,
    /// Files are restricted: one that the daemon has no business with could not be opened.
    pub landlock: bool,
    /// System calls are restricted.
    pub seccomp: bool,
    /// What is switched off in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
    /// What is wanted and not so, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Configurations refused because they need more than what was kept.
    #[serde(default)]
    pub refused: u64,
}

/// Compares what is wanted with what the system says. `landlock`: whether a file of nobody's business was refused; `failed`: what the
/// system said when something was to be put into force.
#[must_use]
pub fn judge(
    (wanted, granted): (&SandboxConfig, &Granted),
    facts: &Facts,
    landlock: bool,
    failed: &[String],
) -> Sandbox {
    let mut missing = failed.to_vec();
    let allowed = granted.capabilities.unwrap_or(Capabilities(NET_BIND_SERVICE | NET_ADMIN | NET_RAW));
    let (more, inherited) = (facts.capabilities.without(allowed), facts.bounding.without(allowed));
    if wanted.capabilities && !more.is_empty() {
        missing.push(format!("capabilities: it still has {}", shown(more)));
    } else if wanted.capabilities && !inherited.is_empty() && !facts.no_new_privs {
        missing.push(format!("capabilities: a program that it executes could have {}", shown(inherited)));
    }
    let is_said = |part: &str| failed.iter().any(|sentence| sentence.starts_with(part));
    if wanted.landlock && !landlock && !is_said("landlock") {
        missing.push("landlock: every file can be opened".to_owned());
    }
    if wanted.seccomp && !facts.seccomp && !is_said("seccomp") {
        missing.push("seccomp: not every thread is filtered".to_owned());
    }
    let parts = [("capabilities", wanted.capabilities), ("landlock", wanted.landlock), ("seccomp", wanted.seccomp)];
    Sandbox {
        capabilities: facts.capabilities.names(),
        bounding: facts.bounding.names(),
        no_new_privs: facts.no_new_privs,
        landlock,
        seccomp: facts.seccomp,
        off: parts.iter().filter(|(_, on)| !on).map(|(name, _)| (*name).to_owned()).collect(),
        missing,
        refused: 0,
    }
}

/// A few by name, many by their number.
fn shown(all: Capabilities) -> String {
    match all.names() {
        names if names.len() > 4 => format!("{} more than it needs", names.len()),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests;
