//! What a lab consists of: nodes, links and what must be true, read from a containerlab file.
//!
//! `topology/file.rs` holds the file's own shape, strict and with the line of every value; this file turns it into
//! types that cannot be wrong: every link ends at a node that exists, every interface name is free and short enough,
//! inherited settings are merged. It starts nothing and knows no namespace.

mod auto;
mod choose;
pub mod data;
pub mod expand;
mod faults;
mod file;
mod group;
mod lenient;
mod link;
mod merge;
mod node;
pub mod stage;
pub mod template;
pub mod tier;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::expect::Expectation;
use crate::fault::Incident;
use crate::personality::Personality;
use crate::step::Step;
use crate::topology::stage::{HealthSpec, Stage, StageSpec};

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
    /// Interfaces that are no end of a pair, in the order in which they are made.
    pub devices: Vec<DeviceSpec>,
    /// What must be true once it runs.
    pub expect: Vec<Expectation>,
    /// What `verify` does then, one after the other.
    pub steps: Vec<Step>,
    /// What goes wrong after that, by time.
    pub faults: Vec<Incident>,
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
    /// containerlab's kind: `linux`, `bridge`, `host` or `ext-container`.
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
    /// The node whose network it uses instead of one of its own.
    pub network: Option<String>,
    /// Folders on file systems of their own, with mount options.
    pub tmpfs: BTreeMap<PathBuf, String>,
    /// Folders that the lab keeps as long as it runs.
    pub volumes: Vec<Volume>,
    /// User, and group if any, of everything that runs in it.
    pub user: Option<String>,
    /// How long it waits before it starts.
    pub startup_delay: Duration,
    /// What its start waits for, and what is done meanwhile.
    pub stages: BTreeMap<Stage, StageSpec>,
    /// How it is found out whether it is well.
    pub health: Option<HealthSpec>,
    /// A configuration of weft that nobody wrote: `weft: auto`.
    pub config: Option<String>,
    /// Its own root file system: a folder, or an image in a file.
    pub root: Option<PathBuf>,
}

/// A folder of the lab, shared by the nodes that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Absolute path in the node.
    pub target: PathBuf,
    /// Whether the node may not write it.
    pub read_only: bool,
}

impl NodeSpec {
    /// A node without a daemon that the file speaks of and does not list.
    fn made(name: &str, kind: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            image: String::new(),
            personality: Personality::Plain,
            group: None,
            hostname: name.to_owned(),
            binds: Vec::new(),
            exec: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            labels: BTreeMap::new(),
            addresses: BTreeMap::new(),
            bridges: BTreeMap::new(),
            network: None,
            tmpfs: BTreeMap::new(),
            volumes: Vec::new(),
            user: None,
            startup_delay: Duration::ZERO,
            stages: BTreeMap::new(),
            health: None,
            config: None,
            root: None,
        }
    }

    /// Whether a command of its stages runs on the lab's host.
    fn speaks_of_host(&self) -> bool {
        self.stages
            .values()
            .flat_map(|stage| stage.on_enter.iter().chain(&stage.on_exit))
            .any(|command| command.at_host)
    }
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

/// An interface that is no end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The interface.
    pub end: Endpoint,
    /// Largest frame payload, bytes.
    pub mtu: u32,
    /// What it is.
    pub device: Device,
}

/// What an interface is that is no end of a pair; what is below it is in the lab's node `host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A link to nowhere that has carrier.
    Dummy,
    /// Another hardware address on an interface of the lab's host.
    Macvlan {
        /// That interface.
        parent: String,
        /// Who hears whom.
        mode: MacvlanMode,
    },
    /// A tunnel from the lab's host (RFC 7348).
    Vxlan {
        /// The other end.
        remote: IpAddr,
        /// Network identifier.
        vni: u32,
        /// UDP port of both ends.
        port: u16,
        /// Port that it sends from; `None` = by flow.
        source_port: Option<u16>,
        /// The host's interface that it goes through; `None` = by route.
        parent: Option<String>,
    },
}

/// Which frames the macvlan interfaces of a parent pass to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// All.
    Bridge,
    /// Those that come back from outside.
    Vepa,
    /// None.
    Private,
    /// There is one, and it is the parent.
    Passthru,
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

/// The link-local address that the kernel makes of a hardware address (RFC 4291 appendix A).
#[must_use]
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let pair = u16::from_be_bytes;
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair([a ^ 2, b]), pair([c, 0xff]), pair([0xfe, d]), pair([e, f]))
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
    #[error("{}:{}:{}: {first}{}", path.display(), first.line, first.column, lines(more))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The first thing that is wrong.
        first: Flaw,
        /// More of the same kind.
        more: Vec<Flaw>,
    },
}

/// A thing that is wrong in a topology file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Path of the field, as `topology.nodes.tor1.binds`; empty = of none.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.field.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.field, self.message)
    }
}

/// Flaws after the first, in lines of their own.
fn lines(flaws: &[Flaw]) -> String {
    flaws.iter().map(|flaw| format!("\n  line {}: {flaw}", flaw.line)).collect()
}

