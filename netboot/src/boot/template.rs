//! Configuration templates: Ignition and cloud-init for each machine. Here is what the store holds of them, and what a change makes of it;
//! `render` makes text of a template and a machine, `check` says whether a machine can read that. Pure.
//!
//! ```text
//!   template (versions) ─┐
//!   pins: machine, role ─┼─▶ template of a machine ─ render ─▶ text ─ check ─▶ served, or refused before anybody can boot it
//!   machine's record  ───┘
//! ```

pub mod check;
mod cloud;
mod ignition;
pub mod render;
mod yaml;

use super::rollout::Why;
use super::{Whom, check_name};
use crate::error::{Kind as Fault, Refusal};
use crate::inventory::machine::Machine;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Templates at a time.
pub const TEMPLATES_MAX: usize = 64;
/// Versions of one template; the oldest are forgotten.
pub const VERSIONS_MAX: usize = 6;
/// Octets of a template: all versions are one entry of the store, and what was before and after is not in the audit log.
pub const TEXT_MAX: usize = 64 * 1024;
/// Pins of machines, and of roles.
const PINS_MAX: usize = 4_096;

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Ignition, 3.0 to 3.6 and 2.3.
    Ignition,
    /// cloud-init: what the machine is to do.
    UserData,
    /// cloud-init: what it is.
    MetaData,
    /// cloud-init: like user data, from who runs the machines.
    VendorData,
    /// cloud-init: its network.
    NetworkConfig,
    /// Of others: they include it.
    Part,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ignition, Self::UserData, Self::MetaData, Self::VendorData, Self::NetworkConfig, Self::Part];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignition => "ignition",
            Self::UserData => "user-data",
            Self::MetaData => "meta-data",
            Self::VendorData => "vendor-data",
            Self::NetworkConfig => "network-config",
            Self::Part => "part",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("write one of {all}"))
    }
}

/// One version of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// 1, 2, …: never given twice.
    pub number: u32,
    /// When it was set.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// What it says.
    pub text: String,
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What it is for.
    pub kind: Kind,
    /// Numbers given so far.
    pub count: u32,
    /// What it said, the newest last; never empty.
    pub versions: Vec<Version>,
}

impl Template {
    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        self.versions.last().map_or("", |version| &version.text)
    }
}

/// Who gets which template: by kind, its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pins {
    /// Machines, by serial number.
    pub machines: BTreeMap<String, BTreeMap<Kind, String>>,
    /// Roles, whose machines have nothing of their own of that kind.
    pub roles: BTreeMap<String, BTreeMap<Kind, String>>,
    /// All others that are registered.
    pub rest: BTreeMap<Kind, String>,
}

impl Pins {
    /// The template of a kind that a machine gets, and why.
    #[must_use]
    pub fn of(&self, machine: &Machine, kind: Kind) -> Option<(&str, Why)> {
        let own =
            self.machines.get(&machine.serial).and_then(|kinds| kinds.get(&kind)).map(|name| (name, Why::Machine));
        let role = || self.roles.get(&machine.role).and_then(|kinds| kinds.get(&kind)).map(|name| (name, Why::Role));
        let found = own.or_else(role).or_else(|| self.rest.get(&kind).map(|name| (name, Why::Rest)));
        found.map(|(name, why)| (name.as_str(), why))
    }

    fn who_gets(&self, name: &str) -> Option<String> {
        let of = |map: &BTreeMap<String, BTreeMap<Kind, String>>| {
            map.iter().find(|(_, kinds)| kinds.values().any(|pinned| pinned == name)).map(|(key, _)| key.clone())
        };
        let rest = || self.rest.values().any(|pinned| pinned == name).then(|| "everybody else".to_owned());
        of(&self.machines).or_else(|| of(&self.roles).map(|role| format!("the role {role}"))).or_else(rest)
    }
}

/// One change of all this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A template says something else, or is new.
    Set {
        /// Its name.
        name: String,
        /// What it is for, which does not change.
        kind: Kind,
        /// What it says.
        version: Version,
    },
    /// What it said before, it says again; its newest version is forgotten.
    Rollback {
        /// Its name.
        name: String,
    },
    /// A template goes that nobody gets.
    Remove {
        /// Its name.
        name: String,
    },
    /// Somebody gets another one.
    Pin {
        /// Who.
        whom: Whom,
        /// Of which kind.
        kind: Kind,
        /// Its name; `None` = what those get that have nothing of their own.
        to: Option<String>,
    },
}

