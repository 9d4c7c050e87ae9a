//! Keys of disks. One half of each is in the machine's TPM, the other one here, and it is given to machines alone that show, by a quote, what
//! they booted.
//!
//! ```text
//!   Hello ──▶ turns: a nonce, sealed for its TPM ──▶ Proof ──▶ verify: which PCRs ──▶ policy: are they as they must be ──▶ Released, or why not
//! ```
//!
//! Every release and every refusal of a machine that proved which TPM it has is one transaction with its audit entry. What is kept of a
//! machine is one entry of the store.

pub mod credential;
pub mod policy;
pub mod recovery;
pub mod turns;
pub mod verify;

use crate::error::{Kind, Refusal};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use verify::Pcrs;
use weft_machine::keys::Hex;

/// Where the keys of machines are.
pub const KEYS: &str = "keys/";
/// Values of one PCR that are accepted at a time: a firmware, the one before, and one that is tried.
pub const ACCEPTED_MAX: usize = 4;
/// The same refusal is not written again before this: a machine that is refused tries again for ever.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// Octets that are in no log and no answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub Hex);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// By what a machine proves that it may have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A quote of its TPM.
    Tpm,
    /// Its certificate alone: whoever has a copy of that has the key too.
    Certificate,
}

/// The half of one disk's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// 32 octets.
    pub half: Secret,
    /// Since when.
    pub made: Timestamp,
    /// How it is given out.
    pub by: By,
    /// What opens the disk without TPM and server, for the operators' key alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Hex>,
}

/// What a machine showed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// For which disk.
    pub disk: String,
    /// Values of PCRs, in hexadecimal; empty without TPM.
    #[schemars(with = "BTreeMap<String, String>")]
    pub pcrs: BTreeMap<u8, String>,
    /// Why it got nothing; `None` = it got the half.
    pub refused: Option<String>,
}

/// What is kept of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its disks.
    #[serde(default)]
    pub disks: BTreeMap<String, Disk>,
    /// Values of PCRs that an operator accepted, the newest last.
    #[serde(default)]
    pub accepted: BTreeMap<u8, Vec<Hex>>,
    /// The TPM that has the other half, by its endorsement key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek: Option<String>,
    /// What it showed last.
    pub seen: Option<Seen>,
}

/// A record without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// The machine.
    pub serial: String,
    /// Its disks.
    pub disks: BTreeMap<String, ShownDisk>,
    /// Values of PCRs that an operator accepted, in hexadecimal.
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub accepted: BTreeMap<u8, Vec<String>>,
    /// What it showed last.
    pub seen: Option<Seen>,
}

/// A disk without its half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownDisk {
    /// Since when there is a key.
    pub made: Timestamp,
    /// How its half is given out.
    pub by: By,
    /// Whether operators can open it without the machine.
    pub recovery: bool,
}

impl Record {
    /// Without secrets.
    #[must_use]
    pub fn shown(&self, serial: &str) -> Shown {
        let disk = |disk: &Disk| ShownDisk { made: disk.made, by: disk.by, recovery: disk.recovery.is_some() };
        let text = |values: &Vec<Hex>| values.iter().map(ToString::to_string).collect();
        Shown {
            serial: serial.to_owned(),
            disks: self.disks.iter().map(|(name, one)| (name.clone(), disk(one))).collect(),
            accepted: self.accepted.iter().map(|(pcr, values)| (*pcr, text(values))).collect(),
            seen: self.seen.clone(),
        }
    }
}

/// What a machine asked, and proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which disk.
    pub disk: String,
    /// By what.
    pub by: By,
    /// Which TPM, by its endorsement key.
    pub ek: Option<String>,
    /// What its TPM says.
    pub pcrs: Pcrs,
}

impl Asked {
    fn seen(&self, at: Timestamp, refused: Option<&str>) -> Seen {
        let pcrs = self.pcrs.iter().map(|(pcr, value)| (*pcr, Hex(value.to_vec()).to_string())).collect();
        Seen { at, disk: self.disk.clone(), pcrs, refused: refused.map(str::to_owned) }
    }
}

/// A change of a machine's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The half is given to the machine; the first time it is this one.
    Release {
        /// What it proved.
        asked: Asked,
        /// Of a disk that has none yet.
        half: Secret,
        /// For a disk that is being formatted.
        recovery: Option<Hex>,
    },
    /// It is not.
    Refuse {
        /// What it proved.
        asked: Asked,
        /// Why not.
        why: String,
    },
    /// An operator accepts what it showed last.
    Accept,
    /// An operator takes the recovery key of a disk, which only the operators' key opens.
    Recover {
        /// Which disk.
        disk: String,
    },
}

impl Change {
    /// What it does, for the audit log.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Release { .. } => "release disk key",
            Self::Refuse { .. } => "refuse disk key",
            Self::Accept => "accept pcrs",
            Self::Recover { .. } => "take recovery key",
        }
    }
}

