//! `show vips`: service addresses, whether they are announced, and why.

use super::{NONE, duration, or_none, render, table};
use crate::api::{Vip, Vips};

/// The table.
#[must_use]
pub fn table_of(answer: &Vips) -> String {
    if answer.vips.is_empty() {
        return "no service addresses: the configuration has no `vips`\n".to_owned();
    }
    let mut lines = table(&["Name", "Address", "State", "Since", "Check", "Checked", "Others", "Weight", "Reason"]);
    for vip in &answer.vips {
        let mut addresses = vip.addresses.iter();
        lines.add_row([
            vip.name.clone(),
            or_none(addresses.next()),
            state(vip),
            duration(vip.since_ms / 1_000),
            vip.check.clone().unwrap_or_else(|| NONE.to_owned()),
            vip.checked_ms_ago.map_or_else(|| NONE.to_owned(), |ago| format!("{ago} ms ago")),
            if vip.other_origin { "yes" } else { "no" }.to_owned(),
            or_none(vip.weight),
            reason(vip),
        ]);
        for address in addresses {
            lines.add_row([String::new(), address.to_string()]);
        }
    }
    render(&lines, 0)
}

fn state(vip: &Vip) -> String {
    if vip.alarm { format!("{} ALARM", vip.state) } else { vip.state.to_string() }
}

fn reason(vip: &Vip) -> String {
    match (&vip.last_error, vip.good) {
        // It is up still, and this is the first sign.
        (Some(error), Some(true)) => format!("{}; last check failed: {error}", vip.reason),
        _ => vip.reason.clone(),
    }
}
