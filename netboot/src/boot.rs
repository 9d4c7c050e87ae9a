//! What machines boot: images, and who boots which. An image is named files of a content-addressed store (`io/boot/blobs`); here are only
//! their digests. Pure: what a client is given follows from this document and the inventory.

pub mod attempts;
pub mod authenticode;
pub mod cpio;
mod der;
pub mod ipxe;
pub mod measure;
pub mod modules;
pub mod own;
pub mod pull;
pub mod range;
pub mod rollout;
pub mod rules;
pub mod template;
pub mod uki;

use crate::error::{Kind, Refusal};
use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use crate::ipam::Meaning;
use rollout::{Canary, Past};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Images at a time: each is some versions of what a role runs.
pub const IMAGES_MAX: usize = 64;
/// Machines with an image of their own, and roles: the document, and what it was before and after in the audit log, are one transaction.
pub const PINS_MAX: usize = 4_096;
/// Initial file systems of one image; they are laid over each other in their order.
pub const INITRDS_MAX: usize = 8;
/// Octets of a command line: Linux takes 2,048 on x86 (`COMMAND_LINE_SIZE`), and iPXE adds the names of the initial file systems.
pub const CMDLINE_MAX: usize = 1_536;
/// Octets of a name.
const NAME_MAX: usize = 64;
/// What stands for no image: the machine goes on with its own disk.
const DISK: &str = "disk";

/// The digest of a file (SHA-256), which is also its name in the store of files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Of the 32 octets.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        use fmt::Write as _;
        Self(octets.iter().fold(String::with_capacity(64), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        }))
    }

    /// The 32 octets.
    #[must_use]
    pub fn octets(&self) -> [u8; 32] {
        let digit = |sign: u8| if sign.is_ascii_digit() { sign - b'0' } else { sign.wrapping_sub(b'a' - 10) };
        let mut octets = [0; 32];
        for (octet, digits) in octets.iter_mut().zip(self.0.as_bytes().chunks_exact(2)) {
            *octet = digits.iter().fold(0, |octet, sign| octet << 4 | digit(*sign) & 0xf);
        }
        octets
    }

    /// 64 hexadecimal digits in lower case: nothing else can be the name of a file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_hex = text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 64 && is_hex { Ok(Self(text)) } else { Err("64 hexadecimal digits in lower case".to_owned()) }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its octets.
    pub bytes: u64,
}

/// What a machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Linux.
    pub kernel: Blob,
    /// Its initial file systems, in the order in which they are laid over each other.
    #[serde(default)]
    pub initrds: Vec<Blob>,
    /// Its command line.
    #[serde(default)]
    pub cmdline: String,
    /// What `weft-init` does in it; then each machine gets an archive of its own behind the initial file systems ([`own`]). Absent for an
    /// image that is not weft's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// What `weft-init` does once the machine is routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Start {
    /// The initial file system is the system.
    Run,
    /// It loads this root file system into memory, and runs what is in it.
    Load(Blob),
    /// It runs the system that is installed on this device or partition, as `/dev/vda2` or `PARTUUID=…`.
    Disk(String),
}

impl Image {
    /// All of its files.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.kernel).chain(&self.initrds).chain(self.root())
    }

    /// The root file system that is loaded later.
    #[must_use]
    pub const fn root(&self) -> Option<&Blob> {
        match &self.start {
            Some(Start::Load(root)) => Some(root),
            Some(Start::Run | Start::Disk(_)) | None => None,
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.initrds.len() > INITRDS_MAX {
            let message = format!("{} initial file systems", self.initrds.len());
            return Err(Refusal::invalid("initrds", message, format!("at most {INITRDS_MAX}")).of(Kind::TooMuch));
        }
        if self.cmdline.len() > CMDLINE_MAX {
            let message = format!("{} octets", self.cmdline.len());
            return Err(Refusal::invalid("cmdline", message, format!("at most {CMDLINE_MAX}")).of(Kind::TooMuch));
        }
        if let Some(Start::Disk(device)) = &self.start
            && (device.len() > NAME_MAX || weft_machine::disk::Place::read(device).is_none())
        {
            let message = format!("`{}`", device.escape_debug());
            let rule = "a device, as /dev/vda2, or UUID=, LABEL=, PARTUUID= or PARTLABEL= and letters, digits, `-`, `_` and `.`";
            return Err(Refusal::invalid("start.disk", message, rule));
        }
        // iPXE would take these for the end of the line, another command, or a setting of its own.
        let strange = |word: &str| {
            matches!(word, "||" | "&&") || word.contains("${") || !word.bytes().all(|octet| octet.is_ascii_graphic())
        };
        match self.cmdline.split(' ').find(|word| strange(word)) {
            Some(word) => {
                let rule = "letters, digits and signs on one line, without `${`, `||` and `&&`, which iPXE reads";
                Err(Refusal::invalid("cmdline", format!("`{}`", word.escape_debug()), rule))
            }
            None => Ok(()),
        }
    }
}

