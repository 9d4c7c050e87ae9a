//! A disk, by cryptsetup: LUKS 2. Keys go to it by its standard input; a second one that must be a file is one of a file system in memory,
//! which is gone before anybody else runs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use weft_machine::claim::Key;
use weft_machine::keys::recovery_text;

/// Octets at the beginning of a disk that has nothing on it: as many as the headers of LUKS 2 have.
const HEAD: usize = 16 * 1024 * 1024;

/// Whether a word can be the name of an open disk.
pub(crate) fn is_name(name: &str) -> bool {
    let sign = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 63 && !name.starts_with(['-', '.']) && name.bytes().all(sign)
}

/// Whether a disk begins with nothing but zeros: nothing on it would be lost.
pub(crate) fn is_new(device: &str) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("{device}: {error}");
    let mut disk = File::open(device).map_err(failed)?;
    let (mut part, mut left) = (vec![0; 64 * 1024], HEAD);
    while left > 0 {
        let read = disk.read(&mut part).map_err(failed)?;
        if part.get(..read).unwrap_or_default().iter().any(|octet| *octet != 0) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(left < HEAD);
        }
        left = left.saturating_sub(read);
    }
    Ok(true)
}

/// The key is random: it needs no slow derivation, which is for what people think of.
const FAST: [&str; 5] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--batch-mode"];

/// Formats it, with the key and the recovery key.
pub(crate) fn format(device: &str, key: &Key) -> Result<(), String> {
    let words = ["luksFormat", "--type", "luks2", "--key-file=-", device];
    cryptsetup(&[&words[..], &FAST].concat(), &key.key)?;
    let Some(recovery) = &key.recovery else { return Ok(()) };
    let path = format!("/run/weft-key.{}", std::process::id());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(recovery_text(recovery).as_bytes()));
    let added = match written {
        Ok(()) => cryptsetup(&[&["luksAddKey", "--key-file=-", device, &path][..], &FAST].concat(), &key.key),
        Err(error) => Err(format!("{path}: {error}")),
    };
    std::fs::remove_file(&path).map_err(|error| format!("{path}: {error}"))?;
    added
}

/// Opens it.
pub(crate) fn open(device: &str, name: &str, key: &Key) -> Result<(), String> {
    cryptsetup(&["open", "--type", "luks2", "--key-file=-", device, name], &key.key)
}

fn cryptsetup(words: &[&str], key: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cryptsetup: {error}: is it in this system?");
    let mut child = Command::new("cryptsetup").args(words).stdin(Stdio::piped()).spawn().map_err(failed)?;
    // Dropped at once: the end of the file is the end of the key.
    let sent = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(key));
    let status = child.wait().map_err(failed)?;
    match (status.success(), sent) {
        (true, Ok(())) => Ok(()),
        (true, Err(error)) => Err(failed(error)),
        (false, _) => Err(format!("cryptsetup {} ended with {status}", words.first().unwrap_or(&""))),
    }
}
