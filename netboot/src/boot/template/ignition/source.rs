//! Where Ignition gets something: a URL of a scheme that it has, with everything in it that must be written as `%XX`, and what that must be.

use super::{At, Spec, unique};

/// Of something that must be somewhere.
pub(super) fn must(resource: &At<'_>, spec: Spec) -> Result<(), String> {
    let source = resource.get("source");
    if source.text().is_empty() {
        return Err(source.wrong("is no source", "write the URL of it"));
    }
    may(resource, spec)
}

/// Of something that need not be.
pub(super) fn may(resource: &At<'_>, spec: Spec) -> Result<(), String> {
    let source = resource.get("source");
    let scheme = source.text().split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if !source.text().is_empty() {
        let mut schemes = vec!["http", "https", "tftp", "data", "s3"];
        schemes.extend(spec.has(2).then_some("gs"));
        schemes.extend(spec.has(4).then_some("arn"));
        url(&source, &schemes)?;
    }
    let compression = resource.get("compression");
    if !matches!(compression.text(), "" | "gzip") {
        return Err(compression.wrong("is no compression that Ignition has", "write gzip, or nothing"));
    }
    if compression.text() == "gzip" && scheme == "s3" {
        return Err(compression.wrong("is not for s3", "leave it out, or use another source"));
    }
    let headers = resource.get("httpHeaders");
    if resource.each("httpHeaders").next().is_some() && !matches!(scheme.as_str(), "http" | "https") {
        return Err(headers.wrong("is for http and https alone", "leave it out, or use another source"));
    }
    for header in resource.each("httpHeaders") {
        header.get("name").is_named()?;
    }
    unique(resource.each("httpHeaders").map(|header| header.get("name")))?;
    let hash = resource.get("verification").get("hash");
    if hash.is_set() { digest(&hash, spec) } else { Ok(()) }
}

/// `sha512-` or `sha256-`, and the digest in hexadecimal.
fn digest(hash: &At<'_>, spec: Spec) -> Result<(), String> {
    let (function, digits) = hash.text().split_once('-').unwrap_or_default();
    let length = match function {
        "sha512" => 128,
        "sha256" if spec.has(1) => 64,
        _ => return Err(hash.wrong("is no digest that Ignition has", "write sha512-, and its 128 digits")),
    };
    if digits.len() != length || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(hash.wrong("has another length", &format!("write {function}-, and its {length} digits 0 to f")));
    }
    Ok(())
}

/// A URL of one of these schemes.
pub(super) fn url(at: &At<'_>, schemes: &[&str]) -> Result<(), String> {
    let (scheme, rest) = at.text().split_once(':').unwrap_or_default();
    let Some(known) = schemes.iter().find(|known| known.eq_ignore_ascii_case(scheme)) else {
        return Err(at.wrong("is of no scheme that can be used here", &format!("write one of {}", schemes.join(", "))));
    };
    if rest.chars().any(|c| c.is_control() || c == ' ') || !is_escaped(rest) {
        return Err(
            at.wrong("has what no URL has", "write blanks, % and what cannot be seen as %20, %25, …: `urlencode` does")
        );
    }
    match *known {
        "data" => data(at, scheme, rest),
        "arn" => Ok(()),
        _ => authority(at, rest),
    }
}

/// Each `%` has two digits behind it.
fn is_escaped(text: &str) -> bool {
    let digits = |behind: &[u8]| behind.iter().take(2).filter(|digit| digit.is_ascii_hexdigit()).count() == 2;
    text.split('%').skip(1).all(|behind| digits(behind.as_bytes()))
}

/// `//`, and who is asked.
fn authority(at: &At<'_>, rest: &str) -> Result<(), String> {
    let host = rest.strip_prefix("//").unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
    let (name, port) = match host.strip_prefix('[').map(|inner| inner.split_once(']').unwrap_or(("", "x"))) {
        Some((name, port)) => (name, port),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|c| c.is_ascii_digit()));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
    let is_name = if host.starts_with('[') {
        let (address, zone) = name.split_once("%25").unwrap_or((name, "x"));
        address.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(plain)
    } else {
        !name.is_empty() && name.chars().all(|c| plain(c) || !c.is_ascii())
    };
    if !is_name || !is_port || !user.chars().all(|c| plain(c) || c == ':' || c == '%') {
        return Err(at.wrong("names no host", "write SCHEME://HOST/…, or [ADDRESS] of IPv6"));
    }
    Ok(())
}

/// RFC 2397: a type, parameters, `;base64`, a comma, what it is.
fn data(at: &At<'_>, scheme: &str, rest: &str) -> Result<(), String> {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._+".contains(&c));
    let wrong = |why: &str, remedy: &str| Err(at.wrong(why, remedy));
    let Some((head, octets)) = rest.split_once(',').filter(|_| scheme == "data") else {
        return wrong("is no URL of data", "write data:, and then what it is");
    };
    let mut parts = head.split(';');
    let kind = parts.next().unwrap_or_default();
    let is_lower = |part: &str| plain(part) && !part.bytes().any(|c| c.is_ascii_uppercase());
    if !kind.is_empty() && !kind.split_once('/').is_some_and(|(kind, sub)| is_lower(kind) && is_lower(sub)) {
        return wrong("has no type of data", "write data:,… or data:text/plain,…");
    }
    let mut coded = false;
    for part in parts {
        if coded || !(part == "base64" || part.split_once('=').is_some_and(|(name, value)| plain(name) && plain(value)))
        {
            return wrong("has no parameter of data", "write ;charset=utf-8 or ;base64 before the comma");
        }
        coded = part == "base64";
    }
    if coded {
        let digits = octets.trim_end_matches('=');
        let is_whole = octets.len() % 4 == 0 && octets.len() - digits.len() <= 2 && digits.len() % 4 != 1;
        if !is_whole || !digits.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/') {
            return wrong("is no base64", "write A to Z, a to z, 0 to 9, + and /, with = up to a multiple of four");
        }
    } else if !octets.bytes().all(|c| c.is_ascii_alphanumeric() || b";/?:@&=+$,-_.!~*'()%".contains(&c)) {
        return wrong("has what no URL of data has", "write it as %XX: `urlencode` does, or use ;base64");
    }
    Ok(())
}
