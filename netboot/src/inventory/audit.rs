//! The audit log: who changed what, from where, with what was before and after. Written in the transaction of the change itself, so
//! that there is no change without its entry and no entry without its change.

use super::access::{Access, Actor};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Days that entries are kept.
pub const KEPT_DAYS: i64 = 60;

/// When and under which name a change is written; comes from the caller's clock and chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Now.
    pub now: Timestamp,
    /// Different in every change, on every server.
    pub nonce: u64,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// With which role.
    pub role: Access,
    /// From where.
    pub via: String,
    /// What was done.
    pub action: String,
    /// To what: a serial number, or `ipam`.
    pub subject: String,
    /// The fields that changed, as they were; `None` = it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// As they are now; `None` = it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl AuditEntry {
    /// An entry with the difference between two values.
    #[must_use]
    pub fn new(
        actor: &Actor,
        stamp: &Stamp,
        action: &str,
        subject: &str,
        change: (Option<Value>, Option<Value>),
    ) -> Self {
        let (before, after) = difference(change);
        Self {
            at: stamp.now,
            who: actor.name.clone(),
            role: actor.access,
            via: actor.via.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            before,
            after,
        }
    }

    /// Its key, below `audit/`: in the order of time.
    #[must_use]
    pub fn key(stamp: &Stamp, at: usize) -> String {
        format!("{:016}-{:016x}-{at:03}", stamp.now.as_millisecond().max(0), stamp.nonce)
    }

    /// The first key that is not older than a time.
    #[must_use]
    pub fn key_from(time: Timestamp) -> String {
        format!("{:016}", time.as_millisecond().max(0))
    }
}

/// Which audit entries are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// Not older.
    pub since: Option<Timestamp>,
    /// Older than this.
    pub until: Option<Timestamp>,
    /// About this machine, or `ipam`.
    pub subject: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// An audit entry, and the revision that its change made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditLine {
    /// The revision.
    pub revision: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Of two objects only the fields that differ.
fn difference((before, after): (Option<Value>, Option<Value>)) -> (Option<Value>, Option<Value>) {
    match (before, after) {
        (Some(Value::Object(mut before)), Some(Value::Object(mut after))) => {
            let same: Vec<String> = before
                .iter()
                .filter(|(key, value)| after.get(*key) == Some(value))
                .map(|(key, _)| key.clone())
                .collect();
            // A history grows by what `state` says already.
            for key in same.iter().map(String::as_str).chain(["history"]) {
                before.remove(key);
                after.remove(key);
            }
            (Some(Value::Object(before)), Some(Value::Object(after)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_written() {
        let before = json!({"rack": 1, "state": {"name": "healthy"}, "history": [], "gone": 1});
        let after = json!({"rack": 1, "state": {"name": "unhealthy"}, "history": [1], "new": 2});
        let found = difference((Some(before), Some(after)));
        assert_eq!(found.0, Some(json!({"state": {"name": "healthy"}, "gone": 1})));
        assert_eq!(found.1, Some(json!({"state": {"name": "unhealthy"}, "new": 2})));
        assert_eq!(difference((None, Some(json!({"a": 1})))), (None, Some(json!({"a": 1}))));
    }

    #[test]
    fn keys_are_in_the_order_of_time() {
        let key = |second, nonce| AuditEntry::key(&Stamp { now: Timestamp::from_second(second).unwrap(), nonce }, 0);
        assert!(key(99, u64::MAX) < key(100, 0));
        assert!(key(100, 1) >= AuditEntry::key_from(Timestamp::from_second(100).unwrap()));
        assert!(key(99, 1) < AuditEntry::key_from(Timestamp::from_second(100).unwrap()));
    }
}
