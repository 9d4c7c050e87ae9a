//! One file that UEFI starts, made of parts: a kernel with its initial file systems and command line (a unified kernel image), by appending
//! sections to a stub, a PE program that finds them in itself (Microsoft PE format, systemd-stub(7)). Nothing of the large parts is read here.
//!
//! ```text
//!   stub, with four more section headers │ .osrel │ .cmdline │ .initrd │ .linux      each at a multiple of the file alignment
//! ```

use super::authenticode::Layout;
use super::{Digest, Image};
use ring::digest::{Context, SHA256};
use std::ops::Range;

/// Octets of a stub: systemd's has some ten thousand.
pub const STUB_MAX: u64 = 4 * 1024 * 1024;
/// Octets of a section header (PE format, "Section Table").
const HEADER: usize = 40;
/// Octets of the name in it.
const NAME: usize = 8;
/// What a section of data says of itself: initialised data, readable.
const DATA: u32 = 0x4000_0040;
/// Offsets in the optional header of PE32+ from where it begins.
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
/// Most octets of an alignment: the format has 64 KiB for files, and sections are aligned to pages.
const ALIGNMENT_MAX: u32 = 2 * 1024 * 1024;
/// Archives behind each other begin at multiples of this (Linux, buffer-format of initramfs).
const ARCHIVE_ALIGNMENT: u64 = 4;

/// A stub that sections can be appended to.
#[derive(Clone, Debug)]
pub struct Stub {
    octets: Vec<u8>,
    /// Where the next section header goes.
    table_end: usize,
    sections: u16,
    optional: usize,
    section_alignment: u32,
    file_alignment: u32,
    /// The first free address behind the last section.
    next_address: u32,
    count_at: usize,
}

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These octets.
    Octets(Vec<u8>),
    /// A file of the image.
    File {
        /// Its name.
        digest: Digest,
        /// Its octets.
        bytes: u64,
    },
}

impl Piece {
    /// How many octets it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Octets(octets) => u64::try_from(octets.len()).unwrap_or(u64::MAX),
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was appended to the stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, as `.linux`.
    pub name: &'static str,
    /// Where it is in the file, without the zeros behind it.
    pub octets: Range<u64>,
}

/// The file, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki {
    /// In their order.
    pub pieces: Vec<Piece>,
    /// Octets of all of them.
    pub length: u64,
    /// What was appended to the stub, in its order.
    pub sections: Vec<Section>,
    /// What changes with any octet of it.
    pub tag: Digest,
}

