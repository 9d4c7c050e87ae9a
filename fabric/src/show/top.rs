//! `top`: the whole node on one screen, drawn into a buffer. Pure: from two samples of the API's answers, so that rates are what happened
//! between them; who asks and who owns the terminal is `io/top`.

#[cfg(test)]
mod tests;

use super::{NONE, duration, render, table};
use crate::api::{BfdSessions, Health, History, Kernel, Neighbor, Neighbors, Version};
use crate::health::State;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use std::collections::BTreeMap;

/// Lines for what is not well; the rest of the screen is for neighbors.
const CHECK_LINES: usize = 6;
/// Lines for the last events.
const EVENT_LINES: usize = 6;
/// Fewest lines for neighbors: on a small screen events go first, then checks.
const NEIGHBOR_LINES: usize = 4;

/// What the daemon answered, all at about one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Name of the node.
    pub node: String,
    /// Milliseconds on a clock that only goes on.
    pub at_ms: u64,
    /// What runs.
    pub version: Version,
    /// The peers.
    pub neighbors: Neighbors,
    /// The checks.
    pub health: Health,
    /// The kernel's side.
    pub kernel: Kernel,
    /// BFD.
    pub bfd: BfdSessions,
    /// The last events.
    pub history: History,
}

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The newest sample.
    pub now: &'a Sample,
    /// The one before.
    pub before: Option<&'a Sample>,
    /// Neighbors above the first one that is shown.
    pub skipped: usize,
    /// Why there is no newer sample.
    pub trouble: Option<&'a str>,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Title,
    Warn,
    Bad,
    Faint,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Title => Style::new().add_modifier(Modifier::BOLD),
            Self::Warn => Style::new().fg(Color::Yellow),
            Self::Bad => Style::new().fg(Color::Red),
            Self::Faint => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

type Line = (String, Tone);

/// Draws everything.
pub fn draw(area: Rect, buffer: &mut Buffer, view: &View<'_>) {
    let lines = lines(view, usize::from(area.height));
    for ((text, tone), y) in lines.iter().zip(area.top()..area.bottom()) {
        buffer.set_stringn(area.x, y, text, usize::from(area.width), tone.style());
    }
}

/// The last neighbor that can be the first one shown.
#[must_use]
pub fn most_skipped(sample: &Sample) -> usize {
    sample.neighbors.neighbors.len().saturating_sub(1)
}

fn lines(view: &View<'_>, height: usize) -> Vec<Line> {
    let mut all = head(view);
    // A line of names above the neighbors, an empty one before each block, and the foot.
    let left = height.saturating_sub(all.len() + 3);
    let (checks, events) = (checks(view.now), events(view.now));
    let spare = left.saturating_sub(NEIGHBOR_LINES);
    let checks = &checks[..checks.len().min(spare.saturating_sub(1))];
    let spare = spare.saturating_sub(if checks.is_empty() { 0 } else { checks.len() + 1 });
    let events = &events[events.len() - events.len().min(spare.saturating_sub(1))..];
    let below = [checks.len(), events.len()].iter().filter(|lines| **lines > 0).map(|lines| lines + 1).sum::<usize>();
    all.push((String::new(), Tone::Plain));
    all.extend(neighbors(view, left.saturating_sub(below)));
    for block in [checks, events].into_iter().filter(|block| !block.is_empty()) {
        all.push((String::new(), Tone::Plain));
        all.extend(block.iter().cloned());
    }
    all.truncate(height.saturating_sub(1));
    all.resize(height.saturating_sub(1), (String::new(), Tone::Plain));
    all.push(match view.trouble {
        Some(trouble) => (format!("no answer: {}", trouble.lines().next().unwrap_or_default()), Tone::Bad),
        None => ("q leaves, ↑ and ↓ move through the neighbors".to_owned(), Tone::Faint),
    });
    all
}

fn head(view: &View<'_>) -> Vec<Line> {
    let Sample { node, version, neighbors, health, kernel, bfd, .. } = view.now;
    let memory = version.resident_bytes.map_or_else(|| NONE.to_owned(), megabytes);
    let role = version.role.as_ref().map_or_else(String::new, |role| format!("  {role}"));
    let title = format!(
        "{node}{role}  AS {}  router id {}  weft {}  up {}  memory {memory}",
        neighbors.asn,
        neighbors.router_id,
        version.version,
        duration(version.uptime_s)
    );
    let up = |peer: &&Neighbor| peer.state == crate::api::ESTABLISHED;
    let sum = |of: fn(&Neighbor) -> u64| neighbors.neighbors.iter().map(of).sum::<u64>();
    let sessions = format!(
        "sessions  {} of {} Established, {} prefixes received, {} sent, {} UPDATEs/s received, {} sent",
        neighbors.neighbors.iter().filter(up).count(),
        neighbors.neighbors.len(),
        sum(|peer| peer.prefixes_received.ipv4 + peer.prefixes_received.ipv6),
        sum(|peer| peer.prefixes_sent.ipv4 + peer.prefixes_sent.ipv6),
        rate(view, sum(|peer| peer.updates_received), |all| total(all, |peer| peer.updates_received)),
        rate(view, sum(|peer| peer.updates_sent), |all| total(all, |peer| peer.updates_sent)),
    );
    let fib = &kernel.fib;
    let routes = if fib.install {
        format!(
            "kernel    {} routes, {} next hops, {} groups; {} to be sent, {} refused, {} waiting; compared {} ago",
            fib.routes,
            fib.nexthops,
            fib.groups,
            fib.pending,
            fib.failed,
            fib.waiting,
            duration(fib.health.dump_age_s)
        )
    } else {
        "kernel    left alone".to_owned()
    };
    let detection = if bfd.sessions.is_empty() {
        "BFD       no sessions".to_owned()
    } else {
        let up = bfd.sessions.iter().filter(|session| session.state == "Up").count();
        let failures: u64 = bfd.sessions.iter().map(|session| session.failures).sum();
        format!("BFD       {up} of {} Up, {failures} failures, {} times late", bfd.sessions.len(), bfd.starved)
    };
    let of = |state| health.checks.iter().filter(|check| check.state == state).count();
    let [ok, warn, bad] = [State::Ok, State::Warn, State::Bad].map(of);
    let tone = match (warn, bad) {
        (_, 1..) => Tone::Bad,
        (1.., 0) => Tone::Warn,
        (0, 0) => Tone::Plain,
    };
    vec![
        (title, Tone::Title),
        (sessions, Tone::Plain),
        (routes, if fib.failed > 0 { Tone::Bad } else { Tone::Plain }),
        (detection, Tone::Plain),
        (format!("health    {ok} ok, {warn} warn, {bad} bad"), tone),
    ]
}

