//! Options of every verb that reads a topology file: how it is read.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::find::STDIN;
use crate::personality::{self, Personality};
use crate::topology::{MAX_FILE, Reading, Topology, TopologyError};

/// How a topology file is read.
#[derive(Debug, Clone, Default, Args)]
pub struct Arguments {
    /// Variables of a template, YAML or JSON, beside those found as FILE_vars.yml; later ones win (may be given several times)
    #[arg(long, value_name = "FILE")]
    vars: Vec<PathBuf>,
    /// Warn of keys that nobody knows instead of refusing the file
    #[arg(long)]
    lenient: bool,
    /// Run a daemon in all nodes of a kind or image that cannot run here: weft, bird, frr, gobgp, openbgpd, exabgp or plain (may be
    /// given several times)
    #[arg(long, value_name = "KIND|IMAGE=DAEMON", value_parser = personality::parse_override)]
    substitute: Vec<(String, Personality)>,
    /// Another name for the lab than its file gives it
    #[arg(long, short)]
    name: Option<String>,
    /// Some nodes of the file alone, and the links between them
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    node_filter: Vec<String>,
}

impl Arguments {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with line and field.
    pub fn load(&self, path: &Path) -> Result<Topology, TopologyError> {
        let reading = Reading {
            env: &|name| std::env::var(name).ok(),
            vars: self.vars.clone(),
            lenient: self.lenient,
            substitutes: self.substitute.clone(),
            name: self.name.clone(),
            only: self.node_filter.clone(),
        };
        if path.as_os_str() != STDIN {
            return Topology::load_with(path, &reading);
        }
        let fault = |source| TopologyError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        // one more than is allowed, so that too much is seen to be too much
        std::io::stdin().take(MAX_FILE as u64 + 1).read_to_string(&mut text).map_err(fault)?;
        let here = std::path::absolute(path).map_err(fault)?;
        Topology::read_with(&text, &here, &reading).map_err(|error| match error {
            TopologyError::Invalid { path: wrong, first, more } if wrong == here => {
                TopologyError::Invalid { path: path.to_owned(), first, more }
            }
            TopologyError::Invalid { .. } | TopologyError::Read { .. } => error,
        })
    }

    /// The same options, as words for another process of this program that starts in the same folder.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            self.vars.iter().flat_map(|path| ["--vars".into(), path.clone().into_os_string()]).collect();
        if self.lenient {
            words.push("--lenient".into());
        }
        for (what, personality) in &self.substitute {
            words.extend(["--substitute".into(), format!("{what}={personality}").into()]);
        }
        words.extend(self.name.iter().flat_map(|name| ["--name".into(), name.into()]));
        words.extend(self.node_filter.iter().flat_map(|node| ["--node-filter".into(), node.into()]));
        words
    }
}
