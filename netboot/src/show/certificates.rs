//! The certificates of a configuration, and what is wrong with them.

use super::{NONE, render, span, table};
use crate::io::certificates::Examined;
use jiff::Timestamp;
use std::fmt::Write as _;

/// A line for each certificate, then a line for each fault.
#[must_use]
pub fn certificates(all: &[Examined], now: Timestamp) -> String {
    if all.is_empty() {
        return "the configuration names no certificate\n".to_owned();
    }
    let mut lines = table(&["Field", "Whose", "Names", "Of", "Until", "Left"]);
    for one in all {
        let mut field = one.field.as_str();
        for certificate in &one.certificates {
            let names = if certificate.names.is_empty() { NONE.to_owned() } else { certificate.names.join(" ") };
            let issuer = if certificate.issuer == certificate.subject { "itself" } else { &certificate.issuer };
            let until = certificate.ends.strftime("%Y-%m-%d").to_string();
            let left = certificate.ends.as_second() - now.as_second();
            let left = u64::try_from(left).map_or_else(|_| "over".to_owned(), span);
            lines.add_row([field, &certificate.subject, &names, issuer, &until, &left]);
            field = "";
        }
        if one.certificates.is_empty() {
            lines.add_row([field, NONE, NONE, NONE, NONE, NONE]);
        }
    }
    let mut text = render(&lines);
    for one in all {
        for fault in &one.faults {
            let _ = writeln!(text, "{}: {}: {fault}", one.field, one.file.display());
        }
    }
    text
}
