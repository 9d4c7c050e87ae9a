//! Images in files, as `docker save` writes them (and as OCI layouts, OCI image-spec v1.0 §image-layout): unpacked into a folder that a node has as its
//! root. Nothing is fetched.
//!
//! The file is hostile until shown otherwise: names with `..` are refused, links that lead out of the folder are not followed,
//! devices are left out, and sizes and counts are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tar::{Archive, EntryType};

/// Most bytes of all layers, unpacked.
const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Most files of all layers.
const MAX_FILES: usize = 500_000;
/// Most layers; docker makes at most 127.
const MAX_LAYERS: usize = 128;
/// Largest manifest or configuration.
const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// Files of the outer archive.
const MAX_PARTS: usize = 10_000;
/// Begins what takes files of lower layers away, and says that all below goes.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What an image says of how it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Entry point and command.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// User, if any.
    pub user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(rename = "Entrypoint")]
    entrypoint: Option<Vec<String>>,
    #[serde(rename = "Cmd")]
    cmd: Option<Vec<String>>,
    #[serde(rename = "Env")]
    env: Option<Vec<String>>,
    #[serde(rename = "User")]
    user: Option<String>,
}

/// Unpacks the first image of a file into `folder`, which is made.
///
/// # Errors
/// When the file is no such image, is too large, or has names that would leave the folder.
pub fn unpack(file: &Path, folder: &Path) -> Result<Image> {
    fs::create_dir_all(folder)?;
    unpack_into(file, folder).with_context(|| format!("image {}", file.display()))
}

fn unpack_into(file: &Path, folder: &Path) -> Result<Image> {
    let parts = Parts::read(file)?;
    let (config, layers) = if parts.has("manifest.json") {
        let saved: Vec<Saved> = parts.document("manifest.json")?;
        let first = saved.into_iter().next().ok_or_else(|| anyhow!("there is no image in it"))?;
        (first.config, first.layers)
    } else if parts.has("index.json") {
        let index: Index = parts.document("index.json")?;
        let first = index.manifests.first().ok_or_else(|| anyhow!("there is no image in it"))?;
        let manifest: Manifest = parts.document(&blob(&first.digest)?)?;
        let layers = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect::<Result<_>>()?;
        (blob(&manifest.config.digest)?, layers)
    } else {
        bail!("it has neither manifest.json nor index.json: make it with `docker save IMAGE -o FILE`");
    };
    if layers.len() > MAX_LAYERS {
        bail!("{} layers: {MAX_LAYERS} are the most", layers.len());
    }
    let mut left = Left { bytes: MAX_BYTES, files: MAX_FILES };
    let folder = fs::canonicalize(folder)?;
    for layer in layers {
        let reader = parts.open(&layer)?;
        add_layer(reader, &folder, &mut left).with_context(|| format!("layer {layer}"))?;
    }
    let config = parts.document::<Document>(&config)?.config.unwrap_or_default();
    Ok(Image {
        command: config.entrypoint.into_iter().chain(config.cmd).flatten().collect(),
        env: config.env.unwrap_or_default(),
        user: config.user.filter(|user| !user.is_empty()),
    })
}

/// Place of a blob of an OCI layout.
fn blob(digest: &str) -> Result<String> {
    match digest.split_once(':') {
        Some((kind, hash)) if [kind, hash].iter().all(|part| part.chars().all(|c| c.is_ascii_alphanumeric())) => {
            Ok(format!("blobs/{kind}/{hash}"))
        }
        Some(_) | None => bail!("`{digest}` is no digest"),
    }
}

/// The outer archive: where in the file its parts are.
struct Parts<'a> {
    file: &'a Path,
    places: BTreeMap<String, (u64, u64)>,
}

