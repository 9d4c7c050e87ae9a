//! `save`: writes down the configurations that the daemons of a running lab have.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use weft_fabric::io::files::lab_root;

use super::{data, exec, inspection, say};
use crate::personality::Personality;

/// Folder with them, in a node's folder.
const SAVED: &str = "saved";

/// Options of `save`.
#[derive(Debug, Clone, Args)]
pub struct Save {
    /// A lab's name [default: the only one that runs]
    lab: Option<String>,
    /// The topology file it was started from
    #[arg(long, short, value_name = "FILE", conflicts_with = "lab")]
    topo: Option<String>,
    /// Some nodes alone
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    node_filter: Vec<String>,
    /// Also write them to FOLDER/NODE, where they stay when the lab goes
    #[arg(long, value_name = "FOLDER")]
    copy: Option<PathBuf>,
}

/// Saves.
///
/// # Errors
/// When a daemon's configuration cannot be read or written; the others are saved.
pub fn save(options: &Save) -> Result<()> {
    let lab = data::lab(options.lab.as_deref(), options.topo.as_deref())?;
    let inspection = inspection(&lab)?;
    if let Some(unknown) =
        options.node_filter.iter().find(|name| !inspection.nodes.iter().any(|node| node.name == **name))
    {
        bail!("there is no node `{unknown}` in {lab}");
    }
    let mut failed = Vec::new();
    for node in inspection.nodes {
        if !options.node_filter.is_empty() && !options.node_filter.contains(&node.name) {
            continue;
        }
        let personality: Personality = node.personality.parse().map_err(|message| anyhow!("{message}"))?;
        let Some((file, words)) = configuration(personality) else {
            continue; // a shell has none
        };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let ran = exec::collect(&lab, &node.name, &words)?;
        if ran.code != 0 {
            failed.push(format!("{}: `{}`: {}", node.name, words.join(" "), ran.errors.trim()));
            continue;
        }
        let own = lab_root().join(&lab).join(&node.name).join(SAVED);
        for folder in [Some(own), options.copy.as_ref().map(|copy| copy.join(&node.name))].into_iter().flatten() {
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let path = folder.join(file);
            std::fs::write(&path, &ran.output).with_context(|| path.display().to_string())?;
            say(&format!("{}: {}", node.name, path.display()));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not saved:\n  {}", failed.join("\n  ")) }
}

/// What the file is called, and the command that prints it.
fn configuration(personality: Personality) -> Option<(&'static str, &'static [&'static str])> {
    match personality {
        Personality::Weft | Personality::Netboot => Some(("weft.yaml", &["cat", "/etc/weft/weft.yaml"])),
        Personality::Bird => Some(("bird.conf", &["cat", "/etc/bird/bird.conf"])),
        Personality::Frr => Some(("frr.conf", &["vtysh", "-c", "show running-config"])),
        Personality::Gobgp => Some(("gobgpd.yaml", &["cat", "/etc/gobgp/gobgpd.yaml"])),
        Personality::Openbgpd => Some(("openbgpd.conf", &["cat", "/etc/openbgpd.conf"])),
        Personality::Exabgp => Some(("exabgp.conf", &["cat", "/etc/exabgp/exabgp.conf"])),
        Personality::Plain => None,
    }
}
