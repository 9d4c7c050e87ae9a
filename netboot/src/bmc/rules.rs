//! What people say of management controllers: the part `bmc` of the configuration of `weft-netboot serve`. The first rule that means a
//! machine decides how its controller is reached.

use super::ipmi::Use;
use super::power::Times;
use crate::inventory::enrol::glob;
use crate::inventory::machine::Machine;
use serde::Deserialize;
use std::path::PathBuf;

/// Rules at most.
const RULES_MAX: usize = 256;
/// Longest of all times, in seconds: a server with much memory takes minutes, and nobody waits for hours.
const LONGEST_S: u64 = 3_600;

/// The whole part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// File with the certificates' fingerprints that were learned, written by the server.
    #[serde(default = "default_pins")]
    pub pins: PathBuf,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// How the controllers of some machines are reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Whom it means: all of it; everybody unless given.
    #[serde(rename = "match", default)]
    pub when: Match,
    /// File with `user` and `password` (YAML or JSON), readable by its owner alone.
    pub credentials: PathBuf,
    /// How its certificate is believed. There is no way not to look.
    pub trust: Trust,
    /// Port of Redfish.
    #[serde(default = "default_port")]
    pub port: u16,
    /// When it is asked by IPMI.
    #[serde(default)]
    pub ipmi: Use,
    /// Port of IPMI (UDP).
    #[serde(default = "default_ipmi_port")]
    pub ipmi_port: u16,
    /// Least time between two requests to one controller, in milliseconds.
    #[serde(default = "default_gap_ms")]
    pub gap_ms: u64,
    /// Longest wait for an answer, in seconds.
    #[serde(default = "default_answer_s")]
    pub answer_s: u64,
    /// How long its machines take.
    #[serde(default)]
    pub times: Times,
}

/// Conditions. Patterns have `*` for any characters and `?` for one, in small or capital letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Racks.
    pub racks: Vec<u32>,
    /// Pattern of the serial number.
    pub serial: Option<String>,
    /// Pattern of the role.
    pub role: Option<String>,
    /// Pattern of what the inventory calls the controller's type.
    pub bmc_type: Option<String>,
    /// Pattern of who made it.
    pub vendor: Option<String>,
    /// Pattern of the model.
    pub product: Option<String>,
}

/// Why a certificate is believed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// It is the one that was seen first.
    Learn,
    /// It is this one: SHA-256 of the certificate (DER), 64 hexadecimal digits, colons between them or not.
    Sha256(String),
    /// An authority of this PEM file says so, and for this address.
    Ca(PathBuf),
}

fn default_pins() -> PathBuf {
    PathBuf::from("/var/lib/weft/bmc-pins.json")
}

const fn default_port() -> u16 {
    443
}

const fn default_ipmi_port() -> u16 {
    623
}

const fn default_gap_ms() -> u64 {
    200
}

const fn default_answer_s() -> u64 {
    30
}

impl Rules {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn check(&self) -> Result<(), String> {
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            let count = self.rules.len();
            return Err(format!(
                "bmc.rules: {count} rules: write 1 to {RULES_MAX}, as {{credentials: FILE, trust: learn}}"
            ));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("bmc.rules[{at}].{why}"))?;
        }
        match self.pins.is_absolute() {
            true => Ok(()),
            false => Err(format!("bmc.pins: `{}`: write the whole path of a file", self.pins.display())),
        }
    }

    /// The rule of a machine.
    #[must_use]
    pub fn of(&self, machine: &Machine) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.when.holds(machine))
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        if !self.credentials.is_absolute() {
            return Err(format!("credentials: `{}`: write the whole path of a file", self.credentials.display()));
        }
        match &self.trust {
            Trust::Sha256(said) if fingerprint(said).is_none() => {
                return Err(format!("trust.sha256: `{said}`: write 64 hexadecimal digits"));
            }
            Trust::Ca(file) if !file.is_absolute() => {
                return Err(format!("trust.ca: `{}`: write the whole path of a file", file.display()));
            }
            Trust::Learn | Trust::Sha256(_) | Trust::Ca(_) => {}
        }
        let Times { soft_off_s, hard_off_s, on_s, steady_s, away_s } = self.times;
        let times = [
            ("answer_s", self.answer_s),
            ("times.soft_off_s", soft_off_s),
            ("times.hard_off_s", hard_off_s),
            ("times.on_s", on_s),
            ("times.steady_s", steady_s),
            ("times.away_s", away_s),
        ];
        match times.into_iter().find(|(name, time)| *time > LONGEST_S || (*time == 0 && *name != "times.steady_s")) {
            Some((name, time)) => Err(format!("{name}: {time}: write 1 to {LONGEST_S} seconds")),
            None if self.gap_ms > 60_000 => Err(format!("gap_ms: {}: at most 60000", self.gap_ms)),
            None => Ok(()),
        }
    }
}

impl Match {
    fn holds(&self, machine: &Machine) -> bool {
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| glob(pattern, text));
        (self.racks.is_empty() || self.racks.contains(&machine.rack))
            && fits(&self.serial, &machine.serial)
            && fits(&self.role, &machine.role)
            && fits(&self.bmc_type, &machine.bmc.kind)
            && fits(&self.vendor, &machine.hardware.vendor)
            && fits(&self.product, &machine.hardware.product)
    }
}

/// A fingerprint in one form: 64 small hexadecimal digits.
#[must_use]
pub fn fingerprint(said: &str) -> Option<String> {
    let plain = said.replace(':', "").to_ascii_lowercase();
    (plain.len() == 64 && plain.bytes().all(|octet| octet.is_ascii_hexdigit())).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::inventory::tests::machine;

    #[test]
    fn the_first_rule_that_means_a_machine_decides() {
        let text = "rules:\n- {match: {product: 'r7*'}, credentials: /a, trust: learn, times: {soft_off_s: 300}}\n- {credentials: /b, trust: {ca: /ca.pem}}";
        let rules: Rules = parse("f", text).unwrap();
        rules.check().unwrap();
        let mut one = machine("N1", 0, 4);
        assert_eq!(rules.of(&one).unwrap().credentials, PathBuf::from("/b"));
        one.hardware.product = "R750".to_owned();
        let rule = rules.of(&one).unwrap();
        assert_eq!((rule.times.soft_off_s, rule.times.on_s, rule.port), (300, 60, 443));
    }

    #[test]
    fn trust_is_said_and_slips_name_their_field() {
        let missing = parse::<Rules>("f", "rules: [{credentials: /a}]").unwrap_err();
        assert!(missing.contains("trust"), "{missing}");
        for (text, said) in [
            ("rules: []", "bmc.rules: 0 rules"),
            ("rules: [{credentials: a, trust: learn}]", "bmc.rules[0].credentials"),
            ("rules: [{credentials: /a, trust: {sha256: '12'}}]", "bmc.rules[0].trust.sha256"),
            ("rules: [{credentials: /a, trust: learn, times: {on_s: 0}}]", "bmc.rules[0].times.on_s: 0"),
            ("{pins: x, rules: [{credentials: /a, trust: learn}]}", "bmc.pins"),
        ] {
            let error = parse::<Rules>("f", text).unwrap().check().unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
        assert_eq!(fingerprint(&"AB:".repeat(32)[..95]), Some("ab".repeat(32)));
    }
}
