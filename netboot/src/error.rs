//! Why something was not done: the caller's fault with field and rule, or the store's.

use serde::Serialize;
use std::fmt;

/// A request that breaks a rule: nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What kind of fault it is.
    pub kind: Kind,
    /// Path of the field, as the request writes it: `[3].labels.zone`; empty = the whole request.
    pub field: String,
    /// What is wrong, with the wrong value.
    pub message: String,
    /// The rule that it breaks, or what to do instead.
    pub rule: String,
}

/// Kinds of refusals: each is one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A value is wrong in itself.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// It does not go with what is there already.
    Conflict,
    /// The state of the machine forbids it.
    Transition,
    /// The caller's role may not do it.
    Forbidden,
    /// More than a named bound.
    TooMuch,
}

impl Kind {
    /// Its name, as answers say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Transition => "transition",
            Self::Forbidden => "forbidden",
            Self::TooMuch => "too-much",
        }
    }
}

impl Refusal {
    /// A value that is wrong in itself.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, field: field.into(), message: message.into(), rule: rule.into() }
    }

    /// Something that does not go with what is there.
    pub fn conflict(field: impl Into<String>, message: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { kind: Kind::Conflict, ..Self::invalid(field, message, rule) }
    }

    /// A name of nothing.
    pub fn not_found(what: &str, name: &str) -> Self {
        let rule = format!("name a {what} that is there");
        Self { kind: Kind::NotFound, ..Self::invalid("", format!("there is no {what} `{name}`"), rule) }
    }

    /// The same with another kind.
    #[must_use]
    pub fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The same with another remedy.
    #[must_use]
    pub fn with_rule(self, rule: &str) -> Self {
        Self { rule: rule.to_owned(), ..self }
    }

    /// The same, somewhere below `field`.
    #[must_use]
    pub fn within(self, field: &str) -> Self {
        let joined = match (field, self.field.as_str()) {
            ("", own) => own.to_owned(),
            (above, "") => above.to_owned(),
            (above, own) if own.starts_with('[') => format!("{above}{own}"),
            (above, own) => format!("{above}.{own}"),
        };
        Self { field: joined, ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}: {}", self.message, self.rule)
    }
}

impl std::error::Error for Refusal {}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetbootError {
    /// The request breaks a rule.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The store cannot be written or read; nothing is known to be lost.
    #[error("the store does not answer: {0}")]
    Store(String),
    /// The store may have taken it or not: its answer was lost.
    #[error("whether it was stored is unknown: {0}; look before trying again")]
    Unknown(String),
    /// Others changed the same things again and again.
    #[error("others keep changing `{0}`: try again")]
    Busy(String),
    /// A management controller did not do what it was asked.
    #[error("{0}")]
    Bmc(String),
}

impl From<Refusal> for NetbootError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
