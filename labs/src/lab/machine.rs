//! One running node: its first process, which holds the namespaces, and the daemons in it.
//!
//! Daemons are children of the runner, started from a thread inside the node: they end and start again without any link
//! or address going away. When the first process ends, the kernel ends everything in the node.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::runtime::Runtime;

use super::home::Process;
use super::namespace::{self, Enter};
use super::netlink::Netlink;
use super::plan::Plan;
use super::{init, stop_api};
use crate::personality::Personality;

/// A node that takes longer to make itself is broken.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long a daemon may take to say goodbye to its peers.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// After that, how long it may take to end when told so by a signal.
const TERM_LIMIT: Duration = Duration::from_secs(1);
/// Looks for the socket of a daemon that others need, and the time between two: five seconds in all.
const SOCKET_LOOKS: usize = 1_000;
const SOCKET_POLL: Duration = Duration::from_millis(5);
/// File with the output of a node's daemons, in the node's folder.
const LOG: &str = "daemon.log";
/// Lines shown of it when a daemon ended.
const TAIL: usize = 8;

/// A running node.
#[derive(Debug)]
pub struct Machine {
    name: String,
    personality: Personality,
    plan: Plan,
    init: Mutex<Child>,
    /// Its other end is the first process's reason to live.
    control: Mutex<Option<UnixStream>>,
    handle: OwnedFd,
    process: Process,
    netlink: Netlink,
    daemons: Mutex<Vec<Daemon>>,
    /// Seconds by which clocks of what starts here are off.
    clock_s: AtomicI64,
    missing: Vec<String>,
}

/// A daemon that was started, running or not.
#[derive(Debug)]
struct Daemon {
    program: String,
    child: Child,
    handle: OwnedFd,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handle_of(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Waits until a path is there, but not for ever: what does not come in time is missed by those that need it, and seen there.
#[expect(clippy::disallowed_methods, reason = "a bounded wait between looks")]
fn wait_for(path: &Path) {
    for _ in 0..SOCKET_LOOKS {
        if path.exists() {
            return;
        }
        std::thread::sleep(SOCKET_POLL);
    }
}

/// Waits until a process has ended.
fn ended(handle: BorrowedFd<'_>, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&limit)).is_ok_and(|count| count > 0)
}

impl Machine {
    /// Makes a node's namespaces and file system; nothing runs in it yet.
    pub(super) fn create(
        program: &Path,
        label: &str,
        name: &str,
        personality: Personality,
        plan: Plan,
        runtime: &Arc<Runtime>,
    ) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let words = [super::INIT_VERB.to_owned(), label.to_owned()];
        let mut child = namespace::spawn_first(program, &words, theirs.into()).context("start its first process")?;
        let ready = Self::blueprint(&ours, &plan);
        let missing = match ready {
            Ok(missing) => missing,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let handle = handle_of(child.id())?;
        let process = Process::of(child.id()).ok_or_else(|| anyhow!("its first process is gone"))?;
        let netlink = namespace::enter(handle.as_fd(), Enter::Network, || Netlink::open(runtime))?;
        Ok(Self {
            name: name.to_owned(),
            personality,
            plan,
            init: Mutex::new(child),
            control: Mutex::new(Some(ours)),
            handle,
            process,
            netlink,
            daemons: Mutex::new(Vec::new()),
            clock_s: AtomicI64::new(0),
            missing,
        })
    }

    fn blueprint(mut socket: &UnixStream, plan: &Plan) -> Result<Vec<String>> {
        let mut line = serde_json::to_vec(&plan.blueprint)?;
        line.push(b'\n');
        socket.write_all(&line)?;
        socket.set_read_timeout(Some(READY_LIMIT))?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).context("wait until it is ready")?;
        match answer.trim().strip_prefix(init::READY) {
            Some(missing) => Ok(missing.split_whitespace().map(str::to_owned).collect()),
            None if answer.is_empty() => bail!("its first process died"),
            None => bail!("{}", answer.trim()),
        }
    }

    /// Name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it runs.
    #[must_use]
    pub fn personality(&self) -> Personality {
        self.personality
    }

    /// What it was made from.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its first process.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process
    }

