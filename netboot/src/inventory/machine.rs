//! What is known about a machine, and which words may stand in it.

use crate::error::Refusal;
use crate::inventory::state::{Passage, Status};
use crate::plan::Range;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Changes of state kept in the record; older ones are in the audit log.
pub const HISTORY_MAX: usize = 32;
/// Characters of a reason: a sentence or two.
pub const REASON_MAX: usize = 256;
/// Labels of one machine.
pub const LABELS_MAX: usize = 64;
/// MAC addresses, and network cards, of one machine: a server with many functions per card has a few dozen.
pub const NICS_MAX: usize = 64;
/// Disks of one machine: a full storage shelf has about a hundred.
pub const DISKS_MAX: usize = 256;
/// Prefixes that one machine may announce beside its own addresses.
pub const ANNOUNCES_MAX: usize = 64;
/// Characters of a serial number, a name, a role, a label or its value.
pub const WORD_MAX: usize = 63;
/// Characters of a text that hardware says about itself.
const TEXT_MAX: usize = 256;

/// Everything known about one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// What the vendor calls it: the key of the record.
    pub serial: String,
    /// Host name: given, or made of role, rack and index.
    pub name: String,
    /// What else tells it apart.
    #[serde(default)]
    pub ids: Ids,
    /// Free words.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Logical rack number.
    pub rack: u32,
    /// Place in the plan of the rack, from which all addresses follow.
    pub index: u32,
    /// What it is for: `boot` is a boot server.
    pub role: String,
    /// Addresses by network: the first is the node's own.
    #[serde(default)]
    pub ipv4: Vec<Ipv4Addr>,
    /// The same for IPv6.
    #[serde(default)]
    pub ipv6: Vec<Ipv6Addr>,
    /// Its management controller.
    #[serde(default)]
    pub bmc: Bmc,
    /// What it may announce beside its own addresses and what its role may: blocks of pods, service addresses.
    #[serde(default)]
    pub announces: Vec<Range>,
    /// When it was registered.
    pub registered: Timestamp,
    /// When it is to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires: Option<Timestamp>,
    /// What is in it.
    #[serde(default)]
    pub hardware: Hardware,
    /// What it is fit for.
    pub state: Status,
    /// How it came to that, oldest first.
    #[serde(default)]
    pub history: Vec<Passage>,
    /// Disks whose keys are held here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disk_keys: BTreeSet<String>,
}

impl Machine {
    /// The node's own addresses, of each family one.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let four = self.ipv4.first().map(|address| IpAddr::V4(*address));
        four.into_iter().chain(self.ipv6.first().map(|address| IpAddr::V6(*address)))
    }

    /// The host name of a machine that was given none.
    #[must_use]
    pub fn default_name(role: &str, rack: u32, index: u32) -> String {
        let role: String =
            role.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        // A role may be as long as a name.
        let role = role.get(..WORD_MAX / 2).unwrap_or(&role);
        format!("{role}-{rack}-{index}")
    }
}

/// What tells a machine apart beside its serial number. Each is of one machine only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// MAC addresses in small letters with colons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// SMBIOS UUID in small letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// SHA-256 of the TPM's endorsement key, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_ek: Option<String>,
}

/// A management controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bmc {
    /// What it speaks, as `Redfish` or `IPMI-2.0`.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its address, by formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, by formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

/// Facts about hardware, as an agent or the management controller reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hardware {
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Which model.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub product: String,
    /// Version of the firmware.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub firmware: String,
    /// Model of the processors.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    /// Threads that run at the same time.
    #[serde(skip_serializing_if = "is_zero")]
    pub threads: u64,
    /// Memory.
    #[serde(skip_serializing_if = "is_zero")]
    pub memory_bytes: u64,
    /// Disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Network cards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<Nic>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// As the system calls it.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Serial number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// As the system calls it.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// Speed of the link; 0 = unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub megabits: u64,
}

/// What somebody says about a machine to register it. What is left out follows from the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// See [`Machine::serial`].
    pub serial: String,
    /// See [`Machine::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// See [`Machine::ids`].
    #[serde(default)]
    pub ids: Ids,
    /// See [`Machine::labels`].
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// See [`Machine::rack`].
    pub rack: u32,
    /// See [`Machine::index`]; the lowest free one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// See [`Machine::role`].
    pub role: String,
    /// The kind of its management controller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bmc_type: String,
    /// See [`Machine::announces`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announces: Vec<Range>,
    /// See [`Machine::retires`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires: Option<Timestamp>,
    /// See [`Machine::hardware`].
    #[serde(default)]
    pub hardware: Hardware,
}

