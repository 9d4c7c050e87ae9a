//! Every change that can be asked for.

use super::enrol::{Acceptance, Rules, Sighting};
use super::machine::{Hardware, Ids, Spec};
use super::state::State;
use crate::bmc::power::Wish;
use crate::boot::attempts::{self, Boot};
use crate::boot::template;
use crate::ipam::Ipam;
use crate::plan::{Plan, Range};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Machines of one registration: each takes two writes of a transaction ([`crate::store::WRITES_MAX`]).
pub const REGISTER_MAX: usize = 60;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Registers machines: all of them or none.
    Register {
        /// At most [`REGISTER_MAX`].
        machines: Vec<Spec>,
    },
    /// Says what a machine is fit for.
    SetState {
        /// Which machine.
        serial: String,
        /// Its new state.
        to: State,
        /// Why.
        reason: String,
    },
    /// Says what the routes of the fabric show of a machine; nothing, when it is no longer as it was when that was judged.
    Observe {
        /// Which machine.
        serial: String,
        /// The state in which it was.
        from: State,
        /// Since when.
        since: Timestamp,
        /// Its new state.
        to: State,
        /// Why.
        reason: String,
    },
    /// Adds, changes and removes labels.
    Label {
        /// Which machine.
        serial: String,
        /// Labels and their values.
        set: BTreeMap<String, String>,
        /// Labels to remove.
        remove: BTreeSet<String>,
    },
    /// Says when a machine is to leave.
    Retire {
        /// Which machine.
        serial: String,
        /// When; `None` = nobody knows.
        at: Option<Timestamp>,
    },
    /// Says what a machine may announce beside its own addresses.
    Announce {
        /// Which machine.
        serial: String,
        /// All of it.
        ranges: Vec<Range>,
    },
    /// Says what is in a machine.
    Report {
        /// Which machine.
        serial: String,
        /// Identifiers; `None` = as they were.
        ids: Option<Ids>,
        /// Hardware; `None` = as it was.
        hardware: Option<Hardware>,
    },
    /// Says that the key of a disk is held here.
    HoldKey {
        /// Which machine.
        serial: String,
        /// Which disk.
        disk: String,
    },
    /// Changes what is kept of the disk keys of a machine.
    Key {
        /// Which machine.
        serial: String,
        /// How.
        change: crate::keys::Change,
    },
    /// Says that no key of a machine is held any more.
    DropKeys {
        /// Which machine.
        serial: String,
    },
    /// Deletes a retired machine; its place is free.
    Remove {
        /// Which machine.
        serial: String,
    },
    /// A machine says that it is there, whether it is registered or not.
    Sight {
        /// What it says.
        said: Box<Sighting>,
    },
    /// Registers a candidate.
    Accept {
        /// Which.
        serial: String,
        /// As what.
        wish: Acceptance,
    },
    /// Says that a candidate is not wanted.
    Reject {
        /// Which.
        serial: String,
        /// Why.
        reason: String,
    },
    /// Forgets a candidate: it may come again.
    Forget {
        /// Which.
        serial: String,
    },
    /// Changes the rules of enrolment.
    SetRules {
        /// All of them.
        rules: Rules,
    },
    /// Begins to take live machines to another address plan.
    BeginMigration {
        /// The new one.
        to: Box<Ipam>,
    },
    /// Says that machines run with their new addresses alone.
    Confirm {
        /// Which.
        serials: Vec<String>,
    },
    /// Takes machines back to the plan before.
    AbortMigration,
    /// All machines are through: there is one plan again.
    FinishMigration,
    /// Changes the address plan.
    SetIpam {
        /// The new one.
        ipam: Ipam,
    },
    /// Changes the plan of the fabric.
    SetPlan {
        /// The new one.
        plan: Plan,
    },
    /// Changes images, and who boots which.
    Boot {
        /// How.
        change: crate::boot::Change,
    },
    /// Tells the management controller of a machine something, which nothing but the audit log keeps.
    Bmc {
        /// Which machine.
        serial: String,
        /// What, in words.
        what: String,
    },
    /// Wishes power of a machine: a wish of its own, or one that is the same and under way.
    Power {
        /// Which machine.
        serial: String,
        /// What is wished.
        wish: Wish,
        /// Without asking the operating system.
        hard: bool,
        /// The server that has it.
        server: String,
        /// When it is given up.
        longest: Duration,
    },
    /// A machine got what it boots whole.
    Booted {
        /// Which machine.
        serial: String,
        /// When, and what.
        boot: Boot,
        /// When it is held.
        rules: attempts::Rules,
    },
    /// Lets a machine boot that was held.
    Release {
        /// Which machine.
        serial: String,
    },
    /// Changes templates, and who gets which.
    Template {
        /// How.
        change: template::Change,
    },
    /// Changes what DHCP says.
    SetDhcp {
        /// The new settings.
        dhcp: Dhcp,
    },
}

