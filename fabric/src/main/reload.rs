//! `weft reload`: what is written, and what is asked of the daemon.

use clap::Args;
use weft_fabric::api;
use weft_fabric::io::verbs;

#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Only say what would happen: per peer, per route, per setting
    #[arg(long, conflicts_with_all = ["allow_reset", "confirm_within", "confirm"])]
    plan: bool,
    /// End sessions where the change needs it; otherwise such a reload is refused, and nothing is applied
    #[arg(long)]
    allow_reset: bool,
    /// Go back to the earlier configuration unless --confirm comes within this time, as 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    confirm_within: Option<u64>,
    /// Keep the configuration that waits for this
    #[arg(long, conflicts_with_all = ["allow_reset", "confirm_within"])]
    confirm: bool,
}

/// A time as 60s, 5m or 1h; a number alone is seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("write 60s, 5m or 1h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "write 60s, 5m or 1h".to_owned())?;
    let seconds = number.saturating_mul(unit);
    if (1..=api::CONFIRM_MAX_S).contains(&seconds) {
        return Ok(seconds);
    }
    Err(format!("write 1s to {}h", api::CONFIRM_MAX_S / 3_600))
}

/// What is asked.
pub(crate) const fn verb(wanted: &Reload) -> verbs::Verb {
    if wanted.plan {
        return verbs::Verb::Plan;
    }
    if wanted.confirm {
        return verbs::Verb::ConfirmReload;
    }
    let (allow_reset, confirm_within_s) = (wanted.allow_reset, wanted.confirm_within);
    verbs::Verb::Reload(api::Reload { allow_reset, confirm_within_s })
}
