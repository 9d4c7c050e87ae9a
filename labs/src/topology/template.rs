//! Renders a topology file that is a Go template, as containerlab does with every file before it reads YAML.
//!
//! The language itself is the crate `gotmpl`; this file gives it variables and functions, bounds what a template may do, and
//! keeps count of lines: every line of the result knows the line of the source that it came from, so that a fault found much later
//! (an unknown kind inside a `range`) is shown where its author can mend it.
//!
//! To that end `mark` writes invisible marks into the source, one before each action and each line of text, which
//! `Output` takes out again. A mark stands where white space may still be trimmed around it.

mod bounds;
mod functions;
mod mark;
pub mod vars;

use std::fmt;

use gotmpl::{Template, TemplateError};

/// Largest result; a file of 10,000 routers has a few megabytes.
pub const MAX_OUTPUT: usize = 8 * 1024 * 1024;
/// Actions carried out and lines written before a template counts as endless.
const MAX_STEPS: usize = 1_000_000;

/// A rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// For each of its lines, the line of the source; empty when it was no template: they are the same.
    lines: Vec<u64>,
}

impl Rendered {
    /// The source's line of a line of the text, both from 1.
    #[must_use]
    pub fn source_line(&self, line: u64) -> u64 {
        if self.lines.is_empty() {
            return line;
        }
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.lines.get(index).or_else(|| self.lines.last()).copied().unwrap_or(line)
    }
}

/// Renders a file; one without `{{` is itself.
///
/// # Errors
/// Line of the source, and a sentence that says what is wrong and what to do.
pub fn render(text: &str, variables: &serde_json::Value) -> Result<Rendered, (u64, String)> {
    if !text.contains("{{") {
        return Ok(Rendered { text: text.to_owned(), lines: Vec::new() });
    }
    let marked = mark::mark(text)?;
    let template = functions::register(Template::new("")).max_range_iters(MAX_STEPS as u64);
    let template = template.parse(&marked).map_err(|error| explain(&error, 1, None))?;
    let mut output = Output { line: 1, ..Output::default() };
    match template.execute_fmt(&mut output, &vars::value(variables)) {
        Ok(()) => Ok(output.finish()),
        Err(error) => Err(explain(&error, output.line, output.refused)),
    }
}

/// Takes what a template writes, within bounds, and notes where each line came from.
#[derive(Debug, Default)]
struct Output {
    text: String,
    /// Line of the source that is being carried out.
    line: u64,
    lines: Vec<u64>,
    /// Whether the current line of the text has its source.
    is_noted: bool,
    steps: usize,
    refused: Option<String>,
    /// Digits of a mark whose end has not come yet.
    digits: Option<u64>,
}

impl Output {
    fn finish(mut self) -> Rendered {
        if !self.is_noted {
            self.lines.push(self.line);
        }
        Rendered { text: self.text, lines: self.lines }
    }

    fn refuse(&mut self, why: String) -> fmt::Error {
        self.refused = Some(why);
        fmt::Error
    }

    fn put(&mut self, c: char) {
        if !self.is_noted && !c.is_whitespace() {
            self.lines.push(self.line);
            self.is_noted = true;
        }
        if c == '\n' {
            if !self.is_noted {
                self.lines.push(self.line);
            }
            self.is_noted = false;
        }
        self.text.push(c);
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text == "<no value>" {
            return Err(self.refuse(
                "this has no value: give the variable in a file named as this one with `_vars.yml` at its end, or with --vars"
                    .to_owned(),
            ));
        }
        for c in text.chars() {
            match (c, self.digits) {
                (mark::BEGIN, _) => self.digits = Some(0),
                (mark::END, Some(line)) => {
                    (self.line, self.digits) = (line, None);
                    self.steps += 1;
                }
                (c, Some(line)) => self.digits = Some(line * 10 + u64::from(c.to_digit(10).unwrap_or(0))),
                (c, None) => self.put(c),
            }
        }
        if self.steps > MAX_STEPS {
            return Err(self.refuse(format!("the template is not at its end after {MAX_STEPS} steps: does it end?")));
        }
        if self.text.len() > MAX_OUTPUT {
            return Err(self.refuse(format!("the template makes more than {MAX_OUTPUT} bytes: make it smaller")));
        }
        Ok(())
    }
}

/// Where, and what, for a person.
fn explain(error: &TemplateError, line: u64, refused: Option<String>) -> (u64, String) {
    if let Some(why) = refused {
        return (line, why);
    }
    if let TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } = error {
        return (u64::try_from(*line).unwrap_or(1), format!("template: {}", mark::unmarked(message)));
    }
    let why = if matches!(error, TemplateError::RecursionLimit) {
        "templates call each other without end, or more than 200 deep: let a condition end one of them".to_owned()
    } else if let TemplateError::UndefinedFunction(name) = error {
        format!("template: there is no function `{}`; there are {}", functions::shown(name), functions::names())
    } else if let TemplateError::UndefinedTemplate(name) = error {
        format!("template: there is no template `{name}`: add {{{{define \"{name}\"}}}} … {{{{end}}}}")
    } else {
        format!("template: {}", mark::unmarked(&error.to_string()))
    };
    (line, why)
}

#[cfg(test)]
mod tests;