impl Spec {
    /// Brings identifiers into one form and looks at every word.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn checked(mut self) -> Result<Self, Refusal> {
        word("serial", &self.serial)?;
        word("role", &self.role)?;
        if let Some(name) = &self.name {
            host_name("name", name)?;
        }
        if !self.bmc_type.is_empty() {
            bmc_type("bmc_type", &self.bmc_type)?;
        }
        check_labels(&self.labels)?;
        at_most("announces", self.announces.len(), ANNOUNCES_MAX)?;
        self.ids = self.ids.checked()?;
        self.hardware = self.hardware.checked()?;
        Ok(self)
    }
}

impl Ids {
    /// Brings every identifier into one form.
    ///
    /// # Errors
    /// The first that is none.
    pub fn checked(mut self) -> Result<Self, Refusal> {
        at_most("ids.macs", self.macs.len(), NICS_MAX)?;
        for (at, mac) in self.macs.iter_mut().enumerate() {
            *mac = mac_address(&format!("ids.macs[{at}]"), mac)?;
        }
        self.macs.sort();
        self.macs.dedup();
        if let Some(uuid) = &mut self.uuid {
            *uuid = uuid.to_ascii_lowercase();
            let shape: Vec<usize> = uuid.split('-').map(str::len).collect();
            if shape != [8, 4, 4, 4, 12] || !uuid.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) {
                return Err(Refusal::invalid(
                    "ids.uuid",
                    format!("`{uuid}` is no UUID"),
                    "write 8-4-4-4-12 hexadecimal digits",
                ));
            }
        }
        if let Some(key) = &mut self.tpm_ek {
            *key = key.to_ascii_lowercase();
            if key.len() != 64 || !key.chars().all(|c| c.is_ascii_hexdigit()) {
                let rule = "write the SHA-256 of the endorsement key, 64 hexadecimal digits";
                return Err(Refusal::invalid("ids.tpm_ek", format!("`{key}` is no such hash"), rule));
            }
        }
        Ok(self)
    }
}

impl Hardware {
    /// Looks at bounds and brings MAC addresses into one form.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn checked(mut self) -> Result<Self, Refusal> {
        at_most("hardware.disks", self.disks.len(), DISKS_MAX)?;
        at_most("hardware.nics", self.nics.len(), NICS_MAX)?;
        for (field, said) in [
            ("hardware.vendor", &self.vendor),
            ("hardware.product", &self.product),
            ("hardware.firmware", &self.firmware),
            ("hardware.cpu", &self.cpu),
        ] {
            text(field, said)?;
        }
        for (at, disk) in self.disks.iter().enumerate() {
            for said in [&disk.name, &disk.model, &disk.serial] {
                text(&format!("hardware.disks[{at}]"), said)?;
            }
        }
        for (at, nic) in self.nics.iter_mut().enumerate() {
            text(&format!("hardware.nics[{at}].name"), &nic.name)?;
            nic.mac = mac_address(&format!("hardware.nics[{at}].mac"), &nic.mac)?;
        }
        Ok(self)
    }
}

/// Labels and their values.
///
/// # Errors
/// The first that breaks the rule of words, or more than [`LABELS_MAX`].
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    at_most("labels", labels.len(), LABELS_MAX)?;
    for (label, value) in labels {
        word("labels", label)?;
        word(&format!("labels.{label}"), value)?;
    }
    Ok(())
}

/// A word: Sabakan's rule of roles and labels, which is Kubernetes' rule of label values.
///
/// # Errors
/// When it is none.
pub fn word(field: &str, said: &str) -> Result<(), Refusal> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if said.len() <= WORD_MAX && said.chars().all(inner) && edge(said.chars().next()) && edge(said.chars().last()) {
        return Ok(());
    }
    let rule =
        format!("1 to {WORD_MAX} letters, digits, `_`, `.` and `-`, with a letter or digit at both ends (no blanks)");
    Err(Refusal::invalid(field, format!("`{}` is no word", shortened(said)), rule))
}

/// A host name of one label (RFC 1123 §2.1).
fn host_name(field: &str, said: &str) -> Result<(), Refusal> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=WORD_MAX).contains(&said.len()) && said.chars().all(inner) && !said.starts_with('-') && !said.ends_with('-')
    {
        return Ok(());
    }
    let rule = format!("1 to {WORD_MAX} small letters, digits and `-`, not at the ends");
    Err(Refusal::invalid(field, format!("`{}` is no host name", shortened(said)), rule))
}

/// Sabakan's rule of BMC types.
pub(crate) fn bmc_type(field: &str, said: &str) -> Result<(), Refusal> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if said.len() <= WORD_MAX && said.chars().all(inner) {
        return Ok(());
    }
    let rule = format!("up to {WORD_MAX} letters, digits, `-`, `_`, `/` and `.`");
    Err(Refusal::invalid(field, format!("`{}` is no type of BMC", shortened(said)), rule))
}