/// What somebody is to boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Choice {
    /// This image.
    Image(String),
    /// No image: firmware goes on with the machine's own disk.
    Disk,
}

impl From<String> for Choice {
    fn from(text: String) -> Self {
        if text == DISK { Self::Disk } else { Self::Image(text) }
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) => f.write_str(name),
            Self::Disk => f.write_str(DISK),
        }
    }
}

/// Of whom a choice is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// One machine, by its serial number.
    Machine(String),
    /// All machines of a role that have none of their own.
    Role(String),
    /// Everybody else: machines that nobody registered too.
    Rest,
}

/// One change of all this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// An image, new or another one of this name.
    Add {
        /// Its name.
        name: String,
        /// What it is.
        image: Image,
    },
    /// An image goes.
    Remove {
        /// Its name.
        name: String,
    },
    /// Somebody boots something else.
    Pin {
        /// Who.
        whom: Whom,
        /// What; `None` = as those do that have nothing of their own.
        to: Option<Choice>,
    },
    /// Some machines of a role try something, or more of them do.
    Canary {
        /// Which role.
        role: String,
        /// What, and how many.
        canary: Canary,
        /// Also when a machine failed with it.
        force: bool,
    },
    /// What some try, all machines of the role boot.
    Promote {
        /// Which role.
        role: String,
        /// Also when a machine failed with it.
        force: bool,
    },
    /// The last change of what a role boots is undone: its canary ends, or its machines boot what they booted before.
    Rollback {
        /// Which role.
        role: String,
        /// What it is that is undone ([`Boots::undone`]); something else is left alone.
        of: Option<Choice>,
    },
}

impl Change {
    /// The role whose canary goes on by this, if that is not to be forced.
    #[must_use]
    pub fn goes_on(&self) -> Option<&str> {
        match self {
            Self::Canary { role, force: false, .. } | Self::Promote { role, force: false } => Some(role),
            Self::Add { .. }
            | Self::Remove { .. }
            | Self::Pin { .. }
            | Self::Canary { .. }
            | Self::Promote { .. }
            | Self::Rollback { .. } => None,
        }
    }

    /// What it does, for the audit log.
    #[must_use]
    pub fn action(&self) -> String {
        match self {
            Self::Add { name, .. } => format!("add image {name}"),
            Self::Remove { name } => format!("remove image {name}"),
            Self::Pin { .. } => "pin image".to_owned(),
            Self::Canary { role, canary, .. } => format!("canary {} for {} % of {role}", canary.to, canary.percent),
            Self::Promote { role, .. } => format!("promote canary of {role}"),
            Self::Rollback { role, .. } => format!("roll back {role}"),
        }
    }
}

/// The document in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Boots {
    /// By name.
    #[serde(default)]
    pub images: BTreeMap<String, Image>,
    /// What machines boot, by serial number.
    #[serde(default)]
    pub machines: BTreeMap<String, Choice>,
    /// What machines of a role boot that have nothing of their own.
    #[serde(default)]
    pub roles: BTreeMap<String, Choice>,
    /// What everybody else boots.
    pub rest: Option<Choice>,
    /// What some machines of a role try.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub canaries: BTreeMap<String, Canary>,
    /// What roles booted before, the last at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

impl Boots {
    /// The document after a change.
    ///
    /// # Errors
    /// Field and rule, when it breaks one.
    pub fn after(&self, change: &Change) -> Result<Self, Refusal> {
        let mut after = self.clone();
        match change {
            Change::Add { name, image } => {
                check_name(name)?;
                image.check()?;
                after.images.insert(name.clone(), image.clone());
                if after.images.len() > IMAGES_MAX {
                    let rule = format!("at most {IMAGES_MAX}: remove one that nobody boots");
                    return Err(Refusal::conflict("name", "one image too many", rule).of(Kind::TooMuch));
                }
            }
            Change::Remove { name } => {
                if after.images.remove(name).is_none() {
                    return Err(Refusal::not_found("image", name));
                }
                if let Some(whom) = self.who_boots(name) {
                    let message = format!("{whom} boots `{name}`");
                    return Err(Refusal::conflict("name", message, "pin another image first"));
                }
                let is = |past: &Past| matches!(&past.to, Some(Choice::Image(image)) if image == name);
                after.history.retain(|past| !is(past));
            }
            Change::Pin { whom, to } => after.pin(whom, to.as_ref())?,
            Change::Canary { role, canary, .. } => after.begin_canary(role, canary)?,
            Change::Promote { role, .. } => after.promote(role)?,
            Change::Rollback { role, of } => after.roll_back(role, of.as_ref())?,
        }
        Ok(after)
    }

