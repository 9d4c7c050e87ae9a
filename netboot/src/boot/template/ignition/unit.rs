//! Units of systemd: names, and text that its reader takes.

use super::{At, Spec, unique};

/// Octets of a line, with its end.
const LINE_MAX: usize = 2_047;

/// The units of a section, whose names end in one of these.
pub(super) fn rules(section: &At<'_>, kinds: &str, spec: Spec) -> Result<(), String> {
    for unit in section.each("units") {
        let name = unit.get("name");
        if !kinds.split(' ').any(|kind| name.text().len() > kind.len() && name.text().ends_with(kind)) {
            return Err(name.wrong("is no unit", &format!("write a name that ends in one of {kinds}")));
        }
        contents(&unit.get("contents"))?;
        for dropin in unit.each("dropins") {
            let name = dropin.get("name");
            if !name.text().ends_with(".conf") {
                return Err(name.wrong("is no part of a unit", "write a name that ends in .conf"));
            }
            contents(&dropin.get("contents"))?;
        }
        if spec != Spec::Old {
            unique(unit.each("dropins").map(|dropin| dropin.get("name")))?;
        }
    }
    if spec == Spec::Old { Ok(()) } else { unique(section.each("units").map(|unit| unit.get("name"))) }
}

/// Sections, and in them `KEY=VALUE`, which goes on behind a `\` at the end of a line.
fn contents(at: &At<'_>) -> Result<(), String> {
    let (mut is_in, mut goes_on) = (false, false);
    for (number, line) in at.text().split('\n').enumerate() {
        let wrong = |why: &str, remedy: &str| {
            let line: String = line.chars().take(super::SHOWN_MAX).collect();
            Err(format!("{}: line {}, `{}`, {why}: {remedy}", at.path, number + 1, line.escape_debug()))
        };
        if line.len() >= LINE_MAX {
            return wrong("is too long for Ignition", "end it with \\ before 2,047 octets, and go on in the next one");
        }
        let (before, text) = (goes_on, line.trim());
        goes_on = false;
        if before {
            goes_on = line.ends_with('\\');
        } else if let Some(behind) = text.strip_prefix('[') {
            if !behind.ends_with(']') || behind.find(']') != Some(behind.len() - 1) {
                return wrong("is no section", "write [NAME], and nothing behind it");
            }
            is_in = true;
        } else if is_in && !text.is_empty() && !text.starts_with(['#', ';']) {
            if !text.contains('=') {
                return wrong("is no option", "write KEY=VALUE, or # before it");
            }
            goes_on = line.ends_with('\\');
        }
    }
    Ok(())
}