impl Change {
    /// What it does, for the audit log.
    #[must_use]
    pub fn action(&self) -> String {
        match self {
            Self::Set { name, .. } => format!("set template {name}"),
            Self::Rollback { name } => format!("roll back template {name}"),
            Self::Remove { name } => format!("remove template {name}"),
            Self::Pin { kind, .. } => format!("pin {kind} template"),
        }
    }

    /// The template that it changes; `None` = pins.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Set { name, .. } | Self::Rollback { name } | Self::Remove { name } => Some(name),
            Self::Pin { .. } => None,
        }
    }
}

/// All of them, and who gets which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates {
    /// By name.
    pub all: BTreeMap<String, Arc<Template>>,
    /// Who gets which.
    pub pins: Arc<Pins>,
}

impl Templates {
    /// What a change makes of it.
    ///
    /// # Errors
    /// Field and rule, when it breaks one.
    pub fn after(&self, change: &Change) -> Result<Self, Refusal> {
        let mut after = self.clone();
        let known = |name: &str| self.all.get(name).ok_or_else(|| Refusal::not_found("template", name));
        match change {
            Change::Set { name, kind, version } => after.set(name, *kind, version)?,
            Change::Rollback { name } => {
                let mut template = known(name)?.as_ref().clone();
                if template.versions.len() < 2 {
                    let rule = "`template set` says something else";
                    return Err(Refusal::conflict("name", format!("`{name}` has no version before"), rule));
                }
                template.versions.pop();
                after.all.insert(name.clone(), Arc::new(template));
            }
            Change::Remove { name } => {
                known(name)?;
                if let Some(whom) = self.pins.who_gets(name) {
                    return Err(Refusal::conflict("name", format!("{whom} gets `{name}`"), "pin another one first"));
                }
                after.all.remove(name);
            }
            Change::Pin { whom, kind, to } => after.pin(whom, *kind, to.as_deref())?,
        }
        Ok(after)
    }

    fn set(&mut self, name: &str, kind: Kind, version: &Version) -> Result<(), Refusal> {
        check_name(name)?;
        let sign = |sign: char| sign == '\n' || sign == '\t' || !sign.is_control();
        if version.text.len() > TEXT_MAX || !version.text.chars().all(sign) {
            let message = format!("{} octets", version.text.len());
            return Err(
                Refusal::invalid("text", message, format!("text of at most {TEXT_MAX} octets")).of(Fault::TooMuch)
            );
        }
        let mut template = match self.all.get(name) {
            Some(before) if before.kind != kind => {
                let message = format!("`{name}` is {}", before.kind);
                return Err(Refusal::conflict("kind", message, "another name for another kind"));
            }
            Some(before) => before.as_ref().clone(),
            None => Template { kind, count: 0, versions: Vec::new() },
        };
        if template.versions.last().is_some_and(|last| last.text == version.text) {
            return Ok(());
        }
        template.count = template.count.saturating_add(1);
        template.versions.push(Version { number: template.count, ..version.clone() });
        let forgotten = template.versions.len().saturating_sub(VERSIONS_MAX);
        template.versions.drain(..forgotten);
        self.all.insert(name.to_owned(), Arc::new(template));
        if self.all.len() > TEMPLATES_MAX {
            let rule = format!("at most {TEMPLATES_MAX}: remove one that nobody gets");
            return Err(Refusal::conflict("name", "one template too many", rule).of(Fault::TooMuch));
        }
        Ok(())
    }

