//! Options of every verb that reads a topology file: how it is read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::personality::{self, Personality};
use crate::topology::{Reading, Topology};

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
}

impl Arguments {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with line and field.
    pub fn load(&self, path: &Path) -> Result<Topology> {
        let reading = Reading {
            env: &|name| std::env::var(name).ok(),
            vars: self.vars.clone(),
            lenient: self.lenient,
            substitutes: self.substitute.clone(),
        };
        Ok(Topology::load_with(path, &reading)?)
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
        words
    }
}
