//! The daemon gives up what it does not need, before it has spoken to anybody: files (`files`, Landlock), system calls (`calls`,
//! seccomp), capabilities. The first two are inherited by every thread that is started later; capabilities are each thread's own and go
//! last, because priority in real time must be asked for before.
//!
//! ```text
//! read configuration and keys ─▶ start who runs commands ─▶ the socket's group ─▶ Landlock ─▶ seccomp ─▶ BFD's thread: SCHED_FIFO
//!                             ─▶ capabilities ─▶ begin
//! ```
//! All of it outlives execve(2), so a program that takes over (`weft upgrade`) neither can nor must do it again.

mod calls;
mod files;

use super::bfd;
use super::check::runner;
use crate::config::{NodeConfig, SandboxConfig};
use crate::sandbox::{self, Capabilities, Facts, Granted, Needs, Place};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, no_new_privs, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that a set of capabilities has room for.
const CAPABILITIES: u32 = 64;

/// What was given up.
#[derive(Debug)]
pub struct Sandbox {
    wanted: SandboxConfig,
    granted: Granted,
    failed: Vec<String>,
    refused: AtomicU64,
    _pinned: Option<OwnedFd>,
}

/// A daemon that may begin.
#[derive(Debug)]
pub struct Entered {
    /// What it gave up.
    pub sandbox: Sandbox,
    /// BFD's thread, which has its priority.
    pub thread: bfd::Thread,
    /// Who runs commands, where there are any to run.
    pub runner: Option<UnixStream>,
}

/// What a configuration needs here.
#[must_use]
pub fn needs(config: &NodeConfig, path: &Path) -> Needs {
    Needs::of(config, path, &super::drain::place(config))
}

/// Gives up what the configuration in `path` does not need, and enters the `group` of the API's socket. To be called before there are other
/// threads.
///
/// # Errors
/// When there can be no BFD thread, when the group cannot be entered, or when something fails that `sandbox.required` requires. What else
/// fails is in the log and in [`Sandbox::state`].
pub fn enter(config: &NodeConfig, path: &Path, group: Option<u32>) -> anyhow::Result<Entered> {
    let (wanted, needs) = (config.sandbox, needs(config, path));
    let mut failed = Vec::new();
    let mut granted = Granted { is_on: wanted.is_on(), group, ..Granted::default() };
    let runner = match needs.command.as_ref().filter(|_| wanted.is_on()).map(|_| runner::start(path)).transpose() {
        Ok(runner) => runner,
        Err(error) => {
            failed.push(format!("commands: nobody can run them: {error}"));
            None
        }
    };
    granted.runner = runner.is_some();
    // Who runs commands is not in it.
    group.map_or(Ok(()), super::group::enter).map_err(anyhow::Error::msg)?;
    if wanted.is_on()
        && let Err(error) = set_no_new_privs(true)
    {
        failed.push(format!("no_new_privs: {error}"));
    }
    let pinned = files::pin();
    if wanted.landlock {
        match files::restrict(&needs) {
            Ok(folders) => granted.folders = Some(folders),
            Err(error) => failed.push(format!("landlock: {error}")),
        }
    }
    if wanted.seccomp
        && let Err(error) = calls::restrict()
    {
        failed.push(format!("seccomp: {error}"));
    }
    let kept = wanted.capabilities.then_some(needs.capabilities);
    let thread = bfd::Thread::prepare(move || {
        // The main thread says what fails.
        let _ = kept.map(keep_only);
    })?;
    if let Some(kept) = kept {
        if let Err(error) = keep_only(kept) {
            failed.push(format!("capabilities: {error}"));
        }
        granted.capabilities = Some(kept);
    }
    let sandbox = Sandbox { wanted, granted, failed, refused: AtomicU64::new(0), _pinned: pinned };
    sandbox.say()?;
    Ok(Entered { sandbox, thread, runner })
}

