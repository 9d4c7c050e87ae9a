//! What the routing daemon of the machine says of its neighbors (`GET /v1/neighbors`), and whether that is enough to go on.

use serde::Deserialize;
use std::time::Duration;

/// Longest wait for all uplinks after the first one is up: a switch that is out of service does not hold the boot up.
pub const OTHERS_WITHIN: Duration = Duration::from_secs(10);

/// A neighbor, as far as booting needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// How the configuration calls it.
    pub name: String,
    /// What it calls itself.
    #[serde(default)]
    pub hostname: Option<String>,
    /// As RFC 4271 §8.2.2 names it.
    pub state: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Sessions {
    /// In the order of the configuration.
    pub neighbors: Vec<Session>,
}

impl Session {
    /// Whether routes come by it.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == "Established"
    }
}

impl Sessions {
    /// Reads the answer.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("the daemon's answer: {error}"))
    }

    /// How many are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.neighbors.iter().filter(|session| session.is_up()).count()
    }

    /// Whether to go on, so long after the first one came up.
    #[must_use]
    pub fn is_enough(&self, since_first: Duration) -> bool {
        let up = self.up();
        up > 0 && (up == self.neighbors.len() || since_first >= OTHERS_WITHIN)
    }

    /// In words.
    #[must_use]
    pub fn shown(&self) -> String {
        let one = |session: &Session| {
            let who = session.hostname.as_ref().map_or_else(String::new, |name| format!(" to {name}"));
            format!("{}{who} {}", session.name, if session.is_up() { "up" } else { &session.state })
        };
        self.neighbors.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(states: &[&str]) -> Sessions {
        let one =
            |(at, state): (usize, &&str)| serde_json::json!({"name": format!("eth{at}"), "state": state, "since_s": 3});
        let neighbors: Vec<_> = states.iter().enumerate().map(one).collect();
        Sessions::read(&serde_json::json!({"asn": 1, "neighbors": neighbors}).to_string()).unwrap()
    }

    #[test]
    fn one_uplink_is_enough_after_a_wait() {
        let (now, later) = (Duration::ZERO, OTHERS_WITHIN);
        assert!(sessions(&["Established", "Established"]).is_enough(now));
        assert!(!sessions(&["Established", "Connect"]).is_enough(now));
        assert!(sessions(&["Established", "Connect"]).is_enough(later));
        assert!(!sessions(&["Active", "Connect"]).is_enough(later));
        assert!(!sessions(&[]).is_enough(later));
        assert_eq!(sessions(&["Established", "Connect"]).shown(), "eth0 up, eth1 Connect");
    }
}
