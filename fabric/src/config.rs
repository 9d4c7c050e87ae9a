//! Configuration: YAML text in, [`Config`] out, and from it the [`NodeConfig`] that the node runs on.
//!
//! Strict: an unknown key, a wrong value or a contradiction is refused with file, line, column, field and remedy; nothing is guessed.
//! Every fault of a file is reported at once where that is possible. Reading the file itself is `io`'s work.

mod auth;
mod bfd;
mod dhcp;
mod drain;
mod fib;
mod file;
mod import;
mod locate;
mod node;
mod observe;
mod peer;
mod record;
mod remote;
mod role;
mod sandbox;
#[cfg(test)]
mod tests;
mod value;
mod vip;

pub use crate::io::files::load;
pub use auth::{AoAlgorithm, Method, Place, Protection, TcpAo};
pub use bfd::{Bfd, BfdConfig, BfdOptions, BfdPeers, Interval};
pub use dhcp::{Dhcp, Relay, Relay6Config, RelayConfig};
pub use drain::Drain;
pub use fib::{Fib, FibConfig, NexthopCompat};
pub use file::{
    AddPath, AddPathSend, Announce, Api, BgpRole, Config, ExpectLldp, FamilyName, LocalAsOptions, LocalAsWritten,
    NextHop, OnSigterm, Peer, Range, Shutdown, Source, Timers,
};
pub use import::{ConnectedRule, ImportConfig, ImportConnected, ImportKernel, KernelRule, Terms};
pub use node::{ApiConfig, NodeConfig};
pub use observe::{Cache, Collector, CollectorConfig, DumpConfig, Mrt, Rpki, View};
pub use record::Record;
pub use remote::{Remote, RemoteConfig};
pub use role::{Defaults, Role};
pub use sandbox::{Sandbox, SandboxConfig};
pub use value::{Community, LargeCommunity, Listen, RemoteAsn, Retry};
pub use vip::{Check, CheckConfig, OnLast, Probe, ProbeConfig, Span, Start, Tls, Trust, Vip, VipConfig};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::fmt;

/// Edits within which an unknown word is taken for a slip of the pen.
const TYPO_LIKENESS: f64 = 0.8;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field: `peers.tor1.address`; empty = the whole file.
    pub field: String,
    /// Line and column, from 1.
    pub at: (u64, u64),
    /// What is wrong, with the wrong value.
    pub message: String,
    /// What to write instead.
    pub remedy: Option<String>,
}

/// What is wrong with a file: at least one fault.
#[derive(Debug)]
pub struct ConfigError {
    /// The file as named by the caller.
    pub file: String,
    /// In the order of the file's sections.
    pub faults: Vec<Fault>,
    source: NamedSource<String>,
}

impl Config {
    /// A fault of this configuration that only the machine shows, which it is for.
    #[must_use]
    pub fn refused(&self, field: &str, message: String, remedy: String) -> Box<ConfigError> {
        let Source { file, text } = &self.source;
        let at = locate::locate(text, field);
        let fault = Fault { field: field.to_owned(), at, message, remedy: Some(remedy) };
        ConfigError::new(file, text, vec![fault])
    }
}

impl ConfigError {
    /// Wraps faults of a text, so that they can be shown within it.
    #[must_use]
    pub fn new(file: &str, text: &str, faults: Vec<Fault>) -> Box<Self> {
        Box::new(Self { file: file.to_owned(), faults, source: NamedSource::new(file, text.to_owned()) })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: ", self.file, fault.at.0, fault.at.1)?;
            if !fault.field.is_empty() {
                write!(f, "{}: ", fault.field)?;
            }
            f.write_str(&fault.message)?;
            if let Some(remedy) = &fault.remedy {
                write!(f, "\n  remedy: {remedy}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Shown with the lines around each fault when printed by `miette`.
impl Diagnostic for ConfigError {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let text = self.source.inner();
        Some(Box::new(
            self.faults
                .iter()
                .map(move |fault| LabeledSpan::new(Some(fault.message.clone()), offset(text, fault.at), 1)),
        ))
    }
}

/// Byte offset of a line and column.
fn offset(text: &str, (line, column): (u64, u64)) -> usize {
    let line = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let column = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within = text.get(start..).unwrap_or_default();
    start + within.char_indices().nth(column).map_or(0, |(at, _)| at)
}

/// Reads a configuration; `file` is only for messages.
///
/// # Errors
/// When the text is no YAML, or has unknown fields or wrong values. Contradictions are found by [`Config::node`].
pub fn parse(file: &str, text: &str) -> Result<Config, Box<ConfigError>> {
    let mut field = String::new();
    let read: Result<Config, _> = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            field = error.path().to_string();
            error.into_inner()
        })
    });
    match read {
        Ok(mut config) => {
            config.source = Source { file: file.to_owned(), text: text.to_owned() };
            Ok(config)
        }
        Err(error) => {
            let fault = syntax_fault(text, field, &error);
            Err(ConfigError::new(file, text, vec![fault]))
        }
    }
}

fn syntax_fault(text: &str, field: String, error: &serde_saphyr::Error) -> Fault {
    let message = plain_message(error);
    // The reader says `.` for the top and `?` for a place without a name.
    let field = field.trim_matches(['.', '?']).to_owned();
    let at =
        error.location().map_or_else(|| locate::locate(text, &field), |location| (location.line(), location.column()));
    let remedy = remedy(&message, &field);
    Fault { field, at, message, remedy }
}

/// The message without position and snippet, which we say ourselves.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let full = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let message = full.rsplit_once(" at line ").map_or(full.as_str(), |(message, _)| message);
    message.to_owned()
}

/// What to do about a message of the YAML reader.
fn remedy(message: &str, field: &str) -> Option<String> {
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        return nearest(message);
    }
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return Some(if field.is_empty() {
            format!("add `{missing}:` at the top level")
        } else {
            format!("add `{missing}:` under `{field}`")
        });
    }
    for (start, remedy) in REMEDIES {
        if message.starts_with(start) {
            return Some(remedy.to_owned());
        }
    }
    None
}

/// What to do about messages that do not say it themselves.
const REMEDIES: [(&str, &str); 7] = [
    ("invalid IP address syntax", "write an address such as 10.69.0.4 or fd00::4, without a length"),
    ("invalid IPv4 address syntax", "write an IPv4 address such as 10.69.0.4"),
    ("invalid socket address syntax", "write an address with its port, as 10.69.0.4:9180 or '[::]:9180'"),
    ("invalid IP network syntax", "write a prefix such as 10.69.0.0/26 or fd00::/64"),
    ("duplicate mapping key", "keep one of the two"),
    ("unexpected end of file", "a host needs `role`, `asn`, `addresses` and `uplinks` or `peers`"),
    ("while parsing a flow", "close every `{` and `[` on the lines above"),
];

/// The known word most like the unknown one of `unknown field `x`, expected one of a, b`.
fn nearest(message: &str) -> Option<String> {
    let wrong = message.split('`').nth(1)?;
    let (_, known) = message.split_once(", expected ")?;
    let known = known.strip_prefix("one of ").unwrap_or(known);
    let (likeness, best) = known
        .split(", ")
        .map(|word| word.trim_matches('`'))
        .map(|word| (strsim::jaro_winkler(wrong, word), word))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness >= TYPO_LIKENESS).then(|| format!("did you mean `{best}`?"))
}