fn mac_address(field: &str, said: &str) -> Result<String, Refusal> {
    let plain = said.to_ascii_lowercase().replace('-', ":");
    let groups: Vec<&str> = plain.split(':').collect();
    let well = groups.len() == 6
        && groups.iter().all(|group| group.len() == 2 && group.chars().all(|c| c.is_ascii_hexdigit()));
    if well {
        return Ok(plain);
    }
    let message = format!("`{}` is no MAC address", shortened(said));
    Err(Refusal::invalid(field, message, "write 52:54:00:12:34:56"))
}

/// What hardware says about itself can be shown.
pub(crate) fn text(field: &str, said: &str) -> Result<(), Refusal> {
    if said.chars().count() > TEXT_MAX || said.chars().any(char::is_control) {
        let rule = format!("at most {TEXT_MAX} characters, none of them a control character");
        return Err(Refusal::invalid(field, format!("`{}` cannot be shown", shortened(said)), rule));
    }
    Ok(())
}

/// A reason is a sentence or two.
///
/// # Errors
/// When it is longer than [`REASON_MAX`].
pub fn reason(field: &str, said: &str) -> Result<(), Refusal> {
    let count = said.chars().count();
    if count <= REASON_MAX {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("has {count} characters"), format!("at most {REASON_MAX}")))
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), Refusal> {
    if count <= most {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("has {count} entries"), format!("at most {most}"))
        .of(crate::error::Kind::TooMuch))
}

/// The beginning of a text that may be long, without control characters.
fn shortened(said: &str) -> String {
    let shown: String = said.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if said.chars().count() > 80 { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec { serial: "ABC-1".to_owned(), rack: 1, role: "cs".to_owned(), ..Spec::default() }
    }

    /// neco.md §1.3: `[a-z0-9A-Z]([a-z0-9A-Z_.-]{0,61}[a-z0-9A-Z])?`
    #[test]
    fn words_are_sabakans() {
        let long = "x".repeat(63);
        for good in ["a", "A0", "a_b.c-d", long.as_str()] {
            assert_eq!(word("role", good), Ok(()), "{good}");
        }
        let longer = "x".repeat(64);
        for bad in ["", "-a", "a-", "a b", "ä", "a/b", "a\n", longer.as_str()] {
            assert_eq!(word("role", bad).unwrap_err().field, "role", "{bad}");
        }
    }

    #[test]
    fn identifiers_have_one_form() {
        let ids = Ids {
            macs: vec!["52-54-00-AB-CD-EF".to_owned(), "52:54:00:ab:cd:ef".to_owned()],
            uuid: Some("4C4C4544-0042-4410-8052-B4C04F564433".to_owned()),
            tpm_ek: Some("A".repeat(64)),
        };
        let ids = ids.checked().unwrap();
        assert_eq!(ids.macs, ["52:54:00:ab:cd:ef"]);
        assert_eq!(ids.uuid.as_deref(), Some("4c4c4544-0042-4410-8052-b4c04f564433"));
        assert_eq!(ids.tpm_ek, Some("a".repeat(64)));
    }

    #[test]
    fn faults_name_their_field() {
        let field = |spec: Spec| spec.checked().unwrap_err().field;
        assert_eq!(field(Spec { serial: "a b".to_owned(), ..spec() }), "serial");
        assert_eq!(field(Spec { name: Some("Node_1".to_owned()), ..spec() }), "name");
        assert_eq!(
            field(Spec { labels: BTreeMap::from([("zone".to_owned(), String::new())]), ..spec() }),
            "labels.zone"
        );
        let ids = Ids { macs: vec!["52:54:00:ab:cd".to_owned()], ..Ids::default() };
        assert_eq!(field(Spec { ids, ..spec() }), "ids.macs[0]");
        let ids = Ids { uuid: Some("4c4c4544".to_owned()), ..Ids::default() };
        assert_eq!(field(Spec { ids, ..spec() }), "ids.uuid");
        let hardware = Hardware { cpu: "a\u{7}".to_owned(), ..Hardware::default() };
        assert_eq!(field(Spec { hardware, ..spec() }), "hardware.cpu");
        let disks = vec![Disk::default(); DISKS_MAX + 1];
        assert_eq!(field(Spec { hardware: Hardware { disks, ..Hardware::default() }, ..spec() }), "hardware.disks");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let read: Result<Spec, _> = serde_json::from_str(r#"{"serial": "a", "rack": 0, "role": "cs", "rak": 1}"#);
        assert!(read.unwrap_err().to_string().contains("unknown field `rak`"));
    }
}