/// What DHCP tells beside addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    /// How long an address is lent.
    #[serde(default = "default_lease_minutes")]
    pub lease_minutes: u32,
    /// Name servers.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
}

const fn default_lease_minutes() -> u32 {
    60
}

impl Command {
    /// What it does, for the audit log.
    #[must_use]
    pub fn action(&self) -> String {
        match self {
            Self::Register { .. } => "register".to_owned(),
            Self::SetState { to, .. } | Self::Observe { to, .. } => format!("set state {to}"),
            Self::Label { .. } => "label".to_owned(),
            Self::Retire { .. } => "set retire date".to_owned(),
            Self::Announce { .. } => "set announcements".to_owned(),
            Self::Report { .. } => "report".to_owned(),
            Self::HoldKey { .. } => "hold disk key".to_owned(),
            Self::Key { change, .. } => change.action().to_owned(),
            Self::DropKeys { .. } => "drop disk keys".to_owned(),
            Self::Remove { .. } => "remove".to_owned(),
            Self::Sight { .. } => "report itself".to_owned(),
            Self::Accept { .. } => "enrol".to_owned(),
            Self::Reject { .. } => "reject candidate".to_owned(),
            Self::Forget { .. } => "forget candidate".to_owned(),
            Self::SetRules { .. } => "set enrol rules".to_owned(),
            Self::BeginMigration { .. } => "begin ipam migration".to_owned(),
            Self::Confirm { .. } => "confirm addresses".to_owned(),
            Self::AbortMigration => "abort ipam migration".to_owned(),
            Self::FinishMigration => "finish ipam migration".to_owned(),
            Self::SetIpam { .. } => "set ipam".to_owned(),
            Self::SetPlan { .. } => "set plan".to_owned(),
            Self::Boot { change } => change.action(),
            Self::Bmc { what, .. } => format!("bmc {what}"),
            Self::Power { wish, hard: false, .. } => format!("bmc power {wish}"),
            Self::Power { wish, .. } => format!("bmc power {wish} (hard)"),
            Self::Template { change } => change.action(),
            Self::Booted { .. } => "count boot".to_owned(),
            Self::Release { .. } => "release".to_owned(),
            Self::SetDhcp { .. } => "set dhcp".to_owned(),
        }
    }

    /// The machine that it is about, if it is about one that must be there.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        match self {
            Self::SetState { serial, .. }
            | Self::Observe { serial, .. }
            | Self::Label { serial, .. }
            | Self::Retire { serial, .. }
            | Self::Announce { serial, .. }
            | Self::Report { serial, .. }
            | Self::HoldKey { serial, .. }
            | Self::Key { serial, .. }
            | Self::DropKeys { serial }
            | Self::Bmc { serial, .. }
            | Self::Power { serial, .. }
            | Self::Booted { serial, .. }
            | Self::Release { serial }
            | Self::Remove { serial } => Some(serial),
            Self::Register { .. }
            | Self::Sight { .. }
            | Self::Accept { .. }
            | Self::Reject { .. }
            | Self::Forget { .. }
            | Self::SetRules { .. }
            | Self::BeginMigration { .. }
            | Self::Confirm { .. }
            | Self::AbortMigration
            | Self::FinishMigration
            | Self::SetIpam { .. }
            | Self::SetPlan { .. }
            | Self::Boot { .. }
            | Self::Template { .. }
            | Self::SetDhcp { .. } => None,
        }
    }
}
