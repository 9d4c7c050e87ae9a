//! Reads an archive (cpio, "newc") entry by entry. Nothing of it gets out of the folder into which it is unpacked: names with `..` are refused.

use std::io::{self, Read, Write};

/// The name of the last entry.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Octets of the fields before a name.
const FIELDS: usize = 110;
/// Octets of a name: more is no path of Linux.
const NAME_MAX: u64 = 4_096;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; its octets say where to.
    Link,
    /// A character device.
    Device,
    /// A block device, a pipe, a socket.
    Other,
}

/// An entry without its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path without the first `/`; empty for the root itself.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Octets.
    pub size: u64,
}

/// An archive that is read.
#[derive(Debug)]
pub struct Archive<R> {
    from: R,
    at: u64,
}

impl<R: Read> Archive<R> {
    /// From its first octet.
    pub const fn new(from: R) -> Self {
        Self { from, at: 0 }
    }

    /// The next entry; its octets must be taken by [`Self::octets`] before the one after it. `None` at the end.
    ///
    /// # Errors
    /// When it is damaged, or cannot be read.
    pub fn entry(&mut self) -> io::Result<Option<Entry>> {
        let mut fields = [0; FIELDS];
        self.fill(&mut fields)?;
        if !fields.starts_with(b"070701") && !fields.starts_with(b"070702") {
            return Err(wrong("an entry does not begin with 070701: it is no archive of the form `newc`"));
        }
        let field = |number: usize| {
            let text = fields.get(6 + number * 8..14 + number * 8).and_then(|octets| std::str::from_utf8(octets).ok());
            text.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or_else(|| wrong("a field is no number"))
        };
        let (mode, length) = (field(1)?, u64::from(field(11)?));
        if length > NAME_MAX {
            return Err(wrong("a name is too long"));
        }
        let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut name)?;
        self.align()?;
        let name = name.strip_suffix(b"\0").unwrap_or(&name);
        if name == TRAILER {
            return Ok(None);
        }
        let kind = match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Folder,
            0o120_000 => Kind::Link,
            0o020_000 => Kind::Device,
            _ => Kind::Other,
        };
        let owner = (field(2)?, field(3)?);
        let device = (field(9)?, field(10)?);
        Ok(Some(Entry { path: path(name)?, kind, mode: mode & 0o7_777, owner, device, size: u64::from(field(6)?) }))
    }

    /// The octets of the entry that was read last.
    ///
    /// # Errors
    /// When it ends before, or they cannot be written.
    pub fn octets(&mut self, entry: &Entry, to: &mut impl Write) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.from).take(entry.size), to)?;
        self.at += copied;
        if copied < entry.size {
            return Err(wrong("it ends within a file"));
        }
        self.align()
    }

    fn fill(&mut self, octets: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(octets)?;
        self.at += u64::try_from(octets.len()).unwrap_or(0);
        Ok(())
    }

    fn align(&mut self) -> io::Result<()> {
        let left = usize::try_from(self.at.next_multiple_of(4) - self.at).unwrap_or(0);
        self.fill(&mut [0; 3].get_mut(..left).unwrap_or_default().to_vec())
    }
}

/// A path that stays where it is unpacked.
fn path(name: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(name).map_err(|_| wrong("a name is no text"))?;
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    match parts.contains(&"..") {
        true => Err(wrong("a name leads out of the archive")),
        false => Ok(parts.join("/")),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: u32, name: &str, octets: &[u8]) -> Vec<u8> {
        let (size, length) = (octets.len(), name.len() + 1);
        let mut out = format!("070701{:08X}{mode:08X}{:08X}{:08X}{:08X}{:08X}{size:08X}", 1, 0, 0, 1, 0).into_bytes();
        out.extend(format!("{:08X}{:08X}{:08X}{:08X}{length:08X}{:08X}{name}\0", 0, 0, 5, 1, 0).into_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(octets);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    type Found = (String, Kind, u32, Vec<u8>);

    fn read(octets: &[u8]) -> io::Result<Vec<Found>> {
        let (mut archive, mut found) = (Archive::new(octets), Vec::new());
        while let Some(entry) = archive.entry()? {
            let mut octets = Vec::new();
            archive.octets(&entry, &mut octets)?;
            found.push((entry.path, entry.kind, entry.mode, octets));
        }
        Ok(found)
    }

    #[test]
    fn entries_come_as_they_were_put() {
        let end = entry(0, "TRAILER!!!", b"");
        let all = [
            entry(0o040_755, ".", b""),
            entry(0o040_700, "./etc", b""),
            entry(0o100_644, "/etc/name", b"12345"),
            entry(0o120_777, "sbin/init", b"../bin/sh"),
            entry(0o020_600, "dev/console", b""),
            end.clone(),
        ]
        .concat();
        let found = read(&all).unwrap();
        let expected = [
            ("", Kind::Folder, 0o755, &b""[..]),
            ("etc", Kind::Folder, 0o700, b""),
            ("etc/name", Kind::File, 0o644, b"12345"),
            ("sbin/init", Kind::Link, 0o777, b"../bin/sh"),
            ("dev/console", Kind::Device, 0o600, b""),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(path, kind, mode, octets)| (path.to_owned(), kind, mode, octets.to_vec()))
            .collect();
        assert_eq!(found, expected);
        for cut in 0..all.len() - end.len() {
            assert!(read(&all[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn nothing_gets_out_of_the_folder() {
        for name in ["../etc/passwd", "a/../../b", ".."] {
            assert!(read(&entry(0o100_644, name, b"x")).is_err(), "{name}");
        }
        assert!(read(b"070702zz").is_err());
        assert!(read(&[b'0'; 200]).is_err());
    }
}
