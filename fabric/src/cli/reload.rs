//! `weft reload`: what is written, and what is asked of the daemon.

use crate::api;
use crate::io::verbs;
use clap::Args;

/// `weft reload`.
#[derive(Debug, Args)]
pub struct Reload {
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

impl Reload {
    /// What is asked.
    #[must_use]
    pub const fn asked(&self) -> verbs::Verb {
        if self.plan {
            return verbs::Verb::Plan;
        }
        if self.confirm {
            return verbs::Verb::ConfirmReload;
        }
        let (allow_reset, confirm_within_s) = (self.allow_reset, self.confirm_within);
        verbs::Verb::Reload(api::Reload { allow_reset, confirm_within_s })
    }
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
