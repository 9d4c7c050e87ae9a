//! `weft-netboot store`: opens a store as the server does, and copies one into a file and back; from an embedded one to etcd too.

use crate::arguments::Store as Verb;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use weft_netboot::config::StoreConfig;
use weft_netboot::io::embedded::Embedded;
use weft_netboot::io::etcd::{Etcd, Settings};
use weft_netboot::store::{Compare, Entry, Outcome, Store, TRANSACTION_BYTES_MAX, Transaction, WRITES_MAX, Write};

/// One entry of an export. Values are text: all that weft stores is JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: String,
}

/// What kind of store it is.
pub(crate) const fn name(config: &StoreConfig) -> &'static str {
    match config {
        StoreConfig::Embedded(_) => "embedded",
        StoreConfig::Etcd(_) => "etcd",
    }
}

/// Opens it.
pub(crate) fn open(config: &StoreConfig) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match config {
        StoreConfig::Embedded(path) => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).with_context(|| format!("store.embedded: {}", folder.display()))?;
            }
            Arc::new(Embedded::open(path).context("store.embedded")?)
        }
        StoreConfig::Etcd(etcd) => {
            let read = |path: &Path| std::fs::read(path).with_context(|| format!("store.etcd: {}", path.display()));
            let identity = match (&etcd.cert, &etcd.key) {
                (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
                (None, None) => None,
                _ => anyhow::bail!("store.etcd: `cert` and `key` go together"),
            };
            let ca = etcd.ca.as_deref().map(read).transpose()?;
            let (endpoints, prefix) = (etcd.endpoints.clone(), etcd.prefix.clone());
            Arc::new(Etcd::new(&Settings { endpoints, prefix, ca, identity }).context("store.etcd")?)
        }
    })
}

pub(crate) async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Export { config, file } => export(&config, &file).await,
        Verb::Import { config, file } => import(&config, &file).await,
        Verb::Migrate { config, to } => migrate(&config, &to).await,
    }
}

async fn export(config: &Path, file: &Path) -> anyhow::Result<()> {
    let snapshot = open(&crate::load(config)?.store)?.read("").await?;
    let mut text = Vec::new();
    for entry in &snapshot.entries {
        let value = String::from_utf8(entry.value.to_vec()).with_context(|| format!("entry `{}`", entry.key))?;
        serde_json::to_writer(&mut text, &Line { key: entry.key.clone(), value })?;
        text.push(b'\n');
    }
    if file == Path::new("-") {
        std::io::stdout().write_all(&text)?;
        return Ok(());
    }
    std::fs::write(file, text).with_context(|| file.display().to_string())?;
    println!("{}: {} entries of revision {}", file.display(), snapshot.entries.len(), snapshot.revision);
    Ok(())
}

async fn import(config: &Path, file: &Path) -> anyhow::Result<()> {
    let store = open(&crate::load(config)?.store)?;
    let shown = file.display();
    if !store.read("").await?.entries.is_empty() {
        anyhow::bail!("{} is not empty: import into a new store", store.describe());
    }
    let text: Box<dyn std::io::BufRead + Send> = if file == Path::new("-") {
        Box::new(std::io::BufReader::new(std::io::stdin()))
    } else {
        Box::new(std::io::BufReader::new(std::fs::File::open(file).with_context(|| shown.to_string())?))
    };
    // Read whole before anything is written: a damaged file leaves the store empty.
    let mut entries: Vec<Line> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.with_context(|| shown.to_string())?;
        entries.push(serde_json::from_str(&line).with_context(|| format!("{shown}:{}", number + 1))?);
    }
    let count = entries.len();
    fill(store.as_ref(), entries).await?;
    println!("{}: {count} entries", store.describe());
    Ok(())
}

/// Into a store that is empty, and looked at again afterwards.
async fn migrate(config: &Path, to: &Path) -> anyhow::Result<()> {
    let (old, new) = (crate::load(config)?.store, crate::load(to)?.store);
    anyhow::ensure!(old != new, "{} and {} name the same store", config.display(), to.display());
    let (old, new) = (open(&old)?, open(&new)?);
    if !new.read("").await?.entries.is_empty() {
        anyhow::bail!("{} is not empty: migrate into a new store", new.describe());
    }
    let read = old.read("").await?.entries;
    let mut entries = Vec::with_capacity(read.len());
    for entry in &read {
        let value = String::from_utf8(entry.value.to_vec()).with_context(|| format!("entry `{}`", entry.key))?;
        entries.push(Line { key: entry.key.clone(), value });
    }
    fill(new.as_ref(), entries).await?;
    let written = new.read("").await?.entries;
    let same = |(a, b): (&Entry, &Entry)| a.key == b.key && a.value == b.value;
    anyhow::ensure!(
        written.len() == read.len() && read.iter().zip(&written).all(same),
        "{} does not hold what was written to it: somebody else writes there too",
        new.describe()
    );
    // Revisions are the new store's own: who watched the old one reads everything again.
    println!("{}: {} entries of {}, read back and compared", new.describe(), read.len(), old.describe());
    Ok(())
}

async fn fill(store: &dyn Store, entries: Vec<Line>) -> anyhow::Result<()> {
    let mut transaction = Transaction::default();
    let mut bytes = 0;
    for Line { key, value } in entries {
        let size = key.len() + value.len();
        if transaction.writes.len() == WRITES_MAX || bytes + size > TRANSACTION_BYTES_MAX {
            commit(store, std::mem::take(&mut transaction)).await?;
            bytes = 0;
        }
        bytes += size;
        transaction.compares.push(Compare { key: key.clone(), modified: None });
        transaction.writes.push(Write { key, value: Some(value.into_bytes().into()) });
    }
    commit(store, transaction).await
}

async fn commit(store: &dyn Store, transaction: Transaction) -> anyhow::Result<()> {
    match store.commit(transaction).await? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict => anyhow::bail!("somebody else writes to {}: stop its servers first", store.describe()),
    }
}
