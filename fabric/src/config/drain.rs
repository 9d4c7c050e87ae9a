//! How a node is taken out of service, and whether it starts so. As written, and what it comes to.

use super::file::Config;
use super::node::Faults;
use super::vip::{Span, span};
use crate::drain::{DrainConfig, State};
use serde::Deserialize;
use std::path::PathBuf;

/// Section `drain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The state of the node at the start, until somebody says otherwise; default `live`.
    pub boot: Option<State>,
    /// How long each state is held after everybody was told; default 1s.
    pub settle: Option<Span>,
    /// How long anybody is waited for, in each state; default 10s.
    pub limit: Option<Span>,
    /// Where it is kept what is drained; default `drain.json` beside the API socket.
    pub file: Option<PathBuf>,
}

/// The section with its defaults.
pub(super) fn drain(config: &Config, faults: &mut Faults<'_>) -> DrainConfig {
    let (written, default) = (&config.drain, DrainConfig::default());
    if written.file.as_ref().is_some_and(|file| !file.is_absolute()) {
        faults.add("drain.file", "a daemon has no folder of its own to look in", "write a path that begins with /");
    }
    DrainConfig {
        boot: written.boot.unwrap_or_default(),
        settle: span(written.settle, default.settle, "drain.settle", faults),
        limit: span(written.limit, default.limit, "drain.limit", faults),
        file: written.file.clone(),
    }
}
