//! What goes wrong at a controller, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

/// Times that one fault may come.
const COUNT_MAX: u32 = 1_000_000;
/// Longest delay of a slow answer.
const SLOW_MAX: Duration = Duration::from_secs(600);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Answers late.
    Slow(Duration),
    /// Never answers.
    Hang,
    /// Ends the connection instead of answering.
    Reset,
    /// Says that it is busy (503).
    Busy,
    /// Knows no session any more.
    Forget,
    /// Takes a soft power-off, and nothing comes of it.
    Deaf,
    /// Takes a press, and nothing comes of it.
    Swallow,
    /// Says the state that was wished before it is so.
    Boast,
    /// Says the opposite of the state.
    Wrong,
}

/// All faults by their words.
pub const WORDS: [&str; 9] = ["slow", "hang", "reset", "busy", "forget", "deaf", "swallow", "boast", "wrong"];

/// What is still to go wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    said: String,
    left: BTreeMap<Fault, u32>,
}

impl Faults {
    /// Takes over what a text says, a fault in each line: `busy 2`, `slow 1 1500ms`. The same text as before changes nothing.
    ///
    /// # Errors
    /// The line that says nothing.
    pub fn tell(&mut self, text: &str) -> Result<(), String> {
        if text == self.said {
            return Ok(());
        }
        let mut left = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (fault, count) = one(line).ok_or_else(|| {
                format!(
                    "`{line}`: write a fault and how often, as `busy 2` or `slow 1 1500ms`; faults: {}",
                    WORDS.join(", ")
                )
            })?;
            left.insert(fault, count);
        }
        self.left = left;
        text.clone_into(&mut self.said);
        Ok(())
    }

    /// Whether a fault comes now; it then comes once less.
    pub fn takes(&mut self, fault: Fault) -> bool {
        let Some(count) = self.left.get_mut(&fault).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }

    /// The fault of the next answer, whatever it is about.
    pub fn of_transport(&mut self) -> Option<Fault> {
        let is_transport = |fault: &Fault| matches!(fault, Fault::Slow(_) | Fault::Hang | Fault::Reset | Fault::Busy);
        let fault =
            self.left.iter().find(|(fault, count)| is_transport(fault) && **count > 0).map(|(fault, _)| *fault)?;
        self.takes(fault).then_some(fault)
    }
}

fn one(line: &str) -> Option<(Fault, u32)> {
    let mut words = line.split_whitespace();
    let (name, count) = (words.next()?, words.next()?.parse().ok().filter(|count| *count <= COUNT_MAX)?);
    let late = words.next();
    let fault = match (name, late) {
        ("slow", Some(late)) => {
            let late = Duration::from_millis(late.strip_suffix("ms")?.parse().ok()?);
            Fault::Slow(late.min(SLOW_MAX))
        }
        ("hang", None) => Fault::Hang,
        ("reset", None) => Fault::Reset,
        ("busy", None) => Fault::Busy,
        ("forget", None) => Fault::Forget,
        ("deaf", None) => Fault::Deaf,
        ("swallow", None) => Fault::Swallow,
        ("boast", None) => Fault::Boast,
        ("wrong", None) => Fault::Wrong,
        _ => return None,
    };
    words.next().is_none().then_some((fault, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_known_and_slips_are_named() {
        for word in WORDS {
            let late = if word == "slow" { " 20ms" } else { "" };
            assert!(Faults::default().tell(&format!("# comment\n{word} 1{late}\n")).is_ok(), "{word}");
        }
        for line in ["busy", "busy x", "busy 1 2", "slow 1", "slow 1 5s", "tired 1"] {
            assert!(Faults::default().tell(line).unwrap_err().starts_with(&format!("`{line}`")), "{line}");
        }
    }

    #[test]
    fn a_text_counts_once() {
        let mut faults = Faults::default();
        faults.tell("busy 1").unwrap();
        assert_eq!((faults.of_transport(), faults.of_transport()), (Some(Fault::Busy), None));
        faults.tell("busy 1").unwrap();
        assert_eq!(faults.of_transport(), None, "read again, it says nothing new");
        faults.tell("").unwrap();
        faults.tell("busy 1").unwrap();
        assert_eq!(faults.of_transport(), Some(Fault::Busy));
    }
}
