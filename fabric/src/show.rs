//! Tables for people, one file for each, from the same typed answers that `--output json` prints. Pure: text out.

pub mod bfd;
pub mod bgp;
pub mod dhcp;
pub mod doctor;
pub mod drain;
pub mod explain;
pub mod fib;
pub mod frr;
pub mod health;
pub mod history;
pub mod interfaces;
pub mod monitor;
pub mod mrt;
pub mod neighbors;
pub mod observers;
pub mod originated;
pub mod plan;
pub mod policy;
pub mod routes;
pub mod rpki;
pub mod top;
pub mod trace;
pub mod trail;
pub mod version;
pub mod vips;

#[cfg(test)]
mod tests;

use comfy_table::{ContentArrangement, Table, presets};

/// What stands in a cell without a value.
pub(crate) const NONE: &str = "-";

/// A table without lines: columns two spaces apart, as in the shells of routers.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header);
    }
    table
}

/// The table as lines without trailing blanks, `indent` columns in. The library puts one blank on each side of a cell.
fn render(table: &Table, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut text = String::new();
    for line in table.lines() {
        let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
        if !line.is_empty() {
            text.push_str(&margin);
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// `12s`, `4m12s`, `3h05m`, `2d07h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Whether a table is printed page by page: then its columns must not depend on one page alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paged(bool);

impl Paged {
    /// A cell of at least this width on every page.
    fn cell(self, text: &str, width: usize) -> String {
        if self.0 { format!("{text:width$}") } else { text.to_owned() }
    }
}

/// Widths of an IPv4 prefix and address, of the name of most interfaces, and of the longest state of a route.
pub(crate) const PREFIX_WIDTH: usize = 18;
pub(crate) const ADDRESS_WIDTH: usize = 15;
pub(crate) const INTERFACE_WIDTH: usize = 9;
pub(crate) const KERNEL_WIDTH: usize = 9;
pub(crate) const DURATION_WIDTH: usize = 6;

/// `1 path`, `2 paths`.
fn count(number: u64, noun: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { noun } else { plural })
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}
