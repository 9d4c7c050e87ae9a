//! A flood of questions, part of stage `api`: so many a second are offered, whether they are answered or not, on connections that are kept and
//! on new ones; and what somebody who asks beside it waits for his answer.
#![expect(clippy::disallowed_methods, reason = "keeps a daemon busy for a time")]

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long the flood lasts: more than a hold time.
const FLOOD: Duration = Duration::from_secs(5);
/// Questions a second, in all.
const OFFERED: u32 = 10_000;
/// Of these on new connections, one question each.
const ON_NEW: u32 = 2_000;
/// Connections that are kept.
const KEPT: u32 = 16;
/// Who connects anew; each waits for his answer.
const CALLERS: u32 = 40;
/// What is not offered at its time, because its client waits or has no turn, is offered as soon as it can, or never.
const LATE: Duration = Duration::from_secs(1);
/// Each client looks at what is due so often.
const TICK: Duration = Duration::from_millis(2);
/// A client that is not served must not wait for ever.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
/// Somebody asks beside the flood so often.
const ASIDE: Duration = Duration::from_millis(50);
/// And waits so long at most, at the median.
const ASIDE_LIMIT: Duration = Duration::from_secs(1);
/// What is asked.
const QUESTION: &[u8] = b"GET /v1/neighbors HTTP/1.1\r\nhost: weft\r\n\r\n";
/// And more will come on this connection.
const OF_MANY: &[u8] = b"GET /v1/neighbors HTTP/1.1\r\nhost: weft\r\nconnection: keep-alive\r\n\r\n";

/// What became of questions.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    offered: u64,
    answered: u64,
    /// The daemon had no room, and said so or let the client wait.
    refused: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.answered += other.answered;
        self.refused += other.refused;
    }
}

/// Questions come at their times, whatever becomes of those before.
struct Schedule {
    begun: Instant,
    each: Duration,
    taken: u32,
}

impl Schedule {
    fn new(a_second: u32) -> Self {
        Self { begun: Instant::now(), each: Duration::from_secs(1) / a_second, taken: 0 }
    }

    /// How many are due; those that are too late are left out, and counted.
    fn due(&mut self) -> (u32, u32) {
        let by_now = u32::try_from(self.begun.elapsed().as_nanos() / self.each.as_nanos()).unwrap_or(u32::MAX);
        let all = by_now.saturating_sub(self.taken);
        let most = u32::try_from(LATE.as_nanos() / self.each.as_nanos()).unwrap_or(u32::MAX);
        self.taken = by_now;
        (all.min(most), all.saturating_sub(most))
    }
}

/// Offers questions for a time; what came of them, as a sentence, or what must not be.
pub(crate) fn flood(socket: &Path) -> io::Result<Result<String, String>> {
    let end = Instant::now() + FLOOD;
    let kept: Vec<_> = (0..KEPT).map(|_| spawn(socket, move |socket| on_kept(socket, end))).collect();
    let new: Vec<_> = (0..CALLERS).map(|_| spawn(socket, move |socket| on_new(socket, end))).collect();
    let aside = aside(socket, end)?;
    let (kept, new) = (sum(kept)?, sum(new)?);
    let seconds = FLOOD.as_secs();
    let per_second =
        |count: Count| format!("{} offered, {} answered", count.offered / seconds, count.answered / seconds);
    let said = format!(
        "a second, on {KEPT} connections that are kept: {}, on new ones: {}; {} refused, as too many or by not being read; \
         beside it an answer takes {:.1} ms (median), {:.1} ms at most",
        per_second(kept),
        per_second(new),
        kept.refused + new.refused,
        aside.0.as_secs_f64() * 1e3,
        aside.1.as_secs_f64() * 1e3
    );
    let offered = kept.offered + new.offered;
    let is_fair = kept.answered > 0 && new.answered > 0 && aside.0 < ASIDE_LIMIT;
    // The machine of the test may be too slow to ask so often; the daemon is not to blame for that.
    Ok(if is_fair && offered > 0 { Ok(said) } else { Err(said) })
}

type Client = thread::JoinHandle<io::Result<Count>>;

fn spawn(socket: &Path, work: impl FnOnce(&Path) -> io::Result<Count> + Send + 'static) -> Client {
    let socket: PathBuf = socket.to_owned();
    thread::spawn(move || work(&socket))
}

fn sum(clients: Vec<Client>) -> io::Result<Count> {
    let mut all = Count::default();
    for client in clients {
        all.add(client.join().map_err(|_| io::Error::other("a client panicked"))??);
    }
    Ok(all)
}

