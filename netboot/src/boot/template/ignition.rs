//! Whether Ignition can read what was made for a machine: its types (3.0 to 3.6 by its authors' crate, 2.3 in `old`), then the rules of the
//! specification that types cannot say, for each of which Ignition stops a machine before it has done anything. A fault has the place in the
//! document, what is wrong, and what to write.
//!
//! `source` knows URLs, `storage` disks and files, `unit` units of systemd.

mod old;
mod source;
mod storage;
mod unit;

use super::yaml::Not;
use serde_json::Value;
use std::collections::BTreeSet;

/// Which specification: 2.3, or the minor number of 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    Old,
    Three(u64),
}

impl Spec {
    /// Whether it is of 3.x, and not before a minor number.
    fn has(self, minor: u64) -> bool {
        matches!(self, Self::Three(own) if own >= minor)
    }
}

/// A place in the document, and what is there; `null` = nothing.
#[derive(Clone, Debug)]
struct At<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> At<'a> {
    fn get(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), value: &self.value[key] }
    }

    /// What is in the list below a key.
    fn each(&self, key: &str) -> impl Iterator<Item = Self> + use<'a> {
        let Self { path, value } = self.get(key);
        let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().enumerate().map(move |(at, value)| Self { path: format!("{path}[{at}]"), value })
    }

    fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    fn number(&self) -> i64 {
        self.value.as_i64().unwrap_or_default()
    }

    /// What is wrong here, and what to write.
    fn wrong(&self, why: &str, remedy: &str) -> String {
        let shown: String = self.value.as_str().map_or_else(|| self.value.to_string(), str::to_owned);
        let cut: String = shown.chars().take(SHOWN_MAX).collect();
        format!("{}: `{}` {why}: {remedy}", self.path, cut.escape_debug())
    }

    /// An absolute path without `.`, `..`, `//` and a `/` at its end.
    fn is_path(&self) -> Result<(), String> {
        let path = self.text();
        let inner = path.strip_prefix('/').unwrap_or(path);
        let is_simple = inner.is_empty() || inner.split('/').all(|part| !matches!(part, "" | "." | ".."));
        match path.starts_with('/') {
            false => Err(self.wrong("is not absolute", "write a path that begins with /")),
            true if !is_simple => Err(self.wrong("is no plain path", "write it without .., ., // and a / at its end")),
            true => Ok(()),
        }
    }

    /// What is there at all, and not empty.
    fn is_named(&self) -> Result<(), String> {
        if self.text().is_empty() { Err(self.wrong("is no name", "write one")) } else { Ok(()) }
    }
}

/// Characters of a value that are said again.
const SHOWN_MAX: usize = 60;

/// Nothing is there twice.
fn unique<'a>(all: impl Iterator<Item = At<'a>>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for one in all {
        if !seen.insert(one.text()) {
            return Err(one.wrong("is there twice", "write one entry for it"));
        }
    }
    Ok(())
}

/// Looks at what a machine would get.
pub(super) fn check(text: &str) -> Result<(), Not> {
    let all: Value = serde_json::from_str(text).map_err(|error| (Some(error.line().max(1)), error.to_string()))?;
    let Some(version) = all["ignition"]["version"].as_str() else {
        return Err((None, "no `ignition.version`: write 2.3.0, or 3.0.0 to 3.6.0".to_owned()));
    };
    let spec = if version == "2.3.0" {
        place::<old::Config>(text).map_or(Ok(()), Err)?;
        Spec::Old
    } else {
        types(text, version)?;
        Spec::Three(version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default())
    };
    rules(&At { path: String::new(), value: &all }, spec).map_err(|message| (None, message))
}

/// By the types of its authors.
fn types(text: &str, version: &str) -> Result<(), Not> {
    let (_, unknown) = ignition_config::Config::parse_str(text).map_err(|error| {
        if let ignition_config::Error::Serialization(error) = error {
            return where_in(text, version).unwrap_or_else(|| (Some(error.line().max(1)), error.to_string()));
        }
        let version = version.escape_debug();
        (None, format!("`ignition.version` is `{version}`, which nobody knows: write 2.3.0, or 3.0.0 to 3.6.0"))
    })?;
    match unknown.first() {
        Some(ignition_config::Warning::UnusedKey(key)) => {
            let mut path = String::new();
            for part in key.split('.').skip(1) {
                let dot = if path.is_empty() { "" } else { "." };
                let index = part.bytes().all(|digit| digit.is_ascii_digit());
                path += &if index { format!("[{part}]") } else { format!("{dot}{}", part.escape_debug()) };
            }
            Err((None, format!("{path}: version {version} has no such key: leave it out, or write a later version")))
        }
        Some(other) => Err((None, other.to_string())),
        None => Ok(()),
    }
}

/// The same once more, for the place: the crate says what is wrong, not where.
fn where_in(text: &str, version: &str) -> Option<Not> {
    match version {
        "3.0.0" => place::<ignition_config::v3_0::Config>(text),
        "3.1.0" => place::<ignition_config::v3_1::Config>(text),
        "3.2.0" => place::<ignition_config::v3_2::Config>(text),
        "3.3.0" => place::<ignition_config::v3_3::Config>(text),
        "3.4.0" => place::<ignition_config::v3_4::Config>(text),
        "3.5.0" => place::<ignition_config::v3_5::Config>(text),
        "3.6.0" => place::<ignition_config::v3_6::Config>(text),
        _ => None,
    }
}

