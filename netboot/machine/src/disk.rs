//! Which disk is meant, and what is on one: its kind, UUID and label by its first octets, and how its table names its partitions. Octets
//! alone. Names of devices depend on the order in which drivers find them; what stands on a disk does not.

/// Octets of a disk or partition that say what is on it: the superblock of btrfs is the last of those that are known.
pub const HEAD: usize = 68 * 1024;

/// Which disk or partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A device, as `/dev/vda2`.
    Device(&'a str),
    /// By what stands on it.
    By(Tag, &'a str),
}

/// What names a disk or partition, as in `fstab` and on command lines of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// That of the file system, or of an encrypted disk.
    Uuid,
    /// Likewise.
    Label,
    /// That of the partition in its table.
    PartUuid,
    /// Likewise.
    PartLabel,
}

/// Tags as people write them.
const TAGS: [(&str, Tag); 4] =
    [("UUID", Tag::Uuid), ("LABEL", Tag::Label), ("PARTUUID", Tag::PartUuid), ("PARTLABEL", Tag::PartLabel)];

impl<'a> Place<'a> {
    /// Reads `/dev/…`, or `TAG=VALUE`; `None` for what is neither.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let sign = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        if let Some(name) = text.strip_prefix("/dev/") {
            return (!name.is_empty() && name.bytes().all(|octet| sign(octet) || octet == b'/'))
                .then_some(Self::Device(text));
        }
        let (tag, value) = text.split_once('=')?;
        let (_, tag) = TAGS.iter().find(|(name, _)| *name == tag)?;
        (!value.is_empty() && value.bytes().all(sign)).then_some(Self::By(*tag, value))
    }
}

/// What is on a disk or partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// A file system as the kernel calls it, or [`LUKS`]; `None` = nothing that is known here.
    pub kind: Option<&'static str>,
    /// In the form 8-4-4-4-12.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// The UUID of the partition.
    pub part_uuid: Option<String>,
    /// Its name in the table.
    pub part_label: Option<String>,
}

/// An encrypted disk.
pub const LUKS: &str = "crypto_LUKS";

/// Where something of a kind stands: what begins it at which octet, and there its UUID (16 octets) and label (at most so many octets).
struct Mark {
    kind: &'static str,
    magic: (usize, &'static [u8]),
    uuid: Option<usize>,
    label: Option<(usize, usize)>,
}

/// From the kernel's documentation of each file system, `Documentation/filesystems`, and its headers; LUKS from its own specification.
const MARKS: [Mark; 6] = [
    Mark { kind: "ext4", magic: (1_080, b"\x53\xef"), uuid: Some(1_128), label: Some((1_144, 16)) },
    Mark { kind: "xfs", magic: (0, b"XFSB"), uuid: Some(32), label: Some((108, 12)) },
    Mark { kind: "btrfs", magic: (65_600, b"_BHRfS_M"), uuid: Some(65_568), label: Some((65_835, 256)) },
    Mark { kind: "erofs", magic: (1_024, b"\xe2\xe1\xf5\xe0"), uuid: Some(1_072), label: Some((1_088, 16)) },
    Mark { kind: "squashfs", magic: (0, b"hsqs"), uuid: None, label: None },
    // Its UUID is text.
    Mark { kind: LUKS, magic: (0, b"LUKS\xba\xbe"), uuid: None, label: Some((24, 48)) },
];

impl About {
    /// From the first octets, [`HEAD`] of them if there are so many.
    #[must_use]
    pub fn read(head: &[u8]) -> Self {
        let is = |mark: &&Mark| head.get(mark.magic.0..).is_some_and(|rest| rest.starts_with(mark.magic.1));
        let Some(mark) = MARKS.iter().find(is) else { return Self::default() };
        let uuid = match mark.kind {
            LUKS => text(head, 168, 40),
            _ => mark.uuid.and_then(|at| array(head, at)).map(|octets| uuid(&octets)),
        };
        let label = mark.label.and_then(|(at, most)| text(head, at, most));
        Self { kind: Some(mark.kind), uuid, label, ..Self::default() }
    }

    /// Whether it is the one that is meant. UUIDs are the same in capitals.
    #[must_use]
    pub fn is(&self, tag: Tag, value: &str) -> bool {
        match tag {
            Tag::Uuid => self.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value)),
            Tag::PartUuid => self.part_uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value)),
            Tag::Label => self.label.as_deref() == Some(value),
            Tag::PartLabel => self.part_label.as_deref() == Some(value),
        }
    }

    /// In a line, as somebody could name it.
    #[must_use]
    pub fn shown(&self) -> String {
        let tags = [&self.uuid, &self.label, &self.part_uuid, &self.part_label];
        let tags = TAGS.iter().zip(tags).filter_map(|((name, _), value)| Some(format!("{name}={}", value.as_ref()?)));
        let kind = self.kind.unwrap_or("nothing known").to_owned();
        std::iter::once(kind).chain(tags).collect::<Vec<_>>().join(" ")
    }
}

/// Text that a zero ends, or its room.
fn text(head: &[u8], at: usize, most: usize) -> Option<String> {
    let room = head.get(at..at.checked_add(most)?)?;
    let text = String::from_utf8_lossy(room.split(|octet| *octet == 0).next()?).into_owned();
    Some(text).filter(|text| !text.is_empty() && !text.contains(char::is_control))
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The usual form (RFC 9562 §4).
fn uuid(octets: &[u8; 16]) -> String {
    let mut text = String::new();
    for (at, octet) in octets.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{octet:02x}"));
    }
    text
}

