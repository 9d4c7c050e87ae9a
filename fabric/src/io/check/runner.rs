//! Who runs the commands of health checks. The daemon gives up the right to become somebody else, and may open few files; a command is to
//! run as its own user, with the files that this one may open. So a process that is started before the daemon gives all that up runs
//! commands for it: those, and as those, that the configuration file names, and no others, whatever it is asked. It holds CAP_SETUID,
//! CAP_SETGID and CAP_KILL; what it executes holds nothing.
//!
//! ```text
//! daemon ── {"id": 7, "command": ["/bin/check"], "user": "nobody", "limit_ms": 1000} ──▶ weft-checks ── fork, setuid, exec ──▶ command
//!        ◀── {"id": 7, "error": "/bin/check: exit code 1"} ──
//! ```
//! One line each way, over a unix stream. It ends when the daemon's end is closed; a program that takes over goes on with it.

use super::exec;
use crate::config::{self, CheckConfig, Probe};
use crate::sandbox::{Capabilities, RUNNER};
use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits, set_no_new_privs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use weft_bgp::time::Duration;

/// Questions that wait to be written, answers, and commands at a time; the daemon asks for eight.
const WAITING: usize = 16;
/// Questions without an answer yet: those that the daemon no longer waits for are among them, for no longer than their own limit.
const OPEN: usize = 256;
/// Octets of a line: a command of a configuration is far shorter, a reason is cut.
const LINE_BYTES: usize = 64 << 10;
/// Commands that the file has named since the start: beyond, the oldest are forgotten until they are asked for.
const KNOWN: usize = 4_096;
/// What the process is called, for whoever lists processes.
const NAME: &std::ffi::CStr = c"weft-checks";

/// A command that is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    id: u64,
    command: Vec<String>,
    user: String,
    limit_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reply {
    id: u64,
    error: Option<String>,
}

type Outcome = Result<(), String>;

/// What the other end says, line by line.
#[derive(Debug)]
struct Lines {
    from: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Lines {
    fn of(from: OwnedReadHalf) -> Self {
        Self { from: BufReader::new(from), line: Vec::new() }
    }

    /// The next one; none when the other end is gone, or says too much. What was read before this was dropped is kept.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let room = u64::try_from(LINE_BYTES.saturating_sub(self.line.len())).ok()?;
            if (&mut self.from).take(room).read_until(b'\n', &mut self.line).await.ok()? == 0 {
                return None;
            }
            if self.line.ends_with(b"\n") {
                return Some(std::mem::take(&mut self.line));
            }
        }
    }
}

/// Starts it; the daemon's end.
///
/// # Errors
/// What the system says.
pub fn start(config: &Path) -> io::Result<UnixStream> {
    let (near, far) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("weft-checks").args(["daemon", "--resume", "checks", "--config"]).arg(config);
    // A child of its own that nobody waits for: it ends when the daemon does, or leaves its place in the table until then.
    command.stdin(Stdio::from(OwnedFd::from(far))).stdout(Stdio::null()).spawn().map(drop)?;
    Ok(near)
}

/// The daemon's side.
#[derive(Clone, Debug)]
pub(super) struct Runner(mpsc::Sender<(Question, oneshot::Sender<Outcome>)>);

