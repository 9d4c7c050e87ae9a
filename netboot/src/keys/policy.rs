//! Which PCRs a machine must show, and what they must be (`disk_keys` of the configuration).

use super::Record;
use super::verify::Pcrs;
use crate::boot::measure::{PROGRAMS, SECTIONS};
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
    /// What follows from the file that this server gives it to boot now.
    Image,
    /// One of these.
    Values(Vec<Hex>),
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "write `learned`, `image`, or a list of values in hexadecimal")]
        enum Written {
            Word(String),
            Values(Vec<Hex>),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "learned" => Ok(Self::Learned),
            Written::Word(word) if word == "image" => Ok(Self::Image),
            Written::Word(word) => {
                let rule = "write `learned`, `image`, or a list of values in hexadecimal";
                Err(serde::de::Error::custom(format!("`{word}`: {rule}")))
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

/// The image that a machine is given, and what its TPM says when it booted that; or why nobody can say.
pub type Given = Result<(String, Pcrs), String>;

impl Rules {
    /// Whether a PCR must be what follows from the image.
    #[must_use]
    pub fn needs_image(&self) -> bool {
        self.pcrs.values().any(|expect| *expect == Expect::Image)
    }

    /// Whether it says something that can be, at a server that makes files for UEFI or does not.
    ///
    /// # Errors
    /// Field and rule.
    pub fn check(&self, makes_files: bool) -> Result<(), String> {
        if self.pcrs.is_empty() || self.pcrs.len() > PCRS_MAX {
            return Err(format!("disk_keys.pcrs: {} of them: name 1 to {PCRS_MAX}", self.pcrs.len()));
        }
        for (pcr, expect) in &self.pcrs {
            let values = match expect {
                Expect::Learned => &[][..],
                Expect::Image if ![PROGRAMS, SECTIONS].contains(pcr) => {
                    let those = format!("{PROGRAMS} and {SECTIONS}");
                    return Err(format!("disk_keys.pcrs.{pcr}: `image` says nothing of it, only of {those}"));
                }
                Expect::Image if !makes_files => {
                    return Err(format!("disk_keys.pcrs.{pcr}: `image` needs `boot.uki` of the configuration"));
                }
                Expect::Image => &[][..],
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
    pub fn judge(&self, serial: &str, record: Option<&Record>, given: &Given, shown: &Pcrs) -> Result<(), String> {
        let (mut why, mut can_accept) = (String::new(), false);
        for (pcr, expect) in &self.pcrs {
            let got = shown.get(pcr).map(|value| Hex(value.to_vec())).unwrap_or_default();
            let wrong = match expect {
                Expect::Image => unlike_image(*pcr, given, &got),
                Expect::Learned => {
                    let accepted = record.and_then(|record| record.accepted.get(pcr));
                    unlike(accepted.map_or(&[][..], Vec::as_slice), &got)
                }
                Expect::Values(values) => unlike(values, &got),
            };
            let Some(wrong) = wrong else { continue };
            can_accept |= *expect == Expect::Learned;
            let separator = if why.is_empty() { "" } else { "; " };
            let _ = write!(why, "{separator}PCR {pcr} is {}, {wrong}", short(&got));
        }
        match (why.is_empty(), can_accept) {
            (true, _) => Ok(()),
            (false, true) => {
                Err(format!("{why}: if that is what it should boot, say `weft-netboot keys accept {serial}`"))
            }
            (false, false) => Err(format!("{why}: boot {serial} again, by UEFI and HTTP from this server")),
        }
    }
}

/// What is wrong with a value of which these are right.
fn unlike(right: &[Hex], got: &Hex) -> Option<String> {
    match right {
        _ if right.contains(got) => None,
        [] => Some("and nobody accepted that".to_owned()),
        [one] => Some(format!("not {}", short(one))),
        [.., newest] => Some(format!("not {} or another one that is accepted", short(newest))),
    }
}

/// What is wrong with a value that must follow from the image.
fn unlike_image(pcr: u8, given: &Given, got: &Hex) -> Option<String> {
    let (image, pcrs) = match given {
        Ok((image, pcrs)) => (image, pcrs),
        Err(why) => return Some(format!("and nobody can say what it should be: {why}")),
    };
    match pcrs.get(&pcr).map(|value| Hex(value.to_vec())) {
        Some(right) if right == *got => None,
        Some(right) => Some(format!("not {} of image `{image}`", short(&right))),
        None => Some(format!("and it cannot be said for image `{image}`")),
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

    fn none() -> Given {
        Err("it boots no image".to_owned())
    }

    #[test]
    fn what_differs_is_named_with_what_it_should_be() {
        let text = format!("pcrs: {{7: learned, 11: [{}]}}", "ab".repeat(32));
        let rules: Rules = parse("f", &text).unwrap();
        assert_eq!((rules.check(false), rules.without_tpm), (Ok(()), WithoutTpm::Refuse));
        let shown = Pcrs::from([(7, [1; 32]), (11, [0xab; 32])]);
        let why = rules.judge("N1", None, &none(), &shown).unwrap_err();
        assert!(why.starts_with("PCR 7 is 0101010101010101…, and nobody accepted that: "), "{why}");
        let mut record = Record::default();
        record.accepted.insert(7, vec![Hex(vec![1; 32])]);
        assert_eq!(rules.judge("N1", Some(&record), &none(), &shown), Ok(()));
        let other = Pcrs::from([(7, [2; 32]), (11, [1; 32])]);
        let why = rules.judge("N1", Some(&record), &none(), &other).unwrap_err();
        let wanted =
            "PCR 7 is 0202020202020202…, not 0101010101010101…; PCR 11 is 0101010101010101…, not abababababababab…";
        assert!(why.starts_with(wanted), "{why}");
        let why = rules.judge("N1", Some(&record), &none(), &Pcrs::new()).unwrap_err();
        assert!(why.contains("PCR 7 is missing"), "{why}");
    }

    /// Issue: keys for machines whose PCRs match what the server gave them to boot.
    #[test]
    fn a_new_image_needs_nobody_and_what_is_not_of_it_is_refused() {
        let rules: Rules = parse("f", "pcrs: {4: image, 7: learned, 11: image}").unwrap();
        assert_eq!((rules.check(true), rules.needs_image()), (Ok(()), true));
        let mut record = Record::default();
        let given = |octet| Ok(("debian".to_owned(), Pcrs::from([(4, [octet; 32]), (11, [octet; 32])])));
        let shown = |image, seven| Pcrs::from([(4, [image; 32]), (7, [seven; 32]), (11, [image; 32])]);
        let why = rules.judge("N1", Some(&record), &given(1), &shown(1, 7)).unwrap_err();
        let wanted = "PCR 7 is 0707070707070707…, and nobody accepted that: if that is what it should boot, say `weft-netboot keys accept N1`";
        assert_eq!(why, wanted);
        record.accepted.insert(7, vec![Hex(vec![7; 32])]);
        record.accepted.insert(4, vec![Hex(vec![9; 32])]);
        for image in [1, 2] {
            assert_eq!(rules.judge("N1", Some(&record), &given(image), &shown(image, 7)), Ok(()));
        }
        let why = rules.judge("N1", Some(&record), &given(1), &shown(9, 7)).unwrap_err();
        let four = "PCR 4 is 0909090909090909…, not 0101010101010101… of image `debian`; PCR 11 is ";
        assert!(why.starts_with(four) && why.ends_with("boot N1 again, by UEFI and HTTP from this server"), "{why}");
        // What nobody can say is not guessed, and nothing that was accepted stands for it.
        let why = rules.judge("N1", Some(&record), &none(), &shown(9, 7)).unwrap_err();
        assert!(why.contains("nobody can say what it should be: it boots no image"), "{why}");
        let no_kernel = Ok(("debian".to_owned(), Pcrs::from([(11, [1; 32])])));
        let why = rules.judge("N1", Some(&record), &no_kernel, &shown(1, 7)).unwrap_err();
        assert!(why.starts_with("PCR 4 is 0101010101010101…, and it cannot be said for image `debian`: "), "{why}");
    }

    #[test]
    fn slips_are_named() {
        let wrong = |text: &str| match parse::<Rules>("f", text) {
            Ok(rules) => rules.check(false).unwrap_err(),
            Err(error) => error,
        };
        assert!(wrong("pcrs: {}").contains("1 to 8"));
        assert!(wrong("pcrs: {24: learned}").contains("0 to 23"));
        assert!(wrong("pcrs: {7: lerned}").contains("lerned"));
        assert!(wrong("pcrs: {7: [ab]}").contains("64 digits"));
        assert!(wrong("pcrs: {7: image}").contains("only of 4 and 11"));
        assert!(wrong("pcrs: {4: image}").contains("needs `boot.uki`"));
        assert!(wrong("recovery_to: ab").contains("keys operator"));
        assert!(wrong("without_tpm: trust").contains("unknown variant"));
    }
}
