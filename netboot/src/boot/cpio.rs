//! Archives that the kernel unpacks before its first process (cpio, "newc": Linux, buffer-format of initramfs), and gzip around them. Deterministic: the same
//! files make the same octets, because images are known by their digests, and what machines boot is measured.

use flate2::{Compression, GzBuilder};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";
/// What an entry is, as in `st_mode`.
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;
/// Archives and what follows in them begin at multiples of this.
const ALIGNMENT: usize = 4;
/// Behind the whole: whoever appends another archive finds it aligned (the kernel passes over zeros).
const BLOCK: usize = 512;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file, and its permissions.
    File(Vec<u8>, u32),
    /// A symbolic link to there.
    Link(String),
    /// A character device: major and minor number.
    Device(u32, u32),
}

/// Files by their path without the first `/`; folders above them come by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
    folders: BTreeMap<String, ()>,
}

impl Archive {
    /// Puts something there; what was there before is gone.
    pub fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        self.folders_above(path);
        self.entries.insert(path.to_owned(), entry);
    }

    /// An empty folder.
    pub fn folder(&mut self, path: &str) {
        let path = path.trim_matches('/');
        self.folders_above(path);
        self.folders.insert(path.to_owned(), ());
    }

    fn folders_above(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.folders.insert(path.get(..at).unwrap_or_default().to_owned(), ());
        }
    }

    /// The archive, without compression.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut number = 0;
        // Folders sort before what is in them.
        for name in self.folders.keys() {
            number += 1;
            entry(&mut out, number, FOLDER | 0o755, name, &[], (0, 0));
        }
        for (name, held) in &self.entries {
            number += 1;
            match held {
                Entry::File(octets, mode) => entry(&mut out, number, FILE | mode, name, octets, (0, 0)),
                Entry::Link(to) => entry(&mut out, number, LINK | 0o777, name, to.as_bytes(), (0, 0)),
                Entry::Device(major, minor) => entry(&mut out, number, DEVICE | 0o600, name, &[], (*major, *minor)),
            }
        }
        entry(&mut out, 0, 0, TRAILER, &[], (0, 0));
        out
    }

    /// The archive in gzip, so that it may stand behind another one at any octet. With zeros behind it up to a block.
    ///
    /// # Errors
    /// When memory is no place to write to, which does not happen.
    pub fn gzip(&self, compression: Compression) -> io::Result<Vec<u8>> {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), compression);
        gzip.write_all(&self.octets())?;
        let mut out = gzip.finish()?;
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        Ok(out)
    }
}

fn entry(out: &mut Vec<u8>, number: u32, mode: u32, name: &str, octets: &[u8], (major, minor): (u32, u32)) {
    let length = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let fields = [number, mode, 0, 0, links, 0, length(octets.len()), 0, 0, major, minor, length(name.len() + 1), 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out.extend_from_slice(octets);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive.put("/init", Entry::File(b"first".to_vec(), 0o755));
        archive.put("usr/bin/weft", Entry::File(vec![7; 5], 0o755));
        archive.put("/bin/sh", Entry::Link("busybox".to_owned()));
        archive.put("dev/console", Entry::Device(5, 1));
        archive.folder("/proc");
        archive
    }

    /// Names and lengths, read as the format says.
    fn read(octets: &[u8]) -> Vec<(String, u32, usize)> {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert_eq!((&octets[at..at + 6], at % ALIGNMENT), (&b"070701"[..], 0));
            let field = |number: usize| {
                let text = std::str::from_utf8(&octets[at + 6 + number * 8..at + 14 + number * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name) = (field(1), field(6) as usize, field(11) as usize);
            let text = String::from_utf8(octets[at + 110..at + 109 + name].to_vec()).unwrap();
            at = (at + 110 + name).next_multiple_of(ALIGNMENT);
            at = (at + size).next_multiple_of(ALIGNMENT);
            if text == TRAILER {
                assert_eq!(at, octets.len());
                return found;
            }
            found.push((text, mode, size));
        }
    }

    #[test]
    fn folders_stand_before_what_is_in_them() {
        let found = read(&archive().octets());
        let shown: Vec<String> = found.iter().map(|(name, mode, size)| format!("{name} {mode:o} {size}")).collect();
        let expected = [
            "bin 40755 0",
            "dev 40755 0",
            "proc 40755 0",
            "usr 40755 0",
            "usr/bin 40755 0",
            "bin/sh 120777 7",
            "dev/console 20600 0",
            "init 100755 5",
            "usr/bin/weft 100755 5",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_same_files_are_the_same_octets() {
        for compression in [Compression::none(), Compression::best()] {
            let (one, other) = (archive().gzip(compression).unwrap(), archive().gzip(compression).unwrap());
            assert_eq!(one, other);
            assert_eq!(one.len() % BLOCK, 0);
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&one[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, archive().octets());
        }
    }
}