/// Where a disk's table names a partition. The kernel has read the table before, and has judged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// GPT (UEFI §5.3): its array begins at this octet, each entry has so many.
    Gpt {
        /// Octets before it.
        at: u64,
        /// Octets of an entry.
        entry: u64,
    },
    /// A master boot record with this signature.
    Mbr(u32),
}

/// Octets of an entry of a GPT of which the UUID is read.
pub const ENTRY: usize = 32;

impl Table {
    /// From the first two sectors of the disk, whose size in octets it is.
    #[must_use]
    pub fn read(head: &[u8], sector: usize) -> Option<Self> {
        if head.get(510..512) != Some(&[0x55, 0xaa]) {
            return None;
        }
        let header = head.get(sector..).filter(|header| header.starts_with(b"EFI PART"));
        let Some(header) = header else { return Some(Self::Mbr(u32::from_le_bytes(array(head, 440)?))) };
        let first = u64::from_le_bytes(array(header, 72)?);
        let at = first.checked_mul(u64::try_from(sector).ok()?)?;
        Some(Self::Gpt { at, entry: u64::from(u32::from_le_bytes(array(header, 84)?)) })
    }

    /// Where the entry of a partition is, counted from 1; `None` when it has none to be read.
    #[must_use]
    pub fn entry(self, number: u32) -> Option<u64> {
        match self {
            Self::Gpt { at, entry } => at.checked_add(entry.checked_mul(u64::from(number.checked_sub(1)?))?),
            Self::Mbr(_) => None,
        }
    }

    /// The UUID of a partition, from its entry in a GPT; in a master boot record as the kernel calls it, `SIGNATURE-NUMBER`.
    #[must_use]
    pub fn part_uuid(self, number: u32, entry: &[u8]) -> Option<String> {
        match self {
            Self::Mbr(signature) => Some(format!("{signature:08x}-{number:02x}")),
            Self::Gpt { .. } => {
                let mut octets: [u8; 16] = array(entry, 16)?;
                // The first three parts have their lowest octet first (UEFI, appendix A).
                octets[..4].reverse();
                octets[4..6].reverse();
                octets[6..8].reverse();
                Some(uuid(&octets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_device_or_what_stands_on_it() {
        assert_eq!(Place::read("/dev/vda2"), Some(Place::Device("/dev/vda2")));
        assert_eq!(Place::read("/dev/disk/by-id/a.b"), Some(Place::Device("/dev/disk/by-id/a.b")));
        assert_eq!(Place::read("UUID=0a-1"), Some(Place::By(Tag::Uuid, "0a-1")));
        assert_eq!(Place::read("PARTLABEL=root"), Some(Place::By(Tag::PartLabel, "root")));
        for wrong in ["sda1", "/dev/", "/dev/a b", "uuid=1", "UUID=", "LABEL=a/b", "ID=5", "LABEL=a b"] {
            assert_eq!(Place::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_on_a_disk_is_read_where_it_stands() {
        let id: Vec<u8> = (0..16).collect();
        let text = "00010203-0405-0607-0809-0a0b0c0d0e0f";
        for mark in &MARKS {
            let mut head = vec![0; HEAD];
            let mut put = |at: usize, octets: &[u8]| head[at..at + octets.len()].copy_from_slice(octets);
            put(mark.magic.0, mark.magic.1);
            match mark.kind {
                LUKS => put(168, text.as_bytes()),
                _ => mark.uuid.iter().for_each(|at| put(*at, &id)),
            }
            mark.label.iter().for_each(|(at, _)| put(*at, b"root"));
            let about = About::read(&head);
            assert_eq!(about.kind, Some(mark.kind));
            assert_eq!(about.uuid.is_some(), mark.kind != "squashfs", "{about:?}");
            assert!(about.uuid.is_none() || about.is(Tag::Uuid, &text.to_uppercase()), "{about:?}");
            assert_eq!(about.is(Tag::Label, "root"), mark.label.is_some());
            assert!(!about.is(Tag::PartUuid, text));
            for cut in [0, 512, 1_081, 1_140, 4_096] {
                let is_there = cut >= mark.magic.0 + mark.magic.1.len();
                assert_eq!(About::read(&head[..cut]).kind.is_some(), is_there, "{} of {cut}", mark.kind);
            }
        }
        assert_eq!(About::read(&vec![0; HEAD]), About::default());
        assert_eq!(About::read(&vec![0; HEAD]).shown(), "nothing known");
    }

    #[test]
    fn a_partition_is_called_as_its_table_does() {
        let mut head = vec![0; 8_192];
        assert_eq!(Table::read(&head, 512), None);
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        head[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        let mbr = Table::read(&head, 512).unwrap();
        assert_eq!(mbr.part_uuid(2, &[]).as_deref(), Some("1234abcd-02"));
        for sector in [512, 4_096] {
            let mut head = head.clone();
            head[sector..sector + 8].copy_from_slice(b"EFI PART");
            head[sector + 72..sector + 80].copy_from_slice(&2_u64.to_le_bytes());
            head[sector + 84..sector + 88].copy_from_slice(&128_u32.to_le_bytes());
            let table = Table::read(&head, sector).unwrap();
            assert_eq!(table.entry(3), Some(2 * u64::try_from(sector).unwrap() + 256));
            assert_eq!(table.entry(0), None);
            // The type of a Linux file system, UEFI's way and ours.
            let kind = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";
            let entry = [[0; 16], kind].concat();
            assert_eq!(table.part_uuid(3, &entry).as_deref(), Some("0fc63daf-8483-4772-8e79-3d69d8477de4"));
            assert_eq!(table.part_uuid(3, &entry[..20]), None);
        }
        let far = Table::Gpt { at: u64::MAX, entry: u64::MAX };
        assert_eq!(far.entry(2), None);
    }
}
