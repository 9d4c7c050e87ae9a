//! The tables of disk keys; none of them has a key.

use super::{NONE, age, render, table};
use crate::keys::{By, Shown};
use jiff::Timestamp;

/// A line for each disk, and for each machine that got nothing yet.
#[must_use]
pub fn keys(all: &[Shown], now: Timestamp) -> String {
    if all.is_empty() {
        return "no machine asked for a disk key yet\n".to_owned();
    }
    let mut lines = table(&["Serial", "Disk", "Given by", "Since", "Recovery", "Asked", "Last"]);
    for one in all {
        let (asked, last) = match &one.seen {
            Some(seen) => (age(seen.at, now), seen.refused.as_ref().map_or("released", |_| "refused")),
            None => (NONE.to_owned(), NONE),
        };
        if one.disks.is_empty() {
            lines.add_row([&one.serial, NONE, NONE, NONE, NONE, &asked, last]);
        }
        for (name, disk) in &one.disks {
            let by = match disk.by {
                By::Tpm => "TPM",
                By::Certificate => "certificate (weaker)",
            };
            let recovery = if disk.recovery { "yes" } else { "no" };
            lines.add_row([&one.serial, name, by, &age(disk.made, now), recovery, &asked, last]);
        }
    }
    render(&lines)
}

/// One machine: what it showed, beside what is accepted.
#[must_use]
pub fn of_machine(one: &Shown, now: Timestamp) -> String {
    let mut text = keys(std::slice::from_ref(one), now);
    let Some(seen) = &one.seen else { return text };
    if !seen.pcrs.is_empty() {
        let mut lines = table(&["PCR", "Shown", "Accepted"]);
        for (pcr, value) in &seen.pcrs {
            let accepted = one.accepted.get(pcr).map_or(&[][..], Vec::as_slice);
            let said = match accepted.last() {
                _ if accepted.contains(value) => "yes",
                _ if seen.refused.is_none() => "as the configuration says",
                Some(newest) => newest,
                None => NONE,
            };
            lines.add_row([&pcr.to_string(), value, said]);
        }
        text.push('\n');
        text.push_str(&render(&lines));
    }
    if let Some(why) = &seen.refused {
        text.push_str(&format!("\nrefused: {why}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Seen, ShownDisk};
    use std::collections::BTreeMap;

    #[test]
    fn a_weaker_key_and_a_refusal_are_seen() {
        let at = Timestamp::UNIX_EPOCH;
        let seen = Seen {
            at,
            disk: "data".to_owned(),
            pcrs: BTreeMap::from([(4, "aa".to_owned()), (11, "bb".to_owned())]),
            refused: Some("PCR 11 is bb…".to_owned()),
        };
        let disk = ShownDisk { made: at, by: By::Certificate, recovery: true };
        let accepted = BTreeMap::from([(4, vec!["aa".to_owned()]), (11, vec!["cc".to_owned()])]);
        let disks = BTreeMap::from([("data".to_owned(), disk)]);
        let one = Shown { serial: "N1".to_owned(), disks, accepted, seen: Some(seen) };
        let text = of_machine(&one, at);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["N1", "data", "certificate", "(weaker)", "0s", "yes", "0s", "refused"]);
        assert_eq!((&words[4][..], &words[5][..]), (&["4", "aa", "yes"][..], &["11", "bb", "cc"][..]));
        assert!(text.ends_with("refused: PCR 11 is bb…\n"), "{text}");
        let seen = one.seen.map(|seen| Seen { refused: None, ..seen });
        let text = of_machine(&Shown { seen, ..one }, at);
        assert!(
            text.lines().any(|line| line.starts_with("11 ") && line.ends_with("as the configuration says")),
            "{text}"
        );
    }
}