fn place<T: serde::de::DeserializeOwned>(text: &str) -> Option<Not> {
    let read = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text));
    let error = read.err()?;
    let (path, inner) = (error.path().to_string(), error.into_inner());
    Some((Some(inner.line().max(1)), format!("{path}: {inner}")))
}

fn rules(all: &At<'_>, spec: Spec) -> Result<(), String> {
    about(&all.get("ignition"), spec)?;
    storage::rules(&all.get("storage"), spec)?;
    unit::rules(
        &all.get("systemd"),
        ".service .socket .device .mount .automount .swap .target .path .timer .slice .scope",
        spec,
    )?;
    unit::rules(&all.get("networkd"), ".network .netdev .link", spec)?;
    let passwd = all.get("passwd");
    for user in passwd.each("users") {
        user.get("name").is_named()?;
        if spec != Spec::Old {
            unique(user.each("sshAuthorizedKeys"))?;
            unique(user.each("groups"))?;
        }
    }
    for group in passwd.each("groups") {
        group.get("name").is_named()?;
    }
    if spec != Spec::Old {
        unique(passwd.each("users").map(|user| user.get("name")))?;
        unique(passwd.each("groups").map(|group| group.get("name")))?;
    }
    let arguments = all.get("kernelArguments");
    unique(arguments.each("shouldExist").chain(arguments.each("shouldNotExist")))
}

/// `ignition` itself: what else is to be read, and from where.
fn about(ignition: &At<'_>, spec: Spec) -> Result<(), String> {
    let config = ignition.get("config");
    for other in config.each("append").chain(config.each("merge")) {
        source::must(&other, spec)?;
    }
    if config.get("replace").is_set() {
        source::may(&config.get("replace"), spec)?;
    }
    let authorities = || ignition.get("security").get("tls").each("certificateAuthorities");
    for authority in authorities() {
        source::must(&authority, spec)?;
    }
    if spec != Spec::Old {
        unique(config.each("merge").map(|other| other.get("source")))?;
        unique(authorities().map(|authority| authority.get("source")))?;
    }
    let proxy = ignition.get("proxy");
    for which in ["httpProxy", "httpsProxy"].map(|which| proxy.get(which)) {
        if which.is_set() {
            source::url(&which, &["http", "https"])?;
        }
    }
    unique(proxy.each("noProxy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignition_is_read_by_its_types() {
        let file = |version: &str, more: &str| {
            format!(
                r#"{{"ignition": {{"version": "{version}"}}, "storage": {{"files": [{{"path": "/etc/hostname", "mode": 420, "contents": {{"source": "data:,n1"}}{more}}}]}}}}"#
            )
        };
        for version in ["3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0"] {
            assert_eq!(check(&file(version, "")), Ok(()), "{version}");
            // 2.x has it, 3.x has not.
            let wrong = check(&file(version, r#", "filesystem": "root""#)).unwrap_err();
            assert!(wrong.1.starts_with("storage.files[0].filesystem:"), "{wrong:?}");
        }
        assert_eq!(check(&file("2.3.0", r#", "filesystem": "root""#)), Ok(()));
        // 3.1 made it an array, and has it for files only.
        assert!(
            check(&file("2.3.0", r#", "append": [{"source": "data:,x"}]"#))
                .unwrap_err()
                .1
                .contains("storage.files[0].append")
        );
        assert!(check(&file("3.1.0", r#", "append": [{"source": "data:,x"}]"#)).is_ok());
        // Kernel arguments came with 3.3.
        let arguments = |version: &str| {
            format!(r#"{{"ignition": {{"version": "{version}"}}, "kernelArguments": {{"shouldExist": ["quiet"]}}}}"#)
        };
        assert!(check(&arguments("3.3.0")).is_ok() && check(&arguments("3.2.0")).is_err());
        for version in ["2.1.0", "3.0", "4.0.0", "3.5.0-experimental"] {
            assert!(check(&file(version, "")).unwrap_err().1.contains("ignition.version"), "{version}");
        }
        assert_eq!(check("{\n\"ignition\": ]}").unwrap_err().0, Some(2));
        assert!(check("{}").is_err());
    }

    #[test]
    fn what_would_stop_a_machine_is_refused() {
        let storage = |version: &str, files: &str| {
            format!(r#"{{"ignition": {{"version": "{version}"}}, "storage": {{"files": [{files}]}}}}"#)
        };
        let twice = r#"{"path": "/a"}, {"path": "/a"}"#;
        assert!(check(&storage("3.2.0", twice)).unwrap_err().1.contains("files[1].path: `/a` is there twice"));
        assert!(check(&storage("3.2.0", r#"{"path": "etc/a"}"#)).unwrap_err().1.contains("not absolute"));
        let unit = r#"{"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a", "enabled": true}]}}"#;
        assert!(check(unit).unwrap_err().1.contains("`a` is no unit"));
    }
}
