//! One node of a file: every field read, what cannot run refused, and nothing done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::Spanned;

use super::file::{Fault, Node};
use super::link::HOST;
use super::merge::check_name;
use super::stage::Wait;
use super::{Bind, NodeSpec, Reading, Volume, expand};
use crate::personality::Personality;

/// Longest `startup-delay`, seconds.
const MAX_DELAY_S: u32 = 600;
/// Largest file of environment variables.
const MAX_ENV_FILE: u64 = 1024 * 1024;
/// Where a weft daemon's configuration is in a node.
const WEFT_CONFIG: &str = "/etc/weft/weft.yaml";

/// Where in file and lab we are.
pub(super) struct Place<'a> {
    pub(super) lab: &'a str,
    pub(super) node: &'a str,
    pub(super) folder: &'a Path,
    pub(super) field: String,
    pub(super) reading: &'a Reading<'a>,
}

impl Place<'_> {
    /// What runs in a node.
    ///
    /// # Errors
    /// When nothing here can stand for its kind or image; the sentence names what to do.
    pub(super) fn runs<T>(&self, at: &Spanned<T>, node: &Node) -> Result<Personality, Fault> {
        let kind = node.kind.as_ref().map_or("linux", |kind| kind.value.as_str());
        let image = node.image.as_deref().unwrap_or_default();
        let substitute = |wanted: &str| {
            let found = self.reading.substitutes.iter().find(|(name, _)| name == wanted);
            found.map(|(_, personality)| *personality)
        };
        let untagged = image.rsplit_once(':').map_or(image, |(name, tag)| if tag.contains('/') { image } else { name });
        if let Some(personality) = substitute(kind).or_else(|| substitute(image)).or_else(|| substitute(untagged)) {
            return Ok(personality);
        }
        match kind {
            "bridge" | "host" | "ext-container" => return Ok(Personality::Plain),
            "linux" => {}
            other => {
                let message = format!(
                    "kind `{other}` is not supported: `linux`, `bridge`, `host` and `ext-container` are; \
                     to run something else in these nodes, --substitute {other}=weft"
                );
                return Err(node.kind.as_ref().map_or_else(
                    || Fault::new(at, self.field("kind"), &*message),
                    |place| Fault::new(place, self.field("kind"), &*message),
                ));
            }
        }
        let has_command = node.cmd.is_some() || node.entrypoint.is_some();
        match Personality::known(image) {
            Some(personality) => Ok(personality),
            None if has_command || is_path(image) => Ok(Personality::Plain),
            None => {
                let message = format!(
                    "nothing here stands for image `{image}`: give the node a `cmd:`, name the folder or `docker save` file of its root \
                     (image: ./…), or --substitute {untagged}=plain"
                );
                Err(Fault::new(at, self.field("image"), message))
            }
        }
    }

    /// Reads it.
    pub(super) fn node(&self, node: Node, personality: Personality, waits: &mut Vec<Wait>) -> Result<NodeSpec, Fault> {
        let kind = node.kind.as_ref().map_or("linux", |kind| &kind.value).to_owned();
        let network = node.network_mode.as_ref().map(|mode| self.network(mode)).transpose()?.flatten();
        let mut command = Vec::new();
        for words in [&node.entrypoint, &node.cmd].into_iter().flatten() {
            command.extend(self.words(words, "cmd")?);
        }
        let image = node.image.clone().unwrap_or_default();
        let mut env = self.env_files(&node.env_files)?;
        env.extend(node.env.iter().map(|(key, value)| (key.clone(), self.magic(value))));
        let mut spec = NodeSpec::made(self.node, &kind);
        self.folders(&node, &mut spec)?;
        spec.binds.extend(node.binds.iter().map(|bind| self.bind(bind)).collect::<Result<Vec<_>, _>>()?);
        spec.exec = node.exec.iter().map(|line| self.words(line, "exec")).collect::<Result<_, _>>()?;
        spec.sysctls = node.sysctls.iter().map(|(key, value)| self.sysctl(key, value)).collect::<Result<_, _>>()?;
        spec.startup_delay = self.delay(node.startup_delay.as_ref())?;
        spec.health = match &node.healthcheck {
            Some(check) => {
                check.value.read().map_err(|message| Fault::new(check, self.field("healthcheck.test"), message))?
            }
            None => None,
        };
        let words = |line: &str| match expand::words(&self.magic(line)) {
            Ok(words) if words.is_empty() => Err("the command is empty".to_owned()),
            other => other,
        };
        spec.stages = node.stages.clone().read(self.node, &words, waits)?;
        spec.user = node.user.as_ref().map(|user| self.user(user)).transpose()?;
        spec.root = is_path(&image).then(|| self.folder.join(&image));
        if let Some(hostname) = node.hostname {
            spec.hostname = hostname;
        }
        Ok(NodeSpec { personality, image, group: node.group, command, env, labels: node.labels, network, ..spec })
    }

    /// The node whose network it uses.
    fn network(&self, mode: &Spanned<String>) -> Result<Option<String>, Fault> {
        let prefix = format!("clab-{}-", self.lab);
        match mode.value.as_str() {
            "none" | "bridge" => Ok(None),
            "host" => Ok(Some(HOST.to_owned())),
            other => match other.strip_prefix("container:") {
                Some(name) if !name.is_empty() => Ok(Some(name.strip_prefix(&prefix).unwrap_or(name).to_owned())),
                Some(_) | None => {
                    let message = format!("`{other}`: none, bridge, host and container:NODE are possible");
                    Err(Fault::new(mode, self.field("network-mode"), message))
                }
            },
        }
    }

    /// `volumes` and `tmpfs`.
    fn folders(&self, node: &Node, spec: &mut NodeSpec) -> Result<(), Fault> {
        for volume in &node.volumes {
            let text = self.magic(&volume.value);
            let name = text.split(':').next().unwrap_or_default();
            if !text.contains(':') {
                self.absolute(volume, "volumes", &text)?;
                spec.tmpfs.insert(PathBuf::from(&text), String::new());
            } else if name.starts_with(['/', '.', '~']) {
                spec.binds.push(self.bind(volume)?);
            } else {
                check_name(volume, name, &self.field("volumes"))?;
                let Bind { host: _, target, read_only } = self.bind(volume)?;
                spec.volumes.push(Volume { name: name.to_owned(), target, read_only });
            }
        }
        for (target, options) in &node.tmpfs {
            let text = options.as_ref().map_or("", |options| options.value.as_str());
            let known = ["size=", "mode=", "uid=", "gid=", "nr_inodes="];
            let words = text
                .split(',')
                .filter(|word| !word.is_empty() && !["rw", "exec", "noexec", "nosuid", "nodev"].contains(word));
            let kept: Vec<&str> = words.collect();
            if let Some(options) = options {
                if let Some(unknown) = kept.iter().find(|word| !known.iter().any(|start| word.starts_with(start))) {
                    let message = format!("`{unknown}`: size=, mode=, uid=, gid= and nr_inodes= are possible");
                    return Err(Fault::new(options, self.field("tmpfs"), message));
                }
                self.absolute(options, "tmpfs", target)?;
            }
            spec.tmpfs.insert(PathBuf::from(target), kept.join(","));
        }
        Ok(())
    }

    fn absolute<T>(&self, at: &Spanned<T>, key: &str, target: &str) -> Result<(), Fault> {
        let path = Path::new(target);
        let leaves = path.components().any(|part| part == std::path::Component::ParentDir);
        if !target.starts_with('/') || path == Path::new("/") || leaves {
            return Err(Fault::new(
                at,
                self.field(key),
                format!("`{target}` is no absolute path below / without `..`"),
            ));
        }
        Ok(())
    }

    /// Files of `NAME=value` lines; later ones win.
    fn env_files(&self, files: &[Spanned<String>]) -> Result<BTreeMap<String, String>, Fault> {
        let mut env = BTreeMap::new();
        for file in files {
            let path = self.folder.join(self.magic(&file.value));
            let fault = |what: String| Fault::new(file, self.field("env-files"), format!("{}: {what}", path.display()));
            let size = std::fs::metadata(&path).map_err(|error| fault(error.to_string()))?.len();
            if size > MAX_ENV_FILE {
                return Err(fault(format!("{size} bytes: {MAX_ENV_FILE} are the most")));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
            for (number, line) in (1..).zip(text.lines()) {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                match line.split_once('=') {
                    Some((key, value)) if !key.trim().is_empty() => {
                        let value = value.trim();
                        let bare =
                            ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
                        env.insert(key.trim().to_owned(), bare.unwrap_or(value).to_owned());
                    }
                    Some(_) | None => return Err(fault(format!("line {number}: write NAME=value"))),
                }
            }
        }
        Ok(env)
    }

    fn delay(&self, delay: Option<&Spanned<u32>>) -> Result<Duration, Fault> {
        match delay {
            Some(delay) if delay.value > MAX_DELAY_S => {
                let message = format!("{} s: {MAX_DELAY_S} are the most", delay.value);
                Err(Fault::new(delay, self.field("startup-delay"), message))
            }
            Some(delay) => Ok(Duration::from_secs(delay.value.into())),
            None => Ok(Duration::ZERO),
        }
    }

    fn user(&self, user: &Spanned<String>) -> Result<String, Fault> {
        let good =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let mut parts = user.value.split(':');
        let (name, group, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if !good(name) || !group.is_none_or(good) || rest.is_some() {
            let message = format!("`{}`: write a user's name or number, and `:group` if need be", user.value);
            return Err(Fault::new(user, self.field("user"), message));
        }
        Ok(user.value.clone())
    }

    fn field(&self, key: &str) -> String {
        format!("{}.{key}", self.field)
    }

    fn magic(&self, text: &str) -> String {
        expand::magic(text, self.lab, self.node, &self.folder.display().to_string())
    }

    fn words(&self, line: &Spanned<String>, key: &str) -> Result<Vec<String>, Fault> {
        match expand::words(&self.magic(&line.value)) {
            Ok(words) if words.is_empty() => Err(Fault::new(line, self.field(key), "the command is empty")),
            Ok(words) => Ok(words),
            Err(message) => Err(Fault::new(line, self.field(key), message)),
        }
    }

    fn bind(&self, bind: &Spanned<String>) -> Result<Bind, Fault> {
        let text = self.magic(&bind.value);
        let fault = |message: String| Fault::new(bind, self.field("binds"), message);
        let mut parts = text.split(':');
        let (Some(host), Some(target)) = (parts.next(), parts.next()) else {
            return Err(fault(format!("`{text}`: write host-path:/path/in/the/node")));
        };
        let options: Vec<&str> = parts.flat_map(|options| options.split(',')).collect();
        if let Some(unknown) = options.iter().find(|option| !["ro", "rw", "z", "Z"].contains(option)) {
            return Err(fault(format!("unknown option `{unknown}`: `ro` or `rw`")));
        }
        if !target.starts_with('/') || target == "/" {
            return Err(fault(format!("`{target}` is no absolute path below /")));
        }
        let host = PathBuf::from(host);
        let host = match host.strip_prefix("~") {
            Ok(_) => return Err(fault("`~` is not supported: write the path".to_owned())),
            Err(_) => self.folder.join(host),
        };
        Ok(Bind { host, target: PathBuf::from(target), read_only: options.contains(&"ro") })
    }

    fn sysctl(&self, key: &str, value: &Spanned<String>) -> Result<(String, String), Fault> {
        if !key.starts_with("net.") || key.contains("..") || key.contains('/') {
            let message = format!("`{key}`: only `net.` settings belong to a node; the others are the host's");
            return Err(Fault::new(value, self.field("sysctls"), message));
        }
        Ok((key.to_owned(), value.value.clone()))
    }
}

/// Whether an image is a path: its own root file system, not a name.
fn is_path(image: &str) -> bool {
    image.starts_with('/') || image.starts_with("./") || image.starts_with("../")
}

impl NodeSpec {
    /// Whether the file gives weft its configuration.
    pub(super) fn has_config(&self) -> bool {
        self.binds.iter().any(|bind| bind.target == Path::new(WEFT_CONFIG))
    }
}
