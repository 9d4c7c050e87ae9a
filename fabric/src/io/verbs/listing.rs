//! Listings that may have millions of lines: a table that fits a page is made here of the typed answer; of a larger one the daemon writes
//! the lines, for people or as JSON, and they are passed on.

use super::{Form, VerbError};
use crate::api::{self, Bgp, Routes};
use crate::io::client::Client;
use crate::show;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, Write};
use weft_bgp::types::IpNet;

/// Routes asked for at a time.
pub(super) const PAGE: usize = 1_000;

/// Where packets go.
pub(super) fn routes(
    client: &Client,
    one: Option<&str>,
    limit: Option<usize>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), VerbError> {
    if one.is_none() && limit.is_none_or(|limit| limit > PAGE) {
        let text = client.text("/v1/routes?limit=1")?;
        if is_long(client.read::<Routes>(&text)?.body.prefixes) {
            return match form {
                Form::Json => objects(client, (&text, "/v1/routes/lines"), limit, out),
                Form::Table => lines(client, "/v1/routes/lines", limit, out),
            };
        }
    }
    pages(client, "/v1/routes", (one, limit), form, out, |_, answer: &Routes, first| {
        (show::routes::page(answer, first), answer.routes.len(), answer.next)
    })
}

/// The paths behind that.
pub(super) fn bgp(
    client: &Client,
    one: Option<&str>,
    limit: Option<usize>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), VerbError> {
    if one.is_none() && limit.is_none_or(|limit| limit > PAGE) {
        let text = client.text("/v1/bgp?limit=1")?;
        let table = client.read::<Bgp>(&text)?;
        if is_long(table.body.prefixes) {
            return match form {
                Form::Json => objects(client, (&text, "/v1/bgp/lines"), limit, out),
                Form::Table => {
                    out.write_all(show::bgp::head(&table.node, &table.body).as_bytes())?;
                    lines(client, "/v1/bgp/lines", limit, out)
                }
            };
        }
    }
    pages(client, "/v1/bgp", (one, limit), form, out, |node, answer: &Bgp, first| {
        let head = if first { show::bgp::head(node, answer) } else { String::new() };
        (head + &show::bgp::page(answer, first), answer.routes.len(), answer.next)
    })
}

/// A table that fits a page is as wide as what is in it; of a larger one the daemon writes the lines.
fn is_long(prefixes: u64) -> bool {
    usize::try_from(prefixes).is_ok_and(|prefixes| prefixes > PAGE)
}

fn lines(client: &Client, path: &str, limit: Option<usize>, out: &mut impl Write) -> Result<(), VerbError> {
    each_page(client, path, limit, |text| out.write_all(text.as_bytes()))
}

/// A document of which the daemon writes the routes, an object to a line: what is behind the head is passed on as it comes.
fn objects(
    client: &Client,
    (answer, path): (&str, &str),
    limit: Option<usize>,
    out: &mut impl Write,
) -> Result<(), VerbError> {
    json_head(&mut serde_json::from_str(answer).map_err(io::Error::from)?, out)?;
    let mut between = "\n";
    each_page(client, &format!("{path}?form=json"), limit, |text| {
        for object in text.lines() {
            out.write_all(between.as_bytes())?;
            out.write_all(object.as_bytes())?;
            between = ",\n";
        }
        Ok(())
    })?;
    out.write_all(b"]}\n")?;
    Ok(())
}

/// Asks for page after page of lines, over one connection.
fn each_page(
    client: &Client,
    path: &str,
    limit: Option<usize>,
    mut print: impl FnMut(&str) -> io::Result<()>,
) -> Result<(), VerbError> {
    let mut left = limit.unwrap_or(usize::MAX);
    let and = if path.contains('?') { '&' } else { '?' };
    let mut after = String::new();
    while left > 0 {
        let (text, next) = client.lines(&format!("{path}{and}limit={}{after}", left.min(PAGE)))?;
        print(&text)?;
        left -= left.min(PAGE);
        match next {
            Some(next) => after = format!("&after={}", api::query(&next)),
            None => break,
        }
    }
    Ok(())
}

/// All pages of a table, each printed as it comes: a million routes need no memory here, and JSON still is one document.
fn pages<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    (one, limit): (Option<&str>, Option<usize>),
    form: Form,
    out: &mut impl Write,
    page: impl Fn(&str, &T, bool) -> (String, usize, Option<IpNet>),
) -> Result<(), VerbError> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut target = match one {
        Some(prefix) => format!("{path}?prefix={}", api::query(prefix)),
        None => format!("{path}?limit={}", left.clamp(1, PAGE)),
    };
    let mut total = 0;
    loop {
        let text = client.page(&target)?;
        let reply = client.read::<T>(&text)?;
        let (table, count, next) = page(&reply.node, &reply.body, total == 0);
        match form {
            Form::Json => json_page(&text, total == 0, out)?,
            Form::Table if count == 0 && one.is_some() => {}
            Form::Table => out.write_all(table.as_bytes())?,
        }
        total += count;
        left = left.saturating_sub(count);
        match next {
            Some(next) if left > 0 => {
                target = format!("{path}?limit={}&after={}", left.min(PAGE), api::query(&next.to_string()));
            }
            _ => break,
        }
    }
    if form == Form::Json {
        out.write_all(b"]}\n")?;
    }
    match one {
        Some(prefix) if total == 0 => {
            out.flush()?;
            let hint = "`weft explain` shows what covers it";
            Err(VerbError::Unknown(format!("{prefix} is not in the table\n  {hint}")))
        }
        _ => Ok(()),
    }
}

/// The head of the document with the first page, then only routes.
fn json_page(text: &str, first: bool, out: &mut impl Write) -> Result<(), VerbError> {
    let mut page: Value = serde_json::from_str(text).map_err(io::Error::from)?;
    let routes = page["routes"].take();
    if first {
        json_head(&mut page, out)?;
    }
    for (at, route) in routes.as_array().into_iter().flatten().enumerate() {
        let comma = if first && at == 0 { "" } else { "," };
        write!(out, "{comma}\n{route}")?;
    }
    Ok(())
}

/// What stands before the routes.
fn json_head(page: &mut Value, out: &mut impl Write) -> io::Result<()> {
    if let Some(fields) = page.as_object_mut() {
        fields.remove("routes");
        fields.remove("next");
    }
    let head = page.to_string();
    write!(out, "{},\"routes\":[", head.strip_suffix('}').unwrap_or(&head))
}
