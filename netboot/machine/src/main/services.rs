//! The processes that run beside the first one: the routing daemon, which is started again when it ends, and a shell for who said
//! `weft.shell` on the command line of the kernel. Whoever else ends is the first process's too, and is buried here.

use super::{say, system};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the dead are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait before a process is started again; the first one is a second.
const AGAIN_MAX: Duration = Duration::from_secs(32);
/// A process that lived so long begins with the shortest wait again.
const LIVED: Duration = Duration::from_secs(60);
/// Longest wait for them to end.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Ends of the routing daemon without having lived: then the machine starts over.
const ENDS_MAX: u32 = 12;
/// The shell, if it is packed.
const SHELL: &str = "/bin/busybox";

/// All of them.
#[derive(Debug)]
pub(super) struct Services {
    flags: Arc<Flags>,
}

/// What the first process and the one who keeps the others say to each other.
#[derive(Debug, Default)]
struct Flags {
    /// One cannot be kept alive.
    lost: AtomicBool,
    /// They are to end.
    ends: AtomicBool,
    /// They have.
    gone: AtomicBool,
}

/// One of them.
struct Service {
    name: &'static str,
    command: fn() -> Command,
    pid: Option<Pid>,
    started: Instant,
    /// When to start it; the past = at once.
    due: Instant,
    wait: Duration,
    ends: u32,
}

impl Services {
    /// Starts them.
    pub(super) fn start(has_daemon: bool) -> Self {
        let mut all = Vec::new();
        if has_daemon {
            all.push(Service::new("weft daemon", system::daemon));
        }
        let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        if line.split_whitespace().any(|word| word == "weft.shell") && std::path::Path::new(SHELL).exists() {
            all.push(Service::new("shell", shell));
        }
        let flags = Arc::new(Flags::default());
        let shared = flags.clone();
        std::thread::spawn(move || keep(&mut all, &shared));
        Self { flags }
    }

    /// Stays as long as all goes well.
    ///
    /// # Errors
    /// When a process cannot be kept alive.
    pub(super) fn hold<T>(&self) -> Result<T, String> {
        while !self.flags.lost.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_EVERY);
        }
        Err(format!("the routing daemon ended {ENDS_MAX} times"))
    }

    /// Ends them all: the routing daemon as for a restart, so that routes stay.
    pub(super) fn end(&self) {
        let began = Instant::now();
        self.flags.ends.store(true, Ordering::Relaxed);
        while !self.flags.gone.load(Ordering::Relaxed) && began.elapsed() < END_WITHIN {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn shell() -> Command {
    let mut command = Command::new(SHELL);
    command.arg("sh");
    command
}

fn keep(all: &mut [Service], flags: &Flags) {
    let mut told = false;
    loop {
        let ends = flags.ends.load(Ordering::Relaxed);
        if ends && !told {
            told = true;
            for pid in all.iter().filter_map(|service| service.pid) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        if ends && all.iter().all(|service| service.pid.is_none()) {
            return flags.gone.store(true, Ordering::Relaxed);
        }
        for service in all.iter_mut().filter(|service| !ends && service.pid.is_none() && service.due <= Instant::now())
        {
            service.begin();
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(service) = all.iter_mut().find(|service| service.pid == Some(pid)) {
                let how = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("code {code}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => "no reason".to_owned(),
                };
                if ends {
                    service.pid = None;
                } else {
                    service.ended(&how);
                }
            }
        }
        if all.iter().any(|service| service.ends >= ENDS_MAX) {
            flags.lost.store(true, Ordering::Relaxed);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Service {
    fn new(name: &'static str, command: fn() -> Command) -> Self {
        let now = Instant::now();
        Self { name, command, pid: None, started: now, due: now, wait: Duration::from_secs(1), ends: 0 }
    }

    fn begin(&mut self) {
        self.started = Instant::now();
        match (self.command)().spawn() {
            Ok(child) => self.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw),
            Err(error) => self.ended(&error.to_string()),
        }
    }

    fn ended(&mut self, how: &str) {
        self.pid = None;
        (self.wait, self.ends) = match self.started.elapsed() >= LIVED {
            true => (Duration::from_secs(1), 1),
            false => ((self.wait * 2).min(AGAIN_MAX), self.ends + 1),
        };
        self.due = Instant::now() + self.wait;
        say(&format!("{} ended with {how}: started again in {} s", self.name, self.wait.as_secs()));
    }
}
