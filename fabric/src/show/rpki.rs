//! `show rpki`: the caches, and how much each knows.

use super::{NONE, duration, render, table};
use crate::api::Rpki;

/// The table.
#[must_use]
pub fn table_of(answer: &Rpki) -> String {
    if answer.caches.is_empty() {
        return "no RPKI caches: the configuration has no `rpki`, every route is not-found\n".to_owned();
    }
    let mut lines = table(&["Cache", "State", "Used", "Version", "Serial", "VRPs", "VRPs6", "Expires in", "Note"]);
    for cache in &answer.caches {
        lines.add_row([
            cache.address.to_string(),
            cache.info.state.clone(),
            if cache.info.active { "yes" } else { "no" }.to_owned(),
            cache.info.version.to_string(),
            cache.info.serial.map_or_else(|| NONE.to_owned(), |serial| serial.to_string()),
            cache.info.vrps[0].to_string(),
            cache.info.vrps[1].to_string(),
            cache.info.expires_in_s.map_or_else(|| NONE.to_owned(), duration),
            cache.info.last_error.clone().unwrap_or_default(),
        ]);
    }
    render(&lines, 0)
}