impl Runner {
    /// Speaks to it from now on. Call it within the runtime.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
        let (asks, asked) = mpsc::channel(WAITING);
        tokio::spawn(speak(Lines::of(read), write, asked));
        Ok(Self(asks))
    }

    /// Has a command run.
    pub(super) async fn run(&self, command: &[String], user: &str, limit: Duration) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let question = Question { id: 0, command: command.to_vec(), user: user.to_owned(), limit_ms };
        let gone = || "the process that runs commands has ended: restart the daemon".to_owned();
        self.0.send((question, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Writes questions and hands out answers, until either end is gone.
async fn speak(
    mut lines: Lines,
    mut write: OwnedWriteHalf,
    mut asked: mpsc::Receiver<(Question, oneshot::Sender<Outcome>)>,
) {
    let mut open: BTreeMap<u64, oneshot::Sender<Outcome>> = BTreeMap::new();
    // An answer to the program before must not be taken for one to this.
    let mut id = crate::io::clock::seed();
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(line) = line else { return };
                // Half a line that the program before had read is nobody's.
                let Ok(Reply { id, error }) = serde_json::from_slice(&line) else { continue };
                if let Some(reply) = open.remove(&id) {
                    // Whose time was over does not miss it.
                    let _ = reply.send(error.map_or(Ok(()), Err));
                }
            }
            ask = asked.recv() => {
                let Some((question, reply)) = ask else { return };
                if open.len() >= OPEN {
                    let _ = reply.send(Err("the process that runs commands does not answer".to_owned()));
                    continue;
                }
                id = id.wrapping_add(1);
                open.insert(id, reply);
                if say(&mut write, &Question { id, ..question }).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn say(write: &mut OwnedWriteHalf, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// The process itself: runs commands until the daemon's end is closed.
///
/// # Errors
/// When it cannot begin.
pub fn serve(config: &Path) -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    // For people only.
    let _ = rustix::thread::set_name(NAME);
    limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(answer(socket, config.to_owned()))
}

/// Keeps the right to become somebody else, and passes nothing on: a command of root's has none of root's rights either.
fn limit() -> io::Result<()> {
    set_no_new_privs(true)?;
    let is_root = rustix::process::geteuid().is_root();
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    if is_root && let Err(error) = set_capabilities_secure_bits(bits) {
        // Without CAP_SETPCAP the bounding set below stays too: then the system that started us has limited both.
        tracing::warn!(%error, "commands that run as root keep what the daemon was started with");
    }
    crate::io::sandbox::keep_only(if is_root { RUNNER } else { Capabilities::default() })
}

async fn answer(socket: UnixStream, config: PathBuf) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let (read, mut write) = tokio::net::UnixStream::from_std(socket)?.into_split();
    let mut lines = Lines::of(read);
    // Whoever ends all processes of a service means the daemon, which may have to drain first; what is executed has no handlers.
    let _deaf = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut allowed = Allowed::new(config);
    let (done, mut replies) = mpsc::channel(WAITING);
    let mut running = 0;
    loop {
        tokio::select! {
            line = lines.next(), if running < WAITING => {
                let Some(line) = line else { return Ok(()) };
                let Ok(question) = serde_json::from_slice::<Question>(&line) else { continue };
                running += 1;
                let (may, done) = (allowed.has(&question), done.clone());
                tokio::spawn(async move {
                    let outcome = if may { run(&question).await } else { Err(stranger(&question)) };
                    // The loop is gone only when the daemon is.
                    let _ = done.send(Reply { id: question.id, error: outcome.err() }).await;
                });
            }
            Some(reply) = replies.recv() => {
                running -= 1;
                say(&mut write, &reply).await?;
            }
        }
    }
}

async fn run(question: &Question) -> Outcome {
    let limit = Duration::from_millis(question.limit_ms);
    match tokio::time::timeout(limit, exec::run(&question.command, &question.user)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} ms", question.limit_ms)),
    }
}

fn stranger(question: &Question) -> String {
    let program = question.command.first().map(String::as_str).unwrap_or_default();
    format!("{program} as {}: the configuration file names no such command", question.user)
}

/// Commands that the file names, or has named: what is tried and taken back (`--confirm-within`) may run again.
#[derive(Debug)]
struct Allowed {
    file: PathBuf,
    known: Vec<(Vec<String>, String)>,
}

impl Allowed {
    fn new(file: PathBuf) -> Self {
        let mut all = Self { file, known: Vec::new() };
        all.read();
        all
    }

    fn has(&mut self, question: &Question) -> bool {
        let is = |(command, user): &(Vec<String>, String)| *command == question.command && *user == question.user;
        if !self.known.iter().any(is) {
            self.read();
        }
        self.known.iter().any(is)
    }

    fn read(&mut self) {
        // A file that is wrong names nothing.
        let Ok(node) = config::load(&self.file).and_then(|config| config.node()) else {
            return;
        };
        for vip in node.vips {
            if let CheckConfig::Probe(check) = vip.check
                && let Probe::Exec { command, user } = check.probe
                && !self.known.contains(&(command.clone(), user.clone()))
            {
                self.known.push((command, user));
            }
        }
        self.known.drain(..self.known.len().saturating_sub(KNOWN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(words: &[&str]) -> Question {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        Question { id: 7, command, user: "nobody".to_owned(), limit_ms: 1_000 }
    }

    #[test]
    fn only_what_the_file_names_or_has_named_is_run() {
        let folder = std::env::temp_dir().join(format!("weft-runner-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("weft.yaml");
        let write = |command: &str| {
            let vip = format!("vips: {{web: {{address: 10.71.0.1/32, check: {{exec: [{command}]}}}}}}");
            std::fs::write(&file, format!("asn: 1\nrouter_id: 10.0.0.1\n{vip}\n")).unwrap();
        };
        write("/bin/true, a");
        let mut allowed = Allowed::new(file.clone());
        assert!(allowed.has(&question(&["/bin/true", "a"])));
        assert!(!allowed.has(&question(&["/bin/true"])));
        assert!(!allowed.has(&Question { user: "root".to_owned(), ..question(&["/bin/true", "a"]) }));
        write("/bin/false");
        assert!(allowed.has(&question(&["/bin/false"])), "the file has changed");
        assert!(allowed.has(&question(&["/bin/true", "a"])), "and may change back without a word");
        std::fs::write(&file, "no configuration").unwrap();
        assert!(!allowed.has(&question(&["/bin/sh"])));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn questions_are_answered_over_the_socket_and_strangers_refused() {
        let folder = std::env::temp_dir().join(format!("weft-runner-socket-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("weft.yaml");
        let vips = "{a: {address: 10.71.0.1/32, check: {exec: [/bin/true]}}, b: {address: 10.71.0.2/32, check: {exec: [/bin/false]}}}";
        std::fs::write(&file, format!("asn: 1\nrouter_id: 10.0.0.1\nvips: {vips}\n")).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let process = tokio::spawn(answer(far, file));
        let runner = Runner::new(near).unwrap();
        let run = async |program: &str| runner.run(&[program.to_owned()], "nobody", Duration::from_secs(20)).await;
        assert_eq!(run("/bin/true").await, Ok(()));
        assert_eq!(run("/bin/false").await, Err("/bin/false: exit code 1".to_owned()));
        let refused = run("/bin/sh").await.unwrap_err();
        assert!(refused.contains("names no such command"), "{refused}");
        drop(runner);
        process.await.unwrap().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