fn megabytes(octets: u64) -> String {
    format!("{}.{} MB", octets / 1_000_000, octets % 1_000_000 / 100_000)
}

fn total(sample: &Sample, of: fn(&Neighbor) -> u64) -> u64 {
    sample.neighbors.neighbors.iter().map(of).sum()
}

/// How many a second since the sample before.
fn rate(view: &View<'_>, now: u64, then: impl Fn(&Sample) -> u64) -> String {
    let Some(before) = view.before else {
        return NONE.to_owned();
    };
    let passed = view.now.at_ms.saturating_sub(before.at_ms).max(1);
    // A counter that went back began anew.
    let tenths = now.saturating_sub(then(before)).saturating_mul(10_000) / passed;
    if tenths < 1_000 { format!("{}.{}", tenths / 10, tenths % 10) } else { (tenths / 10).to_string() }
}

fn neighbors(view: &View<'_>, room: usize) -> Vec<Line> {
    let all = &view.now.neighbors.neighbors;
    let before: BTreeMap<&str, &Neighbor> = view
        .before
        .iter()
        .flat_map(|sample| &sample.neighbors.neighbors)
        .map(|peer| (peer.name.as_str(), peer))
        .collect();
    let header =
        ["Neighbor", "AS", "State", "For", "BFD", "PfxRcvd", "PfxSent", "MsgRcvd/s", "MsgSent/s", "Lost", "Note"];
    let mut lines = table(&header);
    let shown: Vec<&Neighbor> = all.iter().skip(view.skipped).take(room).collect();
    for peer in &shown {
        let then = before.get(peer.name.as_str());
        let per_second = |now: u64, of: fn(&Neighbor) -> u64| match then {
            Some(then) => rate(view, now, |_| of(then)),
            None => NONE.to_owned(),
        };
        lines.add_row([
            peer.name.clone(),
            peer.remote_asn.map_or_else(|| peer.expected_asn.clone(), |asn| asn.to_string()),
            peer.state.clone(),
            duration(peer.since_s),
            peer.bfd.clone().unwrap_or_else(|| NONE.to_owned()),
            (peer.prefixes_received.ipv4 + peer.prefixes_received.ipv6).to_string(),
            (peer.prefixes_sent.ipv4 + peer.prefixes_sent.ipv6).to_string(),
            per_second(peer.messages_received, |peer| peer.messages_received),
            per_second(peer.messages_sent, |peer| peer.messages_sent),
            peer.dropped.to_string(),
            super::neighbors::note(peer),
        ]);
    }
    let tones = shown.iter().map(|peer| match (peer.state == crate::api::ESTABLISHED, &peer.shutdown) {
        (true, _) => Tone::Plain,
        (false, Some(_)) => Tone::Faint,
        (false, None) => Tone::Bad,
    });
    let text = render(&lines, 0);
    text.lines().map(str::to_owned).zip(std::iter::once(Tone::Title).chain(tones)).collect()
}

/// What is not well, the worst first.
fn checks(sample: &Sample) -> Vec<Line> {
    let mut wrong: Vec<_> = sample.health.checks.iter().filter(|check| check.state != State::Ok).collect();
    wrong.sort_by_key(|check| std::cmp::Reverse(check.state));
    let line = |check: &&crate::health::Check| {
        let tone = if check.state == State::Bad { Tone::Bad } else { Tone::Warn };
        (format!("{:4}  {}: {}", check.state, check.name, check.fact), tone)
    };
    wrong.iter().take(CHECK_LINES).map(line).collect()
}

fn events(sample: &Sample) -> Vec<Line> {
    let all = &sample.history.history;
    let last = &all[all.len().saturating_sub(EVENT_LINES)..];
    let line = |event: &crate::api::Happening| {
        (format!("{:>7} ago  {}", duration(event.ago_ms / 1_000), super::history::line(event)), Tone::Faint)
    };
    last.iter().map(line).collect()
}
