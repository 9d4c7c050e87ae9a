//! `link` and `node`: breaks and mends single parts of a running lab.

use anyhow::{Result, anyhow};
use clap::Subcommand;

use super::{ask, lab_and_node};
use crate::lab::control::Request;

/// What to do with a link.
#[derive(Debug, Clone, Subcommand)]
pub enum Link {
    /// Set an interface down; its far end loses carrier
    Down {
        /// The lab's name
        lab: String,
        /// The interface, NODE:INTERFACE
        end: String,
    },
    /// Set it up again
    Up {
        /// The lab's name
        lab: String,
        /// The interface, NODE:INTERFACE
        end: String,
    },
}

/// What to do with a node's daemon.
#[derive(Debug, Clone, Subcommand)]
pub enum Node {
    /// Kill its daemons with SIGKILL; links and addresses stay
    Kill {
        /// LAB/NODE, or NODE when one lab is running
        node: String,
    },
    /// Start them again
    Start {
        /// LAB/NODE, or NODE when one lab is running
        node: String,
    },
}

/// Sets a link up or down.
///
/// # Errors
/// When there is no such lab, node or interface.
pub fn link(what: &Link) -> Result<()> {
    let (lab, end, up) = match what {
        Link::Down { lab, end } => (lab, end, false),
        Link::Up { lab, end } => (lab, end, true),
    };
    let (node, interface) =
        end.split_once(':').ok_or_else(|| anyhow!("`{end}`: write NODE:INTERFACE, as tor1:eth1"))?;
    ask(lab, &Request::Link { node: node.to_owned(), interface: interface.to_owned(), up }).map(drop)
}

/// Kills or starts a node's daemons.
///
/// # Errors
/// When there is no such lab or node, or nothing runs there.
pub fn node(what: &Node) -> Result<()> {
    let (text, kill) = match what {
        Node::Kill { node } => (node, true),
        Node::Start { node } => (node, false),
    };
    let (lab, node) = lab_and_node(text)?;
    ask(&lab, &if kill { Request::Kill { node } } else { Request::Start { node } }).map(drop)
}
