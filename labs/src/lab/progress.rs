//! What a lab is doing, on standard error: one changing line on a terminal, one line per phase elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;

/// Shows phases and counts.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    phase: Mutex<String>,
}

impl Progress {
    /// Decides by what standard error is.
    #[must_use]
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), phase: Mutex::new(String::new()) }
    }

    /// So many of so many in this phase.
    pub fn step(&self, phase: &str, done: usize, of: usize) {
        if self.terminal {
            self.write(&format!("\r\x1b[K{phase}: {done} of {of}"));
        } else if self.changes(phase) && done < of {
            self.write(&format!("{phase}: {of}\n"));
        }
    }

    /// A phase without a count.
    pub fn phase(&self, phase: &str) {
        if self.changes(phase) {
            self.write(&if self.terminal { format!("\r\x1b[K{phase}") } else { format!("{phase}\n") });
        }
    }

    /// A sentence that stays.
    pub fn say(&self, sentence: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}{sentence}\n"));
    }

    /// Clears the changing line.
    pub fn clear(&self) {
        if self.terminal {
            self.write("\r\x1b[K");
        }
    }

    fn changes(&self, phase: &str) -> bool {
        let mut last = self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let new = *last != phase;
        phase.clone_into(&mut last);
        new
    }

    #[expect(clippy::unused_self, reason = "there is one standard error, and this is its owner here")]
    fn write(&self, text: &str) {
        // nobody to tell when standard error is gone
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
