//! `doctor`: findings as sentences, the worst first.

use super::count;
use crate::doctor::{Report, Severity};
use std::fmt::Write as _;

/// The report.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Fault => "fault ",
            Severity::Advice => "advice",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{severity}  {} is {}, should be {}", finding.subject, finding.found, finding.wanted);
        let _ = writeln!(text, "        why     {}", finding.why);
        let _ = writeln!(text, "        remedy  {}", finding.remedy);
    }
    let number = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let of =
        |severity, noun: &str, plural: &str| count(u64::try_from(number(severity)).unwrap_or(u64::MAX), noun, plural);
    let _ = writeln!(
        text,
        "{}, {}, {} as they should be",
        of(Severity::Fault, "fault", "faults"),
        of(Severity::Advice, "advice", "advices"),
        count(u64::from(report.right), "setting", "settings")
    );
    if !report.unseen.is_empty() {
        let _ = writeln!(text, "not to be seen here: {}", report.unseen.join(", "));
    }
    text
}
