//! The `weft-lab` binary: reads the command line and calls the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weft_labs::topology::Topology;

/// Virtual datacenters from containerlab topology files.
#[derive(Debug, Parser)]
#[command(name = "weft-lab", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read a topology file and say what is wrong with it; nothing is started
    Validate {
        /// The file, `*.clab.yml`
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Validate { file } => validate(&file),
    }
}

fn validate(path: &Path) -> ExitCode {
    match Topology::load(path, &|name| std::env::var(name).ok()) {
        Ok(topology) => {
            println!("{}: ok, {} nodes, {} links", path.display(), topology.nodes.len(), topology.links.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
