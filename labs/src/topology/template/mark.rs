//! Marks in a template's source that say which line is being carried out, and the names of functions with a dot.
//!
//! Actions are found as Go's lexer finds them: `{{` up to `}}`, with strings, characters and comments skipped.

/// Begins a mark; a control character that no YAML may hold.
pub(super) const BEGIN: char = '\u{1}';
/// Ends it; digits are between.
pub(super) const END: char = '\u{2}';
/// Name spaces of functions: `strings.ToUpper` becomes `strings_ToUpper`, since to the language it is a field of a value.
const SPACES: [&str; 4] = ["strings", "conv", "net", "math"];

/// The source with a mark before each action and before the first letter of each line of text.
///
/// # Errors
/// Line and sentence, when the source has control characters of ours, or an action has no end.
pub(super) fn mark(source: &str) -> Result<String, (u64, String)> {
    let mut whole = String::with_capacity(source.len() * 2);
    let (mut line, mut rest) = (1_u64, source);
    if let Some(at) = source.find([BEGIN, END]) {
        let line = 1 + count_lines(&source[..at]);
        return Err((line, "the file has control characters: remove them".to_owned()));
    }
    while let Some(at) = rest.find("{{") {
        let (text, from) = rest.split_at(at);
        let trims = from[2..].starts_with('-') && from[3..].starts_with(char::is_whitespace);
        let kept = if trims { text.trim_end() } else { text };
        let in_text = count_lines(text);
        put_text(kept, line, &mut whole);
        put_mark(line + in_text, &mut whole);
        whole.push_str(&text[kept.len()..]);
        line += in_text;
        let length = action(from).ok_or_else(|| (line, "template: `{{` without `}}`: close the action".to_owned()))?;
        put_action(&from[..length], &mut whole);
        line += count_lines(&from[..length]);
        rest = &from[length..];
    }
    put_text(rest, line, &mut whole);
    Ok(whole)
}

fn count_lines(text: &str) -> u64 {
    u64::try_from(text.matches('\n').count()).unwrap_or(u64::MAX)
}

fn put_mark(line: u64, whole: &mut String) {
    whole.push_str(&format!("{BEGIN}{line}{END}"));
}

fn put_text(text: &str, first: u64, whole: &mut String) {
    for (line, part) in (first..).zip(text.split_inclusive('\n')) {
        let blank = part.len() - part.trim_start().len();
        whole.push_str(&part[..blank]);
        if blank < part.len() {
            put_mark(line, whole);
            whole.push_str(&part[blank..]);
        }
    }
}

/// Length of the action at the beginning of the text, with both of its delimiters.
fn action(text: &str) -> Option<usize> {
    let mut at = 2;
    let inner = text[at..].strip_prefix('-').map_or(&text[at..], str::trim_start);
    if inner.starts_with("/*") {
        at = text.find("*/")? + 2;
    }
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("}}") {
            return Some(at + 2);
        }
        let c = rest.chars().next()?;
        at += match c {
            '"' | '\'' | '`' => quoted(rest, c)?,
            c => c.len_utf8(),
        };
    }
    None
}

/// Length of the quoted text at the beginning.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' if quote != '`' => drop(characters.next()),
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// An action, with the dots of functions' names replaced outside of quotes.
fn put_action(action: &str, whole: &mut String) {
    let mut at = 0;
    while at < action.len() {
        let rest = &action[at..];
        let Some(c) = rest.chars().next() else { return };
        let length = match c {
            '"' | '\'' | '`' => quoted(rest, c).unwrap_or(rest.len()),
            c if c.is_alphabetic() && !action[..at].ends_with(['.', '$', '_']) => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                if SPACES.contains(&&rest[..end]) && rest[end..].starts_with('.') {
                    whole.push_str(&rest[..end]);
                    whole.push('_');
                    at += end + 1;
                    continue;
                }
                end
            }
            c => c.len_utf8(),
        };
        whole.push_str(&rest[..length]);
        at += length;
    }
}

/// A text of an error without marks.
pub(super) fn unmarked(text: &str) -> String {
    let mut whole = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            BEGIN => inside = true,
            END => inside = false,
            c if !inside => whole.push(c),
            _ => {}
        }
    }
    whole
}
