//! The little of HTTP/1.1 that a machine speaks before it has a system: one request on a connection of its own (RFC 9112). Octets alone.

/// Octets of the head of an answer.
pub const HEAD_MAX: usize = 16 * 1024;

/// The head of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Octets of the body, where it says so.
    pub length: Option<u64>,
    /// The first octet of the part, where it is one (RFC 9110 §14.4).
    pub from: Option<u64>,
}

/// A request without a body.
#[must_use]
pub fn get(host: &str, path: &str, from: u64) -> String {
    let range = if from == 0 { String::new() } else { format!("Range: bytes={from}-\r\n") };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{range}\r\n")
}

/// A request with a document.
#[must_use]
pub fn post(host: &str, path: &str, document: &str) -> String {
    let length = document.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
    )
}

impl Head {
    /// Reads the head at the beginning of an answer, and says where the body begins; `None` while it is not all there.
    ///
    /// # Errors
    /// When that is no answer of HTTP.
    pub fn read(octets: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
            let is_long = octets.len() >= HEAD_MAX;
            return if is_long { Err(format!("no end of a head within {HEAD_MAX} octets")) } else { Ok(None) };
        };
        let text = octets.get(..end).and_then(|head| std::str::from_utf8(head).ok()).ok_or("a head that is no text")?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let code = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        let status = code.ok_or_else(|| format!("no answer of HTTP: `{}`", first.escape_debug()))?;
        let mut head = Self { status, ..Self::default() };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().ok(),
                "content-range" => {
                    let range = value.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
                    head.from = range.and_then(|(from, _)| from.parse().ok());
                }
                _ => {}
            }
        }
        Ok(Some((head, end + 4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_all_there() {
        let text = b"HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\nContent-Range: bytes 5-14/15\r\n\r\nbody";
        for end in 0..text.len() - 4 {
            assert_eq!(Head::read(&text[..end]), Ok(None), "{end}");
        }
        let head = Head { status: 206, length: Some(10), from: Some(5) };
        assert_eq!(Head::read(text), Ok(Some((head, text.len() - 4))));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for wrong in [&b"SSH-2.0-x\r\n\r\n"[..], b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 xx OK\r\n\r\n", b"\xff\r\n\r\n"] {
            assert!(Head::read(wrong).is_err(), "{wrong:?}");
        }
        assert!(Head::read(&vec![b'x'; HEAD_MAX]).is_err());
    }

    #[test]
    fn only_who_goes_on_asks_for_a_part() {
        assert!(!get("h", "/x", 0).contains("Range"));
        assert!(get("h", "/x", 7).contains("\r\nRange: bytes=7-\r\n"));
    }
}
