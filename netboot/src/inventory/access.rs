//! Who may do what. A role comes from the client's certificate, or from the local socket, and never from an address: whoever is in the
//! network of a boot server is not thereby trusted.

use super::command::Command;
use super::state::State;
use crate::error::{Kind, Refusal};
use crate::keys::Change;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What a client is trusted with. Each but `machine` and `stranger` may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Shows no certificate: says that it is there, and nothing else. No certificate says so.
    Stranger,
    /// A machine: reads its own record, reports its own hardware.
    Machine,
    /// Reads everything.
    Read,
    /// Registers machines, labels them, says how they are: people on duty and controllers.
    Operator,
    /// Retires and deletes, changes the plans.
    Admin,
}

impl Access {
    /// All that certificates say.
    pub const ALL: [Self; 4] = [Self::Machine, Self::Read, Self::Operator, Self::Admin];

    /// Its name, as certificates say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Machine => "machine",
            Self::Read => "read",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Name: of a person, a program, or the serial number of a machine.
    pub name: String,
    /// What it is trusted with.
    pub access: Access,
    /// Where the request came from, for the audit log only.
    pub via: String,
}

impl Actor {
    /// Refuses a change that this client may not make; `from`: the state of the machine concerned.
    ///
    /// # Errors
    /// When its role is not enough.
    pub fn may(&self, command: &Command, from: Option<State>) -> Result<(), Refusal> {
        if let (Access::Machine, Command::Report { serial, .. }) = (self.access, command) {
            let own = *serial == self.name;
            return if own {
                Ok(())
            } else {
                Err(self.refused(&format!("report {serial}"), "a machine reports itself"))
            };
        }
        if let Command::Sight { said } = command
            && self.access <= Access::Machine
        {
            let own = self.access == Access::Stranger || said.serial == self.name;
            return if own {
                Ok(())
            } else {
                Err(self.refused(&format!("report {}", said.serial), "a machine reports itself"))
            };
        }
        if let (Access::Machine, Command::Confirm { serials }) = (self.access, command) {
            let own = serials.iter().all(|serial| *serial == self.name);
            return if own { Ok(()) } else { Err(self.refused("confirm for others", "a machine confirms for itself")) };
        }
        if let Command::Key { serial, change: Change::Release { .. } | Change::Refuse { .. } } = command {
            let own = self.access == Access::Machine && *serial == self.name;
            return if own { Ok(()) } else { Err(self.refused(&command.action(), "a machine asks for its own keys")) };
        }
        let needs = match command {
            Command::Register { .. }
            | Command::Observe { .. }
            | Command::Label { .. }
            | Command::Retire { .. }
            | Command::Announce { .. }
            | Command::Report { .. }
            | Command::Sight { .. }
            | Command::Accept { .. }
            | Command::Reject { .. }
            | Command::Forget { .. }
            | Command::Confirm { .. }
            | Command::Bmc { .. }
            | Command::Power { .. }
            | Command::Booted { .. }
            | Command::Release { .. }
            | Command::HoldKey { .. }
            | Command::Key { .. } => Access::Operator,
            Command::SetState { to, .. } => match from {
                Some(from) if State::needs_admin(from, *to) => Access::Admin,
                Some(_) | None => Access::Operator,
            },
            Command::Remove { .. }
            | Command::DropKeys { .. }
            | Command::SetIpam { .. }
            | Command::SetPlan { .. }
            | Command::SetRules { .. }
            | Command::BeginMigration { .. }
            | Command::AbortMigration
            | Command::FinishMigration
            | Command::Boot { .. }
            | Command::Template { .. }
            | Command::SetDhcp { .. } => Access::Admin,
        };
        if self.access >= needs {
            return Ok(());
        }
        Err(self.refused(&command.action(), &format!("this needs the role {needs}")))
    }

    /// Refuses a question about everything, or about one machine, that this client may not ask.
    ///
    /// # Errors
    /// When it is a machine and asks about another.
    pub fn may_read(&self, serial: Option<&str>) -> Result<(), Refusal> {
        if self.access > Access::Machine || (self.access == Access::Machine && serial == Some(self.name.as_str())) {
            return Ok(());
        }
        Err(self.refused("read that", "a machine reads its own record alone"))
    }

    /// Refuses what changes this server and not the store, to whom this role or a greater one is needed.
    ///
    /// # Errors
    /// When its role is not enough.
    pub fn needs(&self, access: Access, what: &str) -> Result<(), Refusal> {
        if self.access >= access {
            return Ok(());
        }
        Err(self.refused(what, &format!("this needs the role {access}")))
    }

    fn refused(&self, what: &str, rule: &str) -> Refusal {
        let message = format!("{} ({}) may not {what}", self.name, self.access);
        Refusal::invalid("", message, rule).of(Kind::Forbidden)
    }
}

/// What counts as one source: an IPv4 address, or a network of IPv6, of which one host has all addresses.
#[must_use]
pub fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        four @ IpAddr::V4(_) => four,
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_source() {
        let parsed = |text: &str| source(text.parse().unwrap());
        assert_eq!(parsed("fd00::1"), parsed("fd00::ffff:2"));
        assert_ne!(parsed("fd00::1"), parsed("fd00:0:0:1::1"));
        assert_eq!(parsed("::ffff:192.0.2.1"), parsed("192.0.2.1"));
        assert_ne!(parsed("192.0.2.2"), parsed("192.0.2.1"));
    }
}
