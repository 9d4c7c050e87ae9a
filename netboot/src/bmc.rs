//! Management controllers of machines: power and what firmware boots next.
//!
//! What is wished and how far it is decides [`power`]; how that is kept over servers, [`wish`]; which of them does it, [`duty`]; how a controller
//! is asked, [`redfish`]; which one with which credentials, [`rules`].
//! Nothing here opens a connection or reads a clock: that is `io/bmc`.

pub mod duty;
pub mod ipmi;
pub mod power;
pub mod redfish;
pub mod rules;
pub mod wish;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether a machine has power, as its controller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It has.
    On,
    /// It has not.
    Off,
    /// On its way.
    TurningOn,
    /// On its way.
    TurningOff,
    /// Paused, or a word that is not known.
    Unknown,
}

impl Power {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::TurningOn => "turning on",
            Self::TurningOff => "turning off",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a button of the machine does; each protocol has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Press {
    /// Gives it power.
    On,
    /// Asks its operating system to shut down.
    SoftOff,
    /// Takes its power away.
    HardOff,
}

/// What firmware is told to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BootFrom {
    /// As its own settings say.
    None,
    /// The network, by PXE.
    Pxe,
    /// The network, by HTTP.
    Http,
    /// Its disk.
    Disk,
    /// Something else, which somebody else told it.
    Other,
}

impl BootFrom {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "as set up",
            Self::Pxe => "pxe",
            Self::Http => "http",
            Self::Disk => "disk",
            Self::Other => "other",
        }
    }
}

/// How firmware is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// UEFI.
    Uefi,
    /// BIOS.
    Legacy,
}

/// What a machine is to boot in place of what its own settings say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// From where.
    pub from: BootFrom,
    /// Only the next time; otherwise until it is told something else.
    #[serde(default = "yes")]
    pub once: bool,
    /// How firmware starts; as it is unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What to load by HTTP; what DHCP says unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

const fn yes() -> bool {
    true
}

/// What a controller says of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// Power.
    pub power: Power,
    /// What firmware boots next, where the controller says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// Vendor and model, as the controller says them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
}

/// Why a controller did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot do that; asking again is of no use.
    #[error("its BMC cannot do that: {0}")]
    Unsupported(String),
    /// It does not take the credentials; asking again may lock them.
    #[error("its BMC refuses the credentials of {0}")]
    Credentials(String),
    /// It is not the one that is trusted.
    #[error("its BMC is not trusted: {0}")]
    Untrusted(String),
    /// Nobody there speaks this protocol.
    #[error("its BMC speaks no Redfish: {0}")]
    Absent(String),
    /// It refuses, with its own words.
    #[error("its BMC refuses: {0}")]
    Refused(String),
    /// No answer, or none that can be read; whether it was done is not known.
    #[error("its BMC does not answer: {0}")]
    Silent(String),
}
