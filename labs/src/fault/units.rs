//! Times, shares and rates as people write them.

use std::time::Duration;

/// A million: shares are kept as so many of it.
pub const WHOLE: u32 = 1_000_000;

/// A number with at most six decimals, as millionths.
fn millionths(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 6 || !digits(whole) || !digits(decimals) {
        return None;
    }
    let decimals: u64 = format!("{decimals:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(decimals)
}

/// The number and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `250us`, `10ms`, `1.5s`, `2m`, `1h`, or a bare number of seconds.
///
/// # Errors
/// A sentence that quotes the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text.trim());
    let nanoseconds = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" | "" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => 0_u128,
    };
    millionths(number)
        .filter(|_| nanoseconds > 0)
        .and_then(|number| u64::try_from(u128::from(number) * nanoseconds / 1_000_000).ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("`{text}` is no time: write 10ms, 1.5s or 2m"))
}

/// `10%`, `0.01%` or a bare number of percent, as parts of [`WHOLE`].
///
/// # Errors
/// A sentence that quotes the text.
pub fn parts(text: &str) -> Result<u32, String> {
    let (number, unit) = split(text.trim());
    millionths(number)
        .filter(|_| matches!(unit, "%" | ""))
        .and_then(|number| u32::try_from(number / 100).ok())
        .filter(|parts| *parts <= WHOLE)
        .ok_or_else(|| format!("`{text}` is no share: write 10% or 0.01%, at most 100%"))
}

/// `10mbit`, `1.5gbit`, `100kbit` or a bare number of kilobits, per second, as bits per second.
///
/// # Errors
/// A sentence that quotes the text.
pub fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text.trim());
    let bits = match unit {
        "bit" => 1,
        "kbit" | "" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000_u64,
        _ => 0,
    };
    millionths(number)
        .and_then(|number| number.checked_mul(bits))
        .map(|rate| rate / 1_000_000)
        .filter(|rate| *rate > 0)
        .ok_or_else(|| format!("`{text}` is no rate: write 100kbit, 10mbit or 1gbit"))
}

/// Parts of [`WHOLE`] as percent.
#[must_use]
pub fn percent_text(parts: u32) -> String {
    let decimals = format!("{:04}", parts % 10_000);
    let decimals = decimals.trim_end_matches('0');
    let point = if decimals.is_empty() { "" } else { "." };
    format!("{}{point}{decimals}%", parts / 10_000)
}

/// Bits per second in the largest unit that needs no decimals.
#[must_use]
pub fn rate_text(rate: u64) -> String {
    match rate {
        rate if rate % 1_000_000_000 == 0 => format!("{}gbit", rate / 1_000_000_000),
        rate if rate % 1_000_000 == 0 => format!("{}mbit", rate / 1_000_000),
        rate if rate % 1_000 == 0 => format!("{}kbit", rate / 1_000),
        rate => format!("{rate}bit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_shares_and_rates() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!((duration("3"), duration("1h")), (Ok(Duration::from_secs(3)), Ok(Duration::from_secs(3_600))));
        assert_eq!((parts("10%"), parts("0.01%"), parts("100")), (Ok(100_000), Ok(100), Ok(WHOLE)));
        assert_eq!((rate("10mbit"), rate("64"), rate("1.5gbit")), (Ok(10_000_000), Ok(64_000), Ok(1_500_000_000)));
        for text in ["", "s", "soon", "-1s", "1.2.3s", "1 day", "99999999999999999999h"] {
            assert!(duration(text).is_err_and(|error| error.contains("10ms")), "{text}");
        }
        assert!(parts("101%").is_err() && parts("ten").is_err() && rate("0").is_err() && rate("1mbyte").is_err());
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for share in [1, 100, 12_345, 100_000, WHOLE] {
            assert_eq!(parts(&percent_text(share)), Ok(share));
        }
        for bits in [1, 999, 1_000, 64_500, 10_000_000, 3_000_000_000] {
            assert_eq!(rate(&rate_text(bits)), Ok(bits));
        }
    }
}
