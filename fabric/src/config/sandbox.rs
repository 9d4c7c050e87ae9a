//! What the daemon gives up at its start. As written, and what it comes to: everything that it does not need.

use super::file::Config;
use super::node::Faults;
use serde::{Deserialize, Serialize};

/// Section `sandbox`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Give up the capabilities that are not needed; default true.
    pub capabilities: Option<bool>,
    /// Open no other files than those that the configuration names; default true.
    pub landlock: Option<bool>,
    /// Do without system calls that no router needs; default true.
    pub seccomp: Option<bool>,
    /// Do not start where one of these cannot be had; default false.
    pub required: Option<bool>,
}

/// The section with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Capabilities are given up.
    pub capabilities: bool,
    /// Files are restricted.
    pub landlock: bool,
    /// System calls are.
    pub seccomp: bool,
    /// There is no start without.
    pub required: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { capabilities: true, landlock: true, seccomp: true, required: false }
    }
}

impl SandboxConfig {
    /// Whether any of it is wanted.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.capabilities || self.landlock || self.seccomp
    }
}

/// The section with its defaults.
pub(super) fn sandbox(config: &Config, faults: &mut Faults<'_>) -> SandboxConfig {
    let written = &config.sandbox;
    let all = SandboxConfig {
        capabilities: written.capabilities.unwrap_or(true),
        landlock: written.landlock.unwrap_or(true),
        seccomp: written.seccomp.unwrap_or(true),
        required: written.required.unwrap_or(false),
    };
    if all.required && !all.is_on() {
        let message = "nothing is required: every part is switched off";
        faults.add("sandbox.required", message, "leave it out, or switch a part on");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const BASE: &str = "asn: 1\nrouter_id: 10.0.0.1\n";

    #[test]
    fn everything_is_given_up_unless_a_part_is_switched_off() {
        let read = |text: &str| config::parse("t", &format!("{BASE}{text}")).and_then(|config| config.node());
        assert_eq!(read("").unwrap().sandbox, SandboxConfig::default());
        let parts = read("sandbox: {landlock: false, required: true}\n").unwrap().sandbox;
        assert_eq!(parts, SandboxConfig { landlock: false, required: true, ..SandboxConfig::default() });
        let none = "sandbox: {capabilities: false, landlock: false, seccomp: false, required: true}\n";
        let error = read(none).unwrap_err().to_string();
        assert!(error.starts_with("t:3:75: sandbox.required: nothing is required"), "{error}");
    }
}
