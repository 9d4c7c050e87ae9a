//! What happened, one fixed-width line per event: time, node, event. Two runs of a seed print the same lines.

use std::collections::VecDeque;
use std::fmt;
use weft_bgp::time::Instant;

/// Lines kept: the last of a run, which is where it went wrong.
const LINES: usize = 4_000;

/// The trace; empty unless asked for.
#[derive(Debug, Default)]
pub struct Trace {
    enabled: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// Keeps lines from now on.
    pub const fn enable(&mut self) {
        self.enabled = true;
    }

    /// Notes an event.
    pub fn line(&mut self, now: Instant, node: &str, what: fmt::Arguments<'_>) {
        if !self.enabled {
            return;
        }
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        let micros = now.0 / 1_000 % 1_000_000;
        self.lines.push_back(format!("{:>5}.{micros:06} {node:<8} {what}", now.as_secs()));
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> impl Iterator<Item = &str> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(String::as_str)
    }
}
