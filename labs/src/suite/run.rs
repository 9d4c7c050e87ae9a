//! Runs a stage's commands: output goes straight into `target/suite/STAGE.log`, and each command has a deadline.
#![expect(clippy::disallowed_methods, reason = "waits for child processes; the suite has no event loop")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Lines shown of a failed stage's log.
const TAIL_LINES: usize = 40;
/// No single command may take longer; a cold build of everything on two cores stays well below.
const COMMAND_LIMIT: Duration = Duration::from_secs(40 * 60);
/// How often a running command is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where things are.
#[derive(Debug)]
pub(crate) struct Context {
    /// The workspace root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// What is `weft` in labs, where it is not to be built.
    pub(crate) weft: Option<PathBuf>,
    logs: PathBuf,
}

impl Context {
    /// Finds the workspace and makes the log directory; `weft` is the program of labs, unless it is to be built.
    pub(crate) fn new(weft: Option<&Path>) -> io::Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let start = manifest.map_or_else(std::env::current_dir, Ok)?;
        let root = start
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").is_file())
            .ok_or_else(|| io::Error::other("not inside the workspace: run `cargo suite` in the checkout"))?
            .to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let logs = target.join("suite");
        std::fs::create_dir_all(&logs)?;
        let weft = weft.map(usable).transpose()?;
        Ok(Self { root, target, weft, logs })
    }

    /// The log file of a stage.
    pub(crate) fn log_path(&self, stage: &str) -> PathBuf {
        self.logs.join(format!("{stage}.log"))
    }

    /// Opens (empties) a stage's log.
    pub(crate) fn log(&self, stage: &str) -> io::Result<Log> {
        let path = self.log_path(stage);
        File::create(&path)?;
        Ok(Log { path })
    }

    /// A stage's log, to go on with.
    pub(crate) fn more_log(&self, stage: &str) -> Log {
        Log { path: self.log_path(stage) }
    }

    /// The last lines of a stage's log.
    pub(crate) fn tail(&self, stage: &str) -> Vec<String> {
        let text = std::fs::read(self.log_path(stage)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).map(|line| (*line).to_owned()).collect()
    }

    /// A cargo command at the workspace root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        self.command(Path::new(&cargo), arguments)
    }

    /// A cargo command that takes the processor only when no other stage wants it: labs beside it keep their times.
    pub(crate) fn patient_cargo(&self, arguments: &[&str]) -> Command {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        self.command(Path::new("nice"), &[&["-n", "19", &cargo], arguments].concat())
    }

    /// Any command at the workspace root.
    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // The same generated cases on every run; a search names a seed of its own.
        if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
            command.env("PROPTEST_RNG_SEED", "77");
        }
        // The suite's own `cargo run` sets these; tests must not see another package's.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_MANIFEST_PATH"] {
            command.env_remove(name);
        }
        command
    }
}

/// The program at `path`, if it is one that says that it is weft.
fn usable(path: &Path) -> io::Result<PathBuf> {
    let remedy = "`cargo build --release -p weft-fabric --bin weft` makes one: --weft target/release/weft";
    let wrong = |why: String| io::Error::other(format!("--weft {}: {why}\n  remedy: {remedy}", path.display()));
    let program = path.canonicalize().map_err(|error| wrong(error.to_string()))?;
    let said = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    let said = said.map_err(|error| wrong(format!("it cannot be started: {error}")))?.stdout;
    let said = String::from_utf8_lossy(&said);
    if said.starts_with("weft ") { Ok(program) } else { Err(wrong("it does not say that it is weft".to_owned())) }
}

/// A stage's log file.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// Runs a command to its end; both streams go to the log. True when it ended with success.
    pub(crate) fn run(&self, command: &mut Command) -> io::Result<bool> {
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        writeln!(file, "$ {} {}", command.get_program().to_string_lossy(), words.join(" "))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?).process_group(0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                writeln!(file, "cannot start it: {error}")?;
                return Ok(false);
            }
        };
        let deadline = Instant::now() + COMMAND_LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                writeln!(file, "[{status}]")?;
                return Ok(status.success());
            }
            if Instant::now() > deadline {
                writeln!(file, "stopped: longer than {} s", COMMAND_LIMIT.as_secs())?;
                if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                child.wait()?;
                return Ok(false);
            }
            thread::sleep(POLL);
        }
    }

    /// Everything logged so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

/// The path of a program on PATH (and in the sbin directories), if it is there.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/lib/frr"])
        .map(|dir| Path::new(dir).join(name))
        .find(|p| p.is_file())
}
