//! `--lenient`: keys that nobody knows are taken out and warned of, one after the other, until the file can be read.

use super::file::{self, Fault, File};

/// Keys that are taken out before the file counts as something else.
const MAX_UNKNOWN: usize = 1_000;

/// Reads a file; the second part are sentences about what was left out.
pub(super) fn read(text: &str, source: &dyn Fn(u64) -> u64) -> Result<(File, Vec<String>), Fault> {
    let mut text = text.to_owned();
    let mut warnings = Vec::new();
    loop {
        let fault = match file::read(&text) {
            Ok(file) => return Ok((file, warnings)),
            Err(fault) => fault,
        };
        let Some((key, line)) = fault.unknown_key() else { return Err(fault) };
        let Some(shorter) = without(&text, key, line).filter(|_| warnings.len() < MAX_UNKNOWN) else {
            return Err(fault);
        };
        warnings.push(format!("line {}: nobody knows `{key}`: left out (--lenient)", source(line)));
        text = shorter;
    }
}

/// The text with the key that is at or near the line, and everything below it, blanked out; lines keep their numbers.
fn without(text: &str, key: &str, line: u64) -> Option<String> {
    let lines: Vec<&str> = text.split('\n').collect();
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    // the place may be that of the value, which may begin a line below its key
    let (at, column) = [line, line.wrapping_sub(1)].iter().find_map(|at| Some((*at, find(lines.get(*at)?, key)?)))?;
    let before = &lines[at][..column];
    let is_block = before.chars().all(|c| c == ' ' || c == '-');
    let offset = lines[..at].iter().map(|line| line.len() + 1).sum::<usize>() + column;
    let length = if is_block {
        let below = lines[at + 1..].iter().take_while(|line| {
            let indent = line.len() - line.trim_start().len();
            line.trim().is_empty() || indent > column || (indent == column && line.trim_start().starts_with("- "))
        });
        lines[at].len() - column + below.map(|line| line.len() + 1).sum::<usize>()
    } else {
        flow(text.get(offset..)?)
    };
    let rest = text.get(offset + length..)?;
    // in a flow mapping, the comma goes with it
    let rest = if is_block {
        rest.to_owned()
    } else {
        rest.strip_prefix(',').map_or_else(|| rest.to_owned(), |rest| format!(" {rest}"))
    };
    let blank: String = text[offset..offset + length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    Some(format!("{}{blank}{rest}", &text[..offset]))
}

/// Where a line has the key.
fn find(line: &str, key: &str) -> Option<usize> {
    line.match_indices(key).map(|(at, _)| at).find(|at| {
        let follows = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        let bare = line[..*at].chars().next_back().is_none_or(|c| " {,-".contains(c));
        follows.starts_with(':') && bare
    })
}

/// Length of `key: value` in a flow mapping: up to the comma or bracket that ends it.
fn flow(text: &str) -> usize {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']' | ',') if depth == 0 => return at,
            (None, '}' | ']') => depth -= 1,
            (Some(_) | None, _) => {}
        }
    }
    text.len()
}
