//! A recording of a running daemon (`weft record`), done again: a node of this program gets the same configuration and seed, is fed the
//! same at the same times, and must answer the same. The first answer that is another one ends it: what follows would follow from it.

mod words;

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;
use weft_bgp::speaker;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::ConnId;
use weft_fabric::node::{Input, Node, Output};
use weft_fabric::record::{self, Answer, Begin, Call, Entry, LINE_MAX};

/// What is to be said meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Nothing after this is done.
    pub until: Option<Instant>,
    /// Lines before a difference that come with it.
    pub trace: usize,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the recorded node.
    pub node: String,
    /// Version of the program that was recorded.
    pub weft: String,
    /// What happened to the node.
    pub inputs: u64,
    /// What it was asked, or said by itself.
    pub answers: u64,
    /// Octets that it sent.
    pub sent: u64,
    /// Changes for the kernel.
    pub changes: u64,
    /// From the first line to the last.
    pub time: Duration,
    /// Why the recording ends, if it says so.
    pub end: Option<String>,
    /// The last line is not whole: the recording broke off.
    pub is_cut: bool,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// Where both part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Line of the file, from 1.
    pub line: u64,
    /// When.
    pub at: Instant,
    /// What was asked, and on which session.
    pub asked: String,
    /// What the recording says.
    pub recorded: String,
    /// What this program answered.
    pub replayed: String,
    /// What came before.
    pub trace: Vec<String>,
}

/// Reads a recording and does it again.
///
/// # Errors
/// What is wrong with the recording, with the line.
pub fn replay(from: impl BufRead, wanted: &Wanted) -> Result<Outcome, String> {
    let mut lines = Lines { from, number: 0, is_cut: false };
    let Some(Entry::Begin(begin)) = lines.next()? else {
        return Err("line 1: a recording begins with `begin`".to_owned());
    };
    let mut player = Player::new(&begin, wanted.trace)?;
    while player.outcome.difference.is_none()
        && let Some(entry) = lines.next()?
    {
        match entry {
            Entry::Begin(_) => return Err(format!("line {}: it begins a second time", lines.number)),
            Entry::End { why, at } => {
                player.now = player.now.max(at);
                player.outcome.end = Some(why);
                break;
            }
            Entry::Did(call, _) if wanted.until.is_some_and(|until| call.at().is_some_and(|at| at > until)) => break,
            Entry::Did(call, answer) => {
                player.play(lines.number, &call, *answer).map_err(|error| format!("line {}: {error}", lines.number))?;
            }
        }
    }
    player.outcome.is_cut = lines.is_cut;
    player.outcome.time = player.now.since(begin.at);
    Ok(player.outcome)
}

/// Says what a recording holds, a line for each of its own.
///
/// # Errors
/// What is wrong with the recording, with the line; and what `say` says.
pub fn print(
    from: impl BufRead,
    wanted: &Wanted,
    mut say: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let mut lines = Lines { from, number: 0, is_cut: false };
    let (mut now, mut names) = (Instant::ZERO, Names::default());
    while let Some(entry) = lines.next()? {
        let text = match &entry {
            Entry::Begin(begin) => {
                now = begin.at;
                words::begin(begin)
            }
            Entry::End { why, .. } => format!("end      {why}"),
            Entry::Did(call, answer) => {
                now = call.at().unwrap_or(now);
                if wanted.until.is_some_and(|until| now > until) {
                    break;
                }
                names.learn(call, answer, None);
                // Nothing was to be done, and nothing was: the daemon's loop asks all the time.
                if !call.is_input() && words::is_empty(answer) {
                    continue;
                }
                words::line(call, answer, &names)
            }
        };
        say(&format!("{:>12} {text}", now.to_string()))?;
    }
    if lines.is_cut { say("             the last line is not whole: the recording broke off") } else { Ok(()) }
}

/// The lines of a file, each read when it is wanted.
struct Lines<R> {
    from: R,
    number: u64,
    is_cut: bool,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Entry>, String> {
        let mut line = Vec::new();
        let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = std::io::Read::take(&mut self.from, most).read_until(b'\n', &mut line);
        self.number += 1;
        match read {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // Compressed, and broken off.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.is_cut = true;
                return Ok(None);
            }
            Err(error) => return Err(format!("line {}: {error}", self.number)),
        }
        if line.last() != Some(&b'\n') {
            if line.len() > LINE_MAX {
                return Err(format!("line {}: longer than {LINE_MAX} octets: this is no recording", self.number));
            }
            self.is_cut = true;
            return Ok(None);
        }
        let text = std::str::from_utf8(&line).map_err(|_| format!("line {}: no UTF-8", self.number))?;
        record::read(text.trim_end()).map(Some).map_err(|error| format!("line {}: {error}", self.number))
    }
}

