//! YAML as cloud-init reads it: PyYAML's, which is 1.1. There `yes` and `off` are truth values, `2026-01-02` is a date, `017` and `12:30` are
//! numbers, where newer readers see text. Each value keeps its line.

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Lists and mappings within each other.
const DEPTH_MAX: usize = 64;
/// Values that are looked at: what an alias means counts each time.
pub(super) const VALUES_MAX: usize = 100_000;

/// Where and why.
pub(super) type Not = (Option<usize>, String);

/// A value, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Rc<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    /// A number without a point; those that do not fit are the largest one.
    Number(i64),
    /// A number with a point.
    Fraction,
    /// A date or time.
    Date,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Node {}

impl Value {
    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Fraction => "a number with a point",
            Self::Date => "a date",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// What a key of a mapping has.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(all) = self.value.as_ref() else { return None };
        all.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// The one document of a text.
///
/// # Errors
/// Line and reason.
pub(super) fn read(text: &str) -> Result<Node, Not> {
    let is_shown = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
            && c != '\u{feff}'
    };
    if let Some(line) = text.split('\n').position(|line| !line.chars().all(is_shown)) {
        return Err((Some(line + 1), "a character that YAML has not: write it as \\x.. within \"".to_owned()));
    }
    if let Some(line) = text.split('\n').position(|line| line.starts_with('%')) {
        return Err((Some(line + 1), "a directive: leave the line out".to_owned()));
    }
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: BTreeMap::new(), values: 0 };
    let mut found = None;
    while let Some((event, line)) = reader.next()? {
        if matches!(event, Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd) {
            continue;
        }
        if event == Event::StreamEnd {
            break;
        }
        if found.is_some() {
            return Err((Some(line), "another document: leave out `---`".to_owned()));
        }
        found = Some(reader.node(event, line, 0)?);
    }
    Ok(found.unwrap_or_else(|| Node { line: 1, value: Rc::new(Value::Null) }))
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    anchors: BTreeMap<usize, Rc<Value>>,
    values: usize,
}

impl<'t> Reader<'t> {
    /// The next event that is no comment, and its line.
    fn next(&mut self) -> Result<Option<(Event<'t>, usize)>, Not> {
        for next in self.events.by_ref() {
            let (event, span) = next.map_err(|error| (Some(error.marker().line().max(1)), error.kind().to_string()))?;
            if !matches!(event, Event::Comment(..)) {
                return Ok(Some((event, span.start.line().max(1))));
            }
        }
        Ok(None)
    }