/// How a file is read.
#[derive(Clone)]
pub struct Reading<'a> {
    /// Values of environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Files of variables beside those that stand beside the topology file; later ones win.
    pub vars: Vec<PathBuf>,
    /// Keys that nobody knows are warned of instead of refused.
    pub lenient: bool,
    /// What runs in nodes of a kind, or of an image, that cannot run here.
    pub substitutes: Vec<(String, Personality)>,
    /// The lab's name, instead of the file's.
    pub name: Option<String>,
    /// Nodes that there are; empty = all.
    pub only: Vec<String>,
}

impl<'a> Reading<'a> {
    /// Strict, with nothing beside the environment.
    #[must_use]
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, vars: Vec::new(), lenient: false, substitutes: Vec::new(), name: None, only: Vec::new() }
    }
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { env: _, vars, lenient, substitutes, name, only } = self;
        let mut shown = f.debug_struct("Reading");
        shown.field("vars", vars).field("lenient", lenient).field("substitutes", substitutes);
        shown.field("name", name).field("only", only).finish_non_exhaustive()
    }
}

/// Largest topology file, before and after templates are rendered.
pub const MAX_FILE: usize = template::MAX_OUTPUT;

impl Topology {
    /// Reads a file; variables are expanded from `env`.
    ///
    /// # Errors
    /// When it cannot be read, is no valid topology, or asks for something this program does not do.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, TopologyError> {
        Self::load_with(path, &Reading::new(env))
    }

    /// Reads a file, with variables of templates.
    ///
    /// # Errors
    /// As [`Topology::load`], and when a file of variables is at fault.
    pub fn load_with(path: &Path, reading: &Reading<'_>) -> Result<Self, TopologyError> {
        let read = |source| TopologyError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > MAX_FILE as u64 {
            return Err(too_large(path, size));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        let files: Vec<PathBuf> = template::vars::beside(&absolute).into_iter().chain(reading.vars.clone()).collect();
        Self::parse_files(&text, &absolute, reading, &files).map_err(|error| match error {
            TopologyError::Invalid { path: wrong, first, more } if wrong == absolute => {
                TopologyError::Invalid { path: path.to_owned(), first, more }
            }
            TopologyError::Invalid { .. } | TopologyError::Read { .. } => error,
        })
    }

    /// Reads a text that comes from no file, as one that stands at `path` (absolute).
    ///
    /// # Errors
    /// As [`Topology::load_with`].
    pub fn read_with(text: &str, path: &Path, reading: &Reading<'_>) -> Result<Self, TopologyError> {
        Self::parse_files(text, path, reading, &reading.vars)
    }

    fn parse_files(text: &str, path: &Path, reading: &Reading<'_>, files: &[PathBuf]) -> Result<Self, TopologyError> {
        let variables = template::vars::read(files)
            .map_err(|(path, line, column, message)| invalid(path, (line, column), message))?;
        Self::parse_with(text, path, reading, &variables)
    }

    /// Reads the text of a file that stands at `path` (absolute): binds are relative to its folder. Templates have no variables.
    ///
    /// # Errors
    /// As [`Topology::load`].
    pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, TopologyError> {
        let none = serde_json::Value::Object(serde_json::Map::new());
        Self::parse_with(text, path, &Reading::new(env), &none)
    }

    fn parse_with(
        text: &str,
        path: &Path,
        reading: &Reading<'_>,
        variables: &serde_json::Value,
    ) -> Result<Self, TopologyError> {
        if text.len() > MAX_FILE {
            return Err(too_large(path, text.len() as u64));
        }
        let rendered = template::render(text, variables)
            .map_err(|(line, message)| invalid(path.to_owned(), (line, 1), message))?;
        let text = expand::environment(&rendered.text, reading.env);
        let at = |fault: file::Fault| fault.at(path, &|line| rendered.source_line(line));
        let (file, mut warnings) = if reading.lenient {
            lenient::read(&text, &|line| rendered.source_line(line)).map_err(at)?
        } else {
            (file::read(&text).map_err(at)?, Vec::new())
        };
        let mut topology = merge::topology(file, path, reading).map_err(at)?;
        warnings.append(&mut topology.warnings);
        topology.warnings = warnings;
        Ok(topology)
    }

    /// containerlab's long name of a node.
    #[must_use]
    pub fn long_name(&self, node: &str) -> String {
        if self.prefix.is_empty() { node.to_owned() } else { format!("{}-{}-{node}", self.prefix, self.name) }
    }

    /// Whether nodes start in an order of their own, or with delays.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.nodes.values().any(|node| !node.stages.is_empty() || !node.startup_delay.is_zero())
    }

    /// Interfaces of a node that are ends of links, in the file's order.
    pub fn interfaces(&self, node: &str) -> impl Iterator<Item = &Endpoint> {
        let pairs = self.links.iter().flat_map(|link| [&link.a, &link.b]);
        pairs.chain(self.devices.iter().map(|device| &device.end)).filter(move |end| end.node == node)
    }
}

/// Something wrong that no field is to blame for.
fn invalid(path: PathBuf, (line, column): (u64, u64), message: String) -> TopologyError {
    TopologyError::Invalid { path, first: Flaw { line, column, field: String::new(), message }, more: Vec::new() }
}

fn too_large(path: &Path, size: u64) -> TopologyError {
    let message =
        format!("{size} bytes of topology: {MAX_FILE} are the most; write repetitions as a template or as groups");
    invalid(path.to_owned(), (1, 1), message)
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