    fn pin(&mut self, whom: &Whom, kind: Kind, to: Option<&str>) -> Result<(), Refusal> {
        if let Some(name) = to {
            let template = self.all.get(name).ok_or_else(|| Refusal::not_found("template", name).within("to"))?;
            if template.kind != kind || kind == Kind::Part {
                let message = format!("`{name}` is {}", template.kind);
                return Err(Refusal::conflict(
                    "to",
                    message,
                    format!("a template of kind {kind}; a part is only included"),
                ));
            }
        }
        let mut pins = self.pins.as_ref().clone();
        let (map, key) = match whom {
            Whom::Machine(serial) => (&mut pins.machines, serial.as_str()),
            Whom::Role(role) => (&mut pins.roles, role.as_str()),
            Whom::Rest => {
                put(&mut pins.rest, kind, to);
                self.pins = Arc::new(pins);
                return Ok(());
            }
        };
        let kinds = map.entry(key.to_owned()).or_default();
        put(kinds, kind, to);
        if kinds.is_empty() {
            map.remove(key);
        }
        if map.len() > PINS_MAX {
            let rule = format!("at most {PINS_MAX}: say it of roles");
            return Err(Refusal::conflict("whom", "one pin too many", rule).of(Fault::TooMuch));
        }
        self.pins = Arc::new(pins);
        Ok(())
    }
}

fn put(kinds: &mut BTreeMap<Kind, String>, kind: Kind, to: Option<&str>) {
    match to {
        Some(name) => drop(kinds.insert(kind, name.to_owned())),
        None => drop(kinds.remove(&kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, kind: Kind, text: &str) -> Change {
        let at = Timestamp::UNIX_EPOCH;
        let version = Version { number: 0, at, by: "me".to_owned(), text: text.to_owned() };
        Change::Set { name: name.to_owned(), kind, version }
    }

    fn pin(whom: Whom, kind: Kind, to: &str) -> Change {
        Change::Pin { whom, kind, to: Some(to.to_owned()) }
    }

    #[test]
    fn versions_are_numbered_bounded_and_gone_back() {
        let mut all = Templates::default();
        for turn in 1..=10 {
            all = all.after(&set("a", Kind::UserData, &format!("#!{turn}"))).unwrap();
        }
        let numbers = |all: &Templates| all.all["a"].versions.iter().map(|version| version.number).collect::<Vec<_>>();
        assert_eq!(numbers(&all), [5, 6, 7, 8, 9, 10]);
        assert_eq!(all.after(&set("a", Kind::UserData, "#!10")).unwrap(), all, "the same again is no version");
        let back = all.after(&Change::Rollback { name: "a".to_owned() }).unwrap();
        assert_eq!(back.all["a"].text(), "#!9");
        assert_eq!(numbers(&back.after(&set("a", Kind::UserData, "#!x")).unwrap()), [5, 6, 7, 8, 9, 11]);
        let mut one = back;
        for _ in 0..4 {
            one = one.after(&Change::Rollback { name: "a".to_owned() }).unwrap();
        }
        assert!(one.after(&Change::Rollback { name: "a".to_owned() }).is_err());
        for wrong in [set("a", Kind::Ignition, "{}"), set("b c", Kind::Part, ""), set("b", Kind::Part, "\u{1b}[2J")] {
            assert!(one.after(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_nearest_pin_decides_for_each_kind() {
        let machine = crate::inventory::tests::machine("N1", 0, 4);
        let mut all = Templates::default();
        for (name, kind) in [("i", Kind::Ignition), ("own", Kind::Ignition), ("u", Kind::UserData), ("p", Kind::Part)] {
            all = all.after(&set(name, kind, "x")).unwrap();
        }
        all = all.after(&pin(Whom::Rest, Kind::Ignition, "i")).unwrap();
        all = all.after(&pin(Whom::Role("cs".to_owned()), Kind::UserData, "u")).unwrap();
        assert_eq!(all.pins.of(&machine, Kind::Ignition), Some(("i", Why::Rest)));
        let own = all.after(&pin(Whom::Machine("N1".to_owned()), Kind::Ignition, "own")).unwrap();
        assert_eq!(own.pins.of(&machine, Kind::Ignition), Some(("own", Why::Machine)));
        assert_eq!(own.pins.of(&machine, Kind::UserData), Some(("u", Why::Role)));
        assert_eq!(own.pins.of(&machine, Kind::MetaData), None);
        assert!(own.after(&Change::Remove { name: "u".to_owned() }).unwrap_err().message.contains("the role cs"));
        assert!(own.after(&pin(Whom::Rest, Kind::UserData, "i")).is_err(), "of another kind");
        assert!(own.after(&pin(Whom::Rest, Kind::Part, "p")).is_err(), "nobody boots a part");
        let gone =
            own.after(&Change::Pin { whom: Whom::Machine("N1".to_owned()), kind: Kind::Ignition, to: None }).unwrap();
        assert_eq!(gone, all);
    }
}