    fn pin(&mut self, whom: &Whom, to: Option<&Choice>) -> Result<(), Refusal> {
        if let Some(choice) = to {
            self.is_there(choice)?;
        }
        match (whom, to) {
            (Whom::Machine(serial), Some(choice)) => drop(self.machines.insert(serial.clone(), choice.clone())),
            (Whom::Machine(serial), None) => drop(self.machines.remove(serial)),
            (Whom::Role(role), to) => self.set_role(role, to)?,
            (Whom::Rest, to) => self.rest = to.cloned(),
        }
        if self.machines.len() > PINS_MAX {
            let rule = format!("at most {PINS_MAX}: say it of roles");
            return Err(Refusal::conflict("whom", "one pin too many", rule).of(Kind::TooMuch));
        }
        Ok(())
    }

    fn is_there(&self, choice: &Choice) -> Result<(), Refusal> {
        match choice {
            Choice::Image(name) if !self.images.contains_key(name) => {
                Err(Refusal::not_found("image", name).within("to"))
            }
            Choice::Image(_) | Choice::Disk => Ok(()),
        }
    }

    /// Somebody who boots an image.
    fn who_boots(&self, name: &str) -> Option<String> {
        let is = |choice: &Choice| matches!(choice, Choice::Image(image) if image == name);
        let of = |map: &BTreeMap<String, Choice>| map.iter().find(|(_, choice)| is(choice)).map(|(key, _)| key.clone());
        let role = || of(&self.roles).map(|role| format!("the role {role}"));
        let canary = || {
            let mut canaries = self.canaries.iter();
            canaries.find(|(_, canary)| is(&canary.to)).map(|(role, _)| format!("some of the role {role}"))
        };
        let rest = || self.rest.as_ref().filter(|choice| is(choice)).map(|_| "everybody else".to_owned());
        of(&self.machines).or_else(role).or_else(canary).or_else(rest)
    }

    /// What a machine boots, or one that nobody knows.
    #[must_use]
    pub fn choice(&self, machine: Option<&Machine>) -> Option<&Choice> {
        self.choice_and_why(machine).map(|(choice, _)| choice)
    }

    /// Digests of all files that some image has.
    #[must_use]
    pub fn blobs(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(Image::blobs).map(|blob| &blob.sha256).collect()
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let sign = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if name == DISK || name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(sign) {
        let rule = format!("1 to {NAME_MAX} letters, digits, `-`, `_` and `.`, and not `{DISK}`");
        return Err(Refusal::invalid("name", format!("`{}`", name.escape_debug()), rule));
    }
    Ok(())
}

/// What who loads something says of itself. Anything may stand there: it only finds a machine, and gets into nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Serial number.
    pub serial: Option<String>,
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// Of the network card.
    pub mac: Option<String>,
}

