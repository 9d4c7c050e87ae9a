//! Asks a weft daemon over its unix socket: one HTTP/1.1 request per connection.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

/// A daemon that takes longer is broken.
const LIMIT: Duration = Duration::from_secs(3);
/// Longest answer read.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Sessions of a node: established, and all.
///
/// # Errors
/// When the daemon does not answer.
pub fn sessions(socket: &Path) -> io::Result<(usize, usize)> {
    let answer = request(socket, "/v1/neighbors")?;
    let mut states = Vec::new();
    collect(&answer, "state", &mut states);
    let established = states.iter().filter(|state| state.eq_ignore_ascii_case("established")).count();
    Ok((established, states.len()))
}

/// Whether the daemon's RIB says that this route is in the kernel; `None` when it has no such route.
///
/// # Errors
/// When the daemon does not answer.
pub fn installed(socket: &Path, prefix: IpNet) -> io::Result<Option<bool>> {
    let answer = request(socket, &format!("/v1/routes?prefix={prefix}"))?;
    Ok(find_route(&answer, &prefix.to_string()))
}

fn find_route(value: &Value, prefix: &str) -> Option<bool> {
    if value["prefix"].as_str() == Some(prefix)
        && let Some(installed) = value["installed"].as_bool()
    {
        return Some(installed);
    }
    match value {
        Value::Array(list) => list.iter().find_map(|item| find_route(item, prefix)),
        Value::Object(map) => map.values().find_map(|item| find_route(item, prefix)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Every string under this key, wherever it is.
fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect(item, key, found)),
        Value::Object(map) => {
            for (name, item) in map {
                match item.as_str() {
                    Some(text) if name == key => found.push(text.to_owned()),
                    _ => collect(item, key, found),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One GET; the answer's JSON body.
///
/// # Errors
/// When nobody listens, the status is not 200, or the body is not JSON.
pub fn request(socket: &Path, target: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> io::Result<Value> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| wrong("no end of headers"))?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).unwrap_or("none");
    if status != "200" {
        return Err(wrong(&format!("status {status}")));
    }
    let body = &answer[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_vec() };
    serde_json::from_slice(&body).map_err(io::Error::other)
}

/// RFC 9112 §7.1: chunks up to the empty one.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(line) = body.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..line]);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16).unwrap_or(0);
        let Some(chunk) = body.get(line + 2..(line + 2).saturating_add(size)).filter(|_| size > 0) else {
            break;
        };
        whole.extend_from_slice(chunk);
        body = body.get(line + 4 + size..).unwrap_or_default();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_of_a_body_are_read() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 10}";
        assert_eq!(parse(plain).unwrap()["a"], 10);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n5\r\n: 10}\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap()["a"], 10);
        assert!(parse(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
    }

    #[test]
    fn a_route_is_found_wherever_the_answer_holds_it() {
        let answer: Value = serde_json::from_str(r#"{"routes":[{"prefix":"10.0.0.0/8","installed":true}]}"#).unwrap();
        assert_eq!(find_route(&answer, "10.0.0.0/8"), Some(true));
        assert_eq!(find_route(&answer, "11.0.0.0/8"), None);
    }
}
