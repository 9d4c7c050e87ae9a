//! Which PCRs a machine must show, and what they must be (`disk_keys` of the configuration).

use super::Record;
use super::verify::Pcrs;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use weft_machine::keys::Hex;
use weft_machine::tpm::PCRS_MAX;

/// Hexadecimal digits of a value in a sentence: enough to tell two apart.
const DIGITS: usize = 16;

/// The part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// PCRs of SHA-256, and what each must be.
    #[serde(default = "default_pcrs")]
    pub pcrs: BTreeMap<u8, Expect>,
    /// What a machine without a TPM gets.
    #[serde(default)]
    pub without_tpm: WithoutTpm,
    /// The operators' public key, for which recovery keys are encrypted; without one there are none.
    pub recovery_to: Option<Hex>,
}

/// What a PCR must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// What an operator accepted of this machine.
    Learned,
    /// One of these.
    Values(Vec<Hex>),
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "write `learned`, or a list of values in hexadecimal")]
        enum Written {
            Word(String),
            Values(Vec<Hex>),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "learned" => Ok(Self::Learned),
            Written::Word(word) => {
                Err(serde::de::Error::custom(format!("`{word}`: write `learned`, or a list of values in hexadecimal")))
            }
            Written::Values(values) => Ok(Self::Values(values)),
        }
    }
}

/// What a machine without a TPM gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutTpm {
    /// Nothing.
    #[default]
    Refuse,
    /// Its keys, by its certificate: weaker, for whoever copies the certificate has the keys.
    Certificate,
}

/// What the firmware starts (4), how Secure Boot is (7), what is in an image of one file (11).
fn default_pcrs() -> BTreeMap<u8, Expect> {
    [4, 7, 11].into_iter().map(|pcr| (pcr, Expect::Learned)).collect()
}

impl Rules {
    /// Whether it says something that can be.
    ///
    /// # Errors
    /// Field and rule.
    pub fn check(&self) -> Result<(), String> {
        if self.pcrs.is_empty() || self.pcrs.len() > PCRS_MAX {
            return Err(format!("disk_keys.pcrs: {} of them: name 1 to {PCRS_MAX}", self.pcrs.len()));
        }
        for (pcr, expect) in &self.pcrs {
            let values = match expect {
                Expect::Learned => &[][..],
                Expect::Values(values) => &values[..],
            };
            if *pcr > 23 {
                return Err(format!("disk_keys.pcrs.{pcr}: a TPM has PCRs 0 to 23"));
            }
            if let Some(wrong) = values.iter().find(|value| value.0.len() != 32) {
                return Err(format!("disk_keys.pcrs.{pcr}: `{wrong}` has not the 64 digits of SHA-256"));
            }
        }
        match &self.recovery_to {
            Some(key) if key.0.len() != super::recovery::KEY => {
                Err("disk_keys.recovery_to: write the 64 digits that `weft-netboot keys operator FILE` prints"
                    .to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether what a machine shows is as it must be.
    ///
    /// # Errors
    /// Each PCR that is not, with what it is and what it should be.
    pub fn judge(&self, serial: &str, record: Option<&Record>, shown: &Pcrs) -> Result<(), String> {
        let mut why = String::new();
        for (pcr, expect) in &self.pcrs {
            let wanted = match expect {
                Expect::Learned => record.and_then(|record| record.accepted.get(pcr)).map_or(&[][..], Vec::as_slice),
                Expect::Values(values) => values,
            };
            let got = shown.get(pcr).map(|value| Hex(value.to_vec())).unwrap_or_default();
            if wanted.contains(&got) {
                continue;
            }
            let separator = if why.is_empty() { "" } else { "; " };
            let _ = write!(why, "{separator}PCR {pcr} is {}, ", short(&got));
            let _ = match wanted {
                [] => write!(why, "and nobody accepted that"),
                [one] => write!(why, "not {}", short(one)),
                [.., newest] => write!(why, "not {} or another one that is accepted", short(newest)),
            };
        }
        if why.is_empty() {
            return Ok(());
        }
        Err(format!("{why}: if that is what it should boot, say `weft-netboot keys accept {serial}`"))
    }
}

fn short(value: &Hex) -> String {
    let text = value.to_string();
    text.get(..DIGITS).map_or_else(|| "missing".to_owned(), |digits| format!("{digits}…"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn what_differs_is_named_with_what_it_should_be() {
        let text = format!("pcrs: {{7: learned, 11: [{}]}}", "ab".repeat(32));
        let rules: Rules = parse("f", &text).unwrap();
        assert_eq!((rules.check(), rules.without_tpm), (Ok(()), WithoutTpm::Refuse));
        let shown = Pcrs::from([(7, [1; 32]), (11, [0xab; 32])]);
        let why = rules.judge("N1", None, &shown).unwrap_err();
        assert!(why.starts_with("PCR 7 is 0101010101010101…, and nobody accepted that: "), "{why}");
        let mut record = Record::default();
        record.accepted.insert(7, vec![Hex(vec![1; 32])]);
        assert_eq!(rules.judge("N1", Some(&record), &shown), Ok(()));
        let other = Pcrs::from([(7, [2; 32]), (11, [1; 32])]);
        let why = rules.judge("N1", Some(&record), &other).unwrap_err();
        let wanted =
            "PCR 7 is 0202020202020202…, not 0101010101010101…; PCR 11 is 0101010101010101…, not abababababababab…";
        assert!(why.starts_with(wanted), "{why}");
        assert!(rules.judge("N1", Some(&record), &Pcrs::new()).unwrap_err().contains("PCR 7 is missing"));
    }

    #[test]
    fn slips_are_named() {
        let wrong = |text: &str| match parse::<Rules>("f", text) {
            Ok(rules) => rules.check().unwrap_err(),
            Err(error) => error,
        };
        assert!(wrong("pcrs: {}").contains("1 to 8"));
        assert!(wrong("pcrs: {24: learned}").contains("0 to 23"));
        assert!(wrong("pcrs: {7: lerned}").contains("lerned"));
        assert!(wrong("pcrs: {7: [ab]}").contains("64 digits"));
        assert!(wrong("recovery_to: ab").contains("keys operator"));
        assert!(wrong("without_tpm: trust").contains("unknown variant"));
    }
}
