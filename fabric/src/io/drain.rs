//! What a drain needs of the system: a file that outlives the daemon, and the kernel's counters of packets.

use crate::config::NodeConfig;
use crate::drain::traffic::{self, Traffic};
use crate::drain::{Kept, SCOPES_MAX};
use serde::Serialize;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Beside the API socket, unless the configuration says where.
const NAME: &str = "drain.json";
/// More octets than so many scopes with the longest names need.
const FILE_MAX: u64 = 512 * SCOPES_MAX as u64;

/// Where it is kept what is drained.
#[must_use]
pub fn place(config: &NodeConfig) -> PathBuf {
    let beside = || config.api.socket.with_file_name(NAME);
    config.drain.file.clone().unwrap_or_else(beside)
}

/// What people said to an earlier run; nothing if there was none.
///
/// # Errors
/// When the file cannot be read, or is not ours.
pub fn load(path: &Path) -> io::Result<Kept> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

/// Keeps it: as a whole or not at all.
///
/// # Errors
/// What the system says: a full disk, a folder that is not there.
pub fn save(path: &Path, kept: &impl Serialize) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written = std::fs::write(&beside, serde_json::to_vec(kept)?).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // Half of it is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// What the kernel counted until now; empty where it does not say.
#[must_use]
pub fn traffic(at_ms: u64) -> Traffic {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let forwarded_packets = traffic::forwarded(&read("snmp"), &read("snmp6"));
    Traffic { at_ms, forwarded_packets, interfaces: traffic::links(&read("dev")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::State;

    #[test]
    fn what_is_kept_is_read_again_and_a_broken_file_is_said() {
        let folder = std::env::temp_dir().join(format!("weft-drain-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(NAME);
        assert_eq!(load(&path).unwrap(), Kept::default());
        let kept = Kept {
            node: Some(State::Drained),
            interfaces: [("eth1".to_owned(), State::Soft)].into(),
            vips: [("web".to_owned(), State::Warm)].into(),
        };
        save(&path, &kept).unwrap();
        assert_eq!(load(&path).unwrap(), kept);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing beside it is left");
        for broken in ["", "{\"node\": \"asleep\"}", "{\"nodes\": \"soft\"}", "7"] {
            std::fs::write(&path, broken).unwrap();
            assert!(load(&path).is_err(), "{broken}");
        }
        assert!(save(&folder.join("no/where.json"), &kept).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_kernel_counts_here_too() {
        assert!(traffic(0).forwarded_packets.is_some());
    }
}