impl Stub {
    /// Reads the headers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(mut octets: Vec<u8>) -> Result<Self, String> {
        let missing = || "it ends within its headers".to_owned();
        let u16_at = |at: usize| u16_in(&octets, at).ok_or_else(missing);
        let u32_at = |at: usize| u32_in(&octets, at).ok_or_else(missing);
        let pe = usize::try_from(u32_at(0x3c)?).map_err(|_| missing())?;
        let signature = pe.checked_add(4).and_then(|end| octets.get(pe..end));
        if !octets.starts_with(b"MZ") || signature != Some(b"PE\0\0") {
            return Err("it is no PE program: name the stub of systemd-boot, linuxx64.efi.stub".to_owned());
        }
        let optional = pe + 24;
        if u16_at(optional)? != 0x20b {
            return Err("it is no program of 64 bits (PE32+)".to_owned());
        }
        let (sections, count_at) = (u16_at(pe + 6)?, pe + 6);
        let table = optional + usize::from(u16_at(pe + 20)?);
        let (section_alignment, file_alignment) =
            (u32_at(optional + SECTION_ALIGNMENT)?, u32_at(optional + FILE_ALIGNMENT)?);
        let is_good = |alignment: u32, most: u32| alignment.is_power_of_two() && alignment <= most;
        if !is_good(section_alignment, ALIGNMENT_MAX) || !is_good(file_alignment, ALIGNMENT_MAX) {
            return Err(format!("its alignments are no powers of two up to {ALIGNMENT_MAX}"));
        }
        let mut first_data = u32_at(optional + SIZE_OF_HEADERS)?;
        let (mut next_address, mut end) = (0, first_data);
        for at in (0..usize::from(sections)).map(|section| table + section * HEADER) {
            let (size, address, raw, from) = (u32_at(at + 8)?, u32_at(at + 12)?, u32_at(at + 16)?, u32_at(at + 20)?);
            let last = address.checked_add(size).and_then(|end| align(end, section_alignment)).ok_or_else(missing)?;
            next_address = next_address.max(last);
            if raw != 0 {
                first_data = first_data.min(from);
                end = end.max(from.checked_add(raw).ok_or_else(missing)?);
            }
        }
        let table_end = table + usize::from(sections) * HEADER;
        let room = usize::try_from(first_data).unwrap_or(0).saturating_sub(table_end) / HEADER;
        if room < 4 {
            return Err(format!("it has room for {room} more sections, and four are needed"));
        }
        let end = usize::try_from(end).map_err(|_| missing())?;
        if end > octets.len() {
            return Err("it ends before its sections do".to_owned());
        }
        // Names for debuggers are behind the sections, and no section: a digest of the file could not have them in their place. Nor is a
        // checksum, which nobody reads, one of the file that it becomes.
        octets.truncate(end);
        octets.get_mut(pe + 12..pe + 20).ok_or_else(missing)?.fill(0);
        octets.get_mut(optional + CHECKSUM..optional + CHECKSUM + 4).ok_or_else(missing)?.fill(0);
        Ok(Self { octets, table_end, sections, optional, section_alignment, file_alignment, next_address, count_at })
    }

    /// For which architecture it is, as iPXE calls it (`buildarch`), if it is one that machines are booted on.
    #[must_use]
    pub fn architecture(&self) -> Option<&'static str> {
        // "Machine Types" of the PE format; the count of sections is behind it.
        match u16_in(&self.octets, self.count_at - 2)? {
            0x8664 => Some("x86_64"),
            0xaa64 => Some("arm64"),
            _ => None,
        }
    }

    /// The file of an image, with what the machine has of its own behind the initial file systems of all.
    ///
    /// # Errors
    /// When it would be larger than such a program can be (4 GiB).
    pub fn build(&self, name: &str, image: &Image, own: Option<Vec<u8>>) -> Result<Uki, String> {
        let release = format!("ID=weft\nNAME=weft\nVERSION_ID={name}\nPRETTY_NAME=\"weft {name}\"\n");
        let mut initrds = Vec::new();
        for blob in &image.initrds {
            pad(&mut initrds, ARCHIVE_ALIGNMENT);
            initrds.push(Piece::File { digest: blob.sha256.clone(), bytes: blob.bytes });
        }
        if let Some(own) = own {
            pad(&mut initrds, ARCHIVE_ALIGNMENT);
            initrds.push(Piece::Octets(own));
        }
        let kernel = Piece::File { digest: image.kernel.sha256.clone(), bytes: image.kernel.bytes };
        let sections = [
            (".osrel", vec![Piece::Octets(release.into_bytes())]),
            (".cmdline", vec![Piece::Octets(format!("{}\0", image.cmdline).into_bytes())]),
            (".initrd", initrds),
            (".linux", vec![kernel]),
        ];
        self.append(&sections).ok_or_else(|| format!("{name}: its files are larger than 4 GiB together"))
    }

    fn append(&self, sections: &[(&'static str, Vec<Piece>)]) -> Option<Uki> {
        let mut head = self.octets.clone();
        let (mut body, mut appended) = (Vec::new(), Vec::new());
        let stub = u64::try_from(head.len()).ok()?;
        let mut from = u32::try_from(stub.next_multiple_of(self.file_alignment.into())).ok()?;
        head.resize(usize::try_from(from).ok()?, 0);
        let (mut address, mut at, mut count) = (self.next_address, self.table_end, self.sections);
        for (name, pieces) in sections {
            let size = u32::try_from(pieces.iter().map(Piece::len).sum::<u64>()).ok()?;
            let raw = align(size, self.file_alignment)?;
            let header = [size, address, raw, from].map(u32::to_le_bytes).concat();
            let header = [&header, &[0; 12][..], &DATA.to_le_bytes()].concat();
            head.get_mut(at..at + name.len())?.copy_from_slice(name.as_bytes());
            head.get_mut(at + name.len()..at + NAME)?.fill(0);
            head.get_mut(at + NAME..at + HEADER)?.copy_from_slice(&header);
            appended.push(Section { name, octets: from.into()..u64::from(from) + u64::from(size) });
            body.extend(pieces.iter().filter(|piece| !piece.is_empty()).cloned());
            if raw > size {
                body.push(Piece::Octets(vec![0; usize::try_from(raw - size).ok()?]));
            }
            (from, at, count) = (from.checked_add(raw)?, at + HEADER, count + 1);
            address = align(address.checked_add(size.max(1))?, self.section_alignment)?;
        }
        head.get_mut(self.count_at..self.count_at + 2)?.copy_from_slice(&count.to_le_bytes());
        let size_at = self.optional + SIZE_OF_IMAGE;
        head.get_mut(size_at..size_at + 4)?.copy_from_slice(&address.to_le_bytes());
        let pieces: Vec<Piece> = std::iter::once(Piece::Octets(head)).chain(body).collect();
        let tag = tag(&pieces);
        Some(Uki { length: from.into(), pieces, sections: appended, tag })
    }
}

impl Uki {
    /// Where what its digest leaves out is.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn layout(&self) -> Result<Layout, String> {
        match self.pieces.first() {
            Some(Piece::Octets(head)) => Layout::read(head, self.length),
            Some(Piece::File { .. }) | None => Err("it has no headers".to_owned()),
        }
    }

    /// The same with a certificate table behind it.
    #[must_use]
    pub fn with_table(mut self, layout: &Layout, table: Vec<u8>) -> Option<Self> {
        let Some(Piece::Octets(head)) = self.pieces.first_mut() else { return None };
        layout.point(head, table.len())?;
        self.pieces.push(Piece::Octets(table));
        self.length = self.pieces.iter().map(Piece::len).sum();
        self.tag = tag(&self.pieces);
        Some(self)
    }

    /// What of each piece is in a part of the file, in order.
    pub fn parts(&self, from: u64, to: u64) -> impl Iterator<Item = (&Piece, Range<u64>)> {
        let mut begin = 0;
        self.pieces.iter().filter_map(move |piece| {
            let (first, length) = (begin, piece.len());
            begin += length;
            let part = from.clamp(first, begin) - first..to.clamp(first, begin) - first;
            (part.start < part.end).then_some((piece, part))
        })
    }
}