/// One connection: what is due is written, one question after the other without waiting for answers, and what is there is read.
fn on_kept(socket: &Path, end: Instant) -> io::Result<Count> {
    let mut count = Count::default();
    let mut schedule = Schedule::new((OFFERED - ON_NEW) / KEPT);
    while Instant::now() < end {
        let Ok(stream) = UnixStream::connect(socket) else {
            thread::sleep(TICK);
            continue;
        };
        stream.set_nonblocking(true)?;
        converse(stream, end, &mut schedule, &mut count)?;
    }
    Ok(count)
}

/// Until the end, or until the daemon closes the connection.
fn converse(mut stream: UnixStream, end: Instant, schedule: &mut Schedule, count: &mut Count) -> io::Result<()> {
    let mut answers = Answers::default();
    let mut half: &[u8] = &[];
    while Instant::now() < end {
        let (due, late) = schedule.due();
        count.offered += u64::from(due + late);
        count.refused += u64::from(late);
        for _ in 0..due {
            // A question that was half written is finished first.
            while !half.is_empty() {
                match stream.write(half) {
                    Ok(written) => half = &half[written..],
                    Err(_) => break,
                }
            }
            if !half.is_empty() {
                count.refused += 1;
                continue;
            }
            match stream.write(OF_MANY) {
                Ok(written) => half = &OF_MANY[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => count.refused += 1,
                Err(_) => return Ok(()),
            }
        }
        if !answers.read(&mut stream, count)? {
            return Ok(());
        }
        thread::sleep(TICK);
    }
    Ok(())
}

/// Counts answers in what is read: heads are looked at, bodies are skipped by the length that the head says.
#[derive(Default)]
struct Answers {
    head: Vec<u8>,
    /// Octets of a body that are still to come.
    body: usize,
}

impl Answers {
    /// Whether the connection stands.
    fn read(&mut self, stream: &mut UnixStream, count: &mut Count) -> io::Result<bool> {
        let mut piece = [0; 16_384];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(length) => self.take(&piece[..length], count)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, mut piece: &[u8], count: &mut Count) -> io::Result<()> {
        while !piece.is_empty() {
            let skipped = self.body.min(piece.len());
            (self.body, piece) = (self.body - skipped, &piece[skipped..]);
            let Some((first, rest)) = piece.split_first() else { break };
            self.head.push(*first);
            piece = rest;
            if self.head.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
                self.body = length.ok_or_else(|| io::Error::other(format!("no answer: {head}")))?;
                if head.starts_with("http/1.1 200") {
                    count.answered += 1
                } else {
                    count.refused += 1
                }
                self.head.clear();
            }
        }
        Ok(())
    }
}

/// A connection for each question.
fn on_new(socket: &Path, end: Instant) -> io::Result<Count> {
    let mut count = Count::default();
    let mut schedule = Schedule::new(ON_NEW / CALLERS);
    while Instant::now() < end {
        let (due, late) = schedule.due();
        count.offered += u64::from(late);
        count.refused += u64::from(late);
        for _ in 0..due {
            if Instant::now() >= end {
                break;
            }
            count.offered += 1;
            match ask(socket) {
                Ok(true) => count.answered += 1,
                Ok(false) => count.refused += 1,
                // The backlog is full: the kernel's word that there are too many.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => count.refused += 1,
                Err(error) => return Err(error),
            }
        }
        thread::sleep(TICK);
    }
    Ok(count)
}

/// Whether it is answered, or refused.
fn ask(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CLIENT_LIMIT))?;
    stream.set_write_timeout(Some(CLIENT_LIMIT))?;
    // Who is one too many is closed after a word, whether he has asked or not.
    let _ = stream.write_all(QUESTION);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error),
    }
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(true);
    }
    if answer.starts_with(b"HTTP/1.1 503") || answer.is_empty() {
        return Ok(false);
    }
    Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
}

/// Median and longest time of somebody who asks beside it; who is refused asks again.
fn aside(socket: &Path, end: Instant) -> io::Result<(Duration, Duration)> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        while !ask(socket)? {
            thread::sleep(TICK);
        }
        times.push(begun.elapsed());
        thread::sleep(ASIDE);
    }
    times.sort();
    Ok((times.get(times.len() / 2).copied().unwrap_or(FLOOD), times.last().copied().unwrap_or(FLOOD)))
}
