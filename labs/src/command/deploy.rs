//! `deploy` and `destroy`: containerlab's words for `up --detach` and `down`, with those of its options that mean something here.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use weft_fabric::io::files::lab_root;

use super::{down, find, reading, up, validate};
use crate::lab::home;

/// Options of `deploy`.
#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// The topology file, `-` for standard input [default: the only *.clab.yml of this folder]
    #[arg(long, short, value_name = "FILE")]
    topo: Option<String>,
    #[command(flatten)]
    reading: reading::Arguments,
    /// Take a lab of this name down first
    #[arg(long, short = 'c')]
    reconfigure: bool,
    /// Read the file and say what is wrong with it, and start nothing
    #[arg(long, short)]
    dry_run: bool,
    /// The weft program for the nodes [default: the one beside this program, built if need be]
    #[arg(long, value_name = "PATH")]
    weft: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1)]
    max_workers: Option<Option<String>>,
    #[arg(long, hide = true)]
    skip_post_deploy: bool,
    #[arg(long, hide = true, num_args = 0..=1)]
    export_template: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    export_rendered: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    restore: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    runtime: Option<Option<String>>,
}

/// Options of `destroy`.
#[derive(Debug, Clone, Args)]
pub struct Destroy {
    /// The topology file [default: the only *.clab.yml of this folder]
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["name", "all"])]
    topo: Option<String>,
    /// The lab's name
    #[arg(long, short, conflicts_with = "all")]
    name: Option<String>,
    /// All labs of this user
    #[arg(long, short)]
    all: bool,
    /// Remove the lab's folder too; it always goes away
    #[arg(long, short)]
    cleanup: bool,
    /// Let daemons say goodbye; they always do
    #[arg(long)]
    graceful: bool,
    /// Ask nothing; nothing is ever asked
    #[arg(long, short)]
    yes: bool,
    #[arg(long, hide = true)]
    keep_mgmt_net: bool,
    #[arg(long, hide = true, num_args = 0..=1)]
    node_filter: Option<Option<String>>,
}

/// Starts a lab in the background.
///
/// # Errors
/// When it cannot be started, or an option means nothing here.
pub fn deploy(options: &Deploy) -> Result<ExitCode> {
    let why = [
        ("max-workers", options.max_workers.is_some(), "nodes are made as fast as the kernel takes them"),
        (
            "skip-post-deploy",
            options.skip_post_deploy,
            "`exec:` is all there is after the start: take it out of the file",
        ),
        (
            "export-template",
            options.export_template.is_some(),
            "topology-data.json is always that of the default template",
        ),
        ("export-rendered", options.export_rendered.is_some(), "`weft-lab validate` reads the rendered file"),
        ("restore", options.restore.is_some(), "no machine's disk is kept"),
        ("runtime", options.runtime.is_some(), "there is no container engine"),
    ];
    refuse(&why)?;
    let file = file(options.topo.as_deref())?;
    if options.dry_run {
        return validate::validate(&validate::Validate::of(Some(file), options.reading.clone()));
    }
    if options.reconfigure {
        if file == find::STDIN {
            bail!("--reconfigure reads the file twice: write it down, or take the lab down first");
        }
        let name = options.reading.load(&find::topology(Some(&file))?)?.name;
        if home::labs(&lab_root()).contains(&name) {
            down::down(&down::Down::of(Some(name), false))?;
        }
    }
    up::up(&up::Up::background(Some(file), options.reading.clone(), options.weft.clone()))
}

/// Ends labs.
///
/// # Errors
/// When there is no such lab, or an option means nothing here.
pub fn destroy(options: &Destroy) -> Result<()> {
    refuse(&[
        ("keep-mgmt-net", options.keep_mgmt_net, "the management network is a node of the lab"),
        (
            "node-filter",
            options.node_filter.is_some(),
            "a lab ends as a whole; `weft-lab node kill` ends the daemons of a node",
        ),
    ])?;
    let lab = match (&options.name, options.all) {
        (Some(name), _) => Some(name.clone()),
        (None, true) => None,
        (None, false) => Some(file(options.topo.as_deref())?),
    };
    down::down(&down::Down::of(lab, options.all))
}

/// The file that is meant, as containerlab finds it.
fn file(topo: Option<&str>) -> Result<String> {
    if let Some(topo) = topo {
        return Ok(topo.to_owned());
    }
    let entries = std::fs::read_dir(".").context("look into this folder")?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".clab.yml") || name.ends_with(".clab.yaml")).collect();
    names.sort();
    match &names[..] {
        [only] => Ok(only.clone()),
        [] => bail!("there is no *.clab.yml in this folder: name one with --topo FILE"),
        several => bail!("there are several: name one with --topo FILE: {}", several.join(", ")),
    }
}

fn refuse(options: &[(&str, bool, &str)]) -> Result<()> {
    match options.iter().find(|(_, given, _)| *given) {
        Some((name, _, why)) => bail!("--{name} means nothing here: {why}"),
        None => Ok(()),
    }
}