/// What changes with any octet of them.
fn tag(pieces: &[Piece]) -> Digest {
    let mut sum = Context::new(&SHA256);
    for piece in pieces {
        match piece {
            Piece::Octets(octets) => sum.update(octets),
            Piece::File { digest, .. } => sum.update(digest.as_str().as_bytes()),
        }
    }
    Digest::of(sum.finish().as_ref())
}

/// Zeros up to a multiple.
fn pad(pieces: &mut Vec<Piece>, multiple: u64) {
    let length: u64 = pieces.iter().map(Piece::len).sum();
    let zeros = usize::try_from(length.next_multiple_of(multiple) - length).unwrap_or(0);
    if zeros > 0 {
        pieces.push(Piece::Octets(vec![0; zeros]));
    }
}

fn align(value: u32, to: u32) -> Option<u32> {
    value.checked_next_multiple_of(to)
}

pub(super) fn u16_in(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk::<2>().map(|two| u16::from_le_bytes(*two))
}

pub(super) fn u32_in(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk::<4>().map(|four| u32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::super::Blob;
    use super::*;

    /// A stub with one section, headers of 1,024 octets, and room for more sections.
    fn stub(sections: u16, headers: u32) -> Vec<u8> {
        let mut octets = vec![0; 0x600];
        let mut put = |at: usize, value: &[u8]| octets[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &sections.to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x98, &0x20b_u16.to_le_bytes());
        put(0x98 + SECTION_ALIGNMENT, &0x1000_u32.to_le_bytes());
        put(0x98 + FILE_ALIGNMENT, &0x200_u32.to_le_bytes());
        put(0x98 + SIZE_OF_HEADERS, &headers.to_le_bytes());
        for section in 0..usize::from(sections) {
            let words = [0x123_u32, 0x1000, 0x200, 0x400].map(u32::to_le_bytes).concat();
            put(0x188 + section * HEADER + 8, &words);
        }
        octets
    }

    fn image(kernel: &[u8], initrds: &[&[u8]]) -> Image {
        let blob = |octets: &[u8]| Blob {
            sha256: Digest::of(ring::digest::digest(&SHA256, octets).as_ref()),
            bytes: u64::try_from(octets.len()).unwrap(),
        };
        let initrds = initrds.iter().map(|octets| blob(octets)).collect();
        Image { kernel: blob(kernel), initrds, cmdline: "quiet panic=5".to_owned(), start: None }
    }

    /// The file, where every file of the image has its length in this octet.
    fn whole(uki: &Uki) -> Vec<u8> {
        let octets = |piece: &Piece| match piece {
            Piece::Octets(octets) => octets.clone(),
            Piece::File { bytes, .. } => vec![u8::try_from(*bytes % 251).unwrap(); usize::try_from(*bytes).unwrap()],
        };
        uki.pieces.iter().flat_map(octets).collect()
    }

    /// As a loader reads it: section headers say where what is, aligned, one behind the other.
    #[test]
    fn sections_are_where_the_headers_say() {
        let before = stub(1, 0x400);
        let image = image(&[7; 5_000], &[&[1; 3], &[2; 600]]);
        let uki = Stub::read(before.clone()).unwrap().build("a", &image, None).unwrap();
        let file = whole(&uki);
        assert_eq!(u64::try_from(file.len()).unwrap(), uki.length);
        assert_eq!(u16_in(&file, 0x86), Some(5));
        assert_eq!(file[0x188..0x188 + HEADER], before[0x188..0x188 + HEADER], "the stub's own section is as it was");
        let (mut address_end, mut file_end) = (0x2000, 0x600);
        let mut found = Vec::new();
        for section in 1..5 {
            let at = 0x188 + section * HEADER;
            let [size, address, raw, from] = [8, 12, 16, 20].map(|field| u32_in(&file, at + field).unwrap());
            assert_eq!((address, from, raw % 0x200), (address_end, file_end, 0), "section {section}");
            assert_eq!(u32_in(&file, at + 36), Some(DATA));
            address_end = (address + size).next_multiple_of(0x1000);
            file_end = from + raw;
            let (from, size) = (usize::try_from(from).unwrap(), usize::try_from(size).unwrap());
            found.push((String::from_utf8_lossy(&file[at..at + 8]).into_owned(), file[from..from + size].to_vec()));
        }
        assert_eq!(
            (u32_in(&file, 0x98 + SIZE_OF_IMAGE), usize::try_from(file_end).unwrap()),
            (Some(address_end), file.len())
        );
        assert_eq!(found[1], (".cmdline".to_owned(), b"quiet panic=5\0".to_vec()));
        // Two archives, the second at a multiple of four.
        assert_eq!(found[2], (".initrd\0".to_owned(), [vec![3; 3], vec![0], vec![98; 600]].concat()));
        assert_eq!(found[3].1.len(), 5_000);
    }

    #[test]
    fn any_part_is_that_of_the_whole() {
        let uki = Stub::read(stub(1, 0x400)).unwrap().build("a", &image(&[7; 1_000], &[&[1; 700]]), None).unwrap();
        let file = whole(&uki);
        for (from, to) in
            [(0, uki.length), (0, 1), (0x5ff, 0x601), (uki.length - 1, uki.length), (0x700, 0xa00), (5, 5)]
        {
            let mut got = Vec::new();
            for (piece, part) in uki.parts(from, to) {
                let octets = whole(&Uki { pieces: vec![piece.clone()], ..uki.clone() });
                got.extend_from_slice(
                    &octets[usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap()],
                );
            }
            assert!(got == file[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()], "{from} to {to}");
        }
    }

    #[test]
    fn another_command_line_is_another_file() {
        let stub = Stub::read(stub(1, 0x400)).unwrap();
        let one = image(&[7; 10], &[]);
        let other = Image { cmdline: "single".to_owned(), ..one.clone() };
        let tag = |image: &Image| stub.build("a", image, None).unwrap().tag;
        assert_eq!(tag(&one), tag(&one));
        assert_ne!(tag(&one), tag(&other));
        let own = |octets: &[u8]| stub.build("a", &one, Some(octets.to_vec())).unwrap();
        assert_ne!(own(b"a").tag, own(b"b").tag, "so is another archive of the machine");
        let huge = Image { kernel: Blob { bytes: u64::from(u32::MAX), ..one.kernel.clone() }, ..one };
        assert!(stub.build("a", &huge, None).unwrap_err().contains("4 GiB"));
    }

    #[test]
    fn what_is_no_stub_says_why() {
        for (octets, why) in [
            (Vec::new(), "ends within"),
            (b"MZ".to_vec(), "ends within"),
            (vec![0; 0x600], "no PE program"),
            (stub(1, 0x400)[..0x190].to_vec(), "ends within"),
            (stub(13, 0x400), "room for 2 more"),
            (stub(1, 0x200), "room for 2 more"),
        ] {
            let error = Stub::read(octets).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let mut small = stub(1, 0x400);
        small[0x98..0x9a].copy_from_slice(&0x10b_u16.to_le_bytes());
        assert!(Stub::read(small).unwrap_err().contains("64 bits"));
        for (machine, arch) in [(0x8664_u16, Some("x86_64")), (0xaa64, Some("arm64")), (0x14c, None)] {
            let mut of_machine = stub(1, 0x400);
            of_machine[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
            assert_eq!(Stub::read(of_machine).unwrap().architecture(), arch);
        }
        // Any octets at all.
        for at in 0..0x400 {
            let mut wrong = stub(1, 0x400);
            wrong[at] = 0xff;
            if let Ok(stub) = Stub::read(wrong) {
                let _ = stub.build("a", &image(&[7; 10], &[&[1; 3]]), None);
            }
        }
    }
}
