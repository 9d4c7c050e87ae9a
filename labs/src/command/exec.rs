//! `exec`: runs a command in a node, with this terminal as its own, or with its output collected as JSON.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use serde_json::{Value, json};

use super::inspect::Format;
use super::{STRANGE, connect, data, inspection, lab_and_node, say, willing};
use crate::lab::control::{self, Answer, Request};
use crate::topology::expand;

/// Options of `exec`.
#[derive(Debug, Clone, Args)]
pub struct Exec {
    /// LAB/NODE, or NODE when one lab is running
    #[arg(required_unless_present = "cmd", conflicts_with = "cmd")]
    node: Option<String>,
    /// A command for all nodes, split into words as a shell does and run without one (may be given several times)
    #[arg(long, value_name = "COMMAND")]
    cmd: Vec<String>,
    /// Of all nodes, those with this label (may be given several times: those with all of them)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, requires = "cmd")]
    label: Vec<(String, String)>,
    /// The lab's name, with --cmd [default: the only one that runs]
    #[arg(long, short = 'n', requires = "cmd")]
    name: Option<String>,
    /// The topology file it was started from
    #[arg(long, short, value_name = "FILE", requires = "cmd", conflicts_with = "name")]
    topo: Option<String>,
    /// Print streams as they come, or a JSON document at the end
    #[arg(long, short, value_enum, default_value = "table", hide_default_value = true)]
    format: Format,
    /// The command
    #[arg(last = true, required_unless_present = "cmd", conflicts_with = "cmd")]
    command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| format!("`{text}`: write KEY=VALUE"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// Runs the command; its exit code is ours.
///
/// # Errors
/// When there is no such node, or the command cannot be started.
pub fn exec(options: &Exec) -> Result<ExitCode> {
    let Some(node) = &options.node else {
        return everywhere(options);
    };
    let (lab, node) = lab_and_node(node)?;
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    if options.format == Format::Json {
        return documented(&lab, vec![(node, options.command.clone())]);
    }
    if input.is_terminal() && output.is_terminal() {
        let terminal = Terminal::open()?;
        let ours = [terminal.far.as_fd(), terminal.far.as_fd(), terminal.far.as_fd()];
        let connection = connect(&lab, &request(&node, &options.command, true), &ours)?;
        return terminal.relay(&connection).and_then(code);
    }
    let streams = [input.as_fd(), output.as_fd(), errors.as_fd()];
    let connection = connect(&lab, &request(&node, &options.command, false), &streams)?;
    code(control::answer(&connection)?)
}

fn request(node: &str, command: &[String], terminal: bool) -> Request {
    let kind = std::env::var("TERM").ok();
    Request::Exec { node: node.to_owned(), command: command.to_vec(), terminal, kind }
}

/// Runs every `--cmd` in every node that has the labels, one after the other; the code is that of the last that fails.
fn everywhere(options: &Exec) -> Result<ExitCode> {
    let lab = data::lab(options.name.as_deref(), options.topo.as_deref())?;
    let mut commands = Vec::new();
    for text in &options.cmd {
        commands.push(expand::words(text).map_err(|message| anyhow!("--cmd {text}: {message}"))?);
    }
    let nodes = data::nodes(&lab, &options.label)?;
    if nodes.is_empty() {
        bail!("no node of {lab} has these labels");
    }
    let all = nodes.iter().flat_map(|node| commands.iter().map(move |words| (node.clone(), words.clone())));
    if options.format == Format::Json {
        return documented(&lab, all.collect());
    }
    let mut last = ExitCode::SUCCESS;
    for (node, words) in all {
        let ran = collect(&lab, &node, &words)?;
        let ended = if ran.code == 0 { String::new() } else { format!(" (exit code {})", ran.code) };
        say(&format!("{node}: {}{ended}", words.join(" ")));
        for line in ran.output.lines().chain(ran.errors.lines()) {
            say(&format!("    {line}"));
        }
        if ran.code != 0 {
            last = exit(ran.code);
        }
    }
    Ok(last)
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn code(answer: Answer) -> Result<ExitCode> {
    let Answer::Exit(code) = willing(answer)? else { bail!("{STRANGE}") };
    Ok(exit(code))
}

/// What came of a command.
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) output: String,
    pub(super) errors: String,
}

/// Runs a command to its end without input.
pub(super) fn collect(lab: &str, node: &str, command: &[String]) -> Result<Ran> {
    let (read_output, output) = io::pipe()?;
    let (read_errors, errors) = io::pipe()?;
    let nothing = std::fs::File::open("/dev/null")?;
    let streams = [nothing.as_fd(), output.as_fd(), errors.as_fd()];
    let connection = connect(lab, &request(node, command, false), &streams)?;
    drop((output, errors));
    let read = |mut pipe: PipeReader| {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    };
    let (output, errors) = std::thread::scope(|scope| {
        let errors = scope.spawn(|| read(read_errors));
        (read(read_output), errors.join().unwrap_or_else(|_| Ok(String::new())))
    });
    let Answer::Exit(code) = willing(control::answer(&connection)?)? else { bail!("{STRANGE}") };
    Ok(Ran { code, output: output?, errors: errors? })
}

/// containerlab's `exec -f json`: long name, then what was run and what came of it.
fn documented(lab: &str, all: Vec<(String, Vec<String>)>) -> Result<ExitCode> {
    let names = inspection(lab)?.nodes.into_iter().map(|entry| (entry.name, entry.long_name));
    let names: BTreeMap<String, String> = names.collect();
    let (mut document, mut last) = (BTreeMap::<String, Vec<Value>>::new(), ExitCode::SUCCESS);
    for (node, words) in all {
        let ran = collect(lab, &node, &words)?;
        if ran.code != 0 {
            last = exit(ran.code);
        }
        // as containerlab does: what is JSON already stays JSON
        let output = serde_json::from_str(&ran.output).unwrap_or_else(|_| json!(ran.output));
        let entry = json!({"cmd": words, "return-code": ran.code, "stdout": output, "stderr": ran.errors});
        document.entry(names.get(&node).cloned().unwrap_or(node)).or_default().push(entry);
    }
    say(&serde_json::to_string_pretty(&document)?);
    Ok(last)
}

/// A new pseudo-terminal for the command, with ours in raw mode for as long as this lives.
struct Terminal {
    near: OwnedFd,
    far: OwnedFd,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Self> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("open a terminal")?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let name = ptsname(&near, Vec::new())?;
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let far = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { near, far, before })
    }

    /// Copies between the two terminals until the lab answers that the command ended.
    fn relay(self, connection: &UnixStream) -> Result<Answer> {
        let mut buffer = [0; 4096];
        let mut open = true;
        loop {
            // followed at every wake: a window that changes without a keystroke is seen at the next
            if let Ok(size) = tcgetwinsize(io::stdout()) {
                let _ = tcsetwinsize(&self.near, size);
            }
            let stdin = io::stdin();
            let nobody: BorrowedFd<'_> = self.near.as_fd();
            let mut watched = [
                PollFd::from_borrowed_fd(self.near.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(if open { stdin.as_fd() } else { nobody }, PollFlags::IN),
            ];
            poll(&mut watched, None)?;
            let [output, answer, input] = watched.map(|watched| watched.revents().contains(PollFlags::IN));
            if output {
                let read = rustix::io::read(&self.near, &mut buffer)?;
                io::stdout().write_all(&buffer[..read])?;
                io::stdout().flush()?;
            } else if answer {
                return Ok(control::answer(connection)?);
            } else if input && open {
                let read = rustix::io::read(io::stdin(), &mut buffer)?;
                open = read > 0;
                rustix::io::write(&self.near, &buffer[..read])?;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
