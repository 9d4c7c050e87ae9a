//! What a value must look like, and where it does not.

use super::super::yaml::{Node, Not, VALUES_MAX, Value};

/// What may be somewhere.
#[derive(Debug)]
pub(super) enum Shape {
    /// Whatever it is.
    Any,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    Text,
    Null,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of such.
    List(&'static Self),
    /// A list of such that is not empty.
    Some(&'static Self),
    /// A mapping with any keys, of such.
    Each(&'static Self),
    /// A mapping with these keys and no others; those with `!` must be there.
    Map(&'static [(&'static str, Self)]),
    /// One of these.
    Either(&'static [Self]),
}

impl Shape {
    fn name(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Text => "text, in quotes".to_owned(),
            Self::Null => "nothing".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::List(_) | Self::Some(_) => "a list".to_owned(),
            Self::Each(_) | Self::Map(_) => "a mapping".to_owned(),
            Self::Either(all) => all.iter().map(Self::name).collect::<Vec<_>>().join(", or "),
        }
    }

    /// Whether a value is of this kind, whatever is within it.
    fn is_kind_of(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Flag => matches!(value, Value::Flag(_)),
            Self::Number => matches!(value, Value::Number(_)),
            Self::Text | Self::Word(_) => matches!(value, Value::Text(_)),
            Self::Null => matches!(value, Value::Null),
            Self::List(_) | Self::Some(_) => matches!(value, Value::List(_)),
            Self::Each(_) | Self::Map(_) => matches!(value, Value::Map(_)),
            Self::Either(all) => all.iter().any(|shape| shape.is_kind_of(value)),
        }
    }
}

/// Looks at a value, which stands at `path`.
///
/// # Errors
/// Line, place, what is there and what to write.
pub(super) fn check(node: &Node, shape: &Shape, path: &str) -> Result<(), Not> {
    within(node, shape, path, &mut 0)
}

fn within(node: &Node, shape: &Shape, path: &str, steps: &mut usize) -> Result<(), Not> {
    *steps += 1;
    if *steps > VALUES_MAX {
        return Err((Some(node.line), format!("{path}: too much, by what aliases mean: write less")));
    }
    let wrong = || Err((Some(node.line), format!("{path}: {}: write {}", node.value.kind(), shape.name())));
    let value = node.value.as_ref();
    match (shape, value) {
        (Shape::Any, _)
        | (Shape::Flag, Value::Flag(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::Text, Value::Text(_))
        | (Shape::Null, Value::Null) => Ok(()),
        (Shape::Word(words), Value::Text(text)) if words.contains(&text.as_str()) => Ok(()),
        (Shape::Word(words), Value::Text(text)) => {
            Err((Some(node.line), format!("{path}: `{}`: write one of {}", text.escape_debug(), words.join(", "))))
        }
        (Shape::Some(_), Value::List(all)) if all.is_empty() => {
            Err((Some(node.line), format!("{path}: an empty list: write an entry, or leave it out")))
        }
        (Shape::List(of) | Shape::Some(of), Value::List(all)) => {
            let mut all = all.iter().enumerate();
            all.try_for_each(|(at, one)| within(one, of, &format!("{path}[{at}]"), steps))
        }
        (Shape::Each(of), Value::Map(all)) => {
            all.iter().try_for_each(|(key, one)| within(one, of, &format!("{path}.{}", key.escape_debug()), steps))
        }
        (Shape::Map(keys), Value::Map(all)) => keyed(node, all, keys, path, steps),
        (Shape::Either(all), _) => match all.iter().filter(|shape| shape.is_kind_of(value)).collect::<Vec<_>>()[..] {
            [] => wrong(),
            // What is wrong with the last of its kind is said; a word may be one of several lists of them.
            [ref before @ .., last] => {
                let fits = before.iter().any(|shape| within(node, shape, path, steps).is_ok());
                if fits { Ok(()) } else { within(node, last, path, steps) }
            }
        },
        _ => wrong(),
    }
}

fn keyed(
    node: &Node,
    all: &[(String, Node)],
    keys: &[(&str, Shape)],
    path: &str,
    steps: &mut usize,
) -> Result<(), Not> {
    let name = |key: &str| key.trim_end_matches('!').to_owned();
    for (key, one) in all {
        let Some((_, shape)) = keys.iter().find(|(known, _)| name(known) == *key) else {
            let near =
                keys.iter().map(|(known, _)| name(known)).min_by_key(|known| strsim::damerau_levenshtein(known, key));
            let near = near.map(|near| format!(": is `{near}` meant?")).unwrap_or_default();
            return Err((Some(one.line), format!("{path}: cloud-init knows no `{}` there{near}", key.escape_debug())));
        };
        within(one, shape, &format!("{path}.{}", key.escape_debug()), steps)?;
    }
    match keys.iter().find(|(known, _)| known.ends_with('!') && node.get(&name(known)).is_none()) {
        Some((missing, _)) => Err((Some(node.line), format!("{path}: no `{}`: write it", name(missing)))),
        None => Ok(()),
    }
}
