//! `validate`: reads a topology file and says what is wrong with it, to a person or as a JSON document.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::inspect::Format;
use super::{find, reading, say};
use crate::topology::{Flaw, Topology, TopologyError};

/// Options of `validate`.
#[derive(Debug, Clone, Args)]
pub struct Validate {
    /// Topology file, `-` for standard input, or the name of one of those that come with weft [default: two-racks]
    file: Option<String>,
    /// A topology file, as containerlab names it
    #[arg(long, short, value_name = "FILE", conflicts_with = "file")]
    topo: Option<String>,
    /// Sentences, or a JSON document
    #[arg(long, short, value_enum, default_value = "table", hide_default_value = true)]
    format: Format,
    #[command(flatten)]
    reading: reading::Arguments,
}

impl Validate {
    /// Of a file, for a person.
    pub(super) fn of(file: Option<String>, reading: reading::Arguments) -> Self {
        Self { file, topo: None, format: Format::Table, reading }
    }
}

/// Reads a topology file and says what is in it; nothing is started.
///
/// # Errors
/// What is wrong with it; as JSON, that is the document and the exit code.
pub fn validate(options: &Validate) -> Result<ExitCode> {
    let path = find::topology(options.topo.as_deref().or(options.file.as_deref()))?;
    let read = options.reading.load(&path);
    if options.format == Format::Json {
        let is_good = read.is_ok();
        say(&serde_json::to_string_pretty(&document(&path.display().to_string(), &read))?);
        return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let topology = read?;
    say(&format!("{}: ok, {} nodes, {} links", path.display(), topology.nodes.len(), topology.links.len()));
    for warning in &topology.warnings {
        say(&format!("  {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn document(file: &str, read: &Result<Topology, TopologyError>) -> Value {
    match read {
        Ok(topology) => json!({
            "file": file,
            "valid": true,
            "name": topology.name,
            "nodes": topology.nodes.len(),
            "links": topology.links.len(),
            "warnings": topology.warnings,
            "errors": [],
        }),
        Err(TopologyError::Read { source, .. }) => {
            json!({"file": file, "valid": false, "errors": [{"file": file, "message": source.to_string()}]})
        }
        Err(TopologyError::Invalid { path, first, more }) => {
            let errors: Vec<Value> =
                std::iter::once(first).chain(more).map(|flaw| error(&path.display().to_string(), flaw)).collect();
            json!({"file": file, "valid": false, "errors": errors})
        }
    }
}

/// One flaw; what a sentence says after its first colon or semicolon is what to do.
fn error(file: &str, flaw: &Flaw) -> Value {
    let (message, remedy) = parts(&flaw.message);
    json!({
        "file": file,
        "line": flaw.line,
        "column": flaw.column,
        "field": flaw.field,
        "message": message,
        "remedy": remedy,
    })
}

/// What is wrong and what to do; what stands between backquotes is somebody's text and divides nothing.
fn parts(message: &str) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    for (at, c) in message.char_indices() {
        is_quoted ^= c == '`';
        let rest = &message[at..];
        let end = [": ", "; ", ", expected "].iter().find(|end| rest.starts_with(**end)).filter(|_| !is_quoted);
        if let Some(end) = end {
            return (&message[..at], Some(&rest[if end.len() > 2 { 2 } else { end.len() }..]));
        }
    }
    (message, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn document_of(text: &str) -> Value {
        document("t.clab.yml", &Topology::parse(text, Path::new("/t/t.clab.yml"), &|_| None))
    }

    #[test]
    fn every_flaw_has_its_place_and_its_remedy() {
        let text = "name: t\ntopology:\n  nodes:\n    a: {kind: ceos}\n    b: {kind: linux, image: vendor/nos:1}\n";
        let document = document_of(text);
        assert_eq!(document["valid"], false);
        let errors = document["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 2);
        assert_eq!((errors[0]["line"].as_u64(), errors[1]["line"].as_u64()), (Some(4), Some(5)));
        assert_eq!(errors[1]["field"], "topology.nodes.b.image");
        assert!(errors.iter().all(|error| error["column"].as_u64() > Some(1)));
        let link = "name: t\ntopology:\n  nodes: {a: {image: weft}}\n  links:\n    - endpoints: ['a:e', 'b:e']\n";
        let error = &document_of(link)["errors"][0];
        assert_eq!(error["message"], "there is no node `b`");
        assert_eq!(error["remedy"], "add it to topology.nodes");
    }

    #[test]
    fn a_good_file_has_no_errors_and_its_warnings() {
        let document = document_of("name: t\nsettings: {}\ntopology: {nodes: {a: {image: weft}}}\n");
        assert_eq!((document["valid"].as_bool(), document["nodes"].as_u64()), (Some(true), Some(1)));
        assert_eq!(document["warnings"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn colons_in_quotes_divide_nothing() {
        assert_eq!(parts("`a: b` is bad: write c"), ("`a: b` is bad", Some("write c")));
        assert_eq!(parts("unknown field `x`, expected one of `a`"), ("unknown field `x`", Some("expected one of `a`")));
        assert_eq!(parts("no more"), ("no more", None));
    }
}
