//! `exec`: runs a command in a node, with this terminal as its own, or with its output collected as JSON.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use serde_json::json;

use super::inspect::Format;
use super::{ask, connect, lab_and_node, say};
use crate::lab::control::{self, Answer, Request};

/// Options of `exec`.
#[derive(Debug, Clone, Args)]
pub struct Exec {
    /// LAB/NODE, or NODE when one lab is running
    node: String,
    /// Print streams as they come, or a JSON document at the end
    #[arg(long, short, value_enum, default_value = "table", hide_default_value = true)]
    format: Format,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command; its exit code is ours.
///
/// # Errors
/// When there is no such node, or the command cannot be started.
pub fn exec(options: &Exec) -> Result<ExitCode> {
    let (lab, node) = lab_and_node(&options.node)?;
    let request = |terminal| Request::Exec {
        node: node.clone(),
        command: options.command.clone(),
        terminal,
        kind: std::env::var("TERM").ok(),
    };
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    if options.format == Format::Json {
        return collected(&lab, &node, &options.command, &request(false));
    }
    if input.is_terminal() && output.is_terminal() {
        let terminal = Terminal::open()?;
        let ours = [terminal.far.as_fd(), terminal.far.as_fd(), terminal.far.as_fd()];
        let connection = connect(&lab, &request(true), &ours)?;
        return terminal.relay(&connection).and_then(code);
    }
    let connection = connect(&lab, &request(false), &[input.as_fd(), output.as_fd(), errors.as_fd()])?;
    code(control::answer(&connection)?)
}

fn code(answer: Answer) -> Result<ExitCode> {
    match answer {
        Answer::Exit(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        Answer::Refused(why) => bail!("{why}"),
        Answer::Done | Answer::Lab(_) | Answer::Interfaces(_) | Answer::Losses(_) => {
            bail!("the lab answered something else")
        }
    }
}

/// containerlab's `exec -f json`: long name, then what was run and what came of it.
fn collected(lab: &str, node: &str, command: &[String], request: &Request) -> Result<ExitCode> {
    let (read_output, output) = io::pipe()?;
    let (read_errors, errors) = io::pipe()?;
    let nothing = std::fs::File::open("/dev/null")?;
    let connection = connect(lab, request, &[nothing.as_fd(), output.as_fd(), errors.as_fd()])?;
    drop((output, errors));
    let read = |mut pipe: PipeReader| {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    };
    let (output, errors) = std::thread::scope(|scope| {
        let errors = scope.spawn(|| read(read_errors));
        (read(read_output), errors.join().unwrap_or_else(|_| Ok(String::new())))
    });
    let (output, errors) = (output?, errors?);
    let ended = match control::answer(&connection)? {
        Answer::Exit(code) => code,
        other @ (Answer::Done | Answer::Lab(_) | Answer::Interfaces(_) | Answer::Losses(_) | Answer::Refused(_)) => {
            return code(other);
        }
    };
    let name = match ask(lab, &Request::Inspect)? {
        Answer::Lab(lab) => lab.nodes.into_iter().find(|entry| entry.name == node).map(|entry| entry.long_name),
        Answer::Done | Answer::Exit(_) | Answer::Interfaces(_) | Answer::Losses(_) | Answer::Refused(_) => None,
    };
    // as containerlab does: what is JSON already stays JSON
    let output = serde_json::from_str(&output).unwrap_or_else(|_| json!(output));
    let result = json!([{"cmd": command, "return-code": ended, "stdout": output, "stderr": errors}]);
    let document = BTreeMap::from([(name.unwrap_or_else(|| node.to_owned()), result)]);
    say(&serde_json::to_string_pretty(&document)?);
    Ok(ExitCode::from(u8::try_from(ended).unwrap_or(1)))
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