/// What a change makes of a record, and what the audit log says of it; `None` = nothing that would have to be written.
///
/// # Errors
/// When there is nothing to accept, or to recover.
pub fn after(before: &Record, change: &Change, now: Timestamp) -> Result<Option<(Record, serde_json::Value)>, Refusal> {
    let mut after = before.clone();
    let says = match change {
        Change::Release { asked, half, recovery } => {
            let fresh = || Disk { half: half.clone(), made: now, by: asked.by, recovery: None };
            let disk = after.disks.entry(asked.disk.clone()).or_insert_with(fresh);
            if disk.by != asked.by {
                let message = format!("the key of `{}` was made with a TPM, or this one without", asked.disk);
                return Err(Refusal::conflict("disk", message, "it is given out as it was made").of(Kind::Forbidden));
            }
            after.ek = after.ek.or_else(|| asked.ek.clone());
            if let Some(recovery) = recovery {
                disk.recovery = Some(recovery.clone());
            }
            let seen = asked.seen(now, None);
            let says = serde_json::json!({ "disk": asked.disk, "by": asked.by, "pcrs": seen.pcrs });
            after.seen = Some(seen);
            says
        }
        Change::Refuse { asked, why } => {
            let seen = asked.seen(now, Some(why));
            let same = |last: &Seen| {
                let is_same = (&last.pcrs, &last.refused, &last.disk) == (&seen.pcrs, &seen.refused, &seen.disk);
                is_same && now.duration_since(last.at) < AGAIN_AFTER
            };
            if before.seen.as_ref().is_some_and(same) {
                return Ok(None);
            }
            let says = serde_json::json!({ "why": why, "disk": asked.disk, "by": asked.by, "pcrs": seen.pcrs });
            after.seen = Some(seen);
            says
        }
        Change::Accept => {
            let seen = before.seen.as_ref().filter(|seen| !seen.pcrs.is_empty());
            let seen = seen.ok_or_else(|| {
                Refusal::conflict("", "it has shown nothing yet", "let it ask for a key first: it is refused, and seen")
            })?;
            accept(&mut after, seen)?;
            serde_json::json!({ "pcrs": seen.pcrs })
        }
        Change::Recover { disk } => {
            let held = before.disks.get(disk).ok_or_else(|| Refusal::not_found("disk", disk))?;
            if held.recovery.is_none() {
                let rule = "`disk_keys.recovery_to` of the configuration makes one when a disk is formatted";
                return Err(Refusal::conflict("disk", format!("`{disk}` has no recovery key"), rule));
            }
            serde_json::json!({ "disk": disk })
        }
    };
    Ok(Some((after, says)))
}

fn accept(record: &mut Record, seen: &Seen) -> Result<(), Refusal> {
    for (pcr, text) in &seen.pcrs {
        let value: Hex = text.parse().map_err(|wrong: String| Refusal::invalid("pcrs", text.clone(), wrong))?;
        let values = record.accepted.entry(*pcr).or_default();
        values.retain(|other| *other != value);
        values.push(value);
        let more = values.len().saturating_sub(ACCEPTED_MAX);
        values.drain(..more);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn asked(pcr: u8) -> Asked {
        Asked { disk: "data".to_owned(), by: By::Tpm, ek: None, pcrs: Pcrs::from([(7, [pcr; 32])]) }
    }

    fn release(half: u8, recovery: Option<u8>) -> Change {
        let half = Secret(Hex(vec![half; 32]));
        Change::Release { asked: asked(1), half, recovery: recovery.map(|octet| Hex(vec![octet])) }
    }

    fn done(record: &Record, change: &Change, second: i64) -> Record {
        after(record, change, at(second)).unwrap().unwrap().0
    }

    #[test]
    fn a_half_stays_what_it_was_first() {
        let first = done(&Record::default(), &release(1, Some(1)), 1);
        let again = done(&first, &release(2, None), 2);
        assert_eq!(again.disks["data"], first.disks["data"]);
        let formatted = done(&again, &release(3, Some(9)), 3);
        assert_eq!(formatted.disks["data"].half, first.disks["data"].half);
        assert_eq!(formatted.disks["data"].recovery, Some(Hex(vec![9])), "who formats anew has another recovery key");
        let by = Asked { by: By::Certificate, ..asked(1) };
        let other = Change::Release { asked: by, half: Secret(Hex(vec![4; 32])), recovery: None };
        assert_eq!(after(&formatted, &other, at(4)).unwrap_err().kind, Kind::Forbidden, "no way around the TPM");
    }

    #[test]
    fn the_same_refusal_is_written_once_in_a_while() {
        let refuse = |why: &str| Change::Refuse { asked: asked(1), why: why.to_owned() };
        let first = done(&Record::default(), &refuse("a"), 0);
        assert_eq!(after(&first, &refuse("a"), at(599)), Ok(None));
        assert!(after(&first, &refuse("b"), at(1)).unwrap().is_some());
        assert!(after(&first, &refuse("a"), at(600)).unwrap().is_some());
    }

    #[test]
    fn what_was_shown_last_is_accepted_and_the_oldest_goes() {
        assert_eq!(after(&Record::default(), &Change::Accept, at(0)).unwrap_err().kind, Kind::Conflict);
        let mut record = Record::default();
        for pcr in 0..6 {
            record = done(&record, &Change::Refuse { asked: asked(pcr), why: String::new() }, pcr.into());
            record = done(&record, &Change::Accept, pcr.into());
        }
        let wanted: Vec<Hex> = (2..6).map(|pcr| Hex(vec![pcr; 32])).collect();
        assert_eq!(record.accepted[&7], wanted);
    }

    #[test]
    fn no_secret_is_printed() {
        let record = done(&Record::default(), &release(0xab, None), 1);
        let shown = format!("{record:?} {}", serde_json::to_string(&record.shown("N1")).unwrap());
        assert!(!shown.contains("abab"), "{shown}");
    }
}
