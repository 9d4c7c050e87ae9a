//! What a lab consists of: nodes, links and what must be true, read from a containerlab file.
//!
//! `topology/file.rs` holds the file's own shape, strict and with the line of every value; this file turns it into
//! types that cannot be wrong: every link ends at a node that exists, every interface name is free and short enough,
//! inherited settings are merged. It starts nothing and knows no namespace.

pub mod expand;
mod file;
mod merge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::expect::Expectation;
use crate::personality::Personality;
use crate::step::Step;

/// A whole lab.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// The lab's name: letters, digits, `-`, `_` and `.`, at most [`MAX_NAME`] characters.
    pub name: String,
    /// Prefix of long node names, `clab` unless the file says otherwise; empty = none.
    pub prefix: String,
    /// The file it was read from.
    pub path: PathBuf,
    /// By name.
    pub nodes: BTreeMap<String, NodeSpec>,
    /// In the file's order.
    pub links: Vec<LinkSpec>,
    /// What must be true once it runs.
    pub expect: Vec<Expectation>,
    /// What `verify` does then, one after the other.
    pub steps: Vec<Step>,
    /// Keys that were read and have no effect here, as sentences for a person.
    pub warnings: Vec<String>,
}

/// Longest name of a lab or node: paths of sockets below the runtime directory have 107 bytes in all.
pub const MAX_NAME: usize = 32;

/// One node, with everything inherited already merged into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Name, also the host name unless the file names one.
    pub name: String,
    /// containerlab's kind: `linux` or `bridge`.
    pub kind: String,
    /// The image as written; it chose the personality.
    pub image: String,
    /// Which daemon runs in it.
    pub personality: Personality,
    /// Group, if any.
    pub group: Option<String>,
    /// Host name.
    pub hostname: String,
    /// Files and folders of the host seen in the node.
    pub binds: Vec<Bind>,
    /// Commands after start, already split into words.
    pub exec: Vec<Vec<String>>,
    /// A command of its own that stays.
    pub command: Vec<String>,
    /// Environment of everything in the node.
    pub env: BTreeMap<String, String>,
    /// `net.*` settings, key with dots.
    pub sysctls: BTreeMap<String, String>,
    /// Labels, shown by inspect.
    pub labels: BTreeMap<String, String>,
    /// Addresses by interface (`lo` too).
    pub addresses: BTreeMap<String, Vec<IpNet>>,
    /// Bridges inside the node.
    pub bridges: BTreeMap<String, Bridge>,
}

/// A bridge and the interfaces that are its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Names of interfaces of the same node.
    pub ports: Vec<String>,
    /// Addresses of the bridge itself.
    pub addresses: Vec<IpNet>,
}

/// A file or folder of the host that the node sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub host: PathBuf,
    /// Absolute path in the node.
    pub target: PathBuf,
    /// Whether the node may not write it.
    pub read_only: bool,
}

/// A link: two interfaces that are each other's far end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// One end.
    pub a: Endpoint,
    /// The other.
    pub b: Endpoint,
    /// Largest frame payload, bytes.
    pub mtu: u32,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Node.
    pub node: String,
    /// Interface in that node.
    pub interface: String,
    /// Hardware address; derived from lab, node and interface when the file gives none.
    pub mac: [u8; 6],
    /// Addresses given at the link.
    pub addresses: Vec<IpNet>,
}

/// What is wrong with a topology file; printed as `FILE:LINE:COLUMN: FIELD: what`.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// It cannot be read at all.
    #[error("{}: cannot read the topology: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no topology, or one that this program cannot run.
    #[error("{}:{line}:{column}: {field}{}{message}", path.display(), if field.is_empty() { "" } else { ": " })]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// Path of the field, as `topology.nodes.tor1.binds`.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl Topology {
    /// Reads a file; variables are expanded from `env`.
    ///
    /// # Errors
    /// When it cannot be read, is no valid topology, or asks for something this program does not do.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, TopologyError> {
        let read = |source| TopologyError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        Self::parse(&text, &absolute, env).map_err(|error| match error {
            TopologyError::Invalid { line, column, field, message, .. } => {
                TopologyError::Invalid { path: path.to_owned(), line, column, field, message }
            }
            TopologyError::Read { .. } => error,
        })
    }

    /// Reads the text of a file that stands at `path` (absolute): binds are relative to its folder.
    ///
    /// # Errors
    /// As [`Topology::load`].
    pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, TopologyError> {
        let text = expand::environment(text, env).map_err(|(line, message)| TopologyError::Invalid {
            path: path.to_owned(),
            line,
            column: 1,
            field: String::new(),
            message,
        })?;
        let file = file::read(&text).map_err(|fault| fault.at(path))?;
        merge::topology(file, path).map_err(|fault| fault.at(path))
    }

    /// containerlab's long name of a node.
    #[must_use]
    pub fn long_name(&self, node: &str) -> String {
        if self.prefix.is_empty() { node.to_owned() } else { format!("{}-{}-{node}", self.prefix, self.name) }
    }

    /// Interfaces of a node that are ends of links, in the file's order.
    pub fn interfaces(&self, node: &str) -> impl Iterator<Item = &Endpoint> {
        self.links.iter().flat_map(|link| [&link.a, &link.b]).filter(move |end| end.node == node)
    }
}

#[cfg(test)]
mod tests;