    /// Settings that the kernel does not have.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Its interfaces and addresses.
    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Does something on a thread inside the node's network namespace.
    pub(super) fn in_network<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        namespace::enter(self.handle.as_fd(), Enter::Network, work)
    }

    /// A descriptor of its network namespace.
    pub(super) fn network(&self) -> io::Result<OwnedFd> {
        std::fs::File::open(format!("/proc/{}/ns/net", self.process.pid)).map(OwnedFd::from)
    }

    /// The file with its daemons' output.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.plan.blueprint.state.join(LOG)
    }

    /// Starts every daemon that does not run.
    pub(super) fn start_daemons(&self) -> Result<()> {
        let mut daemons = locked(&self.daemons);
        for daemon in &self.plan.launch.daemons {
            let program = daemon.words.first().cloned().unwrap_or_default();
            if let Some(at) = daemons.iter().position(|daemon| daemon.program == program) {
                if matches!(daemons[at].child.try_wait(), Ok(None)) {
                    continue;
                }
                daemons.remove(at);
            }
            let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
            let mut command = self.command(&daemon.words);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
            let socket = daemon.socket.as_deref().map(|socket| self.seen(socket));
            // one that a killed daemon left behind answers nobody
            if let Some(socket) = &socket {
                let _ = std::fs::remove_file(socket);
            }
            let child = self.spawn(&mut command).with_context(|| explain_missing(&self.name, &program))?;
            let handle = handle_of(child.id())?;
            daemons.push(Daemon { program, child, handle });
            if let Some(socket) = &socket {
                wait_for(socket);
            }
        }
        Ok(())
    }

    /// A path of the node, as the host sees it.
    fn seen(&self, path: &Path) -> PathBuf {
        let root = Path::new("/proc").join(self.process.pid.to_string()).join("root");
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A command with the node's environment; to be started with [`Machine::spawn`].
    pub(super) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(words.first().map_or("", String::as_str));
        command.args(words.get(1..).unwrap_or_default()).env_clear().envs(&self.plan.environment).current_dir("/");
        if let Some((user, group)) = self.plan.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts a command inside the node.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        match self.clock_s.load(Ordering::Relaxed) {
            0 => {}
            seconds => namespace::own_clocks(command, seconds),
        }
        namespace::enter(self.handle.as_fd(), Enter::Node, || command.spawn())
    }

    /// Lets the clocks of what starts from now on be so many seconds off; 0 = right.
    pub(super) fn set_clock(&self, seconds: i64) -> io::Result<()> {
        if !Path::new("/proc/self/ns/time").exists() {
            return Err(io::Error::other(
                "this kernel has no time namespaces (CONFIG_TIME_NS): clocks are the machine's",
            ));
        }
        self.clock_s.store(seconds, Ordering::Relaxed);
        Ok(())
    }

    /// Lets the daemons, and what they started, stand still or go on.
    pub(super) fn pause_daemons(&self, pause: bool) -> io::Result<()> {
        let daemons = locked(&self.daemons);
        if daemons.is_empty() {
            return Err(io::Error::other(format!("no daemon runs in {}", self.name)));
        }
        for daemon in daemons.iter() {
            let group = i32::try_from(daemon.child.id()).ok().and_then(Pid::from_raw);
            let group = group.ok_or_else(|| io::Error::other("no process"))?;
            kill_process_group(group, if pause { Signal::STOP } else { Signal::CONT })?;
        }
        Ok(())
    }

    /// Kills every daemon at once.
    pub(super) fn kill_daemons(&self) -> io::Result<()> {
        let mut daemons = locked(&self.daemons);
        if daemons.is_empty() {
            return Err(io::Error::other(format!("no daemon runs in {}", self.name)));
        }
        for daemon in daemons.iter_mut() {
            let _ = daemon.child.kill();
        }
        for mut daemon in daemons.drain(..) {
            let _ = daemon.child.wait();
        }
        Ok(())
    }

    /// A daemon that ended although nobody killed it (a command of the file's may end well): which, how, and its last words.
    #[must_use]
    pub fn fallen(&self) -> Option<String> {
        let (program, status) = locked(&self.daemons)
            .iter_mut()
            .filter_map(|daemon| Some((daemon.program.clone(), daemon.child.try_wait().ok()??)))
            .find(|(_, status)| !(self.plan.own_command && status.success()))?;
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let mut text = format!("{}: {program} ended ({status})", self.name);
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            text.push_str(&format!("\n    {line}"));
        }
        Some(text)
    }

    /// `running`, `exited`, or `plain` when it has no daemon to run.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.plan.launch.daemons.is_empty() {
            return "running";
        }
        let mut daemons = locked(&self.daemons);
        let all = daemons.len() == self.plan.launch.daemons.len();
        let alive = daemons.iter_mut().all(|daemon| matches!(daemon.child.try_wait(), Ok(None)));
        if all && alive { "running" } else { "exited" }
    }

    /// Runs a command to its end, with its output.
    pub(super) fn run(&self, words: &[String]) -> io::Result<(ExitStatus, String)> {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.spawn(&mut command)?.wait_with_output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status, text))
    }

    /// Whether a command ends well in time; one that does not end is killed.
    pub(super) fn succeeds_within(&self, words: &[String], limit: Duration) -> bool {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let Ok(mut child) = self.spawn(&mut command) else { return false };
        let has_ended = handle_of(child.id()).is_ok_and(|handle| ended(handle.as_fd(), limit));
        if !has_ended && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // and with it what it started
            let _ = kill_process_group(group, Signal::KILL);
        }
        child.wait().is_ok_and(|status| has_ended && status.success())
    }

    /// Ends the daemons as a datacenter's owner would: sessions end with Cease, within a bound.
    pub(super) fn stop_daemons(&self) {
        // one that stands still hears nothing
        let _ = self.pause_daemons(false);
        let mut daemons = std::mem::take(&mut *locked(&self.daemons));
        if self.personality.runs_weft() && stop_api::stop(&self.plan.blueprint.state.join("weft.sock")).is_ok() {
            for daemon in &daemons {
                ended(daemon.handle.as_fd(), STOP_LIMIT);
            }
        }
        for daemon in &daemons {
            let _ = pidfd_send_signal(&daemon.handle, Signal::TERM);
        }
        for daemon in &mut daemons {
            ended(daemon.handle.as_fd(), TERM_LIMIT);
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
    }

    /// Ends everything in the node, and waits until it is gone.
    pub(super) fn destroy(&self) {
        // reap first: the kernel holds a process namespace's first process until all others are reaped
        for mut daemon in std::mem::take(&mut *locked(&self.daemons)) {
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
        drop(locked(&self.control).take());
        let mut init = locked(&self.init);
        let _ = init.kill();
        let _ = init.wait();
    }
}

fn explain_missing(node: &str, program: &str) -> String {
    let package = match program.rsplit('/').next().unwrap_or_default() {
        "bird" => " (Debian: apt install bird2)",
        "zebra" | "bgpd" => " (Debian: apt install frr)",
        "gobgpd" => " (Debian: apt install gobgpd)",
        _ => "",
    };
    format!("{node}: start {program}{package}")
}