impl Said {
    /// Of a query; keys that are unknown mean nothing.
    #[must_use]
    pub fn of(query: &str) -> Self {
        let mut said = Self::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let text = percent_encoding::percent_decode_str(value).decode_utf8_lossy().trim().to_owned();
            match key {
                "serial" => said.serial = Some(text),
                "uuid" => said.uuid = Some(text.to_ascii_lowercase()),
                "mac" => said.mac = Some(text.to_ascii_lowercase().replace('-', ":")),
                _ => {}
            }
        }
        said
    }

    /// The machine: by a network card, else UUID, else serial number, else by the address of its place from which it asks.
    #[must_use]
    pub fn machine<'i>(&self, inventory: &'i Inventory, from: IpAddr) -> Option<&'i Arc<Machine>> {
        let mac = self.mac.as_ref().and_then(|mac| inventory.owner(&format!("ids.macs {mac}")));
        let uuid = || self.uuid.as_ref().and_then(|uuid| inventory.owner(&format!("ids.uuid {uuid}")));
        let serial = || self.serial.as_ref().and_then(|serial| inventory.machine(serial)).map(|held| &held.value);
        let place = || {
            let plans = inventory.addressing()?;
            plans.plans().find_map(|plan| match plan.meaning(from)? {
                Meaning::Node { rack, index, .. } => inventory.owner(&format!("index {index} of rack {rack}")),
                Meaning::Gateway { .. } | Meaning::Lease { .. } | Meaning::Bmc { .. } | Meaning::Unused { .. } => None,
            })
        };
        mac.or_else(uuid).or_else(serial).or_else(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(octet: u8) -> Blob {
        Blob { sha256: Digest::of(&[octet; 32]), bytes: 1 }
    }

    fn image(cmdline: &str) -> Image {
        Image { kernel: blob(1), initrds: vec![blob(2)], cmdline: cmdline.to_owned(), start: None }
    }

    fn done(boots: &Boots, change: Change) -> Boots {
        boots.after(&change).unwrap()
    }

    #[test]
    fn the_nearest_pin_decides() {
        let add = |name: &str| Change::Add { name: name.to_owned(), image: image("quiet") };
        let pin = |whom, to: &str| Change::Pin { whom, to: Some(to.to_owned().into()) };
        let mut boots = Boots::default();
        for change in [
            add("a"),
            add("b"),
            pin(Whom::Rest, "a"),
            pin(Whom::Role("cs".to_owned()), "disk"),
            pin(Whom::Machine("N1".to_owned()), "b"),
        ] {
            boots = done(&boots, change);
        }
        let server = crate::inventory::tests::with_machines();
        let machine = |serial: &str| server.machine(serial).map(|held| held.value.as_ref().clone()).unwrap();
        let mut known = machine("N1");
        let says = |machine: Option<&Machine>| boots.choice(machine).map(ToString::to_string);
        assert_eq!(says(Some(&known)).as_deref(), Some("b"));
        known.serial = "N9".to_owned();
        assert_eq!(says(Some(&known)).as_deref(), Some("disk"));
        known.role = "ss".to_owned();
        assert_eq!(says(Some(&known)).as_deref(), Some("a"));
        assert_eq!(says(None).as_deref(), Some("a"));
        let unpinned = done(&boots, Change::Pin { whom: Whom::Rest, to: None });
        assert_eq!(unpinned.choice(None), None);
    }

    #[test]
    fn an_image_that_somebody_boots_stays() {
        let boots = done(&Boots::default(), Change::Add { name: "a".to_owned(), image: image("") });
        let remove = Change::Remove { name: "a".to_owned() };
        let pinned = done(&boots, Change::Pin { whom: Whom::Rest, to: Some(Choice::Image("a".to_owned())) });
        assert_eq!(pinned.after(&remove).unwrap_err().message, "everybody else boots `a`");
        assert!(done(&boots, remove.clone()).images.is_empty());
        assert_eq!(Boots::default().after(&remove).unwrap_err().kind, Kind::NotFound);
        let nothing = Change::Pin { whom: Whom::Rest, to: Some(Choice::Image("b".to_owned())) };
        assert_eq!(boots.after(&nothing).unwrap_err().field, "to");
    }

    #[test]
    fn nothing_that_ipxe_would_read_is_in_a_command_line() {
        let add = |name: &str, cmdline: &str| {
            Boots::default().after(&Change::Add { name: name.to_owned(), image: image(cmdline) })
        };
        assert!(add("a", "console=ttyS0,115200n8 panic=5 root=/dev/ram0").is_ok());
        for wrong in ["a || shell", "a\nshell", "x=${net0/mac}", "a && b", "tab\there"] {
            assert_eq!(add("a", wrong).unwrap_err().field, "cmdline", "{wrong:?}");
        }
        assert!(add("a", &"x".repeat(CMDLINE_MAX + 1)).is_err());
        for wrong in ["", "disk", "a/b", "..\n"] {
            assert_eq!(add(wrong, "").unwrap_err().field, "name");
        }
        assert_eq!(Digest::of(&[0xa9; 32]).octets(), [0xa9; 32]);
        for wrong in ["", "ABCD", "../../etc/passwd"] {
            assert!(Digest::try_from(wrong.to_owned()).is_err());
        }
    }

    #[test]
    fn who_asks_is_found_by_what_it_says_or_where_it_is() {
        let inventory = crate::inventory::tests::with_machines();
        let nowhere: IpAddr = "192.0.2.1".parse().unwrap();
        let found =
            |query: &str, from: IpAddr| Said::of(query).machine(&inventory, from).map(|found| found.serial.clone());
        assert_eq!(found("serial=N1&mac=&uuid=", nowhere).as_deref(), Some("N1"));
        assert_eq!(found("serial=%4e1", nowhere).as_deref(), Some("N1"));
        assert_eq!(found("serial=none", nowhere), None);
        let address = IpAddr::V4(inventory.machine("N1").unwrap().value.ipv4[0]);
        assert_eq!(found("", address).as_deref(), Some("N1"));
        assert_eq!(found("&&=&x", nowhere), None);
        assert_eq!(Said::of("mac=52-54-00-69-01-AB").mac.as_deref(), Some("52:54:00:69:01:ab"));
    }
}
