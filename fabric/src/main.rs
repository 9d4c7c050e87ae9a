//! The `weft` binary: reads the command line and calls the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to a person")]

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weft_fabric::config;

/// BGP to the host: the weft daemon and the commands that inspect it.
#[derive(Debug, Parser)]
#[command(name = "weft", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read a daemon's configuration and say what is wrong with it; nothing is started
    Check {
        /// The file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Check { config } => check(&config),
    }
}

fn check(path: &Path) -> ExitCode {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match config::parse(&name, &text).and_then(|config| config.node()) {
        Ok(node) => {
            println!("{name}: ok, {} peers, {} listen ranges", node.peers.len(), node.dynamic.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
