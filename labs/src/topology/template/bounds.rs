//! How much the functions of a template may make: a file of a few lines that doubles a text again and again must not fill the memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use gotmpl::{Template, TemplateError, Value};

use super::functions::{shown, wrong};

/// Largest value, in octets of its texts and one for each element.
pub(super) const MAX_VALUE: usize = 4 * 1024 * 1024;
/// All values that the functions of one template make, the same way.
const MAX_MADE: usize = 256 * 1024 * 1024;
/// Longest format of `printf`: each of its verbs may ask for 65,535 blanks.
const MAX_FORMAT: usize = 1_000;
/// Functions of the language whose results are longer than what they are given.
pub(super) const LANGUAGE: [&str; 6] = ["print", "printf", "println", "html", "js", "urlquery"];

/// What has been made so far.
#[derive(Debug, Default)]
pub(super) struct Made(AtomicUsize);

impl Made {
    /// A result that is small enough, alone and with all before it.
    pub(super) fn note(&self, name: &str, value: Value) -> Result<Value, TemplateError> {
        let weight = weight(&value).ok_or_else(|| too_large(name))?;
        if self.0.fetch_add(weight, Ordering::Relaxed).saturating_add(weight) > MAX_MADE {
            return Err(wrong(format!("functions have made {MAX_MADE} bytes: let the template do less")));
        }
        Ok(value)
    }
}

/// Calls a function of the language.
pub(super) fn language(name: &str, args: &[Value]) -> Result<Value, TemplateError> {
    if let (true, Some(Value::String(format))) = (name == "printf", args.first())
        && format.len() > MAX_FORMAT
    {
        return Err(wrong(format!("printf: a format has {MAX_FORMAT} bytes at most")));
    }
    let places: String = (0..args.len()).map(|place| format!(" (index . {place})")).collect();
    let template = Template::new("").parse(&format!("{{{{{name}{places}}}}}"))?;
    template.execute_to_string(&Value::List(args.to_vec().into())).map(|text| Value::String(text.into()))
}

/// Says no to a text before it is made.
pub(super) fn fits(name: &str, length: usize) -> Result<(), TemplateError> {
    if length > MAX_VALUE { Err(too_large(name)) } else { Ok(()) }
}

/// Size of a value; none when it is too large. Stops to count there, for a list of itself, thirty times over, has no end to speak of.
fn weight(value: &Value) -> Option<usize> {
    let mut left = MAX_VALUE;
    weigh(value, &mut left)?;
    Some(MAX_VALUE - left)
}

fn weigh(value: &Value, left: &mut usize) -> Option<()> {
    let own = if let Value::String(text) = value { text.len() } else { 0 };
    *left = left.checked_sub(own + 1)?;
    match value {
        Value::List(list) => list.iter().try_for_each(|value| weigh(value, left)),
        Value::Map(map) => map.iter().try_for_each(|(key, value)| {
            *left = left.checked_sub(key.len())?;
            weigh(value, left)
        }),
        Value::Nil
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Float(_)
        | Value::String(_)
        | Value::Function(_) => Some(()),
    }
}

fn too_large(name: &str) -> TemplateError {
    wrong(format!("{} makes a value of more than {MAX_VALUE} bytes: make it smaller", shown(name)))
}