/// Leaves this thread no other capabilities than these, and none to programs that it executes.
///
/// # Errors
/// What the system says. Without CAP_SETPCAP the bounding set stays, which matters only to root, and only without no_new_privs.
pub(super) fn keep_only(kept: Capabilities) -> io::Result<()> {
    let kept = CapabilitySet::from_bits_retain(kept.0);
    let mut bounding = Ok(());
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // What the kernel does not know is in no set.
        if !kept.contains(one) && capability_is_in_bounding_set(one).unwrap_or(false) {
            let removed = remove_capability_from_bounding_set(one);
            bounding = bounding.and(removed);
        }
    }
    // A kernel before 4.3 has no such set.
    let _ = clear_ambient_capability_set();
    let left = capabilities(None)?.permitted & kept;
    set_capabilities(None, CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() })?;
    let matters = rustix::process::geteuid().is_root() && !no_new_privs().unwrap_or(false);
    if matters { Ok(bounding?) } else { Ok(()) }
}

/// Lets the program that this thread is about to become have what this one has. Root has it anyway (capabilities(7)).
pub(super) fn pass_on() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    if let Ok(sets) = capabilities(None) {
        // What cannot be passed on is missed by the new program, which says so.
        let _ = set_capabilities(None, CapabilitySets { inheritable: sets.permitted, ..sets });
        for one in sets.permitted.iter() {
            let _ = configure_capability_in_ambient_set(one, true);
        }
    }
}

impl Sandbox {
    /// That of the program before, which this one cannot leave.
    #[must_use]
    pub fn inherited(wanted: SandboxConfig, granted: Granted) -> Self {
        Self { wanted, granted, failed: Vec::new(), refused: AtomicU64::new(0), _pinned: files::pin() }
    }

    /// The group that was entered for the API's socket.
    #[must_use]
    pub const fn group(&self) -> Option<u32> {
        self.granted.group
    }

    /// What a program that takes over must know.
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.granted.clone()
    }

    /// Whether a configuration could run here; counts those that could not.
    ///
    /// # Errors
    /// What it needs and cannot have, as a sentence.
    pub fn admit(&self, config: &NodeConfig, path: &Path) -> Result<(), String> {
        let lacking = if config.sandbox == self.wanted {
            self.granted.lacks(&needs(config, path), folder)
        } else {
            Some("`sandbox` changed".to_owned())
        };
        match lacking {
            None => Ok(()),
            Some(lacking) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(lacking)
            }
        }
    }

    /// What is in force, as the system says it now.
    #[must_use]
    pub fn state(&self) -> sandbox::Sandbox {
        let statuses = statuses();
        let facts = Facts::read(statuses.iter().map(String::as_str));
        let judged = sandbox::judge((&self.wanted, &self.granted), &facts, files::is_restricted(), &self.failed);
        sandbox::Sandbox { refused: self.refused.load(Ordering::Relaxed), ..judged }
    }

    /// One line for the log; what is missing is one line each.
    fn say(&self) -> anyhow::Result<()> {
        let state = self.state();
        for missing in &state.missing {
            let remedy =
                "`weft show version` says what is in force; `sandbox` in the configuration switches a part off";
            tracing::warn!(remedy, "not given up: {missing}");
        }
        if self.wanted.required && !state.missing.is_empty() {
            anyhow::bail!(
                "{}\n  remedy: `sandbox: {{required: true}}` is in the configuration; run on a system that can, or leave it out",
                state.missing.join("; ")
            );
        }
        let (capabilities, landlock, seccomp) = (state.capabilities.join(" "), state.landlock, state.seccomp);
        tracing::info!(capabilities, landlock, seccomp, "what is not needed was given up");
        Ok(())
    }
}

/// Whether this kernel can restrict which files are opened.
#[must_use]
pub fn has_landlock() -> bool {
    files::is_supported()
}

/// The folder of a place as the system resolves it; as written where it is not there.
fn folder(place: &Place) -> PathBuf {
    place.folder().canonicalize().unwrap_or_else(|_| place.folder().to_owned())
}

/// What the system says of each thread.
fn statuses() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    // A thread that ends meanwhile has nothing to say.
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).collect()
}
