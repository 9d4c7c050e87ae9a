//! Which part of a file is asked for, and whether who asks has it already (RFC 9110 §13 and §14). Files never change under their name,
//! so every tag is a strong one.

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: 200.
    Whole,
    /// 206: from the first octet to the one behind the last.
    Some {
        /// First octet.
        from: u64,
        /// The octet behind the last one; greater than `from`.
        to: u64,
    },
    /// 416: nothing of what is asked for is there.
    Nothing,
}

/// Which octets of a file of `length` a `Range` header means. One that breaks the rules, is of another unit, or names several parts
/// counts as none (RFC 9110 §14.2 lets a server do so): who asked gets the whole file.
#[must_use]
pub fn part(range: Option<&str>, length: u64) -> Part {
    let Some((unit, set)) = range.and_then(|range| range.split_once('=')) else { return Part::Whole };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let Some((first, last)) = set.trim_matches([' ', '\t']).split_once('-') else { return Part::Whole };
    // RFC 9110 §14.1.1: 1*DIGIT, so no sign, and numbers beyond ours are beyond every file.
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(from), Some(last), ..) if last < from => Part::Whole,
        (Some(from), ..) if last.is_empty() || number(last).is_some() => {
            let to = number(last).map_or(length, |last| last.saturating_add(1).min(length));
            if from < length { Part::Some { from, to } } else { Part::Nothing }
        }
        // The last octets, all of them when there are fewer (RFC 9110 §14.1.2).
        (None, Some(count), true, false) => match length.min(count) {
            0 => Part::Nothing,
            count => Part::Some { from: length - count, to: length },
        },
        _ => Part::Whole,
    }
}

/// Whether a list of tags, or `*`, has this one; weak comparison (RFC 9110 §13.1.2).
#[must_use]
pub fn names(list: &str, tag: &str) -> bool {
    list.trim() == "*" || list.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// Whether a part may be given: the file is that of which who asks has the rest (RFC 9110 §13.1.5). A date never is: files have none.
#[must_use]
pub fn is_rest(if_range: Option<&str>, tag: &str) -> bool {
    if_range.is_none_or(|one| one.trim() == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_9110_section_14_1_2() {
        // A representation of 10,000 octets.
        for (range, from, to) in [
            ("bytes=0-499", 0, 500),
            ("bytes=500-999", 500, 1_000),
            ("bytes=-500", 9_500, 10_000),
            ("bytes=9500-", 9_500, 10_000),
            ("bytes=0-0", 0, 1),
            ("Bytes=0-99999999999999999999999", 0, 10_000),
            ("bytes=-99999999999999999999999", 0, 10_000),
            ("bytes= 9999-", 9_999, 10_000),
        ] {
            assert_eq!(part(Some(range), 10_000), Part::Some { from, to }, "{range}");
        }
    }

    #[test]
    fn what_is_behind_the_end_cannot_be_had() {
        for range in ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(part(Some(range), 10_000), Part::Nothing, "{range}");
        }
        for range in ["bytes=0-0", "bytes=0-", "bytes=-1"] {
            assert_eq!(part(Some(range), 0), Part::Nothing, "{range} of an empty file");
        }
    }

    #[test]
    fn what_is_no_range_counts_as_none() {
        for range in [
            "bytes=500-499",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-2,4-5",
            "lines=1-2",
            "1-2",
            "bytes=--1",
            "bytes=1-x",
            "bytes=1--2",
            "bytes=0x1-2",
        ] {
            assert_eq!(part(Some(range), 10_000), Part::Whole, "{range}");
        }
        assert_eq!(part(None, 10_000), Part::Whole);
    }

    #[test]
    fn tags_are_compared() {
        let tag = "\"ab\"";
        assert!(names("\"x\", W/\"ab\"", tag) && names("*", tag) && names("\"ab\"", tag));
        assert!(!names("\"abc\"", tag) && !names("", tag) && !names("ab", tag));
        assert!(is_rest(None, tag) && is_rest(Some("\"ab\""), tag));
        // Strong comparison, and no date (RFC 9110 §13.1.5).
        assert!(!is_rest(Some("W/\"ab\""), tag) && !is_rest(Some("Sat, 28 Nov 2026 10:00:00 GMT"), tag));
    }
}
