//! Rules of enrolment: ordered, the first that means a machine decides.

use super::Candidate;
use crate::error::{Kind, Refusal};
use crate::inventory::machine::{check_labels, reason, text, word};
use crate::ipam::RACK_NUMBER_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rules at most: each is looked at for every report.
pub const RULES_MAX: usize = 256;
/// Racks, and beginnings of MAC addresses, that one rule names.
const NAMED_MAX: usize = 1_024;

/// All rules, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rules(pub Vec<Rule>);

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How refusals and the audit log call it.
    pub name: String,
    /// Whom it means: all of it; everybody unless given.
    #[serde(rename = "match", default)]
    pub when: Match,
    /// What becomes of it.
    pub then: Then,
}

/// Conditions. Patterns have `*` for any characters and `?` for one, in small or capital letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// One of the racks it was seen in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub racks: Vec<u32>,
    /// Pattern of the serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Beginnings of MAC addresses, as `b0:7b:25`: one of its addresses begins with one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// Pattern of who made it (SMBIOS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Pattern of the model (SMBIOS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Whether it names the key of a TPM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<bool>,
    /// Whether somebody vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vouched: Option<bool>,
}

/// What becomes of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is registered at once.
    Accept(Gives),
    /// It waits until somebody accepts it.
    Hold(Gives),
    /// Nothing is kept of it.
    Reject {
        /// Why, for who asks.
        #[serde(default)]
        reason: String,
    },
}

/// What a machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gives {
    /// Its role.
    pub role: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its rack; where it was seen unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<u32>,
    /// Accept it also when nobody vouches for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

impl Rules {
    /// Looks at every rule.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn check(&self) -> Result<(), Refusal> {
        at_most("", self.0.len(), RULES_MAX)?;
        for (at, rule) in self.0.iter().enumerate() {
            rule.check().map_err(|refusal| refusal.within(&format!("[{at}]")))?;
            if self.0[..at].iter().any(|before| before.name == rule.name) {
                let message = format!("`{}` is there twice", rule.name);
                return Err(Refusal::conflict(format!("[{at}].name"), message, "each rule has a name of its own"));
            }
        }
        Ok(())
    }

    /// The first that means a machine.
    #[must_use]
    pub fn meaning(&self, candidate: &Candidate) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.when.holds(candidate))
    }
}

impl Rule {
    /// What it gives to who comes in.
    #[must_use]
    pub const fn gives(&self) -> Option<&Gives> {
        match &self.then {
            Then::Accept(gives) | Then::Hold(gives) => Some(gives),
            Then::Reject { .. } => None,
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        word("name", &self.name)?;
        let Match { racks, serial, macs, vendor, product, .. } = &self.when;
        at_most("match.racks", racks.len(), NAMED_MAX)?;
        at_most("match.macs", macs.len(), NAMED_MAX)?;
        for rack in racks.iter().chain(&self.gives().and_then(|gives| gives.rack)) {
            if *rack > RACK_NUMBER_MAX {
                let rule = format!("0 to {RACK_NUMBER_MAX}");
                return Err(Refusal::invalid("match.racks", format!("{rack} is no rack number"), rule));
            }
        }
        for (field, pattern) in [("match.serial", serial), ("match.vendor", vendor), ("match.product", product)] {
            if let Some(pattern) = pattern {
                text(field, pattern)?;
            }
        }
        for mac in macs {
            let groups: Vec<&str> = mac.split(':').collect();
            let hex = |group: &&str| group.len() == 2 && group.chars().all(|c| c.is_ascii_hexdigit());
            if groups.len() > 6 || !groups.iter().all(hex) {
                let message = format!("`{}` begins no MAC address", mac.escape_debug());
                return Err(Refusal::invalid("match.macs", message, "write b0:7b:25, or more of the address"));
            }
        }
        match &self.then {
            Then::Accept(gives) | Then::Hold(gives) => {
                word("then.role", &gives.role)?;
                check_labels(&gives.labels).map_err(|refusal| refusal.within("then"))
            }
            Then::Reject { reason: why } => reason("then.reason", why),
        }
    }
}

impl Match {
    fn holds(&self, candidate: &Candidate) -> bool {
        let said = &candidate.said;
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| glob(pattern, text));
        let begins = |mac: &String| {
            self.macs.iter().any(|begin| mac.get(..begin.len()).is_some_and(|own| own.eq_ignore_ascii_case(begin)))
        };
        (self.racks.is_empty() || candidate.rack.is_some_and(|rack| self.racks.contains(&rack)))
            && fits(&self.serial, &said.serial)
            && (self.macs.is_empty() || said.ids.macs.iter().any(begins))
            && fits(&self.vendor, &said.hardware.vendor)
            && fits(&self.product, &said.hardware.product)
            && self.tpm.is_none_or(|tpm| tpm == said.ids.tpm_ek.is_some())
            && self.vouched.is_none_or(|vouched| vouched == candidate.vouched)
    }
}

/// Whether a text is as a pattern says. At most as many steps as both have characters multiplied, without recursion.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().map(|c| c.to_ascii_lowercase()).collect();
    let text: Vec<char> = text.chars().map(|c| c.to_ascii_lowercase()).collect();
    let (mut at, mut here) = (0, 0);
    // Behind the last `*`, and where its characters end as yet.
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                star = Some((at, here));
            }
            Some(c) if *c == '?' || *c == text[here] => {
                at += 1;
                here += 1;
            }
            _ => match star {
                Some((behind, taken)) => {
                    star = Some((behind, taken + 1));
                    (at, here) = (behind, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), Refusal> {
    if count <= most {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("has {count} entries"), format!("at most {most}")).of(Kind::TooMuch))
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("*", ""),
            ("dell*", "Dell Inc."),
            ("*r640", "PowerEdge R640"),
            ("N?", "n1"),
            ("a*b*c", "aXbXbc"),
            ("", ""),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a*b", "abc"), ("dell", "Dell Inc."), ("N??", "N1")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
        assert!(!glob(&"*a".repeat(128), &"a".repeat(127)), "and it ends");
    }
}
