//! Reads the configuration file, and the system's name for a file that says none.

use crate::config::{self, Config, ConfigError, Fault};
use std::path::{Path, PathBuf};

/// Larger files are no configuration: the largest plan known, 10,000 machines, is 6 MB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads and parses a configuration file. `hostname` becomes the system's if the file says none.
///
/// # Errors
/// When the file cannot be read, or [`config::parse`] refuses it.
pub fn load(path: &Path) -> Result<Config, Box<ConfigError>> {
    let file = path.display().to_string();
    let text = read(path).map_err(|(message, remedy)| {
        let fault = Fault { field: String::new(), at: (1, 1), message, remedy: Some(remedy.to_owned()) };
        ConfigError::new(&file, "", vec![fault])
    })?;
    let mut config = config::parse(&file, &text)?;
    if config.hostname.is_none() {
        let system = rustix::system::uname();
        config.hostname = Some(system.nodename().to_string_lossy().into_owned());
    }
    Ok(config)
}

fn read(path: &Path) -> Result<String, (String, &'static str)> {
    let size = std::fs::metadata(path).map_err(|error| (error.to_string(), "name the file with --config"))?.len();
    if size > MAX_FILE_BYTES {
        return Err((format!("{size} bytes are too many for a configuration"), "name the right file with --config"));
    }
    std::fs::read_to_string(path).map_err(|error| (error.to_string(), "make it readable, and UTF-8"))
}

/// Where labs of this user keep what the host must see of them: a short path, because a socket's has 107 bytes in all.
#[must_use]
pub fn lab_root() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/weft-lab");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("weft-lab"),
        _ => PathBuf::from(format!("/tmp/weft-lab-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The API socket of a lab node's daemon, as the host sees it.
#[must_use]
pub fn lab_socket(lab: &str, node: &str) -> PathBuf {
    lab_root().join(lab).join(node).join("weft.sock")
}