/// Whose a connection is.
#[derive(Debug, Default)]
struct Names {
    conns: BTreeMap<ConnId, String>,
}

impl Names {
    /// A node that is there knows its peers by name.
    fn learn(&mut self, call: &Call, answer: &Answer, node: Option<&Node>) {
        let (conn, remote) = if let Answer::Output(Output::Bgp(speaker::Output::Connect { conn, remote, .. })) = answer
        {
            (*conn, *remote)
        } else if let Call::Handle { input, .. } = call
            && let Input::Bgp(speaker::Input::Accepted { conn, remote, .. }) = &**input
        {
            (*conn, *remote)
        } else if let Call::Handle { input, .. } = call
            && let Input::Bgp(speaker::Input::Handed { conn, session }) = &**input
        {
            (*conn, session.remote)
        } else {
            return;
        };
        let speaker = node.map(Node::speaker);
        let name = speaker.and_then(|speaker| speaker.peer_name(speaker.peer_of(conn)?));
        self.conns.insert(conn, name.map_or_else(|| remote.ip().to_string(), str::to_owned));
    }

    fn of(&self, conn: ConnId) -> &str {
        self.conns.get(&conn).map_or("an unknown connection", String::as_str)
    }
}

struct Player {
    node: Node,
    now: Instant,
    names: Names,
    last: VecDeque<String>,
    traced: usize,
    outcome: Outcome,
}

impl Player {
    fn new(begin: &Begin, traced: usize) -> Result<Self, String> {
        let outcome = Outcome {
            node: begin.config.hostname.clone(),
            weft: begin.weft.clone(),
            inputs: 0,
            answers: 0,
            sent: 0,
            changes: 0,
            time: Duration::ZERO,
            end: None,
            is_cut: false,
            difference: None,
        };
        let node = record::begin(begin)?;
        Ok(Self { node, now: begin.at, names: Names::default(), last: VecDeque::new(), traced, outcome })
    }

    fn play(&mut self, line: u64, call: &Call, recorded: Answer) -> Result<(), String> {
        self.now = call.at().unwrap_or(self.now);
        let replayed = record::perform(&mut self.node, call)?;
        self.names.learn(call, &replayed, Some(&self.node));
        if call.is_input() {
            self.outcome.inputs += 1;
        } else {
            self.outcome.answers += 1;
        }
        match &replayed {
            Answer::Sent(sent, _) => self.outcome.sent += u64::try_from(sent.length).unwrap_or(u64::MAX),
            Answer::Fib(changes) => self.outcome.changes += u64::try_from(changes.len()).unwrap_or(u64::MAX),
            Answer::Nothing
            | Answer::Output(_)
            | Answer::Caller(_)
            | Answer::Done(_)
            | Answer::Count(_)
            | Answer::Wait(_) => {}
        }
        if replayed != recorded {
            let (asked, trace) = (words::call(call, &self.names), self.last.drain(..).collect());
            let (recorded, replayed) = (words::answer(&recorded, &self.names), words::answer(&replayed, &self.names));
            self.outcome.difference = Some(Difference { line, at: self.now, asked, recorded, replayed, trace });
        } else if self.traced > 0 && (call.is_input() || !words::is_empty(&replayed)) {
            if self.last.len() == self.traced {
                self.last.pop_front();
            }
            self.last.push_back(format!("{:>12} {}", self.now.to_string(), words::line(call, &replayed, &self.names)));
        }
        Ok(())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, weft, inputs, answers, sent, changes, .. } = self;
        let time = self.time.as_secs_f64();
        if let Some(difference) = &self.difference {
            for line in &difference.trace {
                writeln!(f, "{line}")?;
            }
            let Difference { line, at, asked, recorded, replayed, .. } = difference;
            return write!(
                f,
                "{node}: after {inputs} inputs, at {at} (line {line}), {asked}: not the same\n  recorded  {recorded}\n  replayed  {replayed}"
            );
        }
        write!(
            f,
            "{node}: replayed {inputs} inputs over {time:.3} s: the same\n  {answers} answers of weft {weft}, {sent} octets to neighbors, {changes} changes for the kernel"
        )?;
        if let Some(end) = &self.end {
            write!(f, "\n  the recording ended while the daemon went on: {end}")?;
        }
        if self.is_cut {
            write!(f, "\n  the last line is not whole: the recording broke off there")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
