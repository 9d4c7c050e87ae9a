//! `generate`: writes the topology file of a Clos, and starts it if asked to.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::{print, reading, say, up};
use crate::generate::{Tier, Wanted};

/// Options of `generate`.
#[derive(Debug, Clone, Args)]
pub struct Generate {
    /// The lab's name
    #[arg(long, short)]
    name: String,
    /// Nodes of each tier from below, each with its kind if need be: 8,4,2 or 8:linux,4:linux,2:linux
    #[arg(long, value_name = "COUNT[:KIND[:TYPE]]", value_delimiter = ',', required = true)]
    nodes: Vec<Tier>,
    /// Kind of tiers that say none
    #[arg(long, default_value = "linux")]
    kind: String,
    /// Image of a kind; linux has weft unless said (may be given several times)
    #[arg(long, value_name = "KIND=IMAGE", value_delimiter = ',', value_parser = pair)]
    image: Vec<(String, String)>,
    /// Beginning of the nodes' names
    #[arg(long, default_value = "node")]
    node_prefix: String,
    /// Beginning of the tiers' groups
    #[arg(long, default_value = "tier")]
    group_prefix: String,
    /// Write it there; a file that is there already is left alone [default: standard output, with --deploy NAME.clab.yml]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Start it
    #[arg(long)]
    deploy: bool,
    /// The weft program for the nodes, with --deploy
    #[arg(long, value_name = "PATH", requires = "deploy")]
    weft: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| format!("`{text}`: write KIND=IMAGE"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// Writes the file.
///
/// # Errors
/// When there is too much of something, or the file is there already.
pub fn generate(options: &Generate) -> Result<ExitCode> {
    let wanted = Wanted {
        name: options.name.clone(),
        tiers: options.nodes.clone(),
        kind: options.kind.clone(),
        images: options.image.iter().cloned().collect(),
        node_prefix: options.node_prefix.clone(),
        group_prefix: options.group_prefix.clone(),
    };
    let text = wanted.file().map_err(|message| anyhow!("{message}"))?;
    let default = options.deploy.then(|| PathBuf::from(format!("{}.clab.yml", options.name)));
    let Some(path) = options.file.clone().or(default) else {
        print(&text);
        return Ok(ExitCode::SUCCESS);
    };
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {}", path.display()))?;
    say(&format!("wrote {}", path.display()));
    if options.deploy {
        let file = path.display().to_string();
        return up::up(&up::Up::background(Some(file), reading::Arguments::default(), options.weft.clone()));
    }
    Ok(ExitCode::SUCCESS)
}