impl<'a> Parts<'a> {
    fn read(file: &'a Path) -> Result<Self> {
        let mut reader = File::open(file)?;
        if is_gzip(&mut reader)? {
            bail!("the file is compressed: `gunzip` it first");
        }
        let mut places = BTreeMap::new();
        let mut links: Vec<(String, PathBuf)> = Vec::new();
        for (count, entry) in Archive::new(reader).entries_with_seek()?.enumerate() {
            let entry = entry.context("this is no tar archive")?;
            if count >= MAX_PARTS {
                bail!("more than {MAX_PARTS} parts");
            }
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            if entry.header().entry_type() == EntryType::Symlink {
                // docker writes a layer that is there twice as a link
                links.extend(entry.link_name()?.map(|to| (name, to.into_owned())));
                continue;
            }
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        for (name, to) in links {
            let target = Path::new(&name).parent().unwrap_or_else(|| Path::new("")).join(to);
            if let Some(place) = places.get(&flattened(&target)).copied() {
                places.insert(name, place);
            }
        }
        Ok(Self { file, places })
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn open(&self, name: &str) -> Result<io::Take<File>> {
        let (at, size) = self.places.get(name).ok_or_else(|| anyhow!("`{name}` is not in it"))?;
        let mut file = File::open(self.file)?;
        file.seek(SeekFrom::Start(*at))?;
        Ok(file.take(*size))
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let reader = self.open(name)?;
        if reader.limit() > MAX_DOCUMENT {
            bail!("`{name}` has {} bytes: {MAX_DOCUMENT} are the most", reader.limit());
        }
        serde_json::from_reader(reader).with_context(|| format!("`{name}`"))
    }
}

/// `a/../b` is `b`: only looked up, never opened.
fn flattened(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    parts.join("/")
}

fn is_gzip(file: &mut File) -> io::Result<bool> {
    let mut magic = [0; 2];
    let count = file.read(&mut magic)?;
    file.seek(SeekFrom::Current(-i64::try_from(count).unwrap_or(0)))?;
    Ok(magic == [0x1f, 0x8b])
}

/// What may still be unpacked.
struct Left {
    bytes: u64,
    files: usize,
}

fn add_layer(mut reader: io::Take<File>, folder: &Path, left: &mut Left) -> Result<()> {
    let limit = reader.limit();
    let zipped = is_gzip(reader.get_mut())?;
    reader.set_limit(limit);
    // headers and padding too: what is unpacked is counted entry by entry
    let bound = left.bytes.saturating_mul(2);
    let reader: Box<dyn Read> = if zipped { Box::new(GzDecoder::new(reader).take(bound)) } else { Box::new(reader) };
    let mut archive = Archive::new(reader);
    archive.set_preserve_mtime(false);
    archive.set_overwrite(true);
    let mut own = BTreeSet::new();
    for entry in archive.entries()? {
        let mut entry = entry.context("this is no tar archive (a layer is plain or gzip)")?;
        left.files = left.files.checked_sub(1).ok_or_else(|| anyhow!("more than {MAX_FILES} files"))?;
        let size = entry.size();
        left.bytes = left.bytes.checked_sub(size).ok_or_else(|| anyhow!("more than {MAX_BYTES} bytes"))?;
        let path = inner_path(&entry.path()?)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            take_away(folder, &path, if name == OPAQUE { None } else { Some(gone) }, &own)?;
            continue;
        }
        let kind = entry.header().entry_type();
        if kind.is_block_special() || kind.is_character_special() || kind.is_fifo() {
            continue;
        }
        if !name.is_empty() && !entry.unpack_in(folder).with_context(|| path.display().to_string())? {
            bail!("`{}` would be outside of the root", path.display());
        }
        own.extend(path.ancestors().map(Path::to_owned));
    }
    Ok(())
}

/// A name as a path below the root.
fn inner_path(path: &Path) -> Result<PathBuf> {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => {
                if inner.as_os_str().is_empty() && name.to_string_lossy().contains([',', ':', '\\']) {
                    bail!("`{}`: a folder of the root has no comma, colon or backslash in its name", path.display());
                }
                inner.push(name);
            }
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                bail!("`{}` would be outside of the root: the image is broken, or an attack", path.display())
            }
        }
    }
    Ok(inner)
}

/// What a layer says is no longer there: one name, or all of a folder; never what is of the layer itself (`own`), wherever in it that stands
/// (OCI image-spec v1.0 layer §whiteouts).
fn take_away(folder: &Path, path: &Path, gone: Option<&str>, own: &BTreeSet<PathBuf>) -> Result<()> {
    let Ok(parent) = fs::canonicalize(folder.join(path.parent().unwrap_or_else(|| Path::new("")))) else {
        return Ok(());
    };
    if !parent.starts_with(folder) || gone.is_some_and(|gone| ["", ".", ".."].contains(&gone)) {
        bail!("`{}` would be outside of the root", path.display());
    }
    let mut victims = match gone {
        Some(gone) => vec![parent.join(gone)],
        None => inside(&parent)?,
    };
    while let Some(victim) = victims.pop() {
        let Ok(found) = fs::symlink_metadata(&victim) else { continue };
        let is_own = victim.strip_prefix(folder).is_ok_and(|inner| own.contains(inner));
        let removed = match (is_own, found.is_dir()) {
            (true, true) => inside(&victim).map(|below| victims.extend(below)),
            (true, false) => Ok(()),
            (false, true) => fs::remove_dir_all(&victim),
            (false, false) => fs::remove_file(&victim),
        };
        removed.with_context(|| victim.display().to_string())?;
    }
    Ok(())
}

fn inside(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

#[cfg(test)]
mod tests;