    fn node(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<Node, Not> {
        let not = |reason: &str| Err((Some(line), reason.to_owned()));
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return not("too much within it: at most 64 levels and 100,000 values");
        }
        let (value, anchor) = match event {
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(value) => return Ok(Node { line, value: value.clone() }),
                None => return not("an alias within what it means"),
            },
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref(), line)?, anchor),
            Event::SequenceStart(_, anchor, tag) => {
                plain(tag.as_deref(), "seq", line)?;
                let mut all = Vec::new();
                while let Some((event, line)) = self.next()?.filter(|(event, _)| *event != Event::SequenceEnd) {
                    all.push(self.node(event, line, depth + 1)?);
                }
                (Value::List(all), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                plain(tag.as_deref(), "map", line)?;
                (self.mapping(depth)?, anchor)
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd
            | _ => return not("what is no YAML of one document"),
        };
        let value = Rc::new(value);
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(Node { line, value })
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Not> {
        let (mut all, mut merged, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
        while let Some((event, line)) = self.next()?.filter(|(event, _)| *event != Event::MappingEnd) {
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(event, line, depth + 1)?;
            let Some((event, below)) = self.next()? else { return Err((Some(line), "a key without value".to_owned())) };
            let value = self.node(event, below, depth + 1)?;
            if is_merge {
                merge(&value, &mut merged)?;
                continue;
            }
            let Value::Text(key) = key.value.as_ref() else {
                return Err((Some(line), format!("a key that is {}: write it in quotes", key.value.kind())));
            };
            if !known.insert(key.clone()) {
                return Err((Some(line), format!("the key `{}` is there twice", key.escape_debug())));
            }
            all.push((key.clone(), value));
        }
        // What is merged stands behind what is said.
        all.extend(merged.into_iter().filter(|(key, _)| known.insert(key.clone())));
        Ok(Value::Map(all))
    }
}

/// `<<`: a mapping, or a list of them.
fn merge(value: &Node, into: &mut Vec<(String, Node)>) -> Result<(), Not> {
    match value.value.as_ref() {
        Value::Map(all) if into.len() + all.len() <= VALUES_MAX => into.extend(all.iter().cloned()),
        Value::List(all) if all.iter().all(|one| matches!(one.value.as_ref(), Value::Map(_))) => {
            all.iter().try_for_each(|one| merge(one, into))?;
        }
        Value::Null
        | Value::Flag(_)
        | Value::Number(_)
        | Value::Fraction
        | Value::Date
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => return Err((Some(value.line), "`<<` with what is no mapping".to_owned())),
    }
    Ok(())
}

/// A tag of lists and mappings says what they are anyway.
fn plain(tag: Option<&Tag>, own: &str, line: usize) -> Result<(), Not> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(own) => Err((Some(line), "a tag: leave it out".to_owned())),
        Some(_) | None => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, Not> {
    let is_text = match tag {
        None => style != ScalarStyle::Plain,
        // Octets in base64, as for contents of files.
        Some(tag) if matches!(tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref(), Some("str" | "binary")) => true,
        Some(_) => return Err((Some(line), "a tag other than !!str and !!binary: leave it out".to_owned())),
    };
    if is_text {
        return Ok(Value::Text(text.to_owned()));
    }
    if text == "=" {
        return Err((Some(line), "`=` alone, which PyYAML does not read: write it in quotes".to_owned()));
    }
    Ok(resolved(text))
}

/// What a plain word is: the rules of YAML 1.1 as PyYAML has them (<https://yaml.org/type/>).
fn resolved(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Flag(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Value::Flag(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan" | ".NaN"
        | ".NAN" => {
            return Value::Fraction;
        }
        _ => {}
    }
    if is_date(text) {
        return Value::Date;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::Text(text.to_owned());
    }
    number(text, digits).unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn number(text: &str, digits: &str) -> Option<Value> {
    let of = |digits: &str, allowed: &str| !digits.is_empty() && digits.chars().all(|c| allowed.contains(c));
    let whole = |radix, digits: &str| {
        let magnitude = i64::from_str_radix(&digits.replace('_', ""), radix).unwrap_or(i64::MAX);
        Some(Value::Number(if text.starts_with('-') { -magnitude } else { magnitude }))
    };
    if let Some(binary) = digits.strip_prefix("0b").filter(|rest| of(rest, "01_")) {
        return whole(2, binary);
    }
    if let Some(hexadecimal) = digits.strip_prefix("0x").filter(|rest| of(rest, "0123456789abcdefABCDEF_")) {
        return whole(16, hexadecimal);
    }
    if let Some(octal) = digits.strip_prefix('0').filter(|rest| of(rest, "01234567_")) {
        return whole(8, octal);
    }
    if of(digits, "0123456789_") && (digits == "0" || digits.starts_with(|c: char| ('1'..='9').contains(&c))) {
        return whole(10, digits);
    }
    let (head, tail) = digits.split_once('.').map_or((digits, None), |(head, tail)| (head, Some(tail)));
    // Minutes and seconds, of base 60.
    let mut parts = head.split(':');
    let first = parts.next().unwrap_or_default();
    let sixties: Vec<&str> = parts.collect();
    let is_sixty = |part: &&str| {
        part.len() <= 2 && of(part, "0123456789") && (part.len() < 2 || part.as_bytes() < b"6".as_slice())
    };
    if !sixties.is_empty() {
        let is_first = of(first, "0123456789_") && (tail.is_some() || !first.starts_with(['0', '_']));
        let is_tail = tail.is_none_or(|tail| tail.chars().all(|c| c.is_ascii_digit() || c == '_'));
        let kind = if tail.is_some() { Value::Fraction } else { Value::Number(i64::MAX) };
        return (is_first && is_tail && sixties.iter().all(is_sixty)).then_some(kind);
    }
    let point = match tail?.split_once(['e', 'E']) {
        Some((point, exponent)) => {
            exponent.strip_prefix(['+', '-']).filter(|rest| of(rest, "0123456789"))?;
            point
        }
        None => tail?,
    };
    let is_head = if head.is_empty() {
        digits.len() == text.len() && point.starts_with(|c: char| c.is_ascii_digit())
    } else {
        of(head, "0123456789_") && !head.starts_with('_')
    };
    (is_head && point.chars().all(|c| c.is_ascii_digit() || c == '_')).then_some(Value::Fraction)
}

/// `2026-01-02`, or with a time behind it.
fn is_date(text: &str) -> bool {
    let octets = text.as_bytes();
    let digits = |from: usize, to: usize| octets.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    if !(digits(0, 4) && octets.get(4) == Some(&b'-')) {
        return false;
    }
    if octets.len() == 10 {
        return digits(5, 7) && octets[7] == b'-' && digits(8, 10);
    }
    let rest = &text[5..];
    let number = |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|c| c.is_ascii_digit());
    let Some((month, rest)) = rest.split_once('-') else { return false };
    let Some((day, time)) = rest.split_once(['T', 't', ' ', '\t']) else { return false };
    let mut parts = time.trim_start().splitn(3, ':');
    let (hour, minute) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let second = parts.next().unwrap_or_default();
    let ends = second.get(..2).is_some_and(|second| second.bytes().all(|c| c.is_ascii_digit()));
    number(month) && number(day) && number(hour) && minute.len() == 2 && number(minute) && ends
}
